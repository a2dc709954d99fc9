"""Which of the instances that arrive were asked for, and by which request.

In: the events of a receiver and of C-GETs. Out: for each request under way what came of it, and
what nobody asked for. Not here: the index, and when a request is over.

An instance is credited to the request whose Move Originator it names (PS3.7 §9.1.1.1), else to
the one that expects its UIDs. Several jobs may hear the same receiver: each credits its own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection

from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived
from pypx.retrieve.load import Throttle

__all__ = ["Credit", "Unit"]

_OUT_OF_RESOURCES = 0xA7  # the high byte of such a C-STORE status (PS3.4 Table B.2-1)
_MOST_UNCLAIMED = 10_000


class Unit:
    """What one request is to bring.

    Args:
        study: Its Study Instance UID.
        series: The Series Instance UIDs; none for whatever the study has.
        expected: The SOP Instance UIDs; None where they are not known.

    Attributes:
        arrived: SOP Instance UIDs of what came of it and is stored.
        again: How many instances of its series came that were not expected any more.
        refused: How many instances were not stored here.
        last: When something came last (monotonic).
    """

    def __init__(
        self, study: str, series: Collection[str], expected: Collection[str] | None
    ) -> None:
        self.study = study
        self.series = frozenset(series)
        self.expected = None if expected is None else frozenset(expected)
        self.arrived: set[str] = set()
        self.again = self.refused = 0
        self.last = time.monotonic()
        self.originator: tuple[str, int] | None = None

    def has(self, event: InstanceReceived) -> bool:
        """Whether it is about the series of an instance."""
        return event.series_instance_uid in self.series

    def wants(self, event: InstanceReceived) -> bool:
        """Whether its UIDs are what is expected."""
        if self.expected is not None:
            return event.sop_instance_uid in self.expected
        if self.series:
            return event.series_instance_uid in self.series
        return event.study_instance_uid == self.study


class Credit:
    """An observer of receivers that knows the requests under way of one job.

    Args:
        peers: Hosts and the AE title of the PACS, to tell its instances where they name no
            Move Originator.
        throttle: Holds senders up, or None.

    Attributes:
        instances: How many instances came that were asked for.
        bytes: Of their files.
        full: Why the archive took no more; empty while it does.
    """

    def __init__(self, peers: Collection[str], throttle: Throttle | None = None) -> None:
        self.instances = self.bytes = 0
        self.full = ""
        self._peers = frozenset(peers)
        self._throttle = throttle
        self._lock = threading.Lock()
        self._units: list[Unit] = []
        self._associations: dict[str, AssociationBegan] = {}
        self._unclaimed: deque[InstanceReceived] = deque(maxlen=_MOST_UNCLAIMED)
        self._over = threading.Event()

    # Requests

    def begin(self, unit: Unit) -> None:
        """Hear of a request, before it goes out."""
        with self._lock:
            self._units.append(unit)

    def end(self, unit: Unit) -> list[InstanceReceived]:
        """Forget a request; give what its PACS sent meanwhile though nobody asked for it."""
        with self._lock:
            self._units.remove(unit)
            unclaimed = [event for event in self._unclaimed if self._is_of(event, unit)]
            for event in unclaimed:
                self._unclaimed.remove(event)
        return unclaimed

    def _is_of(self, event: InstanceReceived, unit: Unit) -> bool:
        if event.move_originator_ae_title:
            named = event.move_originator_ae_title, event.move_originator_message_id
            return named == unit.originator
        began = self._associations.get(event.association_id)
        return began is not None and not self._peers.isdisjoint(
            (began.host, began.calling_ae_title)
        )

    def close(self) -> None:
        """Hold nobody up any more."""
        self._over.set()

    # What a receiver tells

    def association_began(self, event: AssociationBegan) -> None:
        """Hear that an association was accepted."""
        with self._lock:
            self._associations[event.association_id] = event

    def association_ended(self, event: AssociationSummary) -> None:
        """Hear that an association is over; what it brought may still be looked at."""
        with self._lock:
            if len(self._associations) > _MOST_UNCLAIMED:
                self._associations.pop(next(iter(self._associations)))

    def instance_received(self, event: InstanceReceived) -> None:
        """Hear of one C-STORE, to our receiver or of a C-GET."""
        with self._lock:
            unit = self._unit_of(event)
            if unit is not None:
                self._count(unit, event)
            elif event.is_stored and self._units:
                self._unclaimed.append(event)
                self._count_again(event)
        if not event.is_stored and event.status >> 8 == _OUT_OF_RESOURCES:
            self.full = event.comment or "out of resources"
        if self._throttle is not None and event.bytes:
            with self._lock:
                delay = self._throttle.delay(event.bytes, time.monotonic())
            self._over.wait(delay)

    def _unit_of(self, event: InstanceReceived) -> Unit | None:
        for unit in self._units:
            if unit.wants(event):
                return unit
        return None

    def _count_again(self, event: InstanceReceived) -> None:
        """Note what a PACS sends again because it is asked for a whole series once more."""
        for unit in self._units:
            if unit.has(event) and self._is_of(event, unit):
                unit.again += 1
                unit.last = time.monotonic()

    def _count(self, unit: Unit, event: InstanceReceived) -> None:
        unit.last = time.monotonic()
        if not event.is_stored:
            unit.refused += 1
        elif event.sop_instance_uid not in unit.arrived:
            unit.arrived.add(event.sop_instance_uid)
            self.instances += 1
            self.bytes += event.bytes
