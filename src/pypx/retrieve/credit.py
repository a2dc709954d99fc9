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

from pypx.dimse.status import is_out_of_resources
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived
from pypx.retrieve.load import Throttle

__all__ = ["Credit", "Unit"]

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
        last: When something came last (monotonic), or may come again after it was held up.
        number: How many instances came, with those that came twice.
        seen: How many of them who waits for it has seen.
    """

    def __init__(
        self, study: str, series: Collection[str], expected: Collection[str] | None
    ) -> None:
        self.study = study
        self.series = frozenset(series)
        self.expected = None if expected is None else frozenset(expected)
        self.arrived: set[str] = set()
        self.again = self.refused = self.number = self.seen = 0
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

    def is_named_by(self, event: InstanceReceived) -> bool:
        """Whether it is the Move Originator of an instance."""
        return (event.move_originator_ae_title, event.move_originator_message_id) == self.originator


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
        self._came = threading.Condition(self._lock)
        self._units: list[Unit] = []
        self._of_pacs: set[str] = set()  # associations
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
            mine = [event for event in self._unclaimed if _is_of(event, unit)]
            others = [event for event in self._unclaimed if not _is_of(event, unit)]
            self._unclaimed.clear()
            if self._units:
                self._unclaimed.extend(others)
        return mine

    def wait(self, unit: Unit, timeout: float) -> None:
        """Wait until something more has come of a request, at most so many seconds."""
        with self._lock:
            if unit.number == unit.seen and not self._over.is_set():
                self._came.wait(timeout)
            unit.seen = unit.number

    def close(self) -> None:
        """Hold nobody up any more."""
        self._over.set()
        with self._lock:
            self._came.notify_all()

    # What a receiver tells

    def association_began(self, event: AssociationBegan) -> None:
        """Hear that an association was accepted."""
        if not self._peers.isdisjoint((event.host, event.calling_ae_title)):
            with self._lock:
                self._of_pacs.add(event.association_id)

    def association_ended(self, event: AssociationSummary) -> None:
        """Hear that an association is over."""
        with self._lock:
            self._of_pacs.discard(event.association_id)

    def instance_received(self, event: InstanceReceived) -> None:
        """Hear of one C-STORE, to our receiver or of a C-GET."""
        now, delay = time.monotonic(), 0.0
        with self._lock:
            if self._throttle is not None and event.bytes:
                delay = self._throttle.delay(event.bytes, now)
            unit = self._unit_of(event)
            if unit is not None:
                unit.last = now + delay  # so long its sender is held up
                self._count(unit, event)
            elif event.is_stored and self._units and self._may_be_ours(event):
                self._unclaimed.append(event)
                self._count_again(event, now + delay)
        if not event.is_stored and is_out_of_resources(event.status):
            self.full = event.comment or "out of resources"
        if delay:
            self._over.wait(delay)

    def _may_be_ours(self, event: InstanceReceived) -> bool:
        return bool(event.move_originator_ae_title) or event.association_id in self._of_pacs

    def _unit_of(self, event: InstanceReceived) -> Unit | None:
        found = None
        for unit in self._units:
            is_named = unit.is_named_by(event)
            if unit.wants(event):
                if is_named:
                    return unit
                found = found or unit
            elif is_named and not event.is_stored:  # nobody knows its series then
                found = found or unit
        return found

    def _count_again(self, event: InstanceReceived, last: float) -> None:
        """Note what a PACS sends again because it is asked for a whole series once more."""
        for unit in self._units:
            if unit.has(event) and _is_of(event, unit):
                unit.again += 1
                unit.number += 1
                unit.last = last
                self._came.notify_all()

    def _count(self, unit: Unit, event: InstanceReceived) -> None:
        unit.number += 1
        if not event.is_stored:
            unit.refused += 1
        elif event.sop_instance_uid not in unit.arrived:
            unit.arrived.add(event.sop_instance_uid)
            self.instances += 1
            self.bytes += event.bytes
        self._came.notify_all()


def _is_of(event: InstanceReceived, unit: Unit) -> bool:
    return not event.move_originator_ae_title or unit.is_named_by(event)
