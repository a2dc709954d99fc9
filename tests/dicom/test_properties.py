"""Invariants: any bytes, any text, any split."""

from __future__ import annotations

import zlib
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pypx.dicom.charset import charset_for, decode_text, decode_text_checked, encode_text
from pypx.dicom.data_set import DataSet
from pypx.dicom.dictionary import vr_of
from pypx.dicom.elements import Element, decode_elements, decode_items, encode_elements
from pypx.dicom.encoding import Encoding
from pypx.dicom.header import HeaderScan
from pypx.dicom.part10 import FileMeta, decode_preamble_and_meta, encode_preamble_and_meta
from pypx.dicom.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from pypx.dicom.values import TEXT_VRS, decode_value, text_of, text_values
from pypx.errors import DataSetError
from tests.dicom.vectors import (
    UNDEFINED,
    explicit,
    implicit,
    item,
    item_end,
    nested,
    open_item,
    open_sequence,
    sequence_end,
)

quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SYNTAX = {
    Encoding.IMPLICIT_LITTLE: IMPLICIT_VR_LITTLE_ENDIAN,
    Encoding.EXPLICIT_LITTLE: EXPLICIT_VR_LITTLE_ENDIAN,
    Encoding.EXPLICIT_BIG: EXPLICIT_VR_BIG_ENDIAN,
}
_PLAIN_VRS = "AE AS AT CS DA DS LO LT OB OD OF OW PN SH SL SS ST TM UC UI UL UN UR US UT UV"
PLAIN_VRS = _PLAIN_VRS.split()
TERMS = [
    "", "ISO_IR 6", "ISO_IR 100", "ISO_IR 13", "ISO_IR 192", "GB18030", "GBK", "ISO 2022 IR 87",
    "ISO 2022 IR 149", "ISO 2022 IR 159", "ISO 2022 IR 58", "ISO 2022 IR 126", "KLINGON",
]  # fmt: skip

# Fragments of real structure, so that random bytes get further than the first header.
pieces = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [
            explicit(0x00080005, "CS", b"\\ISO 2022 IR 87"),
            explicit(0x00100010, "PN", b"\x1b$B;3ED\x1b(B^\xff"),
            explicit(0x00080018, "UI", b"1.2\0"),
            explicit(0x00081140, "SQ", b"", UNDEFINED),
            explicit(0x00081140, "SQ", item(explicit(0x00100010, "PN", b"X "))),
            explicit(0x00081140, "SQ", b"garbage!"),
            open_sequence(0x00091001, open_item(implicit(0x00100010, b"X ")), "UN"),
            explicit(0x7FE00010, "OB", b"", UNDEFINED),
            explicit(0x7FE00010, "OW", b"abcd"),
            explicit(0x00091001, "ZZ", b"ab"),
            implicit(0x00100020, b"ID"),
            implicit(0x00081140, b"", UNDEFINED),
            item(b""),
            item(b"", UNDEFINED),
            item(b"abcdefgh"),
            item_end(),
            sequence_end(),
            nested(3),
            bytes(8),
        ]
    ),
)
hostile = st.lists(pieces, max_size=12).map(b"".join)
encodings = st.sampled_from(Encoding)
charsets = st.lists(st.sampled_from(TERMS), max_size=3).map(tuple)


def plain_elements(encoding: Encoding) -> st.SearchStrategy[Element]:
    tags = st.integers(0x00080000, 0x7FDFFFFF)
    if encoding is Encoding.IMPLICIT_LITTLE:
        tags = tags.filter(lambda tag: vr_of(tag) != "SQ")
    values = st.binary(max_size=20).map(lambda raw: raw + bytes(len(raw) % 2))
    return st.builds(
        lambda tag, vr, raw: Element(tag, vr if encoding.explicit else vr_of(tag), raw),
        tags,
        st.sampled_from(PLAIN_VRS),
        values,
    )


def elements(encoding: Encoding) -> st.SearchStrategy[list[Element]]:
    def sequences(inner: st.SearchStrategy[Element]) -> st.SearchStrategy[Element]:
        items = st.lists(st.lists(inner, max_size=3).map(tuple), max_size=3).map(tuple)
        return st.builds(lambda items: Element(0x00081140, "SQ", b"", items), items)

    return st.lists(st.recursive(plain_elements(encoding), sequences, max_leaves=6), max_size=6)


def scan(uid: str, data: bytes, cuts: list[int]) -> DataSet | str:
    scanner = HeaderScan(uid, wanted=frozenset((0x00080018, 0x00100010, 0x00081140, 0x00091001)))
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, stop in pairwise(edges):
        scanner.feed(memoryview(data)[start:stop])
    assert scanner.size == len(data)
    try:
        return scanner.finish()
    except DataSetError as error:
        return error.message


