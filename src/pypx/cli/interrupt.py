"""Ctrl-C, SIGTERM and a terminal that closes: the first time politely, the second time at once.

In: SIGINT, SIGTERM, SIGHUP. Out: a call of what cancels the operation under way, or
KeyboardInterrupt where nothing is to be cancelled; at the end the exit code. What is then said is
the command's business.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from pypx.cli.output import Output
from pypx.errors import CancelledError

__all__ = ["Interrupts"]

_BY_SIGNAL = 128  # plus its number, as shells have it
_SIGNALS = {
    signal.SIGINT: "Stopping; Ctrl-C again ends at once.",
    signal.SIGTERM: "Stopping, for SIGTERM came; another one ends at once.",
    signal.SIGHUP: "Stopping, for the terminal was closed (SIGHUP).",
}


class Interrupts:
    """The handler of the signals with which users and systems end a program.

    Attributes:
        count: How often one came.
        cancel: What the first one calls; None raises KeyboardInterrupt instead. It must be
            something that may be called between any two instructions of the main thread.
    """

    def __init__(self, out: Output) -> None:
        self.count = 0
        self.cancel: Callable[[], None] | None = None
        self._out = out
        self._first = signal.SIGINT

    def install(self) -> None:
        """Take the signals over, unless whoever started us had one ignored (``nohup``, ``&``)."""
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: object) -> None:
        self.count += 1
        if self.count > 1:
            self._out.discard()
            self._out.restore_terminal()
            os._exit(_BY_SIGNAL + number)
        self._first = signal.Signals(number)
        self._out.say(_SIGNALS[self._first])
        if self.cancel is None:
            raise KeyboardInterrupt
        self.cancel()

    def exit_code(self, code: int) -> int:
        """Give the exit code of the program: that of an interruption says by which signal."""
        return _BY_SIGNAL + self._first if code == CancelledError.exit_code else code
