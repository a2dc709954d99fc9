"""Command sets: messages to bytes and back (PS3.7 §6.3.1, Annex E).

A command set is always implicit VR little endian, group 0000 only. One table
ties each field name of a message to its tag and form. Nothing here knows which
message may follow which.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from pypx.dicom.elements import Encoding, decode_elements
from pypx.dimse import messages
from pypx.dimse.messages import Message
from pypx.errors import DataSetError, RemoteProtocolError
from pypx.values import fields, required

__all__ = ["COMMAND_SET_LIMIT", "decode_command", "encode_command"]

COMMAND_SET_LIMIT = 64 * 1024
_COMMAND_FIELD = 0x0100
_COMMAND_DATA_SET_TYPE = 0x0800
_NO_DATA_SET = 0x0101
_DATA_SET = 0x0001
_ELEMENT = struct.Struct("<HHI")  # group, number, length

# PS3.7 Table E.1-1: number in group 0000, field name, VR. Ascending, as in a command set.
_FIELDS: tuple[tuple[int, str, str], ...] = (
    (0x0002, "affected_sop_class_uid", "UI"),
    (0x0003, "requested_sop_class_uid", "UI"),
    (_COMMAND_FIELD, "COMMAND_FIELD", "US"),
    (0x0110, "message_id", "US"),
    (0x0120, "message_id_being_responded_to", "US"),
    (0x0600, "move_destination", "AE"),
    (0x0700, "priority", "US"),
    (_COMMAND_DATA_SET_TYPE, "has_data_set", "data set"),
    (0x0900, "status", "US"),
    (0x0901, "offending_element", "AT"),
    (0x0902, "error_comment", "LO"),
    (0x0903, "error_id", "US"),
    (0x1000, "affected_sop_instance_uid", "UI"),
    (0x1001, "requested_sop_instance_uid", "UI"),
    (0x1002, "event_type_id", "US"),
    (0x1005, "attribute_identifier_list", "AT"),
    (0x1008, "action_type_id", "US"),
    (0x1020, "number_of_remaining_suboperations", "US"),
    (0x1021, "number_of_completed_suboperations", "US"),
    (0x1022, "number_of_failed_suboperations", "US"),
    (0x1023, "number_of_warning_suboperations", "US"),
    (0x1030, "move_originator_application_entity_title", "AE"),
    (0x1031, "move_originator_message_id", "US"),
)

_MESSAGES: dict[int, type[Message]] = {
    message.COMMAND_FIELD: message
    for message in (
        messages.CEchoRQ,
        messages.CEchoRSP,
        messages.CStoreRQ,
        messages.CStoreRSP,
        messages.CFindRQ,
        messages.CFindRSP,
        messages.CMoveRQ,
        messages.CMoveRSP,
        messages.CGetRQ,
        messages.CGetRSP,
        messages.CCancelRQ,
    )
}


class _Form(NamedTuple):
    """How one kind of message is a command set.

    Attributes:
        message: Its class.
        elements: Number, field name and VR of all elements, ascending.
        values: The same without the two that every message has.
        required: The names of those that a peer must send.
    """

    message: type[Message]
    elements: tuple[tuple[int, str, str], ...]
    values: tuple[tuple[int, str, str], ...]
    required: frozenset[str]


@lru_cache(maxsize=64)
def _form(message: type[Message]) -> _Form:
    names = {"COMMAND_FIELD", *fields(message)}
    elements = tuple(field for field in _FIELDS if field[1] in names)
    constant = (_COMMAND_FIELD, _COMMAND_DATA_SET_TYPE)
    values = tuple(field for field in elements if field[0] not in constant)
    return _Form(message, elements, values, required(message))


def encode_command(message: Message) -> bytes:
    """Encode a message as a command set, group length included."""
    parts: list[bytes] = []
    for number, name, vr in _form(type(message)).elements:
        value = getattr(message, name)
        if value is not None:
            raw = _encode_value(vr, value)
            parts += (_ELEMENT.pack(0, number, len(raw)), raw)
    body = b"".join(parts)
    return _ELEMENT.pack(0, 0, 4) + len(body).to_bytes(4, "little") + body


def _encode_value(vr: str, value: Any) -> bytes:
    match vr:
        case "US":
            return int(value).to_bytes(2, "little")
        case "data set":
            return _encode_value("US", _DATA_SET if value else _NO_DATA_SET)
        case "AT":
            return b"".join(struct.pack("<HH", at >> 16, at & 0xFFFF) for at in value)
        case _:
            # Only text that we wrote or that a peer sent as such comes here; a
            # character outside the default repertoire must not stop the message.
            # A UID of theirs goes back as it came, whatever it is.
            raw: bytes = value.encode("latin-1" if vr == "UI" else "ascii", "replace")
            return raw + (b"\0" if vr == "UI" else b" ") * (len(raw) % 2)


def decode_command(data: bytes | memoryview) -> Message:
    """Decode a whole command set.

    A wrong or missing group length is tolerated and unknown elements are passed
    over; peers send both.

    Raises:
        RemoteProtocolError: The bytes are no command set, the Command Field is
            unknown, or an element that the message must have is missing.
    """
    data = bytes(data)
    raw = _split(data)
    return _build(_split_strange(data) if raw is None else raw)


def _split(data: bytes) -> dict[int, bytes] | None:
    """Give the elements by number; None for what is not plain implicit VR of group 0000."""
    found = {}
    position, end = 0, len(data)
    while position + _ELEMENT.size <= end:
        group, number, length = _ELEMENT.unpack_from(data, position)
        start = position + _ELEMENT.size
        position = start + length
        if group or position > end:
            return None
        found[number] = data[start:position]
    return found if position == end else None


def _split_strange(data: bytes) -> dict[int, bytes]:
    """Do the same with what the decoder of data sets can make of it."""
    found = {}
    try:
        for element in decode_elements(data, Encoding.IMPLICIT_LITTLE):
            # Orthanc 1.10.1 puts the list of failed instances (0008,0058) of a C-GET here.
            if element.tag >> 16 == 0:
                found[element.tag] = bytes(element.value)
    except DataSetError as error:
        raise RemoteProtocolError(
            f"The peer sent bytes that are no command set: {error.message}",
            abort_reason=None,
        ) from error
    return found


def _build(raw: Mapping[int, bytes]) -> Message:
    command_field = _decode_value(_COMMAND_FIELD, "US", raw.get(_COMMAND_FIELD))
    form = _form(_message(command_field))
    known = {}
    for number, name, vr in form.values:
        value = _decode_value(number, vr, raw.get(number))
        if value is not None:
            known[name] = value
    missing = form.required - known.keys()
    if missing:
        raise RemoteProtocolError(
            f"The peer sent a {form.message.__name__} without {', '.join(sorted(missing))}.",
            abort_reason=None,
        )
    kind = _decode_value(_COMMAND_DATA_SET_TYPE, "US", raw.get(_COMMAND_DATA_SET_TYPE))
    has_data_set = kind is not None and kind != _NO_DATA_SET
    return form.message(has_data_set=has_data_set, **known)  # type: ignore[call-arg]


def _message(command_field: int | None) -> type[Message]:
    if command_field is None:
        raise RemoteProtocolError(
            "The peer sent a command set without a Command Field (0000,0100).",
            abort_reason=None,
        )
    message = _MESSAGES.get(command_field)
    if message is None:
        # Loaded only here: no peer of a healthy exchange sends DIMSE-N.
        from pypx.dimse.n_services import N_SERVICES

        message = N_SERVICES.get(command_field)
    if message is None:
        raise RemoteProtocolError(
            f"The peer sent a command set with the unknown Command Field {command_field:04X}H.",
            abort_reason=None,
        )
    return message


def _decode_value(number: int, vr: str, raw: bytes | None) -> Any:
    """Give the value of a field, None where the element is missing or empty."""
    if not raw:
        return None
    match vr:
        case "US":
            if len(raw) != 2:
                raise RemoteProtocolError(
                    f"The peer sent the command element (0000,{number:04X}) "
                    f"with {len(raw)} bytes instead of 2.",
                    abort_reason=None,
                )
            return int.from_bytes(raw, "little")
        case "AT":
            shorts = struct.unpack(f"<{len(raw) // 4 * 2}H", raw[: len(raw) // 4 * 4])
            return tuple(
                group << 16 | number
                for group, number in zip(shorts[::2], shorts[1::2], strict=True)
            )
        case "UI":
            return raw.decode("latin-1").rstrip("\0 ").lstrip(" ")
        case _:
            return raw.decode("latin-1").strip("\0 ")
