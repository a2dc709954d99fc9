"""What the user should know of a query's matches besides the matches.

In: matches, as they come. Out: sentences: text of a wrong character set, keys that the
PACS seems to have ignored, answers that came more than once. Nothing is filtered here:
who drops a match because a PACS writes it otherwise loses images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pypx.cli.output import Output
from pypx.dicom.dictionary import parse_tag, vr_of

if TYPE_CHECKING:
    from pypx.dicom.data_set import DataSet

__all__ = ["Notes", "counted"]

_MOST_WARNINGS = 5  # about text, of different kinds
_PLURALS = {"study": "studies", "series": "series"}
_ASKED_OF_ALL = frozenset({"SpecificCharacterSet", "TimezoneOffsetFromUTC"})


def counted(number: int, level: str) -> str:
    """Give a number of patients, studies, series or images with its noun."""
    return f"{number:,} {level if number == 1 else _PLURALS.get(level, level + 's')}"


class Notes:
    """Collect what there is to say, of one query or of several.

    Args:
        keys: The keys of the first query.

    Attributes:
        duplicates: How many answers had the unique key of one before.
        keys_unsupported: The PACS said that it did not use an optional key (FF01H).
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self.duplicates = 0
        self.keys_unsupported = False
        self._texts: dict[str, int] = {}
        self._contradicting: dict[str, int] = {}
        self._never_returned: set[str] = set()  # of the queries before
        self._not_returned: set[str] = set()
        self._matched = False
        self.begin(keys)

    def begin(self, keys: Mapping[str, str]) -> None:
        """Go on with the matches of another query."""
        self._never_returned = self._missed
        self._matched = False
        self._not_returned = {
            key for key, value in keys.items() if value.strip("*") and key not in _ASKED_OF_ALL
        }
        self._exact = {
            key: frozenset(value.split("\\"))
            for key, value in keys.items()
            if value and not set(value) & set("*?") and vr_of(parse_tag(key)) in ("CS", "UI")
        }

    @property
    def _missed(self) -> set[str]:
        """The keys that no match of a query had, if it had matches."""
        return self._never_returned | (self._not_returned if self._matched else set())

    def look_at(self, match: DataSet) -> None:
        """Look at a match."""
        self._matched = True
        if self._not_returned:
            self._not_returned -= {key for key in self._not_returned if match.get(key)}
        for key, wanted in self._exact.items():
            values = match.get(key)
            if values and wanted.isdisjoint(values.split("\\")):
                self._contradicting[key] = self._contradicting.get(key, 0) + 1
        for warning in match.warnings:
            self._texts[warning] = self._texts.get(warning, 0) + 1

    @property
    def ignored(self) -> list[str]:
        """The keys that the matches of a query did not have, or that a match contradicts."""
        return sorted(self._missed | self._contradicting.keys())

    def tell(self, out: Output, number: int) -> None:
        """Say it, after ``number`` matches."""
        for text in list(self._texts)[:_MOST_WARNINGS]:
            out.warn(text)
        if len(self._texts) > _MOST_WARNINGS:
            out.warn(f"{len(self._texts) - _MOST_WARNINGS} more kinds of text may be wrong.")
        for key, often in self._contradicting.items():
            out.warn(f"{often} of {number} matches have another {key}: the PACS ignored that key.")
        if number and self._missed:
            keys = ", ".join(sorted(self._missed))
            out.warn(f"The PACS did not return {keys}: it may have ignored that key.")
        if self.keys_unsupported:
            out.detail("the PACS does not support one or more optional keys (FF01H)")
        if self.duplicates:
            out.detail(f"{self.duplicates} answers had the unique key of another, and were dropped")
