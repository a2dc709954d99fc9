from __future__ import annotations

import time
from collections.abc import Callable
from struct import pack

import pytest

from pypx.dicom.elements import (
    Element,
    Encoding,
    decode_elements,
    decode_items,
    encode_elements,
    encoding_of,
)
from pypx.dicom.encoding import encode_header
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

IMPLICIT, EXPLICIT, BIG = Encoding
NAME = Element(0x00100010, "PN", b"Doe^John")
ROWS = Element(0x00280010, "US", b"\x00\x02")
ROWS_BYTES = explicit(0x00280010, "US", b"\x00\x02")
REFERENCED = Element(0x00081150, "UI", b"1.2.840.10008.1.1\0")


def sequence(*items: tuple[Element, ...]) -> Element:
    return Element(0x00081140, "SQ", b"", items)


def decode(data: bytes | memoryview, encoding: Encoding) -> list[Element]:
    return list(decode_elements(data, encoding))


# One list for both directions: bytes that PS3.5 section 7 prescribes, and their elements.
VECTORS = {
    "nothing": (IMPLICIT, b"", []),
    "implicit text": (IMPLICIT, bytes.fromhex("10001000 08000000") + b"Doe^John", [NAME]),
    "explicit text": (EXPLICIT, bytes.fromhex("10001000 504E 0800") + b"Doe^John", [NAME]),
    "big endian text": (BIG, bytes.fromhex("00100010 504E 0008") + b"Doe^John", [NAME]),
    "explicit number": (EXPLICIT, bytes.fromhex("28001000 5553 0200 0002"), [ROWS]),
    "long length": (
        EXPLICIT,
        bytes.fromhex("02000100 4F42 0000 02000000 0001"),
        [Element(0x00020001, "OB", b"\0\1")],
    ),
    "long length, big endian": (
        BIG,
        bytes.fromhex("00020001 4F42 0000 00000002 0001"),
        [Element(0x00020001, "OB", b"\0\1")],
    ),
    "empty values": (
        EXPLICIT,
        explicit(0x00100010, "PN", b"") + explicit(0x0040A160, "UT", b""),
        [Element(0x00100010, "PN", b""), Element(0x0040A160, "UT", b"")],
    ),
    "group length": (
        IMPLICIT,
        implicit(0x00080000, pack("<L", 4)),
        [Element(0x00080000, "UL", pack("<L", 4))],
    ),
    "command element": (
        IMPLICIT,
        implicit(0x00000110, b"\7\0"),
        [Element(0x00000110, "US", b"\7\0")],
    ),
    "private creator and element": (
        IMPLICIT,
        implicit(0x00090010, b"ACME") + implicit(0x00091001, b"\1\2"),
        [Element(0x00090010, "LO", b"ACME"), Element(0x00091001, "UN", b"\1\2")],
    ),
    "VR of a later edition": (
        EXPLICIT,
        explicit(0x00091001, "ZZ", b"abcd"),
        [Element(0x00091001, "ZZ", b"abcd")],
    ),
    "empty sequence": (EXPLICIT, explicit(0x00081140, "SQ", b""), [sequence()]),
    "empty item": (EXPLICIT, explicit(0x00081140, "SQ", item(b"")), [sequence(())]),
    "two items": (
        EXPLICIT,
        explicit(0x00081140, "SQ", 2 * item(explicit(0x00081150, "UI", REFERENCED.value))),
        [sequence((REFERENCED,), (REFERENCED,))],
    ),
    "implicit items": (
        IMPLICIT,
        implicit(0x00081140, item(implicit(0x00081150, REFERENCED.value)))
        + implicit(0x00100010, b"Doe^John"),
        [sequence((REFERENCED,)), NAME],
    ),
    "big endian items": (
        BIG,
        big(0x00081140, "SQ", item(big(0x00081150, "UI", REFERENCED.value), order=">")),
        [sequence((REFERENCED,))],
    ),
    "sequence in sequence": (
        EXPLICIT,
        explicit(0x00081140, "SQ", item(explicit(0x00081140, "SQ", item(b"")))),
        [sequence((sequence(()),))],
    ),
    "UN of undefined length holds implicit VR": (
        EXPLICIT,
        open_sequence(0x00091001, item(implicit(0x00081150, REFERENCED.value)), "UN"),
        [Element(0x00091001, "UN", b"", ((REFERENCED,),))],
    ),
    "UN of undefined length in big endian holds little endian": (
        BIG,
        explicit(0x00091001, "UN", b"", UNDEFINED, ">")
        + item(implicit(0x00081150, REFERENCED.value))
        + sequence_end(),
        [Element(0x00091001, "UN", b"", ((REFERENCED,),))],
    ),
}


