"""What is wrong with an archive, as rows and in words.

In: a report of the archive. Out: rows of problem and path, and what to do about each problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pypx.cli.output import Output, visible
from pypx.cli.rows import Row, rows_for
from pypx.cli.show import count
from pypx.cli.table import Column, draw

if TYPE_CHECKING:
    from pypx.archive import Report

__all__ = ["PROBLEMS", "document", "tell_findings"]

_COLUMNS = ("problem", "path")


class _Problem(NamedTuple):
    """A kind of problem: how it is said, and what to do."""

    sentence: str
    hint: str


PROBLEMS = {
    "missing": _Problem(
        "{} in the index without a file",
        "Ask the PACS for them again, or bring the files back and run 'px index rebuild'.",
    ),
    "damaged": _Problem(
        "{} not as stored, or no DICOM object",
        "Move these files out of the archive, run 'px index rebuild', and ask the PACS again.",
    ),
    "unindexed": _Problem("{} not in the index", "'px index rebuild' adds them."),
    "strange": _Problem(
        "{} not followed: links, pipes, or folders without the right to read",
        "Nothing here reads them; move them out of the archive.",
    ),
    "copies": _Problem(
        "{} beside the indexed one with the same SOP Instance UID",
        "They do no harm; what px ls shows is the other one.",
    ),
}
"""The fields of a report, the worst first."""


def document(root: Path, report: Report, kinds: Sequence[str], seconds: float) -> dict[str, Any]:
    """Give the report as the JSON document of a command."""
    return {
        "status": "success" if report.ok else "failure",
        "files": report.files,
        **{kind: _paths(root, report, kind) for kind in kinds},
        "seconds": round(seconds, 3),
    }


def _paths(root: Path, report: Report, kind: str) -> list[str]:
    return [str(root / path) for path in getattr(report, kind)]


def tell_findings(out: Output, root: Path, report: Report, kinds: Sequence[str]) -> None:
    """Write the rows of a report in the form that was asked for, and say what to do."""
    rows = rows_for(out, _COLUMNS, _show)
    for kind in kinds:
        for path in _paths(root, report, kind):
            rows.add({"problem": kind, "path": path})
    rows.end(None)
    out.flush()
    for kind in kinds:
        if paths := getattr(report, kind):
            problem = PROBLEMS[kind]
            sentence = problem.sentence.format(count(len(paths), "file"))
            out.warn(f"{sentence}.", problem.hint)


def _show(out: Output, rows: list[Row]) -> None:
    if rows:
        columns = [
            Column("Problem", [row["problem"] for row in rows]),
            Column("Path", [visible(row["path"]) for row in rows], long=True),
        ]
        text, _ = draw(columns, width=out.terminal_width, colour=out.colour)
        out.write(f"{text}\n")
