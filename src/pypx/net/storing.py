"""An association over which a peer stores, as who keeps the instances sees it.

In: nothing. Out: a protocol, which an association that a peer made has, and one of a C-GET of ours;
those who keep and those who fetch do not know each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from pypx.dimse.messages import Message
from pypx.ul.negotiation import AcceptedContext

__all__ = ["StoreAssociation"]


class StoreAssociation(Protocol):
    """An association over which a peer stores: one that it made, or one of a C-GET of ours."""

    @property
    def contexts(self) -> Mapping[int, AcceptedContext]:
        """The presentation contexts, by context ID."""
        ...

    @property
    def host(self) -> str:
        """The peer's address."""
        ...

    @property
    def calling_ae_title(self) -> str:
        """Who stores."""
        ...

    @property
    def called_ae_title(self) -> str:
        """Who keeps."""
        ...

    def data_set(self) -> Iterator[memoryview]:
        """Give the data set, piece by piece; each is valid until the next."""
        ...

    def send(
        self, context_id: int, message: Message, data_set: bytes | memoryview | None = None
    ) -> None:
        """Send a message."""
        ...
