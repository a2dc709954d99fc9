from __future__ import annotations

import copy
import json
import pickle

import pytest

from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import Element
from pypx.dicom.encoding import Encoding
from pypx.errors import ConfigError, DataSetError
from tests.dicom.vectors import (
    big,
    explicit,
    implicit,
    item,
    nested,
    open_sequence,
)

IMPLICIT, EXPLICIT, BIG = Encoding
JAPANESE = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"

#: One identifier of a C-FIND response in three encodings.
IDENTIFIER = {
    IMPLICIT: implicit(0x00080005, b"ISO_IR 100")
    + implicit(0x00080020, b"20240131")
    + implicit(0x00080050, b"")
    + implicit(0x00080061, b"CT\\MR ")
    + implicit(0x00091001, b"\1\2")
    + implicit(0x00100010, b"M\xfcller^Eva")
    + implicit(0x00280010, b"\x00\x02"),
    EXPLICIT: explicit(0x00080005, "CS", b"ISO_IR 100")
    + explicit(0x00080020, "DA", b"20240131")
    + explicit(0x00080050, "SH", b"")
    + explicit(0x00080061, "CS", b"CT\\MR ")
    + explicit(0x00091001, "UN", b"\1\2")
    + explicit(0x00100010, "PN", b"M\xfcller^Eva")
    + explicit(0x00280010, "US", b"\x00\x02"),
    BIG: big(0x00080005, "CS", b"ISO_IR 100")
    + big(0x00080020, "DA", b"20240131")
    + big(0x00080050, "SH", b"")
    + big(0x00080061, "CS", b"CT\\MR ")
    + big(0x00091001, "UN", b"\1\2")
    + big(0x00100010, "PN", b"M\xfcller^Eva")
    + big(0x00280010, "US", b"\x02\x00"),
}
AS_DICT = {
    "SpecificCharacterSet": "ISO_IR 100",
    "StudyDate": "20240131",
    "AccessionNumber": None,
    "ModalitiesInStudy": ["CT", "MR"],
    "0009,1001": "0102",
    "PatientName": "Müller^Eva",
    "Rows": "512",
}


def data_set(*elements: bytes) -> DataSet:
    return DataSet.from_bytes(b"".join(elements), EXPLICIT)


@pytest.mark.parametrize("encoding", Encoding)
def test_an_identifier(encoding: Encoding) -> None:
    found = DataSet.from_bytes(IDENTIFIER[encoding], encoding)
    assert found.to_dict() == AS_DICT
    assert json.loads(json.dumps(found.to_dict())) == AS_DICT
    assert list(found) == list(found.keywords()) == list(AS_DICT)
    assert len(found) == 7
    assert found.charsets == ("ISO_IR 100",)
    assert found.encoding is encoding
    assert found.warnings == ()
    for other in Encoding:
        assert found.to_bytes(other) == IDENTIFIER[other]
        assert DataSet.from_bytes(found.to_bytes(other), other).to_dict() == AS_DICT


def test_access() -> None:
    found = DataSet.from_bytes(IDENTIFIER[IMPLICIT], IMPLICIT)
    for key in ("PatientName", "0010,0010", "(0010,0010)", "00100010", 0x00100010):
        assert key in found
        assert found[key] == found.get(key) == "Müller^Eva"
        assert found.values_of(key) == ("Müller^Eva",)
    assert found.PatientName == "Müller^Eva"
    assert found.ModalitiesInStudy == found["ModalitiesInStudy"] == "CT\\MR"
    assert found.values_of("ModalitiesInStudy") == ("CT", "MR")
    assert found.values_of("Rows") == (512,)
    assert found["Rows"] == found.get("Rows") == found.Rows == "512"
    assert found["AccessionNumber"] == found.get("AccessionNumber") == ""
    assert found.values_of("AccessionNumber") == ()


