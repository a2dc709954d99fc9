"""What a C-GET of ours brings, kept as the receiver keeps what peers send by themselves.

In: the C-STORE sub-operations of associations that we requested, an archive. Out: files and
index rows, totals, and word to an observer. How a C-GET is made does not belong here.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import replace

from pypx.archive import Archive
from pypx.dimse.messages import CStoreRQ
from pypx.net.storing import StoreAssociation
from pypx.receiver.events import (
    AssociationBegan,
    AssociationSummary,
    InstanceReceived,
    Observer,
    Totals,
)
from pypx.receiver.store import answer_store, event_of, receive_instance

__all__ = ["Retrieved"]

_numbers = itertools.count(1)


class Retrieved:
    """Keep what one retrieval brings; a context manager around it.

    Args:
        archive: Where it goes.
        host: The peer's address.
        calling_ae_title: Who stores: the peer.
        called_ae_title: Who keeps: us.
        min_free: Bytes that the disk must have left; with less, instances are refused as
            *out of resources*.
        observer: Who hears of it as of an association with the receiver.
        on_instance: Hears of each instance besides.

    Attributes:
        totals: Running numbers.
    """

    def __init__(
        self,
        archive: Archive,
        *,
        host: str,
        calling_ae_title: str,
        called_ae_title: str,
        min_free: int = 0,
        observer: Observer | None = None,
        on_instance: Callable[[InstanceReceived], None] | None = None,
    ) -> None:
        self.totals = Totals()
        number = f"{os.getpid()}-get-{next(_numbers)}"
        self._began = AssociationBegan(
            number, host, calling_ae_title, called_ae_title, is_ours=True
        )
        self._archive = archive
        self._min_free = min_free
        self._observer = observer
        self._on_instance = on_instance
        self._started = time.monotonic()

    def __enter__(self) -> Retrieved:
        if self._observer is not None:
            self._observer.association_began(self._began)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._observer is None:
            return
        began = self._began
        self._observer.association_ended(
            AssociationSummary(
                association_id=began.association_id,
                host=began.host,
                calling_ae_title=began.calling_ae_title,
                called_ae_title=began.called_ae_title,
                totals=replace(self.totals),
                seconds=time.monotonic() - self._started,
                error=None,
                is_ours=True,
            )
        )

    def store(self, association: StoreAssociation, context_id: int, request: CStoreRQ) -> int:
        """Keep one instance and answer; give the status that was answered.

        Raises:
            PypxError: The association ended before that.
        """
        started = time.monotonic()
        result = receive_instance(
            association, context_id, request, self._archive, min_free=self._min_free
        )
        event = event_of(self._began.association_id, request, result, time.monotonic() - started)
        self.totals.add(event)
        answer_store(association, context_id, request, result)
        if self._observer is not None:
            self._observer.instance_received(event)
        if self._on_instance is not None:
            self._on_instance(event)
        return result.status
