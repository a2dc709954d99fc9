from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from pypx.dicom.charset import charset_for, decode_text, decode_text_checked, encode_text
from pypx.errors import DataSetError

# Terms of PS3.3 Tables C.12-2 to C.12-5, text, bytes. Each serves decode and encode.
VECTORS: list[tuple[tuple[str, ...], str, bytes]] = [
    ((), "Doe^John", b"Doe^John"),
    (("ISO_IR 6",), "Doe^John", b"Doe^John"),
    (("ISO_IR 100",), "Äneas^Rüdiger", b"\xc4neas^R\xfcdiger"),
    (("ISO_IR 101",), "Łódź", b"\xa3\xf3d\xbc"),
    (("ISO_IR 109",), "Ħal", b"\xa1al"),
    (("ISO_IR 110",), "Ķēniņš", b"\xd3\xbani\xf1\xb9"),
    (("ISO_IR 144",), "Люкceмбypг", b"\xbb\xee\xdace\xdc\xd1yp\xd3"),
    (("ISO_IR 127",), "قباني^لنزار", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1"),
    (("ISO_IR 126",), "Διονυσιος", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2"),
    (("ISO_IR 138",), "שרון^דבורה", b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4"),
    (("ISO_IR 148",), "Çağış", b"\xc7a\xf0\xfd\xfe"),
    (("ISO_IR 203",), "Œuvre€", b"\xbcuvre\xa4"),
    (("ISO_IR 13",), "ﾔﾏﾀﾞ^ﾀﾛｳ", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3"),
    (("ISO_IR 166",), "นามสกุล", b"\xb9\xd2\xc1\xca\xa1\xd8\xc5"),
    # PS3.5 Annex J
    (
        ("ISO_IR 192",),
        "Wang^XiaoDong=王^小東",
        b"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1",
    ),
    (("GB18030",), "Wang^XiaoDong=王^小东", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab"),
    (("GBK",), "Wang^XiaoDong=王^小东", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab"),
    (("GB18030",), "丂€", b"\x81\x40\xa2\xe3"),
    # PS3.5 Annex H
    (
        ("", "ISO 2022 IR 87"),
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
    ),
    (
        ("ISO 2022 IR 13", "ISO 2022 IR 87"),
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
        (
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J="
            b"\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J"
        ),
    ),
    # PS3.5 Annex I
    (
        ("", "ISO 2022 IR 149"),
        "Hong^Gildong=洪^吉洞=홍^길동",
        (
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7="
            b"\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
        ),
    ),
    # PS3.5 Annex K
    (
        ("", "ISO 2022 IR 58"),
        "Zhang^XiaoDong=张^小东",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",
    ),
    (("ISO 2022 IR 6", "ISO 2022 IR 159"), "丂^A", b"\x1b$(D0!\x1b(B^A"),
    (("ISO 2022 IR 100", "ISO 2022 IR 126"), "Äδ^Ä", b"\xc4\x1b-F\xe4^\xc4"),
    (("ISO 2022 IR 6", "ISO 2022 IR 101"), "Łódź", b"\x1b-B\xa3\xf3d\xbc"),
    (("", "ISO 2022 IR 109"), "Ħ", b"\x1b-C\xa1"),
    (("", "ISO 2022 IR 110"), "Ķ", b"\x1b-D\xd3"),
    (("", "ISO 2022 IR 144"), "Л", b"\x1b-L\xbb"),
    (("", "ISO 2022 IR 127"), "ق", b"\x1b-G\xe2"),
    (("", "ISO 2022 IR 138"), "ש", b"\x1b-H\xf9"),
    (("", "ISO 2022 IR 148"), "ğ", b"\x1b-M\xf0"),
    (("", "ISO 2022 IR 203"), "€", b"\x1b-b\xa4"),
    (("", "ISO 2022 IR 13"), "ﾔ", b"\x1b)I\xd4"),
    (("", "ISO 2022 IR 166"), "น", b"\x1b-T\xb9"),
]


@pytest.mark.parametrize(("charsets", "text", "raw"), VECTORS)
def test_vectors(charsets: tuple[str, ...], text: str, raw: bytes) -> None:
    assert decode_text_checked(raw, charsets, vr="PN") == (text, False)
    assert decode_text(memoryview(raw), charsets, vr="PN") == text
    assert encode_text(text, charsets, vr="PN") == raw


@pytest.mark.parametrize(
    ("term", "text", "raw"),
    [
        ("ISO IR 100", "Ä", b"\xc4"),
        ("ISO-IR 100", "Ä", b"\xc4"),
        ("ISO_IR_100", "Ä", b"\xc4"),
        ("iso_ir 100", "Ä", b"\xc4"),
        ("ISO 2022 IR100", "Ä", b"\xc4"),
        ("ISO_2022_IR_100", "Ä", b"\xc4"),
        ("ISO2022IR100", "Ä", b"\xc4"),
        ("latin1", "Ä", b"\xc4"),
        ("ISO-8859-1", "Ä", b"\xc4"),
        ("ISO 8859-5", "Л", b"\xbb"),
        ("UTF-8", "Ä", b"\xc3\x84"),
        ("UTF8", "Ä", b"\xc3\x84"),
        ("GB 18030", "王", b"\xcd\xf5"),
        ("ISO 2022 GBK", "王", b"\xcd\xf5"),
        ("ISO 2022 58", "王", b"\xcd\xf5"),
        ("ISO_IR 149", "홍", b"\xc8\xab"),
    ],
)
def test_misspelled_terms(term: str, text: str, raw: bytes) -> None:
    assert decode_text_checked(raw, (term,)) == (text, False)


DOUBTFUL = {
    "nothing declared": ((), b"J\xe9r", "J\ufffdr"),
    "nothing declared, but UTF-8": ((), b"J\xc3\xa9r", "Jér"),
    "ASCII declared, but UTF-8": (("ISO_IR 6",), b"J\xc3\xa9r", "Jér"),
    "unknown term": (("KLINGON",), b"J\xe9r", "J\ufffdr"),
    "unknown term, but UTF-8": (("KLINGON",), b"J\xc3\xa9r", "Jér"),
    "unknown number": (("ISO_IR 999",), b"J\xe9r", "J\ufffdr"),
    "no UTF-8": (("ISO_IR 192",), b"J\xe9r", "J\ufffdr"),
    "cut UTF-8": (("ISO_IR 192",), b"J\xc3", "J\ufffd"),
    "hole in the table": (("ISO_IR 127",), b"\xa1\xc7", "\ufffdا"),
    "unknown escape sequence": (("", "ISO 2022 IR 87"), b"A\x1b%GB", "A\ufffdB"),
    "escape at the end": (("", "ISO 2022 IR 87"), b"A\x1b", "A\ufffd"),
    "escape sequence that is not declared": (("ISO_IR 100",), b"\x1b-F\xe4", "δ"),
    "half a character": (("", "ISO 2022 IR 87"), b"\x1b$B;3E\x1b(B", "山\ufffd"),
    "no escape sequence": (("", "ISO 2022 IR 149"), b"\xc8\xab", "홍"),
    "no escape sequence after ^": (("", "ISO 2022 IR 149"), b"\x1b$)C\xc8\xab^\xb1\xe6", "홍^길"),
    "nothing for G1": (("", "ISO 2022 IR 87"), b"\xc8\xab", "\ufffd\ufffd"),
    "stand-alone set as an extension": (("", "ISO_IR 192"), b"\xe9", "\ufffd"),
}


@pytest.mark.parametrize(("charsets", "raw", "text"), DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_doubtful_text_is_shown_and_flagged(
    charsets: tuple[str, ...], raw: bytes, text: str
) -> None:
    assert decode_text_checked(raw, charsets, vr="PN") == (text, True)
    assert decode_text(raw, charsets, vr="PN") == text


@pytest.mark.parametrize(
    ("charsets", "raw", "text"),
    [
        # An unknown term does no harm to ASCII.
        (("KLINGON",), b"Doe", "Doe"),
        # No code extensions in UTF-8: a lone escape character is a control character.
        (("ISO_IR 192",), b"A\x1b$B\xc3\xa9", "A\x1b$Bé"),
        (("ISO_IR 192", "ISO 2022 IR 87"), b"\xc3\xa9", "é"),
        # Value 1 is active again after a line, and the backslash is a delimiter.
        (("", "ISO 2022 IR 87"), b"\x1b$B;3\x1b(B\r\nA", "山\r\nA"),
        (("ISO 2022 IR 100", "ISO 2022 IR 126"), b"\x1b-F\xe4\\\xe4", "δ\\ä"),
        (("ISO 2022 IR 100", "ISO 2022 IR 126"), b"\x1b-F\xe4\n\xe4", "δ\nä"),
        # Spaces and controls are no part of a double byte set.
        (("", "ISO 2022 IR 87"), b"\x1b$B;3 ED\x1b(B", "山 田"),
    ],
)
def test_details(charsets: tuple[str, ...], raw: bytes, text: str) -> None:
    assert decode_text_checked(raw, charsets) == (text, False)


def test_component_delimiters_reset_names_only() -> None:
    charsets = ("ISO 2022 IR 100", "ISO 2022 IR 126")
    raw = b"\x1b-F\xe4^\xe4=\xe4"
    assert decode_text(raw, charsets, vr="PN") == "δ^ä=ä"
    assert decode_text(raw, charsets, vr="LO") == "δ^δ=δ"
    assert encode_text("δ^δ", charsets, vr="PN") == b"\x1b-F\xe4^\x1b-F\xe4"
    assert encode_text("δ^δ", charsets, vr="LO") == b"\x1b-F\xe4^\xe4"


def test_character_sets_do_not_apply_to_codes() -> None:
    assert decode_text_checked(b"\xc4", ("ISO_IR 100",), vr="CS") == ("\ufffd", True)
    with pytest.raises(DataSetError, match="CS can have ASCII"):
        encode_text("Ä", ("ISO_IR 100",), vr="CS")


@pytest.mark.parametrize(
    ("charsets", "text"),
    [
        ((), "ä"),
        (("ISO_IR 100",), "€"),
        (("ISO_IR 100",), "\x85"),
        (("ISO_IR 144",), "ä"),
        (("ISO_IR 13",), "山"),
        (("", "ISO 2022 IR 87"), "한"),
        (("GBK",), "😀"),
        (("ISO_IR 192",), "\ud800"),
        (("KLINGON",), "ä"),
    ],
)
def test_encode_refuses_what_does_not_fit(charsets: tuple[str, ...], text: str) -> None:
    with pytest.raises(DataSetError) as caught:
        encode_text(text, charsets)
    assert text not in caught.value.message


@pytest.mark.parametrize(
    ("text", "charsets"),
    [
        ("", ()),
        ("Doe^John", ()),
        ("Müller", ("ISO_IR 100",)),
        ("\x85", ("ISO_IR 192",)),
        ("Łódź", ("ISO_IR 192",)),
        ("山田", ("ISO_IR 192",)),
    ],
)
def test_charset_for(text: str, charsets: tuple[str, ...]) -> None:
    assert charset_for(text) == charsets
    assert decode_text(encode_text(text, charsets), charsets) == text


def test_text_of_pydicoms_charset_files() -> None:
    import pydicom
    from pydicom.data import get_charset_files

    names = 0
    for path in get_charset_files("*.dcm"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read, raw = pydicom.dcmread(path), pydicom.dcmread(path)
            declared = read.get("SpecificCharacterSet") or ()
            charsets = (declared,) if isinstance(declared, str) else tuple(declared)
            for element in read:
                item = raw.get_item(element.tag)
                if element.VR not in ("PN", "LO", "SH", "LT", "ST", "UT") or not item.value:
                    continue
                many = element.value if element.VM > 1 else [element.value]
                expected = "\\".join(str(value) for value in many)
                text, doubtful = decode_text_checked(item.value, charsets, vr=element.VR)
                assert text.rstrip(" \0").rstrip("=") == expected.rstrip(" \0"), Path(path).name
                assert not doubtful
                names += element.VR == "PN"
    assert names >= 17


def test_code_extensions_need_no_pydicom() -> None:
    code = (
        "import sys; from pypx.dicom.charset import decode_text; "
        "assert decode_text(b'\\x1b$B;3ED\\x1b(B', ('', 'ISO 2022 IR 87')) == '\\u5c71\\u7530'; "
        "assert 'pydicom' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
