"""One connection that somebody else accepted, served as a server would: inetd, xinetd, systemd.

In: the connection and a provider. Out: its association, served in a thread. There is no port here
to listen on.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from pypx.errors import ConfigError
from pypx.net.accepted import accepted, context_of, plain_host, serve
from pypx.net.limits import DEFAULT_LIMITS, AcceptorLimits
from pypx.net.seats import Seats
from pypx.net.served import Provider, ServedAssociation

if TYPE_CHECKING:
    from pypx.net.tls_settings import ServerTls

__all__ = ["Single"]

_CUT_WAIT = 1.0  # seconds that an association has to notice that it was cut


class Single:
    """A server of one connection.

    Args:
        connection: The connection; it is owned from now on.
        provider: What is offered.
        limits: What the peer may ask.
        tls: What makes it secure; None if it is not.

    Attributes:
        host: Our address in it.
        port: Our port.
        addresses: Both, as a server has them.

    Raises:
        ConfigError: It is no TCP connection, or is over already.
    """

    def __init__(
        self,
        connection: socket.socket,
        provider: Provider,
        *,
        limits: AcceptorLimits = DEFAULT_LIMITS,
        tls: ServerTls | None = None,
    ) -> None:
        context = context_of(tls)
        try:
            ours, theirs = connection.getsockname(), connection.getpeername()
        except OSError as error:
            connection.close()
            raise ConfigError(
                f"There is no connection to serve: {error.strerror or error}.",
                hint="inetd hands it over as standard input: stream, tcp, nowait (wait = no).",
            ) from None
        self.host: str = plain_host(ours[0])
        self.port: int = ours[1]
        self.addresses: list[tuple[str, int]] = [(self.host, self.port)]
        self._provider = provider
        self._seats = Seats(limits)
        self._served = accepted(connection, plain_host(theirs[0]), limits, context)
        self._thread = threading.Thread(target=self._run, name="px-association", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def _run(self) -> None:
        serve(self._served, self._provider, self._seats)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the association, at most so many seconds; say whether it has come."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def last_activity(self, of: Callable[[ServedAssociation], bool] | None = None) -> float:
        """Give the monotonic time at which bytes last came, if its association counts."""
        return self._served.last_read if of is None or of(self._served) else 0.0

    def configure(self, limits: AcceptorLimits, tls: ServerTls | None) -> None:
        """Nothing: the one connection keeps what held when it came."""

    def stop(self, grace: float = 0.0) -> None:
        """Let a message that is under way end, within ``grace`` seconds."""
        if self._thread.ident is None:
            self._served.close()
            return
        self._served.stop()
        if not self.wait(grace):
            self._served.cut()
            self.wait(_CUT_WAIT)
