"""When a series is whole.

In: associations that begin and end, instances that arrive, and the count that a PACS promised;
the time is an argument. Out: an event for each series that is complete. Not here: clocks, threads,
and what happens then.

DICOM has no message that says "this was the series". What there is:

* A promise. Who asked for a series knows how many instances it has; when so many different ones
  have arrived, it is whole.
* Silence. A series is taken for whole when nothing of it came for ``settle`` seconds after the
  last association that brought some of it was over. Many senders open an association an image, so
  the end of one says little.

A router may keep an association open for days, and a process that served one may die without a
word. So silence of ``patience`` seconds counts although an association is open.

What was reported is forgotten. More instances of it begin a new event.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pypx.receiver.events import AssociationBegan, InstanceReceived
from pypx.values import fields, frozen

__all__ = ["PROMISED", "RECOVERED", "SETTLED", "Completion", "SeriesComplete"]

PROMISED = "promised"
SETTLED = "settled"
RECOVERED = "recovered"

_PATIENCE = 300.0
_MOST = 10_000
_NOBODY = AssociationBegan("", "", "", "")


@frozen
class SeriesComplete:
    """A series that is taken for whole.

    Attributes:
        study_instance_uid: Its study.
        series_instance_uid: The series.
        instances: How many different instances of it arrived since it was last reported.
        duplicates: How many of these arrivals were in the archive already, bit for bit.
        expected: How many the PACS had promised; None where nobody knew.
        bytes: The size of the files of these instances.
        path: The folder of the one that came last, absolute.
        reason: ``promised``: all that were promised are here. ``settled``: nothing came for a
            while. ``recovered``: the process that received it was killed before it could report
            it; instances and bytes are then those that the archive has of the series.
        calling_ae_title: Who sent it, in the association that brought of it last.
        called_ae_title: What that one called us.
        host: From where.
        began: When the first of these instances arrived, in the clock of the caller; in what
            hooks get, seconds since 1970.
        ended: When the last one arrived.
        verified: Whether the index of the archive, asked when the series was reported, had at
            least ``expected`` instances of the series, or at least ``instances`` where nothing
            was promised. False also when the index could not be asked; None when it was not.
        id: Tells this event from all others; the same when it is reported once more.
    """

    study_instance_uid: str
    series_instance_uid: str
    instances: int = 0
    duplicates: int = 0
    expected: int | None = None
    bytes: int = 0
    path: str = ""
    reason: str = SETTLED
    calling_ae_title: str = ""
    called_ae_title: str = ""
    host: str = ""
    began: float = 0.0
    ended: float = 0.0
    verified: bool | None = None
    id: str = ""

    def document(self) -> dict[str, Any]:
        """Give it as programs read it; times are UTC, ISO 8601."""
        facts = {name: getattr(self, name) for name in fields(self)}
        times = {f"{name}_at": _iso_time(facts.pop(name)) for name in ("began", "ended")}
        return {"event": "series", **facts, **times}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> SeriesComplete:
        """Give the event of a document.

        Raises:
            KeyError, TypeError, ValueError: It is none.
        """
        facts = {name: document[name] for name in fields(cls) if name not in ("began", "ended")}
        facts |= {name: _seconds(document[f"{name}_at"]) for name in ("began", "ended")}
        return cls(**facts)


def _iso_time(seconds: float) -> str:
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def _seconds(iso_time: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(iso_time).timestamp()


@dataclass(slots=True)
class _Series:
    """A series under way.

    Attributes:
        quiet_since: When its last instance arrived, or an association that brought some ended.
        association: The one that brought of it last.
        open: Those that brought some of it and are not over.
        uids: What arrived.
        planned: When it will be looked at next; infinity where that is not planned.
    """

    uid: str
    began: float
    ended: float = 0.0
    quiet_since: float = 0.0
    expected: int | None = None
    study: str = ""
    path: str = ""
    bytes: int = 0
    duplicates: int = 0
    association: AssociationBegan = _NOBODY
    open: set[str] = field(default_factory=set)
    uids: set[str] = field(default_factory=set)
    planned: float = float("inf")

    def take(self, event: InstanceReceived, now: float) -> None:
        self.ended = self.quiet_since = now
        self.study = event.study_instance_uid
        self.path = event.path.rpartition("/")[0]
        self.duplicates += event.outcome == "duplicate"
        if event.sop_instance_uid not in self.uids:
            self.uids.add(event.sop_instance_uid)
            self.bytes += event.bytes

    @property
    def is_whole(self) -> bool:
        return self.expected is not None and len(self.uids) >= self.expected

    def event(self) -> SeriesComplete:
        return SeriesComplete(
            study_instance_uid=self.study,
            series_instance_uid=self.uid,
            instances=len(self.uids),
            duplicates=self.duplicates,
            expected=self.expected,
            bytes=self.bytes,
            path=self.path,
            reason=PROMISED if self.is_whole else SETTLED,
            calling_ae_title=self.association.calling_ae_title,
            called_ae_title=self.association.called_ae_title,
            host=self.association.host,
            began=self.began,
            ended=self.ended,
        )


class Completion:
    """Knows which series are under way, and when each is whole. One thread uses it.

    Args:
        settle: Seconds of silence after the end of the last association.
        patience: Seconds of silence that count while an association is open.
        most: So many series are followed at once, and as many promises and associations kept; of
            more series, the oldest counts as settled. Bounds the memory.
    """

    def __init__(
        self, settle: float = 5.0, *, patience: float = _PATIENCE, most: int = _MOST
    ) -> None:
        self._settle = settle
        self._patience = max(patience, settle)
        self._most = most
        self._series: dict[str, _Series] = {}
        self._promises: dict[str, int] = {}
        self._associations: dict[str, AssociationBegan] = {}
        self._brought: dict[str, set[str]] = {}
        self._whole: list[_Series] = []  # reported as soon as somebody asks
        self._plan: list[tuple[float, str]] = []  # a heap; what is not planned there is stale

    def association_began(self, event: AssociationBegan) -> None:
        """Hear of an association; of one that was not heard of, the AE titles stay unknown."""
        while len(self._associations) >= self._most:
            self._close(next(iter(self._associations)))
        self._associations[event.association_id] = event

    def association_ended(self, association_id: str, now: float) -> None:
        """Hear that an association is over, at the time ``now`` (seconds, any clock)."""
        for series in self._close(association_id):
            series.quiet_since = now
            self._look_at(series, self._due_at(series))

    def _close(self, association_id: str) -> list[_Series]:
        """Forget an association; give the series that it brought some of."""
        self._associations.pop(association_id, None)
        brought = [self._series[uid] for uid in self._brought.pop(association_id, ())]
        for series in brought:
            series.open.discard(association_id)
        return brought

    def instance_received(self, event: InstanceReceived, now: float) -> bool:
        """Hear of an instance.

        Args:
            event: The instance; one that was not stored has no series and is ignored.
            now: When it arrived, seconds in any clock.

        Returns:
            Whether it is the first of its series since that was reported.
        """
        if not event.is_stored:
            return False
        uid = event.series_instance_uid
        series = self._series.get(uid)
        is_first = series is None
        if series is None:
            if len(self._series) >= self._most:
                self._end(next(iter(self._series.values())))
            series = self._series[uid] = _Series(uid, now, expected=self._promises.pop(uid, None))
        series.take(event, now)
        association = self._associations.get(event.association_id)
        if association is not None:
            series.association = association
            series.open.add(event.association_id)
            self._brought.setdefault(event.association_id, set()).add(uid)
        if series.is_whole:
            self._end(series)
        elif is_first:
            self._look_at(series, self._due_at(series))
        return is_first

    def expect(self, series_instance_uid: str, count: int) -> None:
        """Hear how many instances a series has; the last word counts, and 0 takes it back."""
        series = self._series.get(series_instance_uid)
        if series is not None:
            series.expected = count or None
            if series.is_whole:
                self._end(series)
            return
        self._promises.pop(series_instance_uid, None)
        if count:
            if len(self._promises) >= self._most:
                del self._promises[next(iter(self._promises))]
            self._promises[series_instance_uid] = count

    def due(self, now: float) -> list[SeriesComplete]:
        """Give the series that are whole by now, each once."""
        while (at := self._next_planned()) is not None and at <= now:
            self._end(self._series[heapq.heappop(self._plan)[1]])
        return self._reported()

    def next_due(self) -> float | None:
        """Give when :meth:`due` has something to tell if nothing more arrives; None for never."""
        return float("-inf") if self._whole else self._next_planned()

    def under_way(self, series_instance_uid: str) -> SeriesComplete | None:
        """Give what is known by now of a series that is not whole; None if there is none."""
        series = self._series.get(series_instance_uid)
        return None if series is None else series.event()

    def finish(self) -> list[SeriesComplete]:
        """Give the series that no open association has brought any of, without more waiting."""
        for series in list(self._series.values()):
            if not series.open:
                self._end(series)
        return self._reported()

    def _reported(self) -> list[SeriesComplete]:
        events = [series.event() for series in self._whole]
        self._whole.clear()
        return events

    def _due_at(self, series: _Series) -> float:
        return series.quiet_since + (self._patience if series.open else self._settle)

    def _look_at(self, series: _Series, at: float) -> None:
        if at < series.planned:
            series.planned = at
            heapq.heappush(self._plan, (at, series.uid))

    def _next_planned(self) -> float | None:
        """Give when the first series is due. An instance only puts its series off, which is looked
        at here and not for each instance."""
        while self._plan:
            at, uid = self._plan[0]
            series = self._series.get(uid)
            if series is None or series.planned != at:
                heapq.heappop(self._plan)
            elif self._due_at(series) > at:
                series.planned = self._due_at(series)
                heapq.heapreplace(self._plan, (series.planned, uid))
            else:
                return at
        return None

    def _end(self, series: _Series) -> None:
        """Forget a series, and note it down as whole."""
        del self._series[series.uid]
        for association_id in series.open:
            self._brought[association_id].discard(series.uid)
        self._whole.append(series)
