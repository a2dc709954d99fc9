"""Lines of one kind from one host, at most so many: nobody fills a disk with what we say of him.

In: who a line is about, of which kind it is. Out: whether to write it, and one line for those that
were left out. What became of objects is never left out: such lines are not asked about here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pypx.net.seats import neighbourhood

__all__ = ["LineLimit"]

_MOST = 20
_SPAN = 60.0  # seconds
_HOSTS = 1000  # hosts and kinds that are counted apart; all others share one count
_OTHERS = ("other hosts", "")


class _Count:
    """Lines of one kind from one host, since the first of a span."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.written = 0
        self.left_out = 0
        self.example = ""


class LineLimit:
    """Counts lines; any thread may ask.

    Args:
        tell: Writes the line about those that were left out.
        most: So many lines of one kind from one host are written.
        span: In so many seconds from the first of them.
        clock: Gives seconds.
    """

    def __init__(
        self,
        tell: Callable[[str], None],
        *,
        most: int = _MOST,
        span: float = _SPAN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._most = most
        self._span = span
        self._clock = clock
        self._counts: dict[tuple[str, str], _Count] = {}
        self._lock = threading.Lock()

    def passes(self, host: str, kind: str, sentence: str) -> bool:
        """Count a line, and say whether it may be written.

        Args:
            host: Who it is about; of IPv6 a whole /64 network is one host.
            kind: What was wrong; never a text of the peer, who could make each another one.
            sentence: The line, as an example of those that are left out.
        """
        self.tell_due()
        key = (neighbourhood(host) if host else "", kind)
        with self._lock:
            if key not in self._counts and len(self._counts) >= _HOSTS:
                key = _OTHERS
            count = self._counts.setdefault(key, _Count(self._clock()))
            if count.written < self._most:
                count.written += 1
                return True
            count.left_out += 1
            count.example = sentence
            return False

    def tell_due(self) -> None:
        """Tell what was left out in spans that are over; to be called now and then."""
        self._end(self._clock() - self._span)

    def close(self) -> None:
        """Tell of the rest."""
        self._end(float("inf"))

    def _end(self, before: float) -> None:
        with self._lock:
            # In the order of their beginnings, so the first that is young ends the search.
            over = []
            for key, count in self._counts.items():
                if count.began > before:
                    break
                over.append((key, count))
            for key, _ in over:
                del self._counts[key]
        for (host, _), count in over:
            if count.left_out:
                whose = f" from {host}" if host else ""
                self._tell(
                    f"{count.left_out:,} more like this{whose} within {self._span:g} s were not "
                    f"written: {count.example}"
                )
