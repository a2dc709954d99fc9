"""A network between two processes of this machine, which a test may spoil and mend.

In: a port. Out: another port with the same behind it. Nothing of DICOM is known here.
"""

from __future__ import annotations

__all__ = ["Network"]

import contextlib
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

from tests.peers.process import HOST, free_port

_LOOK = 0.02  # seconds between looks at what the test wants


class Network:
    """Passes bytes on between a port of its own and another, until it is cut.

    Connections that are there when it is cut, or are made while it is, are never closed and
    never get another byte, as when a router forgets them. Those made after it is mended work.

    Args:
        to_port: Where it leads.
        delay: Seconds that each byte takes, one way.
        piece: No more bytes at once than this; 0 for as they come.

    Attributes:
        port: Where it begins.
        is_cut: Whether nothing passes.
        is_stalled: Whether what comes is held back, to be passed on later.
    """

    def __init__(self, to_port: int, *, delay: float = 0.0, piece: int = 0) -> None:
        self.port = free_port()
        self.is_cut = False
        self.is_stalled = False
        self._to_port = to_port
        self._delay = delay
        self._piece = piece
        self._cuts = 0
        self._resets = 0
        self._passed = 0
        self._when: tuple[int, Callable[[], None]] | None = None
        self._over = threading.Event()
        self._held: list[socket.socket] = []
        self._listener = socket.create_server((HOST, self.port))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def cut(self) -> None:
        """Let nothing pass any more, on no connection that there is now."""
        self._cuts += 1
        self.is_cut = True

    def mend(self) -> None:
        """Let new connections through."""
        self.is_cut = False

    def reset(self) -> None:
        """Break all connections that there are now with RST, to both sides."""
        self._resets += 1

    def stall(self) -> None:
        """Hold back what comes, on all connections, until ``go_on``."""
        self.is_stalled = True

    def go_on(self) -> None:
        """Pass on what was held back."""
        self.is_stalled = False

    def when(self, passed: int, do: Callable[[], None]) -> None:
        """Do something, once, when so many bytes have passed on all connections."""
        self._when = passed, do

    def __enter__(self) -> Network:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
        for held in self._held:
            held.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError):
                near, _ = self._listener.accept()
                self._held.append(near)
                if not self.is_cut:
                    thread = threading.Thread(target=self._lead, args=(near,), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _lead(self, near: socket.socket) -> None:
        cuts, resets = self._cuts, self._resets
        try:
            far = socket.create_connection((HOST, self._to_port), timeout=5)
        except OSError:
            near.close()
            return
        self._held.append(far)
        for one in (near, far):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = _Line(near, far)
        with contextlib.suppress(OSError):
            while not line.is_over and cuts == self._cuts and not self._over.is_set():
                line.take(self._delay)
                if resets != self._resets:
                    line.reset()
                elif not self.is_stalled and cuts == self._cuts:
                    self._count(line.give(self._piece))
        if cuts == self._cuts:
            near.close()
            far.close()

    def _count(self, size: int) -> None:
        self._passed += size
        if self._when is not None and self._passed >= self._when[0]:
            (_, do), self._when = self._when, None
            do()


class _Line:
    """One connection: what came of each side, and when the other is to have it."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.is_over = False
        self._ends = [near, far]
        self._other = {near: far, far: near}
        self._way: deque[tuple[float, socket.socket, bytes]] = deque()

    def take(self, delay: float) -> None:
        """Wait for a moment for what comes, or until something is due."""
        wait = max(0.0, min(_LOOK, self._way[0][0] - time.monotonic())) if self._way else _LOOK
        ready, _, _ = select.select(self._ends, [], [], wait)
        for one in ready:
            data = one.recv(1 << 16)
            if not data:
                self._ends.remove(one)
            self._way.append((time.monotonic() + delay, self._other[one], data))

    def give(self, piece: int) -> int:
        """Pass on what is due, and say how much it was; the end of one side ends both."""
        size = 0
        while self._way and self._way[0][0] <= time.monotonic() and not self.is_over:
            _, to, data = self._way.popleft()
            self.is_over = not data
            for start in range(0, len(data), piece or len(data) or 1):
                to.sendall(data[start : start + (piece or len(data))])
            size += len(data)
        return size

    def reset(self) -> None:
        """Break both sides."""
        self.is_over = True
        for one in self._other:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
