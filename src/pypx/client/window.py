"""The next instances to send, read a little ahead, and shared by the lanes that send them.

In: a source of instances. Out: one after the other to whoever asks, those first that fit its
association; and what an association should propose. What becomes of an instance is not known
here.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Container, Iterable
from dataclasses import dataclass
from itertools import islice

from pypx.client.sources import Unsendable
from pypx.client.store import Instance
from pypx.errors import PypxError
from pypx.ul.negotiation import MAXIMUM_CONTEXTS

__all__ = ["Job", "Pair", "Window"]

_AHEAD = 128  # instances: so many are looked at before the first association is made

Pair = tuple[str, str]
"""A SOP class and a transfer syntax."""


@dataclass(slots=True)
class Job:
    """An instance to send, and how often an association broke while it was sent."""

    instance: Instance
    losses: int = 0

    @property
    def pair(self) -> Pair:
        """What must have been proposed for it."""
        return self.instance.sop_class_uid, self.instance.transfer_syntax_uid


class Window:
    """Hand out jobs; for several threads.

    Args:
        source: Instances, and what is none.

    Each thread that takes from here has joined before, and leaves in one of two ways, see
    :meth:`take` and :meth:`leave`.
    """

    def __init__(self, source: Iterable[Instance | Unsendable]) -> None:
        self._source = iter(source)
        self._lanes = 0
        self._waiting: deque[Job | Unsendable] = deque()
        self._seen: dict[Pair, None] = {}
        self._failure: PypxError | None = None  # of the source
        self._lock = threading.Lock()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits now: all is done or under way."""
        return not self._waiting

    def join(self) -> None:
        """Count one thread more."""
        with self._lock:
            self._lanes += 1

    def take(self, proposed: Container[Pair]) -> Job | Unsendable | None:
        """Give the next one, if possible one for which nothing new is to be proposed.

        Returns:
            None at the end: this lane has left.

        Raises:
            PypxError: What the source raised, once all before it was taken.
        """
        with self._lock:
            self._fill()
            for index, job in enumerate(self._waiting):
                if isinstance(job, Unsendable) or job.pair in proposed:
                    del self._waiting[index]
                    return job
            if self._waiting:
                return self._waiting.popleft()
            if self._failure is not None:
                raise self._failure
            self._lanes -= 1
            return None

    def look_ahead(self) -> None:
        """Read what comes next, in time in which there is nothing else to do."""
        with self._lock:
            self._fill()

    def _fill(self) -> None:
        try:
            for found in islice(self._source, max(0, _AHEAD - len(self._waiting))):
                if isinstance(found, Unsendable):
                    self._waiting.append(found)
                    continue
                job = Job(found)
                self._waiting.append(job)
                self._seen[job.pair] = None
        except PypxError as error:
            self._failure = error

    def give_back(self, job: Job) -> None:
        """Take a job back that was not done."""
        with self._lock:
            self._waiting.appendleft(job)

    def leave(self) -> bool:
        """Leave before the end, if others are there who go on; say whether it was possible."""
        with self._lock:
            if self._lanes == 1:
                return False
            self._lanes -= 1
            return True

    def pairs(self, first: Pair) -> list[Pair]:
        """Give what an association is to propose, at most 128: the pairs of what comes next,
        then those seen before, since files of one kind seldom come alone."""
        with self._lock:
            waiting = (job.pair for job in self._waiting if isinstance(job, Job))
            wanted = dict.fromkeys((first, *waiting, *reversed(self._seen)))
        return list(wanted)[:MAXIMUM_CONTEXTS]
