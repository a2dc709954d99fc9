"""Tables of Excel (.xlsx); the only place that knows ``openpyxl``.

In: a stream of bytes. Out: lines of cells, and each as the text that its heading wants: numbers
with the zeros that the sheet shows, dates and times as DICOM writes them. What the sheet shows
otherwise than it is stored has no text: a query with the wrong one of the two finds others.
"""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any, BinaryIO
from zipfile import BadZipFile

from pypx.cli.sheet import CellError, Line, Note
from pypx.errors import ConfigError

try:
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException
except ImportError:
    raise ConfigError(
        "Excel files need the package openpyxl, which is not installed.",
        hint="Install it: pip install 'pypx[excel]', or save the list as CSV UTF-8.",
    ) from None

__all__ = ["ExcelSheet"]

# It warns on stderr of what it leaves out: styles, extensions.
warnings.filterwarnings("ignore", module="openpyxl")

# What openpyxl 3.1 and zipfile raise for files that are damaged, or no workbook.
_DAMAGED = (
    AttributeError,
    BadZipFile,
    EOFError,
    IndexError,
    InvalidFileException,
    KeyError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,  # of XML
    TypeError,
    ValueError,
    zlib.error,
)
_END = object()
_UNCOMPUTED = object()

_ROUNDED_FROM = 10**15  # a spreadsheet keeps 15 digits of a number
_NOT_SHOWN = re.compile(r"\[[^\]]*\]|_.|\*.")  # colours, languages, spaces as wide as a letter
_AS_IT_IS = re.compile(r"general|@|[#0?.,\s]*[#0](e[+-]0+)?", re.IGNORECASE)
_ONE_DAY = timedelta(days=1)


class ExcelSheet:
    """The first visible sheet of a workbook.

    Args:
        stream: The file, at its beginning; it is closed with this.
        name: What it is called in sentences.
        note: Is told that there are other sheets.

    Raises:
        ConfigError: It is no workbook, or has no sheet.
    """

    def __init__(self, stream: BinaryIO, name: str, note: Note) -> None:
        self.name = name
        self._stream = stream
        sheets = self._sheets(data_only=True)
        if not sheets:
            raise ConfigError(f"{name} has no sheet with cells.")
        self._sheet = sheets[0]
        self._formulas: Iterator[Any] | None = None
        self._formula_row: Any = ()
        self._formula_rows = 0
        if len(sheets) > 1:
            note(f"Of {name} only the first sheet is read, {self._sheet.title}.", "")

    def _sheets(self, *, data_only: bool) -> list[Any]:
        try:
            book = load_workbook(self._stream, read_only=True, data_only=data_only)
            sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
        except _DAMAGED:
            raise self._damaged() from None
        return sheets

    def _damaged(self) -> ConfigError:
        return ConfigError(
            f"{self.name} is no Excel file, or is damaged.",
            hint="Open it in a spreadsheet and save it as .xlsx or CSV UTF-8.",
        )

    def lines(self) -> Iterator[Line]:
        """Give the lines."""
        rows = _rows(self._sheet)
        number = 0
        while (cells := self._next(rows)) is not _END:
            number += 1
            if cells:
                yield Line(number, [self._computed(cell, number) for cell in cells])

    def _next(self, rows: Iterator[Any]) -> Any:
        try:
            return next(rows, _END)
        except _DAMAGED:
            raise self._damaged() from None

    def _computed(self, cell: Any, number: int) -> Any:
        """Give the cell; ``_UNCOMPUTED`` for a formula that no spreadsheet has computed."""
        column = getattr(cell, "column", None)
        if cell.value is not None or column is None or cell.data_type != "n":
            return cell
        if self._formulas is None:
            self._formulas = _rows(self._sheets(data_only=False)[0])
        while self._formula_rows < number:
            self._formula_row = self._next(self._formulas)
            self._formula_rows += 1
        return _UNCOMPUTED if self._formula_row[column - 1].data_type == "f" else cell

    def text(self, cell: Any, vr: str) -> str:
        """Give a cell as the sheet shows it, dates and times as DICOM writes them."""
        if cell is _UNCOMPUTED:
            raise CellError("is a formula without a result: open and save it in a spreadsheet")
        match cell.value:
            case None:
                return ""
            case str() as text:
                if cell.data_type == "e":
                    raise CellError(f"is the error {text}")
                return text.strip()
            case bool() as truth:
                raise CellError(f"is {str(truth).upper()}, which is no text")
            case int() | float() as number:
                return _number(number, self._format(cell))
            case date() as day:
                return _date(day, vr)
            case time() | timedelta() as moment:
                return _time(moment, vr)
            case other:
                raise CellError(f"is a {type(other).__name__}, which is no text")

    def _format(self, cell: Any) -> str:
        try:
            return str(cell.number_format)
        except _DAMAGED:
            raise self._damaged() from None

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _rows(sheet: Any) -> Iterator[Any]:
    """Give all rows whatever the file says of its size, which is often wrong."""
    sheet.reset_dimensions()
    rows: Iterator[Any] = sheet.iter_rows()
    return rows


def _number(value: int | float, number_format: str) -> str:
    shown = _NOT_SHOWN.sub("", number_format.split(";", 1)[0]).strip()
    if "%" in shown:
        raise CellError("is a percentage")
    if not abs(value) < _ROUNDED_FROM:
        raise CellError("has more digits than the sheet keeps of a number: make it a text")
    whole = int(value) if value == int(value) else None
    if shown.strip("0"):
        if not _AS_IT_IS.fullmatch(shown):
            raise CellError(f"is {value}, and shown as {number_format!r}: make it a text")
        return f"{value:.15g}" if whole is None else str(whole)
    if whole is None:
        raise CellError(f"is {value}, and shown without its fraction: make it a text")
    return f"{whole:0{len(shown)}d}"


def _date(value: date, vr: str) -> str:
    if vr == "DT" and isinstance(value, datetime):
        return f"{value:%Y%m%d%H%M%S}"
    if vr not in ("DA", "DT"):
        raise CellError(f"is the date {value:%Y-%m-%d}: make it a text")
    return f"{value:%Y%m%d}"


def _time(value: time | timedelta, vr: str) -> str:
    if isinstance(value, timedelta):
        if not timedelta() <= value < _ONE_DAY:
            raise CellError(f"is a time of {value}, which no day has")
        value = (datetime.min + value).time()
    if vr != "TM":
        raise CellError(f"is the time {value:%H:%M:%S}: make it a text")
    return f"{value:%H%M%S}"
