"""Entries to rows of the tables and back: the statements of the SQLite index.

In: entries, or rows that SQLite gives. Out: the other one. Not here: connections, transactions,
locks, and what a query matches.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from pypx.archive.attributes import ATTRIBUTES, Level
from pypx.archive.index import Entry, Row
from pypx.archive.matching import fold_name

__all__ = [
    "DELETE_PATH",
    "ENTRIES",
    "FOLDERS",
    "GET",
    "IN_FOLDER",
    "OWNER",
    "PRUNE",
    "SELECT",
    "UNDESCRIBE",
    "entry_of",
    "put",
    "row_of",
]

_PATIENT, _STUDY, _SERIES, _IMAGE = (
    tuple(attribute for attribute in ATTRIBUTES if attribute.level is level) for level in Level
)
_IN_STUDY = _PATIENT + _STUDY
_FACTS = (
    "transfer_syntax_uid",
    "bytes",
    "data_set_offset",
    "checksum",
    "received_at",
    "calling_ae_title",
    "host",
)
_TABLE = {Level.PATIENT: "study", Level.STUDY: "study", Level.SERIES: "series"}


def _list(*names: str) -> str:
    return ", ".join(names)


def _insert(table: str, columns: Sequence[str]) -> str:
    marks = _list(*"?" * len(columns))
    return f"INSERT INTO {table} ({_list(*columns)}) VALUES ({marks})"


def _update(columns: Sequence[str]) -> str:
    return _list(*(f"{column} = excluded.{column}" for column in columns))


def _describe(table: str, columns: Sequence[str], key: str) -> str:
    """Give the statement that keeps the values of the instance that was received last."""
    changing = [column for column in columns if column not in key.split(", ")]
    return (
        f"{_insert(table, columns)} ON CONFLICT ({key}) DO UPDATE SET {_update(changing)}"
        f" WHERE excluded.described_at >= {table}.described_at"
    )


_STUDY_COLUMNS = (*(a.column for a in _IN_STUDY), "patient_name_folded", "described_at")
_PUT_STUDY = _describe("study", _STUDY_COLUMNS, "study_instance_uid, patient_id")
_STUDY_PK = "SELECT pk FROM study WHERE study_instance_uid = ? AND patient_id = ?"

_SERIES_COLUMNS = (*(a.column for a in _SERIES), "study_pk", "described_at")
_PUT_SERIES = _describe("series", _SERIES_COLUMNS, "series_instance_uid, study_pk")
_SERIES_PK = "SELECT pk FROM series WHERE series_instance_uid = ? AND study_pk = ?"

_PUT_FOLDER = "INSERT OR IGNORE INTO folder (path) VALUES (?)"
_FOLDER_PK = "SELECT pk FROM folder WHERE path = ?"

_INSTANCE_COLUMNS = ("series_pk", "folder_pk", "name", *(a.column for a in _IMAGE), *_FACTS)
_CHANGING = [c for c in _INSTANCE_COLUMNS if c not in ("sop_instance_uid", "host")]
# A rebuilt row does not know the host; the row that it replaces may.
_PUT_INSTANCE = (
    f"{_insert('instance', _INSTANCE_COLUMNS)} ON CONFLICT (sop_instance_uid) DO UPDATE SET"
    f" {_update(_CHANGING)}, host = CASE WHEN excluded.host = '' AND excluded.checksum ="
    " instance.checksum THEN instance.host ELSE excluded.host END"
)
_PUT_NEWEST = (
    f"{_PUT_INSTANCE} WHERE excluded.received_at >= instance.received_at"
    " OR (excluded.folder_pk = instance.folder_pk AND excluded.name = instance.name)"
)

DELETE_PATH = (
    "DELETE FROM instance WHERE folder_pk = (SELECT pk FROM folder WHERE path = ?) AND name = ?"
)
PRUNE = (
    "DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM instance WHERE series_pk = series.pk)",
    "DELETE FROM study WHERE NOT EXISTS (SELECT 1 FROM series WHERE study_pk = study.pk)",
    "DELETE FROM folder WHERE NOT EXISTS (SELECT 1 FROM instance WHERE folder_pk = folder.pk)",
)

UNDESCRIBE = ("UPDATE study SET described_at = ''", "UPDATE series SET described_at = ''")

_JOINED = (
    " FROM study JOIN series ON series.study_pk = study.pk"
    " JOIN instance ON instance.series_pk = series.pk"
    " JOIN folder ON folder.pk = instance.folder_pk"
)
_COLUMNS = [f"{_TABLE.get(a.level, 'instance')}.{a.column}" for a in ATTRIBUTES]
_ENTRY = (
    f"SELECT folder.path, instance.name, {_list(*(f'instance.{fact}' for fact in _FACTS))},"
    f" {_list(*_COLUMNS)}{_JOINED}"
)
GET = f"{_ENTRY} WHERE instance.sop_instance_uid = ?"
ENTRIES = f"{_ENTRY} WHERE {{}}"
IN_FOLDER = f"{_ENTRY} WHERE folder.path = ?"
OWNER = (
    "SELECT series.series_instance_uid FROM instance"
    " JOIN series ON series.pk = instance.series_pk"
    " WHERE instance.folder_pk = (SELECT pk FROM folder WHERE path = ?) LIMIT 1"
)
FOLDERS = "SELECT path FROM folder"


def _select(level: Level, counts: Sequence[str], extra: str, group: str) -> str:
    """Write the query of a level: its attributes, its counts, then what rows of all levels have.

    Where a group has ``max()``, SQLite takes the other columns from the row with the maximum:
    a patient then has the name of the study that was described last.
    """
    shown = [
        column
        for a, column in zip(ATTRIBUTES, _COLUMNS, strict=True)
        if a.level.depth <= level.depth
    ]
    path = "folder.path" if level is not Level.IMAGE else "folder.path || '/' || instance.name"
    selected = _list(*shown, *counts, "count(*)", "sum(instance.bytes)", path, extra)
    return f"SELECT {selected}{_JOINED} WHERE {{0}} GROUP BY {group}"


SELECT = {
    Level.PATIENT: _select(
        Level.PATIENT,
        ("count(DISTINCT study.pk)", "count(DISTINCT series.pk)", "count(*)"),
        "max(study.described_at)",
        "{patient}",
    ),
    Level.STUDY: _select(
        Level.STUDY,
        ("count(DISTINCT series.pk)", "count(*)"),
        "group_concat(DISTINCT series.modality)",
        "study.pk",
    ),
    Level.SERIES: _select(Level.SERIES, ("count(*)",), "NULL", "series.pk"),
    Level.IMAGE: (
        f"SELECT {_list(*_COLUMNS)}, 1, instance.bytes, folder.path || '/' || instance.name,"
        f" instance.transfer_syntax_uid, instance.received_at, instance.calling_ae_title{_JOINED}"
        " WHERE {0}"
    ),
}
"""The queries by level; ``{0}`` is the condition, ``{patient}`` what makes one patient."""

Keys = dict[tuple[object, ...], tuple[int, tuple[str, ...]]]


def put(connection: sqlite3.Connection, keys: Keys, entry: Entry, newest_wins: bool) -> None:
    """Write the rows of one entry, inside the caller's transaction.

    Args:
        connection: The writing one.
        keys: The primary keys and values that were written last, kept by the caller and
            cleared by it when a transaction fails.
        entry: The instance.
        newest_wins: As for ``Index.add``.

    Raises:
        sqlite3.Error: As SQLite says.
    """
    values = entry.values
    uid, patient = values["StudyInstanceUID"], values["PatientID"]
    study = tuple(values[a.keyword] for a in _IN_STUDY)
    key: tuple[object, ...] = ("study", uid, patient)
    study_pk, known = keys.get(key, (0, ()))
    if known != study or newest_wins:
        folded = fold_name(values["PatientName"])
        connection.execute(_PUT_STUDY, (*study, folded, entry.received_at))
        study_pk = _pk(connection, _STUDY_PK, uid, patient)
        keys[key] = study_pk, study
    uid = values["SeriesInstanceUID"]
    series = tuple(values[a.keyword] for a in _SERIES)
    key = ("series", uid, study_pk)
    series_pk, known = keys.get(key, (0, ()))
    if known != series or newest_wins:
        connection.execute(_PUT_SERIES, (*series, study_pk, entry.received_at))
        series_pk = _pk(connection, _SERIES_PK, uid, study_pk)
        keys[key] = series_pk, series
    folder, _, name = entry.path.rpartition("/")
    key = ("folder", folder)
    folder_pk = keys.get(key, (0, ()))[0]
    if not folder_pk:
        connection.execute(_PUT_FOLDER, (folder,))
        folder_pk = _pk(connection, _FOLDER_PK, folder)
        keys[key] = folder_pk, ()
    facts = (getattr(entry, fact) for fact in _FACTS)
    image = (values[a.keyword] for a in _IMAGE)
    row = (series_pk, folder_pk, name, *image, *facts)
    connection.execute(_PUT_NEWEST if newest_wins else _PUT_INSTANCE, row)


def _pk(connection: sqlite3.Connection, query: str, *parameters: str | int) -> int:
    return int(connection.execute(query, parameters).fetchone()[0])


def entry_of(row: Sequence[Any]) -> Entry:
    """Give the entry of a row of ``GET``, ``ENTRIES`` or ``IN_FOLDER``."""
    facts = dict(zip(_FACTS, row[2:], strict=False))
    first = 2 + len(_FACTS)
    values = {a.keyword: row[first + place] for place, a in enumerate(ATTRIBUTES)}
    return Entry(path=f"{row[0]}/{row[1]}" if row[0] else row[1], values=values, **facts)


def row_of(level: Level, counts: Sequence[str], row: Sequence[Any]) -> Row:
    """Give a match of ``SELECT[level]`` with keywords as keys, values as the surface has them."""
    shown = [a.keyword for a in ATTRIBUTES if a.level.depth <= level.depth]
    found: Row = {}
    for keyword, value in zip(shown, row, strict=False):
        found[keyword] = _shown(value)
    rest = row[len(shown) :]
    for keyword, count in zip(counts, rest, strict=False):
        found[keyword] = str(count)
    found["instances"], found["bytes"], found["path"] = rest[len(counts) : len(counts) + 3]
    extra = rest[len(counts) + 3 :]
    if level is Level.STUDY:
        modalities = sorted(filter(None, (extra[0] or "").split(",")))
        found["ModalitiesInStudy"] = _shown("\\".join(modalities))
    elif level is Level.IMAGE:
        found["TransferSyntaxUID"], found["received_at"], found["calling_ae_title"] = extra
    return found


def _shown(value: str) -> str | list[str] | None:
    if "\\" in value:
        return value.split("\\")
    return value or None
