"""Transfers in a ledger, as px retrieve leaves them, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pypx.archive.ledger import Ledger
from pypx.archive.transfers import LedgerSeries, LedgerStudy, Query, Transfer
from tests.objects import CT_IMAGE

__all__ = ["SERIES", "STUDY", "begin", "expect", "find", "plan", "series_of", "uids"]

STUDY, SERIES = "1.2.3", "1.2.3.4"


def uids(numbers: Iterable[int]) -> dict[str, str]:
    """Give the instances that ``tests.archive.helpers.store`` stores under these numbers."""
    return {f"1.2.3.4.{number}": CT_IMAGE for number in numbers}


def begin(ledger: Ledger, *keys: Mapping[str, str], fingerprint: str = "f", **request: Any) -> Any:
    """Begin a transfer with these queries; one with a Patient ID where none is given."""
    transfer = ledger.begin("hospital", request, fingerprint)
    queries = keys or ({"PatientID": "4711"},)
    first = 0 if len(queries) == 1 else 1
    ledger.add_queries(transfer, enumerate(queries, first))
    return transfer


def find(ledger: Ledger, transfer: Transfer, study: str = STUDY, **facts: Any) -> LedgerStudy:
    """Let the next query find a study, and take that."""
    query = ledger.next_query(transfer)
    assert isinstance(query, Query)
    described = {"patient_id": "4711", "patient_name": "Doe^Jane", "study_date": "20240131"}
    found = LedgerStudy(0, 0, study, **{**described, "study_description": "Thorax", **facts})
    ledger.add_studies(transfer, query, [found])
    ledger.close_query(query, "found")
    taken = ledger.next_study(transfer)
    assert taken is not None
    return taken


def series_of(uid: str = SERIES, **facts: Any) -> LedgerSeries:
    """Give a series as a PACS describes it."""
    described = {"modality": "CT", "series_number": "2", "series_description": "Axial"}
    return LedgerSeries(0, 0, STUDY, "4711", uid, **{**described, **facts})


def expect(
    ledger: Ledger,
    transfer: Transfer,
    study: LedgerStudy,
    numbers: Iterable[int] | None,
    uid: str = SERIES,
    *,
    count: int | None = None,
) -> LedgerSeries:
    """Plan a series of the instances of these numbers, or of so many, or of unknown ones."""
    if numbers is not None:
        known = uids(numbers)
        series = series_of(uid, basis="instances", expected=len(known))
        return ledger.add_series(transfer, study, series, known)
    basis = "unknown" if count is None else "count"
    return ledger.add_series(transfer, study, series_of(uid, basis=basis, expected=count), {})


def plan(
    ledger: Ledger,
    numbers: Iterable[int] | None,
    *,
    count: int | None = None,
    state: str = "running",
    fingerprint: str = "f",
    reason: str = "",
) -> Transfer:
    """Make a transfer of one series, take the series, and end both in a state."""
    transfer: Transfer = begin(ledger, fingerprint=fingerprint, keys={"PatientID": "4711"})
    study = find(ledger, transfer)
    series = expect(ledger, transfer, study, numbers, count=count)
    ledger.close_study(study, "planned")
    if state != "running":
        here = ledger.here(series)
        ledger.close_series(series, state, received=here, attempts=1, reason=reason)
        ledger.set_state(transfer, state, reason, 2.0)
    found = ledger.find(transfer.id)
    assert found is not None
    return found
