"""Items and sub-items: type, length, value (PS3.8 §9.3.1), and the text in them.

In: the bytes of an A-ASSOCIATE-RQ or -AC, or of one item. Out: its items, or the
bytes for them. What an item means belongs to ``codec`` and ``user_information``.
"""

from __future__ import annotations

from struct import Struct

from pypx.errors import LocalProtocolError, RemoteProtocolError

__all__ = [
    "LONGEST_ITEM",
    "decode_text",
    "encode_item",
    "encode_text",
    "malformed",
    "pack_prefixed",
    "split_items",
    "take_prefixed",
]

_ITEM_HEADER = Struct(">BxH")
_LENGTH = Struct(">H")
LONGEST_ITEM = 0xFFFF
"""Bytes of the value of an item, at most: its length field has 2 bytes."""


def malformed(message: str) -> RemoteProtocolError:
    """Make the error for a PDU whose content breaks a rule: invalid PDU parameter value."""
    return RemoteProtocolError(message, abort_reason=6)


def split_items(data: bytes, where: str) -> list[tuple[int, bytes]]:
    """Cut data into its items.

    Args:
        data: Items one after the other, nothing before, between or behind them.
        where: What has the items, for the message.

    Returns:
        Type and value of each.

    Raises:
        RemoteProtocolError: An item does not end within the data.
    """
    items = []
    position, end = 0, len(data)
    unpack = _ITEM_HEADER.unpack_from
    while position < end:
        start = position + 4
        if start > end:
            raise malformed(f"{where} has {end - position} bytes behind its last item.")
        item_type, length = unpack(data, position)
        position = start + length
        if position > end:
            raise malformed(
                f"{where} has an item {item_type:02X}H of {length} bytes, "
                f"of which only {end - start} are there."
            )
        items.append((item_type, data[start:position]))
    return items


def encode_item(item_type: int, value: bytes) -> bytes:
    """Put the header of an item before its value.

    Raises:
        LocalProtocolError: The value is longer than the length field can say.
    """
    if len(value) > LONGEST_ITEM:
        raise LocalProtocolError(
            f"An item {item_type:02X}H cannot have {len(value)} bytes; at most {LONGEST_ITEM} fit."
        )
    return _ITEM_HEADER.pack(item_type, len(value)) + value


def take_prefixed(data: bytes, position: int, where: str) -> tuple[bytes, int]:
    """Give the value behind a 2-byte length, and the position behind the value.

    Raises:
        RemoteProtocolError: The value does not end within the data.
    """
    start = position + _LENGTH.size
    if start > len(data):
        raise malformed(f"{where} ends before its length field at byte {position}.")
    stop = start + int(_LENGTH.unpack_from(data, position)[0])
    if stop > len(data):
        raise malformed(
            f"{where} has a field of {stop - start} bytes, "
            f"of which only {len(data) - start} are there."
        )
    return data[start:stop], stop


def pack_prefixed(value: bytes) -> bytes:
    """Put a 2-byte length before a value.

    Raises:
        LocalProtocolError: The value is longer than the length field can say.
    """
    if len(value) > LONGEST_ITEM:
        raise LocalProtocolError(
            f"A field cannot have {len(value)} bytes; at most {LONGEST_ITEM} fit into an item."
        )
    return _LENGTH.pack(len(value)) + value


def decode_text(data: bytes) -> str:
    """Decode a UID or a name; padding behind it is no part of it.

    Never raises: a byte outside of the default repertoire becomes the character with
    its number, so what a hostile peer sent can still be compared and shown.
    """
    return data.rstrip(b"\0 ").decode("latin-1")


def encode_text(text: str) -> bytes:
    """Encode a UID, a name or an AE title.

    Raises:
        LocalProtocolError: A character has no byte.
    """
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise LocalProtocolError(
            f"{text!r} has a character that a PDU cannot carry: {text[error.start]!r}."
        ) from None
