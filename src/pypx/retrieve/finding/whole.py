"""What a PACS has of something, and whether that can be shown to be all.

In: matches as they come, and what was noticed meanwhile. Out: an iterator that says so at its
end. Asking and judging do not belong here.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from types import TracebackType
from typing import TypeVar

__all__ = ["Report", "Whole"]

T = TypeVar("T")


class Report:
    """What a search notices; those that belong together write into one.

    Attributes:
        is_whole: Nothing speaks against it so far.
        is_refused: The PACS does not answer queries of this level.
        notes: Sentences for the user, each once.
        details: Sentences for who wants to know more.
    """

    def __init__(self) -> None:
        self.is_whole = True
        self.is_refused = False
        self.notes: list[str] = []
        self.details: list[str] = []

    def note(self, sentence: str) -> None:
        """Add what the user should know."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def doubt(self, sentence: str) -> None:
        """Add why it cannot be shown that all was found."""
        self.is_whole = False
        self.note(sentence)


class Whole(Iterator[T]):
    """What was found, as it comes, each once.

    Until its end it may hold an association. Closing it cancels what is under way; it is a
    context manager that closes itself.

    Attributes:
        is_whole: All was found, as far as that can be shown; False before the end.
        notes: Sentences for the report: which limit was noticed and how the query was split,
            what cannot be shown, which keys the PACS ignores.
        details: What was done besides, where it made no difference.
    """

    def __init__(self, found: Generator[T, None, None], report: Report) -> None:
        self.is_whole = False
        self.notes = report.notes
        self.details = report.details
        self._found = found
        self._report = report
        self._is_open = True

    @property
    def refused(self) -> bool:
        """Whether the PACS does not answer queries of this level."""
        return self._report.is_refused

    def __next__(self) -> T:
        """Give the next one.

        Raises:
            StatusError: The PACS refuses the query.
            NetworkError, AssociationError, ProtocolError: It did not answer to the end.
        """
        is_open, self._is_open = self._is_open, False
        try:
            found = next(self._found)
        except StopIteration:
            self.is_whole |= is_open and self._report.is_whole
            raise
        self._is_open = True
        return found

    def __enter__(self) -> Whole[T]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it; a query under way is cancelled (C-CANCEL)."""
        self._is_open = False
        self._found.close()
