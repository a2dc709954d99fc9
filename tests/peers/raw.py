"""A TCP server that plays a script: the peer that does what no proper peer would.

A script is a list of steps, made by the functions here and played in order on one
connection; when it ends the connection is closed::

    raw_scp([receive_pdu(), send(b"\\x02\\x00..."), receive_pdu(), reset()])
"""

from __future__ import annotations

__all__ = ["RawScp", "close", "receive", "receive_pdu", "reset", "send", "stall"]

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Sequence

from tests.peers.process import HOST


class Played:
    """One connection, what came in on it, and how the script ended."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.received = bytearray()
        self.error: OSError | None = None
        self.stopped = threading.Event()
        self.done = threading.Event()

    def receive_exactly(self, size: int) -> bytes:
        """Return the next ``size`` bytes; ConnectionError when the peer closes before."""
        start = len(self.received)
        while (missing := start + size - len(self.received)) > 0:
            data = self.connection.recv(missing)
            if not data:
                raise ConnectionError("the peer closed the connection")
            self.received += data
        return bytes(self.received[start:])


Step = Callable[[Played], None]


def send(data: bytes, *, piece: int | None = None, pause: float = 0.0) -> Step:
    """Send bytes, in segments of ``piece`` bytes if that is given, with a pause after each."""

    def step(played: Played) -> None:
        size = piece or max(len(data), 1)
        for at in range(0, len(data), size):
            played.connection.sendall(data[at : at + size])
            played.stopped.wait(pause)

    return step


def receive(size: int) -> Step:
    """Wait for so many bytes."""

    def step(played: Played) -> None:
        played.receive_exactly(size)

    return step


def receive_pdu() -> Step:
    """Wait for one whole PDU."""

    def step(played: Played) -> None:
        header = played.receive_exactly(6)
        played.receive_exactly(int.from_bytes(header[2:], "big"))

    return step


def stall(*, reading: bool = True) -> Step:
    """Say nothing more; keep what comes until the peer closes, or do not even read."""

    def step(played: Played) -> None:
        if not reading:
            played.stopped.wait()
        while data := played.connection.recv(65536):
            played.received += data

    return step


def close() -> Step:
    """Close the connection in order (FIN)."""
    return lambda played: played.connection.shutdown(socket.SHUT_RDWR)


def reset() -> Step:
    """Break the connection (RST)."""

    def step(played: Played) -> None:
        linger = struct.pack("ii", 1, 0)
        played.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        played.connection.close()

    return step


class RawScp:
    """Plays ``scripts[n]`` on the n-th connection, the last one on all later ones.

    ``connections`` has, for each in order, what was received and the error that ended the
    script early, if one did.
    """

    def __init__(self, *scripts: Sequence[Step], ae_title: str = "RAW") -> None:
        self.ae_title = ae_title
        self.connections: list[Played] = []
        self._scripts = scripts
        self._threads: list[threading.Thread] = []
        self._stopping = False
        self._accepted = threading.Condition()
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    @property
    def address(self) -> str:
        """``AET@host:port``."""
        return f"{self.ae_title}@{HOST}:{self.port}"

    def wait(self, connections: int = 1, *, timeout: float = 10.0) -> None:
        """Return when so many connections have come and their scripts are at their ends."""
        with self._accepted:
            assert self._accepted.wait_for(lambda: len(self.connections) >= connections, timeout)
        for played in self.connections[:connections]:
            assert played.done.wait(timeout), "the script still runs"

    def stop(self) -> None:
        """Close everything and wait for the threads."""
        self._stopping = True
        with contextlib.suppress(OSError):  # closing the listener would not end its accept()
            socket.create_connection((HOST, self.port), timeout=1.0).close()
        self._threads[0].join(10)
        self._listener.close()
        for played in self.connections:
            played.stopped.set()
            with contextlib.suppress(OSError):
                played.connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "a thread of the raw server did not end"

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._stopping:
                connection.close()
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            script = self._scripts[min(len(self.connections), len(self._scripts) - 1)]
            played = Played(connection)
            with self._accepted:
                self.connections.append(played)
                self._accepted.notify_all()
            self._start(self._play, played, script)

    @staticmethod
    def _play(played: Played, script: Sequence[Step]) -> None:
        with played.connection:
            try:
                for step in script:
                    step(played)
            except OSError as error:
                played.error = error
            finally:
                played.done.set()
