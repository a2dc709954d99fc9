"""Keys along which a query can be split, where a PACS gives only a part of what matches.

In: the keys of a query, and which values its matches had. Out: values of one key that together
reach what the query reaches. Nothing is asked here.

An axis *holds all* where nothing that matches the query falls between its pieces. Ranges of
dates do so within a range; without one they miss what has no date, because an empty value is in
no range (PS3.4 §C.2.2.2.5), and there is no key for what is empty.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from pypx.retrieve.finding.matching import (
    LAST_MOMENT,
    Criterion,
    date_range,
    is_exact,
    is_universal,
    read_date,
    time_range,
)

if TYPE_CHECKING:
    from pypx.dicom.data_set import DataSet

__all__ = ["Axis", "Dates", "Names", "Numbers", "Times", "Uids", "Values"]

Keys = Mapping[str, str]
T = TypeVar("T", date, int)

_OLDEST = date(1900, 1, 1)  # what is said to be older is a mistake, but it is there
_DAY = timedelta(days=1)
_SECOND = 1_000_000  # in microseconds
_INITIALS = string.ascii_uppercase + string.digits
_PROBES = 4


class Axis:
    """A key that splits queries; here, one of which only some values can be asked for.

    Args:
        keyword: Of the key.

    Attributes:
        closes: A piece is so narrow that few matches are no sign of a limit.
        guesses: The pieces are only some of the values that there may be.
    """

    closes = True
    guesses = True

    def __init__(self, keyword: str) -> None:
        self.keyword = keyword

    @property
    def gap(self) -> str:
        """Which matches the pieces may not reach, to be read after what they are."""
        return f"with another {self.keyword} cannot be asked for"

    def serves(self, keys: Keys) -> bool:
        """Say whether a query with these keys can be split."""
        return is_universal(keys.get(self.keyword, ""))

    def holds_all(self, keys: Keys) -> bool:
        """Say whether whatever matches these keys is in a piece."""
        return False

    def heeds(self, value: str) -> Criterion:
        """Give what shows that a PACS heeds the key of a piece: its matches fit."""
        return Criterion(self.keyword, value)

    def sort(self, keys: Keys, match: DataSet) -> Iterable[str]:
        """Say what :meth:`pieces` has to know of a match."""
        return ()

    def pieces(self, keys: Keys, seen: Counter[str]) -> list[str]:
        """Give the values of the key for each piece; none if there is nothing to split.

        Args:
            keys: Of the query.
            seen: What :meth:`sort` said of its matches, and how often.
        """
        raise NotImplementedError


class _Ranges(Axis):
    """An axis of ranges: within one they hold all."""

    guesses = False

    @property
    def gap(self) -> str:
        return (
            f"without {self.keyword} are in no range of it "
            f"(a range of {self.keyword} among the keys would leave them out)"
        )

    def holds_all(self, keys: Keys) -> bool:
        return not is_universal(keys.get(self.keyword, ""))


class Uids(_Ranges):
    """A list of UIDs, by halves."""

    def serves(self, keys: Keys) -> bool:
        return "\\" in keys.get(self.keyword, "")

    def pieces(self, keys: Keys, seen: Counter[str]) -> list[str]:
        uids = keys.get(self.keyword, "").split("\\")
        half = len(uids) // 2
        return ["\\".join(uids[:half]), "\\".join(uids[half:])] if half else []


class Dates(_Ranges):
    """Ranges of dates, at the median of those seen, so that both halves are likely to have some.

    Args:
        keyword: Of the date.
        today: Where ranges without an end are taken to end, as long as nothing is seen.
    """

    closes = False

    def __init__(self, keyword: str, today: date) -> None:
        super().__init__(keyword)
        self._today = today

    def serves(self, keys: Keys) -> bool:
        ends = self._ends(keys)
        return ends is not None and (ends[0] is None or ends[0] != ends[1])

    def sort(self, keys: Keys, match: DataSet) -> Iterable[str]:
        day = read_date(match.get(self.keyword) or "")
        return () if day is None else (_write(day),)

    def pieces(self, keys: Keys, seen: Counter[str]) -> list[str]:
        ends = self._ends(keys)
        if ends is None or not self.serves(keys):
            return []
        first, last = ends
        read = {date.fromisoformat(text): number for text, number in seen.items()}
        # What is outside is of a PACS that ignored the range.
        days = Counter({d: n for d, n in read.items() if (first or d) <= d <= (last or d)})
        if len(days) == 1:
            (day,) = days
            cuts = [(first, _before(day)), (day, day), (_after(day), last)]
        else:
            day = _median(days) if days else self._middle(first, last)
            cuts = [(first, day), (_after(day), last)]
        return [
            _write_range(low, high) for low, high in cuts if (low or date.min) <= (high or date.max)
        ]

    def _ends(self, keys: Keys) -> tuple[date | None, date | None] | None:
        value = keys.get(self.keyword, "")
        ends = (None, None) if is_universal(value) else date_range(value)
        if ends is not None and (ends[0] == date.max or ends[1] == date.min):
            return (ends[0] or ends[1],) * 2
        return ends

    def _middle(self, first: date | None, last: date | None) -> date:
        low = first or (_OLDEST if last is None or last > _OLDEST else date.min)
        high = last or (self._today if low < self._today else date.max)
        return low + (high - low) // 2


def _median(seen: Counter[T]) -> T:
    """Give the last value of the lower half; at least one is above it."""
    ordered = sorted(seen)
    half, so_far = seen.total() / 2, 0
    for value in ordered[:-1]:
        so_far += seen[value]
        if so_far >= half:
            return value
    return ordered[-2]


def _before(day: date) -> date:
    return day if day == date.min else day - _DAY


def _after(day: date) -> date:
    return day if day == date.max else day + _DAY


def _write(day: date) -> str:
    return day.isoformat().replace("-", "")


def _write_range(first: date | None, last: date | None) -> str:
    if first is not None and first == last:
        return _write(first)
    return f"{_write(first) if first else ''}-{_write(last) if last else ''}"


class Times(_Ranges):
    """Ranges of times within one day, down to a second.

    They meet at half a second. PACS compare times as text, and for them a short ``1015`` comes
    before ``101500`` and after ``101459.999999``: it would be in no range that ends between.

    Args:
        keyword: Of the time.
        day_keyword: Of the date, which has to be one day.
    """

    def __init__(self, keyword: str, day_keyword: str) -> None:
        super().__init__(keyword)
        self._day_keyword = day_keyword

    def serves(self, keys: Keys) -> bool:
        days = date_range(keys.get(self._day_keyword, ""))
        if days is None or days[0] is None or days[0] != days[1]:
            return False
        ends = self._ends(keys)
        return ends is not None and _second(ends[0]) < _second(ends[1])

    def sort(self, keys: Keys, match: DataSet) -> Iterable[str]:
        found = time_range(match.get(self.keyword) or "")
        return () if found is None else (str(_second(found[0])),)

    def pieces(self, keys: Keys, seen: Counter[str]) -> list[str]:
        ends = self._ends(keys)
        if ends is None or not self.serves(keys):
            return []
        low, high = map(_second, ends)
        seconds = Counter({int(text): n for text, n in seen.items() if low <= int(text) <= high})
        if len(seconds) == 1:
            (second,) = seconds
            cuts = [cut for cut in (second - 1, second) if low <= cut < high]
        else:
            cuts = [_median(seconds) if seconds else (low + high) // 2]
        first, _, last = keys.get(self.keyword, "").strip(" *").partition("-")
        begins = [first, *(f"{_write_time(cut)}.5" for cut in cuts)]
        finishes = [*(f"{_write_time(cut)}.499999" for cut in cuts), last]
        return [f"{begin}-{end}" for begin, end in zip(begins, finishes, strict=True)]

    def _ends(self, keys: Keys) -> tuple[int, int] | None:
        value = keys.get(self.keyword, "")
        if is_universal(value):
            return 0, LAST_MOMENT
        return time_range(value) if "-" in value else None


def _second(moment: int) -> int:
    """Give the second that a microsecond is nearest to."""
    return (moment + _SECOND // 2) // _SECOND


def _write_time(second: int) -> str:
    minutes, second = divmod(second, 60)
    return f"{minutes // 60:02}{minutes % 60:02}{second:02}"


class Names(Axis):
    """Beginnings of names, a character longer each time.

    Letters that no match showed and ASCII has not are not tried, nor do empty names begin
    with anything: it finds more, and never shows that there is no more.
    """

    def serves(self, keys: Keys) -> bool:
        value = keys.get(self.keyword, "")
        return not is_exact(keys.get("PatientID", "")) and (
            is_universal(value) or (value.endswith("*") and is_exact(value[:-1]))
        )

    def heeds(self, value: str) -> Criterion:
        return Criterion(self.keyword, value.rstrip("*") + "*")  # some add the wildcard themselves

    def sort(self, keys: Keys, match: DataSet) -> Iterable[str]:
        at = len(self._beginning(keys))
        name = match.get(self.keyword) or ""
        return (name[at],) if len(name) > at and name[at] not in "*?\\" else ()

    def pieces(self, keys: Keys, seen: Counter[str]) -> list[str]:
        if not self.serves(keys):
            return []
        beginning = self._beginning(keys)
        # The likely ones first: looking ends where it finds nothing for long.
        initials = dict.fromkeys(
            [initial for initial, _ in seen.most_common()] + [*_INITIALS, *("^" * bool(beginning))]
        )
        return [beginning] * bool(beginning) + [f"{beginning}{one}*" for one in initials]

    def _beginning(self, keys: Keys) -> str:
        value = keys.get(self.keyword, "")
        return "" if is_universal(value) else value.rstrip("*")


class Values(Axis):
    """Values that an attribute is known to have, and those seen.

    Args:
        keyword: Of the attribute.
        known: What is asked for in any case.
    """

    def __init__(self, keyword: str, known: Iterable[str]) -> None:
        super().__init__(keyword)
        self._known = tuple(known)

    def sort(self, keys: Keys, match: DataSet) -> Iterable[str]:
        values = (match.get(self.keyword) or "").split("\\")
        return (value for value in values if is_exact(value))

    def pieces(self, keys: Keys, seen: Counter[str]) -> list[str]:
        if not self.serves(keys):
            return []
        return list(dict.fromkeys([*(value for value, _ in seen.most_common()), *self._known]))


class Numbers(Axis):
    """Numbers that no match showed: the gaps, and the next one; and one that was there.

    A number has no ranges, so this only probes; the one that was there shows that the PACS
    heeds the key.
    """

    def sort(self, keys: Keys, match: DataSet) -> Iterable[str]:
        text = (match.get(self.keyword) or "").strip()
        return (text,) if text.isascii() and text.isdigit() and len(text) < 10 else ()

    def pieces(self, keys: Keys, seen: Counter[str]) -> list[str]:
        there = {int(text) for text in seen}
        if not there or not self.serves(keys):
            return []
        last = max(there)
        gaps = (number for number in range(1, last) if number not in there)
        return [str(min(there)), str(last + 1), *map(str, islice(gaps, _PROBES - 2))]
