"""Several receiver processes on one port and one archive, and who looks after them.

In: what a receiver needs, and a number. Out: the events of all of them, as one receiver would
tell them. The supervisor receives nothing itself: it holds the port (SO_REUSEPORT, over which
Linux spreads connections by a hash of both addresses), starts the workers, relays what they say,
and starts one again that died. What a worker does is in ``worker.py``.

A worker is a fresh interpreter and no fork: a fork would share locks of the archive and take
along the threads' locks.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from pypx.errors import NetworkError, PypxError
from pypx.net.limits import AcceptorLimits
from pypx.net.server import reserve
from pypx.net.tls_settings import ServerTls
from pypx.receiver.allow import AllowRule
from pypx.receiver.events import (
    AssociationBegan,
    AssociationSummary,
    InstanceReceived,
    Observer,
    Totals,
)
from pypx.receiver.receiver import check_rules
from pypx.receiver.relay import (
    Beat,
    Configure,
    Failed,
    Logged,
    Noted,
    Ready,
    SharedSeats,
    Stop,
    Task,
    Waiting,
    receive,
    send,
)
from pypx.values import replace

__all__ = ["Workers"]

_log = logging.getLogger(__name__)
_LONGEST_PAUSE = 30.0  # seconds between two starts of a worker that dies again and again
_STEADY = 60.0  # seconds of life after which a death is no longer one of a row
_MARGIN = 5.0  # seconds beyond the grace after which a worker is killed
_EXIT_WAIT = 5.0  # seconds between the last word of a worker and its end


class Workers:
    """Receivers in processes of their own; it starts and stops like one :class:`Receiver`.

    Args:
        task: What each of them does; port 0 takes a free one.
        number: How many.
        observer: Who hears of associations and instances, in threads of this process.
        on_note: Gets a sentence of a worker's archive that the user should know.
        pause: Seconds before a worker that died is started again; it doubles up to 30 s when
            that one does not live either.
        sockets: That listen already, in the place of host and port; they are closed in the end.

    Attributes:
        addresses: Host and port of each socket.
        host: What is bound.
        port: The port that is bound.
        ae_title: What we are called.
        totals: Running numbers over all associations.
        restarts: How often a worker was started again.

    Raises:
        ConfigError: The address cannot be bound, or would be open to anybody.
    """

    def __init__(
        self,
        task: Task,
        number: int,
        *,
        observer: Observer,
        on_note: Callable[[str], None],
        pause: float = 0.5,
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        if task.tls is not None:
            _check_tls(task.tls)
        for one in [str(sock.getsockname()[0]) for sock in sockets] or [task.host]:
            check_rules(one, task.allow, allow_any=task.allow_any, users=task.users)
        self._sockets = sockets or [reserve(task.host, task.port)]
        self.addresses: list[tuple[str, int]] = [one.getsockname()[:2] for one in self._sockets]
        self.host, self.port = self.addresses[0]
        self.ae_title = task.ae_title
        self.totals = Totals()
        self.restarts = 0
        descriptors = tuple(one.fileno() for one in sockets)
        self.task = replace(task, host=self.host, port=self.port, sockets=descriptors)
        self.observer = observer
        self.on_note = on_note
        self.pause = pause
        self.stopping = threading.Event()
        self.grace = task.grace
        self.seats = os.memfd_create("pypx-seats")
        self.number = number
        os.ftruncate(self.seats, SharedSeats.size(task.limits, number))
        self._lock = threading.Lock()
        self._workers = [_Worker(self, place) for place in range(number)]

    def start(self) -> None:
        """Start all workers, and return when all of them accept associations.

        Raises:
            PypxError: One could not; none runs then.
        """
        for worker in self._workers:
            worker.thread.start()
        for worker in self._workers:
            worker.started.wait()
        stillborn = [worker.stillborn for worker in self._workers if worker.stillborn]
        if stillborn:
            self.stop(0)
            raise stillborn[0]

    def stop(self, grace: float = 10.0) -> None:
        """Stop accepting; instances under way have ``grace`` seconds to end. Twice is fine."""
        if self._sockets[0].fileno() < 0:
            return
        self.grace = grace
        self.stopping.set()
        for worker in self._workers:
            worker.tell(Stop(grace))
        deadline = time.monotonic() + grace + _MARGIN
        for worker in self._workers:
            if worker.thread.ident is not None:
                worker.thread.join(max(0.0, deadline - time.monotonic()))
        for worker in self._workers:
            if worker.thread.is_alive():
                worker.kill()
                worker.thread.join(_EXIT_WAIT)
        for sock in self._sockets:
            sock.close()
        os.close(self.seats)

    def configure(
        self,
        *,
        allow: Sequence[AllowRule],
        min_free: int,
        limits: AcceptorLimits | None = None,
        tls: ServerTls | None = None,
    ) -> None:
        """Take other terms in all workers, as :meth:`Receiver.configure`.

        Raises:
            ConfigError: The address would be open to anybody, or a file of TLS is wrong; nothing
                is changed then.
        """
        for host, _ in self.addresses:
            check_rules(host, allow, allow_any=self.task.allow_any, users=self.task.users)
        if tls is not None:
            _check_tls(tls)
        limits = limits or self.task.limits
        wanted = SharedSeats.size(limits, self.number)
        if wanted > os.fstat(self.seats).st_size:  # it never shrinks: workers look at all of it
            os.ftruncate(self.seats, wanted)
        self.task = replace(
            self.task,
            allow=tuple(allow),
            min_free=min_free,
            limits=limits,
            tls=tls or self.task.tls,
        )
        for worker in self._workers:
            worker.tell(Configure(self.task.allow, min_free, limits, tls))

    def are_alive(self, within: float) -> bool:
        """Whether workers receive, and each that does has said so in the last seconds."""
        now = time.monotonic()
        beats = [worker.beat for worker in self._workers if worker.ready]
        return bool(beats) and all(now - beat <= within for beat in beats)

    @property
    def processes(self) -> list[int]:
        """The process IDs of the workers that receive."""
        return [worker.process.pid for worker in self._workers if worker.process and worker.ready]

    @property
    def waiting(self) -> int:
        """How many stored instances wait for the index to be available."""
        return sum(worker.waiting for worker in self._workers)

    def count(self, event: InstanceReceived) -> None:
        """Add an instance to the totals; each worker's thread does."""
        with self._lock:
            self.totals.add(event)

    def count_restart(self) -> None:
        """Note that a worker was started again."""
        with self._lock:
            self.restarts += 1


