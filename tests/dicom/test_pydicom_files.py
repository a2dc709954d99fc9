"""The files that come with pydicom, read by both."""

from __future__ import annotations

import warnings
from pathlib import Path

import pydicom
import pytest

from pypx.dicom.data_set import DataSet
from pypx.dicom.dictionary import keyword_of
from pypx.dicom.encoding import encoding_of
from pypx.dicom.header import INDEX_TAGS, HeaderScan
from pypx.dicom.part10 import decode_preamble_and_meta, encode_preamble_and_meta
from pypx.dicom.uids import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
from pypx.errors import DataSetError

ROOT = Path(pydicom.__file__).parent / "data"
TRUNCATED = {"MR_truncated.dcm": "(7FE0,0010)", "rtplan_truncated.dcm": "(300A,00B0)"}


def part10_files() -> list[Path]:
    files = (path for path in sorted(ROOT.rglob("*")) if path.is_file())
    return [path for path in files if path.read_bytes()[128:132] == b"DICM"]


FILES = part10_files()


def test_there_are_files() -> None:
    assert len(FILES) > 100


@pytest.fixture(autouse=True)
def _quiet() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def expected_text(data_set: pydicom.Dataset, tag: int) -> str | None:
    if tag not in data_set:
        return None
    element = data_set[tag]
    many = element.value if element.VM > 1 else [element.value] if element.VM else []
    return "\\".join("" if value is None else str(value).strip() for value in many)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_file(path: Path) -> None:
    data = path.read_bytes()
    meta, offset = decode_preamble_and_meta(data)
    theirs = pydicom.dcmread(path)
    assert meta.sop_class_uid == theirs.file_meta.get("MediaStorageSOPClassUID", "")
    assert meta.sop_instance_uid == theirs.file_meta.get("MediaStorageSOPInstanceUID", "")
    assert meta.transfer_syntax_uid == theirs.file_meta.get(
        "TransferSyntaxUID", meta.transfer_syntax_uid
    )
    assert decode_preamble_and_meta(encode_preamble_and_meta(meta))[0].sop_class_uid == (
        meta.sop_class_uid
    )

    scanner = HeaderScan(meta.transfer_syntax_uid)
    for start in range(offset, len(data), 1000):
        scanner.feed(memoryview(data)[start : start + 1000])
    if path.name in TRUNCATED:
        with pytest.raises(DataSetError) as caught:
            scanner.finish()
        assert f"in the middle of {TRUNCATED[path.name]}" in caught.value.message
        return
    found = scanner.finish()
    for tag in INDEX_TAGS:
        text = expected_text(theirs, tag)
        if text is None and tag in theirs:
            text = ""
        assert found.get(tag) == text, keyword_of(tag)
    assert found.warnings == ()

    if meta.transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        return
    ours = DataSet.from_bytes(data[offset:], encoding_of(meta.transfer_syntax_uid))
    assert ours.to_bytes(ours.encoding) == data[offset:]
    assert [element.tag for element in ours.elements] == list(theirs.keys())
    assert ours.to_pydicom() == theirs
    ours.to_dict()
    assert ours.warnings == ()


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.name in ("test-SR.dcm", "rtplan.dcm", "reportsi.dcm")],
    ids=lambda path: path.name,
)
def test_json_model(path: Path) -> None:
    data = path.read_bytes()
    meta, offset = decode_preamble_and_meta(data)
    model = DataSet.from_bytes(data[offset:], encoding_of(meta.transfer_syntax_uid)).to_json()
    theirs = pydicom.dcmread(path).to_json_dict()
    # Different on purpose: JSON is UTF-8, and an empty sequence has no Value (PS3.18 F.2.5).
    theirs.pop("00080005", None)
    model.pop("00080005", None)
    assert model == _without_empty(theirs)


def _without_empty(model: object) -> object:
    match model:
        case dict():
            return {
                key: _without_empty(value)
                for key, value in model.items()
                if not (key == "Value" and value == [])
            }
        case list():
            return [_without_empty(value) for value in model]
        case _:
            return model
