"""``px ls``: what the archive holds.

In: keys. Out: patients, studies, series or images of the index.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from pypx.cli.keys import KeyCommand, key_option, level_option, parse_keys
from pypx.cli.notes import counted
from pypx.cli.options import Invocation, common_options
from pypx.cli.output import Output
from pypx.cli.rows import Row, rows_for
from pypx.errors import ConfigError, IndexUnavailableError

if TYPE_CHECKING:
    from pypx.archive import Archive

__all__ = ["command"]

_LOCK_POLL = 0.1  # seconds
_COMPLETENESS = "completeness"
_UNKNOWN = "unknown"
_JUDGED = {
    "study": ("StudyInstanceUID",),
    "series": ("StudyInstanceUID", "SeriesInstanceUID"),
}


@click.command("ls", cls=KeyCommand, short_help="List what the archive holds.")
@key_option
@level_option("What is listed.  [default: study]")
@click.option("--tree", is_flag=True, help="Studies with their series.")
@common_options(jsonl=True, csv=True)
def command(invocation: Invocation, *, keys: tuple[str, ...], level: str | None, tree: bool) -> int:
    """List the archive; keys are those of px find.

    \b
    px ls
    px ls --PatientID PID1 --tree
    px ls -k StudyDate=2024-01-01..2024-06-30 --csv
    px ls --level image -k SeriesInstanceUID=1.2.3 --jsonl
    px ls --level series | grep incomplete

    Studies and series are complete or incomplete against what px retrieve last asked for, or
    unknown: nobody asked, or the PACS did not say how much there is. A study is complete when
    all series are that were asked for. The table leaves it out where all are unknown.
    """
    out = invocation.out
    if tree and level not in (None, "study"):
        raise ConfigError("--tree shows studies with their series: it has no other --level.")
    if tree and out.form == "csv":
        raise ConfigError("--csv has flat rows, and --tree has none.", hint="Take --json.")
    level = level or "study"
    wanted = parse_keys(keys)
    extra = [key for key in wanted if key not in _columns(level)]

    def show(out: Output, rows: list[Row]) -> None:
        from pypx.cli.show import show_table, show_tree

        _drop_unknown(rows)
        if tree:
            show_tree(out, rows)
        elif rows:
            show_table(out, rows, level, extra)

    rows = rows_for(out, [*_columns(level), *extra], show)
    number = series = 0
    for row in _patiently(invocation, level, wanted, tree):
        rows.add(row)
        number += 1
        series += len(row.get("series", ()))
    rows.end(None)
    out.flush()
    summary = counted(number, level) + (f", {counted(series, 'series')}" if tree else "")
    out.say(summary if number else "no match" if wanted else "the archive is empty")
    return 0


def _patiently(
    invocation: Invocation, level: str, keys: dict[str, str], tree: bool
) -> Iterator[Row]:
    """Give the rows; an index that is locked is tried again for as long as --timeout says."""
    deadline = time.monotonic() + (invocation.timeout or 0.0)
    begun = False
    while True:
        try:
            for row in _rows(invocation, level, keys, tree):
                begun = True
                yield row
        except IndexUnavailableError:
            if begun or time.monotonic() >= deadline:
                raise
            time.sleep(_LOCK_POLL)
        else:
            return


def _rows(invocation: Invocation, level: str, keys: dict[str, str], tree: bool) -> Iterator[Row]:
    writable = os.access(invocation.config.archive, os.W_OK)
    with invocation.open_archive(create=False, read_only=not writable) as archive:
        for note in archive.notes:
            invocation.out.say(note)
        for found in archive.find(level, keys):
            row = _judged(archive, level, found)
            if tree:
                below = {**keys, "StudyInstanceUID": str(found["StudyInstanceUID"])}
                series = archive.find("series", below)
                row["series"] = [_judged(archive, "series", one) for one in series]
            yield row


def _judged(archive: Archive, level: str, found: Row) -> Row:
    """Give a row with its completeness, where its level has that."""
    row = dict(found)
    if level in _JUDGED:
        uids = (str(row.get(keyword) or "") for keyword in _JUDGED[level])
        row[_COMPLETENESS] = archive.ledger.completeness(*uids)
    return row


def _drop_unknown(rows: list[Row]) -> None:
    """Say nothing of completeness where there is nothing to say."""
    judged = [row for study in rows for row in (study, *study.get("series", ()))]
    if all(row.get(_COMPLETENESS, _UNKNOWN) == _UNKNOWN for row in judged):
        for row in judged:
            row.pop(_COMPLETENESS, None)


def _columns(level: str) -> list[str]:
    """Give the columns of CSV: the attributes of the index down to the level, and the counts."""
    from pypx.archive.attributes import ATTRIBUTES, COUNTS, Level

    depth = Level(level).depth
    own = [attribute.keyword for attribute in ATTRIBUTES if attribute.level.depth <= depth]
    if level == "study":
        own.append("ModalitiesInStudy")
    judged = [_COMPLETENESS] if level in _JUDGED else []
    return [*own, *COUNTS[Level(level)], "instances", "bytes", "path", *judged]