class _Open:
    """An association of a worker, whose end must be told even if the worker dies."""

    def __init__(self, began: AssociationBegan) -> None:
        self.began = began
        self.totals = Totals()
        self.started = time.monotonic()

    def lost(self) -> AssociationSummary:
        return AssociationSummary(
            association_id=self.began.association_id,
            host=self.began.host,
            calling_ae_title=self.began.calling_ae_title,
            called_ae_title=self.began.called_ae_title,
            totals=self.totals,
            seconds=time.monotonic() - self.started,
            error=NetworkError("The worker process that received it ended."),
            requests=self.totals.instances + self.totals.failures + 1,  # one may be under way
            user=self.began.user,
        )


class _Worker:
    """One place among the workers: a process, and the next one when it died.

    Attributes:
        thread: Starts the process and hears what it says.
        started: Set when the first process receives, or has failed to.
        stillborn: Why the first process could not receive.
        ready: Whether the process receives.
        failure: Why the last process could not.
        process: The one that runs, if one does.
        waiting: How many of its instances wait for the index.
        beat: When its loop that accepts last said that it is alive, monotonic seconds.
    """

    def __init__(self, workers: Workers, place: int) -> None:
        self.thread = threading.Thread(target=self._run, name=f"px-worker-{place + 1}", daemon=True)
        self.started = threading.Event()
        self.stillborn: PypxError | None = None
        self.ready = False
        self.failure: PypxError | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.waiting = 0
        self.beat = 0.0
        self._workers = workers
        self._place = place
        self._open: dict[str, _Open] = {}
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def tell(self, message: object) -> None:
        """Send a message to the process, if there is one."""
        with self._lock:
            if self._connection is not None:
                send(self._connection, message)

    def kill(self) -> None:
        """End the process at once."""
        process = self.process
        if process is not None:
            process.kill()

    def _run(self) -> None:
        pause = self._workers.pause
        while True:
            began = time.monotonic()
            how = self._live()
            if not self.started.is_set():
                self.stillborn = self.failure or PypxError(
                    f"A worker ended before it could receive: {how}."
                )
                self.started.set()
                return
            if self._workers.stopping.is_set():
                return
            if time.monotonic() - began >= _STEADY:
                pause = self._workers.pause
            reason = self.failure.message if self.failure else f"{how}."
            _log.warning(
                "worker %d ended: %s It is started again in %g s; the others receive",
                self._place + 1,
                reason,
                pause,
            )
            if self._workers.stopping.wait(pause):
                return
            pause = min(2 * pause, _LONGEST_PAUSE)
            self._workers.count_restart()

    def _live(self) -> str:
        """Run one process from its start to its end; say how it ended."""
        self.failure = None
        try:
            ours = self._start()
        except OSError as error:
            self.failure = PypxError(f"No process can be started: {error.strerror or error}.")
            return "no process"
        process = self.process
        assert process is not None  # _start() has set it
        try:
            while True:
                self._hear(receive(ours))
        except (EOFError, OSError):
            pass
        finally:
            with self._lock:
                self._connection = None
            ours.close()
        code = _wait(process)
        self._forget()
        return _ending(code)

    def _start(self) -> Connection:
        workers = self._workers
        ours, theirs = Pipe()
        with theirs:
            arguments = (theirs.fileno(), workers.seats, self._place, workers.number)
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pypx.receiver.worker", *map(str, arguments)],
                pass_fds=(theirs.fileno(), workers.seats, *workers.task.sockets),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                process_group=0,  # a Ctrl-C is for the supervisor
            )
        with self._lock:
            send(ours, workers.task)
            if workers.stopping.is_set():
                send(ours, Stop(workers.grace))
            self._connection = ours
        _log.debug("worker %d is process %d", self._place + 1, self.process.pid)
        return ours

    def _hear(self, message: Any) -> None:
        match message:
            case InstanceReceived():
                self._workers.count(message)
                if message.association_id in self._open:
                    self._open[message.association_id].totals.add(message)
                self._workers.observer.instance_received(message)
            case AssociationBegan():
                self._open[message.association_id] = _Open(message)
                self._workers.observer.association_began(message)
            case AssociationSummary():
                self._open.pop(message.association_id, None)
                self._workers.observer.association_ended(message)
            case Beat():
                self.beat = time.monotonic()
            case Logged(name, level, text, host, kind):
                extra = {"host": host, "kind": kind}
                logging.getLogger(name).log(level, "%s", text, extra=extra)
            case Noted(text):
                self._workers.on_note(text)
            case Waiting(rows):
                self.waiting = rows
            case Ready():
                self.beat = time.monotonic()
                self.ready = True
                self.started.set()
            case Failed(error):
                self.failure = error

    def _forget(self) -> None:
        """Tell of the associations that ended with the process, and give back their seats."""
        self.ready = False
        self.process = None
        self.waiting = 0
        SharedSeats.clear(self._workers.seats, self._place, self._workers.number)
        for one in self._open.values():
            self._workers.observer.association_ended(one.lost())
        self._open.clear()


def _check_tls(tls: ServerTls) -> None:
    """See whether the files can be used, before a worker does."""
    from pypx.net.tls import server_context  # heavy, and most listeners have none

    server_context(tls)


def _environment() -> Mapping[str, str]:
    """Let a worker import what we import: -P keeps it from what lies in the current folder."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _wait(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(_EXIT_WAIT)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _ending(code: int) -> str:
    if code >= 0:
        return f"it exited with code {code}"
    return f"it was killed by signal {-code} ({signal.strsignal(-code)})"
