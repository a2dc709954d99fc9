"""How hard a PACS may be asked: how many requests at once, at what time of day, how fast.

In: how requests fared, and the time. Out: numbers. Not here: clocks, threads, and requests.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta

from pypx.errors import ConfigError
from pypx.values import frozen

__all__ = ["Load", "Throttle", "Window"]

_LONGEST_PAUSE = 30.0  # times the first one
_LONGEST_AT_FIRST = 8.0  # the same, before anything came: it may be more than a load
_CLIMB = 4.0  # times the usual time of an instance
_IN_A_ROW = 3
_GROW_AFTER = 4


class Load:
    """How many requests may be under way at a PACS: fewer when it suffers, more when it recovers.

    Args:
        most: Never more than these.
        pause: Seconds of the first pause; each next one in a row is twice as long.

    Attributes:
        allowed: How many, apart from a pause.
    """

    def __init__(self, most: int, *, pause: float = 1.0) -> None:
        self.allowed = most
        self._most = most
        self._first_pause = pause
        self._pause = 0.0
        self._paused_until = float("-inf")
        self._usual: float | None = None
        self._longest = pause * _LONGEST_AT_FIRST
        self._slow = self._good = 0

    def pause(self, now: float) -> float:
        """Give for how many seconds nothing more is to be asked."""
        return max(0.0, self._paused_until - now)

    def overloaded(self, now: float) -> None:
        """Hear that the PACS had no room: half as many from now on, after a pause."""
        self.allowed = max(1, self.allowed // 2)
        self._good = 0
        if now < self._paused_until:
            return  # requests that were under way at the same time say the same once more
        self._pause = min(self._pause * 2 or self._first_pause, self._longest)
        self._paused_until = now + self._pause

    def succeeded(self, seconds: float, instances: int) -> None:
        """Hear that a request brought instances.

        Args:
            seconds: How long it took.
            instances: How many came.
        """
        self._pause = 0.0
        self._longest = self._first_pause * _LONGEST_PAUSE
        each = seconds / max(instances, 1)
        usual = self._usual
        self._usual = each if usual is None else min(each, usual * 0.95 + each * 0.05)
        self._slow = self._slow + 1 if usual is not None and each > usual * _CLIMB else 0
        if self._slow >= _IN_A_ROW:
            self.allowed = max(1, self.allowed - 1)
            self._slow = self._good = 0
        elif self._slow == 0:
            self._good += 1
            if self._good >= _GROW_AFTER and self.allowed < self._most:
                self.allowed += 1
                self._good = 0


@frozen
class Window:
    """The hours in which a PACS may be asked; they may span midnight.

    Attributes:
        opens: From when on.
        closes: Until when.
    """

    opens: time
    closes: time

    @classmethod
    def parse(cls, text: str) -> Window:
        """Read ``19:00-06:00``.

        Raises:
            ConfigError: It is no such thing.
        """
        first, dash, last = text.partition("-")
        try:
            opens, closes = time.fromisoformat(first.strip()), time.fromisoformat(last.strip())
        except ValueError:
            dash = ""
        if not dash or opens.tzinfo or closes.tzinfo or opens == closes:
            raise ConfigError(
                f"{text!r} is no time of day from and to.", hint="Write it so: 19:00-06:00."
            )
        return cls(opens, closes)

    def wait(self, now: datetime) -> float:
        """Give for how many seconds it is closed from ``now`` on (local time); 0 if it is open."""
        at = now.time()
        if self.opens < self.closes:
            is_open = self.opens <= at < self.closes
        else:
            is_open = at >= self.opens or at < self.closes
        if is_open:
            return 0.0
        start = datetime.combine(now.date(), self.opens)
        if start < now.replace(tzinfo=None):
            start += timedelta(days=1)
        return (start - now.replace(tzinfo=None)).total_seconds()

    def __str__(self) -> str:
        return f"{self.opens:%H:%M}-{self.closes:%H:%M}"


class Throttle:
    """How long to hold a sender up so that no more than so many bytes a second come.

    Args:
        rate: Bytes a second.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free_at = float("-inf")

    def delay(self, size: int, now: float) -> float:
        """Take ``size`` bytes that came; give the seconds until more may come."""
        # What was not used a second ago is lost, so that a pause is not made up for.
        self._free_at = max(self._free_at, now - 1.0) + size / self._rate
        return max(0.0, self._free_at - now)
