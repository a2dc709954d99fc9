"""Queries of one command: their matches as they come, and what is to be said at the end.

In: keys and a client. Out: matches, each once, as rows; then the verdict and an exit code.
Which queries these are is decided elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING

from pypx.cli.notes import Notes, counted
from pypx.cli.options import Invocation
from pypx.cli.output import Output
from pypx.cli.rows import Row, Rows, rows_for
from pypx.errors import CancelledError, PypxError

if TYPE_CHECKING:
    from pypx.client.requestor import Requestor
    from pypx.dicom.data_set import DataSet

__all__ = ["PartialError", "Query"]

_UNIQUE = {
    "patient": ("PatientID", "PatientName", "IssuerOfPatientID"),
    "study": ("StudyInstanceUID",),
    "series": ("SeriesInstanceUID",),
    "image": ("SOPInstanceUID",),
}

_LESS = "Ask for less at once, for example by ranges of StudyDate."


class _TruncatedError(PypxError):
    kind = "truncated"


class PartialError(PypxError):
    """Some of what was asked for is not known."""

    kind = "partial"


class Query:
    """What is asked, what came, and what is to be said at the end.

    Args:
        invocation: The run of the command.
        client: What asks.
        keys: The keys of the command line.
        level: What is looked for.
        model: The information model; None for that of the client.
        dicom_json: Rows are those of the DICOM JSON model.
        match_limit: After how many matches the PACS is known to end an answer.

    Attributes:
        notes: What is noted about the matches.
        number: How many matches were given.
        truncated: The PACS said that it has more matches than it gives.
    """

    def __init__(
        self,
        invocation: Invocation,
        client: Requestor,
        keys: dict[str, str],
        level: str,
        model: str | None,
        *,
        dicom_json: bool = False,
        match_limit: int | None = None,
    ) -> None:
        self.out = invocation.out
        self.client = client
        self.keys = keys
        self.level = level
        self.notes = Notes(keys)
        self.number = 0
        self.truncated = False
        self._at_limit = False
        self._match_limit = match_limit
        self._invocation = invocation
        self._model = model
        self._dicom_json = dicom_json

    def rows(self, keys: Mapping[str, str], *, numbered: bool = False) -> Rows:
        """Give where the rows of matches go.

        Args:
            keys: What they were asked for; each gets a column.
            numbered: They begin with the number of a row.
        """
        from pypx.client.query import RETURN_KEYS, Level

        usual = RETURN_KEYS[Level.parse(self.level)]
        extra = [key for key in keys if key not in usual]

        def show(out: Output, rows: Sequence[Row]) -> None:
            from pypx.cli.show import show_table

            if rows:
                show_table(out, rows, self.level, extra, numbered=numbered)

        return rows_for(self.out, [*(["row"] if numbered else []), *usual, *extra], show)

    def row(self, match: DataSet) -> Row:
        """Give a match as a row."""
        return match.to_json() if self._dicom_json else match.to_dict()

    def matches(
        self, keys: Mapping[str, str], *, level: str | None = None, limit: int | None = None
    ) -> Generator[DataSet]:
        """Give the matches of one query, each once: some PACS give one for each instance.

        Args:
            keys: What is asked for.
            level: What is looked for, where it is not that of the command.
            limit: Cancel after so many.
        """
        level = level or self.level
        unique = _UNIQUE[level]
        seen = set()
        started = time.monotonic()
        matches = self.client.find(keys, level=level, model=self._model)
        self._invocation.describe(self.client)
        with matches:
            for match in matches:
                key = [match.get(keyword) for keyword in unique]
                identity = tuple(key) if key[0] else id(match)
                if identity in seen:
                    self.notes.duplicates += 1
                    continue
                seen.add(identity)
                self.notes.look_at(match)
                yield match
                if len(seen) == limit:
                    return
        self.out.detail(
            f"{counted(matches.count, level)} came in {time.monotonic() - started:.3f} s"
        )
        self.notes.keys_unsupported |= matches.optional_keys_unsupported
        self.truncated |= matches.truncated
        self._at_limit |= matches.count == self._match_limit

    def cancelled(self) -> CancelledError:
        """Give what ends the command after Ctrl-C."""
        so_far = counted(self.number, self.level)
        return CancelledError(f"Interrupted after {so_far}; the query was cancelled.")

    def end(self, rows: Rows, error: PypxError | None, *sentences: str) -> int:
        """Write what is left to be written, say the sentences, and give the exit code.

        Raises:
            PypxError: The error, where no part of the results is to be left.
        """
        out = self.out
        if error is None and self.truncated:
            error = _TruncatedError(
                f"{self.client.address} has more matches than the {self.number} that it gave.",
                hint=_LESS,
            )
        elif error is None and self._at_limit:
            error = _TruncatedError(
                f"{self.client.address} ends its answers after {self._match_limit} matches, as its "
                "configuration says: there may be more.",
                hint=_LESS,
            )
        if error is not None and error.exit_code > 1 and out.to_file:
            raise error  # a file has all or is not there
        rows.end(error)
        out.flush()
        self.notes.tell(out, self.number)
        if self.number or error is None:
            for sentence in sentences:
                out.say(sentence)
        if error is not None:
            out.error(error)
        return error.exit_code if error else 0
