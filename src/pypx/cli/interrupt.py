"""Ctrl-C: the first time politely, the second time at once.

In: SIGINT. Out: a call of what cancels the operation under way, or KeyboardInterrupt
where nothing is to be cancelled. What is then said is the command's business.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from pypx.cli.output import Output

__all__ = ["Interrupts"]

_INTERRUPTED = 130


class Interrupts:
    """The handler of SIGINT.

    Attributes:
        count: How often it came.
        cancel: What the first one calls; None raises KeyboardInterrupt instead. It must be
            something that may be called between any two instructions of the main thread.
    """

    def __init__(self, out: Output) -> None:
        self.count = 0
        self.cancel: Callable[[], None] | None = None
        self._out = out

    def install(self) -> None:
        """Take SIGINT over, unless whoever started us had it ignored (``nohup``, ``&``)."""
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._handle)

    def _handle(self, number: int, frame: object) -> None:
        self.count += 1
        if self.count > 1:
            self._out.discard()
            self._out.restore_terminal()
            os._exit(_INTERRUPTED)
        self._out.say("Stopping; Ctrl-C again ends at once.")
        if self.cancel is None:
            raise KeyboardInterrupt
        self.cancel()
