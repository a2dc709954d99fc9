"""How the head of a data element is written: tag, VR and length (PS3.5 section 7).

In: bytes and a position. Out: the fields of one header, and back to bytes. What follows
a header belongs to ``elements`` (whole data sets) and ``header`` (data sets in pieces).
"""

from __future__ import annotations

from enum import Enum
from struct import Struct

from pypx.dicom.dictionary import tag_text, vr_of
from pypx.errors import DataSetError

__all__ = [
    "DELIMITERS",
    "ITEM",
    "ITEM_DELIMITER",
    "MAX_DEPTH",
    "PIXEL_DATA_TAGS",
    "SEQUENCE_DELIMITER",
    "SHORT_VRS",
    "UNDEFINED_LENGTH",
    "VR_OF_CODE",
    "Encoding",
    "content_encoding",
    "encode_header",
    "encode_item_header",
    "encoding_of",
    "irregular_header",
    "is_encapsulated",
    "is_padding",
    "padding",
    "read_header",
    "read_item_header",
    "settle_encoding",
]

UNDEFINED_LENGTH = 0xFFFFFFFF
ITEM = 0xFFFEE000
ITEM_DELIMITER = 0xFFFEE00D
SEQUENCE_DELIMITER = 0xFFFEE0DD
DELIMITERS = frozenset((ITEM, ITEM_DELIMITER, SEQUENCE_DELIMITER))
_DELIMITER_GROUP = 0xFFFE
PIXEL_DATA_TAGS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))

#: How many sequences may stand inside each other; real data sets stay below 16.
MAX_DEPTH = 64

#: These have a length of two bytes in explicit VR (PS3.5 Table 7.1-2).
_SHORT_VRS = "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US"
SHORT_VRS = frozenset(_SHORT_VRS.split())
#: These, like all that the standard may add, have two reserved bytes and then four (7.1-1).
_LONG_VRS = "OB OD OF OL OV OW SQ SV UC UN UR UT UV"
VR_OF_CODE = {vr.encode(): vr for vr in (*SHORT_VRS, *_LONG_VRS.split())}
_TEXT_VRS = "AE AS CS DA DS DT IS LO LT PN SH ST TM UC UR UT"
_SPACE_PADDED = frozenset(_TEXT_VRS.split())
_MAX_SHORT_LENGTH = 0xFFFF


class Encoding(Enum):
    """How elements are written (PS3.5 §7.1).

    Attributes:
        explicit: Whether each element names its VR.
        order: The byte order as ``struct`` writes it: ``<`` or ``>``.
    """

    IMPLICIT_LITTLE = (False, "<")
    EXPLICIT_LITTLE = (True, "<")
    EXPLICIT_BIG = (True, ">")

    def __init__(self, explicit: bool, order: str) -> None:
        self.explicit = explicit
        self.order = order
        self.tag = Struct(f"{order}HH")
        self.short_header = Struct(f"{order}HH2sH")
        self.item_header = Struct(f"{order}HHL")
        self.length = Struct(f"{order}L")
        self.read_short_header = self.short_header.unpack_from
        self.read_item_header = self.item_header.unpack_from


def encoding_of(transfer_syntax_uid: str) -> Encoding:
    """Give the encoding of a transfer syntax (PS3.5 Annex A).

    All others than Implicit VR Little Endian and Explicit VR Big Endian, private ones
    too, are explicit little endian.
    """
    match transfer_syntax_uid:
        case "1.2.840.10008.1.2":
            return Encoding.IMPLICIT_LITTLE
        case "1.2.840.10008.1.2.2":
            return Encoding.EXPLICIT_BIG
        case _:
            return Encoding.EXPLICIT_LITTLE


def settle_encoding(data: bytes | memoryview, encoding: Encoding) -> Encoding:
    """Correct the encoding where the first element shows that the peer named a wrong one.

    There are senders that label implicit VR as explicit, and the other way round. The
    two are told apart by bytes 5 and 6: two capital letters, or the low half of a length.
    """
    code = bytes(data[4:6])
    if len(code) < 2:
        return encoding
    if not encoding.explicit:
        return Encoding.EXPLICIT_LITTLE if code in VR_OF_CODE else encoding
    if code not in VR_OF_CODE and encoding.order == "<" and not _is_printable(code):
        return Encoding.IMPLICIT_LITTLE
    return encoding


def _is_printable(code: bytes) -> bool:
    return all(0x20 <= byte <= 0x7E for byte in code)


def is_encapsulated(tag: int, vr: str) -> bool:
    """Say whether an element of undefined length holds fragments, not items (PS3.5 §A.4)."""
    return tag in PIXEL_DATA_TAGS or vr[0] == "O"


def is_padding(rest: bytes | memoryview, encoding: Encoding) -> bool:
    """Say whether the last bytes, too few for a header, are zeros behind the last element.

    In big endian a single zero is half a group number, and nobody pads there any more.
    """
    return encoding.order == "<" and not any(rest)


