"""The seven PDUs of PS3.8 §9.3 as values, and their codes in words.

In: nothing. Out: types. How they look as bytes is in ``codec``; the rare user
information sub-items are in ``user_information``, so that they cost nothing to
whom does not meet them.

Codes that a peer sends are plain ``int``: it may send what no table has. The
enums name the defined ones and compare equal to them.
"""

from __future__ import annotations

from enum import IntEnum

from pypx.values import frozen

TYPE_CHECKING = False  # the module typing would cost more to import than this one
if TYPE_CHECKING:
    from pypx.ul.user_information import (
        AsynchronousOperationsWindow,
        RoleSelection,
        SOPClassCommonExtendedNegotiation,
        SOPClassExtendedNegotiation,
        UserIdentityAC,
        UserIdentityRQ,
    )

__all__ = [
    "APPLICATION_CONTEXT",
    "DEFAULT_MAXIMUM_LENGTH",
    "PDU",
    "PDV",
    "UNSTATED_MAXIMUM_LENGTH",
    "AAbort",
    "AAssociateAC",
    "AAssociateRJ",
    "AAssociateRQ",
    "AReleaseRP",
    "AReleaseRQ",
    "AbortReason",
    "AbortSource",
    "Bare",
    "ContextResult",
    "PDataTF",
    "PresentationContextAC",
    "PresentationContextRQ",
    "RejectResult",
    "RejectSource",
    "UserInformation",
    "abort_sentence",
    "reject_sentence",
]

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
"""The DICOM application context name, the only one there is (PS3.7 §A.2.1)."""

DEFAULT_MAXIMUM_LENGTH = 256 * 1024
"""The longest P-DATA-TF that we announce to receive, in bytes."""

UNSTATED_MAXIMUM_LENGTH = 16 * 1024
"""What is sent at most to a peer that leaves the maximum length sub-item out, in bytes."""


