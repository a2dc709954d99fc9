"""Thumbnails that never break what shows them: another process draws, and is ended when it hangs.

In: paths of files. Out: a PNG each, or why there is none. Not here: pixels; see ``thumbnail``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import TracebackType
from typing import NamedTuple

__all__ = ["Drawn", "Thumbnails"]

_COMMAND = ("-m", "pypx.retrieve.report.thumbnail")
_START = 10.0  # seconds for the first picture more than for others: pydicom is imported


class Drawn(NamedTuple):
    """A thumbnail.

    Attributes:
        png: The picture, or None.
        reason: Why there is none.
    """

    png: bytes | None
    reason: str = ""


class Thumbnails:
    """Has another process draw; a context manager that ends it.

    Args:
        patience: Seconds for one picture.
        budget: Seconds for all of them.

    Attributes:
        unavailable: Why none can be drawn at all; else empty.
    """

    def __init__(self, *, patience: float = 5.0, budget: float = 120.0) -> None:
        self.unavailable = ""
        if find_spec("numpy") is None:
            self.unavailable = "Thumbnails need more software: pip install 'pypx[report]'."
        self._patience = patience
        self._left = budget
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def draw(self, path: str) -> Drawn:
        """Draw a file, or say why not; this never takes much longer than the patience."""
        if self.unavailable:
            return Drawn(None, self.unavailable)
        if self._left <= 0:
            return Drawn(None, "There was no time left to draw it.")
        began = time.monotonic()
        try:
            return self._ask(path)
        finally:
            self._left -= time.monotonic() - began

    def _ask(self, path: str) -> Drawn:
        patience = self._patience
        try:
            if self._connection is None:
                patience += _START
                self._connection = self._start()
            self._connection.send_bytes(os.fsencode(path))
            if not self._connection.poll(patience):
                self.close()
                return Drawn(None, f"It takes longer than {self._patience:g} s to decode.")
            answer = self._connection.recv_bytes()
        except (EOFError, OSError):
            self.close()
            return Drawn(None, "The process that decodes it ended too soon.")
        if answer[:1] == b"P":
            return Drawn(answer[1:])
        return Drawn(None, answer[1:].decode("utf-8", "replace"))

    def _start(self) -> Connection:
        ours, theirs = Pipe()
        with ExitStack() as undo, theirs:
            undo.callback(ours.close)
            number = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-P", *_COMMAND, str(number)],
                pass_fds=[number],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Threads of its own would only take address space, which is limited.
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            )
            undo.pop_all()
        return ours

    def __enter__(self) -> Thumbnails:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process; it begins again with the next picture."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
            self._process = None
