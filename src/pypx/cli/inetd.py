"""``px listen --inetd``: standard input is the connection, and nothing else may be said over it.

In: what inetd, xinetd or systemd hand over: one connection as descriptors 0, 1 and 2. Out: the
connection, and a log elsewhere. How it is served is the business of ``listening``.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from pypx.errors import ConfigError
from pypx.modes import file_mode, folder_mode

if TYPE_CHECKING:
    import socket

__all__ = ["LOG_NAME", "LogStream", "connection", "leave_socket", "log_elsewhere"]

LOG_NAME = "listen.run.log"
"""The file in the folder of ``--logdir``, as upstream has it."""


def leave_socket() -> None:
    """Take stdout and stderr from a connection that is standard input, before anybody speaks.

    inetd makes all three one socket, and a sentence there would be a broken PDU for the peer. What
    is said goes to the log of the system, until ``log_elsewhere`` knows better.
    """
    with suppress(OSError):
        if not stat.S_ISSOCK(os.fstat(0).st_mode):
            return
        for fd, name in ((1, "stdout"), (2, "stderr")):
            if _is_closed(fd) or os.path.sameopenfile(0, fd):
                _point_to_null(fd)
                setattr(sys, name, LogStream(_to_syslog))


def _is_closed(fd: int) -> bool:
    """Say whether there is nothing: the next file that is opened would be our stdout then."""
    try:
        os.fstat(fd)
    except OSError:
        return True
    return False


def _point_to_null(fd: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != fd:
        os.dup2(null, fd)
        os.close(null)


def connection() -> tuple[socket.socket, str]:
    """Give the connection that standard input is, which then is empty, and our address in it.

    Raises:
        ConfigError: It is none.
    """
    import socket

    try:
        is_socket = stat.S_ISSOCK(os.fstat(0).st_mode)
    except OSError:
        is_socket = False
    if is_socket:
        taken = socket.socket(fileno=os.dup(0))
        _point_to_null(0)  # else the peer would see its end only when this process ends
        if taken.family in (socket.AF_INET, socket.AF_INET6) and taken.type == socket.SOCK_STREAM:
            from pypx.net.accepted import plain_host

            return taken, plain_host(taken.getsockname()[0])
        taken.close()
    raise ConfigError(
        "Standard input is no TCP connection.",
        hint="--inetd is for inetd, xinetd or systemd, which hand it over; px listen --port N "
        "listens by itself.",
    )


class LogStream:
    """What stands for stdout and stderr when there is nobody to read them: lines into a log.

    Args:
        log: Takes one line, without its end.
    """

    encoding = "utf-8"

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self.buffer = _Bytes(self)

    def write(self, text: str) -> int:
        """Log each line of a text; all of a line comes at once."""
        for line in text.splitlines():
            self._log(line)
        return len(text)

    def flush(self) -> None:
        """Nothing waits here."""

    def isatty(self) -> bool:
        """Nobody looks."""
        return False


class _Bytes:
    """The same for who writes bytes."""

    def __init__(self, stream: LogStream) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        self._stream.write(data.decode("utf-8", "backslashreplace"))
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""


def log_elsewhere(folder: str) -> None:
    """Let what is said go to ``listen.run.log`` in a folder, which several processes write.

    Raises:
        ConfigError: The file cannot be written.
    """
    stream = LogStream(_to_file(folder))
    for name in ("stdout", "stderr"):
        setattr(sys, name, stream)


def _to_file(folder: str) -> Callable[[str], None]:
    path = os.path.join(folder, LOG_NAME)  # noqa: PTH118
    try:
        os.makedirs(folder, mode=folder_mode(), exist_ok=True)  # noqa: PTH103
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, file_mode())
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}.") from None
    from datetime import UTC, datetime

    def log(line: str) -> None:
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
        with suppress(OSError):  # images matter more
            os.write(fd, f"{now}Z {os.getpid()} {line}\n".encode("utf-8", "backslashreplace"))

    return log


def _to_syslog(line: str) -> None:
    import syslog  # only who has to say something needs it

    syslog.openlog("px-listen", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_INFO, line.replace("\0", "?"))
