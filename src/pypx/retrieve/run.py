"""A job from its queries to its verdict: threads that plan, ask, compare, and ask again.

In: a transfer of the ledger, its settings, what makes clients. Out: the transfer complete, or a
reason why not; snapshots meanwhile. Not here: one request (``asking``), one query (``planning``),
and what is shown.

Each thread has one client, and so one association with the PACS at a time. It takes whatever is
next: a series that is to be asked for again, else one that nobody has asked for, else a study or a
query that is to be planned. The ledger is the queue, so a job of any size takes the same memory,
and what a killed job had not done is what is still open.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from pypx.archive.ledger import Ledger
from pypx.archive.transfers import OPEN, LedgerSeries, LedgerStudy, Query, Standing, Totals
from pypx.client.requestor import Requestor
from pypx.errors import (
    ArchiveFullError,
    AssociationError,
    IndexUnavailableError,
    NetworkError,
    PypxError,
    RemoteProtocolError,
)
from pypx.retrieve.asking import Asker, Shared
from pypx.retrieve.outage import is_busy, is_outage
from pypx.retrieve.planning import Planner
from pypx.retrieve.requests import Flight
from pypx.retrieve.turns import Turn, Turns
from pypx.retrieve.vain import Vain
from pypx.values import frozen, replace

__all__ = ["Retrieval", "Snapshot"]

Task = Query | LedgerStudy | Turn

_AHEAD = 32  # series that are planned and wait
_LONGEST_RETRY = 30.0  # seconds between looks for a PACS that is away
_LOOK = 0.5
_REST = 20  # times as long as it takes to sum a job up, it is not done again
_BROKEN = (NetworkError, AssociationError, RemoteProtocolError)
_IDLE = object()


class _InVainError(PypxError):
    exit_code = 4
    kind = "in-vain"


@frozen
class Snapshot:
    """A job at one moment.

    Attributes:
        totals: As the ledger has them, perhaps a moment ago; what is under way is in them.
        instances: How many came since the job was begun or resumed.
        bytes: Of their files.
        seconds: Since then.
        flights: The requests under way.
        waits: Why nothing is asked for now; empty while something is.
        allowed: How many requests may be under way.
    """

    totals: Totals
    instances: int
    bytes: int
    seconds: float
    flights: tuple[Flight, ...]
    waits: str
    allowed: int


class Retrieval:
    """One job. ``start`` it, ``wait`` for it, and look at ``state``.

    Args:
        shared: What its threads share; ``is_cancelled`` comes from here.
        make_client: Makes a client whose first message has this ID.
        make_planner: Makes what plans over a client.
        plan_only: Ask for nothing.
        on_begin: Hears of a query before it is asked, of one at a time.
        on_query: Hears when all that a query found is done with.

    Attributes:
        state: ``running``, ``complete``, ``incomplete``, ``unknown``, ``cancelled`` or ``failed``.
        error: What ended it before its end.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        make_client: Callable[[int], Requestor],
        make_planner: Callable[[Requestor], Planner],
        plan_only: bool = False,
        on_begin: Callable[[Query], None] = lambda _: None,
        on_query: Callable[[Query, str, Standing | None], None] = lambda *_: None,
    ) -> None:
        self.state = "running"
        self.error: PypxError | None = None
        self._shared = shared
        self._ledger: Ledger = shared.ledger
        self._transfer = shared.transfer
        self._settings = shared.settings
        self._make_client = make_client
        self._make_planner = make_planner
        self._plan_only = plan_only
        self._on_begin = on_begin
        self._on_query = on_query
        self._changed = threading.Condition()
        self._active = self._planning = 0
        self._turns = Turns(self._ledger, self._transfer, by_study=self._settings.by == "study")
        self._broken: dict[tuple[str, int], int] = {}
        self._reached = False
        self._away_since: float | None = None
        self._retry_at, self._retries = 0.0, 0
        self._vain = Vain(self._settings.retries, self._settings.associations)
        self._waits = ""
        self._crash: BaseException | None = None
        self._over = False
        self._cancelled = False
        self._started = 0.0
        self._totals = Totals(0, 0, 0, 0, 0, 0, 0)
        self._next_sum = 0.0
        self._threads: list[threading.Thread] = []

    # Its life

    def start(self) -> None:
        """Begin to work."""
        self._started = time.monotonic()
        with self._changed:
            self._settle_queries()  # whose process was killed before it could
        first = random.randrange(1, 0x8000)  # jobs on one listener do not mix up their messages
        apart = 0x7FFF // self._settings.associations
        for number in range(self._settings.associations):
            thread = threading.Thread(
                target=self._work, args=(first + number * apart,), name="retrieve", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def wait(self, timeout: float) -> bool:
        """Wait for the end, at most so many seconds; say whether it has come.

        Raises:
            BaseException: A thread failed by a defect of ours.
        """
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                return False
        if self._crash is not None:
            raise self._crash
        if self.state == "running":
            self._end()
        return True

    def cancel(self) -> None:
        """Have what is under way cancelled, and end. Not for signal handlers."""
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()
        self._shared.credit.close()
        for flight in tuple(self._shared.flights):
            flight.cancel()

    def leave(self) -> None:
        """Call it ended though threads still wait for the PACS, as they may after ``cancel``."""
        if self.state == "running":
            self._end()

    @property
    def is_cancelled(self) -> bool:
        """Whether it is to end before its end."""
        return self._cancelled

    def snapshot(self) -> Snapshot:
        """Say how it stands; its totals may be those of a moment ago. For one thread."""
        now = time.monotonic()
        if now >= self._next_sum:
            with suppress(IndexUnavailableError):  # who works at it will say so, if it stays so
                self._totals = self._ledger.totals(self._transfer)
            took = time.monotonic() - now
            self._next_sum = now + took * _REST
        return Snapshot(
            self._totals,
            self._shared.credit.instances,
            self._shared.credit.bytes,
            time.monotonic() - self._started,
            tuple(self._shared.flights),
            self._waits,
            self._shared.load.allowed,
        )

    def _end(self) -> None:
        reason = ""
        if self._cancelled and self.error is None:
            self.state = "cancelled"
        elif self.error is not None:
            self.state, reason = "failed", self.error.message
        else:
            states = {one.state for one in self._ledger.queries(self._transfer)} - {"complete"}
            self.state = "complete"
            if states:
                self.state = "unknown" if states == {"unknown"} else "incomplete"
        if not self._plan_only:
            seconds = time.monotonic() - self._started
            self._ledger.set_state(self._transfer, self.state, reason, seconds)

    # The threads

    def _work(self, first_message_id: int) -> None:
        try:
            with self._make_client(first_message_id) as client:
                self._work_with(client)
        except BaseException as error:  # noqa: BLE001
            # The edge of a thread: whoever waits for the job raises it.
            with self._changed:
                if isinstance(error, PypxError):
                    self.error = self.error or error
                else:
                    self._crash = error
                self._over = True
                self._changed.notify_all()

    def _work_with(self, client: Requestor) -> None:
        asker = Asker(client, self._shared)
        planner = self._make_planner(client)
        is_idle = True
        while (task := self._next(is_idle=is_idle)) is not None:
            if task is _IDLE:
                client.close()  # the association counts, at the PACS, while it does nothing
                is_idle = True
                continue
            is_idle = False
            self._do(task, client, asker, planner)

    def _next(self, *, is_idle: bool) -> Task | object | None:
        """Wait for something to do; None at the end, ``_IDLE`` before a wait."""
        with self._changed:
            while not self._is_over():
                wait = self._must_wait()
                if wait <= 0 and self._active < self._shared.load.allowed:
                    task = self._pick()
                    if task is not None:
                        self._active += 1
                        self._planning += not isinstance(task, Turn)
                        if isinstance(task, Query):
                            self._on_begin(task)
                        return task
                    if not self._active and self._turns.is_empty:
                        self._over = True
                        self._changed.notify_all()
                        return None
                if not is_idle:
                    return _IDLE
                self._changed.wait(self._until_next(wait))
        return None

    def _is_over(self) -> bool:
        if self._shared.credit.full and self.error is None:
            self.error = ArchiveFullError(
                f"The archive takes no more: {self._shared.credit.full}",
                hint="Make room.",
            )
        return self._over or self._cancelled or self.error is not None

    def _must_wait(self) -> float:
        """Give the seconds for which the PACS is not to be asked, and note why."""
        now = time.monotonic()
        between = self._settings.between
        if between is not None and (closed := between.wait(datetime.now())) > 0:
            if "until" not in self._waits:
                self._waits = (
                    f"It is not {between} now: nothing is asked for until {between.opens:%H:%M}."
                )
                self._shared.tell(self._waits)
            return closed
        if self._retry_at > now:
            return self._retry_at - now
        pause = self._shared.load.pause(now)
        self._waits = "The PACS has too much to do: waiting for a moment." if pause else ""
        return pause

    def _until_next(self, wait: float) -> float:
        """Give the seconds until there may be something to do, unless somebody notifies."""
        if wait > 0:
            return min(wait, _LOOK)
        until = self._turns.until_due(time.monotonic())
        if until is None or self._active >= self._shared.load.allowed:
            return _LOOK
        return min(until, _LOOK)

    def _pick(self) -> Task | None:
        """Take what is next, and call it busy."""
        turns = self._turns
        if (elsewhere := self._pick_elsewhere()) is not None:
            return elsewhere
        if (again := turns.repeated(time.monotonic())) is not None:
            return again
        waiting = 0 if self._plan_only else turns.waiting(_AHEAD)
        if waiting and (self._planning or waiting >= _AHEAD) and (turn := turns.next()):
            return turn
        task = self._ledger.next_study(self._transfer) or self._ledger.next_query(self._transfer)
        if task is None and not self._plan_only:
            return turns.next()
        return task

    def _pick_elsewhere(self) -> Task | None:
        """Take a study that was not asked for yet, where none of the others brought anything."""
        if not self._vain.is_doubtful(has_come=self._has_come):
            return None
        if (turn := self._turns.next(beyond=self._vain.last_study)) or self._planning:
            return turn
        return self._ledger.next_study(self._transfer) or self._ledger.next_query(self._transfer)

    @property
    def _has_come(self) -> bool:
        return self._shared.credit.instances > 0

    # One task

    def _do(self, task: object, client: Requestor, asker: Asker, planner: Planner) -> None:
        assert isinstance(task, Query | LedgerStudy | Turn)
        failure: PypxError | None = None
        try:
            if isinstance(task, Query):
                found = planner.find_studies(task)
                if found.state not in ("found", OPEN):
                    self._on_query(found, found.state, None)
            elif isinstance(task, LedgerStudy):
                planner.find_series(task, self._ledger.query_of(task).keys)
            else:
                self._ask(task, asker)
        except PypxError as error:
            failure = error
            client.abort()
        with self._changed:
            self._active -= 1
            self._planning -= not isinstance(task, Turn)
            if isinstance(task, Turn):
                self._turns.done(task)
            if failure is None:
                self._reached, self._away_since, self._retries = True, None, 0
                self._settle_queries(_study_of(task))
            else:
                self._take_failure(task, failure)
            self._changed.notify_all()

    def _ask(self, turn: Turn, asker: Asker) -> None:
        series = turn.series
        verdict = asker.ask(series, turn.together)
        for one in turn.together:
            asker.look(one)
        self._count_vain(series, verdict.series)
        if verdict.again_in is not None:
            with self._changed:
                self._turns.again(series.pk, time.monotonic() + verdict.again_in)

    def _count_vain(self, before: LedgerSeries, after: LedgerSeries) -> None:
        """End a job when nothing comes any more, whatever is asked for."""
        now = time.monotonic()
        with self._changed:
            if after.received > before.received:
                self._vain.brought_something()
                return
            self._vain.brought_nothing(after.study_pk, now)
            if self._vain.is_way_doubtful(has_come=self._has_come):
                self._shared.methods.doubt()
            is_last = self._active == 1 and self._turns.until_due(0.0) is None
            if is_last and not self._turns.waiting(1):
                return  # then it ends by itself
            has_others = self._ledger.has_others(self._transfer, self._vain.last_study)
            if self._vain.is_hopeless(now, has_come=self._has_come, has_others=has_others):
                self.error = self.error or _InVainError(
                    f"{self._vain.requests} requests in a row brought nothing, so the job was "
                    f"given up. The last: {after.reason or 'The PACS gave no reason.'}",
                    hint="px doctor shows how far an image gets.",
                )

    def _settle_queries(self, study_pk: int | None = None) -> None:
        """Close the queries that are done with, or the one that found a study, if it is."""
        if self._plan_only:
            return
        for query, standing in self._ledger.settled_queries(self._transfer, study_pk):
            state, reason = _state_of(query, standing)
            self._ledger.close_query(query, state, reason)
            self._on_query(replace(query, state=state, reason=reason), state, standing)

    # What goes wrong

    def _take_failure(self, task: Task, error: PypxError) -> None:
        """Decide what an error means for the job, and open the task again."""
        key = type(task).__name__, task.pk
        self._broken[key] = self._broken.get(key, 0) + (not is_outage(error))
        is_broken = isinstance(error, _BROKEN) and self._broken[key] > self._settings.retries
        if is_broken and self._reached:
            self._give_up(task, error.message)
            return
        self._open_again(task, error.message)
        if self._cancelled:
            return  # then things end as they do
        if self.error is not None or not isinstance(error, _BROKEN):
            self.error = self.error or error
            return
        now = time.monotonic()
        if is_busy(error):
            self._shared.load.overloaded(now)
        elif not self._reached:
            self.error = error  # it was never there, or does not want us
            return
        self._away_since = self._away_since or now
        if now - self._away_since >= self._settings.outage:
            self.error = error
            return
        pause = min(_LONGEST_RETRY, self._settings.backoff * 2.0 ** min(self._retries, 10))
        self._retries += 1
        self._retry_at = now + pause
        self._waits = f"{error.message} Trying again in {pause:.0f} s."
        if self._retries == 1:
            self._shared.tell(f"{error.message} The job waits for it.")

    def _open_again(self, task: Task, reason: str) -> None:
        if isinstance(task, Query):
            self._ledger.close_query(task, OPEN, reason)
        elif isinstance(task, LedgerStudy):
            self._ledger.close_study(task, OPEN, reason)
        else:
            for series in (task.series, *task.together):
                self._close_series(series, OPEN, reason)

    def _give_up(self, task: Task, reason: str) -> None:
        """Leave a task that breaks the association each time."""
        if isinstance(task, Query):
            self._ledger.close_query(task, "failed", reason)
            self._on_query(replace(task, state="failed", reason=reason), "failed", None)
        elif isinstance(task, LedgerStudy):
            self._ledger.close_study(task, "failed", reason)
        else:
            self._close_series(task.series, "incomplete", reason)
            for series in task.together:
                self._close_series(series, OPEN, reason)
        self._settle_queries(_study_of(task))

    def _close_series(self, series: LedgerSeries, state: str, reason: str) -> None:
        self._ledger.close_series(
            series,
            state,
            received=self._ledger.here(series),
            attempts=series.attempts,
            reason=reason,
        )


def _study_of(task: Task) -> int | None:
    """Give the study that a task belongs to; None for a query, which has many."""
    if isinstance(task, Query):
        return None
    return task.pk if isinstance(task, LedgerStudy) else task.series.study_pk


def _state_of(query: Query, standing: Standing) -> tuple[str, str]:
    """Say how a query ended, and why."""
    if standing.studies_failed:
        which = f"{standing.studies_failed} of {standing.studies} studies could not be planned."
        return "incomplete", which
    if not standing.series:
        return "no-match", "No series on the PACS matches."
    if standing.complete + standing.unknown < standing.series:
        return "incomplete", standing.reason
    if standing.unknown or standing.studies_doubtful or query.reason:
        return "unknown", query.reason or standing.reason or "There may be more series."
    return "complete", ""
