"""A transfer summed up: its verdict, its JSON document, a line a study.

In: the account of a transfer. Out: numbers and words. Not here: where they are shown.

The verdict is about the set of instances, not about what the PACS said: a transfer is complete
when every expected instance is in the archive now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pypx.errors import PypxError, error_object
from pypx.text import count
from pypx.values import frozen

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.archive.account import SeriesAccount, StudyAccount
    from pypx.archive.transfers import Query, Transfer

__all__ = [
    "FRUITLESS",
    "StudyLine",
    "Sums",
    "Verdict",
    "document",
    "study_lines",
    "judge",
    "study_verdict",
    "verdict_of",
]

FRUITLESS = ("no-match", "too-many", "failed", "malformed")
"""The states of queries that gave nothing to fetch."""


@frozen
class Sums:
    """The series of a transfer, summed up; mind that they may change while it runs.

    Attributes:
        studies: How many were found.
        unplanned: How many of them have series that are not known: not yet, or never.
        unproven: How many of them may have more series than the PACS says.
        series: How many series they have.
        complete: How many of these are complete.
        uncounted: How many of these have a number of instances that nobody knows.
        expected: The instances of the others.
        received: How many instances came since the transfer began.
        here_before: How many were here before.
        missing: How many are known to be missing.
        unfinished: How many of these will be asked for yet.
        bytes: The size of the files that came.
    """

    studies: int = 0
    unplanned: int = 0
    unproven: int = 0
    series: int = 0
    complete: int = 0
    uncounted: int = 0
    expected: int = 0
    received: int = 0
    here_before: int = 0
    missing: int = 0
    unfinished: int = 0
    bytes: int = 0

    def with_study(self, study: StudyAccount) -> Sums:
        """Give the sums with one study more."""
        series = study.series
        return Sums(
            self.studies + 1,
            self.unplanned + (study.state != "planned"),
            self.unproven + (study.state == "planned" and bool(study.reason)),
            self.series + len(series),
            self.complete + study.complete,
            self.uncounted + sum(one.expected is None for one in series),
            self.expected + study.expected,
            self.received + sum(one.received for one in series),
            self.here_before + sum(one.here_before for one in series),
            self.missing + study.missing,
            self.unfinished + sum(one.missing for one in series if not one.is_done),
            self.bytes + sum(one.bytes for one in series),
        )

    @property
    def here(self) -> int:
        """How many instances the archive has."""
        return self.received + self.here_before

    @property
    def is_whole(self) -> bool:
        """Whether every series is known to be complete."""
        doubts = self.missing + self.unplanned + self.unproven
        return not doubts and self.complete == self.series

    @property
    def is_here_now(self) -> bool:
        """Whether all is here, however the transfer ended: something came since."""
        doubts = self.missing + self.unplanned + self.unproven + self.uncounted
        return bool(self.series) and not doubts


@frozen
class Verdict:
    """What to make of a transfer.

    Attributes:
        word: ``complete``, ``incomplete``, ``unknown`` (nobody can show that it is complete),
            ``running``, ``cancelled`` or ``failed``.
        sentence: In a sentence, with the numbers.
        hint: What to try; may be empty.
    """

    word: str
    sentence: str
    hint: str = ""


def judge(archive: Archive, transfer: Transfer) -> tuple[Sums, Verdict]:
    """Sum a transfer up as it stands now, and say what to make of it.

    Raises:
        IndexUnavailableError: The index cannot be read.
    """
    account, sums = archive.account(transfer), Sums()
    for study in account.studies():
        sums = sums.with_study(study)
    return sums, verdict_of(transfer, sums, account.queries())


def verdict_of(transfer: Transfer, sums: Sums, queries: Mapping[str, int]) -> Verdict:
    """Say how a transfer stands, by what it says of itself and by what is here now.

    Args:
        transfer: As the ledger gives it.
        sums: Of its studies.
        queries: How many of its queries are in which state.
    """
    again = f"'px retrieve --resume {transfer.id}' asks only for what is missing."
    so_far = f"{sums.here:,} of {count(sums.expected, 'instance')} {_is(sums.here)} here so far"
    because = f" {transfer.reason}" if transfer.reason else ""
    match transfer.state:
        case "running":
            return Verdict("running", f"In progress: {so_far}.")
        case "cancelled":
            return Verdict("cancelled", f"Cancelled: {so_far}.{because}", again)
        case "failed":
            return Verdict("failed", f"Failed: {so_far}.{because}", again)
        case "incomplete" if sums.is_here_now and not _is_fruitless(queries):
            return Verdict("complete", f"Complete by now: {_here(sums)}.")
        case "complete" if sums.is_whole:
            if not sums.series:
                return Verdict("complete", f"Complete: there was nothing to fetch.{because}")
            return Verdict("complete", f"Complete: {_here(sums)}.")
    if sums.missing:
        lost = "It was complete, but now " if transfer.state == "complete" else "Incomplete: "
        number = f"{sums.missing:,} of {count(sums.expected, 'instance')}"
        return Verdict("incomplete", f"{lost}{number} {_is(sums.missing)} missing.", again)
    known, unknown = list(_known_failures(sums, queries)), list(_doubts(sums, queries))
    here = f"{_here(sums)}, but " if sums.series else ""
    what = f"{here}{' and '.join(known or unknown or ['not all could be confirmed'])}"
    if known or not unknown:
        hint = again if sums.unplanned or queries.get("failed") or not known else ""
        return Verdict("incomplete", f"Incomplete: {what}.", hint)
    return Verdict("unknown", f"Not shown to be complete: {what}.")


def _is_fruitless(queries: Mapping[str, int]) -> bool:
    return any(queries.get(state) for state in (*FRUITLESS, "unknown"))


def _known_failures(sums: Sums, queries: Mapping[str, int]) -> Iterator[str]:
    """Name what is known not to have been fetched."""
    total = sum(queries.values())
    for state, words in (
        ("no-match", "matched nothing"),
        ("too-many", "matched too many studies"),
        ("failed", "failed"),
        ("malformed", "could not be asked for"),
    ):
        if number := queries.get(state):
            which = "the query" if total == 1 else f"{number:,} of {total:,} queries"
            yield f"{which} {words}"
    if sums.unplanned:
        yield f"the series of {count(sums.unplanned, 'study', 'studies')} are not known"


def _doubts(sums: Sums, queries: Mapping[str, int]) -> Iterator[str]:
    """Name what nobody can show to be complete."""
    if sums.uncounted:
        yield (
            "the PACS does not say how many instances "
            f"{sums.uncounted:,} of {sums.series:,} series have"
        )
    if sums.unproven:
        yield f"{count(sums.unproven, 'study', 'studies')} may have more series than the PACS says"
    if queries.get("unknown") and not sums.uncounted and not sums.unproven:
        yield "there may be more studies than the PACS says"


def _here(sums: Sums) -> str:
    if sums.uncounted or sums.missing or not sums.expected:
        return f"{count(sums.here, 'instance')} {_is(sums.here)} here"
    if sums.expected == 1:
        return "the instance is here"
    return f"all {sums.expected:,} instances are here"


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


# The document


class _PartialError(PypxError):
    kind = "partial"


def document(
    archive: Archive, transfer: Transfer, error: PypxError | None = None
) -> dict[str, Any]:
    """Give a transfer as ``--json`` has it.

    ``requested`` are the instances that are expected, as far as their number is known;
    ``received`` are those that are here now, also of series whose number is not known:
    ``completed`` of them came since the transfer began, ``here_before`` are the others. What is
    missing is ``failed`` where the series is done with, and ``remaining`` where it will be asked
    for yet; ``missing`` names both, as far as the PACS does. ``warning`` counts the sub-operations
    that the PACS says it did with a warning. A transfer that goes on has the status ``running``.

    Args:
        archive: Where it was retrieved to.
        transfer: As the ledger gives it now.
        error: What ended the command; without one, what is incomplete has an error of its own.

    Raises:
        IndexUnavailableError: The index cannot be read.
    """
    account = archive.account(transfer)
    sums, series, unplanned = Sums(), [], []
    for study in account.studies():
        sums = sums.with_study(study)
        series += [_series_object(one) for one in study.series]
        if study.state != "planned" or not study.series:
            unplanned.append(_study_object(study))
    verdict = verdict_of(transfer, sums, account.queries())
    missing, failed = [], []
    for _, uid, is_done in account.missing():
        missing.append(uid)
        if is_done:
            failed.append(uid)
    _, warnings, _ = account.numbers()
    found: dict[str, Any] = {
        "id": transfer.id,
        "node": transfer.node,
        "status": _status(verdict),
        "verdict": verdict.sentence,
        "completed": sums.received,
        "failed": sums.missing - sums.unfinished,
        "warning": warnings,
        "remaining": sums.unfinished,
        "failed_sop_instance_uids": failed,
        "seconds": round(transfer.seconds, 3),
        "bytes": sums.bytes,
        "requested": sums.expected,
        "received": sums.here,
        "here_before": sums.here_before,
        "missing": missing,
        "unexpected_sop_instance_uids": list(account.unexpected()),
        "notes": list(transfer.notes),
        "series": series,
        "studies_without_series": unplanned,
        "queries": [_query_object(one) for one in _not_found(archive, transfer)],
    }
    if error is None and verdict.word not in ("complete", "running"):
        error = _PartialError(verdict.sentence, hint=verdict.hint)
    return found | ({"error": error_object(error)} if error else {})


def _status(verdict: Verdict) -> str:
    match verdict.word:
        case "complete":
            return "success"
        case "incomplete" | "unknown":
            return "warning"
        case "failed":
            return "failure"
        case word:
            return word


def _series_object(series: SeriesAccount) -> dict[str, Any]:
    return {
        "series_instance_uid": series.series_instance_uid or None,
        "study_instance_uid": series.study_instance_uid,
        "expected": series.expected,
        "received": series.here,
        "status": series.state,
        "reason": series.reason,
    }


def _study_object(study: StudyAccount) -> dict[str, Any]:
    return {
        "study_instance_uid": study.study_instance_uid,
        "status": study.state,
        "reason": study.reason,
    }


def _query_object(query: Query) -> dict[str, Any]:
    return {
        "number": query.number,
        "keys": dict(query.keys),
        "status": query.state,
        "reason": query.reason,
    }


def _not_found(archive: Archive, transfer: Transfer) -> Iterator[Query]:
    """Give the queries that found nothing to fetch."""
    return (one for one in archive.ledger.queries(transfer) if one.state in FRUITLESS)


# A line a study


@frozen
class StudyLine:
    """A study of a transfer.

    Attributes:
        complete: How many of its series are complete.
        received: How many of its instances are here.
        expected: How many there are; None where that is not known of a series.
        verdict: ``complete``, ``incomplete``, ``unknown``, ``open`` or ``failed``.
        reason: Why it is not complete: what is said of the first series that is not.
    """

    study_instance_uid: str
    study_date: str
    study_description: str
    patient_name: str
    complete: int
    series: int
    received: int
    expected: int | None
    verdict: str
    reason: str


def study_lines(archive: Archive, transfer: Transfer) -> Iterator[StudyLine]:
    """Give a line for each study of a transfer, in the order in which they were found.

    Raises:
        IndexUnavailableError: The index cannot be read.
    """
    return map(study_line, archive.account(transfer).studies())


def study_line(study: StudyAccount) -> StudyLine:
    """Sum a study up."""
    reasons = (one.reason for one in study.series if one.state != "complete")
    counted = bool(study.series) and all(one.expected is not None for one in study.series)
    return StudyLine(
        study.study_instance_uid,
        study.study_date,
        study.study_description,
        study.patient_name,
        study.complete,
        len(study.series),
        study.here,
        study.expected if counted else None,
        study_verdict(study),
        study.reason or next(filter(None, reasons), ""),
    )


def study_verdict(study: StudyAccount) -> str:
    """Say in a word how a study stands."""
    if study.state == "failed":
        return "failed"
    if study.state != "planned" or not all(one.is_done for one in study.series):
        return "open"
    if not study.series:
        return "unknown"
    if study.complete == len(study.series):
        return "unknown" if study.reason else "complete"
    if study.missing or any(one.state == "incomplete" for one in study.series):
        return "incomplete"
    return "unknown"
