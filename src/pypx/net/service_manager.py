"""What a service manager gives us and hears of us: systemd, or who speaks its two protocols.

In: the environment. Out: listening sockets that it opened (sd_listen_fds(3)), and datagrams of a
few lines that say how we are (sd_notify(3)). When what is said is decided by who runs.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping, Sequence
from contextlib import suppress

from pypx.errors import ConfigError

__all__ = ["ServiceManager", "check_listening"]

_FIRST = 3  # SD_LISTEN_FDS_START
_PATIENCE = 1.0  # seconds that a manager has to take a line
_BEATS = 4  # in the time after which it takes us for dead
_MOST_OFTEN = 1.0  # seconds between beats, where there is time


class ServiceManager:
    """Who started us and looks after us, if anybody does.

    Args:
        environ: The variables that say so. They are taken out of it, since they are not meant
            for the processes that we start.
        listens: Whether we take the sockets; else they are closed. One that systemd accepts for
            us (``Accept=yes``) is standard input as well, and among them.

    Attributes:
        sockets: Those that it opened; what listens closes them.
        watchdog: Seconds without a beat after which it takes us for dead; 0 where it never does.

    Raises:
        ConfigError: What it gave us is no listening TCP socket.
    """

    def __init__(self, environ: MutableMapping[str, str], *, listens: bool = True) -> None:
        number = _number(environ.pop("LISTEN_FDS", ""))
        is_ours = environ.pop("LISTEN_PID", "") == str(os.getpid())
        environ.pop("LISTEN_FDNAMES", None)
        self._address = environ.pop("NOTIFY_SOCKET", "")
        watchdog = _number(environ.pop("WATCHDOG_USEC", ""))
        watched = environ.pop("WATCHDOG_PID", "") or str(os.getpid())
        self.watchdog = watchdog / 1e6 if watched == str(os.getpid()) else 0.0
        self._every = min(self.watchdog / _BEATS, _MOST_OFTEN)
        self._last = -self._every
        self.sockets: Sequence[socket.socket] = ()
        if is_ours and listens:
            self.sockets = tuple(_taken(_FIRST + place) for place in range(number))
        elif is_ours:
            os.closerange(_FIRST, _FIRST + number)

    def tell(self, *lines: str) -> None:
        """Send lines such as ``READY=1``; without a manager nothing happens."""
        if self._address[:1] not in ("/", "@"):
            return
        # A name that begins with @ is in no file system (unix(7)).
        name = f"\0{self._address[1:]}" if self._address[0] == "@" else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(_PATIENCE)
            sock.sendto("\n".join(lines).encode(), name)

    def beat(self) -> None:
        """Say that we are alive; may be called as often as one likes."""
        now = time.monotonic()
        if self.watchdog and now - self._last >= self._every:
            self._last = now
            self.tell("WATCHDOG=1")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def _taken(number: int) -> socket.socket:
    with suppress(OSError):
        os.set_inheritable(number, False)
    return check_listening(number)


def check_listening(number: int) -> socket.socket:
    """Give the socket of a file descriptor over which connections come.

    Raises:
        ConfigError: It is none.
    """
    try:
        sock = socket.socket(fileno=number)
    except OSError:
        sock = None
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return sock
    raise ConfigError(
        f"The file descriptor {number} of the service manager is no TCP socket that listens.",
        hint="In the socket unit stands ListenStream=ADDRESS:PORT, and Accept=no.",
    )
