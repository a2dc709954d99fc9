"""A network between two processes of this machine, which a test may cut and mend.

In: a port. Out: another port with the same behind it. Nothing of DICOM is known here.
"""

from __future__ import annotations

__all__ = ["Network"]

import contextlib
import select
import socket
import threading
from types import TracebackType

from tests.peers.process import HOST, free_port


class Network:
    """Passes bytes on between a port of its own and another, until it is cut.

    Connections that are there when it is cut, or are made while it is, are never closed and
    never get another byte, as when a router forgets them. Those made after it is mended work.

    Args:
        to_port: Where it leads.

    Attributes:
        port: Where it begins.
        is_cut: Whether nothing passes.
    """

    def __init__(self, to_port: int) -> None:
        self.port = free_port()
        self.is_cut = False
        self._to_port = to_port
        self._cuts = 0
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
        cuts = self._cuts
        try:
            far = socket.create_connection((HOST, self._to_port), timeout=5)
        except OSError:
            near.close()
            return
        self._held.append(far)
        for one in (near, far):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            while self._pass(near, far, cuts):
                pass
        if cuts == self._cuts:
            near.close()
            far.close()

    def _pass(self, near: socket.socket, far: socket.socket, cuts: int) -> bool:
        """Pass on what has come; say whether there may be more."""
        ready, _, _ = select.select([near, far], [], [], 0.1)
        for one in ready:
            data = one.recv(1 << 16)
            if cuts != self._cuts or self._over.is_set():
                return False
            if not data:
                return False
            (far if one is near else near).sendall(data)
        return cuts == self._cuts and not self._over.is_set()
