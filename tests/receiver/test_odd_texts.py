"""Texts that are SQL, patterns, NULs or monsters, and names at the limits of the system."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pypx.archive import Archive
from pypx.dicom.elements import encoding_of
from pypx.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from pypx.dimse.messages import CStoreRQ, CStoreRSP
from pypx.errors import ArchiveError
from pypx.receiver.receiver import Receiver
from tests.archive.helpers import content, files_of, store
from tests.listening import associated
from tests.objects import CT_IMAGE, data_set, keywords

SQL = "'; DROP TABLE instance; --"
TEXTS = {
    "sql": SQL.encode(),
    "patterns": b"%_*?[a-z]",
    "nul": b"a\0b",
    "one mebibyte": b"x" * (1 << 20),
    "a lone surrogate": b"\xed\xa0\x80",
    "no character set has it": bytes(range(128, 256)),
    "escape": b"\x1b]0;title\x07\x1b[31m",
    "newlines": b"a\r\nb\n",
    "only spaces": b"    ",
    "right to left": "\u202egnp.\u202c".encode(),
}
KEYWORDS = (
    *("PatientID", "PatientName", "StudyDescription", "AccessionNumber", "StudyID", "StudyDate"),
    *("StudyTime", "SeriesNumber", "SeriesDescription", "Modality", "InstanceNumber"),
    *("PatientSex", "PatientBirthDate", "StudyInstanceUID", "SeriesInstanceUID"),
)
PLACE = b"@place@ "


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "archive", durability="none") as one:
        yield one


def with_text(number: int, keyword: str, text: bytes) -> bytes:
    """Give the bytes of an instance with any bytes as a value, of VR UT where they are many."""
    from pypx.dicom.data_set import DataSet
    from pypx.dicom.dictionary import tag_of

    values = {
        name: value
        for name, value in keywords(number, SpecificCharacterSet="ISO_IR 192").items()
        if name != keyword
    }
    tag = tag_of(keyword)
    encoding = encoding_of(EXPLICIT_VR_LITTLE_ENDIAN)
    text += b" " * (len(text) % 2)
    head = tag.to_bytes(4, "big")
    head = bytes((head[1], head[0], head[3], head[2]))
    if len(text) < 1 << 16:
        element = head + b"LO" + len(text).to_bytes(2, "little") + text
    else:
        element = head + b"UT\0\0" + len(text).to_bytes(4, "little") + text
    before = {n: v for n, v in values.items() if tag_of(n) < tag}
    after = {n: v for n, v in values.items() if tag_of(n) > tag}
    parts = (DataSet.from_keywords(part).to_bytes(encoding) for part in (before, after))
    return element.join(parts)


@pytest.mark.parametrize("text", TEXTS)
def test_e6_any_bytes_in_any_text(archive: Archive, text: str) -> None:
    """What is stored is what was sent; what is asked finds it, and nobody else."""
    sent = {}
    with Receiver(archive, port=0) as receiver, associated(receiver.port) as connection:
        for number, keyword in enumerate(KEYWORDS):
            data = with_text(number, keyword, TEXTS[text])
            connection.send(1, CStoreRQ(7, CT_IMAGE, f"1.2.3.4.{number}"), data)
            response = connection.receive().message
            assert isinstance(response, CStoreRSP)
            if response.status == 0:
                sent[f"1.2.3.4.{number}"] = data
            else:
                assert keyword.endswith("UID") and response.status >> 8 in (0xA9, 0xC0)
    assert len(sent) >= len(KEYWORDS) - 2
    assert archive.check(checksums=True).ok
    assert {at.meta.sop_instance_uid: content(at.path) for at in archive.instances()} == sent
    for row in archive.find("image"):
        assert all("\0" not in value for value in row.values() if isinstance(value, str))
        assert len(str(row["PatientID"])) <= 4096
    assert list(archive.find("image", {"PatientID": SQL})) == [
        row for row in archive.find("image") if row["PatientID"] == SQL
    ]
    rebuilt = archive.rebuild()
    assert rebuilt.ok and rebuilt.files == len(sent)
    for path in files_of(archive.root):
        assert all(32 < ord(character) != 127 for character in path if character != "/")
        assert all(len(part.encode()) <= 255 for part in path.split("/"))


@pytest.mark.parametrize("character", ["x", "\u00e4", "\u6f22", "\U0001f600"])
def test_d20_names_of_255_bytes(archive: Archive, character: str) -> None:
    """Texts that fill every name to its limit, at a character and never in one."""
    long = character * 64
    for number in (1, 2):
        stored = store(
            archive,
            number,
            PatientID=long,
            PatientName=long,
            StudyDescription=long,
            SeriesDescription=long,
            SpecificCharacterSet="ISO_IR 192",
            SOPInstanceUID="1.2." + "3" * 59 + str(number),
        )
        assert content(stored.path)
    assert all(
        len(part.encode()) <= 255 for path in files_of(archive.root) for part in path.split("/")
    )
    assert archive.check(checksums=True).ok and archive.rebuild().ok


@pytest.mark.parametrize("length", [400, 3900, 4060])
def test_d20_a_path_beyond_4096_bytes(tmp_path: Path, length: int) -> None:
    """It is refused in one sentence, or it works; nothing is half there."""
    root = tmp_path
    while len(str(root)) < length:
        root /= "d" * min(200, max(1, length - len(str(root)) - 1))
    try:
        with Archive(root) as archive:
            stored = store(archive, 1)
            assert archive.check(checksums=True).ok
            assert content(stored.path) == data_set(1)
    except ArchiveError as error:
        assert error.message
        assert length > 400
        for _, _, files, _ in os.fwalk(tmp_path):
            assert not [name for name in files if name.endswith((".dcm", ".part"))]
