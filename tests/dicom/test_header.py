from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable

import pytest

from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import Element
from pypx.dicom.header import INDEX_TAGS, MAX_HEADER, HeaderScan
from pypx.dicom.inflate import Inflater
from pypx.dicom.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from pypx.errors import DataSetError
from tests.dicom.vectors import (
    UNDEFINED,
    big,
    explicit,
    implicit,
    implicit_open_sequence,
    item,
    item_end,
    nested,
    nested_with_lengths,
    open_item,
    open_sequence,
    sequence_end,
)

IMPLICIT, EXPLICIT, BIG, DEFLATED = (
    IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
)
UID = explicit(0x00080018, "UI", b"1.2.3\0")
NAME = explicit(0x00100010, "PN", b"Doe^John")
NUMBER = explicit(0x00200013, "IS", b"7 ")
FOUND = {"SOPInstanceUID": "1.2.3", "PatientName": "Doe^John", "InstanceNumber": "7"}


def split(data: bytes, size: int) -> Iterable[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


def scan(uid: str, pieces: Iterable[bytes | memoryview], **options: object) -> DataSet:
    scanner = HeaderScan(uid, **options)  # type: ignore[arg-type]
    for piece in pieces:
        scanner.feed(piece)
    return scanner.finish()


WHOLE = {
    "explicit": (EXPLICIT, UID + NAME + NUMBER, FOUND),
    "implicit": (
        IMPLICIT,
        implicit(0x00080018, b"1.2.3\0")
        + implicit(0x00100010, b"Doe^John")
        + implicit(0x00200013, b"7 "),
        FOUND,
    ),
    "big endian": (
        BIG,
        big(0x00080018, "UI", b"1.2.3\0")
        + big(0x00100010, "PN", b"Doe^John")
        + big(0x00280010, "US", b"\1\0")
        + big(0x00200013, "IS", b"7 ")
        + big(0x7FE00010, "OW", bytes(99)),
        FOUND,
    ),
    "compressed syntax": ("1.2.840.10008.1.2.4.50", UID + NAME + NUMBER, FOUND),
    "private syntax": ("1.2.3.4", UID + NAME + NUMBER, FOUND),
    "not wanted ones between": (
        EXPLICIT,
        UID
        + explicit(0x00080070, "LO", b"ACME")
        + NAME
        + explicit(0x00189999, "UT", b"long")
        + NUMBER
        + explicit(0x00280010, "US", b"\1\0"),
        FOUND,
    ),
    "pixel data": (EXPLICIT, UID + NAME + NUMBER + explicit(0x7FE00010, "OW", bytes(500)), FOUND),
    "any order": (EXPLICIT, NUMBER + UID + NAME, FOUND),
    "behind pixel data": (
        EXPLICIT,
        explicit(0x7FE00010, "OW", bytes(50)) + NUMBER + NAME + UID,
        FOUND,
    ),
    "twice": (EXPLICIT, explicit(0x00100010, "PN", b"No^Way") + UID + NAME + NUMBER, FOUND),
    "empty and odd": (
        EXPLICIT,
        explicit(0x00080018, "UI", b"1.2.3") + explicit(0x00100010, "PN", b""),
        {"SOPInstanceUID": "1.2.3", "PatientName": None},
    ),
    "group lengths": (
        EXPLICIT,
        explicit(0x00080000, "UL", b"\0\0\0\0") + UID + NAME + NUMBER,
        FOUND,
    ),
    "groups 0 and 2": (
        EXPLICIT,
        explicit(0x00000002, "UI", b"9.9\0")
        + explicit(0x00020003, "UI", b"9.9\0")
        + UID
        + NAME
        + NUMBER,
        FOUND,
    ),
    "zeros behind the last element": (EXPLICIT, UID + NAME + NUMBER + bytes(21), FOUND),
    "data set trailing padding": (
        EXPLICIT,
        UID + NAME + NUMBER + explicit(0xFFFCFFFC, "OB", bytes(20)),
        FOUND,
    ),
    "sequences hide what is in them": (
        EXPLICIT,
        explicit(0x00081140, "SQ", item(explicit(0x00080018, "UI", b"9.9\0")))
        + UID
        + open_sequence(0x00081140, open_item(explicit(0x00080018, "UI", b"9.9\0")))
        + NAME
        + open_sequence(0x00081140, 3 * item(explicit(0x00080018, "UI", b"9.9\0")))
        + NUMBER,
        FOUND,
    ),
    "implicit sequences": (
        IMPLICIT,
        implicit(0x00080018, b"1.2.3\0")
        + implicit_open_sequence(0x00081140, open_item(implicit(0x00080018, b"9.9\0")))
        + implicit_open_sequence(0x00091001, item(implicit(0x00080018, b"9.9\0")))
        + implicit(0x00100010, b"Doe^John")
        + implicit(0x00200013, b"7 "),
        FOUND,
    ),
    "big endian sequences": (
        BIG,
        big(0x00080018, "UI", b"1.2.3\0")
        + open_sequence(
            0x00081140,
            open_item(big(0x00080018, "UI", b"9.9\0"), ">") + item(b"", order=">"),
            order=">",
        )
        + explicit(0x00091001, "UN", b"", UNDEFINED, ">")
        + open_item(implicit(0x00080018, b"9.9\0"))
        + sequence_end()
        + big(0x00100010, "PN", b"Doe^John")
        + big(0x00200013, "IS", b"7 "),
        FOUND,
    ),
    "a sequence of defined length is not looked into": (
        EXPLICIT,
        UID + explicit(0x00081140, "SQ", b"this is no item") + NAME + NUMBER,
        FOUND,
    ),
    "UN holds implicit VR": (
        EXPLICIT,
        UID
        + open_sequence(
            0x00091001,
            open_item(
                implicit_open_sequence(0x00081140, open_item(implicit(0x00080018, b"9.9\0")))
            ),
            "UN",
        )
        + NAME
        + NUMBER,
        FOUND,
    ),
    "fragments": (
        "1.2.840.10008.1.2.4.50",
        UID
        + NAME
        + open_sequence(
            0x7FE00010, item(b"") + item(b"\xfe\xff\xdd\xe0\0\0\0\0") + item(b"odd"), "OB"
        )
        + NUMBER,
        FOUND,
    ),
    "fragments in an item": (
        EXPLICIT,
        UID
        + open_sequence(0x00880200, open_item(open_sequence(0x7FE00010, item(b"abcd"), "OB")))
        + NAME
        + NUMBER,
        FOUND,
    ),
    "item delimiter is missing": (
        EXPLICIT,
        UID
        + open_sequence(0x00081140, 2 * item(explicit(0x00081150, "UI", b"9.9\0"), UNDEFINED))
        + NAME
        + NUMBER,
        FOUND,
    ),
    "sequence delimiter is missing": (
        EXPLICIT,
        UID + explicit(0x00081140, "SQ", open_item(b""), UNDEFINED) + NAME + NUMBER,
        FOUND,
    ),
    "delimiters without a sequence": (
        EXPLICIT,
        UID + item_end() + NAME + sequence_end() + NUMBER,
        FOUND,
    ),
    "VR of a later edition": (
        EXPLICIT,
        UID + explicit(0x00091001, "ZZ", b"abcd") + NAME + NUMBER,
        FOUND,
    ),
    "old VRs": (
        EXPLICIT,
        UID
        + bytes.fromhex("09000110 3F3F 0400")
        + b"ABCD"
        + bytes.fromhex("09000210 0000 0400")
        + b"ABCD"
        + bytes.fromhex("09000310 2020 0400")
        + b"ABCD"
        + NAME
        + NUMBER,
        FOUND,
    ),
    "implicit VR labelled as explicit": (
        EXPLICIT,
        implicit(0x00080018, b"1.2.3\0")
        + implicit(0x00100010, b"Doe^John")
        + implicit(0x00200013, b"7 ")
        + implicit(0x7FE00010, bytes(0x10000)),
        FOUND,
    ),
    "explicit VR labelled as implicit": (IMPLICIT, UID + NAME + NUMBER, FOUND),
    "other VRs than in the dictionary": (
        EXPLICIT,
        explicit(0x00080018, "OB", b"1.2.3\0")
        + explicit(0x00100010, "UN", b"Doe^John")
        + explicit(0x00200013, "SQ", b"")
        + open_sequence(0x0020000D, item(b"")),
        {
            "SOPInstanceUID": "1.2.3",
            "PatientName": "Doe^John",
            "InstanceNumber": None,
            "StudyInstanceUID": [{}],
        },
    ),
    "nothing that is wanted": (EXPLICIT, explicit(0x00080070, "LO", b"ACME"), {}),
}


@pytest.mark.parametrize(("uid", "data", "found"), WHOLE.values(), ids=WHOLE.keys())
def test_whole_data_sets(uid: str, data: bytes, found: dict[str, object]) -> None:
    for pieces in ([data], [memoryview(data)], [b"", data, b""]):
        result = scan(uid, pieces)
        assert result.to_dict() == {key: found[key] for key in result.to_dict()}
        assert set(result.to_dict()) == set(found)
    for size in (1, 2, 3, 5, 7, 11, 13, 64):
        assert scan(uid, split(data, size)) == result
        assert scan(uid, split(data, size)).warnings == result.warnings


@pytest.mark.parametrize(
    ("uid", "parts"),
    [
        (EXPLICIT, [UID, NAME, NUMBER, explicit(0x7FE00010, "OW", b"ab" * 9)]),
        (IMPLICIT, [implicit(0x00080018, b"1.2.3\0"), implicit(0x7FE00010, b"ab" * 9)]),
        (BIG, [big(0x00080018, "UI", b"1.2.3\0"), big(0x00280010, "US", b"\1\0")]),
        (EXPLICIT, [UID, open_sequence(0x00081140, open_item(NAME) + item(NAME)), NAME]),
        (EXPLICIT, [UID, open_sequence(0x00081140, open_item(nested(3)), "SQ")]),
        (EXPLICIT, [UID, nested_with_lengths(3)]),
        (
            IMPLICIT,
            [implicit(0x00080018, b"1.2.3\0"), implicit_open_sequence(0x00091001, open_item(b""))],
        ),
    ],
)
def test_truncated_anywhere(uid: str, parts: list[bytes]) -> None:
    data = b"".join(parts)
    ends = {sum(map(len, parts[:n])) for n in range(len(parts) + 1)}
    for stop in range(1, len(data) + 1):
        for pieces in ([data[:stop]], split(data[:stop], 1)):
            if stop in ends:
                scan(uid, pieces)
                continue
            with pytest.raises(DataSetError, match=r"is truncated|no elements"):
                scan(uid, pieces)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "The data set is empty."),
        (bytes(64), "The data set has no elements."),
        (bytes(3), "The data set has no elements."),
        (UID + b"\x10", "truncated inside the header behind (0008,0018)"),
        (b"\x10", "truncated inside the header of the first element"),
        (UID + NAME[:5], "truncated inside the header of (0010,0010)"),
        (UID + explicit(0x7FE00010, "OW", b"")[:11], "inside the header of (7FE0,0010)"),
        (UID + NAME[:-3], "truncated in the middle of (0010,0010): 3 bytes are missing"),
        (
            UID + explicit(0x7FE00010, "OW", b"ab", 1000),
            "truncated in the middle of (7FE0,0010): 998 bytes are missing",
        ),
        (
            explicit(0x00189999, "UN", b"tiny", 0xFFFFFFFE),
            "truncated in the middle of (0018,9999): 4294967290 bytes are missing",
        ),
        (UID + explicit(0x00081140, "SQ", b"", UNDEFINED), "truncated inside of (0008,1140)"),
        (
            UID + explicit(0x00081140, "SQ", item(NAME, UNDEFINED), UNDEFINED),
            "truncated inside of (0008,1140)",
        ),
        (
            UID + explicit(0x7FE00010, "OB", item(b"") + item(b"abcd", 9), UNDEFINED),
            "truncated in the middle of (7FE0,0010): 5 bytes are missing",
        ),
        (
            UID + explicit(0x7FE00010, "OB", item(b"") + item(b"", UNDEFINED), UNDEFINED),
            "(7FE0,0010) has a fragment of undefined length",
        ),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "truncated"),
    ],
)
def test_defects_are_named(data: bytes, message: str) -> None:
    for pieces in ([data], split(data, 1)):
        with pytest.raises(DataSetError) as caught:
            scan(EXPLICIT, pieces)
        assert message in caught.value.message


