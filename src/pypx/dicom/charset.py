"""Text of a data set: Specific Character Set (0008,0005), PS3.3 §C.12.1.1.2, PS3.5 §6.1.

In: bytes and the values of Specific Character Set. Out: text, and back to bytes. Reading
never fails: what cannot be read becomes U+FFFD, and the caller is told. Splitting text
into values belongs to ``values``: it must come after decoding, because the byte of the
backslash is also the second byte of characters in GBK, GB18030 and ISO 2022 IR 87.
"""

from __future__ import annotations

from functools import lru_cache

from pypx.errors import DataSetError

__all__ = [
    "CHARSET_VRS",
    "charset_for",
    "decode_text",
    "decode_text_checked",
    "encode_text",
    "is_known",
]

#: The VRs that Specific Character Set applies to (PS3.5 §6.1.2.3); all others are ASCII.
CHARSET_VRS = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))

#: ISO-IR number: codec of Python. PS3.3 Table C.12-2; 87 and 159 begin with ASCII.
_CODECS = {
    "6": "ascii",
    "13": "shift_jis",
    "58": "gb2312",
    "87": "ascii",
    "100": "iso8859_1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "126": "iso8859_7",
    "127": "iso8859_6",
    "138": "iso8859_8",
    "144": "iso8859_5",
    "148": "iso8859_9",
    "149": "euc_kr",
    "159": "ascii",
    "166": "iso8859_11",
    "203": "iso8859_15",
    "192": "utf-8",
    "GB18030": "gb18030",
    "GBK": "gbk",
}
#: No code extensions with these: PS3.3 Table C.12-5.
_STAND_ALONE = frozenset(("192", "GB18030", "GBK"))
_DEFAULT = "6"
#: What senders write instead of the defined terms, without blanks and punctuation.
_MISSPELLINGS = {
    "": _DEFAULT,
    "ASCII": _DEFAULT,
    "ISO646": _DEFAULT,
    "USASCII": _DEFAULT,
    "LATIN1": "100",
    "ISO88591": "100",
    "ISO88592": "101",
    "ISO88593": "109",
    "ISO88594": "110",
    "ISO88595": "144",
    "ISO88596": "127",
    "ISO88597": "126",
    "ISO88598": "138",
    "ISO88599": "148",
    "ISO885915": "203",
    "UTF8": "192",
    "UNICODE11UTF8": "192",
    "GB18030": "GB18030",
    "GBK": "GBK",
    "ISO2022GBK": "GBK",
    "ISO2022GB18030": "GB18030",
    "ISO202258": "58",
}
_ESCAPE = 0x1B


def _number(term: str) -> str | None:
    """Give the key into the codecs of one value of Specific Character Set."""
    squeezed = "".join(c for c in term.upper() if c.isalnum())
    for prefix in ("ISO2022IR", "ISOIR", "IR"):
        if squeezed.startswith(prefix):
            number = squeezed.removeprefix(prefix)
            return number if number in _CODECS else None
    return _MISSPELLINGS.get(squeezed)


def is_known(term: str) -> bool:
    """Say whether this is a value of Specific Character Set that can be read."""
    return _number(term) is not None


@lru_cache(256)
def _numbers(charsets: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    """Give the character sets by number, at least one, and whether all terms are known."""
    found = [_number(term) for term in charsets] or [_DEFAULT]
    if found[0] in _STAND_ALONE:
        return (found[0],), True
    known = tuple(number for number in found if number and number not in _STAND_ALONE)
    return (known or (_DEFAULT,)), len(known) == len(found)


def decode_text(raw: bytes | memoryview, charsets: tuple[str, ...], *, vr: str = "LO") -> str:
    """Read text; what cannot be read becomes U+FFFD.

    Args:
        raw: The value, with all its delimiters and its padding.
        charsets: The values of Specific Character Set; empty if there is none.
        vr: Decides whether the character sets apply, and about delimiters in names.
    """
    return decode_text_checked(raw, charsets, vr=vr)[0]


def decode_text_checked(
    raw: bytes | memoryview, charsets: tuple[str, ...], *, vr: str = "LO"
) -> tuple[str, bool]:
    """Read text, and say whether it is doubtful.

    It is doubtful if bytes were replaced, a term of Specific Character Set is not known,
    or there is none and the bytes are UTF-8 by their looks.
    """
    raw = bytes(raw)
    if raw.isascii() and _ESCAPE not in raw:
        return raw.decode("ascii"), False
    numbers, known = _numbers(charsets if vr in CHARSET_VRS else ())
    first = numbers[0]
    if first not in _STAND_ALONE and (_ESCAPE in raw or len(numbers) > 1):
        from pypx.dicom import iso2022  # rare, and it compiles a pattern

        text, broken = iso2022.decode(raw, numbers, is_person_name=vr == "PN")
        return text, broken or not known
    codec = _CODECS[first]
    try:
        return raw.decode("utf-8" if codec == "ascii" else codec), not known or codec == "ascii"
    except UnicodeDecodeError:
        return raw.decode(codec, "replace"), True


def encode_text(text: str, charsets: tuple[str, ...], *, vr: str = "LO") -> bytes:
    """Write text.

    Raises:
        DataSetError: A character is in none of the character sets.
    """
    if text.isascii():
        return text.encode("ascii")
    if vr not in CHARSET_VRS:
        raise DataSetError(f"A value of VR {vr} can have ASCII characters only.")
    numbers, _ = _numbers(charsets)
    if numbers[0] in _STAND_ALONE:
        try:
            return text.encode(_CODECS[numbers[0]])
        except UnicodeEncodeError:
            raise _misfit(charsets) from None
    from pypx.dicom import iso2022  # rare, and it compiles a pattern

    encoded = iso2022.encode(text, numbers, is_person_name=vr == "PN")
    if encoded is None:
        raise _misfit(charsets)
    return encoded


def _misfit(charsets: tuple[str, ...]) -> DataSetError:
    name = "\\".join(charsets) or "ASCII"
    return DataSetError(
        f"The text has characters that are not in the character set {name}.",
        hint="ISO_IR 192 (UTF-8) has all characters.",
    )


def charset_for(text: str) -> tuple[str, ...]:
    """Give the most common character set that can hold the text; none for ASCII."""
    if text.isascii():
        return ()
    if all(c < "\x80" or "\xa0" <= c <= "\xff" for c in text):
        return ("ISO_IR 100",)
    return ("ISO_IR 192",)
