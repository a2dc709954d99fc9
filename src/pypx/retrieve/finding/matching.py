r"""Whether a match fits the keys it was asked for by, where a PACS ignores some (PS3.4 §C.2.2.2).

In: keys, and matches as they come. Out: which matches to keep, and sentences about the others.

Who drops a match because a PACS writes a value otherwise loses images. So only what clearly
contradicts a key is dropped: case, padding, accents, and carets for spaces in names make no
difference, nor does text that is not readable. What a match does not have cannot contradict.

* An empty value and ``*`` match everything (§C.2.2.2.3); a backslash separates alternatives, as
  in a list of UIDs (§C.2.2.2.2), and an attribute of many values fits if one of them does.
* ``*`` and ``?`` are wildcards (§C.2.2.2.4); in UIDs and dates only by the kindness of a PACS.
* Dates and times take ranges (§C.2.2.2.5). A short time means all of its hour or minute.
* A person name fits as a whole or by one component group (PS3.5 §6.2.1).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date
from typing import TYPE_CHECKING

from pypx.archive.matching import fold_name
from pypx.dicom.dictionary import parse_tag, vr_of

if TYPE_CHECKING:
    from pypx.dicom.data_set import DataSet

__all__ = [
    "LAST_MOMENT",
    "Criterion",
    "Filter",
    "date_range",
    "is_exact",
    "is_universal",
    "read_date",
    "time_range",
]

LAST_MOMENT = 24 * 3600 * 1_000_000 - 1
"""The last microsecond of a day."""

Judge = Callable[[str], "bool | None"]
"""Say whether a value fits; None where that cannot be said."""

_NOT_MATCHED = frozenset({"SpecificCharacterSet", "TimezoneOffsetFromUTC"})
_NUMBERS = frozenset(("DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"))
_TEXTS = frozenset(("AE", "AS", "CS", "LO", "LT", "SH", "ST", "UC", "UI", "UR", "UT"))
_DATE = re.compile(r"(\d{4})([-.]?)(\d\d)\2(\d\d)")
_TIME = re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d{1,6}))?)?)?")
_SECOND = 1_000_000
_UNREADABLE = re.compile("[\ufffd\x80-\x9f]")  # what no character set has, or nobody writes


def is_universal(value: str) -> bool:
    """Say whether a key of this value matches everything."""
    return not value.strip(" *\0")


def is_exact(value: str) -> bool:
    """Say whether a key names one thing: no wildcard, no list, and not empty."""
    return bool(value) and not set(value) & set("*?\\")


def read_date(text: str) -> date | None:
    """Read a date as PACS write it: also with points or hyphens; None where it is none."""
    found = _DATE.fullmatch(text.strip(" \0"))
    if found is None:
        return None
    try:
        return date(int(found[1]), int(found[3]), int(found[4]))
    except ValueError:
        return None


def date_range(text: str) -> tuple[date | None, date | None] | None:
    """Read a date or a range: first and last day, None for an open end; None if it is neither."""
    day = read_date(text)
    if day is not None:
        return day, day
    first, hyphen, last = text.strip(" \0").partition("-")
    ends = read_date(first), read_date(last)
    if not hyphen or not (first or last):
        return None
    if (first and ends[0] is None) or (last and ends[1] is None):
        return None
    return ends


def time_range(text: str) -> tuple[int, int] | None:
    """Read a time or a range: first and last microsecond of the day; None if it is neither."""
    first, hyphen, last = text.strip(" \0").partition("-")
    begin, end = _moments(first), _moments(last if hyphen else first)
    if (first and begin is None) or (last and end is None) or not (first or last):
        return None
    return begin[0] if begin else 0, end[1] if end else LAST_MOMENT


def _moments(text: str) -> tuple[int, int] | None:
    """Give the first and the last microsecond that a time, short or not, may mean."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    hour, minute, second, fraction = found.groups()
    begin = int(hour) * 3600 * _SECOND
    if minute is None:
        return begin, begin + 3600 * _SECOND - 1
    begin += int(minute) * 60 * _SECOND
    if second is None:
        return begin, begin + 60 * _SECOND - 1
    begin += min(int(second), 59) * _SECOND  # PS3.5 §6.2 has a leap second
    if fraction is None:
        return begin, begin + _SECOND - 1
    width = 10 ** (6 - len(fraction))
    begin += int(fraction) * width
    return begin, begin + width - 1


class Criterion:
    """One key with a value.

    Args:
        keyword: Or ``gggg,eeee``.
        value: As in the identifier of the query.
    """

    def __init__(self, keyword: str, value: str) -> None:
        self.keyword = keyword
        self._judges = _judges(vr_of(parse_tag(keyword)), value)

    def fits(self, match: DataSet) -> bool | None:
        """Say whether a match fits; None where it does not have the attribute, or unreadably."""
        text = match.get(self.keyword)
        if not text or not self._judges:
            return None
        doubt = False
        for value in text.split("\\"):
            for judge in self._judges:
                verdict = judge(value)
                if verdict:
                    return True
                doubt |= verdict is None
        return None if doubt else False


