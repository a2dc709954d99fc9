"""Signals as orders to a main thread that waits: stop, or read the configuration again.

In: SIGTERM, Ctrl-C and SIGHUP. Out: what to do next. What that means is the command's business.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from enum import Enum

from pypx.cli.interrupt import Interrupts

__all__ = ["Order", "Orders"]


class Order(Enum):
    """What the user wants."""

    STOP = "stop"
    RELOAD = "read the configuration again"


class Orders:
    """Takes SIGHUP over at once, so that it never ends us, and the others when told to.

    The kernel may give a signal to any thread, and Python runs its handler in the main one,
    which would sleep on: so the signal itself writes to the pipe that the main thread reads.
    A handler must not wait for a lock that the main thread may hold, so it only sets a flag.
    """

    def __init__(self) -> None:
        self._stopping = False
        self._reload = False
        self._reading, writing = os.pipe()
        os.set_blocking(writing, False)
        os.set_blocking(self._reading, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        # Also where it was ignored (nohup): it does no harm now.
        signal.signal(signal.SIGHUP, self._hear_reload)

    def heed_stops(self, interrupts: Interrupts) -> None:
        """From now on stop politely on SIGTERM and on the first Ctrl-C."""
        interrupts.cancel = self._hear_stop
        signal.signal(signal.SIGTERM, lambda *_: self._hear_stop())

    def _hear_stop(self) -> None:
        self._stopping = True

    def _hear_reload(self, number: int, frame: object) -> None:
        self._reload = True

    def wait(self, timeout: float) -> Order | None:
        """Wait for an order, at most so many seconds."""
        if not (self._stopping or self._reload):
            select.select([self._reading], [], [], timeout)
        with suppress(BlockingIOError):
            os.read(self._reading, 512)
        if self._stopping:
            return Order.STOP
        if self._reload:
            self._reload = False
            return Order.RELOAD
        return None
