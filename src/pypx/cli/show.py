"""Rows as people like to read them: columns by level, dates, names, a tree.

In: rows of keyword to value, from a PACS or the archive. Out: a table or a tree, with
colours and to the width of a terminal, plain and uncut elsewhere, so that it can be searched.

A person name is shown family name first, ``Doe, John``, with its other scripts in
brackets: who reads it knows which is the family name. JSON and CSV keep the value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pypx.cli.output import Output, visible
from pypx.cli.rows import Row
from pypx.cli.table import Column, draw
from pypx.text import count, date, size
from pypx.text import person_name as written_name

__all__ = ["count", "date_text", "person_name", "show_table", "show_tree", "size"]

_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(filter(None, map(_text, value)))
    if isinstance(value, dict):
        return "…"  # an item of a sequence: JSON has it
    return str(value)


def person_name(value: object) -> str:
    """Give a person name (PS3.5 §6.2.1) as people write it."""
    return written_name(_text(value))


def date_text(value: object) -> str:
    """Give a date (PS3.5 §6.2) as people write it; what is none stays as it is."""
    return date(_text(value))


def _time(value: object) -> str:
    text = _text(value)
    return f"{text[:2]}:{text[2:4]}" if text[:4].isdigit() and len(text) >= 4 else ""


def _when(date: str, time: str) -> Callable[[Row], str]:
    return lambda row: f"{date_text(row.get(date))} {_time(row.get(time))}".strip()


def _first(*keywords: str) -> Callable[[Row], str]:
    return lambda row: next(filter(None, (_text(row.get(keyword)) for keyword in keywords)), "")


def _name(row: Row) -> str:
    return person_name(row.get("PatientName"))


def _sop_class(row: Row) -> str:
    from pypx.dicom.uids import uid_name

    return uid_name(_text(row.get("SOPClassUID")))


def _size(row: Row) -> str:
    return size(row["bytes"]) if row.get("bytes") is not None else ""


class _Column(NamedTuple):
    """A column of a level.

    Attributes:
        title: Its header.
        value: What it shows of a row.
        keywords: What it so deals with.
        numeric: It is set to the right.
        rank: How soon it is left out where there is no room; 0 is never.
        long: It may have a line of its own.
    """

    title: str
    value: Callable[[Row], str]
    keywords: tuple[str, ...]
    numeric: bool = False
    rank: int = 0
    long: bool = False


def _plain(title: str, *keywords: str, rank: int = 0, long: bool = False) -> _Column:
    return _Column(title, _first(*keywords), keywords, rank=rank, long=long)


def _number(title: str, *keywords: str, rank: int = 0) -> _Column:
    return _Column(title, _first(*keywords), keywords, True, rank)


_NAME = _Column("Patient", _name, ("PatientName",))
_PATIENT_ID = _plain("Patient ID", "PatientID")
_BORN = _Column(
    "Born", lambda row: date_text(row.get("PatientBirthDate")), ("PatientBirthDate",), rank=8
)
_SEX = _plain("Sex", "PatientSex", rank=9)
_BYTES = _Column("Size", _size, ("bytes",), True, rank=3)
_STATE = _plain("State", "completeness", rank=2)
_STUDY_UID = _plain("Study Instance UID", "StudyInstanceUID", long=True)
_SERIES_UID = _plain("Series Instance UID", "SeriesInstanceUID", long=True)
_PATH = _plain("Path", "path", long=True)

_COLUMNS: Mapping[str, tuple[_Column, ...]] = {
    "patient": (
        _NAME,
        _PATIENT_ID,
        _BORN,
        _SEX,
        _number("Studies", "NumberOfPatientRelatedStudies"),
        _number("Series", "NumberOfPatientRelatedSeries"),
        _number("Images", "instances", "NumberOfPatientRelatedInstances"),
        _BYTES,
        _PATH,
    ),
    "study": (
        _Column("Date", _when("StudyDate", "StudyTime"), ("StudyDate", "StudyTime")),
        _plain("Modality", "ModalitiesInStudy", "Modality"),
        _plain("Description", "StudyDescription"),
        _NAME,
        _PATIENT_ID,
        _BORN,
        _SEX,
        _plain("Accession", "AccessionNumber", rank=4),
        _number("Series", "NumberOfStudyRelatedSeries", rank=5),
        _number("Images", "instances", "NumberOfStudyRelatedInstances"),
        _BYTES,
        _STATE,
        _STUDY_UID,
        _PATH,
    ),
    "series": (
        _number("No.", "SeriesNumber"),
        _plain("Modality", "Modality"),
        _plain("Description", "SeriesDescription"),
        _number("Images", "instances", "NumberOfSeriesRelatedInstances"),
        _BYTES,
        _STATE,
        _STUDY_UID,
        _SERIES_UID,
        _PATH,
    ),
    "image": (
        _number("No.", "InstanceNumber"),
        _Column("Kind", _sop_class, ("SOPClassUID",)),
        _BYTES,
        _STUDY_UID,
        _SERIES_UID,
        _plain("SOP Instance UID", "SOPInstanceUID", long=True),
        _PATH,
    ),
}


def show_table(
    out: Output,
    rows: Sequence[Row],
    level: str,
    extra: Sequence[str] = (),
    *,
    numbered: bool = False,
) -> None:
    """Write a table.

    Args:
        out: Where it goes.
        rows: What it shows.
        level: ``patient``, ``study``, ``series`` or ``image``.
        extra: Keywords that were asked for, and get a column if no usual one shows them.
        numbered: Rows have the number of the row of a list as ``row``, which comes first.
    """
    columns = [*([_number("Row", "row")] if numbered else []), *_COLUMNS[level]]
    shown = {keyword for column in columns for keyword in column.keywords}
    first_long = next(n for n, column in enumerate(columns) if column.long)
    columns[first_long:first_long] = [
        _Column(keyword, _date_or_text(keyword), (keyword,))
        for keyword in extra
        if keyword not in shown
    ]
    text, dropped = draw(
        [
            Column(
                column.title,
                [visible(column.value(row)) for row in rows],
                column.numeric,
                column.rank,
                column.long,
            )
            for column in columns
        ],
        width=out.terminal_width,
        colour=out.colour,
    )
    out.write(f"{text}\n")
    if dropped:
        out.say(f"The terminal has no room for {', '.join(dropped)}; --csv has all.")


def _date_or_text(keyword: str) -> Callable[[Row], str]:
    if keyword.endswith("Date"):
        return lambda row: date_text(row.get(keyword))
    return lambda row: _text(row.get(keyword))


def show_tree(out: Output, studies: Sequence[Row]) -> None:
    """Write studies, each with its series below it."""
    bold, plain = (_BOLD, _PLAIN) if out.colour else ("", "")
    for study in studies:
        out.write(f"{bold}{_study_line(study)}{plain}\n")
        branches = list(_branches(study))
        for number, line in enumerate(branches, 1):
            out.write(f"{'└─' if number == len(branches) else '├─'} {line}\n")


def _study_line(study: Row) -> str:
    titles = ("Date", "Modality", "Description", "Patient", "Patient ID", "Accession", "Size")
    return _one_line(study, "study", (*titles, "State", "Study Instance UID"))


def _branches(study: Row) -> Iterator[str]:
    series = study.get("series")
    if series is None:
        said = study.get("error") or {}
        yield visible(f"series unknown: {said.get('message', 'the PACS did not say')}")
        return
    titles = ("No.", "Modality", "Description", "Images", "Size", "State", "Series Instance UID")
    for one in series:
        yield _one_line(one, "series", titles)


def _one_line(row: Row, level: str, titles: tuple[str, ...]) -> str:
    by_title = {column.title: column for column in _COLUMNS[level]}
    parts = [(title, visible(by_title[title].value(row))) for title in titles]
    words = (
        count(int(text), "image") if title == "Images" and text.isdigit() else text
        for title, text in parts
        if text
    )
    return "  ".join(words)
