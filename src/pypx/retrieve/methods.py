"""Which way a PACS gives its images: what a job has learned of C-MOVE and C-GET.

In: what became of requests. Out: how the next one is made. Not here: requests.
"""

from __future__ import annotations

import threading

__all__ = ["GET", "MOVE", "Methods"]

MOVE, GET = "move", "get"


class Methods:
    """What works with one PACS. Threads may share one.

    Args:
        wanted: ``move``, ``get`` or ``auto``.
        retries: How often a series is asked for again.

    Attributes:
        refused: For each method that is impossible, why.
        lists_refused: It does not take several SOP Instance UIDs at once.
    """

    def __init__(self, wanted: str, retries: int) -> None:
        self.refused: dict[str, str] = {}
        self.lists_refused = False
        self._wanted = wanted
        self._retries = retries
        self._first = GET if wanted == GET else MOVE
        self._brought: set[str] = set()
        self._vain: set[str] = set()
        self._image_refused: set[int] = set()
        self._image_brought = False
        self._lock = threading.Lock()

    def prefer(self, method: str) -> None:
        """Begin with this one, where the user leaves it open."""
        if self._wanted == "auto":
            self._first = method

    def choose(self, attempts: int) -> str | None:
        """Give the method of the next request for a series; None where none is left.

        Args:
            attempts: How often the series has been asked for in vain.
        """
        with self._lock:
            ways = [self._first]
            if self._wanted == "auto":
                ways.append(GET if self._first == MOVE else MOVE)
            ways = [way for way in ways if way not in self.refused]
            if not ways:
                return None
            is_vain = self._first in self._vain - self._brought
            try_other = attempts and (attempts == self._retries or is_vain)
            return ways[-1] if try_other else ways[0]

    def brought(self, method: str) -> bool:
        """Hear that a method brought something; say whether it is the one to begin with now."""
        with self._lock:
            self._brought.add(method)
            changes = (
                self._wanted == "auto"
                and method != self._first
                and self._first in self._vain - self._brought
            )
            if changes:
                self._first = method
            return changes

    def takes_images(self, series: int) -> bool:
        """Say whether instances of a series may be asked for one by one.

        Args:
            series: What the ledger calls it.
        """
        with self._lock:
            is_refused = len(self._image_refused) > 1 and not self._image_brought
            return not is_refused and series not in self._image_refused

    def image_brought(self) -> None:
        """Hear that a request for single instances brought some: the PACS takes such."""
        with self._lock:
            self._image_brought = True

    def image_refused(self, series: int) -> None:
        """Hear that the PACS refused a single instance of a series: it does not serve the IMAGE
        level if it does so of two series, and something is wrong with this one else."""
        with self._lock:
            self._image_refused.add(series)

    def was_vain(self, method: str) -> None:
        """Hear that the PACS was asked by a method, and nothing came of it."""
        with self._lock:
            self._vain.add(method)

    def doubt(self) -> None:
        """Hear that nothing came at all so far: the other method is tried for each series."""
        with self._lock:
            self._vain.add(self._first)

    def refuse(self, method: str, reason: str) -> bool:
        """Hear that a method is impossible; say whether that is new."""
        with self._lock:
            self._vain.add(method)
            if method in self.refused:
                return False
            self.refused[method] = reason
            return True
