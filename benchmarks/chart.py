"""Results as one SVG: a bar for each entrant, as long as its median rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

from benchmarks.contest import Result
from benchmarks.receivers import OURS

__all__ = ["chart"]

_WIDTH, _LABELS, _VALUES, _MARGIN = 860, 250, 130, 16
_ROW, _BAR, _TITLE = 20, 14, 34
_COLOURS = {True: "#1f6feb", False: "#8c959f"}


def chart(results: Sequence[Result], facts: Mapping[str, str], heading: str) -> str:
    """Give the text of the SVG."""
    where = ", ".join(
        (
            facts["date"],
            f"{facts['cores']} cores",
            f"Python {facts['Python']}",
            facts["file system"],
        )
    )
    parts = [_text(_MARGIN, 24, heading, size=16, weight="bold"), _text(_MARGIN, 42, where)]
    top = 50
    for result in results:
        parts += _case(result, top)
        top += _TITLE + _ROW * len(result.contest.entrants)
    height = top + _MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">'
    )
    background = f'<rect width="{_WIDTH}" height="{height}" fill="white"/>'
    return "\n".join((head, background, *parts, "</svg>", ""))


def _case(result: Result, top: int) -> Iterator[str]:
    contest = result.contest
    title = f"{contest.title} ({contest.unit}, more is better)"
    yield _text(_MARGIN, top + 22, title, weight="bold")
    medians = {one.name: result.median(one.name) or 0.0 for one in contest.entrants}
    longest = max(medians.values()) or 1.0
    room = _WIDTH - _LABELS - _VALUES - _MARGIN
    for row, (name, median) in enumerate(medians.items()):
        y = top + _TITLE + row * _ROW
        width = max(1.0, room * median / longest)
        colour = _COLOURS[name.startswith((OURS, "px "))]
        yield _text(_LABELS - 8, y + 11, name, anchor="end")
        yield f'<rect x="{_LABELS}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>'
        value = f"{median:,.0f}" if median else "failed"
        yield _text(_LABELS + width + 6, y + 11, value)


def _text(
    x: float, y: float, text: str, *, size: int = 12, weight: str = "normal", anchor: str = "start"
) -> str:
    style = f'font-size="{size}" font-weight="{weight}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y}" {style}>{escape(text)}</text>'
