"""One of several receivers on a port, as a process: ``python -m pypx.receiver.worker``.

In: a pipe to the supervisor (``workers.py``), whose first message says what to do. Out: what
happens, over the same pipe. It ends when the supervisor says so or is no more. Signals are the
supervisor's business: those that a terminal or a service manager sends to all are not heeded here.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection

from pypx.archive import Archive
from pypx.errors import ConfigError, PypxError
from pypx.modes import set_umask
from pypx.net.service_manager import check_listening
from pypx.receiver.receiver import Receiver
from pypx.receiver.relay import (
    Beat,
    Configure,
    Failed,
    Noted,
    Ready,
    Relay,
    SharedSeats,
    Stop,
    Task,
    Waiting,
    receive,
)

__all__ = ["main"]

_log = logging.getLogger(__name__)
_TICK = 1.0  # seconds between looks at the archive's notes


def main() -> int:
    """Receive until told to stop.

    The arguments are two file descriptors, which place ours is, and how many there are.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    pipe, table, place, workers = map(int, sys.argv[1:])
    gc.freeze()  # modules are no garbage
    connection = Connection(pipe)
    relay = Relay(connection)
    try:
        task = receive(connection)
        assert isinstance(task, Task)
        _log_to(relay, task.log_level)
        set_umask(task.umask)
        _work(task, connection, relay, SharedSeats(task.limits, table, place, workers))
    except EOFError:  # the supervisor was quicker gone than we were here
        return 1
    except PypxError as error:
        relay.tell(Failed(error))
        return 1
    except Exception as error:  # noqa: BLE001
        # The edge of this process: no traceback reaches the user, a sentence does.
        reason = f"{type(error).__name__}: {error}"
        relay.tell(Failed(PypxError(f"A worker failed by a defect of pypx: {reason}.")))
        return 1
    return 0


def _log_to(relay: Relay, level: int) -> None:
    logger = logging.getLogger("pypx")
    logger.handlers[:] = [relay]
    logger.propagate = False
    logger.setLevel(level)


def _work(task: Task, connection: Connection, relay: Relay, seats: SharedSeats) -> None:
    with Archive(
        task.root, layout=task.layout, durability=task.durability, index_wait=task.index_wait
    ) as archive:
        receiver = Receiver(
            archive,
            host=task.host,
            port=task.port,
            ae_title=task.ae_title,
            allow=task.allow,
            allow_any=task.allow_any,
            limits=task.limits,
            seats=seats,
            min_free=task.min_free,
            observer=relay,
            share_port=True,
            tls=task.tls,
            users=task.users,
            sockets=[check_listening(number) for number in task.sockets],
            heartbeat=_Beats(relay) if task.beats else lambda: None,
        )
        receiver.start()
        relay.tell(Ready())
        receiver.stop(_serve(task, connection, relay, archive, receiver))


def _serve(
    task: Task, connection: Connection, relay: Relay, archive: Archive, receiver: Receiver
) -> float:
    """Do what the supervisor asks until it is time to stop; give the seconds for that."""
    told = waiting = 0
    while True:
        for note in archive.notes[told:]:
            told += 1
            relay.tell(Noted(note))
        if receiver.waiting != waiting:
            waiting = receiver.waiting
            relay.tell(Waiting(waiting))
        if not connection.poll(_TICK):
            continue
        try:
            message = receive(connection)
        except (EOFError, OSError):  # the supervisor died
            return task.grace
        match message:
            case Configure(allow, min_free, limits, tls):
                try:
                    receiver.configure(allow=allow, min_free=min_free, limits=limits, tls=tls)
                except ConfigError as error:  # a file of TLS has changed again since
                    _log.warning("a worker keeps what it had: %s", error.message)
            case Stop(grace):
                threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
                return grace


class _Beats:
    """Tells the supervisor that the loop that accepts is alive, at most once a second."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._last = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._last >= _TICK / 2:
            self._last = now
            self._relay.tell(Beat())


def _end_with(connection: Connection) -> None:
    """End at once when the supervisor ends before we have: its user asked a second time."""
    try:
        while True:
            receive(connection)
    except (EOFError, OSError):
        os._exit(1)


if __name__ == "__main__":
    # Nothing that still runs is worth waiting for: the archive is closed.
    os._exit(main())