@pytest.mark.parametrize(("encoding", "data", "elements"), VECTORS.values(), ids=VECTORS.keys())
def test_vectors(encoding: Encoding, data: bytes, elements: list[Element]) -> None:
    assert decode(data, encoding) == elements
    assert decode(memoryview(data), encoding) == elements
    for zeros in (64, 0) if encoding is BIG else (64, 1, 7, 70):
        assert decode(data + bytes(zeros), encoding) == elements
    assert encode_elements(elements, encoding) == data


# What the decoder takes beside that: bytes, and the elements that it makes of them.
TOLERATED = {
    "undefined lengths": (
        EXPLICIT,
        open_sequence(0x00081140, open_item(explicit(0x00081150, "UI", REFERENCED.value))),
        [sequence((REFERENCED,))],
    ),
    "undefined lengths, implicit": (
        IMPLICIT,
        implicit_open_sequence(0x00081140, open_item(implicit(0x00081150, REFERENCED.value))),
        [sequence((REFERENCED,))],
    ),
    "undefined lengths, big endian": (
        BIG,
        open_sequence(
            0x00081140, open_item(big(0x00081150, "UI", REFERENCED.value), ">"), order=">"
        ),
        [sequence((REFERENCED,))],
    ),
    "private element of undefined length in implicit VR": (
        IMPLICIT,
        implicit_open_sequence(0x00091001, item(implicit(0x00081150, REFERENCED.value))),
        [Element(0x00091001, "UN", b"", ((REFERENCED,),))],
    ),
    "descending tags, one twice": (
        EXPLICIT,
        explicit(0x00280010, "US", b"\x00\x02")
        + explicit(0x00100010, "PN", b"Doe^John")
        + explicit(0x00280010, "US", b"\x00\x02"),
        [ROWS, NAME, ROWS],
    ),
    "odd length": (
        EXPLICIT,
        explicit(0x00100020, "LO", b"ABC") + explicit(0x00100010, "PN", b"Doe^John"),
        [Element(0x00100020, "LO", b"ABC"), NAME],
    ),
    "unknown VR with a short length": (
        EXPLICIT,
        bytes.fromhex("10002000 5A5A 0400") + b"ABCD" + explicit(0x00100010, "PN", b"Doe^John"),
        [Element(0x00100020, "ZZ", b"ABCD"), NAME],
    ),
    "question marks as VR": (
        EXPLICIT,
        bytes.fromhex("10002000 3F3F 0400") + b"ABCD" + explicit(0x00100010, "PN", b"Doe^John"),
        [Element(0x00100020, "LO", b"ABCD"), NAME],
    ),
    "zeros as VR": (
        EXPLICIT,
        explicit(0x00100010, "PN", b"Doe^John") + bytes.fromhex("10002000 0000 0400") + b"ABCD",
        [NAME, Element(0x00100020, "LO", b"ABCD")],
    ),
    "an element of implicit VR among explicit ones": (
        EXPLICIT,
        explicit(0x00100010, "PN", b"Doe^John") + implicit(0x00100020, b"ABCD"),
        [NAME, Element(0x00100020, "LO", b"ABCD")],
    ),
    "implicit VR labelled as explicit": (
        EXPLICIT,
        implicit(0x00100010, b"Doe^John") + implicit(0x00280010, bytes(0x10000)),
        [NAME, Element(0x00280010, "US", bytes(0x10000))],
    ),
    "explicit VR labelled as implicit": (
        IMPLICIT,
        explicit(0x00100010, "PN", b"Doe^John") + explicit(0x00280010, "US", b"\x00\x02"),
        [NAME, ROWS],
    ),
    "item delimiter is missing": (
        EXPLICIT,
        open_sequence(
            0x00081140,
            2 * item(explicit(0x00081150, "UI", REFERENCED.value), UNDEFINED),
        )
        + explicit(0x00100010, "PN", b"Doe^John"),
        [sequence((REFERENCED,), (REFERENCED,)), NAME],
    ),
    "sequence delimiter is missing": (
        EXPLICIT,
        explicit(0x00081140, "SQ", open_item(b""), UNDEFINED)
        + explicit(0x00100010, "PN", b"Doe^John"),
        [sequence(()), NAME],
    ),
    "delimiters without a sequence": (
        EXPLICIT,
        explicit(0x00100010, "PN", b"Doe^John") + item_end() + sequence_end() + ROWS_BYTES,
        [NAME, ROWS],
    ),
    "delimiters where lengths are defined": (
        EXPLICIT,
        explicit(
            0x00081140,
            "SQ",
            item(explicit(0x00081150, "UI", REFERENCED.value) + item_end()) + sequence_end(),
        ),
        [sequence((REFERENCED,))],
    ),
    "the last item is longer than its sequence": (
        EXPLICIT,
        explicit(0x00081140, "SQ", item(explicit(0x00081150, "UI", REFERENCED.value), 99)),
        [sequence((REFERENCED,))],
    ),
    "a sequence without items": (
        EXPLICIT,
        explicit(0x00081140, "SQ", b"no item!") + explicit(0x00100010, "PN", b"Doe^John"),
        [Element(0x00081140, "SQ", b"no item!"), NAME],
    ),
    "an element in an item is too long": (
        EXPLICIT,
        explicit(0x00081140, "SQ", item(explicit(0x00081150, "UI", b"1.2\0", 99))),
        [Element(0x00081140, "SQ", item(explicit(0x00081150, "UI", b"1.2\0", 99)))],
    ),
    "group 2 in a data set": (
        EXPLICIT,
        explicit(0x00020010, "UI", b"1.2\0") + explicit(0x00100010, "PN", b"Doe^John"),
        [Element(0x00020010, "UI", b"1.2\0"), NAME],
    ),
    "fragments": (
        EXPLICIT,
        open_sequence(0x7FE00010, item(b"") + item(b"\xfe\xff\xdd\xe0\0\0\0\0"), "OB")
        + explicit(0xFFFCFFFC, "OB", b"\0\0"),
        [Element(0x7FE00010, "OB", b""), Element(0xFFFCFFFC, "OB", b"\0\0")],
    ),
    "fragments without their delimiter": (
        EXPLICIT,
        explicit(0x7FE00010, "OB", item(b"") + item(b"abcd"), UNDEFINED),
        [Element(0x7FE00010, "OB", b"")],
    ),
    "an element where the delimiter of fragments should be": (
        EXPLICIT,
        explicit(0x7FE00010, "OB", item(b"abcd"), UNDEFINED) + ROWS_BYTES,
        [Element(0x7FE00010, "OB", b""), ROWS],
    ),
    "fragments in an item": (
        EXPLICIT,
        explicit(0x00880200, "SQ", item(open_sequence(0x7FE00010, item(b"abcd"), "OB"))),
        [Element(0x00880200, "SQ", b"", ((Element(0x7FE00010, "OB", b""),),))],
    ),
}


