from __future__ import annotations

import math
from struct import pack

import pytest

from pypx.dicom.encoding import Encoding
from pypx.dicom.values import Value, decode_value, encode_value, swap_bytes, text_values
from pypx.errors import DataSetError

IMPLICIT, EXPLICIT, BIG = Encoding

# VR, values, little endian, big endian. Each serves decode and encode.
VECTORS: list[tuple[str, tuple[Value, ...], bytes, bytes]] = [
    ("US", (512,), b"\x00\x02", b"\x02\x00"),
    ("US", (1, 65535), b"\x01\x00\xff\xff", b"\x00\x01\xff\xff"),
    ("SS", (-2,), b"\xfe\xff", b"\xff\xfe"),
    ("UL", (1,), b"\1\0\0\0", b"\0\0\0\1"),
    ("SL", (-1, 2), b"\xff\xff\xff\xff\2\0\0\0", b"\xff\xff\xff\xff\0\0\0\2"),
    ("UV", (2**64 - 1,), b"\xff" * 8, b"\xff" * 8),
    ("SV", (-2,), b"\xfe" + b"\xff" * 7, b"\xff" * 7 + b"\xfe"),
    ("FL", (1.5,), b"\0\0\xc0\x3f", b"\x3f\xc0\0\0"),
    ("FD", (-2.0,), b"\0" * 7 + b"\xc0", b"\xc0" + b"\0" * 7),
    (
        "AT",
        ("00100020", "7FE00010"),
        bytes.fromhex("10002000E07F1000"),
        bytes.fromhex("001000207FE00010"),
    ),
    ("LO", ("Some text", "more"), b"Some text\\more", b"Some text\\more"),
    ("LO", ("odd",), b"odd ", b"odd "),
    ("UI", ("1.2.3",), b"1.2.3\0", b"1.2.3\0"),
    ("UI", ("1.2", "1.3.4"), b"1.2\\1.3.4\0", b"1.2\\1.3.4\0"),
    ("CS", ("A", "", "B"), b"A\\\\B", b"A\\\\B"),
    ("CS", ("A", ""), b"A\\", b"A\\"),
    ("DS", ("1.50", "-2"), b"1.50\\-2 ", b"1.50\\-2 "),
    ("IS", ("12",), b"12", b"12"),
    ("UT", ("one\\text",), b"one\\text", b"one\\text"),
    ("ST", ("  indented",), b"  indented", b"  indented"),
    ("UR", ("http://a/b?c",), b"http://a/b?c", b"http://a/b?c"),
    ("UC", ("a", " b"), b"a\\ b", b"a\\ b"),
    ("OB", (b"\1\2",), b"\1\2", b"\1\2"),
    ("UN", (b"\1\2",), b"\1\2", b"\1\2"),
    ("ZZ", (b"\1\2",), b"\1\2", b"\1\2"),
    ("LO", (), b"", b""),
    ("US", (), b"", b""),
    ("AT", (), b"", b""),
    ("OB", (), b"", b""),
]


@pytest.mark.parametrize(("vr", "values", "little", "big"), VECTORS)
def test_vectors(vr: str, values: tuple[Value, ...], little: bytes, big: bytes) -> None:
    for encoding, raw in ((IMPLICIT, little), (EXPLICIT, little), (BIG, big)):
        assert decode_value(vr, raw, encoding) == values
        assert decode_value(vr, memoryview(raw), encoding) == values
        assert encode_value(vr, values, encoding) == raw


@pytest.mark.parametrize(
    ("vr", "raw", "values"),
    [
        ("US", b"\1", ()),
        ("US", b"\1\0\2", (1,)),
        ("UL", b"\1\0\0\0\2\0", (1,)),
        ("FD", b"\0\0\0\0", ()),
        ("AT", b"\x10\0\x20\0\1", ("00100020",)),
        ("LO", b"  padded  ", ("padded",)),
        ("LO", b" a \\ b ", ("a", "b")),
        ("LO", b"   ", ()),
        ("UI", b"1.2\0\0", ("1.2",)),
        ("UI", b"1.2 ", ("1.2",)),
        ("UI", b"1" * 300, ("1" * 300,)),
        ("UI", b"1.2\x003", ("1.2\x003",)),
        ("UI", b"../../x\n", ("../../x\n",)),
        ("AE", b"  AET  ", ("AET",)),
        ("DA", b"2024010", ("2024010",)),
        ("PN", b"Doe^John^^^ ", ("Doe^John^^^",)),
        ("PN", b"Doe^John==", ("Doe^John",)),
        ("PN", b"A= \\B==", ("A", "B")),
        ("PN", b"=", ()),
        ("UT", b"text  \0", ("text",)),
        ("LT", b"  \0", ()),
        ("UC", b" a \\b ", (" a", "b")),
        ("CS", b"\\", ("", "")),
    ],
)
def test_padding_and_what_is_wrong(vr: str, raw: bytes, values: tuple[Value, ...]) -> None:
    assert decode_value(vr, raw, EXPLICIT) == values