def _judges(vr: str, value: str) -> list[Judge]:
    """Give one for each alternative; none for a VR whose values are not compared here."""
    texts = [text.strip(" \0") for text in value.split("\\")]
    if vr == "UI" and not set(value) & set("*?"):
        return [frozenset(texts).__contains__]
    make = {"DA": _date_judge, "TM": _time_judge, "PN": _name_judge}.get(vr)
    if make is None and vr in _NUMBERS:
        make = _number_judge
    if make is None and vr in _TEXTS:
        make = _text_judge
    return [] if make is None else [make(text) for text in texts]


def _date_judge(key: str) -> Judge:
    wanted = date_range(key)
    if wanted is None:
        return _text_judge(key) if set(key) & set("*?") else _no_judge
    first, last = wanted

    def judge(value: str) -> bool | None:
        day = read_date(value)
        return None if day is None else (first or day) <= day <= (last or day)

    return judge


def _time_judge(key: str) -> Judge:
    wanted = time_range(key)
    if wanted is None:
        return _text_judge(key) if set(key) & set("*?") else _no_judge
    first, last = wanted

    def judge(value: str) -> bool | None:
        moment = _moments(value.strip(" \0"))
        return None if moment is None else moment[0] <= last and first <= moment[1]

    return judge


def _number_judge(key: str) -> Judge:
    wanted = _number(key)

    def judge(value: str) -> bool | None:
        number = _number(value)
        return None if wanted is None or number is None else number == wanted

    return judge


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _no_judge(value: str) -> bool | None:
    return None


def _text_judge(key: str) -> Judge:
    pattern = _fold(key)

    def judge(value: str) -> bool | None:
        return any(_glob(pattern, _fold(one)) for one in _readings(value)) or _no_or_unknown(value)

    return judge


def _name_judge(key: str) -> Judge:
    groups = [_fold_group(group) for group in fold_name(key).split("=")]

    def judge(value: str) -> bool | None:
        return any(_fits_name(groups, one) for one in _readings(value)) or _no_or_unknown(value)

    return judge


def _fits_name(wanted: list[str], name: str) -> bool:
    """Compare group by group, or one with any; groups that a PACS leaves out contradict nothing."""
    there = [_fold_group(group) for group in fold_name(name).split("=")]
    if len(wanted) == 1:
        return any(_fits_group(wanted[0], group) for group in there)
    pairs = [(key, group) for key, group in zip(wanted, there, strict=False) if key and group]
    return all(_fits_group(key, group) for key, group in pairs)


def _fits_group(pattern: str, group: str) -> bool:
    return _glob(pattern, group) or _glob(pattern, group + " ")  # Doe^* also fits Doe


def _fold_group(group: str) -> str:
    return _fold(group.replace("^", " "))


def _fold(text: str) -> str:
    """Take away what PACS write otherwise: case, accents, more than one space."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(one for one in decomposed if not unicodedata.combining(one))
    return re.sub(" +", " ", text.casefold())


def _readings(value: str) -> list[str]:
    """Give the value, and what it was meant to be if it is UTF-8 that was called Latin-1."""
    value = value.strip(" \0")
    if value.isascii():
        return [value]
    try:
        return [value, value.encode("latin-1").decode("utf-8")]
    except UnicodeError:
        return [value]


def _no_or_unknown(value: str) -> bool | None:
    return None if _UNREADABLE.search(value) else False


def _glob(pattern: str, text: str) -> bool:
    """Match with ``*`` and ``?`` in time of the product of both lengths, whoever wrote them."""
    at = star = 0
    here = back = 0
    starred = False
    while here < len(text):
        if at < len(pattern) and pattern[at] == "*":
            starred, star, back = True, at + 1, here
            at = star
        elif at < len(pattern) and pattern[at] in ("?", text[here]):
            at, here = at + 1, here + 1
        elif starred:
            back += 1
            at, here = star, back
        else:
            return False
    return not pattern[at:].strip("*")


class Filter:
    """Keep the matches that no key contradicts.

    Args:
        keys: Those of the query that have a value.
        silent: Keys of which it is no news that a PACS does not return them.
    """

    def __init__(self, keys: Mapping[str, str], silent: Mapping[str, str] | None = None) -> None:
        self._criteria = [
            Criterion(keyword, value)
            for keyword, value in keys.items()
            if not is_universal(value) and keyword not in _NOT_MATCHED
        ]
        self._silent = frozenset(silent or ())
        self._dropped: dict[str, int] = {}
        self._unknown: dict[str, int] = {}

    def admits(self, match: DataSet) -> bool:
        """Say whether to keep a match, and remember why not."""
        verdicts = [(one.keyword, one.fits(match)) for one in self._criteria]
        for keyword, fits in verdicts:
            if fits is False:
                self._dropped[keyword] = self._dropped.get(keyword, 0) + 1
                return False
        for keyword, fits in verdicts:
            if fits is None and keyword not in self._silent:
                self._unknown[keyword] = self._unknown.get(keyword, 0) + 1
        return True

    def notes(self, pacs: str, noun: str) -> list[str]:
        """Say what was dropped, and what could not be checked.

        Args:
            pacs: What to call the PACS.
            noun: What was looked for, ``matches`` for example.
        """
        dropped = [
            f"{pacs} ignores the key {keyword}: {number:,} of the {noun} that it gave contradict "
            "it and were left out."
            for keyword, number in self._dropped.items()
        ]
        unknown = [
            f"{pacs} did not return {keyword} with {number:,} of the {noun}: whether it heeded "
            "that key cannot be checked."
            for keyword, number in self._unknown.items()
        ]
        return dropped + unknown
