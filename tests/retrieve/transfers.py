"""An archive with a transfer in its ledger, filled as a retrieval fills it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pypx.archive import Archive
from pypx.archive.transfers import LedgerSeries, LedgerStudy, Query, Request, Transfer
from tests.archive.helpers import store
from tests.objects import CT_IMAGE

__all__ = ["Job", "job", "uid_of"]


class Job:
    """A transfer, and short ways to let things happen to it."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.ledger = archive.ledger
        self._id = self.ledger.begin("hospital", {"keys": {"PatientID": "4711"}}, "x").id
        self.queries: list[Query] = []
        self.query()

    @property
    def transfer(self) -> Transfer:
        found = self.ledger.find(self._id)
        assert found is not None
        return found

    def query(self, state: str = "found", reason: str = "", **keys: str) -> Query:
        number = len(self.queries)
        self.ledger.add_queries(self.transfer, [(number, keys or {"PatientID": "4711"})])
        taken = self.ledger.next_query(self.transfer)
        assert taken is not None
        self.ledger.close_query(taken, state, reason)
        self.queries.append(taken)
        return taken

    def study(
        self, uid: str = "1.2.3", state: str = "planned", reason: str = "", **values: Any
    ) -> LedgerStudy:
        """Find a study by the query that was made last."""
        values = {
            "patient_id": "4711",
            "patient_name": "Doe^Jane",
            "study_date": "20240131",
            "study_description": "Thorax",
        } | values
        found = LedgerStudy(0, 0, uid, **values)
        self.ledger.add_studies(self.transfer, self.queries[-1], [found])
        taken = self.ledger.next_study(self.transfer)
        assert taken is not None
        self.ledger.close_study(taken, state, reason)
        return taken

    def series(
        self,
        study: LedgerStudy,
        uid: str = "1.2.3.4",
        numbers: range = range(0),
        basis: str = "instances",
        **values: Any,
    ) -> LedgerSeries:
        """Plan a series with the instances of these numbers."""
        expected = None if basis == "unknown" else len(numbers)
        values = {"modality": "CT", "series_number": "2", "expected": expected} | values
        planned = LedgerSeries(
            0, study.pk, study.study_instance_uid, study.patient_id, uid, basis=basis, **values
        )
        uids = {uid_of(number): CT_IMAGE for number in numbers} if basis == "instances" else {}
        return self.ledger.add_series(self.transfer, study, planned, uids)

    def close(self, series: LedgerSeries, state: str = "complete", reason: str = "") -> None:
        here = self.ledger.here(series)
        self.ledger.close_series(series, state, received=here, attempts=1, reason=reason)

    def ask(self, series: LedgerSeries, outcome: Request, method: str = "move") -> None:
        pk = self.ledger.note_request(self.transfer, series, method, "series", series.expected)
        self.ledger.close_request(pk, outcome)

    def end(self, state: str = "complete", reason: str = "", seconds: float = 2.0) -> Transfer:
        self.ledger.set_state(self.transfer, state, reason, seconds)
        return self.transfer

    def receive(self, *numbers: int, **changes: Any) -> None:
        for number in numbers:
            store(self.archive, number, **changes)


def uid_of(number: int) -> str:
    """Give the SOP Instance UID of the instance of a number."""
    return f"1.2.3.4.{number}"


@contextmanager
def job(folder: Path, *here: int, **changes: Any) -> Iterator[Job]:
    """Lend a job of an archive that has these instances before it begins."""
    with Archive(folder / "archive", durability="none") as archive:
        for number in here:
            store(archive, number, **changes)
        yield Job(archive)