def test_fragments_without_delimiter_are_taken_with_a_note() -> None:
    data = UID + explicit(0x7FE00010, "OB", item(b"") + item(b"abcd"), UNDEFINED)
    found = scan(EXPLICIT, [data])
    assert found.SOPInstanceUID == "1.2.3"
    assert found.warnings == ("The delimiter at the end of (7FE0,0010) is missing.",)


def test_finish_can_be_asked_twice() -> None:
    scanner = HeaderScan(EXPLICIT)
    scanner.feed(UID + explicit(0x7FE00010, "OB", item(b""), UNDEFINED))
    assert scanner.finish() == scanner.finish()
    assert scanner.finish().warnings == scanner.finish().warnings


@pytest.mark.parametrize("make", [nested, lambda n: UID + nested(n) + NAME])
def test_depth(make: Callable[[int], bytes]) -> None:
    for depth in (1, 63, 64):
        for size in (1 << 20, 5):
            scan(EXPLICIT, split(make(depth), size))
    for depth in (65, 60_000):
        with pytest.raises(DataSetError, match="nested deeper than 64"):
            scan(EXPLICIT, [make(depth)])
    with pytest.raises(DataSetError, match="nested deeper than 2"):
        scan(EXPLICIT, [nested(3)], max_depth=2)


