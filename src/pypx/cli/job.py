"""One job of px retrieve: what was asked for against what is here now.

In: the ledger of an archive, which another process may be writing. Out: JSON, or lines and tables.
A series that has ended is judged by what the archive has now: what came late is no longer missing,
and what somebody removed is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pypx.cli.jobs import INTERRUPTED, Job, job_of, queries_and_studies, when
from pypx.cli.output import Output, visible
from pypx.cli.show import count, date_text, person_name
from pypx.cli.table import Column, draw

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.archive.ledger import Ledger
    from pypx.archive.transfers import LedgerSeries, LedgerStudy, Query, Request, Transfer

__all__ = ["JobInFull", "in_full", "job_document", "show_job"]

_TROUBLED = ("no-match", "too-many", "failed", "malformed")
_JUDGED = ("complete", "incomplete")


class JobSeries(NamedTuple):
    """A series of a job.

    Attributes:
        series: As the ledger has it.
        study: Its study.
        status: ``open``, ``busy``, ``complete``, ``incomplete`` or ``unknown``.
        received: How many of its instances are here now.
        missing: How many are not; None where nobody knows.
        missing_uids: Which, as far as their UIDs are known.
        reason: Why it is not complete.
        requests: What was asked for it.
    """

    series: LedgerSeries
    study: LedgerStudy
    status: str
    received: int
    missing: int | None
    missing_uids: list[str]
    reason: str
    requests: list[Request]


class JobInFull(NamedTuple):
    """A job with all that it is made of.

    Attributes:
        job: As in the table of jobs, but judged by what is here now.
        reason: Why it stands so.
        series: Each once, also where two queries found it.
        queries: Those of which nothing could be planned.
        studies: The same.
        extras: The SOP Instance UIDs of what came though nobody asked for it.
    """

    job: Job
    reason: str
    series: list[JobSeries]
    queries: list[Query]
    studies: list[LedgerStudy]
    extras: list[str]

    @property
    def expected(self) -> int:
        """How many instances are expected of the series whose number is known."""
        return sum(one.series.expected or 0 for one in self.series)

    @property
    def received(self) -> int:
        """How many are here now."""
        return sum(one.received for one in self.series)

    @property
    def missing(self) -> int:
        """How many are not here, as far as that is known."""
        return sum(one.missing or 0 for one in self.series)


def in_full(archive: Archive, transfer: Transfer) -> JobInFull:
    """Look at all of a job.

    Raises:
        IndexUnavailableError: The index cannot be read.
    """
    ledger = archive.ledger
    job = job_of(archive, transfer)
    studies = {study.pk: study for study in ledger.studies(transfer)}
    best: dict[tuple[str, str], JobSeries] = {}
    for series in ledger.series(transfer):
        # One that was planned a moment ago may have a study that was not there yet.
        study = studies.get(series.study_pk) or _study_of(series)
        seen = _seen(ledger, series, study, job.state)
        key = (series.study_instance_uid, series.series_instance_uid)
        best[key] = _better(best[key], seen) if key in best else seen
    found = list(best.values())
    reason, missing = job.transfer.reason, sum(one.missing or 0 for one in found)
    if job.state == INTERRUPTED:
        reason = "Its process ended before it was done."
    elif job.state == "complete" and missing:
        job = job._replace(state="incomplete")
        reason = f"It was complete; {_gone(missing)}."
    queries = [query for query in ledger.queries(transfer) if query.state in _TROUBLED]
    failed = [study for study in studies.values() if study.state == "failed"]
    return JobInFull(job, reason, found, queries, failed, ledger.extras(transfer))


def _study_of(series: LedgerSeries) -> LedgerStudy:
    from pypx.archive.transfers import LedgerStudy

    return LedgerStudy(series.study_pk, 0, series.study_instance_uid, series.patient_id)


def _seen(ledger: Ledger, series: LedgerSeries, study: LedgerStudy, state: str) -> JobSeries:
    uids = sorted(ledger.missing(series))
    known = series.basis == "instances"
    received = (series.expected or 0) - len(uids) if known else ledger.here(series)
    missing = None if series.expected is None else max(series.expected - received, 0)
    status, reason = series.state, series.reason
    if status == "busy" and state != "running":
        status = "open"
    elif status in _JUDGED and missing is not None:
        if missing and status == "complete":
            reason = f"It was complete; {_gone(missing)}."
        status = "incomplete" if missing else "complete"
        reason = reason if missing else ""
    return JobSeries(
        series, study, status, received, missing, uids, reason, ledger.requests(series)
    )


def _gone(missing: int) -> str:
    verb = "is" if missing == 1 else "are"
    return f"{count(missing, 'image')} {verb} not in the archive any more"


def _better(one: JobSeries, other: JobSeries) -> JobSeries:
    """Of a series that two queries found, give the one that knows more, with all requests."""

    def knows(this: JobSeries) -> tuple[int, int]:
        expected = this.series.expected
        return -1 if expected is None else expected, this.received

    first = max(one, other, key=knows)
    return first._replace(requests=one.requests + other.requests)


# For programs


def job_document(found: JobInFull) -> dict[str, Any]:
    """Give a job as programs read it."""
    transfer = found.job.transfer
    return {
        "id": transfer.id,
        "state": found.job.state,
        "node": transfer.node,
        "request": dict(transfer.request),
        "reason": found.reason,
        "notes": list(transfer.notes),
        "began_at": transfer.began_at,
        "ended_at": transfer.ended_at or None,
        "seconds": round(transfer.seconds, 3),
        "requested": found.expected,
        "received": found.received,
        "missing": [uid for one in found.series for uid in one.missing_uids],
        "unexpected": found.extras,
        "to_plan": found.job.totals.to_plan,
        "queries": [
            {"number": one.number, "keys": dict(one.keys), "state": one.state, "reason": one.reason}
            for one in found.queries
        ],
        "studies": [
            {"study_instance_uid": one.study_instance_uid, "state": one.state, "reason": one.reason}
            for one in found.studies
        ],
        "series": [_series_object(one) for one in found.series],
    }


def _series_object(one: JobSeries) -> dict[str, Any]:
    return {
        "study_instance_uid": one.series.study_instance_uid,
        "series_instance_uid": one.series.series_instance_uid or None,
        "modality": one.series.modality,
        "series_number": one.series.series_number,
        "series_description": one.series.series_description,
        "expected": one.series.expected,
        "received": one.received,
        "missing": one.missing,
        "status": one.status,
        "attempts": one.series.attempts,
        "reason": one.reason,
        "requests": [_request_object(request) for request in one.requests],
    }


def _request_object(request: Request) -> dict[str, Any]:
    return {
        "method": request.method,
        "level": request.level,
        "asked": request.asked,
        "sent_at": request.sent_at,
        "seconds": request.seconds,
        "status": None if request.status is None else f"{request.status:04X}",
        "completed": request.completed,
        "failed": request.failed,
        "warning": request.warning,
        "reason": request.reason,
    }


# For people


def show_job(out: Output, found: JobInFull, *, missing: bool) -> None:
    """Write a job.

    Args:
        out: Where to.
        found: The job.
        missing: Name the instances that are missing.
    """
    lines = [(name, text) for name, text in _lines(found) if text]
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        out.write(f"{name:{width}}  {visible(text)}\n")
    _write_table(out, "", _series_columns(found.series))
    _write_table(out, "Not planned", _trouble_columns(found))
    if missing:
        _write_table(out, "Missing", _missing_columns(found.series))


def _lines(found: JobInFull) -> Iterator[tuple[str, str]]:
    transfer, totals = found.job.transfer, found.job.totals
    yield "Job", transfer.id
    yield "PACS", transfer.node
    yield "State", f"{found.job.state}: {found.reason}" if found.reason else found.job.state
    yield "Request", _words(transfer.request)
    yield "Began", f"{when(transfer.began_at)} UTC"
    yield "Ended", f"{when(transfer.ended_at)} UTC" if transfer.ended_at else ""
    yield "Worked", f"{transfer.seconds:,.1f} s" if transfer.seconds else ""
    complete = sum(one.status == "complete" for one in found.series)
    yield "Series", f"{complete:,} of {len(found.series):,} complete"
    of = f"{found.expected:,}" if found.expected or not totals.uncounted else "?"
    yield "Images", f"{found.received:,} of {of}, {found.missing:,} missing"
    if totals.to_plan:
        yield "To plan", queries_and_studies(totals.to_plan)
    yield (
        "Besides",
        f"{count(len(found.extras), 'image')} that nobody asked for" * bool(found.extras),
    )
    for note in transfer.notes:
        yield "Note", note


def _words(value: object) -> str:
    """Give what was wanted without the marks of JSON."""
    if isinstance(value, Mapping):
        given = {key: _words(one) for key, one in value.items()}
        return ", ".join(f"{key}={text}" for key, text in given.items() if text)
    if isinstance(value, list):
        return " ".join(map(_words, value))
    return "" if value in (None, False) else str(value)


def _series_columns(series: list[JobSeries]) -> list[Column]:
    def text(value: object) -> str:
        return visible("?" if value is None else str(value))

    return [
        Column("Date", [date_text(text(one.study.study_date)) for one in series], rank=5),
        Column("Study", [text(one.study.study_description) for one in series], rank=3),
        Column("Patient", [visible(person_name(one.study.patient_name)) for one in series], rank=4),
        Column("Patient ID", [text(one.study.patient_id) for one in series], rank=6),
        Column("No.", [text(one.series.series_number) for one in series], True, rank=2),
        Column("Modality", [text(one.series.modality) for one in series], rank=8),
        Column("Description", [text(one.series.series_description) for one in series], rank=1),
        Column("Expected", [text(one.series.expected) for one in series], True),
        Column("Received", [text(one.received) for one in series], True),
        Column("Missing", [text(one.missing) for one in series], True),
        Column("State", [text(one.status) for one in series]),
        Column("Tries", [text(one.series.attempts) for one in series], True, rank=9),
        Column("Reason", [text(one.reason) for one in series], long=True),
        Column(
            "Series Instance UID",
            [text(one.series.series_instance_uid or "(the whole study)") for one in series],
            long=True,
        ),
    ]


def _trouble_columns(found: JobInFull) -> list[Column]:
    rows = [
        (f"row {one.number}" if one.number else "", _words(one.keys), one.state, one.reason)
        for one in found.queries
    ]
    rows += [
        ("", f"study {one.study_instance_uid}", one.state, one.reason) for one in found.studies
    ]
    titles = ("Query", "What", "State", "Reason")
    return [
        Column(title, [visible(row[place]) for row in rows], rank=0)
        for place, title in enumerate(titles)
    ]


def _missing_columns(series: list[JobSeries]) -> list[Column]:
    rows = []
    for one in series:
        uid = one.series.series_instance_uid or one.series.study_instance_uid
        rows += [(missing, uid) for missing in one.missing_uids]
        if one.missing and not one.missing_uids:
            rows.append((f"{count(one.missing, 'image')}: the PACS does not tell which", uid))
    return [
        Column("SOP Instance UID", [visible(row[0]) for row in rows]),
        Column("Series Instance UID", [visible(row[1]) for row in rows], long=True),
    ]


def _write_table(out: Output, title: str, columns: list[Column]) -> None:
    if columns[0].cells:
        text, _ = draw(columns, width=out.terminal_width, colour=out.colour)
        out.write(f"\n{title}\n{text}\n" if title else f"\n{text}\n")
