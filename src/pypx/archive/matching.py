"""What the keys of a query match (PS3.4 C.2.2.2), as SQL over the tables of ``schema``.

In: a level, and keys as keyword and value. Out: the text after WHERE and its parameters. No value
ever becomes a part of the text. Not here: what is selected.

* An empty value and ``*`` match everything (C.2.2.2.3).
* ``*`` and ``?`` are wildcards, but not in UIDs (C.2.2.2.4). In dates and times they are taken
  as well, though the standard has none there.
* Dates and times take ranges: ``a-b``, ``-b``, ``a-`` (C.2.2.2.5). A time may be short: ``10-11``
  is 10:00:00 to 11:59:59.999999.
* A backslash separates alternatives: UIDs as in C.2.2.2.2, and by kindness in every VR.
* Person names match without regard to case, whole or by one component group. Everything else
  matches case-sensitively.
* A key of a lower level matches what has something below that matches: ``Modality=CT`` at the
  study level gives the studies with a CT series. All keys of lower levels must be met by one and
  the same instance; ``ModalitiesInStudy`` is met by any series.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from pypx.archive.attributes import BY_KEYWORD, COUNTS, Attribute, Level
from pypx.errors import ConfigError

__all__ = ["PATIENT_KEY", "fold_name", "where"]

PATIENT_KEY = "{0}.patient_id, CASE {0}.patient_id WHEN '' THEN {0}.patient_name ELSE '' END"
"""What makes two studies those of one patient: the ID, and the name where there is no ID."""

_MODALITIES = "ModalitiesInStudy"
_COUNTED = frozenset(keyword for keywords in COUNTS.values() for keyword in keywords)
_DATE = re.compile(r"\d{8}|\d{4}\.\d{2}\.\d{2}")
_TIME = re.compile(r"(\d\d)(:?\d\d)?(:?\d\d)?(\.\d{1,6})?")
_FIRST_TIME = "000000.000000"
_LAST_TIME = "235959.999999"
_INTEGER = re.compile(r"[+-]?\d{1,12}")
_LONGEST_PATTERN = 1024

_BELOW = {
    Level.PATIENT: (
        f"({PATIENT_KEY.format('study')}) IN (SELECT {PATIENT_KEY.format('t')} FROM study AS t"
        " JOIN series AS s ON s.study_pk = t.pk JOIN instance AS i ON i.series_pk = s.pk"
        " WHERE {})"
    ),
    Level.STUDY: (
        "study.pk IN (SELECT s.study_pk FROM series AS s"
        " JOIN instance AS i ON i.series_pk = s.pk WHERE {})"
    ),
    Level.SERIES: "series.pk IN (SELECT i.series_pk FROM instance AS i WHERE {})",
}
_TABLES = {Level.PATIENT: "study", Level.STUDY: "study", Level.SERIES: "series"}
_ALIASES = {"study": "t", "series": "s", "instance": "i"}


class _Terms:
    """Conditions and their parameters, in the same order."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.parameters: list[str | int] = []

    def add(self, text: str, *parameters: str | int) -> None:
        self.texts.append(text)
        self.parameters += parameters

    def text(self, word: str) -> str:
        return f" {word} ".join(f"({text})" for text in self.texts)


def where(level: Level, keys: Mapping[str, str]) -> tuple[str, list[str | int]]:
    """Give the condition for the rows of ``study JOIN series JOIN instance``.

    Args:
        level: What is looked for.
        keys: DICOM keyword to value, as in a C-FIND identifier.

    Returns:
        The condition, ``1`` when everything matches, and its parameters.

    Raises:
        ConfigError: The index does not know the keyword, or the value is no such thing.
    """
    own, below = _Terms(), _Terms()
    for keyword, value in keys.items():
        if not value.strip(" *\0"):
            _check(keyword)
        elif keyword == _MODALITIES:
            inside = level is Level.PATIENT
            found = _match(BY_KEYWORD["Modality"], "m.modality", value)
            text = f"{'t' if inside else 'study'}.pk IN (SELECT m.study_pk FROM series AS m WHERE "
            (below if inside else own).add(f"{text}{found.text('OR')})", *found.parameters)
        else:
            attribute = _check(keyword)
            if attribute is None:
                raise ConfigError(
                    f"{keyword} is counted, and cannot be searched for.",
                    hint="Leave its value empty; it is in every row of its level.",
                )
            table = _TABLES.get(attribute.level, "instance")
            is_below = attribute.level.depth > level.depth
            column = f"{_ALIASES[table] if is_below else table}.{attribute.column}"
            found = _match(attribute, column, value)
            (below if is_below else own).add(found.text("OR"), *found.parameters)
    if below.texts:
        own.add(_BELOW[level].format(below.text("AND")), *below.parameters)
    return own.text("AND") or "1", own.parameters