@pytest.mark.parametrize("uid", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("size", [1 << 20, 5])
def test_elements_are_counted(uid: str, size: int) -> None:
    tags = range(0x00091010, 0x00091017)
    if uid == EXPLICIT:
        data = b"".join(explicit(tag, "UT", b"") for tag in tags)
    else:
        data = b"".join(implicit(tag, b"") for tag in tags)
    scan(uid, split(data, size), max_elements=7)
    with pytest.raises(DataSetError, match="more than 6 elements"):
        scan(uid, split(data, size), max_elements=6)
    scan(uid, split(data, size), max_elements=0)


def test_items_are_counted_with_the_elements() -> None:
    with pytest.raises(DataSetError, match="more than 20 elements"):
        scan(EXPLICIT, [nested(60)], max_elements=20)


def test_defined_lengths_may_be_nested_as_they_like() -> None:
    assert scan(EXPLICIT, [UID + nested_with_lengths(2000) + NAME]).PatientName == "Doe^John"


def test_nothing_comes_after_a_defect() -> None:
    scanner = HeaderScan(EXPLICIT)
    for _ in range(3):
        scanner.feed(nested(65))
    assert scanner.size == 3 * len(nested(65))
    with pytest.raises(DataSetError, match="nested deeper"):
        scanner.finish()


def test_complete_is_a_hint() -> None:
    scanner = HeaderScan(EXPLICIT)
    assert not scanner.complete
    scanner.feed(UID + NAME + NUMBER)
    assert not scanner.complete
    scanner.feed(explicit(0x00280008, "IS", b"1 "))
    assert not scanner.complete
    scanner.feed(explicit(0x00280010, "US", b"\1\0"))
    assert scanner.complete

    one = HeaderScan(EXPLICIT, wanted=frozenset((0x00080018,)))
    one.feed(UID)
    assert one.complete


def test_views_may_be_used_again() -> None:
    data = UID + NAME + NUMBER
    buffer = bytearray(7)
    scanner = HeaderScan(EXPLICIT)
    for piece in split(data, 7):
        buffer[: len(piece)] = piece
        scanner.feed(memoryview(buffer)[: len(piece)])
        buffer[:] = b"\xff" * 7
    assert scanner.finish().to_dict() == FOUND
    assert scanner.size == len(data)


WANTED = frozenset((0x00080018, 0x00081140, 0x00091001, 0x7FE00010, 0x00020003, 0x00000002))


@pytest.mark.parametrize(
    ("data", "element"),
    [
        (explicit(0x00081140, "SQ", item(NAME)), ((NAME,),)),
        (open_sequence(0x00081140, item(NAME)), ((NAME,),)),
        (open_sequence(0x00081140, open_item(NAME) + open_item(b"")), ((NAME,), ())),
        (
            open_sequence(0x00081140, open_item(open_sequence(0x00081140, open_item(NAME)) + NAME)),
            None,
        ),
        (
            open_sequence(0x00091001, open_item(implicit(0x00100010, b"Doe^John")), "UN"),
            ((NAME,),),
        ),
    ],
)
def test_wanted_sequences(data: bytes, element: tuple[tuple[bytes, ...], ...] | None) -> None:
    name = Element(0x00100010, "PN", b"Doe^John")
    for size in (1 << 20, 1, 3, 8):
        result = scan(EXPLICIT, split(UID + data + NUMBER, size), wanted=WANTED)
        assert next(e.tag for e in result.elements) == 0x00080018
        (found,) = result.elements[1:]
        if element is not None:
            assert found.items == tuple(tuple(name for _ in inner) for inner in element)
        else:
            inner = Element(0x00081140, "SQ", b"", ((name,),))
            assert found.items == ((inner, name),)


def test_a_wanted_sequence_without_items_is_plain_bytes() -> None:
    (found,) = scan(EXPLICIT, [explicit(0x00081140, "SQ", b"garbage!")], wanted=WANTED).elements
    assert found == Element(0x00081140, "SQ", b"garbage!")


def test_groups_0_and_2_are_never_wanted() -> None:
    data = explicit(0x00000002, "UI", b"9.9\0") + explicit(0x00020003, "UI", b"9.9\0") + UID
    assert [e.tag for e in scan(EXPLICIT, [data], wanted=WANTED).elements] == [0x00080018]


def test_wanted_fragments_are_not_kept() -> None:
    data = UID + open_sequence(0x7FE00010, item(b"") + item(b"abcd"), "OB")
    assert len(scan(EXPLICIT, [data], wanted=WANTED).elements) == 1


@pytest.mark.parametrize("size", [1 << 20, 100, 1])
def test_long_values_are_left_out(size: int) -> None:
    data = (
        UID
        + explicit(0x00100010, "UT", b"x" * 1000)
        + open_sequence(0x00081140, item(explicit(0x00189999, "UN", bytes(1000))))
        + NUMBER
    )
    wanted = INDEX_TAGS | {0x00081140}
    found = scan(EXPLICIT, split(data, size), wanted=wanted, max_header=100)
    assert found.to_dict() == {"SOPInstanceUID": "1.2.3", "InstanceNumber": "7"}
    assert len(found.warnings) == 2
    assert "(0010,0010) is too long" in found.warnings[0]


def test_only_announced_bytes_are_not_allocated() -> None:
    scanner = HeaderScan(EXPLICIT)
    scanner.feed(explicit(0x00100010, "UT", b"x", MAX_HEADER))
    with pytest.raises(DataSetError, match=r"\(0010,0010\): 1048575 bytes"):
        scanner.finish()


class TestDeflated:
    @staticmethod
    def deflate(data: bytes) -> bytes:
        stream = zlib.compressobj(wbits=-15)
        return stream.compress(data) + stream.flush()

    @pytest.mark.parametrize("size", [1 << 20, 1, 7])
    def test_whole(self, size: int) -> None:
        data = UID + NAME + NUMBER + explicit(0x7FE00010, "OW", bytes(500_000))
        packed = self.deflate(data)
        for padding in (b"", b"\0", b"whatever"):
            assert scan(DEFLATED, split(packed + padding, size)).to_dict() == FOUND

    def test_truncated(self) -> None:
        packed = self.deflate(UID + NAME + NUMBER)
        for stop in range(1, len(packed)):
            with pytest.raises(DataSetError, match="truncated"):
                scan(DEFLATED, [packed[:stop]])
        with pytest.raises(DataSetError, match="empty"):
            scan(DEFLATED, [])

    def test_truncated_inside(self) -> None:
        with pytest.raises(DataSetError, match=r"in the middle of \(0010,0010\)"):
            scan(DEFLATED, [self.deflate(UID + NAME[:-1])])

    def test_corrupt(self) -> None:
        with pytest.raises(DataSetError, match="no valid deflated stream"):
            scan(DEFLATED, [b"\xff" * 100, b"more"])

    def test_bomb(self) -> None:
        bomb = self.deflate(UID + NAME + NUMBER + explicit(0x7FE00010, "OW", bytes(16 << 20)))
        found = scan(DEFLATED, [bomb], max_inflated=1 << 20)
        assert found.to_dict() == FOUND
        assert found.warnings == ("The data set is too long to inflate and check all of it.",)
        bomb = self.deflate(UID + explicit(0x00091001, "OB", bytes(16 << 20)))
        with pytest.raises(DataSetError, match="too long to look through"):
            scan(DEFLATED, [bomb], max_inflated=1 << 20)

    def test_pieces_are_small(self) -> None:
        inflater = Inflater(1 << 30)
        sizes = [len(piece) for piece in inflater.feed(self.deflate(bytes(1 << 20)))]
        assert sum(sizes) == 1 << 20
        assert max(sizes) <= 64 << 10
        assert inflater.is_whole


def test_index_tags() -> None:
    data = DataSet.from_keywords(
        {f"{tag >> 16:04X},{tag & 0xFFFF:04X}": None for tag in INDEX_TAGS}
    )
    assert set(data) == {
        "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyDate", "SeriesDate",
        "StudyTime", "AccessionNumber", "Modality", "StudyDescription", "SeriesDescription",
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID",
        "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "NumberOfFrames",
    }  # fmt: skip


def test_byte_by_byte_costs_no_more_than_that() -> None:
    data = UID + NAME + explicit(0x00091001, "UT", bytes(200_000)) + NUMBER
    start = time.perf_counter()
    scan(EXPLICIT, split(data, 1))
    assert time.perf_counter() - start < 2
