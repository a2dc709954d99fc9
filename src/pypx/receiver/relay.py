"""What the processes of one listener tell each other.

In: events, notes and log records of a worker; what the supervisor asks of it. Out: messages over
a pipe between the two. Who starts and stops whom is in ``workers.py``, what a worker does in
``worker.py``.
"""

from __future__ import annotations

import logging
import mmap
import os
import pickle
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Literal, NamedTuple

from xxhash import xxh3_64_intdigest

from pypx.errors import PypxError
from pypx.modes import DEFAULT_UMASK
from pypx.net.limits import DEFAULT_LIMITS, AcceptorLimits
from pypx.net.seats import Seats
from pypx.net.tls_settings import ServerTls
from pypx.receiver.allow import AllowRule
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived
from pypx.values import frozen

__all__ = [
    "Beat",
    "Configure",
    "Failed",
    "Logged",
    "Noted",
    "Ready",
    "Relay",
    "SharedSeats",
    "Stop",
    "Task",
    "Waiting",
    "receive",
    "send",
]


@frozen
class Task:
    """What a worker is to do; all that it knows.

    Attributes:
        root: The folder of the archive, absolute.
        layout: Of its tree.
        durability: As for :class:`pypx.Archive`.
        index_wait: As for :class:`pypx.Archive`.
        host: The address to bind.
        port: The port that the supervisor has reserved.
        ae_title: What we are called.
        allow: Who may associate.
        allow_any: Whether rules are not needed.
        limits: What a peer may ask; the number of associations holds over all workers.
        tls: Certificates, where only TLS is spoken.
        users: The file of users; None where nobody is asked for one.
        min_free: Bytes that the disk must have left.
        grace: Seconds that associations have to end when the supervisor has died.
        umask: Who may not read what is kept, in octal digits.
        log_level: What is logged below it is not told.
        sockets: Descriptors of sockets that listen, in the place of host and port.
        beats: Whether the loop that accepts is to tell that it is alive.
    """

    root: str
    layout: str
    durability: Literal["full", "none"] = "full"
    index_wait: float = 2.0
    host: str = "127.0.0.1"
    port: int = 0
    ae_title: str = "PYPX"
    allow: tuple[AllowRule, ...] = ()
    allow_any: bool = False
    limits: AcceptorLimits = DEFAULT_LIMITS
    tls: ServerTls | None = None
    users: str | None = None
    min_free: int = 0
    grace: float = 10.0
    umask: str = DEFAULT_UMASK
    log_level: int = logging.WARNING
    sockets: tuple[int, ...] = ()
    beats: bool = False


class Configure(NamedTuple):
    """To a worker: from now on these hold; as for :meth:`Receiver.configure`."""

    allow: tuple[AllowRule, ...]
    min_free: int
    limits: AcceptorLimits | None = None
    tls: ServerTls | None = None


class Stop(NamedTuple):
    """To a worker: accept no more, and end within so many seconds."""

    grace: float


class Ready(NamedTuple):
    """Of a worker: it accepts associations."""


class Beat(NamedTuple):
    """Of a worker: its loop that accepts is alive."""


class Failed(NamedTuple):
    """Of a worker: it ends, since it cannot receive."""

    error: PypxError


class Noted(NamedTuple):
    """Of a worker: what its archive says to the user."""

    text: str


class Logged(NamedTuple):
    """Of a worker: what was logged there, of which host and kind (``extra`` of the record)."""

    name: str
    level: int
    text: str
    host: str | None = None
    kind: str = ""


class Waiting(NamedTuple):
    """Of a worker: how many of its stored instances wait for the index."""

    rows: int


def send(connection: Connection, message: object) -> None:
    """Send a message; an end of the other side is for the next :func:`receive` to notice."""
    with suppress(OSError):
        connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))


def receive(connection: Connection) -> Any:
    """Wait for the next message; it comes from a process of our own.

    Raises:
        EOFError, OSError: The other side has ended.
    """
    return pickle.loads(connection.recv_bytes())


class Relay(logging.Handler):
    """Send to the supervisor what a worker hears: an observer, and a handler of log records."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self._turn = threading.Lock()

    def tell(self, message: object) -> None:
        """Send a message; any thread may."""
        with self._turn:
            send(self._connection, message)

    def association_began(self, event: AssociationBegan) -> None:
        """Send that an association was accepted."""
        self.tell(event)

    def instance_received(self, event: InstanceReceived) -> None:
        """Send one C-STORE."""
        self.tell(event)

    def association_ended(self, event: AssociationSummary) -> None:
        """Send that an association is over."""
        self.tell(event)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a log record as the text that it makes, with its cause."""
        text = record.getMessage()
        cause = record.exc_info[1] if record.exc_info else None
        if cause is not None:
            text = f"{text.rstrip('.')}: {type(cause).__name__}: {cause}"
        host, kind = getattr(record, "host", None), getattr(record, "kind", "")
        self.tell(Logged(record.name, record.levelno, text, host, kind))


class SharedSeats(Seats):
    """Seats of all workers together: each has a column of a table, and looks at all of it.

    A seat that is taken has a number that stands for its host; one that is free has 0. Two that
    take the last seat at the same moment may both be told that none is free; never are there
    more than the limit.

    Args:
        limits: How many there may be.
        fd: A file of :meth:`size` bytes or more, which all have open.
        place: Which of them is ours.
        workers: How many there are.
    """

    def __init__(self, limits: AcceptorLimits, fd: int, place: int, workers: int) -> None:
        super().__init__(limits)
        self._fd, self._place, self._workers = fd, place, workers
        self._look()

    @staticmethod
    def size(limits: AcceptorLimits, workers: int) -> int:
        """Give the bytes of the table: for each worker a seat more than there may be, to try it."""
        return 8 * workers * (limits.max_associations + 1)

    @staticmethod
    def clear(fd: int, place: int, workers: int) -> None:
        """Give back all seats of a worker that has ended."""
        for start in range(8 * place, os.fstat(fd).st_size, 8 * workers):
            os.pwrite(fd, bytes(8), start)

    def configure(self, limits: AcceptorLimits) -> None:
        """Let there be more or fewer; the file has to be large enough before."""
        with self._lock:
            self._look()
        super().configure(limits)

    def _look(self) -> None:
        self._table = memoryview(mmap.mmap(self._fd, 0)).cast("Q")
        self._own = self._table[self._place :: self._workers]

    def _counted(self, who: str) -> tuple[int, int]:
        seats = self._table.tolist()
        return len(seats) - seats.count(0), seats.count(_number_of(who))

    def _add(self, who: str) -> None:
        self._own[self._own.tolist().index(0)] = _number_of(who)

    def _remove(self, who: str) -> None:
        self._own[self._own.tolist().index(_number_of(who))] = 0


def _number_of(who: str) -> int:
    """Give the number that stands for a host, the same in all processes."""
    return xxh3_64_intdigest(who.encode()) or 1
