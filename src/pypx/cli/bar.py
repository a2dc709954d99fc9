"""A bar at the foot of a terminal, which makes room for lines.

In: numbers and words. Out: what moves on stderr. rich draws it, and is loaded when it begins. What
it says is decided elsewhere.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

from pypx.cli.output import Output

__all__ = ["Bar"]


class _Terminal:
    """The terminal, which may be closed while the bar moves: that ends the work by a signal, and
    not by an error somewhere in the drawing."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, if there is still somebody to see it."""
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, likewise."""
        with suppress(OSError, ValueError):
            self._stream.flush()


class Bar:
    """A bar that moves from now on, until it is stopped.

    Args:
        out: Whose lines it makes room for.
        what: What is done, before the bar.
        words: What is said behind it, at first.
        width: Of the bar, in characters.
        elapsed: Show how long it has been there.
    """

    def __init__(
        self, out: Output, what: str, words: str, *, width: int = 40, elapsed: bool = False
    ) -> None:
        columns: list[ProgressColumn] = [
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=width),
            TextColumn("{task.fields[words]}", markup=False),
        ]
        self._out = out
        self._lock = threading.RLock()
        self._bar = Progress(
            *columns,
            *([TimeElapsedColumn()] if elapsed else []),
            console=Console(file=cast(TextIO, _Terminal(sys.stderr))),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,  # it would break lines that people copy
        )
        self._task = self._bar.add_task(what, total=None, words=words)
        self._bar.start()
        out.room = self._room

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Take the bar away while somebody writes a line."""
        with self._lock:
            self._bar.stop()
            try:
                yield
            finally:
                self._bar.start()

    def show(self, done: int, total: int | None, words: str) -> None:
        """Show how far it is; ``total`` is None where nobody knows."""
        with self._lock:
            self._bar.update(self._task, completed=done, total=total, words=words)

    def stop(self) -> None:
        """Remove it."""
        self._out.room = nullcontext
        with self._lock:
            self._bar.stop()
