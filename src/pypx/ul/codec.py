"""PDUs to bytes and back (PS3.8 §9.3).

In: a PDU, or the type and body of one. Out: bytes, or a PDU. Which PDU is allowed
when, and PDUs that are not whole yet, belong to ``association`` and ``reader``.

Reserved fields are sent as 0 and never tested. Items and sub-items of unknown
type are ignored (PS3.8 §9.3.1, §D.2).
"""

from __future__ import annotations

import struct
from struct import Struct

from pypx.errors import LocalProtocolError, RemoteProtocolError
from pypx.ul.items import (
    LONGEST_ITEM,
    decode_text,
    encode_item,
    encode_text,
    malformed,
    split_items,
)
from pypx.ul.pdu import (
    PDU,
    PDV,
    UNSTATED_MAXIMUM_LENGTH,
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AReleaseRP,
    AReleaseRQ,
    PDataTF,
    PresentationContextAC,
    PresentationContextRQ,
    UserInformation,
)

__all__ = ["PDU_NAMES", "PDV_OVERHEAD", "decode_pdu", "encode_p_data_header", "encode_pdu"]

PDU_NAMES = {
    0x01: "A-ASSOCIATE-RQ",
    0x02: "A-ASSOCIATE-AC",
    0x03: "A-ASSOCIATE-RJ",
    0x04: "P-DATA-TF",
    0x05: "A-RELEASE-RQ",
    0x06: "A-RELEASE-RP",
    0x07: "A-ABORT",
}
"""The PDU types, by their code."""

PDV_OVERHEAD = 6
"""Bytes that the header of a PDV takes of the maximum length."""

_PDU_HEADER = Struct(">BxL")
_ASSOCIATE = Struct(">Hxx16s16s32x")
_CONTEXT = Struct("BxBx")
_THREE_CODES = Struct("xBBB")
_TWO_CODES = Struct("xxBB")
_MAXIMUM_LENGTH = Struct(">L")
_PDV_HEADER = Struct(">LBB")
_P_DATA_HEADER = Struct(">BxLLBB")
_AE_TITLE_LENGTH = 16
# Context IDs are 1 byte, so whoever sends more contexts is up to no good; those up to
# this number are decoded, so that the acceptor can say what is wrong with them.
_CONTEXT_LIMIT = 1024


def encode_pdu(pdu: PDU) -> bytes:
    """Encode a whole PDU, header included.

    Raises:
        LocalProtocolError: A value does not fit into its field.
    """
    try:
        pdu_type, body = _encode_body(pdu)
        return _PDU_HEADER.pack(pdu_type, len(body)) + body
    except struct.error as error:
        raise LocalProtocolError(
            f"A number in the {type(pdu).__name__} does not fit into its field: {error}."
        ) from error


def encode_p_data_header(context_id: int, is_command: bool, is_last: bool, size: int) -> bytes:
    """Encode what stands before the data of a P-DATA-TF with one PDV (PS3.8 §9.3.5).

    Args:
        context_id: The presentation context, odd, 1 to 255.
        is_command: Whether the data is of a command set.
        is_last: Whether it is the last fragment.
        size: Length of the data in bytes.

    Returns:
        12 bytes; the data follows them on the wire.

    Raises:
        LocalProtocolError: The context ID or the size is out of range.
    """
    if not context_id & 1:
        raise LocalProtocolError(f"{context_id} is no presentation context ID: those are odd.")
    try:
        return _P_DATA_HEADER.pack(4, size + 6, size + 2, context_id, is_command | is_last << 1)
    except struct.error:
        raise LocalProtocolError(
            f"A fragment of {size} bytes in presentation context {context_id} cannot be sent."
        ) from None


def decode_pdu(pdu_type: int, body: bytes, longest: int = LONGEST_ITEM) -> PDU:
    """Decode what follows the header of a PDU.

    Args:
        pdu_type: The first byte of the header.
        body: All bytes behind the 6 of the header, and no more.
        longest: Bytes of the user information, if it has one, at most.

    Raises:
        RemoteProtocolError: The body breaks its structure (``abort_reason`` 6), or no
            PDU has this type (1).
    """
    match pdu_type:
        case 0x01:
            return _decode_rq(body, longest)
        case 0x02:
            return _decode_ac(body, longest)
        case 0x03:
            return AAssociateRJ(*_unpack_codes(_THREE_CODES, body, pdu_type))
        case 0x04:
            return _decode_p_data(body)
        case 0x05:
            _unpack_codes(_TWO_CODES, body, pdu_type)
            return AReleaseRQ()
        case 0x06:
            _unpack_codes(_TWO_CODES, body, pdu_type)
            return AReleaseRP()
        case 0x07:
            return AAbort(*_unpack_codes(_TWO_CODES, body, pdu_type))
        case _:
            raise RemoteProtocolError(
                f"A PDU of type {pdu_type:02X}H does not exist.", abort_reason=1
            )


