from __future__ import annotations

import io

import pytest

from pypx.dicom.part10 import FileMeta, decode_preamble_and_meta, encode_preamble_and_meta
from pypx.dicom.uids import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from pypx.errors import DataSetError
from tests.dicom.vectors import explicit, implicit

CT = "1.2.840.10008.5.1.4.1.1.2"
META = FileMeta(CT, "1.2.3", EXPLICIT_VR_LITTLE_ENDIAN, "1.2.9", "OTHER_1", "SENDER")
START = bytes(128) + b"DICM"
GROUP = (
    explicit(0x00020001, "OB", b"\0\1")
    + explicit(0x00020002, "UI", CT.encode() + b"\0")
    + explicit(0x00020003, "UI", b"1.2.3\0")
    + explicit(0x00020010, "UI", EXPLICIT_VR_LITTLE_ENDIAN.encode() + b"\0")
    + explicit(0x00020012, "UI", b"1.2.9\0")
    + explicit(0x00020013, "SH", b"OTHER_1 ")
    + explicit(0x00020016, "AE", b"SENDER")
)
HEAD = START + explicit(0x00020000, "UL", len(GROUP).to_bytes(4, "little")) + GROUP
NAME = explicit(0x00100010, "PN", b"Doe^John")


def test_vector() -> None:
    assert encode_preamble_and_meta(META) == HEAD
    for behind in (b"", NAME, bytes(100), b"\2"):
        assert decode_preamble_and_meta(HEAD + behind) == (META, len(HEAD))
    assert decode_preamble_and_meta(memoryview(HEAD)) == (META, len(HEAD))


def test_own_implementation() -> None:
    head = encode_preamble_and_meta(FileMeta(CT, "1.2.3", IMPLICIT_VR_LITTLE_ENDIAN))
    meta, offset = decode_preamble_and_meta(head)
    assert offset == len(head)
    assert meta.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    assert meta.implementation_version_name == IMPLEMENTATION_VERSION_NAME
    assert meta.source_ae_title == ""
    assert b"\2\0\x16\0" not in head


def test_version_name_of_another_implementation_is_not_made_up() -> None:
    meta = FileMeta(CT, "1.2.3", IMPLICIT_VR_LITTLE_ENDIAN, "1.2.9")
    assert decode_preamble_and_meta(encode_preamble_and_meta(meta))[0] == meta


def test_pydicom_reads_it() -> None:
    import pydicom

    read = pydicom.dcmread(io.BytesIO(HEAD + NAME))
    assert read.file_meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert read.file_meta.TransferSyntaxUID == EXPLICIT_VR_LITTLE_ENDIAN
    assert read.file_meta.SourceApplicationEntityTitle == "SENDER"
    assert read.file_meta.FileMetaInformationGroupLength == len(GROUP)
    assert read.PatientName == "Doe^John"


@pytest.mark.parametrize(
    "head",
    [
        START + GROUP,
        START + explicit(0x00020000, "UL", b"\x08\0\0\0") + GROUP,
        START + explicit(0x00020000, "UL", b"\xff\xff\0\0") + GROUP,
        START + GROUP + explicit(0x00020100, "UI", b"1.2\0") + explicit(0x00020102, "OB", b"ab"),
        bytes(range(128)) + b"DICM" + GROUP,
    ],
    ids=["no group length", "too short", "too long", "private information", "preamble"],
)
@pytest.mark.parametrize("behind", [NAME, implicit(0x00080005, b"ISO_IR 100"), b"\x78\x9c\2\0\2\0"])
def test_tolerated(head: bytes, behind: bytes) -> None:
    assert decode_preamble_and_meta(head + behind) == (META, len(head))


@pytest.mark.parametrize(
    ("data_set", "uid"),
    [(NAME, EXPLICIT_VR_LITTLE_ENDIAN), (implicit(0x00100010, b"Doe"), IMPLICIT_VR_LITTLE_ENDIAN)],
)
def test_missing_transfer_syntax_is_seen_in_the_data_set(data_set: bytes, uid: str) -> None:
    head = START + explicit(0x00020002, "UI", CT.encode() + b"\0")
    assert decode_preamble_and_meta(head + data_set) == (FileMeta(CT, "", uid), len(head))


@pytest.mark.parametrize(
    "data",
    [b"", b"DICM", bytes(128), bytes(132), NAME, bytes(128) + b"DICOM"[:4], HEAD[4:]],
)
def test_no_preamble(data: bytes) -> None:
    with pytest.raises(DataSetError, match="no DICOM file"):
        decode_preamble_and_meta(data)


def test_truncated() -> None:
    ends = {len(HEAD)}
    pos = len(START)
    while pos < len(HEAD):
        ends.add(pos)
        is_long = HEAD[pos + 4 : pos + 6] == b"OB"
        pos += 12 + HEAD[pos + 8] if is_long else 8 + HEAD[pos + 6]
    for stop in set(range(len(START), len(HEAD))) - ends - {end + 1 for end in ends}:
        with pytest.raises(DataSetError):
            decode_preamble_and_meta(HEAD[:stop])


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0xFFFFFFFE])
def test_undefined_length(length: int) -> None:
    with pytest.raises(DataSetError, match="truncated"):
        decode_preamble_and_meta(START + explicit(0x00020001, "OB", b"\0\1", length))


def test_hostile_values() -> None:
    uid = "../../etc/" + "1" * 300
    meta = FileMeta(CT, uid, IMPLICIT_VR_LITTLE_ENDIAN)
    assert decode_preamble_and_meta(encode_preamble_and_meta(meta))[0].sop_instance_uid == uid
    with pytest.raises(DataSetError, match="ASCII"):
        encode_preamble_and_meta(FileMeta(CT, "1.2\ufffd", IMPLICIT_VR_LITTLE_ENDIAN))
