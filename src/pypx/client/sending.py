"""Send any number of instances over several associations at once (PS3.4 Annex B).

In: instances one after another, and a way to make an association. Out: what became of each, as
it becomes known. One that the peer refuses stops nothing; one that was under way when an
association broke is sent again, since whether the peer has it is not known.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from queue import SimpleQueue
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
    NetworkError,
    NoPresentationContextError,
    NotDicomError,
    ProtocolError,
    PypxError,
    StatusError,
)
from pypx.net.connection import Connection

__all__ = ["Connect", "Outcome", "Sending", "Sent"]

Connect = Callable[[Iterable[tuple[str, tuple[str, ...]]]], Connection]
"""Make an association with these abstract and transfer syntaxes; several threads call it."""

Outcome = str
"""``completed``, ``warning``, ``failed`` or ``skipped``."""

_LOSSES_OF_ONE = 3  # associations that may break while the same instance is sent
_LOSSES_IN_A_ROW = 5  # associations that may break, or not be made, without an answer between
_PAUSE = 0.25  # seconds, times the losses in a row
_UNTOLD = 1000  # results that wait for a caller who is slower than the network


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
    """

    path: Path
    sop_instance_uid: str
    outcome: Outcome
    bytes: int = 0
    status: int | None = None
    error: PypxError | None = None


class Sending:
    """An iterator of results; the sending begins with the first one that is asked for.

    Args:
        connect: Makes an association.
        source: What is to be sent; it is read as the sending goes on.
        associations: At most so many at once.

    Attributes:
        connections: How many associations were made so far.
    """

    def __init__(
        self, connect: Connect, source: Iterable[Instance | Unsendable], *, associations: int = 1
    ) -> None:
        self._connect = connect
        self._lanes = associations
        self._window = Window(source, associations)
        self._results: SimpleQueue[Sent | _Ended | None] = SimpleQueue()
        self._room = threading.Semaphore(_UNTOLD)
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
        self._results.put(None)  # a SimpleQueue takes it also while this thread waits for it

    def __iter__(self) -> Iterator[Sent]:
        """Send, and give results in the order in which they become known.

        Raises:
            CancelledError: It was stopped.
            NetworkError, AssociationError, ProtocolError: There is no association, or too many
                were lost one after another; the rest was not sent.
            PypxError: What the source raises.
        """
        for _ in range(self._lanes):
            threading.Thread(target=self._work, name="px store", daemon=True).start()
        running = self._lanes
        try:
            while running:
                found = self._results.get()
                if isinstance(found, _Ended):
                    running -= 1
                elif found is not None:
                    self._room.release()
                    yield found
                elif not self.connections:
                    break  # who is still connecting has nothing under way
        finally:
            self._stopped.set()
            self._room.release(self._lanes)  # for those who wait to tell
        if self._error is not None:
            raise self._error
        if self._cancelled:
            raise CancelledError("The sending was stopped.")

    # Each lane is a thread with one association after another -----------------------------

    def _work(self) -> None:
        lane = _Lane(self._make, self._window)
        try:
            while not self._stopped.is_set():
                job = self._window.take(lane.proposed)
                if job is None:
                    break
                if isinstance(job, Unsendable):
                    self._tell(_unsendable(job))
                elif not self._send(lane, job):
                    break
        except Exception as error:  # noqa: BLE001 - it is raised in the thread that iterates
            self._give_up(error)
        finally:
            lane.release()
            self._results.put(_Ended())

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
            response = store.send(job.instance)
        except (NoPresentationContextError, ArchiveError) as error:
            self._tell(_failed(job, error))
        except _LOST as error:
            return self._lost(job, error)
        else:
            self._losses = 0
            self._tell(_answered(job, response.status, response.error_comment or "", store.size))
        return True

    def _without_association(self, lane: _Lane, error: PypxError) -> bool:
        """Go on without an association that cannot be made: others do the work, or try again.

        A peer may take fewer associations than we want, and says so in many ways.
        """
        if not lane.worked and self._window.leave():
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
        self._room.acquire()
        self._results.put(sent)


class _Ended:
    """The last that a lane puts into the queue."""


_LOST = (NetworkError, AssociationError, ProtocolError)


class _Lane:
    """The association of one thread, and what was proposed on it.

    Attributes:
        proposed: What was proposed; empty while there is no association.
        worked: Whether this lane ever had one.
    """

    def __init__(self, connect: Connect, window: Window) -> None:
        self._make = connect
        self._window = window
        self._connection: Connection | None = None
        self._store: Store | None = None
        self.proposed: frozenset[Pair] = frozenset()
        self.worked = False

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
        self._connection = self._make((sop_class, (syntax,)) for sop_class, syntax in sorted(pairs))
        self._store = Store(self._connection)
        self.proposed, self.worked = frozenset(pairs), True
        return self._store

    def release(self) -> None:
        """Release the association, if there is one."""
        connection, self._connection, self._store = self._connection, None, None
        self.proposed = frozenset()
        if connection is not None:
            connection.release()


def _unsendable(found: Unsendable) -> Sent:
    skipped = isinstance(found.error, NotDicomError)
    return Sent(found.path, "", "skipped" if skipped else "failed", error=found.error)


def _failed(job: Job, error: PypxError) -> Sent:
    return Sent(job.instance.path, job.instance.sop_instance_uid, "failed", error=error)


def _answered(job: Job, status: int, comment: str, size: int) -> Sent:
    path, uid = job.instance.path, job.instance.sop_instance_uid
    match category(status):
        case Category.SUCCESS:
            return Sent(path, uid, "completed", size, status)
        case Category.WARNING:
            return Sent(path, uid, "warning", size, status)
    meaning = status_codes.sentence(status, "C-STORE")
    said = f" ({comment})" if comment else ""
    error = StatusError(
        f"The peer answered {status:04X}H: {meaning}{said}.", status=status, comment=comment
    )
    return Sent(path, uid, "failed", 0, status, error)
