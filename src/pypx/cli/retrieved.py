"""What a retrieval brought, or is to bring: a table with a line for each study, and the numbers.

In: the account of a transfer. Out: lines, or JSON. The verdict and the numbers are those of
``retrieve.summary``; what the exit code is, is decided elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pypx.cli.job_progress import duration
from pypx.cli.output import Output, visible
from pypx.cli.show import count, person_name, size
from pypx.cli.table import Column, draw
from pypx.text import date

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.archive.transfers import Transfer
    from pypx.errors import PypxError
    from pypx.retrieve.summary import StudyLine

__all__ = ["show_plan", "show_result", "show_studies"]

_FEW = 50  # so many are all shown; of more, those that are complete only as a number
_MOST = 200  # of those that are not


def show_result(out: Output, archive: Archive, transfer: Transfer, error: PypxError | None) -> None:
    """Write what a job brought.

    Args:
        out: Where it goes.
        archive: Where it was retrieved to.
        transfer: As the ledger gives it now.
        error: What there is to complain about.

    Raises:
        IndexUnavailableError: The index cannot be read.
    """
    from pypx.retrieve.summary import document, judge

    if out.form == "json":
        out.document(document(archive, transfer, error))
        return
    show_studies(out, archive, transfer)
    sums, verdict = judge(archive, transfer)
    came = f"{count(sums.received, 'image')} came, {size(sums.bytes)}, in {transfer.seconds:.1f} s"
    out.line(f"Job {transfer.id}: {came}.{'' if error else f' {verdict.sentence}'}")
    extras = sum(1 for _ in archive.account(transfer).unexpected())
    if extras:
        out.say(f"{count(extras, 'image')} came though nobody asked for them; they are stored.")


def show_plan(out: Output, archive: Archive, transfer: Transfer) -> None:
    """Write what a job would do, as far as it was planned.

    Args:
        out: Where it goes.
        archive: What is here.
        transfer: Whose series are planned.

    Raises:
        IndexUnavailableError: The index cannot be read.
    """
    from pypx.retrieve.summary import document, judge

    sums, _ = judge(archive, transfer)
    speed = archive.ledger.speed(transfer.node)
    wanted = sums.expected - sums.here_before
    seconds = round(wanted / speed, 1) if speed else None
    if out.form == "json":
        planned = document(archive, transfer)
        kept = ("node", "requested", "here_before", "missing", "notes", "series", "queries")
        plan = {key: planned[key] for key in (*kept, "studies_without_series")}
        out.document({"status": "planned", **plan, "seconds_estimated": seconds})
        return
    show_studies(out, archive, transfer)
    unknown = f", and {sums.uncounted} series of unknown size" if sums.uncounted else ""
    time = f", in about {duration(seconds)} at the speed so far" if seconds is not None else ""
    out.line(
        f"{count(sums.series, 'series', 'series')} in {count(sums.studies, 'study', 'studies')}: "
        f"{sums.here_before:,} of {count(sums.expected, 'image')} are here{unknown}; "
        f"{wanted:,} would be asked for{time}."
    )


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
