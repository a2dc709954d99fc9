"""A socket and a session, driven together: what requestor and acceptor share.

In: a connected TCP socket and a :class:`~pypx.dimse.session.Session`. Out: the
session's events. One thread drives one channel; nothing here knows which role
it has or what a message means.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from pypx.dimse.session import Session, SessionEvent
from pypx.errors import ConnectionLostError, PeerTimeoutError

if TYPE_CHECKING:
    from pypx.net.tls import TlsSocket

__all__ = ["MAXIMUM_LENGTH", "READ_SIZE", "Channel", "prepare_socket"]

MAXIMUM_LENGTH = 1024 * 1024
"""The longest P-DATA-TF that we ask peers to send, in bytes; it is streamed and costs no memory."""

READ_SIZE = 1024 * 1024
"""At most so many bytes are read at once, into one buffer for the life of the channel."""

_BUFFERS_PER_CALL = 512  # Linux takes 1024 buffers in one sendmsg, macOS as many.
_SLOWEST = 1024  # bytes a second that a peer has to take
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
_LOOKS = 4  # in each time-out, at whether the peer still takes what was sent
_SHORTEST_WAIT = 0.001  # seconds; for the kernel 0 is no limit


def prepare_socket(sock: socket.socket | TlsSocket) -> None:
    """Set what both roles need on a TCP socket.

    TCP_NODELAY: a message is several small writes, and Nagle's algorithm would hold
    the last one back. SO_KEEPALIVE: a peer that vanished is noticed one day.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