@pytest.mark.parametrize(("encoding", "data", "elements"), TOLERATED.values(), ids=TOLERATED.keys())
def test_tolerated(encoding: Encoding, data: bytes, elements: list[Element]) -> None:
    assert decode(data, encoding) == elements


BROKEN = {
    "tag only": (EXPLICIT, bytes.fromhex("10002000"), "inside the header of (0010,0020)"),
    "half a tag": (EXPLICIT, bytes.fromhex("1000"), "inside the header of an element"),
    "header of a long VR": (
        EXPLICIT,
        bytes.fromhex("E07F1000 4F57 0000 1000"),
        "inside the header of (7FE0,0010)",
    ),
    "value": (EXPLICIT, explicit(0x00100020, "LO", b"AB", 4), "(0010,0020) needs 2 bytes more"),
    "value, implicit": (IMPLICIT, implicit(0x00100020, b"AB", 4), "(0010,0020) needs 2 bytes"),
    "value, big endian": (BIG, big(0x00100020, "LO", b"AB", 4), "(0010,0020) needs 2 bytes"),
    "length FFFFFFFE": (IMPLICIT, implicit(0x00100020, b"AB", 0xFFFFFFFE), "(0010,0020) needs"),
    "open sequence": (
        EXPLICIT,
        explicit(0x00081140, "SQ", b"", UNDEFINED),
        "inside of (0008,1140)",
    ),
    "open item": (
        EXPLICIT,
        explicit(0x00081140, "SQ", item(b"", UNDEFINED), UNDEFINED),
        "ends inside of",
    ),
    "half an item": (
        EXPLICIT,
        explicit(0x00081140, "SQ", item(b"")[:6], UNDEFINED),
        "inside the header of (FFFE,E000)",
    ),
    "item longer than the data": (
        EXPLICIT,
        explicit(0x00081140, "SQ", item(b"", 50), UNDEFINED),
        "(FFFE,E000) needs 50",
    ),
    "element in an open item": (
        EXPLICIT,
        explicit(
            0x00081140, "SQ", item(explicit(0x00081150, "UI", b"1.", 9), UNDEFINED), UNDEFINED
        ),
        "(0008,1150) needs 7",
    ),
    "fragment": (
        EXPLICIT,
        explicit(0x7FE00010, "OB", item(b"abcd", 9), UNDEFINED),
        "(7FE0,0010) needs 5",
    ),
    "fragment header": (
        EXPLICIT,
        explicit(0x7FE00010, "OB", item(b"abcd")[:6], UNDEFINED),
        "inside the header of (FFFE,E000)",
    ),
    "text": (EXPLICIT, b"GET / HTTP/1.1\r\n\r\n", ""),
}


