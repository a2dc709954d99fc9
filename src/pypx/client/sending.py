"""Send any number of instances over several associations at once (PS3.4 Annex B).

In: instances one after another, and a way to make an association. Out: what became of each, as
it becomes known. One that the peer refuses stops nothing; one that was under way when an
association broke is sent again, since whether the peer has it is not known.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple

from pypx.client.sources import Unsendable
from pypx.client.store import Instance, Store
from pypx.client.window import Job, Pair, Window
from pypx.dimse import status as status_codes
from pypx.dimse.status import Category, category
from pypx.errors import (
    ArchiveError,
    AssociationError,
    CancelledError,
    DataSetError,
    NetworkError,
    NoPresentationContextError,
    NotDicomError,
    ProtocolError,
    PypxError,
    StatusError,
)
from pypx.net.connection import Connection
from pypx.ul.negotiation import MAXIMUM_CONTEXTS

__all__ = ["Connect", "Outcome", "Sending", "Sent"]

Connect = Callable[[Iterable[tuple[str, tuple[str, ...]]]], Connection]
"""Make an association with these abstract and transfer syntaxes; several threads call it."""

Outcome = str
"""``completed``, ``warning``, ``failed`` or ``skipped``."""

_LOSSES_OF_ONE = 3  # associations that may break while the same instance is sent
_LOSSES_IN_A_ROW = 5  # associations that may break, or not be made, without an answer between
_PAUSE = 0.25  # seconds, times the losses in a row
_UNTOLD = 1000  # results that wait for a caller who is slower than the network
_TELL_EVERY = 0.05  # seconds; to wake the caller for each result would cost as much as to send it
_BUSY = 0.5  # of the time; threads that work more than that get only into each other's way


class Sent(NamedTuple):
    """What became of one path.

    Attributes:
        path: The file.
        sop_instance_uid: Empty where the file does not tell it.
        outcome: ``completed``; ``warning``, which is stored as well (Bxxx); ``failed``; or
            ``skipped``, for what is no DICOM file.
        bytes: Of the data set, where it was stored.
        status: Of the C-STORE response, if there was one.
        error: Why it failed or was skipped.
        sop_class_uid: Empty where the file does not tell it.
        transcoded: Whether it was sent in another transfer syntax than that of the file.
    """

    path: Path
    sop_instance_uid: str
    outcome: Outcome
    bytes: int = 0
    status: int | None = None
    error: PypxError | None = None
    sop_class_uid: str = ""
    transcoded: bool = False


class Sending:
    """An iterator of results; the sending begins with the first one that is asked for.

    Args:
        connect: Makes an association.
        source: What is to be sent; it is read as the sending goes on.
        associations: At most so many at once. The first is made at once, each other when those
            before it wait for the peer more than they work.
        transcode: Convert what the peer takes only uncompressed; needs the extra ``transcode``.

    Attributes:
        connections: How many associations were made so far.
    """

    def __init__(
        self,
        connect: Connect,
        source: Iterable[Instance | Unsendable],
        *,
        associations: int = 1,
        transcode: bool = False,
    ) -> None:
        self._connect = connect
        self._most = associations
        self._transcode = transcode
        self._lanes: list[_Lane] = []
        self._window = Window(source)
        self._results: deque[Sent] = deque()
        self._ends: SimpleQueue[_Ended | None] = SimpleQueue()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._losses = 0
        self._error: Exception | None = None
        self._cancelled = False
        self.connections = 0

    def stop(self) -> None:
        """End after the instances under way; for the thread that iterates, also in the handler
        of a signal."""
        self._cancelled = True
        self._stopped.set()
        self._ends.put(None)  # a SimpleQueue takes it also while this thread waits for it

    def __iter__(self) -> Iterator[Sent]:
        """Send, and give results in the order in which they become known.

        Raises:
            CancelledError: It was stopped.
            NetworkError, AssociationError, ProtocolError: There is no association, or too many
                were lost one after another; the rest was not sent.
            PypxError: What the source raises.
        """
        self._add_lane()
        running = 1
        looked, worked = time.monotonic(), 0.0
        try:
            while running:
                try:
                    ended = self._ends.get(timeout=_TELL_EVERY)
                except Empty:
                    before = looked, worked
                    looked, worked = time.monotonic(), sum(lane.worked for lane in self._lanes)
                    if self._wants_more(looked - before[0], worked - before[1]):
                        self._add_lane()
                        running += 1
                else:
                    running -= ended is not None
                    if ended is None and not self.connections:
                        break  # who is still connecting has nothing under way
                while self._results:
                    yield self._results.popleft()
        finally:
            self._stopped.set()
        if self._error is not None:
            raise self._error
        if self._cancelled:
            raise CancelledError("The sending was stopped.")

    # Each lane is a thread with one association after another -----------------------------

    def _add_lane(self) -> None:
        lane = _Lane(self._make, self._window, transcode=self._transcode)
        self._lanes.append(lane)
        self._window.join()
        threading.Thread(target=self._work, args=(lane,), name="px store", daemon=True).start()

    def _wants_more(self, seconds: float, worked: float) -> bool:
        """Say whether one more lane would help, when those there are worked for so long of it."""
        return (
            len(self._lanes) < min(self._most, self.connections + 1)
            and worked < _BUSY * seconds
            and not self._window.is_empty
            and not self._stopped.is_set()
        )

    def _work(self, lane: _Lane) -> None:
        try:
            while not self._stopped.is_set():
                job = self._window.take(lane.proposed)
                if job is None:
                    break
                if isinstance(job, Unsendable):
                    self._tell(unsendable(job))
                elif not self._send(lane, job):
                    break
        except Exception as error:  # noqa: BLE001 - it is raised in the thread that iterates
            self._give_up(error)
        finally:
            lane.release()
            self._ends.put(_Ended())

    def _make(self, contexts: Iterable[tuple[str, tuple[str, ...]]]) -> Connection:
        connection = self._connect(contexts)
        with self._lock:
            self.connections += 1
        return connection

    def _send(self, lane: _Lane, job: Job) -> bool:
        """Send one instance; False where this lane ends."""
        try:
            store = lane.store_for(job)
        except _LOST as error:
            self._window.give_back(job)
            return self._without_association(lane, error)
        if self._stopped.is_set():  # while the association was made
            self._window.give_back(job)
            return False
        try:
            instance = lane.acceptable(job)
            store.begin(instance)
            self._window.look_ahead()  # while the peer works
            response = store.response()
        except (NoPresentationContextError, ArchiveError, DataSetError) as error:
            self._tell(_failed(job, error))
        except _LOST as error:
            return self._lost(job, error)
        else:
            self._losses = 0
            lane.worked = time.thread_time()
            sent = answered(job, response.status, response.error_comment or "", store.size)
            self._tell(sent if instance is job.instance else sent._replace(transcoded=True))
        return True

    def _without_association(self, lane: _Lane, error: PypxError) -> bool:
        """Go on without an association that cannot be made: others do the work, or try again.

        A peer may take fewer associations than we want, and says so in many ways.
        """
        if not lane.connected and self._window.leave():
            return False
        if not self.connections:
            self._give_up(error)
            return False
        return self._pause(error)

    def _lost(self, job: Job, error: PypxError) -> bool:
        job.losses += 1
        if job.losses < _LOSSES_OF_ONE:
            self._window.give_back(job)
        else:
            self._tell(_failed(job, error))
        return self._pause(error)

    def _pause(self, error: PypxError) -> bool:
        with self._lock:
            self._losses += 1
            losses = self._losses
        if losses >= _LOSSES_IN_A_ROW:
            self._give_up(error)
        return not self._stopped.wait(_PAUSE * losses)

    def _give_up(self, error: Exception) -> None:
        with self._lock:
            self._error = self._error or error
        self._stopped.set()

    def _tell(self, sent: Sent) -> None:
        self._results.append(sent)
        while len(self._results) > _UNTOLD and not self._stopped.wait(_TELL_EVERY):
            pass


class _Ended:
    """The last that a lane puts into the queue."""


_LOST = (NetworkError, AssociationError, ProtocolError)


class _Lane:
    """The association of one thread, and what was proposed on it.

    Attributes:
        proposed: What was proposed; empty while there is no association.
        connected: Whether this lane ever had one.
        worked: Seconds of the processor that its thread took, as of the last answer.
    """

    def __init__(self, connect: Connect, window: Window, *, transcode: bool) -> None:
        self._make = connect
        self._transcode = transcode
        self._window = window
        self._connection: Connection | None = None
        self._store: Store | None = None
        self.proposed: frozenset[Pair] = frozenset()
        self.connected = False
        self.worked = 0.0

    def store_for(self, job: Job) -> Store:
        """Give what sends this instance, over a new association where it needs one.

        Raises:
            NetworkError, AssociationError, ProtocolError: There is no association.
        """
        connection = self._connection
        if connection and self._store and connection.is_open and job.pair in self.proposed:
            return self._store
        self.release()
        pairs = self._window.pairs(job.pair)
        proposed = self._proposal(pairs)
        contexts = ((sop_class, (syntax,)) for sop_class, syntax in sorted(proposed))
        self._connection = self._make(contexts)
        self._store = Store(self._connection)
        self.proposed = frozenset(pair for pair in pairs if proposed.issuperset(self._needs(pair)))
        self.connected = True
        return self._store

    def _needs(self, pair: Pair) -> tuple[Pair, ...]:
        """Give what is to be proposed for a pair: with transcoding, also what it can become."""
        if not self._transcode:
            return (pair,)
        from pypx.client.transcode import UNCOMPRESSED

        return (pair, *((pair[0], syntax) for syntax in UNCOMPRESSED))

    def _proposal(self, pairs: Iterable[Pair]) -> set[Pair]:
        every = dict.fromkeys(needed for pair in pairs for needed in self._needs(pair))
        return set(list(every)[:MAXIMUM_CONTEXTS])

    def acceptable(self, job: Job) -> Instance:
        """Give the instance as the peer takes it, if it does; converted only where it must be.

        Raises:
            DataSetError, ArchiveError: It cannot be converted.
        """
        connection = self._connection
        if not self._transcode or connection is None or connection.context_for(*job.pair):
            return job.instance
        from pypx.client.transcode import UNCOMPRESSED, transcode

        for syntax in UNCOMPRESSED:
            if connection.context_for(job.instance.sop_class_uid, syntax):
                return transcode(job.instance, syntax)
        return job.instance  # which is refused

    def release(self) -> None:
        """Release the association, if there is one."""
        connection, self._connection, self._store = self._connection, None, None
        self.proposed = frozenset()
        if connection is not None:
            connection.release()


def unsendable(found: Unsendable) -> Sent:
    skipped = isinstance(found.error, NotDicomError)
    return Sent(found.path, "", "skipped" if skipped else "failed", error=found.error)


def _failed(job: Job, error: PypxError) -> Sent:
    return _sent(job, "failed", error=error)


def answered(job: Job, status: int, comment: str, size: int) -> Sent:
    match category(status):
        case Category.SUCCESS:
            return _sent(job, "completed", size, status)
        case Category.WARNING:
            return _sent(job, "warning", size, status)
    meaning = status_codes.sentence(status, "C-STORE")
    said = f" ({comment})" if comment else ""
    error = StatusError(
        f"The peer answered {status:04X}H: {meaning}{said}.", status=status, comment=comment
    )
    return _sent(job, "failed", 0, status, error)


def _sent(
    job: Job,
    outcome: Outcome,
    size: int = 0,
    status: int | None = None,
    error: PypxError | None = None,
) -> Sent:
    one = job.instance
    return Sent(one.path, one.sop_instance_uid, outcome, size, status, error, one.sop_class_uid)