def content_encoding(vr: str, encoding: Encoding) -> Encoding:
    """Give the encoding inside of an element of undefined length.

    Only a sequence keeps that of its surroundings: UN, and so every VR that is not
    known, holds implicit VR little endian (PS3.5 §6.2.2).
    """
    return encoding if vr == "SQ" else Encoding.IMPLICIT_LITTLE


def read_header(
    data: bytes | memoryview, pos: int, end: int, encoding: Encoding
) -> tuple[int, str, int, int]:
    """Read tag, VR, length and start of the value of the element at ``pos``.

    Raises:
        DataSetError: The header does not end before ``end``.
    """
    if end - pos < 8:
        raise _cut_header(data, pos, end, encoding)
    if not encoding.explicit:
        group, number, length = encoding.read_item_header(data, pos)
        tag = group << 16 | number
        return tag, vr_of(tag), length, pos + 8
    group, number, code, length = encoding.read_short_header(data, pos)
    vr = VR_OF_CODE.get(code)
    if vr in SHORT_VRS:
        return group << 16 | number, vr, length, pos + 8
    header = irregular_header(data, pos, end, encoding)
    if header is None:
        raise _cut_header(data, pos, end, encoding)
    return group << 16 | number, *header


def read_item_header(
    data: bytes | memoryview, pos: int, end: int, encoding: Encoding
) -> tuple[int, int, int]:
    """Read tag, length and start of the item or delimiter at ``pos`` (PS3.5 §7.5).

    Raises:
        DataSetError: It does not end before ``end``.
    """
    if end - pos < 8:
        raise _cut_header(data, pos, end, encoding)
    group, number, length = encoding.read_item_header(data, pos)
    return group << 16 | number, length, pos + 8


def irregular_header(
    data: bytes | memoryview, pos: int, end: int, encoding: Encoding
) -> tuple[str, int, int] | None:
    """Read VR, length and start of the value where the VR is none with a short length.

    Two capital letters are a VR of this edition or a later one, and have a length of
    four bytes (PS3.5 §6.2); of a VR that is not known it is two if the reserved bytes
    are not zero. ``??``, blanks and zeros come from old software, with two bytes.
    Anything else is the length of implicit VR. Items and delimiters have that form too.

    Returns:
        None when the bytes up to ``end`` are too few for the header.
    """
    group, number, code, length = encoding.read_short_header(data, pos)
    tag = group << 16 | number
    vr = VR_OF_CODE.get(code)
    if vr is None and code.isalpha() and code.isupper():
        vr = code.decode("ascii")
        if length:
            return vr, length, pos + 8
    if vr is not None:
        if end - pos < 12:
            return None
        return vr, encoding.length.unpack_from(data, pos + 8)[0], pos + 12
    if group == _DELIMITER_GROUP or not (code == b"\0\0" or _is_printable(code)):
        length = encoding.length.unpack_from(data, pos + 4)[0]
    return vr_of(tag), length, pos + 8


def _cut_header(data: bytes | memoryview, pos: int, end: int, encoding: Encoding) -> DataSetError:
    name = "an element"
    if end - pos >= 4:
        group, number = encoding.tag.unpack_from(data, pos)
        name = tag_text(group << 16 | number)
    return DataSetError(f"The data set ends inside the header of {name}.")


def padding(vr: str, length: int) -> bytes:
    """Give what makes the length of a value even: nothing, a space or a zero (PS3.5 §6.2)."""
    if not length & 1:
        return b""
    return b" " if vr in _SPACE_PADDED else b"\0"


def encode_item_header(tag: int, length: int, encoding: Encoding) -> bytes:
    """Write an item or a delimiter."""
    return encoding.item_header.pack(tag >> 16, tag & 0xFFFF, length)


def encode_header(tag: int, vr: str, length: int, encoding: Encoding) -> bytes:
    """Write tag, VR and length.

    A value of more than 65535 bytes in a VR with a short length is written as UN (PS3.5
    §6.2.2), and so is whatever is no VR.

    Raises:
        DataSetError: The length needs more than four bytes.
    """
    group, number = tag >> 16, tag & 0xFFFF
    if length > UNDEFINED_LENGTH:
        raise DataSetError(f"The value of {tag_text(tag)} is longer than 4 GiB.")
    if not encoding.explicit:
        return encoding.item_header.pack(group, number, length)
    if vr in SHORT_VRS and length <= _MAX_SHORT_LENGTH:
        return encoding.short_header.pack(group, number, vr.encode(), length)
    is_code = len(vr) == 2 and vr.isascii() and vr.isalpha() and vr.isupper()
    code = vr.encode() if is_code and vr not in SHORT_VRS else b"UN"
    return encoding.short_header.pack(group, number, code, 0) + encoding.length.pack(length)
