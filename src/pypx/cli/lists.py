"""A list: a table in a file, of which each row is a query and each heading the name of a key.

In: a CSV, TSV or Excel file, or the standard input. Out: the keys of one row after the other,
and what is wrong with a row where it cannot be a query. What is done with them does not belong
here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice
from typing import Any

from pypx.cli.keys import key_named, key_value, wrong_shape
from pypx.cli.sheet import CellError, Line, Note, Sheet, open_sheet
from pypx.dicom.dictionary import find_keyword, find_tag, keyword_of, parse_tag, vr_of
from pypx.errors import ConfigError
from pypx.pseudonym import Pseudonyms
from pypx.values import frozen

__all__ = ["ListRow", "ListRows", "read_list", "row_numbers"]

_HEADINGS = "The first row names a key in each column, for example PatientID or 0010,0020."
_MOST_NUMBERS = 8
_KNOWN = 2_000  # identifiers: those of the last few hundred rows

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
_ROUNDED = re.compile(r"\d([.,]\d+)?E\+\d+")  # what Excel leaves of a long number in CSV
_NUMBERS = frozenset({"DS", "FD", "FL"})


@frozen
class ListRow:
    """One row of a list.

    Attributes:
        number: Its number in the file; the headings are row 1. In text it is that of a line.
        keys: Keyword to value; what is empty is no key. With an error, what could be read.
        error: Why it is no query; empty if it is one.
    """

    number: int
    keys: dict[str, str]
    error: str = ""


def read_list(path: str, *, note: Note) -> ListRows:
    """Open a list.

    Args:
        path: A file; ``-`` is the standard input.
        note: Is told, as a sentence and a hint, what the user should know of the file;
            :meth:`pypx.cli.output.Output.warn` will do.

    Returns:
        An iterator that reads one row after the other, which is to be closed.

    Raises:
        ConfigError: The file cannot be read, or a heading is no key.
    """
    sheet = open_sheet(path, note)
    try:
        return ListRows(sheet)
    except BaseException:
        sheet.close()
        raise


class ListRows(Iterator[ListRow]):
    """The rows of a list, as they are read; empty ones are passed over.

    Attributes:
        name: What the file is called in sentences.
        columns: The keys that the headings name.
        learn: Hears each value with its key: some identify a patient.
    """

    def __init__(self, sheet: Sheet) -> None:
        self.name = sheet.name
        self.learn: Callable[[str, str], None] = lambda keyword, value: None
        self._sheet = sheet
        self._lines = sheet.lines()
        self._headings = _Headings(sheet, self._next_line())
        self.columns = self._headings.columns

    def __next__(self) -> ListRow:
        """Read the next row.

        Raises:
            ConfigError: The file is damaged, or can no longer be read.
        """
        while (line := self._next_line()) is not None:
            if line.error:
                return ListRow(line.number, {}, line.error)
            keys, errors = self._read(line)
            if keys or errors:
                return ListRow(line.number, keys, "; ".join(errors))
        raise StopIteration

    def hide(self, identifiers: Pseudonyms) -> None:
        """Have the identifiers of the rows hidden in lines that are kept.

        Of a long list it knows those that were read last; who asks for a row later has to tell
        of its values again.
        """
        identifiers.most = _KNOWN
        self.learn = identifiers.learn

    def close(self) -> None:
        """Close the file."""
        self._sheet.close()

    def _next_line(self) -> Line | None:
        try:
            return next(self._lines, None)
        except OSError as error:
            raise ConfigError(f"{self.name} cannot be read: {error.strerror or error}.") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{self.name} has changed while it was read.") from None

    def _read(self, line: Line) -> tuple[dict[str, str], list[str]]:
        keys: dict[str, str] = {}
        errors: list[str] = []
        for position, cell in enumerate(line.cells):
            keyword, vr = self._headings.at(position)
            try:
                value = self._value(cell, keyword, vr)
            except CellError as error:
                for word in str(error).split():
                    if any(map(str.isdigit, word)):
                        self.learn(keyword, word.strip("'\",.:"))
                errors.append(f"{keyword or f'column {position + 1}'} {error}")
            else:
                if value:
                    self.learn(keyword, value)
                    keys[keyword] = value
        if keys and not errors and not any(value.strip("*") for value in keys.values()):
            errors.append("it has no value, and would ask for everything")
        return keys, errors

    def _value(self, cell: Any, keyword: str, vr: str) -> str:
        text = self._sheet.text(cell, vr)
        if not text:
            return ""
        if not keyword:
            raise CellError("has a value, but no heading")
        if _UNSEEN.search(text):
            raise CellError("has a line break or another character that is not seen")
        if vr not in _NUMBERS and _ROUNDED.fullmatch(text):
            raise CellError(f"is {text}, a number that a spreadsheet has rounded")
        return _shaped(vr, key_value(vr, text))


def _shaped(vr: str, value: str) -> str:
    """Give a date or time as DICOM writes it; a PACS may pass over a key that has another form."""
    if complaint := wrong_shape(vr, value):
        raise CellError(f"is {value!r}, which is not {complaint}")
    is_shaped = vr in ("DA", "TM") and not set(value) & set("*?")
    return value.replace(":", "") if is_shaped else value


class _Headings:
    """The keys of the columns, from the first line."""

    def __init__(self, sheet: Sheet, line: Line | None) -> None:
        if line is None:
            raise ConfigError(f"{sheet.name} is empty.", hint=_HEADINGS)
        if line.error:
            raise ConfigError(f"The headings of {sheet.name} are wrong: {line.error}.")
        self._keys = [
            (keyword, vr_of(parse_tag(keyword)) if keyword else "")
            for keyword in (
                _heading(sheet, cell, number) for number, cell in enumerate(line.cells, 1)
            )
        ]
        self.columns = tuple(keyword for keyword, _ in self._keys if keyword)
        if line.number > 1 or not self.columns:
            raise ConfigError(f"{sheet.name} has no headings in its first row.", hint=_HEADINGS)
        for keyword in self.columns:
            both = [str(n) for n, (other, _) in enumerate(self._keys, 1) if other == keyword]
            if len(both) > 1:
                raise ConfigError(
                    f"{sheet.name} has {keyword} in the columns {' and '.join(both)}.",
                    hint="Leave one of them.",
                )

    def at(self, position: int) -> tuple[str, str]:
        """Give the key of a column and its VR; both are empty where it has none."""
        return self._keys[position] if position < len(self._keys) else ("", "")


def _heading(sheet: Sheet, cell: Any, number: int) -> str:
    """Give the key that a heading names, or an empty text."""
    try:
        text = sheet.text(cell, "LO")
        return _key(text) if text else ""
    except CellError as error:
        said = f"the heading {error}"
        hint = _HEADINGS
    except ConfigError as error:
        said, hint = error.message.rstrip("."), error.hint
    raise ConfigError(f"{sheet.name}, column {number}: {said}.", hint=hint)


def _key(text: str) -> str:
    tag = find_tag(text)
    if tag is not None and "," not in text and keyword_of(tag) is None:
        # Eight digits where a heading should be are rather an identifier or a date.
        raise ConfigError(f"{text!r} is no DICOM keyword.", hint=_HEADINGS)
    return key_named(find_keyword(text) or text)


def row_numbers(numbers: Iterable[int]) -> str:
    """Write the numbers of rows, which ascend, for people: ``2, 5-7, 9``; of many the first."""
    numbered = groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    ranges = ([number for _, number in group] for _, group in numbered)
    texts = [
        str(one[0]) if len(one) == 1 else f"{one[0]}-{one[-1]}"
        for one in islice(ranges, _MOST_NUMBERS + 1)
    ]
    return ", ".join([*texts[:_MOST_NUMBERS], *(["…"] if len(texts) > _MOST_NUMBERS else [])])
