"""What became of the rows of a list, in a CSV file beside it that grows as they are done.

In: the name of a list, its columns, and one result after the other, in any order. Out: a line
for each, and, when the file is opened again, which rows it has. What a status means is decided
elsewhere.

A line is one write to a file that only grows, so a process that is killed leaves whole lines and
at most one torn one at the end, which is cut off when the file is opened again.

What the last line of each row says is kept as a hash in a temporary file, so that a list of any
length takes the same memory.
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
from tempfile import TemporaryFile

from xxhash import xxh3_64_digest

from pypx.cli.lists import ListRow
from pypx.cli.output import OutputError, cell
from pypx.errors import ConfigError
from pypx.values import fields, frozen

__all__ = ["ListResults", "RowResult", "RowStatus", "result_file"]

_MODE = 0o600  # it may name patients
_TAIL = 1 << 16
_HASH = 8  # bytes
_LAST_ROW = 1 << 31  # far more than a sheet or a text can have


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

    Raises:
        ConfigError: The file is of another list, or of no list, or another process writes it.
        OutputError: It cannot be written.
    """

    def __init__(self, path: str, columns: Sequence[str]) -> None:
        self.file = result_file(path)
        self._columns = tuple(columns)
        flags = os.O_CREAT | os.O_APPEND | os.O_RDWR | os.O_CLOEXEC
        try:
            self._fd = os.open(self.file, flags, _MODE)
            try:
                self._lines = _LastLines()
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
        self._lines.close()
        os.close(self._fd)

    def add(self, row: ListRow, result: RowResult) -> None:
        """Write the result of a row, unless its last line says just that.

        Raises:
            OutputError: There is no room, or another failure; the line is not there then.
        """
        cells = self._cells(row.keys)
        values = [cell(getattr(result, name)) for name in fields(RowResult)]
        line = [str(row.number), *cells, *values]
        data = _line(line)
        try:
            if self._lines.has(row.number, data):
                return
            self._write(data)
            self._lines.note(row.number, data)
        except OSError as error:
            raise self._failure(error) from None

    def _cells(self, keys: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(cell(keys.get(column)) for column in self._columns)

    def _write(self, data: bytes) -> None:
        size = os.fstat(self._fd).st_size
        written = os.write(self._fd, data)
        if written < len(data):
            os.ftruncate(self._fd, size)
            raise OSError(f"there was room for {written} of {len(data)} bytes")

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
        RowStatus(cells[len(self._columns) + 1])
        number = int(cells[0])
        if not 0 <= number < _LAST_ROW:
            raise ValueError
        self._lines.note(number, _line(cells))


class _LastLines:
    """A hash of the last line of each row, at the place of its number in a file without a name.

    Threads may share one.
    """

    def __init__(self) -> None:
        self._file = TemporaryFile(prefix="pypx-results-", buffering=0)  # noqa: SIM115

    def has(self, number: int, line: bytes) -> bool:
        """Say whether the last line of a row is this one.

        Raises:
            OSError: As the system says.
        """
        place = number * _HASH
        return os.pread(self._file.fileno(), _HASH, place) == xxh3_64_digest(line)

    def note(self, number: int, line: bytes) -> None:
        """Remember the last line of a row.

        Raises:
            OSError: There is no room, or another failure.
        """
        os.pwrite(self._file.fileno(), xxh3_64_digest(line), number * _HASH)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()


def _line(cells: Iterable[str]) -> bytes:
    line = StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode()
