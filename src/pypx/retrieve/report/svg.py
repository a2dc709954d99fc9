"""Throughput over time as pictures: a bar for each piece of time.

In: what came in bins of time. Out: the text of SVGs that belong into an HTML page, whose style
gives the colours. Not here: where the numbers are from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pypx.text import size

if TYPE_CHECKING:
    from pypx.archive.account import Arrivals

__all__ = ["bytes_chart", "instances_chart"]

_WIDTH, _HEIGHT = 480, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 18, 12, 30
_INNER_WIDTH, _INNER_HEIGHT = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
_LINES = 4  # of the grid, at most
_MARKS = 5  # of the time axis, at most
_DAY = 86400
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, _DAY)


def instances_chart(arrivals: Arrivals) -> str:
    """Draw how many instances came a second."""
    return _chart(arrivals, arrivals.instances, "instances", lambda rate: f"{rate:,.3g}")


def bytes_chart(arrivals: Arrivals) -> str:
    """Draw how many bytes came a second."""
    return _chart(arrivals, arrivals.bytes, "bytes", lambda rate: f"{size(rate)}/s")


def _chart(
    arrivals: Arrivals, numbers: Sequence[int], what: str, shown: Callable[[float], str]
) -> str:
    rates = [number / arrivals.width for number in numbers]
    lines = _scale(max(rates))
    start = datetime.fromisoformat(arrivals.first)
    named = f"{sum(numbers):,} {what} in {arrivals.seconds:.1f} seconds"
    parts = [
        f'<svg class="{what}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{named}">',
        *_grid(lines, shown),
        *_bars(rates, lines[-1], arrivals.width, what),
        *_time_axis(start, len(rates) * arrivals.width),
        "</svg>",
    ]
    return "".join(parts)


def _scale(most: float) -> list[float]:
    """Give the lines of a grid from 0 to a round number that is not below the most."""
    rough = (most or 1) / _LINES
    unit: float = 10 ** math.floor(math.log10(rough))
    step = next(unit * n for n in (1, 2, 2.5, 5, 10) if unit * n >= rough * (1 - 1e-9))
    return [step * place for place in range(math.ceil((most or 1) / step - 1e-9) + 1)]


def _y(share: float) -> float:
    return round(_TOP + _INNER_HEIGHT * (1 - share), 1)


def _grid(lines: list[float], shown: Callable[[float], str]) -> Iterator[str]:
    for value in lines:
        y = _y(value / lines[-1])
        kind = "grid" if value else "base"
        yield f'<path class="{kind}" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>'
        yield f'<text class="v" x="{_LEFT - 8}" y="{y + 4}">{shown(value) if value else 0}</text>'


def _bars(rates: list[float], top: float, width: float, what: str) -> Iterator[str]:
    place = _INNER_WIDTH / len(rates)
    gap = min(1.5, place * 0.2)
    for number, rate in enumerate(rates):
        if not rate:
            continue
        x, height = _LEFT + number * place + gap / 2, max(1.0, rate / top * _INNER_HEIGHT)
        said = f"{size(rate)}/s" if what == "bytes" else f"{rate:,.3g} instances/s"
        yield (
            f'<rect x="{x:.1f}" y="{_TOP + _INNER_HEIGHT - height:.1f}" '
            f'width="{place - gap:.1f}" height="{height:.1f}">'
            f"<title>{said} for {width:g} s</title></rect>"
        )


def _time_axis(start: datetime, seconds: float) -> Iterator[str]:
    """Mark round times of the clock; of a short job, the seconds since its first instance."""
    short = seconds < 2 * _MARKS
    marks = _seconds(seconds) if short else _clock(start, seconds)
    y = _TOP + _INNER_HEIGHT
    for place, text in marks:
        x = round(_LEFT + place / seconds * _INNER_WIDTH, 1)
        yield f'<path class="base" d="M{x} {y}v4"/>'
        yield f'<text class="t" x="{x}" y="{y + 18}">{text}</text>'


def _seconds(seconds: float) -> Iterator[tuple[float, str]]:
    for place in _scale(seconds):
        if place <= seconds * (1 + 1e-9):
            yield place, f"{place:.3g} s"


def _clock(start: datetime, seconds: float) -> Iterator[tuple[float, str]]:
    step = next((one for one in _STEPS if seconds / one <= _MARKS), 0)
    step = step or _DAY * math.ceil(seconds / _DAY / _MARKS)
    form = "%d %b" if step >= _DAY else "%H:%M" if step >= 60 else "%H:%M:%S"
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    passed = (start - midnight).total_seconds()
    place = math.ceil(passed / step) * step - passed
    while place <= seconds:
        yield place, (start + timedelta(seconds=place)).strftime(form)
        place += step
