"""The values of the ledger: what is noted down of a transfer.

In: nothing. Out: values. Not here: where they are kept, and what is done with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pypx.values import frozen

__all__ = [
    "OPEN",
    "LedgerSeries",
    "LedgerStudy",
    "Query",
    "Request",
    "Standing",
    "Totals",
    "Transfer",
]

OPEN = "open"
"""Nobody has worked on it; ``busy`` is what somebody works on now."""


@frozen
class Transfer:
    """A job: everything that one command asked of a PACS.

    Attributes:
        pk: In the index.
        id: What users call it by.
        node: The name of the PACS.
        request: What was wanted.
        state: ``running``, ``complete``, ``incomplete``, ``unknown`` (nobody can show that it is
            complete), ``cancelled``, ``failed``, or ``planned`` where it is not to be run.
        reason: Why, in a sentence.
        notes: Sentences for the report.
        began_at: UTC, ISO 8601.
        ended_at: The same; empty while it runs.
        seconds: How long it worked.
    """

    pk: int
    id: str
    node: str
    request: Mapping[str, Any]
    state: str
    reason: str
    notes: tuple[str, ...]
    began_at: str
    ended_at: str
    seconds: float

    @property
    def is_unfinished(self) -> bool:
        """Whether something ended it before it had tried all there is to try."""
        return self.state in ("running", "cancelled", "failed")


@frozen
class Query:
    """One thing that was looked for: the row of a list, or the keys of the command.

    Attributes:
        pk: In the index.
        number: Its row in the list; 0 where there is none.
        keys: Keyword to value.
        state: ``open``, ``busy``, ``found``; then ``complete``, ``incomplete``, ``unknown``,
            ``no-match``, ``too-many``, ``failed`` or ``malformed``.
        reason: Why, in a sentence.
    """

    pk: int
    number: int
    keys: Mapping[str, str]
    state: str
    reason: str


@frozen
class LedgerStudy:
    """A study that a query found.

    Attributes:
        pk: In the index; 0 before it is there, as ``query_pk``.
        number_of_instances: As the PACS says; None where it does not.
        number_of_series: The same.
        state: ``open``, ``busy``, ``planned`` or ``failed``.
        reason: Why, in a sentence.
    """

    pk: int
    query_pk: int
    study_instance_uid: str
    patient_id: str = ""
    patient_name: str = ""
    study_date: str = ""
    study_description: str = ""
    accession_number: str = ""
    number_of_instances: int | None = None
    number_of_series: int | None = None
    state: str = OPEN
    reason: str = ""


@frozen
class LedgerSeries:
    """A series that is asked for; or a whole study, where the PACS does not tell its series.

    Attributes:
        pk: In the index; 0 before it is there, as ``study_pk``.
        series_instance_uid: Empty for a whole study.
        basis: What is known of its instances: ``instances`` their UIDs, ``count`` how many they
            are, ``unknown`` nothing.
        expected: How many; None where that is not known.
        here_before: How many of them were here when the series was planned.
        received: How many of them are here, as last noted down.
        state: ``open``, ``busy``, ``complete``, ``incomplete``, ``unknown``.
        attempts: How often it was asked for.
        reason: Why it is not complete, in a sentence.
    """

    pk: int
    study_pk: int
    study_instance_uid: str
    patient_id: str
    series_instance_uid: str
    modality: str = ""
    series_number: str = ""
    series_description: str = ""
    basis: str = "unknown"
    expected: int | None = None
    here_before: int = 0
    received: int = 0
    state: str = OPEN
    attempts: int = 0
    reason: str = ""


@frozen
class Request:
    """One C-MOVE or C-GET.

    Attributes:
        method: ``move`` or ``get``.
        level: ``study``, ``series`` or ``image``.
        asked: How many instances it is about; None where that is not known.
        sent_at: UTC, ISO 8601.
        seconds: Until it ended; None for one whose end nobody saw. So are the others.
        status: The final status of the PACS.
        completed: How many sub-operations it calls completed; so also the other numbers.
        reason: What was wrong, in a sentence.
    """

    method: str = ""
    level: str = ""
    asked: int | None = None
    sent_at: str = ""
    seconds: float | None = None
    status: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    reason: str = ""


@frozen
class Standing:
    """How the studies and series of a query stand.

    Attributes:
        studies: How many there are.
        studies_failed: How many of them could not be planned.
        studies_doubtful: Of how many it cannot be shown that all series are known.
        series: How many there are.
        complete: How many of them are complete.
        unknown: Of how many it is not known how many instances there are.
        expected: The instances of the others.
        received: How many instances are here.
        reason: Why one of the series is not complete.
    """

    studies: int
    studies_failed: int
    studies_doubtful: int
    series: int
    complete: int
    unknown: int
    expected: int
    received: int
    reason: str


@frozen
class Totals:
    """A transfer in numbers.

    Attributes:
        series: How many series were planned; each counts once.
        complete: How many of them are complete.
        expected: The instances of those whose number is known.
        received: How many of them are here; of no series more than are expected.
        here_before: How many were here before they were planned.
        uncounted: The series whose number of instances is not known.
        to_plan: Queries and studies that are not planned yet.
        received_uncounted: What is here of the series whose number of instances is not known.
    """

    series: int
    complete: int
    expected: int
    received: int
    here_before: int
    uncounted: int
    to_plan: int
    received_uncounted: int = 0