@pytest.mark.parametrize("key", ["PatientID", "NoSuchKeyword", "0010,0020", 0x00100020, "_x", ""])
def test_what_is_absent(key: str | int) -> None:
    found = DataSet.from_bytes(IDENTIFIER[IMPLICIT], IMPLICIT)
    assert key not in found
    assert found.get(key) is None
    assert found.get(key, "?") == "?"
    assert found.values_of(key) == ()
    assert found.items_of(key) == ()
    with pytest.raises(KeyError):
        found[key]
    with pytest.raises(AttributeError):
        getattr(found, str(key))


def test_other_types_are_no_keys() -> None:
    assert None not in DataSet()
    assert 1.5 not in DataSet()


def test_is_immutable_and_comparable() -> None:
    found = DataSet.from_bytes(IDENTIFIER[IMPLICIT], IMPLICIT)
    with pytest.raises(AttributeError):
        found.PatientID = "X"  # type: ignore[misc]
    same = DataSet.from_bytes(IDENTIFIER[IMPLICIT], IMPLICIT)
    assert found == same
    assert hash(found) == hash(same)
    assert found != DataSet()
    assert found != AS_DICT
    for made in (copy.copy(found), copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert made == found
        assert made.to_dict() == AS_DICT


def test_repr_names_no_patient() -> None:
    found = DataSet.from_bytes(IDENTIFIER[IMPLICIT], IMPLICIT)
    assert repr(found) == "<DataSet of 7 elements, IMPLICIT_LITTLE>"


def test_buffers_may_be_used_again() -> None:
    buffer = bytearray(IDENTIFIER[IMPLICIT])
    found = DataSet.from_bytes(memoryview(buffer), IMPLICIT)
    buffer[:] = bytes(len(buffer))
    assert found.to_dict() == AS_DICT


def test_group_lengths_are_not_shown() -> None:
    data = explicit(0x00100000, "UL", b"\x0a\0\0\0") + explicit(0x00100020, "LO", b"A ")
    assert data_set(data).to_dict() == {"PatientID": "A"}


def test_same_encoding_gives_the_same_bytes() -> None:
    data = (
        explicit(0x00100000, "UL", b"\x10\0\0\0")
        + open_sequence(0x00081140, item(b""))
        + explicit(0x00080018, "UI", b"odd")
        + open_sequence(0x7FE00010, item(b"") + item(b"abcd"), "OB")
    )
    found = DataSet.from_bytes(data, EXPLICIT)
    assert found.to_bytes(EXPLICIT) == data
    assert found.to_bytes(IMPLICIT) == (
        implicit(0x00080018, b"odd\0") + implicit(0x00081140, item(b"")) + implicit(0x7FE00010, b"")
    )


def test_empty() -> None:
    assert DataSet.from_bytes(b"", IMPLICIT).to_dict() == {}
    assert DataSet.from_bytes(b"", IMPLICIT).to_bytes(IMPLICIT) == b""
    assert DataSet().to_bytes(BIG) == b""


def test_broken_bytes() -> None:
    with pytest.raises(DataSetError):
        DataSet.from_bytes(b"\x10\0\x10", IMPLICIT)
    with pytest.raises(DataSetError):
        DataSet.from_bytes(nested(60_000), EXPLICIT)


def test_of_two_elements_with_one_tag_the_last_counts() -> None:
    assert data_set(
        explicit(0x00100020, "LO", b"A "), explicit(0x00100020, "LO", b"B ")
    ).to_dict() == {"PatientID": "B"}


@pytest.mark.parametrize(
    ("tag", "vr", "raw", "text"),
    [
        (0x0020000D, "UI", b"1" * 300, "1" * 300),
        (0x0020000D, "UI", b"1.2\0\x00", "1.2"),
        (0x0020000D, "UI", b"1.2\x003 \0", "1.2\x003"),
        (0x0020000D, "OB", b"1.2.3\0", "1.2.3"),
        (0x0020000D, "OB", b"\x01\xff", "01ff"),
        (0x0020000D, "UN", b"1.2.3\0", "1.2.3"),
        (0x0020000D, "UI", b"\xff", "\ufffd"),
        (0x00100020, "SQ", item(b""), ""),
        (0x00100020, "SQ", b"garbage!", "garbage!"),
        (0x00280010, "UN", b"\x00\x02", "512"),
        (0x00280010, "US", b"\1", ""),
        (0x00280010, "LO", b"12", "12"),
        (0x00100020, "ZZ", b"AB", "AB"),
        (0x00090010, "UN", b"ACME", "ACME"),
        (0x00091001, "UN", b"", ""),
    ],
)
def test_hostile_values_are_text(tag: int, vr: str, raw: bytes, text: str) -> None:
    found = data_set(explicit(tag, vr, raw))
    assert found[tag] == text
    found.to_dict()
    found.to_json()
    assert found.to_bytes(IMPLICIT)


def test_numbers_in_un_are_little_endian_in_every_encoding() -> None:
    found = DataSet.from_bytes(big(0x00280010, "UN", b"\x00\x02"), BIG)
    assert found.values_of("Rows") == (512,)
    assert found.to_bytes(EXPLICIT) == explicit(0x00280010, "UN", b"\x00\x02")


def test_repeating_groups_keep_their_tags() -> None:
    found = data_set(
        explicit(0x60000010, "US", b"\1\0"),
        explicit(0x60020010, "US", b"\2\0"),
    )
    assert found.to_dict() == {"OverlayRows": "1", "6002,0010": "2"}


class TestSequences:
    CONTENT = explicit(0x00081150, "UI", b"1.2\0") + explicit(0x00280010, "US", b"\x00\x02")

    @pytest.mark.parametrize(
        "data",
        [
            explicit(0x00081140, "SQ", 2 * item(CONTENT)),
            open_sequence(0x00081140, 2 * item(CONTENT)),
            explicit(
                0x00081140,
                "UN",
                2 * item(implicit(0x00081150, b"1.2\0") + implicit(0x00280010, b"\x00\x02")),
            ),
            open_sequence(
                0x00081140,
                2 * item(implicit(0x00081150, b"1.2\0") + implicit(0x00280010, b"\x00\x02")),
                "UN",
            ),
        ],
    )
    def test_items(self, data: bytes) -> None:
        found = data_set(data)
        expected = {"ReferencedSOPClassUID": "1.2", "Rows": "512"}
        assert [inner.to_dict() for inner in found.items_of("ReferencedImageSequence")] == [
            expected,
            expected,
        ]
        assert found.to_dict() == {"ReferencedImageSequence": [expected, expected]}
        for encoding in Encoding:
            again = DataSet.from_bytes(found.to_bytes(encoding), encoding)
            assert again.to_dict() == found.to_dict()

    def test_empty_and_wrong(self) -> None:
        assert data_set(explicit(0x00081140, "SQ", b"")).to_dict() == {
            "ReferencedImageSequence": None
        }
        assert data_set(explicit(0x00081140, "UN", b"no items")).items_of(0x00081140) == ()

    def test_items_inherit_the_character_set(self) -> None:
        name = explicit(0x00100010, "PN", b"\xe9")
        found = data_set(
            explicit(0x00080005, "CS", b"ISO_IR 100"),
            explicit(
                0x00081140,
                "SQ",
                item(name)
                + item(explicit(0x00080005, "CS", b"ISO_IR 144") + name)
                + item(explicit(0x00081140, "SQ", item(name))),
            ),
        )
        first, second, third = found.items_of("ReferencedImageSequence")
        assert (first.PatientName, second.PatientName) == ("é", "щ")
        assert third.items_of("ReferencedImageSequence")[0].PatientName == "é"

    def test_deepest(self) -> None:
        found = data_set(nested(64))
        assert json.dumps(found.to_dict()).count("ReferencedImageSequence") == 64
        assert json.dumps(found.to_json()).count("00081140") == 64
        assert DataSet.from_bytes(found.to_bytes(BIG), BIG).to_dict() == found.to_dict()


class TestText:
    def test_code_extensions(self) -> None:
        found = data_set(
            explicit(0x00080005, "CS", b"\\ISO 2022 IR 87"),
            explicit(0x00100010, "PN", JAPANESE),
        )
        assert found.charsets == ("", "ISO 2022 IR 87")
        assert found.PatientName == "Yamada^Tarou=山田^太郎"
        assert found.warnings == ()

    def test_doubtful_text_is_a_warning_without_the_text(self) -> None:
        found = data_set(
            explicit(0x00080060, "CS", b"\xff\xff"), explicit(0x00100010, "PN", b"J\xe9r\xf4me")
        )
        assert found.PatientName == "J\ufffdr\ufffdme"
        modality, name = found.warnings
        assert modality.startswith("Modality may be shown wrongly")
        assert name.startswith("PatientName may be shown wrongly")
        assert "none is declared" in name
        assert "J" not in name

    def test_undeclared_utf_8_is_read(self) -> None:
        found = data_set(explicit(0x00100010, "PN", "Jérôme".encode()))
        assert found.PatientName == "Jérôme"
        assert len(found.warnings) == 1

    def test_wrong_character_set_is_named(self) -> None:
        found = data_set(
            explicit(0x00080005, "CS", b"KLINGON "), explicit(0x00100010, "PN", b"J\xe9")
        )
        assert "(KLINGON)" in found.warnings[0]

    def test_ascii_needs_no_warning(self) -> None:
        found = data_set(explicit(0x00080005, "CS", b"KLINGON "), explicit(0x00100010, "PN", b"Jo"))
        assert found.warnings == ()


class TestFromKeywords:
    def test_elements_are_in_order_and_empty_keys_are_kept(self) -> None:
        made = DataSet.from_keywords(
            {"PatientName": "Doe*", "StudyDate": None, "QueryRetrieveLevel": "STUDY"}
        )
        assert made.to_bytes(EXPLICIT) == (
            explicit(0x00080020, "DA", b"")
            + explicit(0x00080052, "CS", b"STUDY ")
            + explicit(0x00100010, "PN", b"Doe*")
        )

    @pytest.mark.parametrize(
        ("keyword", "value", "data"),
        [
            ("PatientID", "A", explicit(0x00100020, "LO", b"A ")),
            ("0010,0020", "A", explicit(0x00100020, "LO", b"A ")),
            ("PatientID", "", explicit(0x00100020, "LO", b"")),
            ("PatientID", [], explicit(0x00100020, "LO", b"")),
            ("PatientID", 12, explicit(0x00100020, "LO", b"12")),
            ("StudyInstanceUID", ["1.2", "1.3.4"], explicit(0x0020000D, "UI", b"1.2\\1.3.4\0")),
            ("ModalitiesInStudy", "CT\\MR", explicit(0x00080061, "CS", b"CT\\MR ")),
            ("Rows", 512, explicit(0x00280010, "US", b"\x00\x02")),
            ("Rows", "512", explicit(0x00280010, "US", b"\x00\x02")),
            ("Rows", "1\\2", explicit(0x00280010, "US", b"\1\0\2\0")),
            ("Rows", None, explicit(0x00280010, "US", b"")),
            ("InstanceNumber", 5, explicit(0x00200013, "IS", b"5 ")),
            ("SliceThickness", 2.5, explicit(0x00180050, "DS", b"2.5 ")),
            ("FrameIncrementPointer", "FrameTime", explicit(0x00280009, "AT", b"\x18\0\x63\x10")),
            ("0009,1001", "text", explicit(0x00091001, "UN", b"text")),
            ("0009,1001", b"\1\2", explicit(0x00091001, "UN", b"\1\2")),
            ("ReferencedImageSequence", None, explicit(0x00081140, "SQ", b"")),
            ("ReferencedImageSequence", {}, explicit(0x00081140, "SQ", item(b""))),
            (
                "ReferencedImageSequence",
                [{"Rows": 1}, {}],
                explicit(0x00081140, "SQ", item(explicit(0x00280010, "US", b"\1\0")) + item(b"")),
            ),
        ],
    )
    def test_values(self, keyword: str, value: object, data: bytes) -> None:
        assert DataSet.from_keywords({keyword: value}).to_bytes(EXPLICIT) == data

    @pytest.mark.parametrize(
        ("name", "charset", "raw"),
        [
            ("Doe", None, b"Doe "),
            ("Müller", "ISO_IR 100", b"M\xfcller"),
            ("山田", "ISO_IR 192", "山田".encode()),
        ],
    )
    def test_character_set_as_needed(self, name: str, charset: str | None, raw: bytes) -> None:
        made = DataSet.from_keywords({"PatientName": name})
        assert made.get("SpecificCharacterSet") == charset
        assert made.elements[-1].value == raw
        assert made.PatientName == name

    def test_character_set_as_told(self) -> None:
        charsets = ("", "ISO 2022 IR 87")
        made = DataSet.from_keywords({"PatientName": "Yamada^Tarou=山田^太郎"}, charsets)
        assert made.charsets == charsets
        assert made.elements[-1].value == JAPANESE
        declared = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "é"}
        assert DataSet.from_keywords(declared).elements[-1].value == b"\xc3\xa9"
        assert DataSet.from_keywords(declared | {"SpecificCharacterSet": None}).charsets == (
            "ISO_IR 100",
        )

    def test_ascii_gets_no_character_set(self) -> None:
        made = DataSet.from_keywords({"PatientName": "Doe"}, ("ISO_IR 192",))
        assert "SpecificCharacterSet" not in made

    def test_character_set_for_text_in_items(self) -> None:
        made = DataSet.from_keywords({"ReferencedImageSequence": [{"PatientName": "山"}]})
        assert made.charsets == ("ISO_IR 192",)
        assert made.items_of("ReferencedImageSequence")[0].PatientName == "山"

    @pytest.mark.parametrize(
        ("keywords", "message"),
        [
            ({"Rows": "many"}, "Rows: The VR US needs a number."),
            ({"Rows": 70000}, "Rows: A number is too large"),
            ({"Rows": object()}, "Rows: A value cannot be of type object."),
            ({"Rows": {"a": 1}}, "Rows: A value cannot be of type dict."),
            ({"Modality": "Ä"}, "Modality: A value of VR CS can have ASCII"),
            ({"ReferencedImageSequence": "x"}, "ReferencedImageSequence: An item"),
            ({"ReferencedImageSequence": [{"Rows": "x"}]}, "ReferencedImageSequence: Rows: The"),
            ({"0009,1001": object()}, "(0009,1001): A value"),
        ],
    )
    def test_wrong_values(self, keywords: dict[str, object], message: str) -> None:
        with pytest.raises(DataSetError) as caught:
            DataSet.from_keywords(keywords)
        assert caught.value.message.startswith(message)

    def test_text_that_does_not_fit(self) -> None:
        with pytest.raises(DataSetError, match=r"PatientName: .* not in the character set"):
            DataSet.from_keywords({"PatientName": "山"}, ("ISO_IR 100",))

    def test_unknown_keywords(self) -> None:
        with pytest.raises(ConfigError) as caught:
            DataSet.from_keywords({"PatientNam": "x"})
        assert "PatientName" in caught.value.hint
        with pytest.raises(ConfigError):
            DataSet.from_keywords({"ReferencedImageSequence": [{"Row": 1}]})


def test_to_pydicom() -> None:
    for encoding, data in IDENTIFIER.items():
        theirs = DataSet.from_bytes(data, encoding).to_pydicom()
        assert str(theirs.PatientName) == "Müller^Eva"
        assert theirs.ModalitiesInStudy == ["CT", "MR"]
        assert theirs.Rows == 512
        assert theirs.AccessionNumber == ""


def test_elements_and_notes_of_a_reader() -> None:
    element = Element(0x00100020, "LO", b"A")
    made = DataSet([element], notes=("as the reader says",))
    assert made.elements == (element,)
    assert made.warnings == ("as the reader says",)