@quick
@given(st.data(), encodings)
def test_decode_encode(data: st.DataObject, encoding: Encoding) -> None:
    made = data.draw(elements(encoding))
    raw = encode_elements(made, encoding)
    assert list(decode_elements(raw, encoding)) == made
    assert encode_elements(decode_elements(raw, encoding), encoding) == raw


@quick
@given(hostile, encodings)
def test_any_bytes_give_elements_or_data_set_error(data: bytes, encoding: Encoding) -> None:
    try:
        found = DataSet.from_bytes(data, encoding)
    except DataSetError:
        return
    found.to_dict()
    found.to_json()
    assert all(isinstance(note, str) for note in found.warnings)
    for other in Encoding:
        DataSet.from_bytes(found.to_bytes(other), other)


@quick
@given(hostile, encodings)
def test_any_bytes_in_items(data: bytes, encoding: Encoding) -> None:
    try:
        decode_items(data, encoding)
    except DataSetError as error:
        assert error.message


@quick
@given(hostile, encodings, st.lists(st.integers(0, 300), max_size=8))
def test_split_does_not_change_a_scan(data: bytes, encoding: Encoding, cuts: list[int]) -> None:
    whole = scan(SYNTAX[encoding], data, [])
    assert scan(SYNTAX[encoding], data, cuts) == whole
    assert scan(SYNTAX[encoding], data, list(range(len(data)))) == whole


@quick
@given(hostile, st.lists(st.integers(0, 300), max_size=8))
def test_split_does_not_change_a_deflated_scan(data: bytes, cuts: list[int]) -> None:
    stream = zlib.compressobj(wbits=-15)
    packed = stream.compress(data) + stream.flush()
    whole = scan(DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, packed, [])
    assert scan(DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, packed, cuts) == whole
    scan(DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, data, cuts)


@quick
@given(st.data(), encodings)
def test_scan_finds_what_the_decoder_finds(data: st.DataObject, encoding: Encoding) -> None:
    raw = encode_elements(data.draw(elements(encoding)), encoding)
    expected = {element.tag: element for element in decode_elements(raw, encoding)}
    scanner = HeaderScan(SYNTAX[encoding], wanted=frozenset(expected))
    scanner.feed(raw)
    if expected:
        assert {element.tag: element for element in scanner.finish().elements} == expected


@quick
@given(st.binary(max_size=40) | hostile.map(lambda data: bytes(128) + b"DICM" + data))
def test_any_bytes_as_a_file(data: bytes) -> None:
    try:
        meta, offset = decode_preamble_and_meta(data)
    except DataSetError:
        return
    assert 132 <= offset <= len(data)
    assert meta.transfer_syntax_uid


@quick
@given(st.lists(st.text("0123456789.", min_size=1, max_size=64), min_size=4, max_size=4))
def test_file_meta_comes_back(uids: list[str]) -> None:
    meta = FileMeta(*uids, "NAME", "AET")
    head = encode_preamble_and_meta(meta)
    assert decode_preamble_and_meta(head) == (meta, len(head))


@quick
@given(st.binary(max_size=30), charsets, st.sampled_from(PLAIN_VRS), encodings)
def test_any_bytes_are_values(
    raw: bytes, terms: tuple[str, ...], vr: str, encoding: Encoding
) -> None:
    text, _ = decode_text_checked(raw, terms, vr=vr)
    assert decode_text(raw, terms, vr=vr) == text
    text.encode("utf-8")
    decode_value(vr, raw, encoding, terms)


@quick
@given(st.text(max_size=20), charsets, st.sampled_from(["PN", "LO"]))
def test_text_comes_back(text: str, terms: tuple[str, ...], vr: str) -> None:
    text = text.replace("\x1b", "")  # begins an escape sequence, whatever stands behind it
    try:
        raw = encode_text(text, terms, vr=vr)
    except DataSetError:
        return
    assert decode_text(raw, terms, vr=vr) == text


@quick
@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_some_character_set_holds_any_text(text: str) -> None:
    text = text.replace("\x1b", "")
    terms = charset_for(text)
    assert decode_text(encode_text(text, terms), terms) == text


@quick
@given(
    st.sampled_from(sorted(TEXT_VRS)),
    st.lists(
        st.sampled_from([b" ", b"\\", b"=", b"^", b"a", b"\0", b"\xe4", b"\x1b$B0\\\x1b(B", b"1.2"])
    ).map(b"".join),
    st.sampled_from(TERMS),
)
def test_the_text_is_that_of_its_values(vr: str, raw: bytes, term: str) -> None:
    assert text_of(vr, raw, (term,)) == "\\".join(text_values(vr, raw, (term,)))
    assert text_of(vr, memoryview(raw), (term,)) == text_of(vr, raw, (term,))
