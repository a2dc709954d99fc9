"""The list of a job: its rows as queries in the ledger, and beside it what became of each.

In: a list, and the queries of the ledger as they end. Out: queries, and lines in FILE.result.csv.
Not here: how a list is read, how a line is written, and what a job does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pypx.archive.transfers import Query, Standing, Transfer
from pypx.cli.find_list import check_keys as check_columns
from pypx.cli.list_results import ListResults, RowResult, RowStatus, result_file
from pypx.cli.lists import ListRow, ListRows, read_list
from pypx.errors import ConfigError
from pypx.retrieve.finding.finder import check_keys

if TYPE_CHECKING:
    from pypx.archive.ledger import Ledger
    from pypx.cli.job_options import Options
    from pypx.cli.output import Output

__all__ = ["JobRows"]

_AT_ONCE = 500  # rows that are noted down together
_MOST_WARNINGS = 5  # about single rows
_UNDONE = ("open", "busy", "found")


class JobRows:
    """The rows of one job; a context manager that closes its files.

    Args:
        out: For what is wrong with rows.
        path: The list.
        rows: Its rows as they are read; None where it is not to be read.
        results: What becomes of them; None where that is not written.
        facts: What the job keeps of the list.
    """

    def __init__(
        self,
        out: Output,
        path: str,
        rows: ListRows | None,
        results: ListResults | None,
        facts: Mapping[str, Any],
    ) -> None:
        self.path = path
        self.facts = facts
        self._out = out
        self._rows = rows
        self._results = results
        self._malformed = 0

    @classmethod
    def open(
        cls, out: Output, path: str, keys: dict[str, str], options: Options, *, plan_only: bool
    ) -> JobRows:
        """Open a list for a job that begins, or is begun again.

        Args:
            out: For what is wrong with rows.
            path: The list; the standard input (``-``) only for a plan.
            keys: What all rows have in common.
            options: Those of the command.
            plan_only: No results are written.

        Raises:
            ConfigError: The list cannot be used.
            OutputError: The results cannot be written.
        """
        if not plan_only:
            result_file(path)
        facts = {} if plan_only else _facts(path)
        rows = read_list(path, note=out.warn)
        rows.hide(out.identifiers)
        try:
            check_columns(keys, rows)
            options.check_by(rows.columns)
            results = None if plan_only else ListResults(path, rows.columns)
        except BaseException:
            rows.close()
            raise
        return cls(out, path, rows, results, {**facts, "columns": list(rows.columns)})

    @classmethod
    def of(cls, out: Output, transfer: Transfer) -> JobRows | None:
        """Open the list of a job that is resumed; None where it has none.

        A job whose list has changed meanwhile goes on with the rows that it had.

        Raises:
            ConfigError: The results are not those of the list, or another process writes them.
            OutputError: The results cannot be written.
        """
        facts = transfer.request
        if "list" not in facts:
            return None
        path, rows = str(facts["list"]), None
        try:
            if _facts(path)["list_digest"] == facts["list_digest"]:
                rows = read_list(path, note=out.warn)
                rows.hide(out.identifiers)
        except ConfigError as error:
            out.detail(error.message)
        if rows is None:
            out.warn(f"{path} is not as it was: the job goes on with the rows that it had.")
        try:
            results = ListResults(path, tuple(map(str, facts["columns"])))
        except BaseException:
            if rows is not None:
                rows.close()
            raise
        return cls(out, path, rows, results, facts)

    def __enter__(self) -> JobRows:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._rows is not None:
            self._rows.close()
        if self._results is not None:
            self._results.close()

    def note_down(self, ledger: Ledger, transfer: Transfer, keys: Mapping[str, str]) -> None:
        """Have all rows in the ledger; those that a killed process wrote there stay as they are.

        Raises:
            ConfigError: The list is damaged.
            IndexUnavailableError: The ledger cannot be written.
        """
        if self._rows is None:
            return
        number, batch = 0, []
        with closing(self._rows):
            for row in self._rows:
                number += 1
                asked = {**keys, **row.keys}
                if error := row.error or _complaint(asked):
                    self._tell(row.number, error)
                    ledger.refuse_query(transfer, row.number, asked, _sentence(error))
                    continue
                batch.append((row.number, asked))
                if len(batch) == _AT_ONCE:
                    ledger.add_queries(transfer, batch)
                    batch = []
            ledger.add_queries(transfer, batch)
        if not number:
            self._out.warn(f"{self._rows.name} has no rows below its headings.")
        if self._malformed > _MOST_WARNINGS:
            self._out.warn(f"{self._malformed:,} rows cannot be asked for.")

    def _tell(self, number: int, error: str) -> None:
        self._malformed += 1
        sentence = f"Row {number}: {error}"
        if self._malformed <= _MOST_WARNINGS:
            self._out.warn(sentence)
        else:
            self._out.detail(sentence)

    def write_done(self, ledger: Ledger, transfer: Transfer) -> None:
        """Write what became of rows without a line of it: they are malformed, or a process was
        killed before it wrote the line."""
        if self._results is None:
            return
        for query in ledger.queries(transfer):
            if query.state not in _UNDONE:
                self.write(query, query.state, ledger.standing(query))

    def write(self, query: Query, state: str, standing: Standing | None) -> None:
        """Write what became of a row.

        Raises:
            OutputError: There is no room, or another failure.
        """
        if self._results is None:
            return
        counts: dict[str, int] = {}
        if standing is not None and standing.series:
            counts = {
                "studies": standing.studies,
                "series": standing.series,
                "expected": standing.expected,
                "received": standing.received,
                "missing": max(0, standing.expected - standing.received),
            }
        row = ListRow(query.number, dict(query.keys))
        self._results.add(row, RowResult(RowStatus(state), **counts, reason=query.reason))


def _complaint(keys: Mapping[str, str]) -> str:
    """Say why a row cannot be asked for; nothing if it can."""
    try:
        check_keys(keys)
    except ConfigError as error:
        return error.message
    return ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _facts(path: str) -> dict[str, str]:
    """Give what tells a list from others, and from what it was before somebody changed it."""
    try:
        with open(path, "rb") as stream:  # noqa: PTH123
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from None
    return {"list": str(Path(path).absolute()), "list_digest": digest}
