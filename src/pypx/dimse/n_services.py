"""The DIMSE-N messages of PS3.7 §10.3: decodable, so that a peer that sends one gets an answer.

pypx uses those of storage commitment, which have names here; an acceptor answers each
other request with *unrecognised operation* (0211H). All requests have the same optional
fields, and so have all responses, so two shapes hold the twelve messages.
"""

from __future__ import annotations

from typing import ClassVar

from pypx.values import frozen

__all__ = [
    "N_SERVICES",
    "NActionRQ",
    "NActionRSP",
    "NEventReportRQ",
    "NEventReportRSP",
    "NRequest",
    "NResponse",
]


@frozen
class NRequest:
    """A DIMSE-N request."""

    COMMAND_FIELD: ClassVar[int] = 0
    message_id: int
    affected_sop_class_uid: str | None = None
    requested_sop_class_uid: str | None = None
    affected_sop_instance_uid: str | None = None
    requested_sop_instance_uid: str | None = None
    event_type_id: int | None = None
    action_type_id: int | None = None
    attribute_identifier_list: tuple[int, ...] | None = None
    has_data_set: bool = False


@frozen
class NResponse:
    """A DIMSE-N response."""

    COMMAND_FIELD: ClassVar[int] = 0
    message_id_being_responded_to: int
    status: int
    affected_sop_class_uid: str | None = None
    affected_sop_instance_uid: str | None = None
    event_type_id: int | None = None
    action_type_id: int | None = None
    attribute_identifier_list: tuple[int, ...] | None = None
    error_comment: str | None = None
    error_id: int | None = None
    has_data_set: bool = False


class NEventReportRQ(NRequest):
    """N-EVENT-REPORT-RQ (PS3.7 §10.3.1.1)."""

    __slots__ = ()
    COMMAND_FIELD: ClassVar[int] = 0x0100


class NEventReportRSP(NResponse):
    """N-EVENT-REPORT-RSP (PS3.7 §10.3.1.2)."""

    __slots__ = ()
    COMMAND_FIELD: ClassVar[int] = 0x8100


class NActionRQ(NRequest):
    """N-ACTION-RQ (PS3.7 §10.3.4.1)."""

    __slots__ = ()
    COMMAND_FIELD: ClassVar[int] = 0x0130


class NActionRSP(NResponse):
    """N-ACTION-RSP (PS3.7 §10.3.4.2)."""

    __slots__ = ()
    COMMAND_FIELD: ClassVar[int] = 0x8130


def _service(
    name: str, request: int
) -> tuple[tuple[int, type[NRequest]], tuple[int, type[NResponse]]]:
    response = request | 0x8000
    slots: dict[str, object] = {"__slots__": ()}
    return (
        (request, type(f"{name}RQ", (NRequest,), slots | {"COMMAND_FIELD": request})),
        (response, type(f"{name}RSP", (NResponse,), slots | {"COMMAND_FIELD": response})),
    )


# PS3.7 Table E.1-1, Command Field.
_NAMED: tuple[type[NRequest] | type[NResponse], ...] = (
    NEventReportRQ,
    NEventReportRSP,
    NActionRQ,
    NActionRSP,
)
_UNNAMED = (("NGet", 0x0110), ("NSet", 0x0120), ("NCreate", 0x0140), ("NDelete", 0x0150))
N_SERVICES: dict[int, type[NRequest] | type[NResponse]] = {
    message.COMMAND_FIELD: message for message in _NAMED
}
N_SERVICES.update(pair for name, request in _UNNAMED for pair in _service(name, request))