class RejectResult(IntEnum):
    """The result of an A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""

    PERMANENT = 1
    TRANSIENT = 2


class RejectSource(IntEnum):
    """Who rejects an association (PS3.8 Table 9-21)."""

    SERVICE_USER = 1
    SERVICE_PROVIDER_ACSE = 2
    SERVICE_PROVIDER_PRESENTATION = 3


class AbortSource(IntEnum):
    """Who aborts an association (PS3.8 Table 9-26)."""

    SERVICE_USER = 0
    SERVICE_PROVIDER = 2


class AbortReason(IntEnum):
    """Why a service-provider aborts an association (PS3.8 Table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class ContextResult(IntEnum):
    """The answer to one proposed presentation context (PS3.8 Table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@frozen
class PresentationContextRQ:
    """A proposed presentation context (PS3.8 §9.3.2.2).

    Attributes:
        context_id: Odd, 1 to 255.
        abstract_syntax: A SOP class UID; empty where the peer left it out.
        transfer_syntaxes: UIDs, those preferred first by custom only.
    """

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@frozen
class PresentationContextAC:
    """The answer to a proposed presentation context (PS3.8 §9.3.3.2).

    Attributes:
        context_id: That of the proposal.
        result: A :class:`ContextResult`.
        transfer_syntax: The chosen UID; without meaning where the context is rejected.
    """

    context_id: int
    result: int
    transfer_syntax: str


@frozen
class UserInformation:
    """What the two sides tell each other about themselves (PS3.8 Annex D, PS3.7 §D.3.3).

    Attributes:
        maximum_length: The longest P-DATA-TF that the sender of this receives, in
            bytes of its variable field; 0 for any length.
        implementation_class_uid: Which software; empty where it was left out.
        implementation_version_name: At most 16 characters; empty where left out.
        asynchronous_operations_window: How many operations at once; None for one.
        role_selections: One for each SOP class whose roles are not the default.
        extended_negotiations: Service class application information, by SOP class.
        common_extended_negotiations: Service classes, by SOP class; requests only.
        user_identity: Who asks, or the server's response to that.
    """

    maximum_length: int = DEFAULT_MAXIMUM_LENGTH
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    asynchronous_operations_window: AsynchronousOperationsWindow | None = None
    role_selections: tuple[RoleSelection, ...] = ()
    extended_negotiations: tuple[SOPClassExtendedNegotiation, ...] = ()
    common_extended_negotiations: tuple[SOPClassCommonExtendedNegotiation, ...] = ()
    user_identity: UserIdentityRQ | UserIdentityAC | None = None


@frozen
class AAssociateRQ:
    """A-ASSOCIATE-RQ: the request for an association (PS3.8 §9.3.2).

    Attributes:
        called_ae_title: Whom the requestor wants to reach. A title from a peer may
            have any characters: it is a label, for nothing but comparing and showing.
        calling_ae_title: What the requestor calls itself.
        presentation_contexts: At most 128.
        user_information: About the requestor.
        application_context: The application context name.
        protocol_version: A bit field; bit 0 is version 1, the only one.
    """

    called_ae_title: str
    calling_ae_title: str
    presentation_contexts: tuple[PresentationContextRQ, ...]
    user_information: UserInformation
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1


@frozen
class AAssociateAC:
    """A-ASSOCIATE-AC: the association is accepted (PS3.8 §9.3.3).

    Attributes:
        called_ae_title: As in the request; not to be tested.
        calling_ae_title: As in the request; not to be tested.
        presentation_contexts: One answer for each proposed context.
        user_information: About the acceptor.
        application_context: The application context name.
        protocol_version: A bit field; bit 0 is version 1, the only one.
    """

    called_ae_title: str
    calling_ae_title: str
    presentation_contexts: tuple[PresentationContextAC, ...]
    user_information: UserInformation
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1


@frozen
class AAssociateRJ:
    """A-ASSOCIATE-RJ: the association is rejected (PS3.8 §9.3.4).

    :func:`reject_sentence` says in words what the three codes mean together.
    """

    result: int
    source: int
    reason: int


@frozen
class PDV:
    """A presentation data value: a fragment of a message (PS3.8 §9.3.5.1, Annex E).

    Attributes:
        context_id: The presentation context of the message.
        is_command: Whether it is of the command set; else of the data set.
        is_last: Whether the command set or data set ends with it.
        data: The fragment without its message control header.
    """

    context_id: int
    is_command: bool
    is_last: bool
    data: bytes | memoryview


@frozen
class PDataTF:
    """P-DATA-TF as a whole (PS3.8 §9.3.5).

    Made by :func:`~pypx.ul.codec.decode_pdu` only: an association neither collects
    nor builds one, it passes the fragments on as they come.
    """

    pdvs: tuple[PDV, ...]


class Bare:
    """A value that says all it has to say by its type.

    Written out, since a dataclass costs nearly as much start-up time without fields.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class AReleaseRQ(Bare):
    """A-RELEASE-RQ: the wish to end the association in order (PS3.8 §9.3.6)."""

    __slots__ = ()


class AReleaseRP(Bare):
    """A-RELEASE-RP: the answer to A-RELEASE-RQ (PS3.8 §9.3.7)."""

    __slots__ = ()


@frozen
class AAbort:
    """A-ABORT: the association is over at once (PS3.8 §9.3.8).

    Attributes:
        source: An :class:`AbortSource`. Peers are careless with it: decide nothing by it.
        reason: An :class:`AbortReason`; without meaning where the user is the source.
    """

    source: int
    reason: int


PDU = AAssociateRQ | AAssociateAC | AAssociateRJ | PDataTF | AReleaseRQ | AReleaseRP | AAbort

_REJECT_RESULTS = {
    1: "The rejection is permanent: the same request will be rejected again.",
    2: "The rejection is transient: the same request may be accepted later.",
}
_REJECT_REASONS = {
    (1, 1): "The system refuses and gives no reason.",
    (1, 2): "The system does not know the DICOM application context that was proposed.",
    (1, 3): "The system does not know the calling AE title, the one of the side that asks.",
    (1, 7): "The system does not go by the called AE title, the one that it was addressed with.",
    (2, 1): "The network software of the system refuses and gives no reason.",
    (2, 2): "The network software of the system supports another version of the protocol only.",
    (3, 1): "The system is overloaded at the moment.",
    (3, 2): "The system already has as many associations as it allows.",
}
_ABORT_REASONS = {
    0: "Its network software gives no reason.",
    1: "Its network software received a kind of PDU that it does not know.",
    2: "Its network software received a PDU that it did not expect at that point.",
    4: "Its network software received a PDU with a parameter that it does not know.",
    5: "Its network software received a PDU with a parameter that it did not expect.",
    6: "Its network software received a PDU with a value that is not valid.",
}


def reject_sentence(result: int, source: int, reason: int) -> str:
    """Say what an A-ASSOCIATE-RJ means (PS3.8 Table 9-21), also one with undefined codes."""
    why = _REJECT_REASONS.get((source, reason))
    if why is None:
        why = (
            "The system gives a reason that DICOM does not define "
            f"(source {source}, reason {reason})."
        )
    then = _REJECT_RESULTS.get(result)
    if then is None:
        then = f"Whether asking again can help is not said (result {result})."
    return f"{why} {then}"


def abort_sentence(source: int, reason: int) -> str:
    """Say what an A-ABORT means (PS3.8 Table 9-26), also one with undefined codes."""
    if source == AbortSource.SERVICE_USER:
        return "The application ended the association; the protocol has no field to say why."
    if source == AbortSource.SERVICE_PROVIDER and reason in _ABORT_REASONS:
        return _ABORT_REASONS[reason]
    return f"The reason is none that DICOM defines (source {source}, reason {reason})."