def _check(keyword: str) -> Attribute | None:
    """Give the attribute; None for what is counted."""
    if keyword in BY_KEYWORD:
        return BY_KEYWORD[keyword]
    if keyword == _MODALITIES or keyword in _COUNTED:
        return None
    from difflib import get_close_matches  # only a mistyped keyword brings us here

    known = [*BY_KEYWORD, _MODALITIES]
    close = get_close_matches(keyword, known, n=1)
    raise ConfigError(
        f"The index of the archive does not have {keyword!r}.",
        hint=f"Did you mean {close[0]}?" if close else f"It has {', '.join(known)}.",
    )


def _match(attribute: Attribute, column: str, value: str) -> _Terms:
    terms = _Terms()
    if len(value) > _LONGEST_PATTERN and attribute.vr != "UI":
        raise ConfigError(f"The value of {attribute.keyword} is longer than any in the index.")
    values = [part.strip(" \0") for part in value.split("\\")]
    if attribute.vr == "UI":
        if len(values) == 1:
            terms.add(f"{column} = ?", values[0])
        else:
            import json  # only lists need it; one parameter, however many UIDs there are

            uids = json.dumps([uid.encode("utf-8", "replace").decode() for uid in values])
            terms.add(f"{column} IN (SELECT value FROM json_each(?))", uids)
        return terms
    for part in values:
        part = part.encode("utf-8", "replace").decode()
        if attribute.vr == "PN":
            _match_name(terms, f"{column}_folded", fold_name(part))
        elif attribute.vr in ("DA", "TM") and not ("*" in part or "?" in part):
            _match_moment(terms, attribute, column, part)
        elif "*" in part or "?" in part:
            terms.add(f"{column} GLOB ?", _glob(part))
        elif attribute.vr == "IS" and _INTEGER.fullmatch(part):
            terms.add(f"CAST({column} AS INTEGER) = ? AND {column} <> ''", int(part))
        else:
            terms.add(f"{column} = ?", part)
    return terms


def _glob(pattern: str) -> str:
    """Write a DICOM pattern as one of GLOB, where ``[`` opens a set unless it stands in one."""
    return re.sub(r"\*+", "*", pattern).replace("[", "[[]")


def fold_name(name: str) -> str:
    """Give a person name as it is compared: no case, no empty components at the end of a group."""
    groups = unicodedata.normalize("NFC", name).casefold().split("=")
    return "=".join(group.strip(" ").rstrip("^ ") for group in groups).rstrip("=")


def _match_name(terms: _Terms, column: str, name: str) -> None:
    pattern = _glob(name)
    if "=" in name:
        terms.add(f"{column} GLOB ?", pattern)
        return
    groups = [pattern, f"{pattern}=*", f"*={pattern}", f"*={pattern}=*"]
    terms.add(" OR ".join([f"{column} GLOB ?"] * len(groups)), *groups)


def _match_moment(terms: _Terms, attribute: Attribute, column: str, value: str) -> None:
    date = attribute.vr == "DA"
    if "-" in value:
        first, _, last = value.partition("-")
    else:
        first = last = value
    pattern = _DATE if date else _TIME
    if not (first or last) or any(end and not pattern.fullmatch(end) for end in (first, last)):
        shape = "YYYYMMDD" if date else "HHMMSS"
        raise ConfigError(
            f"{value!r} is no {'date' if date else 'time'} for {attribute.keyword}.",
            hint=f"Write {shape}, or a range: {shape}-{shape}, {shape}- or -{shape}.",
        )
    if date:
        expression = f"replace({column}, '.', '')"
        first, last = first.replace(".", ""), last.replace(".", "")
    else:
        # A stored 10 means 10:00:00 when it is compared.
        plain = f"replace({column}, ':', '')"
        expression = f"{plain} || substr('{_FIRST_TIME}', length({plain}) + 1)"
        is_range = "-" in value
        first, last = first.replace(":", ""), last.replace(":", "")
        first = first and first + _FIRST_TIME[len(first) :]
        last = last and last + (_LAST_TIME if is_range else _FIRST_TIME)[len(last) :]
    digits = f"{column} GLOB '[0-9]*'"  # not empty, and no text
    if first == last:
        terms.add(f"{digits} AND {expression} = ?", first)
    elif first and last:
        terms.add(f"{digits} AND {expression} BETWEEN ? AND ?", first, last)
    elif first:
        terms.add(f"{digits} AND {expression} >= ?", first)
    else:
        terms.add(f"{digits} AND {expression} <= ?", last)
