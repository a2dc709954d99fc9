"""Data elements written by hand, field by field from PS3.5 section 7."""

from __future__ import annotations

from struct import pack

_SHORT_VRS = "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US"
SHORT = frozenset(_SHORT_VRS.split())
UNDEFINED = 0xFFFFFFFF


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    return pack("<HHL", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def explicit(tag: int, vr: str, value: bytes, length: int | None = None, order: str = "<") -> bytes:
    size = len(value) if length is None else length
    head = pack(f"{order}HH", tag >> 16, tag & 0xFFFF) + vr.encode("latin-1")
    return head + (pack(f"{order}H", size) if vr in SHORT else pack(f"{order}HL", 0, size)) + value


def big(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    return explicit(tag, vr, value, length, ">")


def item(content: bytes, length: int | None = None, order: str = "<") -> bytes:
    size = len(content) if length is None else length
    return pack(f"{order}HHL", 0xFFFE, 0xE000, size) + content


def item_end(order: str = "<") -> bytes:
    return pack(f"{order}HHL", 0xFFFE, 0xE00D, 0)


def sequence_end(order: str = "<") -> bytes:
    return pack(f"{order}HHL", 0xFFFE, 0xE0DD, 0)


def open_item(content: bytes, order: str = "<") -> bytes:
    """An item of undefined length."""
    return item(content, UNDEFINED, order) + item_end(order)


def open_sequence(tag: int, content: bytes, vr: str = "SQ", order: str = "<") -> bytes:
    """A sequence of undefined length in explicit VR."""
    return explicit(tag, vr, content, UNDEFINED, order) + sequence_end(order)


def implicit_open_sequence(tag: int, content: bytes) -> bytes:
    return implicit(tag, content, UNDEFINED) + sequence_end()


def nested(depth: int) -> bytes:
    """So many sequences of undefined length, each in the item of the one around it."""
    head = explicit(0x00081140, "SQ", b"", UNDEFINED) + item(b"", UNDEFINED)
    return head * depth + (item_end() + sequence_end()) * depth


def nested_with_lengths(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = explicit(0x00081140, "SQ", item(data))
    return data
