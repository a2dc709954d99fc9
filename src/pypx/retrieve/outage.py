"""Errors that say that a PACS cannot be had now, and may be later.

In: errors. Out: what they mean for a job. Not here: waiting.
"""

from __future__ import annotations

from pypx.errors import (
    AssociationRejectedError,
    ConnectError,
    NetworkError,
    PeerTimeoutError,
    PypxError,
)

__all__ = ["is_busy", "is_outage"]

_TRANSIENT = 2  # result of an A-ASSOCIATE-RJ, PS3.8 Table 9-21


def is_busy(error: PypxError) -> bool:
    """Whether the PACS rejects the association for now only."""
    return isinstance(error, AssociationRejectedError) and error.result == _TRANSIENT


def is_outage(error: PypxError) -> bool:
    """Whether there is no association, but may be one later."""
    if isinstance(error, PeerTimeoutError):
        return error.phase in ("connect", "association")
    return isinstance(error, (ConnectError, NetworkError)) or is_busy(error)