def _encode_body(pdu: PDU) -> tuple[int, bytes]:
    match pdu:
        case AAssociateRQ():
            contexts = b"".join(map(_encode_context_rq, pdu.presentation_contexts))
            return 0x01, _encode_associate(pdu, contexts)
        case AAssociateAC():
            contexts = b"".join(map(_encode_context_ac, pdu.presentation_contexts))
            return 0x02, _encode_associate(pdu, contexts)
        case AAssociateRJ(result, source, reason):
            return 0x03, _THREE_CODES.pack(result, source, reason)
        case PDataTF(pdvs):
            return 0x04, b"".join(map(_encode_pdv, pdvs))
        case AReleaseRQ():
            return 0x05, bytes(4)
        case AReleaseRP():
            return 0x06, bytes(4)
        case AAbort(source, reason):
            return 0x07, _TWO_CODES.pack(source, reason)


def _encode_associate(pdu: AAssociateRQ | AAssociateAC, contexts: bytes) -> bytes:
    called, calling = map(_encode_ae_title, (pdu.called_ae_title, pdu.calling_ae_title))
    return (
        _ASSOCIATE.pack(pdu.protocol_version, called, calling)
        + encode_item(0x10, encode_text(pdu.application_context))
        + contexts
        + encode_item(0x50, _encode_user_information(pdu.user_information))
    )


def _encode_ae_title(title: str) -> bytes:
    encoded = encode_text(title)
    if len(encoded) > _AE_TITLE_LENGTH:
        raise LocalProtocolError(f"The AE title {title!r} has more than 16 characters.")
    return encoded.ljust(_AE_TITLE_LENGTH)


def _encode_context_rq(context: PresentationContextRQ) -> bytes:
    value = _CONTEXT.pack(context.context_id, 0)
    value += encode_item(0x30, encode_text(context.abstract_syntax))
    for syntax in context.transfer_syntaxes:
        value += encode_item(0x40, encode_text(syntax))
    return encode_item(0x20, value)


def _encode_context_ac(context: PresentationContextAC) -> bytes:
    value = _CONTEXT.pack(context.context_id, context.result)
    return encode_item(0x21, value + encode_item(0x40, encode_text(context.transfer_syntax)))


def _encode_user_information(information: UserInformation) -> bytes:
    value = encode_item(0x51, _MAXIMUM_LENGTH.pack(information.maximum_length))
    if information.implementation_class_uid:
        value += encode_item(0x52, encode_text(information.implementation_class_uid))
    if information.implementation_version_name:
        value += encode_item(0x55, encode_text(information.implementation_version_name))
    if (
        information.asynchronous_operations_window
        or information.role_selections
        or information.extended_negotiations
        or information.common_extended_negotiations
        or information.user_identity
    ):
        # Most associations have none of these: their classes are not worth the start-up time.
        from pypx.ul.user_information import encode_rare_items

        value += encode_rare_items(information)
    return value


def _encode_pdv(pdv: PDV) -> bytes:
    control = pdv.is_command | pdv.is_last << 1
    return _PDV_HEADER.pack(len(pdv.data) + 2, pdv.context_id, control) + bytes(pdv.data)


def _unpack_codes(fields: Struct, body: bytes, pdu_type: int) -> tuple[int, ...]:
    if len(body) != fields.size:
        raise malformed(f"The {PDU_NAMES[pdu_type]} has a body of {len(body)} bytes, not 4.")
    return fields.unpack(body)


def _decode_rq(body: bytes, longest: int) -> AAssociateRQ:
    version, called, calling, items = _split_associate(body, 0x01)
    contexts = [_decode_context_rq(value) for item_type, value in items if item_type == 0x20]
    information = _find_user_information(items, longest)
    return AAssociateRQ(called, calling, tuple(contexts), information, _find_name(items), version)


def _decode_ac(body: bytes, longest: int) -> AAssociateAC:
    version, called, calling, items = _split_associate(body, 0x02)
    contexts = [_decode_context_ac(value) for item_type, value in items if item_type == 0x21]
    information = _find_user_information(items, longest)
    return AAssociateAC(called, calling, tuple(contexts), information, _find_name(items), version)


