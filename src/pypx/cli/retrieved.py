"""What a retrieval brought, or is to bring: a table with a line for each study, and the numbers.

In: the account of a transfer. Out: lines, or JSON, and the error that the command ends with. The
verdict and the numbers are those of ``retrieve.report.summary``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pypx.cli.job_progress import duration
from pypx.cli.output import Output, visible
from pypx.cli.show import count, person_name, size
from pypx.cli.table import Column, draw
from pypx.errors import CancelledError, PypxError, error_object
from pypx.text import date

if TYPE_CHECKING:
    from pathlib import Path

    from pypx.archive import Archive
    from pypx.archive.transfers import Transfer
    from pypx.retrieve.report.summary import StudyLine

__all__ = [
    "complaint",
    "plan_complaint",
    "reason_of",
    "show_plan",
    "show_result",
    "show_studies",
]

_FEW = 50  # so many are all shown; of more, those that are complete only as a number
_MOST = 200  # of those that are not


class _PartialError(PypxError):
    kind = "partial"


class _RefusedError(PypxError):
    kind = "status"
    exit_code = 4


def complaint(archive: Archive, transfer: Transfer, ended: PypxError | None) -> PypxError | None:
    """Say what there is to complain about at the end of a job; None if all is here.

    Args:
        archive: Where it was retrieved to.
        transfer: As the ledger gives it now.
        ended: What ended the job before its end.

    Raises:
        IndexUnavailableError: The index cannot be read.
    """
    from pypx.retrieve.report.summary import judge

    _, verdict = judge(archive, transfer)
    if ended is not None:
        ended.hint = " ".join(filter(None, (ended.hint, verdict.hint)))
        return ended
    if verdict.word == "cancelled":
        return CancelledError(verdict.sentence, hint=verdict.hint)
    if verdict.word == "complete":
        return None
    return _of_one_query(archive, transfer) or _PartialError(verdict.sentence, hint=verdict.hint)


def plan_complaint(archive: Archive, transfer: Transfer) -> PypxError | None:
    """Say what could not be planned; None if all was.

    Raises:
        IndexUnavailableError: The index cannot be read.
    """
    from pypx.retrieve.report.summary import FRUITLESS, judge

    sums, _ = judge(archive, transfer)
    queries = archive.account(transfer).queries()
    told = [f"{count(sums.unplanned, 'study', 'studies')} could not be looked at"]
    if not sums.unplanned:
        told = []
    if number := sum(queries.get(state, 0) for state in FRUITLESS):
        told.append(f"{count(number, 'row')} of {sum(queries.values()):,} would get nothing")
    if not told:
        return None
    return _of_one_query(archive, transfer) or _PartialError(f"{', and '.join(told)}.")


def _of_one_query(archive: Archive, transfer: Transfer) -> PypxError | None:
    """Say why the only query of a job found nothing; None if it did, or if there is a list."""
    from pypx.cli.plan import NoMatchError

    first = next(archive.ledger.queries(transfer), None)
    if first is None or first.number:
        return None
    match first.state:
        case "no-match":
            return NoMatchError(
                "Nothing on the PACS matches the keys, so nothing was asked for.",
                hint="px find with the same keys shows what there is.",
            )
        case "too-many":
            return _PartialError(
                f"{first.reason[:-1]}, so nothing was asked for.",
                hint="Ask for less, or allow more with --max-studies-per-row.",
            )
        case "failed":
            return _RefusedError(first.reason, hint="px find with the same keys shows more.")
    return None


def reason_of(error: PypxError) -> str:
    """Give the sentence of an error as the reason of a state that says already how it ended."""
    how, colon, why = error.message.partition(": ")
    if colon and how in ("Incomplete", "Not shown to be complete"):
        return f"{why[:1].upper()}{why[1:]}"
    return error.message


def show_result(
    out: Output,
    archive: Archive,
    transfer: Transfer,
    error: PypxError | None,
    results: Path | None = None,
) -> None:
    """Write what a job brought.

    Args:
        out: Where it goes.
        archive: Where it was retrieved to.
        transfer: As the ledger gives it now.
        error: What there is to complain about.
        results: Where the results of its rows are, if it has rows.

    Raises:
        IndexUnavailableError: The index cannot be read.
    """
    from pypx.retrieve.report.summary import document, judge

    if out.form == "json":
        out.document(document(archive, transfer, error))
        return
    show_studies(out, archive, transfer)
    sums, verdict = judge(archive, transfer)
    if results is not None:
        out.line(f"{_rows(archive, transfer)}: see {visible(str(results))}")
    came = f"{count(sums.received, 'image')} came, {size(sums.bytes)}, in {transfer.seconds:.1f} s"
    out.line(f"Job {transfer.id}: {came}.{'' if error else f' {verdict.sentence}'}")
    extras = sum(1 for _ in archive.account(transfer).unexpected())
    if extras:
        out.say(f"{count(extras, 'image')} came though nobody asked for them; they are stored.")


def _rows(archive: Archive, transfer: Transfer) -> str:
    """Say how many rows ended in which way."""
    queries = archive.account(transfer).queries()
    states = ", ".join(f"{number:,} {state}" for state, number in sorted(queries.items()))
    return f"{count(sum(queries.values()), 'row')}{f' ({states})' if states else ''}"


def show_plan(
    out: Output, archive: Archive, transfer: Transfer, error: PypxError | None = None
) -> None:
    """Write what a job would do, as far as it was planned.

    Args:
        out: Where it goes.
        archive: What is here.
        transfer: Whose series are planned.
        error: What there is to complain about.

    Raises:
        IndexUnavailableError: The index cannot be read.
    """
    from pypx.retrieve.report.summary import document, judge

    sums, _ = judge(archive, transfer)
    speed = archive.ledger.speed(transfer.node)
    wanted = sums.missing
    seconds = round(wanted / speed, 3) if speed else None
    if out.form == "json":
        planned = document(archive, transfer)
        kept = ("node", "requested", "here_before", "missing", "notes", "series", "queries")
        plan = {key: planned[key] for key in (*kept, "studies_without_series")}
        ended = {"error": error_object(error)} if error is not None else {}
        out.document({"status": "planned", **plan, "seconds_estimated": seconds, **ended})
        return
    show_studies(out, archive, transfer)
    unknown = f", and {sums.uncounted} series of unknown size" if sums.uncounted else ""
    time = f", in about {duration(seconds)} at the speed so far" if seconds is not None else ""
    out.line(
        f"{count(sums.series, 'series', 'series')} in {count(sums.studies, 'study', 'studies')}: "
        f"{sums.expected - wanted:,} of {count(sums.expected, 'image')} are here{unknown}; "
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
    from pypx.retrieve.report.summary import study_lines

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
