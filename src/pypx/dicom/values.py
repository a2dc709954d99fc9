"""Values: from the bytes of an element to text and numbers, and back (PS3.5 §6.2).

In: a VR and raw bytes. Out: a tuple of values; an empty value is ``()``. Reading never
fails: bytes that are no whole number are left out. Decimal and integer strings stay
text, as the peer wrote them.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct, calcsize, unpack_from
from struct import error as StructError

from pypx.dicom.charset import decode_text, encode_text
from pypx.dicom.dictionary import find_tag
from pypx.dicom.encoding import Encoding, padding
from pypx.errors import DataSetError

__all__ = [
    "TEXT_VRS",
    "Value",
    "decode_value",
    "encode_value",
    "swap_bytes",
    "text_of",
    "text_values",
]

Value = str | int | float | bytes

_TEXT_VRS = "AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT"
TEXT_VRS = frozenset(_TEXT_VRS.split())
_LONG_TEXTS = frozenset(("LT", "ST", "UC", "UR", "UT"))
_PADDING = " \0"
_ESCAPE = 0x1B
_FORMATS = {
    "FD": "d",
    "FL": "f",
    "SL": "l",
    "SS": "h",
    "SV": "q",
    "UL": "L",
    "US": "H",
    "UV": "Q",
}
#: Bytes of what changes with the byte order; all other VRs are strings of single bytes.
_WORD_SIZES = {vr: calcsize(f"<{code}") for vr, code in _FORMATS.items()} | {
    "AT": 2,
    "OD": 8,
    "OF": 4,
    "OL": 4,
    "OV": 8,
    "OW": 2,
}
_DS_LENGTH = 16


def text_values(vr: str, raw: bytes | memoryview, charsets: tuple[str, ...]) -> tuple[str, ...]:
    r"""Read the values of a text VR, split at the backslashes and without their padding.

    Spaces at the ends are padding, and leading ones mean nothing (PS3.5 Table 6.2-1),
    except in UC and in the texts of one value, LT, ST, UR and UT. Empty component groups
    at the end of a name mean nothing either (PS3.5 §6.2.1.1).
    """
    raw = bytes(raw)
    if raw.isascii() and _ESCAPE not in raw:  # nearly always, so it saves the way to decode_text
        text = raw.decode("ascii")
    else:
        text = decode_text(raw, charsets, vr=vr)
    if vr in _LONG_TEXTS:
        texts = text.split("\\") if vr == "UC" else [text]
        values = tuple([one.rstrip(_PADDING) for one in texts])
        return () if values == ("",) else values
    text = text.strip(_PADDING)
    if vr == "PN":
        text = text.rstrip("=")
    if "\\" not in text:
        return (text,) if text else ()
    return tuple(
        [one.strip(_PADDING).rstrip("=" if vr == "PN" else "") for one in text.split("\\")]
    )


def text_of(vr: str, raw: bytes | memoryview, charsets: tuple[str, ...]) -> str:
    r"""Read the values of a text VR as one text: those of ``text_values``, ``\`` between them."""
    raw = bytes(raw)
    if raw.isascii() and vr not in _LONG_TEXTS:
        text = raw.decode("ascii")
        if "\\" not in text and "\x1b" not in text:  # nearly always, so it saves the way below
            text = text.strip(_PADDING)
            return text.rstrip("=") if vr == "PN" else text
    return "\\".join(text_values(vr, raw, charsets))


def decode_value(
    vr: str, raw: bytes | memoryview, encoding: Encoding, charsets: tuple[str, ...] = ()
) -> tuple[Value, ...]:
    """Read the values of one element.

    Args:
        vr: Its VR.
        raw: Its bytes as on the wire.
        encoding: Decides about the byte order of numbers.
        charsets: The values of Specific Character Set.

    Returns:
        Text for text VRs, numbers for binary ones, ``ggggeeee`` for AT, and the bytes in
        one piece for OB, OW, UN and the like. Empty if there is no value.
    """
    if not raw:
        return ()
    if vr in TEXT_VRS:
        return text_values(vr, raw, charsets)
    if vr in _FORMATS:
        count = len(raw) // _WORD_SIZES[vr]
        numbers: tuple[int | float, ...] = unpack_from(
            f"{encoding.order}{count}{_FORMATS[vr]}", raw
        )
        return numbers
    if vr == "AT":
        pairs = Struct(f"{encoding.order}HH").iter_unpack(raw[: len(raw) // 4 * 4])
        return tuple(f"{group:04X}{number:04X}" for group, number in pairs)
    return (bytes(raw),)


def encode_value(
    vr: str,
    values: Iterable[Value | None],
    encoding: Encoding,
    charsets: tuple[str, ...] = (),
) -> bytes:
    """Write the values of one element, padded to an even length.

    Args:
        vr: The VR to write.
        values: Text, numbers or bytes; text is read as a number where the VR wants one,
            and the other way round. None is an empty value.
        encoding: Decides about the byte order of numbers.
        charsets: The values of Specific Character Set.

    Raises:
        DataSetError: A value does not fit the VR, or text the character sets.
    """
    if vr in _FORMATS:
        numbers = [_number(vr, value) for value in values if value not in (None, "")]
        try:
            return b"".join(Struct(encoding.order + _FORMATS[vr]).pack(n) for n in numbers)
        except (StructError, OverflowError):
            raise DataSetError(f"A number is too large for the VR {vr}.") from None
    if vr == "AT":
        pair = Struct(f"{encoding.order}HH")
        tags = [_tag(value) for value in values if value not in (None, "")]
        return b"".join(pair.pack(tag >> 16, tag & 0xFFFF) for tag in tags)
    if vr in TEXT_VRS:
        raw = encode_text("\\".join(_text(vr, value) for value in values), charsets, vr=vr)
    else:
        raw = b"".join(
            value
            if isinstance(value, bytes)
            else encode_text(_text("UT", value), charsets, vr="UT")
            for value in values
        )
    return raw + padding(vr, len(raw))


def _number(vr: str, value: Value | None) -> int | float:
    try:
        if vr in ("FD", "FL"):
            return float(value)  # type: ignore[arg-type]
        if isinstance(value, float):
            raise TypeError
        return int(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise DataSetError(f"The VR {vr} needs a number.") from None


def _tag(value: Value | None) -> int:
    tag = value if isinstance(value, int) else find_tag(str(value))
    if tag is None or not 0 <= tag <= 0xFFFFFFFF:
        raise DataSetError("The VR AT needs a tag like 00100020, or a keyword.")
    return tag


def _text(vr: str, value: Value | None) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case bytes():
            raise DataSetError(f"The VR {vr} needs text, and not bytes.")
        case float() if vr == "DS":
            return _decimal_string(value)
        case _:
            return str(value)


def _decimal_string(number: float) -> str:
    """Write a number in at most 16 characters (PS3.5 §6.2, VR DS), as exactly as they can."""
    texts = [repr(number), *(f"{number:.{digits}g}" for digits in range(15, 8, -1))]
    text = next((text for text in texts if len(text) <= _DS_LENGTH), "")
    if not text or not text[-1].isdigit():
        raise DataSetError("The VR DS needs a finite number.")
    return text


def swap_bytes(vr: str, raw: bytes | memoryview) -> bytes | memoryview:
    """Turn the bytes of each word around, where the VR has words: the other byte order."""
    size = _WORD_SIZES.get(vr)
    if size is None:
        return raw
    raw = bytes(raw)
    whole = len(raw) // size * size
    out = bytearray(raw)
    for offset in range(size):
        out[offset:whole:size] = raw[size - 1 - offset : whole : size]
    return bytes(out)
