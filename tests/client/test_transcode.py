"""Uncompressed copies: the pixels are those that pydicom shows, everything else is as it was."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path

import pydicom
import pytest

from pypx.client import transcode as transcode_module
from pypx.client.client import Client
from pypx.client.sending import Sent
from pypx.client.store import Instance
from pypx.client.transcode import UNCOMPRESSED, check_installed, transcode
from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import Element, encode_elements, encoding_of
from pypx.dicom.encoding import Encoding
from pypx.dicom.part10 import FileMeta, encode_preamble_and_meta
from pypx.dimse.assembler import MessageReceived
from pypx.dimse.messages import CStoreRQ, CStoreRSP
from pypx.errors import ArchiveError, ConfigError, DataSetError, NoPresentationContextError
from pypx.net.connection import Timeouts
from pypx.net.served import Caller, ServedAssociation
from pypx.ul.negotiation import answer
from pypx.ul.pdu import AAssociateAC, AAssociateRQ, ContextResult
from tests.client.test_sending import StoreScp, outcomes
from tests.corpus import Corpus, CorpusFile
from tests.objects import CT_IMAGE, write_file

EXPLICIT, IMPLICIT = UNCOMPRESSED
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
KINDS = {
    "JPEG baseline": "1.2.840.10008.1.2.4.50",
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000 lossless": "1.2.840.10008.1.2.4.90",
    "RLE": "1.2.840.10008.1.2.5",
    "deflated": DEFLATED,
    "big endian": BIG_ENDIAN,
    "explicit": EXPLICIT,
    "implicit": IMPLICIT,
}


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pydicom")
        yield


def smallest(corpus: Corpus, syntax: str) -> CorpusFile:
    files = [
        file
        for file in corpus.good
        if file.transfer_syntax_uid == syntax and "PixelData" in pydicom.dcmread(file.path)
    ]
    return min(files, key=lambda file: file.path.stat().st_size)


def read(instance: Instance) -> pydicom.Dataset:
    assert instance.data_set is not None
    uid, syntax = instance.sop_instance_uid, instance.transfer_syntax_uid
    meta = encode_preamble_and_meta(FileMeta(instance.sop_class_uid, uid, syntax))
    return pydicom.dcmread(io.BytesIO(meta + bytes(instance.data_set)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_pixels_are_those_of_the_file(corpus: Corpus, kind: str) -> None:
    file = smallest(corpus, KINDS[kind])
    before = pydicom.dcmread(file.path)
    for syntax in UNCOMPRESSED:
        converted = transcode(Instance.from_file(file.path), syntax)
        assert converted.transfer_syntax_uid == syntax
        after = read(converted)
        assert (after.pixel_array == before.pixel_array).all()
        assert after.SOPInstanceUID == before.SOPInstanceUID
        described = {0x7FE00010, 0x00280004, 0x00280006, 0x00280008}
        for element in before:
            if element.tag not in described and element.tag.element:
                assert str(after[element.tag].value) == str(element.value), element.keyword


def test_colours_become_rgb(corpus: Corpus) -> None:
    file = next(
        file
        for file in corpus.good
        if file.transfer_syntax_uid == KINDS["JPEG baseline"]
        and pydicom.dcmread(file.path).get("PhotometricInterpretation") == "YBR_FULL_422"
    )
    after = read(transcode(Instance.from_file(file.path), EXPLICIT))
    assert after.PhotometricInterpretation == "RGB"
    assert after.PlanarConfiguration == 0
    assert len(after.PixelData) >= after.Rows * after.Columns * 3


def broken(folder: Path, *elements: Element) -> Instance:
    """Write a compressed image whose pixels are none."""
    data = write_file(folder, 1)
    instance = Instance.from_file(data)
    content = DataSet.from_bytes(
        data.read_bytes()[instance.data_set_offset :], encoding_of(EXPLICIT)
    )
    kept = [element for element in content.elements if element.tag != 0x7FE00010]
    fragments = bytes.fromhex("e07f1000 4f420000 ffffffff feff00e0 00000000 feff00e0 04000000")
    meta = encode_preamble_and_meta(FileMeta(CT_IMAGE, "1.2.3.4.1", KINDS["RLE"]))
    head = encode_elements([*kept, *elements], Encoding.EXPLICIT_LITTLE)
    end = bytes.fromhex("feffdde0 00000000")
    data.write_bytes(meta + head + fragments + b"none" + end)
    return Instance.from_file(data)


def test_what_cannot_be_decoded_is_said_in_a_sentence(tmp_path: Path) -> None:
    instance = broken(tmp_path)
    with pytest.raises(DataSetError) as caught:
        transcode(instance, EXPLICIT)
    message = caught.value.message
    assert message.startswith(f"{instance.path} cannot be transcoded: its pixels in RLE Lossless")
    assert "\n" not in message
    assert len(message) < 400


def test_a_compressed_icon_is_not_lost_in_silence(tmp_path: Path) -> None:
    icon = Element(0x00880200, "SQ", b"", ((Element(0x7FE00010, "OB", b""),),))
    with pytest.raises(DataSetError, match="compressed pixels within a sequence"):
        transcode(broken(tmp_path, icon), EXPLICIT)


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    instance = broken(tmp_path)
    instance.path.unlink()
    with pytest.raises(ArchiveError):
        transcode(instance, EXPLICIT)


def test_the_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed()
    found = importlib.util.find_spec
    without = lambda name: None if name == "pylibjpeg" else found(name)  # noqa: E731
    monkeypatch.setattr(transcode_module, "find_spec", without)
    with pytest.raises(ConfigError, match="not installed: pylibjpeg") as caught:
        check_installed()
    assert "pip install 'pypx[transcode]'" in caught.value.hint


# Over the network --------------------------------------------------------------------------


class TakesOnly(StoreScp):
    """Takes only some transfer syntaxes, and keeps the data sets that it is sent.

    Attributes:
        received: Transfer syntax and data set.
    """

    def __init__(self, syntaxes: Collection[str]) -> None:
        super().__init__()
        self._syntaxes = syntaxes
        self.received: list[tuple[str, bytes]] = []
        self.services[CStoreRQ] = self._keep

    def negotiate(self, request: AAssociateRQ, caller: Caller) -> AAssociateAC:
        self.requests.append(request)

        def choose(abstract: str, proposed: tuple[str, ...]) -> str | ContextResult:
            taken = (syntax for syntax in proposed if syntax in self._syntaxes)
            return next(taken, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED)

        return answer(request, choose, implementation_class_uid="1.2.3")

    def _keep(self, association: ServedAssociation, received: MessageReceived) -> None:
        request = received.message
        assert isinstance(request, CStoreRQ)
        syntax = association.contexts[received.context_id].transfer_syntax
        self.received.append((syntax, b"".join(bytes(one) for one in association.data_set())))
        association.send(received.context_id, CStoreRSP(request.message_id, 0))


def store(scp: StoreScp, *paths: Path, transcoding: bool = True) -> list[Sent]:
    with Client(scp.address, timeouts=Timeouts(5, 5, 5, 1)) as client:
        return list(client.store_files(paths, transcode=transcoding))


@pytest.mark.parametrize(
    ("takes", "expected"),
    [
        ([EXPLICIT, IMPLICIT], EXPLICIT),
        ([IMPLICIT], IMPLICIT),
        ([KINDS["RLE"], EXPLICIT, IMPLICIT], KINDS["RLE"]),
    ],
)
def test_only_what_the_peer_does_not_take_is_converted(
    corpus: Corpus, takes: list[str], expected: str
) -> None:
    file = smallest(corpus, KINDS["RLE"])
    with TakesOnly(takes) as scp:
        (sent,) = store(scp, file.path)
    assert (sent.outcome, sent.transcoded) == ("completed", expected != KINDS["RLE"])
    ((syntax, data),) = scp.received
    assert syntax == expected
    assert sent.bytes == len(data)
    if expected == KINDS["RLE"]:
        assert data == file.sent_bytes()
    else:
        instance = Instance.from_file(file.path)
        assert data == transcode(instance, expected).data_set


def test_without_the_option_it_is_refused_with_a_hint(corpus: Corpus) -> None:
    file = smallest(corpus, KINDS["RLE"])
    with TakesOnly([EXPLICIT, IMPLICIT]) as scp:
        (sent,) = store(scp, file.path, transcoding=False)
    assert sent.outcome == "failed"
    assert isinstance(sent.error, NoPresentationContextError)
    assert "in RLE Lossless" in sent.error.message
    assert "--transcode" in sent.error.hint
    (request,) = scp.requests
    assert len(request.presentation_contexts) == 1


def test_a_peer_that_takes_nothing(tmp_path: Path) -> None:
    with TakesOnly([]) as scp:
        (sent,) = store(scp, write_file(tmp_path, 1))
    assert isinstance(sent.error, NoPresentationContextError)


def test_what_cannot_be_converted_is_a_failure_and_the_rest_goes_on(tmp_path: Path) -> None:
    instance = broken(tmp_path)
    other = write_file(tmp_path, 2)
    with TakesOnly([EXPLICIT]) as scp:
        results = store(scp, instance.path, other)
    assert outcomes(results) == {"completed": 1, "failed": 1}
    assert isinstance(results[0].error, DataSetError)
    assert len(scp.requests) == 1


def test_with_more_classes_than_an_association_can_have(tmp_path: Path) -> None:
    for number in range(1, 101):
        write_file(tmp_path, number, SOPClassUID=f"1.2.3.{number}", syntax=BIG_ENDIAN)
    with TakesOnly([IMPLICIT]) as scp:
        results = store(scp, tmp_path)
    assert outcomes(results) == {"completed": 100}
    assert all(one.transcoded for one in results)
    assert [len(request.presentation_contexts) for request in scp.requests] == [128, 128, 128]