class Channel:
    """Move bytes between one socket and one session.

    Args:
        sock: Connected, perhaps secure; the channel owns it from now on.
        session: The protocol machine.
        send_timeout: Seconds that a peer may take nothing of what is sent; one that takes a
            little each time has to take 1 KiB/s.

    Attributes:
        session: As given.
        closed: Whether the socket is.
        last_read: When bytes last came, monotonic seconds.
        received: How many bytes have come.
    """

    def __init__(
        self, sock: socket.socket | TlsSocket, session: Session, *, send_timeout: float = 30.0
    ) -> None:
        prepare_socket(sock)
        # The kernel keeps the time: Python's own time-outs cost two more calls a read.
        sock.settimeout(None)
        _set_timeout(sock, socket.SO_SNDTIMEO, send_timeout / _LOOKS)
        self.session = session
        self._socket = sock
        self._send_timeout = send_timeout
        self._receive_timeout = 0.0  # as the kernel has it
        self._buffer = memoryview(bytearray(READ_SIZE))
        self.closed = False
        self.last_read = time.monotonic()
        self.received = 0

    def receive(self, timeout: float) -> list[SessionEvent]:
        """Send what waits, then wait for bytes and give the events that they make.

        Args:
            timeout: Seconds to wait; 0 looks without waiting.

        Returns:
            The events; none when the time was up. Views in them are valid until the
            next call.

        Raises:
            ConnectionLostError, PeerTimeoutError: What waited could not be sent.
        """
        self.flush()
        if self.closed:
            return []
        now = time.monotonic()
        timer = self.session.next_timeout()
        wait = timeout if timer is None else max(0.0, min(timeout, timer - now))
        size = self._read(wait)
        now = time.monotonic()
        events: list[SessionEvent] = []
        if size is not None:
            self.last_read = now
            if size:
                self.received += size
                events = self.session.receive_data(self._buffer[:size], now)
            else:
                events = list(self.session.association.transport_closed(now))
                self.close()
        if timer is not None and now >= timer and not self.closed:
            events += self.session.handle_timeout(now)
        self._end_if_over()
        return events

    def _read(self, wait: float) -> int | None:
        """Read once; 0 where the peer has closed, None where nothing came in time."""
        try:
            if wait and wait != self._receive_timeout:
                _set_timeout(self._socket, socket.SO_RCVTIMEO, wait)
                self._receive_timeout = wait
            size = self._socket.recv_into(self._buffer, 0, 0 if wait else socket.MSG_DONTWAIT)
            if _QUICKACK is not None:
                # The kernel falls back to delayed ACKs by itself; a sender with Nagle's
                # algorithm on would then stall 40 ms a message.
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        except BlockingIOError:
            return None
        except OSError:
            return 0
        return size

    def flush(self) -> None:
        """Send everything that waits.

        Raises:
            ConnectionLostError: The peer is gone.
            PeerTimeoutError: The peer did not read in time (phase ``send``).
        """
        chunks = self.session.data_to_send()
        if not chunks:
            return
        if self.closed:
            raise ConnectionLostError("The connection is closed.")
        try:
            self._send_all(chunks)
        except (BlockingIOError, TimeoutError):
            self.close()
            raise PeerTimeoutError(
                f"The peer did not take our data within {self._send_timeout:g} s.",
                phase="send",
                hint="The link may be dead, or the peer hangs: try again.",
            ) from None
        except OSError as error:
            # What the peer said before it closed, an A-ABORT with its reason for
            # one, may still be there to read, and says more than this.
            if self.session.association.should_close:
                self.close()
                return
            raise ConnectionLostError(
                f"The peer closed the connection while we sent: {error.strerror or error}."
            ) from error

    def unsent(self) -> int:
        """Give how many bytes the peer has not taken; 0 where the system does not tell."""
        return _unsent(self._socket)

    def _send_all(self, chunks: Iterable[bytes | memoryview]) -> None:
        waiting = list(chunks)
        effort = _Effort(self._send_timeout)
        while waiting:
            try:
                sent = self._socket.sendmsg(waiting[:_BUFFERS_PER_CALL])
            except BlockingIOError:
                # A link that is slow has all that the kernel holds to carry first.
                effort.check(sum(map(len, waiting)), self.unsent(), time.monotonic())
                continue
            done = 0
            for chunk in waiting:
                if sent < len(chunk):
                    break
                sent -= len(chunk)
                done += 1
            del waiting[:done]
            if sent:
                waiting[0] = memoryview(waiting[0])[sent:]
            if waiting:
                # The kernel limits each call; a peer that takes a byte now and then needs many.
                effort.check(sum(map(len, waiting)), self.unsent(), time.monotonic())

    def _end_if_over(self) -> None:
        if self.session.association.should_close and not self.closed:
            self.flush()
            self.close()

    def finish(self, timeout: float) -> None:
        """Send what waits and let the peer close first, at most for ``timeout`` seconds.

        A socket that is closed with unread bytes in it resets the connection, and the
        peer may then never see the A-ABORT or A-RELEASE-RP that was sent last.
        """
        deadline = time.monotonic() + timeout
        try:
            self.flush()
            while not self.closed and (left := deadline - time.monotonic()) > 0:
                self.receive(left)
        except (ConnectionLostError, PeerTimeoutError):
            pass  # The association is over; how its transport ended changes nothing.
        self.close()

    def close(self) -> None:
        """Close the socket; for the thread that drives the channel."""
        if not self.closed:
            self.closed = True
            self._socket.close()

    def cut(self) -> None:
        """End the connection, so that the thread that drives the channel finds it closed."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


class _Effort:
    """How one write fares: it is given up where nothing moves, or hardly anything.

    Args:
        timeout: Seconds in which something has to move.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._left: int | None = None
        self._moved = time.monotonic()
        self._deadline = 0.0

    def check(self, waiting: int, unsent: int, now: float) -> None:
        """Look how it stands after a call that did not take all.

        Args:
            waiting: Bytes that the kernel has not taken.
            unsent: Bytes that it has, and the peer has not.
            now: When it is asked.

        Raises:
            TimeoutError: It is to be given up.
        """
        left = waiting + unsent
        if self._left is None:
            self._deadline = now + self._timeout + left / _SLOWEST
        elif left < self._left:
            self._moved = now
        self._left = left
        if now - self._moved >= self._timeout or now >= self._deadline:
            raise TimeoutError


def _unsent(sock: socket.socket | TlsSocket) -> int:
    """Ask the kernel for what waits in the socket or is not acknowledged (Linux: SIOCOUTQ)."""
    try:
        import fcntl
        import termios

        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    except (ImportError, OSError):
        return 0
    return int.from_bytes(answer, sys.byteorder)


def _set_timeout(sock: socket.socket | TlsSocket, option: int, seconds: float) -> None:
    """Set SO_RCVTIMEO or SO_SNDTIMEO, a ``struct timeval``."""
    whole, part = divmod(max(seconds, _SHORTEST_WAIT), 1)
    sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", int(whole), int(part * 1e6)))
