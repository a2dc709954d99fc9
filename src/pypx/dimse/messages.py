"""The DIMSE-C messages of PS3.7 §9.3, a frozen value each.

In and out: field values as the command set carries them. A field that is None
is absent from the command set. ``has_data_set`` stands for the Command Data Set
Type (0000,0800). The table that ties field names to tags is in ``command.py``;
the DIMSE-N messages are in ``n_services.py``, which only a peer that sends one loads.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from pypx.values import frozen

__all__ = [
    "CCancelRQ",
    "CEchoRQ",
    "CEchoRSP",
    "CFindRQ",
    "CFindRSP",
    "CGetRQ",
    "CMoveRQ",
    "CRetrieveRSP",
    "CStoreRQ",
    "CStoreRSP",
    "Message",
    "CGetRSP",
    "CMoveRSP",
    "Priority",
]


class Priority:
    """Values of Priority (0000,0700), PS3.7 Table E.1-1."""

    MEDIUM = 0
    HIGH = 1
    LOW = 2


class Message(Protocol):
    """What all messages have."""

    COMMAND_FIELD: ClassVar[int]

    @property
    def has_data_set(self) -> bool:
        """Whether a data set follows the command set."""
        ...


@frozen
class CEchoRQ:
    """C-ECHO-RQ (PS3.7 §9.3.5.1)."""

    COMMAND_FIELD: ClassVar[int] = 0x0030
    message_id: int
    affected_sop_class_uid: str = "1.2.840.10008.1.1"
    has_data_set: bool = False


@frozen
class CEchoRSP:
    """C-ECHO-RSP (PS3.7 §9.3.5.2)."""

    COMMAND_FIELD: ClassVar[int] = 0x8030
    message_id_being_responded_to: int
    status: int
    affected_sop_class_uid: str | None = "1.2.840.10008.1.1"
    error_comment: str | None = None
    has_data_set: bool = False


@frozen
class CStoreRQ:
    """C-STORE-RQ (PS3.7 §9.3.1.1)."""

    COMMAND_FIELD: ClassVar[int] = 0x0001
    message_id: int
    affected_sop_class_uid: str
    affected_sop_instance_uid: str
    priority: int | None = Priority.MEDIUM
    move_originator_application_entity_title: str | None = None
    move_originator_message_id: int | None = None
    has_data_set: bool = True


@frozen
class CStoreRSP:
    """C-STORE-RSP (PS3.7 §9.3.1.2)."""

    COMMAND_FIELD: ClassVar[int] = 0x8001
    message_id_being_responded_to: int
    status: int
    affected_sop_class_uid: str | None = None
    affected_sop_instance_uid: str | None = None
    offending_element: tuple[int, ...] | None = None
    error_comment: str | None = None
    has_data_set: bool = False


@frozen
class CFindRQ:
    """C-FIND-RQ (PS3.7 §9.3.2.1); the identifier is its data set."""

    COMMAND_FIELD: ClassVar[int] = 0x0020
    message_id: int
    affected_sop_class_uid: str
    priority: int | None = Priority.MEDIUM
    has_data_set: bool = True


@frozen
class CFindRSP:
    """C-FIND-RSP (PS3.7 §9.3.2.2); a pending one carries a match as its data set."""

    COMMAND_FIELD: ClassVar[int] = 0x8020
    message_id_being_responded_to: int
    status: int
    affected_sop_class_uid: str | None = None
    offending_element: tuple[int, ...] | None = None
    error_comment: str | None = None
    has_data_set: bool = False


@frozen
class CMoveRQ:
    """C-MOVE-RQ (PS3.7 §9.3.4.1)."""

    COMMAND_FIELD: ClassVar[int] = 0x0021
    message_id: int
    affected_sop_class_uid: str
    move_destination: str
    priority: int | None = Priority.MEDIUM
    has_data_set: bool = True


@frozen
class CGetRQ:
    """C-GET-RQ (PS3.7 §9.3.3.1)."""

    COMMAND_FIELD: ClassVar[int] = 0x0010
    message_id: int
    affected_sop_class_uid: str
    priority: int | None = Priority.MEDIUM
    has_data_set: bool = True


@frozen
class CRetrieveRSP:
    """What C-MOVE-RSP and C-GET-RSP have in common (PS3.7 §9.3.3.2, §9.3.4.2).

    The four numbers of sub-operations are conditional: a peer may leave any of
    them out, and they are 16 bit wide, so beyond 65,535 they say nothing.
    """

    COMMAND_FIELD: ClassVar[int] = 0x8021
    message_id_being_responded_to: int
    status: int
    affected_sop_class_uid: str | None = None
    number_of_remaining_suboperations: int | None = None
    number_of_completed_suboperations: int | None = None
    number_of_failed_suboperations: int | None = None
    number_of_warning_suboperations: int | None = None
    offending_element: tuple[int, ...] | None = None
    error_comment: str | None = None
    has_data_set: bool = False


class CMoveRSP(CRetrieveRSP):
    """C-MOVE-RSP (PS3.7 §9.3.4.2)."""

    __slots__ = ()
    COMMAND_FIELD: ClassVar[int] = 0x8021


class CGetRSP(CRetrieveRSP):
    """C-GET-RSP (PS3.7 §9.3.3.2)."""

    __slots__ = ()
    COMMAND_FIELD: ClassVar[int] = 0x8010


@frozen
class CCancelRQ:
    """C-CANCEL-RQ for C-FIND, C-MOVE and C-GET (PS3.7 §9.3.2.3)."""

    COMMAND_FIELD: ClassVar[int] = 0x0FFF
    message_id_being_responded_to: int
    has_data_set: bool = False
