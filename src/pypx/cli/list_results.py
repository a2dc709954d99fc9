"""What became of the rows of a list, in a CSV file beside it that grows as they are done.

In: the name of a list, its columns, and one result after the other, in any order. Out: a line
for each, and, when the file is opened again, which rows it has. What a status means is decided
elsewhere.

A line is one write to a file that only grows, so a process that is killed leaves whole lines and
at most one torn one at the end, which is cut off when the file is opened again.
"""

from __future__ import annotations

import csv
import fcntl
import os
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from io import StringIO
from itertools import islice
from pathlib import Path

from pypx.cli.lists import ListRow
from pypx.cli.output import OutputError, cell
from pypx.errors import ConfigError
from pypx.values import fields, frozen

__all__ = ["ListResults", "RowResult", "RowStatus", "result_file"]

_MODE = 0o600  # it may name patients
_TAIL = 1 << 16


class RowStatus(StrEnum):
    """How a row ended."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    NO_MATCH = "no-match"
    TOO_MANY = "too-many"
    FAILED = "failed"
    MALFORMED = "malformed"
    UNKNOWN = "unknown"


@frozen
class RowResult:
    """What became of a row; a number that is not known is None.

    Attributes:
        status: How it ended.
        studies: How many the row names.
        series: How many these have.
        expected: Instances that the PACS has of them.
        received: Instances of them that are here.
        missing: Instances of them that are not.
        reason: Why it is not complete, in a sentence.
    """

    status: RowStatus
    studies: int | None = None
    series: int | None = None
    expected: int | None = None
    received: int | None = None
    missing: int | None = None
    reason: str = ""


def result_file(path: str) -> Path:
    """Give the name of the results of a list: its own with ``.result.csv`` behind it.

    Raises:
        ConfigError: It is the standard input, which has no name.
    """
    if path == "-":
        raise ConfigError(
            "A list from the standard input has no file for its results.",
            hint="Save the list in a file.",
        )
    return Path(f"{path}.result.csv")


class ListResults:
    """The results of a list; a context manager that closes the file.

    Args:
        path: The list.
        columns: Its columns.

    Attributes:
        file: Where the results are.
        statuses: The status of each row that has a result, by its number; the last one counts.

    Raises:
        ConfigError: The file is of another list, or of no list, or another process writes it.
        OutputError: It cannot be written.
    """

    def __init__(self, path: str, columns: Sequence[str]) -> None:
        self.file = result_file(path)
        self.statuses: dict[int, RowStatus] = {}
        self._columns = tuple(columns)
        self._lines: dict[int, int] = {}  # a hash of the last line of each row
        flags = os.O_CREAT | os.O_APPEND | os.O_RDWR | os.O_CLOEXEC
        try:
            self._fd = os.open(self.file, flags, _MODE)
            try:
                self._begin()
            except BaseException:
                os.close(self._fd)
                raise
        except OSError as error:
            raise self._failure(error) from None

    def __enter__(self) -> ListResults:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, which has everything already."""
        os.close(self._fd)

    def add(self, row: ListRow, result: RowResult) -> None:
        """Write the result of a row, unless its last line says just that.

        Raises:
            OutputError: There is no room, or another failure; the line is not there then.
        """
        cells = self._cells(row.keys)
        values = [cell(getattr(result, name)) for name in fields(RowResult)]
        line = [str(row.number), *cells, *values]
        if self._lines.get(row.number) == hash(tuple(line)):
            return
        self._write(_line(line))
        self._note(line, result.status)

    def _note(self, line: list[str], status: RowStatus) -> None:
        number = int(line[0])
        self.statuses[number] = status
        self._lines[number] = hash(tuple(line))

    def _cells(self, keys: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(cell(keys.get(column)) for column in self._columns)

    def _write(self, data: bytes) -> None:
        try:
            size = os.fstat(self._fd).st_size
            written = os.write(self._fd, data)
            if written < len(data):
                os.ftruncate(self._fd, size)
                raise OSError(f"there was room for {written} of {len(data)} bytes")
        except OSError as error:
            raise self._failure(error) from None

    def _failure(self, error: OSError) -> OutputError:
        return OutputError(f"Cannot write to {self.file}: {error.strerror or error}.")

    # What is there already ------------------------------------------------------------------

    def _begin(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"Another process writes {self.file}.", hint="Wait until it is done, or end it."
            ) from None
        header = _line(["row", *self._columns, *fields(RowResult)])
        start = os.pread(self._fd, len(header), 0)
        if not header.startswith(start):
            raise ConfigError(
                f"{self.file} has not the results of this list: its columns are others.",
                hint=f"Rename {self.file.name} to begin anew.",
            )
        if len(start) < len(header):
            os.ftruncate(self._fd, 0)
            self._write(header)
        self._cut()
        self._read()

    def _cut(self) -> None:
        """Cut off the end of a line whose writer was killed."""
        end = os.fstat(self._fd).st_size
        while end > 0:
            start = max(0, end - _TAIL)
            newline = os.pread(self._fd, end - start, start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        os.ftruncate(self._fd, end)

    def _read(self) -> None:
        with open(self.file, encoding="utf-8", newline="") as file:  # noqa: PTH123
            try:
                for cells in islice(csv.reader(file, strict=True), 1, None):
                    self._take(cells)
            except (csv.Error, IndexError, ValueError):
                raise ConfigError(
                    f"{self.file} has a line that is no result.",
                    hint=f"Rename {self.file.name} to begin anew.",
                ) from None

    def _take(self, cells: list[str]) -> None:
        self._note(cells, RowStatus(cells[len(self._columns) + 1]))


def _line(cells: Iterable[str]) -> bytes:
    line = StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode()