@pytest.mark.parametrize(("encoding", "data", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_broken(encoding: Encoding, data: bytes, message: str) -> None:
    with pytest.raises(DataSetError) as caught:
        decode(data, encoding)
    assert message in caught.value.message


@pytest.mark.parametrize("make", [nested, nested_with_lengths])
def test_depth(make: Callable[[int], bytes]) -> None:
    for depth in (1, 63, 64):
        (element,) = decode(make(depth), EXPLICIT)
        for _ in range(depth - 1):
            assert element.items is not None
            ((element,),) = element.items
        assert element.items == ((),)
    for depth in (65, 1000):
        with pytest.raises(DataSetError, match="nested deeper than 64"):
            decode(make(depth), EXPLICIT)


def test_sixty_thousand_levels_are_refused_at_once() -> None:
    data = nested(60_000)
    start = time.perf_counter()
    with pytest.raises(DataSetError, match="nested deeper"):
        decode(data, EXPLICIT)
    assert time.perf_counter() - start < 0.1


def test_stop_after_and_wanted() -> None:
    data = (
        explicit(0x00080018, "UI", b"1.2\0")
        + explicit(0x00081140, "SQ", b"not looked into!")
        + open_sequence(0x00081115, item(b""))
        + explicit(0x00100010, "PN", b"Doe^John")
        + explicit(0x00100020, "LO", b"truncated", 99)
    )
    tags = [e.tag for e in decode_elements(data, EXPLICIT, stop_after=0x00100010)]
    assert tags == [0x00080018, 0x00081140, 0x00081115, 0x00100010]
    wanted = frozenset((0x00080018, 0x00100010))
    elements = decode_elements(data, EXPLICIT, stop_after=0x00100010, wanted=wanted)
    assert [e.tag for e in elements] == [0x00080018, 0x00100010]


def test_is_lazy() -> None:
    data = explicit(0x00100010, "PN", b"Doe^John") + b"\x10"
    elements = decode_elements(data, EXPLICIT)
    assert next(elements) == NAME
    with pytest.raises(DataSetError):
        next(elements)


def test_native_pixel_data_is_a_view() -> None:
    data = explicit(0x7FE00010, "OW", bytes(64))
    (element,) = decode(data, EXPLICIT)
    assert isinstance(element.value, memoryview)
    assert element.value.obj is data
    assert element.value == bytes(64)


def test_views_of_a_view() -> None:
    data = explicit(0x00100010, "PN", b"Doe^John")
    (element,) = decode_elements(memoryview(data), EXPLICIT)
    assert isinstance(element.value, memoryview)


@pytest.mark.parametrize(
    ("vr", "value", "padded"),
    [
        ("LO", b"ABC", b"ABC "),
        ("UI", b"1.2", b"1.2\0"),
        ("OB", b"\1", b"\1\0"),
        ("UN", b"\1", b"\1\0"),
        ("PN", b"A", b"A "),
        ("UT", b"A", b"A "),
    ],
)
def test_odd_lengths_are_padded(vr: str, value: bytes, padded: bytes) -> None:
    data = encode_elements([Element(0x00091001, vr, value)], EXPLICIT)
    assert data == explicit(0x00091001, vr, padded)


def test_value_too_long_for_its_vr_becomes_un() -> None:
    value = bytes(0x10000)
    data = encode_elements([Element(0x00091001, "DS", value)], EXPLICIT)
    assert data == explicit(0x00091001, "UN", value)
    assert encode_elements([Element(0x00091001, "DS", value)], IMPLICIT) == implicit(
        0x00091001, value
    )


def test_value_of_four_gib() -> None:
    assert encode_header(0x00091001, "OB", 0xFFFFFFFE, EXPLICIT)[-4:] == b"\xfe\xff\xff\xff"
    with pytest.raises(DataSetError, match=r"\(0009,1001\) is longer than 4 GiB"):
        encode_header(0x00091001, "OB", 0x100000000, EXPLICIT)


def test_what_is_no_vr_is_written_as_un() -> None:
    assert encode_elements([Element(0x00091001, "??", b"AB")], EXPLICIT) == explicit(
        0x00091001, "UN", b"AB"
    )


def test_decode_items() -> None:
    content = item(explicit(0x00081150, "UI", REFERENCED.value)) + open_item(b"")
    assert decode_items(content, EXPLICIT) == ((REFERENCED,), ())
    assert decode_items(content + sequence_end(), EXPLICIT) == ((REFERENCED,), ())
    with pytest.raises(DataSetError):
        decode_items(b"no items", EXPLICIT)


def test_elements_do_not_change_and_do_not_show_their_value() -> None:
    with pytest.raises(AttributeError):
        NAME.tag = 0  # type: ignore[misc]
    assert "Doe" not in repr(NAME)


@pytest.mark.parametrize(
    ("uid", "encoding"),
    [
        ("1.2.840.10008.1.2", IMPLICIT),
        ("1.2.840.10008.1.2.1", EXPLICIT),
        ("1.2.840.10008.1.2.1.99", EXPLICIT),
        ("1.2.840.10008.1.2.2", BIG),
        ("1.2.840.10008.1.2.4.50", EXPLICIT),
        ("1.2.840.113619.5.2", EXPLICIT),
        ("", EXPLICIT),
    ],
)
def test_encoding_of(uid: str, encoding: Encoding) -> None:
    assert encoding_of(uid) is encoding


@pytest.mark.parametrize(
    ("encoding", "is_explicit", "order"),
    [(IMPLICIT, False, "<"), (EXPLICIT, True, "<"), (BIG, True, ">")],
)
def test_encodings(encoding: Encoding, is_explicit: bool, order: str) -> None:
    assert (encoding.explicit, encoding.order) == (is_explicit, order)