def _split_associate(body: bytes, pdu_type: int) -> tuple[int, str, str, list[tuple[int, bytes]]]:
    name = PDU_NAMES[pdu_type]
    if len(body) < _ASSOCIATE.size:
        raise malformed(f"The {name} has a body of {len(body)} bytes, fewer than its fixed fields.")
    version, called, calling = _ASSOCIATE.unpack_from(body)
    items = split_items(body[_ASSOCIATE.size :], f"The {name}")
    counts = dict.fromkeys((0x10, 0x20, 0x21, 0x50), 0)
    for item_type, _ in items:
        if item_type in counts:
            counts[item_type] += 1
    if counts[0x10] > 1 or counts[0x50] > 1:
        raise malformed(f"The {name} has an application context or user information item twice.")
    if max(counts.values()) > _CONTEXT_LIMIT:
        raise malformed(f"The {name} has {max(counts.values())} presentation contexts.")
    return version, _decode_ae_title(called), _decode_ae_title(calling), items


def _decode_ae_title(field: bytes) -> str:
    return field.decode("latin-1").strip(" \0")


def _find_name(items: list[tuple[int, bytes]]) -> str:
    for item_type, value in items:
        if item_type == 0x10:
            return decode_text(value)
    return ""


def _find_user_information(items: list[tuple[int, bytes]], longest: int) -> UserInformation:
    for item_type, value in items:
        if item_type == 0x50:
            if len(value) > longest:
                raise malformed(f"The user information has {len(value)} bytes; we take {longest}.")
            return _decode_user_information(value)
    return UserInformation(UNSTATED_MAXIMUM_LENGTH)


def _decode_context_rq(value: bytes) -> PresentationContextRQ:
    context_id, _ = _unpack_context(value)
    abstract = []
    transfer = []
    for item_type, uid in split_items(
        value[_CONTEXT.size :], f"The proposed presentation context {context_id}"
    ):
        if item_type == 0x40:
            transfer.append(decode_text(uid))
        elif item_type == 0x30:
            abstract.append(decode_text(uid))
    if len(abstract) > 1:
        raise malformed(
            f"The proposed presentation context {context_id} has {len(abstract)} abstract syntaxes."
        )
    return PresentationContextRQ(context_id, "".join(abstract), tuple(transfer))


def _decode_context_ac(value: bytes) -> PresentationContextAC:
    context_id, result = _unpack_context(value)
    items = split_items(
        value[_CONTEXT.size :], f"The answer to the presentation context {context_id}"
    )
    transfer = [decode_text(uid) for item_type, uid in items if item_type == 0x40]
    if len(transfer) > 1 and result == 0:
        raise malformed(
            f"The answer to the presentation context {context_id} has "
            f"{len(transfer)} transfer syntaxes."
        )
    return PresentationContextAC(context_id, result, transfer[0] if transfer else "")


def _unpack_context(value: bytes) -> tuple[int, int]:
    if len(value) < _CONTEXT.size:
        raise malformed(f"A presentation context item has {len(value)} bytes, fewer than 4.")
    context_id, result = _CONTEXT.unpack_from(value)
    return context_id, result


def _decode_user_information(data: bytes) -> UserInformation:
    maximum_length = UNSTATED_MAXIMUM_LENGTH
    class_uid = version_name = ""
    rare: list[tuple[int, bytes]] = []
    for item_type, value in split_items(data, "The user information"):
        match item_type:
            case 0x51:
                if len(value) != _MAXIMUM_LENGTH.size:
                    raise malformed(f"The maximum length sub-item has {len(value)} bytes, not 4.")
                (maximum_length,) = _MAXIMUM_LENGTH.unpack(value)
            case 0x52:
                class_uid = decode_text(value)
            case 0x55:
                version_name = decode_text(value)
            case 0x53 | 0x54 | 0x56 | 0x57 | 0x58 | 0x59:
                rare.append((item_type, value))
    information = UserInformation(maximum_length, class_uid, version_name)
    if rare:
        # Most associations have none of these: their classes are not worth the start-up time.
        from pypx.ul.user_information import decode_rare_items

        return decode_rare_items(information, rare)
    return information


def _decode_p_data(body: bytes) -> PDataTF:
    pdvs = []
    position, end = 0, len(body)
    while position < end:
        if end - position < PDV_OVERHEAD:
            raise malformed(f"The P-DATA-TF has {end - position} bytes behind its last PDV.")
        length, context_id, control = _PDV_HEADER.unpack_from(body, position)
        stop = position + 4 + length
        if length < 2 or stop > end:
            raise malformed(f"A PDV of {length} bytes does not fit into its P-DATA-TF.")
        data = body[position + PDV_OVERHEAD : stop]
        pdvs.append(PDV(context_id, bool(control & 1), bool(control & 2), data))
        position = stop
    if not pdvs:
        raise malformed("The P-DATA-TF has no PDV.")
    return PDataTF(tuple(pdvs))
