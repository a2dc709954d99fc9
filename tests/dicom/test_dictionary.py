from __future__ import annotations

import pytest

from pypx.dicom import dictionary
from pypx.errors import ConfigError

TAGS = [
    # tag, keyword, VR, VM, name
    (0x00000110, "MessageID", "US", "1", "Message ID"),
    (0x00020010, "TransferSyntaxUID", "UI", "1", "Transfer Syntax UID"),
    (0x00080005, "SpecificCharacterSet", "CS", "1-n", "Specific Character Set"),
    (0x00100010, "PatientName", "PN", "1", "Patient's Name"),
    (0x0020000D, "StudyInstanceUID", "UI", "1", "Study Instance UID"),
    (0x00280106, "SmallestImagePixelValue", "US", "1", "Smallest Image Pixel Value"),
    (0x00283006, "LUTData", "US", "1-n", "LUT Data"),
    (0x7FE00010, "PixelData", "OW", "1", "Pixel Data"),
    (0x60000010, "OverlayRows", "US", "1", "Overlay Rows"),
]


@pytest.mark.parametrize(("tag", "keyword", "vr", "vm", "name"), TAGS)
def test_standard_tags(tag: int, keyword: str, vr: str, vm: str, name: str) -> None:
    assert dictionary.tag_of(keyword) == tag
    assert dictionary.keyword_of(tag) == keyword
    assert dictionary.vr_of(tag) == vr
    assert dictionary.vm_of(tag) == vm
    assert dictionary.name_of(tag) == name


@pytest.mark.parametrize(
    ("tag", "vr", "keyword", "name"),
    [
        (0x60020010, "US", "OverlayRows", "Overlay Rows"),
        (0x60FE3000, "OW", "OverlayData", "Overlay Data"),
        (0x50040005, "US", "CurveDimensions", "Curve Dimensions"),
        (0x00203105, "CS", "SourceImageIDs", "Source Image IDs"),
        (0x60010010, "LO", None, "Private Creator"),  # odd: no repeating group
        (0x00090010, "LO", None, "Private Creator"),
        (0x000900FF, "LO", None, "Private Creator"),
        (0x00090001, "UN", None, "(0009,0001)"),
        (0x00091001, "UN", None, "(0009,1001)"),
        (0x00100000, "UL", None, "Group Length"),
        (0x00090000, "UL", None, "Group Length"),
        (0x0018FFF0, "UN", None, "(0018,FFF0)"),
        (0xFFFFFFFF, "UN", None, "(FFFF,FFFF)"),
    ],
)
def test_other_tags(tag: int, vr: str, keyword: str | None, name: str) -> None:
    assert dictionary.vr_of(tag) == vr
    assert dictionary.keyword_of(tag) == keyword
    assert dictionary.name_of(tag) == name


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("PatientID", 0x00100020),
        ("0010,0020", 0x00100020),
        ("(0010,0020)", 0x00100020),
        ("00100020", 0x00100020),
        (" 0010,0020 ", 0x00100020),
        ("7fe0,0010", 0x7FE00010),
        ("7FE0,0010", 0x7FE00010),
        ("0009,1001", 0x00091001),
    ],
)
def test_parse_tag(text: str, tag: int) -> None:
    assert dictionary.parse_tag(text) == tag
    assert dictionary.find_tag(text) == tag


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("patientid", "PatientID"),
        ("PatientNam", "PatientName"),
        ("StudyInstanceUid", "StudyInstanceUID"),
        ("zzzzqqqq", "0010,0020"),
        ("", "0010,0020"),
        ("0010,002", "PatientID"),
        ("0010-0020", "PatientID"),
        ("0010,002G", "PatientID"),
        ("٠٠١٠٠٠٢٠", "PatientID"),
    ],
)
def test_wrong_keywords_get_a_suggestion(text: str, hint: str) -> None:
    assert dictionary.find_tag(text) is None
    with pytest.raises(ConfigError) as caught:
        dictionary.parse_tag(text)
    assert repr(text) in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "keyword"),
    [("patientid", "PatientID"), ("STUDYDATE", "StudyDate"), ("Patient ID", None), ("", None)],
)
def test_a_keyword_in_any_case(text: str, keyword: str | None) -> None:
    assert dictionary.find_keyword(text) == keyword


def test_unknown_keyword() -> None:
    assert dictionary.tag_of("NoSuchKeyword") is None


def test_table_agrees_with_pydicom() -> None:
    from pydicom.datadict import DicomDictionary

    known = 0
    for tag, (vr, vm, name, _, keyword) in DicomDictionary.items():
        if dictionary.keyword_of(tag) is None:  # a newer pydicom has more
            continue
        known += 1
        assert dictionary.tag_of(keyword) == tag
        assert dictionary.keyword_of(tag) == keyword
        assert dictionary.vr_of(tag) == ("OW" if vr == "OB or OW" else vr[:2])
        assert dictionary.vm_of(tag) == vm
        assert dictionary.name_of(tag) == name
    assert known > 5000
