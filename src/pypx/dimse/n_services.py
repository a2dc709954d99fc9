"""The DIMSE-N messages of PS3.7 §10.3: decodable, so that a peer that sends one gets an answer.

pypx offers no DIMSE-N service; an acceptor answers each request with
*unrecognised operation* (0211H). All requests have the same optional fields,
and so have all responses, so two shapes hold the twelve messages.
"""

from __future__ import annotations

from typing import ClassVar

from pypx.values import frozen

__all__ = ["N_SERVICES", "NRequest", "NResponse"]


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
N_SERVICES: dict[int, type[NRequest] | type[NResponse]] = dict(
    pair
    for name, request in (
        ("NEventReport", 0x0100),
        ("NGet", 0x0110),
        ("NSet", 0x0120),
        ("NAction", 0x0130),
        ("NCreate", 0x0140),
        ("NDelete", 0x0150),
    )
    for pair in _service(name, request)
)
