"""One event for one hook, and how handing it over can end.

In and out: values. What kinds of hooks there are is in modules of their own.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple, Protocol

from pypx.receiver.completion import SeriesComplete

__all__ = ["Delivery", "Ending", "Hook", "Outcome"]


class Delivery(NamedTuple):
    """An event on its way to a hook.

    Attributes:
        hook: The name of the hook: ASCII letters, digits, ``-``, ``_`` and ``.``.
        event: What happened; it has an ``id``.
        queued_at: When it was put into the queue, seconds since 1970.
    """

    hook: str
    event: SeriesComplete
    queued_at: float

    @property
    def id(self) -> str:
        """What tells it from all others, also when it is handed over twice."""
        return f"{self.event.id}.{self.hook}"


class Ending(Enum):
    """How an attempt ended."""

    DELIVERED = auto()
    AGAIN = auto()
    """It failed, and may not the next time."""
    FAILED = auto()
    """It failed, and would each time."""
    STOPPED = auto()
    """We ended it because we end: the next start hands it over again."""


class Outcome(NamedTuple):
    """How an attempt ended, and why: half a sentence about the hook."""

    ending: Ending
    reason: str = ""


class Hook(Protocol):
    """What can be told of a series. One thread at a time calls ``deliver``."""

    @property
    def name(self) -> str:
        """What its deliveries are kept under."""

    def deliver(self, delivery: Delivery) -> Outcome:
        """Hand an event over, however long it takes."""

    def stop(self) -> None:
        """End what ``deliver`` is doing in another thread, if that is possible."""
