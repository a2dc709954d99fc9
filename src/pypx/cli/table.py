"""A table or a list that fits: on a terminal nothing is squeezed into slivers.

In: columns of harmless text. Out: lines. Where it is narrow, long columns (UIDs, paths)
get a line of their own under the row, then the least important columns are left out, then
long text is cut. What goes to a pipe or a file is never cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Column", "draw"]

_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_GAP = 2
_SHORTEST_CUT = 8  # columns of text are not cut below this
_INDENT = "  "


@dataclass(slots=True)
class Column:
    """A column.

    Attributes:
        title: Its header.
        cells: One a row.
        numeric: It is set to the right.
        rank: 0 if it must be there; of the others the highest is left out first.
        long: It may have a line of its own.
    """

    title: str
    cells: list[str]
    numeric: bool = False
    rank: int = 0
    long: bool = False

    @property
    def width(self) -> int:
        """How many columns of the terminal it takes; it looks at every cell."""
        return max(map(width_of, (self.title, *self.cells)))


def width_of(text: str) -> int:
    """Say how many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def draw(
    columns: Sequence[Column], *, width: int | None = None, colour: bool = False
) -> tuple[str, list[str]]:
    """Lay a table out.

    Args:
        columns: What it has; columns without any value are left out.
        width: Of the terminal; None where there is no limit.
        colour: Whether the header may be bold and the UIDs dim.

    Returns:
        The text, and the titles of the columns for which there was no room.
    """
    columns = [column for column in columns if any(column.cells)]
    below: list[Column] = []
    dropped: list[str] = []
    if width is not None and _total(column.width for column in columns) > width:
        below = [column for column in columns if column.long]
        columns = [column for column in columns if not column.long]
        dropped = _drop(columns, width)
        _cut(columns, width)
    if not columns:
        columns, below = below, []
    bold, dim, plain = (_BOLD, _DIM, _PLAIN) if colour else ("", "", "")
    widths = [column.width for column in columns]
    lines = [f"{bold}{_line(columns, widths, None)}{plain}"]
    for row in range(len(columns[0].cells)):
        lines.append(_line(columns, widths, row))
        for one in below:
            if one.cells[row]:
                name = f"{one.title} " if len(below) > 1 else ""
                lines.append(f"{_INDENT}{dim}{name}{one.cells[row]}{plain}")
    return "\n".join(lines), dropped


def _total(widths: Iterable[int]) -> int:
    return sum(width + _GAP for width in widths) - _GAP


def _drop(columns: list[Column], width: int) -> list[str]:
    """Leave the least important columns out until the others fit."""
    dropped = []
    needed = _total(column.width for column in columns)
    while needed > width:
        least = max(columns, key=lambda column: column.rank)
        if not least.rank:
            break
        columns.remove(least)
        dropped.append(least.title)
        needed -= least.width + _GAP
    return dropped


def _cut(columns: list[Column], width: int) -> None:
    """Shorten the widest columns of text, one place at a time, until all fit."""
    limits = [column.width for column in columns]
    while _total(limits) > width:
        widest = max(range(len(limits)), key=lambda n: (not columns[n].numeric, limits[n]))
        if limits[widest] <= _SHORTEST_CUT:
            break
        limits[widest] -= 1
    for column, limit in zip(columns, limits, strict=True):
        column.cells = [_shortened(cell, limit) for cell in column.cells]
        column.title = _shortened(column.title, limit)


def _shortened(text: str, limit: int) -> str:
    if width_of(text) <= limit:
        return text
    while width_of(text) > limit - 1:
        text = text[:-1]
    return f"{text}…"


def _line(columns: Sequence[Column], widths: Sequence[int], row: int | None) -> str:
    parts = []
    for column, width in zip(columns, widths, strict=True):
        text = column.title if row is None else column.cells[row]
        padding = " " * (width - width_of(text))
        parts.append(padding + text if column.numeric else text + padding)
    return (" " * _GAP).join(parts).rstrip()
