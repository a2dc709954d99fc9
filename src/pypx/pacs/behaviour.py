"""Where the embedded PACS lets itself be told to behave otherwise than it should.

In: what the honest code is about to do. Out: what is done. Here all of it is honest;
what is not is in ``misbehaviour.py``. Nothing of a service is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from pypx.dicom.data_set import DataSet
from pypx.errors import PypxError

if TYPE_CHECKING:
    from pypx.client.store import Instance
    from pypx.dimse.messages import CRetrieveRSP
    from pypx.pacs.retrieve import Request, Route
    from pypx.ul.pdu import AAssociateRJ, AAssociateRQ

__all__ = ["Behaviour", "Refusal", "Send"]

Send = Callable[["Instance"], int]
"""Perform one sub-operation and give the status of its C-STORE response."""


class Refusal(PypxError):
    """An operation ends with this failure status."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class Behaviour:
    """The honest behaviour; a misbehaving one overrides what it does otherwise.

    Attributes:
        max_associations: More at once are rejected as *local limit exceeded*.
        idle_timeout: Seconds of silence that end an association.
    """

    max_associations = 200
    idle_timeout = 300.0

    def negotiate(self, request: AAssociateRQ) -> AAssociateRJ | None:
        """Give a rejection of an association, or None to accept it."""
        return None

    def check_level(self, level: str) -> None:
        """Look at the level of an identifier.

        Raises:
            Refusal: The PACS does not serve it.
        """

    def keys(self, keys: dict[str, str]) -> dict[str, str]:
        """Give the matching keys that a query heeds."""
        return keys

    def matches(self, matches: Iterator[DataSet]) -> Iterator[DataSet]:
        """Give the matches of a query that are answered.

        Raises:
            Refusal: The query ends so, after the matches that were given.
        """
        return matches

    def identifier(self, found: dict[str, Any]) -> DataSet:
        """Make the response identifier of a match from keywords and values."""
        return DataSet.from_keywords(found)

    def cancelled(self, seen: bool) -> bool:
        """Whether an operation is to end, where a C-CANCEL was ``seen`` or not."""
        return seen

    def retrieve(
        self, request: Request, instances: list[Instance], honest: Callable[[], None]
    ) -> None:
        """Answer a C-MOVE or C-GET of these instances; ``honest`` does it as it should be."""
        honest()

    def open(self, route: Route, instances: list[Instance], stack: ExitStack) -> Send:
        """Make the associations of a C-MOVE with its destination; the stack closes them.

        Raises:
            NetworkError, AssociationError: There is none.
        """
        return route.open(instances, stack)

    def sending(self, send: Send) -> Send:
        """Give what performs the sub-operations of one C-MOVE or C-GET."""
        return send

    def sending_back(self, request: Request, send: Send) -> Send:
        """Give what performs the sub-operations of one C-GET on its own association."""
        return send

    def response(self, message: CRetrieveRSP) -> CRetrieveRSP:
        """Give the response to a C-MOVE or C-GET that goes out."""
        return message

    def stop(self) -> None:
        """End what would go on for ever."""