@pytest.mark.parametrize(
    ("vr", "values", "raw"),
    [
        ("US", ("5",), b"\5\0"),
        ("US", (None,), b""),
        ("US", ("", 3), b"\3\0"),
        ("FD", (1,), pack("<d", 1)),
        ("FL", ("1.5",), pack("<f", 1.5)),
        ("AT", (0x00100020,), b"\x10\0\x20\0"),
        ("AT", ("PatientID",), b"\x10\0\x20\0"),
        ("AT", ("0010,0020",), b"\x10\0\x20\0"),
        ("IS", (12,), b"12"),
        ("LO", (12, None, "x"), b"12\\\\x "),
        ("DS", (0.1,), b"0.1 "),
        ("DS", (1 / 3,), b"0.33333333333333"),
        ("DS", (-1 / 3,), b"-0.3333333333333"),
        ("DS", (-1.2345678901234567e-300,), b"-1.23456789e-300"),
        ("DS", (5,), b"5 "),
        ("OB", ("text",), b"text"),
        ("UN", ("odd",), b"odd\0"),
    ],
)
def test_encode_takes_what_users_write(
    vr: str, values: tuple[Value | None, ...], raw: bytes
) -> None:
    assert encode_value(vr, values, EXPLICIT) == raw


@pytest.mark.parametrize(
    ("vr", "value", "message"),
    [
        ("US", "five", "needs a number"),
        ("US", 1.5, "needs a number"),
        ("US", b"\1", "needs a number"),
        ("US", -1, "too large"),
        ("US", 65536, "too large"),
        ("SV", 2**63, "too large"),
        ("FL", 1e300, "too large"),
        ("AT", "NoKeyword", "needs a tag"),
        ("AT", -1, "needs a tag"),
        ("AT", 2**32, "needs a tag"),
        ("DS", math.inf, "finite"),
        ("DS", math.nan, "finite"),
        ("LO", b"bytes", "needs text"),
        ("CS", "ä", "ASCII"),
        ("LO", "ä", "not in the character set ASCII"),
        ("OB", "ä", "not in the character set ASCII"),
    ],
)
def test_encode_refuses(vr: str, value: Value, message: str) -> None:
    with pytest.raises(DataSetError, match=message):
        encode_value(vr, (value,), EXPLICIT)


def test_character_sets_apply_to_some_vrs_only() -> None:
    assert text_values("LO", b"\xc4", ("ISO_IR 100",)) == ("Ä",)
    assert text_values("CS", b"\xc4", ("ISO_IR 100",)) == ("\ufffd",)
    assert encode_value("LO", ("Ä",), EXPLICIT, ("ISO_IR 100",)) == b"\xc4 "


def test_backslash_inside_of_a_character_does_not_split() -> None:
    assert text_values("LO", b"\x81\x5c\x5cA", ("GBK",)) == ("乗", "A")
    assert text_values("LO", b"\x81\x5c\x5cA", ("GB18030",)) == ("乗", "A")
    assert text_values("LO", b"\x1b$B0\\\x1b(B\\A", ("", "ISO 2022 IR 87")) == ("移", "A")
    assert text_values("LO", b"\x8f\x5c\x5cA", ("ISO_IR 13",)) == ("十", "A")
    for charsets in (("GBK",), ("GB18030",)):
        assert encode_value("LO", ("乗", "A"), EXPLICIT, charsets) == b"\x81\x5c\x5cA"


@pytest.mark.parametrize(
    ("vr", "raw", "swapped"),
    [
        ("US", b"\1\2\3\4", b"\2\1\4\3"),
        ("OW", b"\1\2\3", b"\2\1\3"),
        ("AT", b"\1\2\3\4", b"\2\1\4\3"),
        ("FL", b"\1\2\3\4", b"\4\3\2\1"),
        ("OD", b"\1\2\3\4\5\6\7\x08", b"\x08\7\6\5\4\3\2\1"),
        ("OB", b"\1\2", b"\1\2"),
        ("UN", b"\1\2", b"\1\2"),
        ("LO", b"ab", b"ab"),
    ],
)
def test_swap_bytes(vr: str, raw: bytes, swapped: bytes) -> None:
    assert swap_bytes(vr, raw) == swapped
    assert swap_bytes(vr, memoryview(raw)) == swapped
    assert swap_bytes(vr, swapped) == raw
