"""The line at the foot of a terminal that says how fast images come in.

In: the events of a receiver. Out: one line on stderr, drawn again as numbers change; it makes
room for every other line. Plain escape sequences do for one line: a listener that runs for
months does not load rich for it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

from pypx.cli.output import Output
from pypx.cli.show import count, size
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived, Totals

__all__ = ["LiveLine", "Rate"]

_EVERY = 0.5  # seconds
_SPAN = 5.0  # seconds over which a rate is taken
_LOCK_WAIT = 1.0  # seconds; a terminal that is stopped must not stop what has to be said
_ERASE = "\r\x1b[2K"


class Rate:
    """How many instances and bytes came in the last seconds; the time is an argument.

    Args:
        span: Seconds that count.
    """

    def __init__(self, span: float = _SPAN) -> None:
        self._span = span
        self._samples: deque[tuple[float, int, int]] = deque()

    def at(self, now: float, instances: int, size: int) -> tuple[float, float]:
        """Give instances and bytes a second, from the running totals of now and before."""
        self._samples.append((now, instances, size))
        while len(self._samples) > 2 and self._samples[1][0] <= now - self._span:
            self._samples.popleft()
        began, instances_before, size_before = self._samples[0]
        if now <= began:
            return 0.0, 0.0
        seconds = now - began
        return (instances - instances_before) / seconds, (size - size_before) / seconds


class LiveLine:
    """An observer that draws; a context manager, and meanwhile the ``room`` of the output.

    Args:
        out: Whose lines it makes room for.
    """

    def __init__(self, out: Output) -> None:
        self._out = out
        self._totals = Totals()
        self._open = 0
        self._rate = Rate()
        self._text = ""
        self._counting = threading.Lock()
        self._drawing = threading.RLock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="px-live", daemon=True)

    def __enter__(self) -> LiveLine:
        self._out.room = self.room
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        self.draw("")
        self._out.room = nullcontext

    def association_began(self, event: AssociationBegan) -> None:
        """Count an association."""
        with self._counting:
            self._open += 1

    def instance_received(self, event: InstanceReceived) -> None:
        """Count one C-STORE."""
        with self._counting:
            self._totals.add(event)

    def association_ended(self, event: AssociationSummary) -> None:
        """Count an association that is over."""
        with self._counting:
            self._open -= bool(event.association_id)

    def _run(self) -> None:
        while not self._over.wait(_EVERY):
            text = self.text(time.monotonic())
            if text != self._text:
                self.draw(text)

    def text(self, now: float) -> str:
        """Give what the line says at this time."""
        with self._counting:
            totals, is_open = self._totals, self._open
            instances, received = self._rate.at(now, totals.instances, totals.bytes)
            failures = f", {totals.failures} not stored" if totals.failures else ""
            return (
                f"{instances:,.0f} images/s, {size(received)}/s; "
                f"{count(is_open, 'association')} open; "
                f"{count(totals.instances, 'image')}, {size(totals.bytes)}{failures} in all"
            )

    def draw(self, text: str) -> None:
        """Put the text in the place of the one before."""
        with self.room():
            self._text = text

    @contextmanager
    def room(self) -> Iterator[None]:
        """Take the line away while somebody writes another one."""
        taken = self._drawing.acquire(timeout=_LOCK_WAIT)
        try:
            if self._text:
                _write(_ERASE)
            yield
        finally:
            if self._text:
                _write(self._text[: _width() - 1])
            if taken:
                self._drawing.release()


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):
        return 80


def _write(text: str) -> None:
    # The terminal may be gone: whoever closes it has not ended the listener.
    with suppress(OSError, ValueError, RuntimeError, AttributeError):
        sys.stderr.write(text)
        sys.stderr.flush()
