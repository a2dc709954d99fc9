"""A command that is run when a series is whole.

In: a delivery. Out: how the command ended. Not here: when it is run again.

The program and its arguments are a list, as configured; no shell reads them. The event comes as
JSON on its standard input and as ``PYPX_*`` in its environment, so that nothing that a peer wrote
is ever more than data. It runs in a process group of its own, which is killed as a whole.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import time
from contextlib import suppress
from subprocess import PIPE, STDOUT, Popen, TimeoutExpired
from tempfile import TemporaryFile
from typing import IO

from pypx.receiver.completion import SeriesComplete
from pypx.receiver.hook_delivery import Delivery, Ending, Outcome
from pypx.receiver.hook_settings import HookSettings

__all__ = ["CommandHook", "environment_of"]

_TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h, as mailers know it
_POLL = 0.1
_KEPT = 8192  # bytes of output
_READS = 16  # of it at once
_SHOWN_LINES, _SHOWN = 5, 600
_SHORT_OF = frozenset(
    {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ETXTBSY}
)


def environment_of(event: SeriesComplete) -> dict[str, bytes]:
    """Give the variables of an event: empty for what is not known, ``true`` and ``false``."""
    variables = {}
    for name, value in event.document().items():
        if value is None:
            text = ""
        elif isinstance(value, bool):
            text = str(value).lower()
        else:
            text = str(value)
        variables[f"PYPX_{name.upper()}"] = _bytes(text)
    return variables


def _bytes(text: str) -> bytes:
    """Give the bytes of a text: of the name of a file, just the ones that the disk has."""
    text = text.replace("\0", "\ufffd")  # which no environment can have
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


class CommandHook:
    """Runs a command; exit code 0 is success, 75 means *try again later*, others are final."""

    def __init__(self, settings: HookSettings) -> None:
        self.name = settings.name
        self._command = settings.command
        self._timeout = settings.timeout
        self._stopping = False

    def deliver(self, delivery: Delivery) -> Outcome:
        """Run the command to its end, or to the end of its time."""
        try:
            with TemporaryFile() as stdin:
                stdin.write(json.dumps(delivery.event.document()).encode() + b"\n")
                stdin.seek(0)
                process = Popen(
                    self._command,
                    stdin=stdin,
                    stdout=PIPE,
                    stderr=STDOUT,
                    env={**os.environb, **_encoded(environment_of(delivery.event))},
                    start_new_session=True,
                )
        except OSError as error:
            ending = Ending.AGAIN if error.errno in _SHORT_OF else Ending.FAILED
            reason = error.strerror or type(error).__name__
            return Outcome(ending, f"{self._command[0]} could not be started: {reason}")
        return self._watch(process)

    def stop(self) -> None:
        """Kill what runs; nothing more is run."""
        self._stopping = True

    def _watch(self, process: Popen[bytes]) -> Outcome:
        assert process.stdout is not None
        deadline = time.monotonic() + self._timeout
        output = _Output(process.stdout)
        overdue = False
        with process.stdout:
            while process.poll() is None:
                overdue = time.monotonic() >= deadline
                if overdue or self._stopping:
                    _kill(process)
                    break
                if not output.read(_POLL):
                    with suppress(TimeoutExpired):
                        process.wait(_POLL)
            output.read(0)
        if overdue:
            return self._failed(f"was killed after {self._timeout:g} s", output)
        if process.returncode == 0:
            return Outcome(Ending.DELIVERED)
        if self._stopping:
            return Outcome(Ending.STOPPED)
        if process.returncode == _TRY_AGAIN:
            return Outcome(Ending.AGAIN, self._words("asked to be run again", output))
        return self._failed(_ended(process.returncode), output)

    def _failed(self, how: str, output: _Output) -> Outcome:
        return Outcome(Ending.FAILED, self._words(how, output))

    def _words(self, how: str, output: _Output) -> str:
        said = output.last_lines()
        return f"{self._command[0]} {how}" + (f", and said: {said}" if said else "")


def _encoded(variables: dict[str, bytes]) -> dict[bytes, bytes]:
    return {name.encode(): value for name, value in variables.items()}


def _kill(process: Popen[bytes]) -> None:
    """Kill the group of the process, its children with it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


class _Output:
    """The last bytes of what a process writes.

    A child that it leaves behind may hold the pipe for days; nobody waits for that one.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._fd = stream.fileno()
        self._tail = b""
        self._ended = False
        os.set_blocking(self._fd, False)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def read(self, wait: float) -> bool:
        """Read what is there, after at most ``wait`` seconds; False when nothing will come."""
        if not self._ended and self._poll.poll(wait * 1000):
            with suppress(BlockingIOError):
                for _ in range(_READS):  # one that never stops writing has its time as well
                    data = os.read(self._fd, 1 << 16)
                    self._tail = (self._tail + data)[-_KEPT:]
                    if not data:
                        self._ended = True
                        break
        return not self._ended

    def last_lines(self) -> str:
        """Give the last lines of it as one."""
        lines = self._tail.decode("utf-8", "replace").splitlines()
        kept = [line.strip() for line in lines if line.strip()][-_SHOWN_LINES:]
        return " | ".join(kept)[-_SHOWN:]
