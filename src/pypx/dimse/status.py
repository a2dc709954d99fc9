"""Status codes: their category and a sentence each (PS3.7 Annex C, PS3.4 B.2.3, C.4).

In: a status and the service that it answers. Out: a category, a sentence and,
where there is one, a hint. What to do about it is decided by who asked.
"""

from __future__ import annotations

from enum import Enum

__all__ = [
    "CANCELLED",
    "PENDING",
    "PENDING_WITH_WARNING",
    "SUCCESS",
    "Category",
    "category",
    "hint",
    "is_out_of_resources",
    "sentence",
]

SUCCESS = 0x0000
CANCELLED = 0xFE00
PENDING = 0xFF00
PENDING_WITH_WARNING = 0xFF01


class Category(Enum):
    """The five categories of PS3.7 Annex C."""

    SUCCESS = "success"
    PENDING = "pending"
    WARNING = "warning"
    CANCEL = "cancel"
    FAILURE = "failure"


_WARNINGS = frozenset({0x0001, 0x0107, 0x0116})

# PS3.7 Annex C: what any service may answer.
_GENERAL = {
    0x0000: "success",
    0x0001: "warning: requested optional attributes are not supported",
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0107: "attribute list error",
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0112: "no such SOP instance",
    0x0113: "no such event type",
    0x0114: "no such argument",
    0x0115: "invalid argument value",
    0x0116: "attribute value out of range",
    0x0117: "invalid SOP instance UID",
    0x0118: "no such SOP class",
    0x0119: "class-instance conflict",
    0x0120: "missing attribute",
    0x0121: "missing attribute value",
    0x0122: "SOP class not supported",
    0x0123: "no such action",
    0x0124: "not authorised",
    0x0210: "duplicate invocation: the message ID is in use",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xFE00: "cancelled",
    0xFF00: "pending",
    0xFF01: "pending: one or more optional keys are not supported",
}

# PS3.4 Table B.2-1 (storage).
_STORE = {
    0xA700: "out of resources: the receiver has no room for the object",
    0xA900: "the data set does not match the SOP class",
    0xB000: "stored with coercion of data elements",
    0xB006: "stored, but elements were discarded",
    0xB007: "stored, but the data set does not match the SOP class",
    0xC000: "the receiver cannot understand the data set",
}

# PS3.4 Table C.4-1 (C-FIND).
_FIND = {
    0xA700: "out of resources: the PACS stopped the query",
    0xA710: "invalid prior record key",
    0xA900: "the identifier does not match the SOP class",
    0xB001: "the PACS has reached its limit of responses; there are more matches",
}

# PS3.4 Tables C.4-2 and C.4-3 (C-MOVE, C-GET).
_RETRIEVE = {
    0xA701: "out of resources: the PACS cannot count the matches",
    0xA702: "out of resources: the PACS cannot perform the sub-operations",
    0xA801: "the PACS does not know the move destination",
    0xA900: "the identifier does not match the SOP class",
    0xAA00: "none of the frames requested were found",
    0xAA01: "the PACS cannot make the new object",
    0xAA02: "the PACS cannot extract the frames",
    0xAA03: "time-based request for an object without time",
    0xAA04: "invalid request",
    0xB000: "some sub-operations failed or ended with a warning",
}

_SERVICES = {
    "C-STORE": _STORE,
    "C-FIND": _FIND,
    "C-MOVE": _RETRIEVE,
    "C-GET": _RETRIEVE,
    "C-ECHO": {},
    "N-ACTION": {},
}

# The ranges of PS3.4: A7xx out of resources, A9xx identifier, Cxxx unable to process.
_RANGES = {
    0xA7: "out of resources",
    0xA9: "the data set or identifier does not match the SOP class",
    0xC: "the peer is unable to process the request",
}

_HINTS = {
    0x0110: "The log of the PACS says why; ask for the unit that failed again later.",
    0x0122: "The PACS does not offer this service: try the other query model or retrieve method.",
    0x0124: "Ask the administrator of the PACS to permit this operation to our AE title.",
    0xA700: "Narrow the query, or ask again later.",
    0xA701: "Ask again later, or for smaller units: series instead of studies.",
    0xA702: "Ask again later, or for smaller units; check that the PACS reaches our listener.",
    0xA801: "Ask the administrator of the PACS to add the destination: "
    "its AE title, this machine's host name or address, and the listener's port.",
    0xA900: "The PACS refuses the keys at this level: give the unique key of each level above, "
    "or use the other query model.",
}


def category(status: int) -> Category:
    """Give the category of a status; what no table names is a failure (PS3.7 §C.1)."""
    match status:
        case 0x0000:
            return Category.SUCCESS
        case 0xFF00 | 0xFF01:
            return Category.PENDING
        case 0xFE00:
            return Category.CANCEL
        case _ if status in _WARNINGS or status >> 12 == 0xB:
            return Category.WARNING
        case _:
            return Category.FAILURE


def is_out_of_resources(status: int) -> bool:
    """Whether a peer had no room for what was asked (A7xxH: PS3.4 Tables B.2-1 and C.4-1 to 3)."""
    return status >> 8 == 0xA7


def sentence(status: int, service: str) -> str:
    """Say what the status means, without a capital and a full stop.

    Args:
        status: 0 to FFFFH.
        service: ``C-ECHO``, ``C-STORE``, ``C-FIND``, ``C-MOVE``, ``C-GET`` or ``N-ACTION``.
    """
    words = _SERVICES[service].get(status) or _GENERAL.get(status)
    if words is None:
        words = _RANGES.get(status >> 8) or _RANGES.get(status >> 12)
    if words is None:
        words = f"a {category(status).value} that the standard does not name"
    return words


def hint(status: int) -> str:
    """Say what the user can try, or give an empty text."""
    return _HINTS.get(status, "")
