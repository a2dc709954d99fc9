"""What a retrieval brought: a table with a line for each study.

In: the account of a transfer. Out: lines. The verdict and the numbers are those of
``retrieve.summary``; what the exit code is, is decided elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pypx.cli.output import Output, visible
from pypx.cli.show import count, person_name
from pypx.cli.table import Column, draw
from pypx.text import date

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.archive.transfers import Transfer
    from pypx.retrieve.summary import StudyLine

__all__ = ["show_studies"]

_FEW = 50  # so many are all shown; of more, those that are complete only as a number
_MOST = 200  # of those that are not


def show_studies(out: Output, archive: Archive, transfer: Transfer) -> None:
    """Write a table of the studies of a transfer.

    Of many studies it has those that are not complete, and the number of the others.

    Args:
        out: Where it goes.
        archive: Where it was retrieved to.
        transfer: As the ledger gives it.

    Raises:
        IndexUnavailableError: The index cannot be read.
    """
    from pypx.retrieve.summary import study_lines

    first: list[StudyLine] = []
    bad: list[StudyLine] = []
    number = complete = 0
    for line in study_lines(archive, transfer):
        number += 1
        complete += line.verdict == "complete"
        if number <= _FEW:
            first.append(line)
        if line.verdict != "complete" and len(bad) < _MOST:
            bad.append(line)
    if not number:
        return
    shown = first if number <= _FEW else bad
    if shown:
        out.write(f"{_table(out, shown)}\n")
    if number > _FEW:
        more = number - complete - len(bad)
        rest = f", {more:,} more that are not complete" if more else ""
        out.write(f"{count(complete, 'complete study', 'complete studies')}{rest}\n")


def _table(out: Output, lines: list[StudyLine]) -> str:
    columns = [
        Column("Date", [visible(date(one.study_date)) for one in lines], rank=2),
        Column("Description", [visible(one.study_description) for one in lines], rank=1),
        Column("Patient", [visible(person_name(one.patient_name)) for one in lines]),
        Column("Series", [f"{one.complete:,}/{one.series:,}" for one in lines], True),
        Column("Images", [_images(one) for one in lines], True),
        Column("Result", [one.verdict for one in lines]),
        Column("Reason", [visible(one.reason) for one in lines], long=True),
    ]
    text, _ = draw(columns, width=out.terminal_width, colour=out.colour)
    return text


def _images(line: StudyLine) -> str:
    expected = "?" if line.expected is None else f"{line.expected:,}"
    return f"{line.received:,}/{expected}"
