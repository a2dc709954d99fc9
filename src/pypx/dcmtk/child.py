"""A program that runs: its lines as they come, and its end.

In: a path and arguments, as a list; no shell is between. Out: lines. What they mean is in ``said``.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Sequence

from pypx.errors import ConfigError

__all__ = ["Child"]

_READ = 64 * 1024
_WAIT = 0.005  # seconds between looks whether it has ended
_LONGEST_LINE = 1024 * 1024  # a list of failed UIDs may be long


class Child:
    """One process in a session of its own, so that Ctrl-C in a terminal does not reach it.

    It ends with the thread that made it, where the system can see to that (``setpriv``).

    Args:
        command: The program and its arguments.

    Attributes:
        pid: Its process id.

    Raises:
        ConfigError: It cannot be run.
    """

    def __init__(self, command: Sequence[str]) -> None:
        # Without TCP_NODELAY each small message of Debian's DCMTK waits 40 ms for an answer.
        environment = os.environ | {"TCP_NODELAY": "1"}
        try:
            self._process = subprocess.Popen(
                [*_end_with_us(), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise ConfigError(f"{command[0]} cannot be run: {error.strerror or error}.") from None
        assert self._process.stdout is not None  # it is a pipe
        self.pid = self._process.pid
        self._fd = self._process.stdout.fileno()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._lines: deque[str] = deque()
        self._rest = b""
        self._over = False

    @property
    def over(self) -> bool:
        """Whether it, and all that it forked, has said its last line, and that was given."""
        return self._over and not self._lines

    def line(self, timeout: float) -> str | None:
        """Give its next line.

        Args:
            timeout: Seconds to wait for one.

        Returns:
            None where none came in time, or there is none any more: see :attr:`over`.
        """
        deadline = time.monotonic() + timeout
        while not self._lines and not self._over:
            left = deadline - time.monotonic()
            if not self._poll.poll(max(0.0, left) * 1000):
                return None
            self._take(os.read(self._fd, _READ))
        return self._lines.popleft() if self._lines else None

    def _take(self, data: bytes) -> None:
        self._over = not data
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE or (self._over and self._rest):
            whole.append(self._rest)
            self._rest = b""
        self._lines.extend(line.decode("utf-8", "backslashreplace") for line in whole)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        if self._process.returncode is not None:
            return False
        if not hasattr(os, "waitid"):  # macOS, up to Python 3.12
            return self._process.poll() is None
        # It is left to be waited for, so that nobody else gets its number meanwhile.
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self.pid, flags) is None
        except ChildProcessError:  # another thread has waited for it just now
            return False

    def terminate(self) -> None:
        """Ask it to end."""
        if self.is_running:
            os.kill(self.pid, signal.SIGTERM)

    def end(self, grace: float) -> None:
        """End it and all that it forked: asked for, and after ``grace`` seconds by force.

        What it has said can still be heard.
        """
        if self._process.returncode is not None:
            return
        self.terminate()
        deadline = time.monotonic() + grace
        while self.is_running and time.monotonic() < deadline:
            time.sleep(_WAIT)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def close(self, grace: float) -> None:
        """End it, and forget what it has said."""
        self.end(grace)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._over = True


def _end_with_us() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
