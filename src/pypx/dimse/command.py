"""Command sets: messages to bytes and back (PS3.7 §6.3.1, Annex E).

A command set is always implicit VR little endian, group 0000 only. One table
ties each field name of a message to its tag and form. Nothing here knows which
message may follow which.
"""

from __future__ import annotations

import struct
from typing import Any

from pypx.dicom.elements import Element, Encoding, decode_elements, encode_elements
from pypx.dimse import messages
from pypx.dimse.messages import Message
from pypx.errors import DataSetError, RemoteProtocolError
from pypx.values import fields, required

__all__ = ["COMMAND_SET_LIMIT", "decode_command", "encode_command"]

COMMAND_SET_LIMIT = 64 * 1024
_GROUP_LENGTH = 0x00000000
_COMMAND_FIELD = 0x00000100
_COMMAND_DATA_SET_TYPE = 0x00000800
_NO_DATA_SET = 0x0101
_DATA_SET = 0x0001
_INVALID_PARAMETER = 6

# PS3.7 Table E.1-1: tag, field name, VR. In ascending order of tags, as a command set is.
_FIELDS: tuple[tuple[int, str, str], ...] = (
    (0x00000002, "affected_sop_class_uid", "UI"),
    (0x00000003, "requested_sop_class_uid", "UI"),
    (0x00000110, "message_id", "US"),
    (0x00000120, "message_id_being_responded_to", "US"),
    (0x00000600, "move_destination", "AE"),
    (0x00000700, "priority", "US"),
    (0x00000900, "status", "US"),
    (0x00000901, "offending_element", "AT"),
    (0x00000902, "error_comment", "LO"),
    (0x00000903, "error_id", "US"),
    (0x00001000, "affected_sop_instance_uid", "UI"),
    (0x00001001, "requested_sop_instance_uid", "UI"),
    (0x00001002, "event_type_id", "US"),
    (0x00001005, "attribute_identifier_list", "AT"),
    (0x00001008, "action_type_id", "US"),
    (0x00001020, "number_of_remaining_suboperations", "US"),
    (0x00001021, "number_of_completed_suboperations", "US"),
    (0x00001022, "number_of_failed_suboperations", "US"),
    (0x00001023, "number_of_warning_suboperations", "US"),
    (0x00001030, "move_originator_application_entity_title", "AE"),
    (0x00001031, "move_originator_message_id", "US"),
)
_BY_TAG = {tag: (name, vr) for tag, name, vr in _FIELDS}

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


def encode_command(message: Message) -> bytes:
    """Encode a message as a command set, group length included."""
    elements = [_unsigned_short(_COMMAND_FIELD, message.COMMAND_FIELD)]
    for tag, name, vr in _FIELDS:
        value = getattr(message, name, None)
        if value is not None:
            elements.append(_encode_field(tag, vr, value))
    kind = _DATA_SET if message.has_data_set else _NO_DATA_SET
    elements.append(_unsigned_short(_COMMAND_DATA_SET_TYPE, kind))
    elements.sort(key=lambda element: element.tag)
    body = encode_elements(elements, Encoding.IMPLICIT_LITTLE)
    length = Element(_GROUP_LENGTH, "UL", struct.pack("<I", len(body)))
    return encode_elements([length], Encoding.IMPLICIT_LITTLE) + body


def _unsigned_short(tag: int, value: int) -> Element:
    return Element(tag, "US", struct.pack("<H", value))


def _encode_field(tag: int, vr: str, value: Any) -> Element:
    match vr:
        case "US":
            return _unsigned_short(tag, value)
        case "AT":
            raw = b"".join(struct.pack("<HH", at >> 16, at & 0xFFFF) for at in value)
            return Element(tag, vr, raw)
        case _:
            # Only text that we wrote or that a peer sent as such comes here; a
            # character outside the default repertoire must not stop the message.
            raw = value.encode("ascii", "replace")
            padding = b"\0" if vr == "UI" else b" "
            return Element(tag, vr, raw + padding * (len(raw) % 2))


def decode_command(data: bytes | memoryview) -> Message:
    """Decode a whole command set.

    A wrong or missing group length is tolerated and unknown elements are passed
    over; peers send both.

    Raises:
        RemoteProtocolError: The bytes are no command set, the Command Field is
            unknown, or an element that the message must have is missing.
    """
    values: dict[str, Any] = {}
    command_field = data_set_type = None
    try:
        for element in decode_elements(data, Encoding.IMPLICIT_LITTLE):
            if element.tag >> 16:
                raise RemoteProtocolError(
                    f"The peer sent a command set with the tag {element.tag:08X}H.",
                    abort_reason=_INVALID_PARAMETER,
                )
            if element.tag == _COMMAND_FIELD:
                command_field = _decode_field("US", element)
            elif element.tag == _COMMAND_DATA_SET_TYPE:
                data_set_type = _decode_field("US", element)
            elif element.tag in _BY_TAG:
                name, vr = _BY_TAG[element.tag]
                values[name] = _decode_field(vr, element)
    except DataSetError as error:
        raise RemoteProtocolError(
            f"The peer sent bytes that are no command set: {error.message}",
            abort_reason=_INVALID_PARAMETER,
        ) from error
    has_data_set = data_set_type is not None and data_set_type != _NO_DATA_SET
    return _build(command_field, values, has_data_set)


def _decode_field(vr: str, element: Element) -> Any:
    """Give the field's value, None where the element is empty."""
    raw = bytes(element.value)
    if not raw:
        return None
    match vr:
        case "US":
            if len(raw) != 2:
                raise RemoteProtocolError(
                    f"The peer sent the command element (0000,{element.tag:04X}) "
                    f"with {len(raw)} bytes instead of 2.",
                    abort_reason=_INVALID_PARAMETER,
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


def _build(command_field: int | None, values: dict[str, Any], has_data_set: bool) -> Message:
    if command_field is None:
        raise RemoteProtocolError(
            "The peer sent a command set without a Command Field (0000,0100).",
            abort_reason=_INVALID_PARAMETER,
        )
    message = _MESSAGES.get(command_field)
    if message is None:
        # Loaded only here: no peer of a healthy exchange sends DIMSE-N.
        from pypx.dimse.n_services import N_SERVICES

        message = N_SERVICES.get(command_field)
    if message is None:
        raise RemoteProtocolError(
            f"The peer sent a command set with the unknown Command Field {command_field:04X}H.",
            abort_reason=_INVALID_PARAMETER,
        )
    known = {
        name: value
        for name, value in values.items()
        if name in fields(message) and value is not None
    }
    missing = required(message) - known.keys()
    if missing:
        raise RemoteProtocolError(
            f"The peer sent a {message.__name__} without {', '.join(sorted(missing))}.",
            abort_reason=_INVALID_PARAMETER,
        )
    return message(has_data_set=has_data_set, **known)  # type: ignore[call-arg]
