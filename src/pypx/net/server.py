"""The listening port: accept, limit, and serve each association in a thread of its own.

In: a host, a port and a :class:`~pypx.net.served.Provider`. Out: associations
that run, and word to the provider when each is over.
"""

from __future__ import annotations

import errno
import logging
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pypx.errors import ConfigError
from pypx.net.accepted import about, accepted, context_of, plain_host, serve
from pypx.net.limits import DEFAULT_LIMITS, AcceptorLimits
from pypx.net.seats import Seats
from pypx.net.served import Provider, ServedAssociation

if TYPE_CHECKING:
    from pypx.net.tls_settings import ServerTls

__all__ = ["Server", "can_share_port", "reserve"]

_log = logging.getLogger(__name__)
_ACCEPT_PAUSE = 0.1  # seconds between attempts when descriptors or threads have run out
_ROUND = 1.0  # seconds that the accepting loop sleeps at most
_BACKLOG = 128


class Server:
    """Listen on one port and serve associations for a provider.

    Args:
        host: The address to bind; empty for all interfaces.
        port: 0 takes a free one.
        provider: What is offered.
        limits: What a peer may ask.
        seats: The associations that are open, if they are shared with other servers.
        share_port: Other processes of this user listen on the port as well (SO_REUSEPORT).
        tls: What makes connections secure; None for connections that are not.
        sockets: That listen already, in the place of ``host`` and ``port``. They are closed in the
            end and not shut down, since who opened them may have them too.
        heartbeat: Called by the loop that accepts, at least once a second while it does.

    Attributes:
        addresses: Host and port of each socket.
        host: The first host.
        port: The first port.

    Raises:
        ConfigError: The address cannot be bound, or a file of TLS is wrong.
    """

    def __init__(
        self,
        host: str,
        port: int,
        provider: Provider,
        *,
        limits: AcceptorLimits = DEFAULT_LIMITS,
        seats: Seats | None = None,
        share_port: bool = False,
        tls: ServerTls | None = None,
        sockets: Sequence[socket.socket] = (),
        heartbeat: Callable[[], None] = lambda: None,
    ) -> None:
        self._context = context_of(tls)
        self._provider = provider
        self._heartbeat = heartbeat
        self._limits = limits
        self._seats = seats or Seats(limits)
        self._lock = threading.Lock()
        self._associations: dict[ServedAssociation, threading.Thread] = {}
        self._stopping = False
        self._last_activity = time.monotonic()
        self._sockets = sockets or [_listen(host, port, share_port)]
        for sock in self._sockets:
            sock.setblocking(False)  # another process may be quicker
        self.addresses: list[tuple[str, int]] = [one.getsockname()[:2] for one in self._sockets]
        self.host, self.port = self.addresses[0]
        self._asleep, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._accept, name="px-accept", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def configure(self, limits: AcceptorLimits, tls: ServerTls | None) -> None:
        """Take other limits for the connections to come, and certificates unless None.

        Any thread may call it.

        Raises:
            ConfigError: A file of TLS is wrong; nothing is changed then.
        """
        if tls is not None:
            self._context = context_of(tls)
        self._limits = limits
        self._seats.configure(limits)

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._asleep, selectors.EVENT_READ)
            for sock in self._sockets:
                selector.register(sock, selectors.EVENT_READ)
            while not self._stopping:
                self._heartbeat()
                for key, _ in selector.select(_ROUND):
                    if isinstance(key.fileobj, socket.socket) and not self._stopping:
                        self._accept_one(key.fileobj)

    def _accept_one(self, listening: socket.socket) -> None:
        try:
            sock, address = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):  # gone, or another process has it
            return
        except OSError as error:
            # Out of descriptors or memory: associations that end will free some.
            reason = error.strerror or error
            _log.warning("cannot accept a connection: %s", reason, extra=about("", error))
            time.sleep(_ACCEPT_PAUSE)
            return
        sock.setblocking(True)  # not everywhere the default
        self._begin(sock, plain_host(address[0]))

    def _begin(self, sock: socket.socket, host: str) -> None:
        served = accepted(sock, host, self._limits, self._context)
        thread = threading.Thread(
            target=self._run, args=(served,), name="px-association", daemon=True
        )
        with self._lock:
            self._make_room()
            self._associations[served] = thread
        try:
            thread.start()
        except RuntimeError as error:
            _log.warning("cannot serve a connection: %s", error, extra=about("", error))
            with self._lock:
                del self._associations[served]
            served.close()
            time.sleep(_ACCEPT_PAUSE)

    def _make_room(self) -> None:
        """Close the connection that has waited longest for its request, if too many do."""
        most = self._limits.max_waiting
        if len(self._associations) < most:
            return
        waiting = [served for served in self._associations if served.is_waiting]
        if len(waiting) >= most:
            reason = f"More than {most} connections wait for a request (max_waiting)."
            waiting[0].cut(reason)

    def _run(self, served: ServedAssociation) -> None:
        try:
            serve(served, self._provider, self._seats)
        finally:  # only now: a stop waits for all that was told
            with self._lock:
                del self._associations[served]
                if served.contexts:
                    self._last_activity = max(self._last_activity, served.last_read)

    def last_activity(self, of: Callable[[ServedAssociation], bool] | None = None) -> float:
        """Give the monotonic time at which bytes last came over an accepted association.

        Args:
            of: Which ones of those that are open count; None for all, also those that are over.
        """
        with self._lock:
            accepted = [served for served in self._associations if served.contexts]
            if of is not None:
                return max((served.last_read for served in accepted if of(served)), default=0.0)
            return max([self._last_activity, *(served.last_read for served in accepted)])

    def stop(self, grace: float = 0.0) -> None:
        """Stop accepting, and let messages that are under way end.

        Args:
            grace: Seconds that associations have to end; then they are cut.
        """
        if not self._stopping:
            self._stopping = True
            self._stop_accepting()
        with self._lock:
            running = dict(self._associations)
        for served in running:
            served.stop()
        deadline = time.monotonic() + grace
        for thread in running.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        for served, thread in running.items():
            if thread.is_alive():
                served.cut()
                thread.join(_ROUND)

    def _stop_accepting(self) -> None:
        os.write(self._wake, b".")
        if self._thread.is_alive():  # first, since it may be about to start an association
            self._thread.join(2 * _ROUND)
        for sock in self._sockets:
            sock.close()
        os.close(self._wake)
        if not self._thread.is_alive():
            os.close(self._asleep)


