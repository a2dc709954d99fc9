"""``px find --from``: one query for each row of a list, over one association.

In: the rows of a list. Out: their matches, each with the number of its row, and what is to be said
of the rows that have none or cannot be asked for. One row that fails stops nothing; a PACS that is
gone ends it.
"""

from __future__ import annotations

from contextlib import closing

from pypx.cli.lists import ListRow, ListRows, row_numbers
from pypx.cli.notes import counted
from pypx.cli.query import PartialError, Query
from pypx.cli.rows import Rows
from pypx.cli.show import count
from pypx.errors import ConfigError, DataSetError, PypxError, StatusError

__all__ = ["check_keys", "find_list"]

_MOST_WARNINGS = 5  # about single rows


def check_keys(keys: dict[str, str], listed: ListRows) -> None:
    """Refuse a key that has a value on the command line and a column in the list.

    Raises:
        ConfigError: There is one.
    """
    for key in listed.columns:
        if keys.get(key):
            raise ConfigError(
                f"{key} is a column of {listed.name}, and also given with -k.",
                hint=f"Leave one of them; -k {key} without a value only asks for it.",
            )


def find_list(query: Query, listed: ListRows, limit: int | None) -> int:
    """Ask for each row, and give the matches as they come.

    Args:
        query: What all rows have in common.
        listed: The rows.
        limit: At most so many matches of each.

    Returns:
        The exit code: 1 if a row failed or has more matches than the PACS gave.
    """
    return _FindList(query, listed, limit).run()


class _FindList:
    def __init__(self, query: Query, listed: ListRows, limit: int | None) -> None:
        self._query = query
        self._listed = listed
        self._limit = limit
        # Each row asks for all columns, so that all matches have the same ones.
        self._keys = {**dict.fromkeys(listed.columns, ""), **query.keys}
        self._asked = 0
        self._unmatched: list[int] = []
        self._failed: list[int] = []
        self._truncated: list[int] = []

    def run(self) -> int:
        query = self._query
        rows = query.rows(self._keys, numbered=True)
        error: PypxError | None = None
        row: ListRow | None = None
        try:
            for row in self._listed:
                self._asked += 1
                self._ask(row, rows)
        except PypxError as raised:
            error = raised
        except KeyboardInterrupt:
            error = query.cancelled()
        if error is None:
            error = self._verdict()
        elif row is not None:
            where = f"row {row.number} of {self._listed.name}"
            error.message = f"{error.message.rstrip('.')} ({where} was the last)."
        return query.end(rows, error, *self._sentences())

    def _ask(self, row: ListRow, rows: Rows) -> None:
        """Ask for one row; what is wrong with it alone is noted."""
        query = self._query
        if row.error:
            self._fail(row, f"{row.error[0].upper()}{row.error[1:]}.")
            return
        keys = {**self._keys, **row.keys}
        query.notes.begin(keys)
        query.truncated = False
        before = query.number
        try:
            with closing(query.matches(keys, limit=self._limit)) as matches:
                for match in matches:
                    query.number += 1
                    rows.add({"row": row.number, **query.row(match)})
        except (StatusError, DataSetError) as error:
            self._fail(row, error.message, error.hint)
            return
        if query.truncated:
            self._truncated.append(row.number)
        if query.number == before:
            self._unmatched.append(row.number)

    def _fail(self, row: ListRow, reason: str, hint: str = "") -> None:
        self._failed.append(row.number)
        sentence = f"Row {row.number}: {reason}"
        if len(self._failed) <= _MOST_WARNINGS:
            self._query.out.warn(sentence, hint)
        else:
            self._query.out.detail(sentence)

    def _verdict(self) -> PypxError | None:
        self._query.truncated = False  # it is told by row
        told = []
        if self._failed:
            told.append(_told(self._failed, f"of {self._listed.name} failed"))
        if self._truncated:
            told.append(_told(self._truncated, "with more matches than the PACS gave"))
        return PartialError(f"{'; '.join(told)}.") if told else None

    def _sentences(self) -> list[str]:
        found = counted(self._query.number, self._query.level)
        said = [f"{found} for {count(self._asked, 'row')}"]
        if not self._asked:
            said = [f"{self._listed.name} has no rows below its headings."]
        if self._unmatched:
            said.append(_told(self._unmatched, "without a match"))
        return said


def _told(numbers: list[int], what: str) -> str:
    return f"{count(len(numbers), 'row')} {what}: {row_numbers(numbers)}"
