"""The user information sub-items that few associations have (PS3.7 §D.3.3).

In: sub-items as bytes. Out: values, and back. The three that every association
has (maximum length, implementation class and version) are in ``codec``, which
imports this module only when it meets one of these::

    53H  asynchronous operations window    57H  SOP class common extended negotiation
    54H  SCP/SCU role selection            58H  user identity, request
    56H  SOP class extended negotiation    59H  user identity, response
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

from pypx.ul.items import (
    decode_text,
    encode_item,
    encode_text,
    malformed,
    pack_prefixed,
    take_prefixed,
)
from pypx.ul.pdu import UserInformation
from pypx.values import frozen, replace

__all__ = [
    "AsynchronousOperationsWindow",
    "RoleSelection",
    "SOPClassCommonExtendedNegotiation",
    "SOPClassExtendedNegotiation",
    "UserIdentityAC",
    "UserIdentityRQ",
    "UserIdentityType",
    "decode_rare_items",
    "encode_rare_items",
]

_WINDOW = Struct(">HH")
_ROLES = Struct("BB")
_IDENTITY = Struct("BB")


class UserIdentityType(IntEnum):
    """How a user identifies (PS3.7 Table D.3-14)."""

    USERNAME = 1
    USERNAME_AND_PASSCODE = 2
    KERBEROS = 3
    SAML = 4
    JWT = 5


@frozen
class AsynchronousOperationsWindow:
    """How many operations may be outstanding (PS3.7 §D.3.3.3); 0 is any number.

    Attributes:
        invoked: By the sender of this.
        performed: By the receiver of this.
    """

    invoked: int
    performed: int


@frozen
class RoleSelection:
    """The roles of the requestor for one SOP class (PS3.7 §D.3.3.4).

    Attributes:
        sop_class_uid: The SOP class.
        scu: Request: the requestor offers to be SCU. Answer: the acceptor agrees.
        scp: Request: the requestor offers to be SCP. Answer: the acceptor agrees.
    """

    sop_class_uid: str
    scu: bool
    scp: bool


@frozen
class SOPClassExtendedNegotiation:
    """What a service class has to say about one SOP class (PS3.7 §D.3.3.5).

    Attributes:
        sop_class_uid: The SOP class.
        application_information: Bytes that the service class defines (PS3.4).
    """

    sop_class_uid: str
    application_information: bytes


@frozen
class SOPClassCommonExtendedNegotiation:
    """To which service class a SOP class belongs (PS3.7 §D.3.3.6).

    Attributes:
        sop_class_uid: The SOP class.
        service_class_uid: Its service class.
        related_general_sop_classes: UIDs of SOP classes that it specialises.
    """

    sop_class_uid: str
    service_class_uid: str
    related_general_sop_classes: tuple[str, ...] = ()


@frozen
class UserIdentityRQ:
    """Who asks for the association (PS3.7 §D.3.3.7.1).

    Its ``repr`` shows a user name and never a credential, so it can be logged.

    Attributes:
        identity_type: A :class:`UserIdentityType`; an unknown one from a peer is kept.
        primary_field: The user name as UTF-8, or the ticket, assertion or token.
        secondary_field: The passcode as UTF-8; empty for every other type.
        positive_response_requested: Whether the requestor wants a :class:`UserIdentityAC`.
    """

    identity_type: int
    primary_field: bytes
    secondary_field: bytes = b""
    positive_response_requested: bool = False

    def __repr__(self) -> str:
        named = self.identity_type in (
            UserIdentityType.USERNAME,
            UserIdentityType.USERNAME_AND_PASSCODE,
        )
        primary = repr(self.primary_field) if named else f"<{len(self.primary_field)} bytes>"
        return (
            f"UserIdentityRQ(identity_type={self.identity_type}, primary_field={primary}, "
            f"secondary_field={'<hidden>' if self.secondary_field else '<empty>'}, "
            f"positive_response_requested={self.positive_response_requested})"
        )


@frozen
class UserIdentityAC:
    """The positive response to a user identity (PS3.7 §D.3.3.7.2).

    Attributes:
        server_response: Empty for user names; else a ticket, assertion or token.
    """

    server_response: bytes = b""

    def __repr__(self) -> str:
        return f"UserIdentityAC(server_response=<{len(self.server_response)} bytes>)"


def encode_rare_items(information: UserInformation) -> bytes:
    """Encode the sub-items that are defined in this module.

    Raises:
        LocalProtocolError: A value does not fit into its field.
        struct.error: A number does not fit; :func:`~pypx.ul.codec.encode_pdu` tells it.
    """
    encoded = []
    window = information.asynchronous_operations_window
    if window is not None:
        value = _WINDOW.pack(window.invoked, window.performed)
        encoded.append(encode_item(0x53, value))
    for role in information.role_selections:
        value = _uid(role.sop_class_uid) + _ROLES.pack(role.scu, role.scp)
        encoded.append(encode_item(0x54, value))
    for extended in information.extended_negotiations:
        value = _uid(extended.sop_class_uid) + extended.application_information
        encoded.append(encode_item(0x56, value))
    for common in information.common_extended_negotiations:
        related = b"".join(map(_uid, common.related_general_sop_classes))
        value = _uid(common.sop_class_uid) + _uid(common.service_class_uid) + pack_prefixed(related)
        encoded.append(encode_item(0x57, value))
    match information.user_identity:
        case UserIdentityRQ() as identity:
            value = (
                _IDENTITY.pack(identity.identity_type, identity.positive_response_requested)
                + pack_prefixed(identity.primary_field)
                + pack_prefixed(identity.secondary_field)
            )
            encoded.append(encode_item(0x58, value))
        case UserIdentityAC(response):
            encoded.append(encode_item(0x59, pack_prefixed(response)))
    return b"".join(encoded)


def decode_rare_items(
    information: UserInformation, items: list[tuple[int, bytes]]
) -> UserInformation:
    """Add the sub-items that are defined in this module.

    Raises:
        RemoteProtocolError: A sub-item breaks its structure.
    """
    window: AsynchronousOperationsWindow | None = None
    roles: list[RoleSelection] = []
    extended: list[SOPClassExtendedNegotiation] = []
    common: list[SOPClassCommonExtendedNegotiation] = []
    identity: UserIdentityRQ | UserIdentityAC | None = None
    for item_type, value in items:
        match item_type:
            case 0x53:
                window = _decode_window(value)
            case 0x54:
                roles.append(_decode_role(value))
            case 0x56:
                uid, position = take_prefixed(value, 0, "The extended negotiation sub-item")
                extended.append(SOPClassExtendedNegotiation(decode_text(uid), value[position:]))
            case 0x57:
                common.append(_decode_common(value))
            case 0x58:
                identity = _decode_identity(value)
            case 0x59:
                where = "The user identity response sub-item"
                identity = UserIdentityAC(take_prefixed(value, 0, where)[0])
    return replace(
        information,
        asynchronous_operations_window=window,
        role_selections=tuple(roles),
        extended_negotiations=tuple(extended),
        common_extended_negotiations=tuple(common),
        user_identity=identity,
    )


def _uid(uid: str) -> bytes:
    return pack_prefixed(encode_text(uid))


def _decode_window(value: bytes) -> AsynchronousOperationsWindow:
    if len(value) != _WINDOW.size:
        raise malformed(
            f"The asynchronous operations window sub-item has {len(value)} bytes, not 4."
        )
    return AsynchronousOperationsWindow(*_WINDOW.unpack(value))


def _decode_role(value: bytes) -> RoleSelection:
    uid, position = take_prefixed(value, 0, "The role selection sub-item")
    if len(value) - position != _ROLES.size:
        raise malformed(
            f"The role selection sub-item has {len(value) - position} bytes for two roles, not 2."
        )
    scu, scp = _ROLES.unpack_from(value, position)
    return RoleSelection(decode_text(uid), bool(scu), bool(scp))


def _decode_common(value: bytes) -> SOPClassCommonExtendedNegotiation:
    where = "The common extended negotiation sub-item"
    sop_class, position = take_prefixed(value, 0, where)
    service_class, position = take_prefixed(value, position, where)
    related, position = take_prefixed(value, position, where)
    classes = []
    position = 0
    while position < len(related):
        uid, position = take_prefixed(related, position, where)
        classes.append(decode_text(uid))
    return SOPClassCommonExtendedNegotiation(
        decode_text(sop_class), decode_text(service_class), tuple(classes)
    )


def _decode_identity(value: bytes) -> UserIdentityRQ:
    where = "The user identity sub-item"
    if len(value) < _IDENTITY.size:
        raise malformed(f"{where} has {len(value)} bytes, fewer than its first two fields.")
    identity_type, response = _IDENTITY.unpack_from(value)
    primary, position = take_prefixed(value, _IDENTITY.size, where)
    secondary, _ = take_prefixed(value, position, where)
    return UserIdentityRQ(identity_type, primary, secondary, bool(response))