def _listen(host: str, port: int, share_port: bool) -> socket.socket:
    sock = _bind(host, port, share_port)
    try:
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise _bind_error(host, port, error) from None
    return sock


def _bind(host: str, port: int, share_port: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if share_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((host, port))
    except (OSError, OverflowError) as error:
        sock.close()
        raise _bind_error(host, port, error) from None
    return sock


def can_share_port() -> bool:
    """Whether this system spreads the connections to one port over several processes.

    Others than Linux have SO_REUSEPORT too, but give all connections to one of them.
    """
    return sys.platform == "linux"


def reserve(host: str, port: int) -> socket.socket:
    """Hold a port for servers that share it, and keep everybody else from it.

    It is bound like a port that nobody shares, so that one in use is an error; only then
    may processes of this user that share it join. Nothing is accepted over this socket.

    Args:
        host: The address to bind.
        port: 0 takes a free one.

    Raises:
        ConfigError: The address cannot be bound.
    """
    sock = _bind(host, port, share_port=False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return sock


def _bind_error(host: str, port: int, error: OSError | OverflowError) -> ConfigError:
    where = f"{host or 'all interfaces'} port {port}"
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return ConfigError(
                f"Cannot listen on {where}: the port is in use.",
                hint="Another listener runs there: stop it, or take another port with --port.",
            )
        case errno.EACCES:
            return ConfigError(
                f"Cannot listen on {where}: no permission.",
                hint="Ports below 1024 need rights that this user lacks: take a higher one.",
            )
        case _:
            return ConfigError(
                f"Cannot listen on {where}: {getattr(error, 'strerror', None) or error}.",
                hint="Check that the address belongs to this machine.",
            )
