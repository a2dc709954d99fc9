"""Entrants that do the same thing, one after the other, in rounds of changing order.

In: what to run. Out: rates, medians, and ratios of what was measured in the same round.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Bar", "Case", "Contest", "Entrant", "Result", "Settings", "hold"]


@dataclass(frozen=True)
class Settings:
    """How much is measured, and where.

    Attributes:
        folder: On the disk that is to be measured.
        scale: Of the numbers of objects.
        rounds: How often each entrant runs.
    """

    folder: Path
    scale: float
    rounds: int

    def count(self, full: int, *, at_least: int = 20) -> int:
        """Give the number of objects for one that is ``full`` at scale 1."""
        return max(at_least, round(full * self.scale))


@dataclass(frozen=True)
class Entrant:
    """Who takes part.

    Attributes:
        name: As in the table.
        count: How many objects it gets; those that are slow get fewer.
        run: Do it once; gives a rate, objects a second.
    """

    name: str
    count: int
    run: Callable[[], float]


@dataclass(frozen=True)
class Bar:
    """What is to be reached: ``name`` at least ``factor`` times as fast as ``peer``.

    Without a peer the factor is a rate.
    """

    name: str
    factor: float
    peer: str = ""


@dataclass(frozen=True)
class Contest:
    """What is compared; the first entrant is the one that ratios are about."""

    title: str
    unit: str
    entrants: Sequence[Entrant]
    bars: Sequence[Bar] = ()
    notes: list[str] = field(default_factory=list)


Case = Callable[[Settings], AbstractContextManager[Contest]]


@dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        contest: What it was.
        rates: One for each round, by entrant; None where it failed.
        errors: Why, by entrant.
    """

    contest: Contest
    rates: dict[str, list[float | None]]
    errors: dict[str, str]

    def median(self, name: str) -> float | None:
        """Give the median rate of an entrant."""
        rates = [rate for rate in self.rates[name] if rate is not None]
        return statistics.median(rates) if rates else None

    def ratios(self, name: str, peer: str) -> list[float]:
        """Give, round by round, how many times as fast as ``peer`` an entrant was."""
        pairs = zip(self.rates[name], self.rates[peer], strict=True)
        return [one / other for one, other in pairs if one and other]

    def reached(self, bar: Bar) -> float | None:
        """Give what a bar is to be compared with: a median ratio, or a median rate."""
        if not bar.peer:
            return self.median(bar.name)
        ratios = self.ratios(bar.name, bar.peer)
        return statistics.median(ratios) if ratios else None


def hold(contest: Contest, rounds: int, tell: Callable[[str], None]) -> Result:
    """Run all entrants ``rounds`` times.

    Args:
        contest: What to run.
        rounds: How often; each round begins with another entrant.
        tell: Gets a word on each run.
    """
    names = [entrant.name for entrant in contest.entrants]
    result = Result(contest, {name: [] for name in names}, {})
    for number in range(rounds):
        first = number % len(names)
        order = [*contest.entrants[first:], *contest.entrants[:first]]
        for entrant in order[:: -1 if number % 2 else 1]:
            os.sync()  # what the one before left to the disk is not to slow this one down
            rate = None
            try:
                rate = entrant.run()
            except (OSError, RuntimeError) as error:
                result.errors[entrant.name] = str(error).partition("\n")[0]
            result.rates[entrant.name].append(rate)
            shown = f"{rate:,.0f} {contest.unit}" if rate else result.errors[entrant.name]
            tell(f"{contest.title}, round {number + 1}: {entrant.name} {shown}")
    return result
