"""Whose turn it is: which series is asked for next, and never two for the same instances at once.

In: the series of a ledger, and the time. Out: one series after the other, or a study of them. Not
here: threads, and asking. Who uses it sees to it that only one thread does at a time.

Two queries of one job may find the same series. While one of the two is asked for, the other is
held back; then it is complete without a request.
"""

from __future__ import annotations

import heapq
from collections import deque
from functools import partial

from pypx.archive.ledger import Ledger
from pypx.archive.transfers import OPEN, LedgerSeries, Transfer
from pypx.values import frozen

__all__ = ["Turn", "Turns"]


@frozen
class Turn:
    """What is asked for at once.

    Attributes:
        series: What nobody else asks for now.
        together: The other series of its study, when all of it is asked for.
    """

    series: LedgerSeries
    together: tuple[LedgerSeries, ...] = ()

    @property
    def pk(self) -> int:
        """That of the series."""
        return self.series.pk

    def meets(self, series: LedgerSeries) -> bool:
        """Whether a request for a series might bring the same instances."""
        mine = self.series
        if mine.study_instance_uid != series.study_instance_uid:
            return False
        is_study = bool(self.together) or not mine.series_instance_uid
        return (
            is_study
            or not series.series_instance_uid
            or mine.series_instance_uid == series.series_instance_uid
        )


class Turns:
    """The series of one job, in the order in which they are asked for.

    Args:
        ledger: Where they are.
        transfer: The job.
        by_study: Ask for all of a study at once where nothing of it is here.
    """

    def __init__(self, ledger: Ledger, transfer: Transfer, *, by_study: bool) -> None:
        self._ledger = ledger
        self._transfer = transfer
        self._by_study = by_study
        self._later: list[tuple[float, int]] = []  # a heap of series by when they are due
        self._running: list[Turn] = []
        self._held: dict[str, deque[int]] = {}  # by study
        # A job that is resumed begins with what was never asked for: what did not come before
        # may not come again, and would have it given up before the others had their turn.
        self._after = ledger.last_asked(transfer)

    def waiting(self, most: int) -> int:
        """Count the series that nobody has asked for yet, up to ``most``."""
        return self._ledger.waiting(self._transfer, most, planned=self._by_study)

    def repeated(self, now: float) -> Turn | None:
        """Take a series that is to be asked for again, and is due."""
        while self._later and self._later[0][0] <= now:
            turn = self._begin(self._ledger.series_of(heapq.heappop(self._later)[1]))
            if turn is not None:
                return turn
        return None

    def next(self, *, beyond: int = 0) -> Turn | None:
        """Take the first series that nobody has asked for.

        Args:
            beyond: Only of studies beyond this one.
        """
        while series := self._first(beyond):
            turn = self._begin(series)
            if turn is not None:
                return turn
        return None

    def _first(self, beyond: int) -> LedgerSeries | None:
        take = partial(
            self._ledger.next_series, self._transfer, planned=self._by_study, beyond=beyond
        )
        series = take(after=self._after)
        if series is None and self._after:
            series = take()
            self._after = 0 if series is not None else self._after
        return series

    def _begin(self, series: LedgerSeries) -> Turn | None:
        """Begin with a series, or hold it back while another one of the same is under way."""
        others = self._others(series) if self._by_study else []
        asked = Turn(series, tuple(others))
        if any(other.meets(series) or asked.meets(other.series) for other in self._running):
            self._held.setdefault(series.study_instance_uid, deque()).append(series.pk)
            return None
        if others:
            taken = (
                self._ledger.next_series(self._transfer, series.study_pk, planned=True)
                for _ in others
            )
            asked = Turn(series, tuple(one for one in taken if one is not None))
        self._running.append(asked)
        return asked

    def _others(self, series: LedgerSeries) -> list[LedgerSeries]:
        """Give the other series of a study, if nothing of it is here or was asked for."""
        every = self._ledger.series_of_study(series.study_pk)
        others = [one for one in every if one.pk != series.pk]
        is_fresh = all(
            one.state == OPEN and not one.attempts and not one.received for one in others
        )
        return others if is_fresh and not series.attempts and not series.received else []

    def done(self, turn: Turn) -> None:
        """Hear that a request is over; one of those that were held back for it may begin."""
        self._running.remove(turn)
        held = self._held.get(turn.series.study_instance_uid)
        if held is None:
            return
        self.again(held.popleft(), 0.0)
        if not held:
            del self._held[turn.series.study_instance_uid]

    def again(self, pk: int, due: float) -> None:
        """Have a series asked for once more.

        Args:
            pk: That of the series.
            due: From when on, as the clock of ``repeated`` says.
        """
        heapq.heappush(self._later, (due, pk))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is under way, held back, or to be asked for again."""
        return not (self._later or self._running or self._held)

    def until_due(self, now: float) -> float | None:
        """Give the seconds until one is to be asked for again; None where none is."""
        return max(0.0, self._later[0][0] - now) if self._later else None
