"""Rows of results, in each form: they stream where the form allows it.

In: rows, one by one, and at the end an error or None. Out: JSON, JSON lines, CSV or a
table. A failure in the middle leaves a document that programs can still read: with
``--json`` an object of ``error`` and ``matches`` instead of the array, with ``--jsonl`` a
last line of ``error``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from pypx.cli.output import Output, cell, error_object, json_text
from pypx.errors import PypxError

__all__ = ["Row", "Rows", "rows_for"]

Row = dict[str, Any]


class Rows(Protocol):
    """Where a command puts its rows."""

    def add(self, row: Row) -> None:
        """Take the next row."""

    def end(self, error: PypxError | None) -> None:
        """Say that there are no more, and why, if that is not because there are no more."""


def rows_for(
    out: Output, columns: Sequence[str], show: Callable[[Output, list[Row]], None]
) -> Rows:
    """Give the rows for the form that was asked for.

    Args:
        out: Where they go.
        columns: The columns of CSV.
        show: Writes the collected rows for people.
    """
    match out.form:
        case "json":
            return _JsonRows(out)
        case "jsonl":
            return _JsonLines(out)
        case "csv":
            return _CsvRows(out, columns)
        case _:
            return _Shown(out, show)


class _JsonRows:
    """One array, one row a line; collected, since an error at the end changes its form."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._lines: list[str] = []

    def add(self, row: Row) -> None:
        self._lines.append(json_text(row))

    def end(self, error: PypxError | None) -> None:
        rows = _array(self._lines)
        if error is None:
            self._out.write(f"{rows}\n")
        else:
            said = json_text(error_object(error))
            self._out.write(f'{{"error": {said},\n"matches": {rows}}}\n')


def _array(lines: Iterable[str]) -> str:
    text = ",\n  ".join(lines)
    return f"[\n  {text}\n]" if text else "[]"


class _JsonLines:
    def __init__(self, out: Output) -> None:
        self._out = out

    def add(self, row: Row) -> None:
        self._out.line(json_text(row))

    def end(self, error: PypxError | None) -> None:
        if error is not None:
            self._out.line(json_text({"error": error_object(error)}))


class _CsvRows:
    def __init__(self, out: Output, columns: Sequence[str]) -> None:
        import csv

        self._out = out
        self._columns = columns
        self._writer = csv.writer(_Lines(out), lineterminator="\n")
        self._begun = False

    def add(self, row: Row) -> None:
        self._begin()
        self._writer.writerow([cell(row.get(column)) for column in self._columns])

    def end(self, error: PypxError | None) -> None:
        if error is None:
            self._begin()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._writer.writerow(self._columns)


class _Lines:
    """What the CSV writer of the standard library writes to."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


class _Shown:
    def __init__(self, out: Output, show: Callable[[Output, list[Row]], None]) -> None:
        self._out = out
        self._show = show
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        self._rows.append(row)

    def end(self, error: PypxError | None) -> None:
        if self._rows or error is None:
            self._show(self._out, self._rows)
