"""How far a transfer or a walk over files is: a bar on a terminal, elsewhere a line now and then.

In: numbers. Out: what moves on stderr. On a terminal rich draws it; it is loaded only then.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from pypx.cli.output import Output

if TYPE_CHECKING:
    from pypx.cli.bar import Bar

__all__ = ["TransferProgress"]

_LINE_EVERY = 5.0  # seconds


class TransferProgress:
    """The sub-operations of one or more C-MOVEs, or files; a context manager.

    Args:
        out: Where it goes.
        what: What is done, in a word or two.
        at_first: What the bar says before there are numbers.
    """

    def __init__(self, out: Output, what: str, at_first: str = "asking") -> None:
        self._out = out
        self._what = what
        self._at_first = at_first
        self._bar: Bar | None = None
        self._next_line = time.monotonic() + _LINE_EVERY

    def __enter__(self) -> TransferProgress:
        if self._out.live:
            from pypx.cli.bar import Bar

            self._bar = Bar(self._out, self._what, self._at_first, elapsed=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, remaining: int | None, completed: int, failed: int, warning: int) -> None:
        """Show the numbers; ``remaining`` is None where the PACS does not say it."""
        if self._bar is None and time.monotonic() < self._next_line:
            return
        done = completed + failed + warning
        numbers = [f"{done} of {done + remaining}" if remaining is not None else f"{done} done"]
        numbers += [f"{failed} failed"] if failed else []
        numbers += [f"{warning} with a warning"] if warning else []
        text = ", ".join(numbers)
        if self._bar is not None:
            self._bar.show(done, None if remaining is None else done + remaining, text)
        else:
            self._next_line = time.monotonic() + _LINE_EVERY
            self._out.say(f"{self._what}: {text}.")
