"""Watches what a receiver does, and reports each series when it is whole.

In: the events of a receiver, from its threads, or from other processes by way of who relays
them. Out: series that are whole, to hooks and to a function. Not here: when a series is whole
(``completion``), and what hooks do.

An association only leaves its event here, which takes a microsecond. A thread of our own takes
the events in batches, so that it does not compete with those that receive. It notes each series
down on the disk when it begins, and forgets that when the hooks have the event in their queue: a
process that is killed leaves the list of the series that it had not reported, and the next one
on the archive reports them, with the counts that the archive has. Before hooks are told, the
files that stand beside a series (``archive/companions``) are written, if they are wanted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from pypx.archive import Archive
from pypx.archive.files import unique
from pypx.errors import PypxError
from pypx.receiver.completion import RECOVERED, Completion, SeriesComplete
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived
from pypx.receiver.hooks import HOOKS_FOLDER, Hooks
from pypx.receiver.pending import PendingSeries
from pypx.values import replace

if TYPE_CHECKING:
    from pypx.archive.companions import Companions

__all__ = ["Watch"]

_TICK = 0.2  # seconds between looks, while something arrives
_RETRY = 10.0  # seconds until the disk or the index is tried again

_Event = AssociationBegan | AssociationSummary | InstanceReceived


class Watch:
    """An ``Observer`` that knows when series are whole; a context manager.

    One may be fed from several receivers, also from those of other processes: the events pickle,
    and those of one association have to come in their order. The clock is the one of this
    process. When a process dies, tell of the end of its associations, or their series are
    reported only after five minutes of silence.

    Args:
        archive: Where the instances are; the caller closes it, after this.
        settle: Seconds of silence after which a series counts as whole.
        hooks: Who is told; the caller starts and closes them, around this.
        companions: Who writes the files beside a series.
        on_series: Gets each event as well, in the thread of the watch; it may not raise.
        on_trouble: Gets a sentence when something cannot be noted down or told.
    """

    def __init__(
        self,
        archive: Archive,
        *,
        settle: float = 5.0,
        hooks: Hooks | None = None,
        companions: Companions | None = None,
        on_series: Callable[[SeriesComplete], None] | None = None,
        on_trouble: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._archive = archive
        self._completion = Completion(settle)
        self._hooks = hooks
        self._companions = companions
        self._on_series = on_series
        self._on_trouble = on_trouble
        self._pending = PendingSeries(archive.root / HOOKS_FOLDER)
        self._ids: dict[str, str] = {}  # of the series that are noted down
        self._untold: list[SeriesComplete] = []  # to hooks
        self._unmarked: list[SeriesComplete] = []  # by the files beside them
        self._retry_at = self._ask_index_at = 0.0
        self._is_troubled = False
        self._arrived: deque[tuple[float, _Event]] = deque()
        self._promises: deque[tuple[str, int]] = deque()
        self._wake = threading.Event()
        self._is_awake = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin; what killed processes had not reported is reported first."""
        self._thread.start()

    def stop(self) -> None:
        """Report what is over at once, and end; call it when the receiver has stopped."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    # What a receiver tells

    def association_began(self, event: AssociationBegan) -> None:
        """Hear that an association was accepted."""
        self._put(event)

    def instance_received(self, event: InstanceReceived) -> None:
        """Hear of one C-STORE."""
        if event.is_stored:
            self._put(event)

    def association_ended(self, event: AssociationSummary) -> None:
        """Hear that an association is over."""
        if event.association_id:
            self._put(event)

    def expect(self, series_instance_uid: str, count: int) -> None:
        """Hear how many instances a PACS promised of a series; 0 takes it back."""
        self._promises.append((series_instance_uid, count))
        self._wake_up()

    def _put(self, event: _Event) -> None:
        self._arrived.append((time.monotonic(), event))
        self._wake_up()

    def _wake_up(self) -> None:
        if not self._is_awake:  # else it looks by itself, in a moment
            self._wake.set()

    # The thread

    def _run(self) -> None:
        self._recover()
        while True:
            self._is_awake = False
            if not (self._arrived or self._promises):
                self._wake.wait(self._sleep_for())
            self._wake.clear()
            self._is_awake = True
            stopping = self._stopping
            self._take_all()
            self._report_due(time.monotonic())
            self._tell_untold()
            if stopping:
                break
            self._pause()
        for event in self._completion.finish():
            self._report(event)
        self._pending.close()

    def _sleep_for(self) -> float | None:
        due = self._completion.next_due()
        if self._untold or self._unmarked:
            due = self._retry_at if due is None else min(due, self._retry_at)
        return None if due is None else max(due - time.monotonic(), 0.0)

    def _pause(self) -> None:
        """Let events gather, for else each of them would wake this thread."""
        if not self._stopping:
            self._wake.wait(_TICK)

    def _take_all(self) -> None:
        while self._promises:
            self._completion.expect(*self._promises.popleft())
        while self._arrived:
            now, event = self._arrived.popleft()
            self._report_due(now)
            if isinstance(event, InstanceReceived):
                if self._completion.instance_received(event, now):
                    self._note_down(event.series_instance_uid)
            elif isinstance(event, AssociationBegan):
                self._completion.association_began(event)
            else:
                self._completion.association_ended(event.association_id, now)

    def _report_due(self, now: float) -> None:
        for event in self._completion.due(now):
            self._report(event)

    def _note_down(self, uid: str) -> None:
        """Write down that a series arrives, also for the case that this process is killed."""
        if self._companions is None and (self._hooks is None or self._hooks.is_empty):
            return
        event = self._completion.under_way(uid)
        if event is None:  # whole with its first instance: it is reported now
            return
        if self._companions is not None:
            try:
                self._companions.begin(uid, event.path)
            except (OSError, PypxError) as error:  # its end is another chance
                self._trouble(f"Nothing can be written beside the series {uid}: {_why(error)}.")
        event = replace(_with_times(event), id=unique())
        try:
            self._pending.add(event)
            self._ids[uid] = event.id
        except OSError as error:
            self._trouble(f"The series {uid} cannot be noted down: {error.strerror or error}.")

    def _report(self, event: SeriesComplete) -> None:
        event = replace(
            _with_times(event),
            id=self._ids.pop(event.series_instance_uid, "") or unique(),
            verified=self._is_verified(event),
        )
        if self._on_series is not None:
            self._on_series(event)
        # Hooks may look for these files; but where they cannot be written, hooks do not wait.
        done = self._complete(event)
        if not done:
            self._unmarked.append(event)
        if not self._fire(event):
            self._untold.append(event)
        elif done:
            self._pending.remove(event.id)

    def _complete(self, event: SeriesComplete) -> bool:
        if self._companions is None:
            return True
        uid = event.series_instance_uid
        try:
            self._companions.complete(uid, event.path)
        except (OSError, PypxError) as error:
            self._retry_at = time.monotonic() + _RETRY
            self._trouble(f"Nothing can be written beside the series {uid}: {_why(error)}.")
            return False
        return True

    def _fire(self, event: SeriesComplete) -> bool:
        if self._hooks is None:
            return True
        try:
            self._hooks.fire(event)
        except OSError as error:
            self._retry_at = time.monotonic() + _RETRY
            self._trouble(f"The queue of the hooks cannot be written: {error.strerror or error}.")
            return False
        self._is_troubled = False
        return True

    def _trouble(self, sentence: str) -> None:
        """Tell of a disk that cannot be written, once until it can be."""
        if not self._is_troubled:
            self._is_troubled = True
            self._on_trouble(sentence)

    def _tell_untold(self) -> None:
        if not (self._untold or self._unmarked) or time.monotonic() < self._retry_at:
            return
        waiting = [*self._untold, *self._unmarked]
        self._untold = [event for event in self._untold if not self._fire(event)]
        while self._unmarked and self._complete(self._unmarked[0]):
            del self._unmarked[0]
        still = {event.id for event in (*self._untold, *self._unmarked)}
        for event in waiting:
            if event.id not in still:
                self._pending.remove(event.id)

    # The archive

    def _in_index(self, uid: str) -> tuple[int, int] | None:
        """Give how many instances and bytes the index has of a series; None if it cannot be asked.

        It waits for seconds for an index that is locked: then it is not asked for a while.
        """
        if time.monotonic() < self._ask_index_at:
            return None
        try:
            rows = list(self._archive.find("series", {"SeriesInstanceUID": uid}))
        except PypxError:
            self._ask_index_at = time.monotonic() + _RETRY
            return None
        counts = ((int(str(row["instances"])), int(str(row["bytes"]))) for row in rows)
        instances, sizes = zip(*counts, strict=True) if rows else ((), ())
        return sum(instances), sum(sizes)

    def _is_verified(self, event: SeriesComplete) -> bool:
        found = self._in_index(event.series_instance_uid)
        wanted = event.instances if event.expected is None else event.expected
        return found is not None and found[0] >= wanted

    def _recover(self) -> None:
        """Report what processes that were killed had not."""
        if self._hooks is None and self._companions is None:
            return
        try:
            self._pending.recover(self._report_recovered)
        except OSError as error:
            self._trouble(f"Earlier series cannot be looked for: {error.strerror or error}.")

    def _report_recovered(self, event: SeriesComplete) -> bool:
        found = self._in_index(event.series_instance_uid)
        if found is None:
            return False
        instances, size = found
        event = replace(
            event,
            instances=instances,
            bytes=size,
            duplicates=0,
            reason=RECOVERED,
            verified=instances >= (event.expected or 1),
        )
        if self._on_series is not None:
            self._on_series(event)
        return all([self._complete(event), self._fire(event)])


def _why(error: OSError | PypxError) -> str:
    if isinstance(error, PypxError):
        return error.message.rstrip(".")
    return error.strerror or str(error)


def _with_times(event: SeriesComplete) -> SeriesComplete:
    """Give the event with times that mean something to others, to the millisecond."""
    offset = time.time() - time.monotonic()
    return replace(
        event, began=round(event.began + offset, 3), ended=round(event.ended + offset, 3)
    )
