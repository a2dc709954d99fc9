"""From queries to series: what is there, how much of each, and what of it is here.

In: queries and studies of the ledger, a finder. Out: studies and series in the ledger. Not here:
how a PACS is queried, and asking for anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pypx.archive.ledger import Ledger
from pypx.archive.transfers import OPEN, LedgerSeries, LedgerStudy, Query, Transfer
from pypx.batches import batches
from pypx.errors import StatusError
from pypx.retrieve.finding.finder import Finder, FoundSeries, FoundStudy
from pypx.values import replace

__all__ = ["Planner"]

_BATCH = 100
_FAILED = "failed"
_MORE = "There may be more {} than the PACS says."


class Planner:
    """Plans with one finder.

    Args:
        finder: Asks the PACS.
        ledger: Where the plan is noted down.
        transfer: Of which job.
        max_studies: A query that finds more is not retrieved; None for any number.
        tell: Takes a sentence for the user and the report.
        detail: Takes what only the curious want to know.
        is_cancelled: Whether the user wants no more.
    """

    def __init__(
        self,
        finder: Finder,
        ledger: Ledger,
        transfer: Transfer,
        *,
        max_studies: int | None,
        tell: Callable[[str], None],
        detail: Callable[[str], None],
        is_cancelled: Callable[[], bool],
    ) -> None:
        self._finder = finder
        self._ledger = ledger
        self._transfer = transfer
        self._max_studies = max_studies
        self._tell = tell
        self._detail = detail
        self._is_cancelled = is_cancelled

    def find_studies(self, query: Query) -> Query:
        """Note down the studies of a query; give it as it is then: ``open`` if the user wants no
        more.

        Raises:
            NetworkError, AssociationError, ProtocolError: The PACS could not be asked.
        """
        number = 0
        found = self._finder.studies(query.keys)
        try:
            for batch in batches(found, _BATCH):
                number += len(batch)
                if self._max_studies is not None and number > self._max_studies:
                    found.close()
                    self._ledger.drop_studies(query)
                    reason = f"It matches more than {self._max_studies} studies."
                    return self._close(query, "too-many", reason)
                self._ledger.add_studies(self._transfer, query, map(_study, batch))
                if self._is_cancelled():
                    found.close()
                    return self._close(query, OPEN, "")
        except StatusError as error:
            return self._close(query, _FAILED, error.message)
        for note in found.notes:
            self._tell(note)
        if not number:
            return self._close(query, "no-match", "Nothing on the PACS matches.")
        return self._close(query, "found", "" if found.is_whole else _MORE.format("studies"))

    def _close(self, query: Query, state: str, reason: str) -> Query:
        self._ledger.close_query(query, state, reason)
        return replace(query, state=state, reason=reason)

    def find_series(self, study: LedgerStudy, keys: Mapping[str, str]) -> None:
        """Note down the series of a study, and what is expected of each.

        Raises:
            NetworkError, AssociationError, ProtocolError: The PACS could not be asked.
        """
        try:
            found = self._finder.series(_found(study), keys)
            series = list(found)
        except StatusError as error:
            self._ledger.close_study(study, _FAILED, error.message)
            return
        for note in found.notes:
            self._tell(note)
        if found.refused:
            self._add_whole_study(study)
        else:
            for one in series:
                if self._is_cancelled():
                    self._ledger.close_study(study, OPEN)
                    return
                self._add_series(study, one, keys)
        is_whole = found.is_whole or found.refused  # then it is asked for as a whole
        self._ledger.close_study(study, "planned", "" if is_whole else _MORE.format("series"))

    def _add_whole_study(self, study: LedgerStudy) -> None:
        count = study.number_of_instances
        basis = "unknown" if count is None else "count"
        self._ledger.add_series(self._transfer, study, _series(study, basis, count), {})

    def _add_series(self, study: LedgerStudy, found: FoundSeries, keys: Mapping[str, str]) -> None:
        expected = self._finder.instances(found, keys)
        if expected.note:
            self._detail(expected.note)
        series = _series(study, expected.basis, expected.count, found)
        self._ledger.add_series(self._transfer, study, series, expected.instances)


def _found(study: LedgerStudy) -> FoundStudy:
    return FoundStudy(
        study_instance_uid=study.study_instance_uid,
        patient_id=study.patient_id,
        patient_name=study.patient_name,
        study_date=study.study_date,
        study_description=study.study_description,
        accession_number=study.accession_number,
        modalities=(),
        number_of_series=study.number_of_series,
        number_of_instances=study.number_of_instances,
    )


def _study(found: FoundStudy) -> LedgerStudy:
    return LedgerStudy(
        0,
        0,
        found.study_instance_uid,
        found.patient_id,
        found.patient_name,
        found.study_date,
        found.study_description,
        found.accession_number,
        found.number_of_instances,
        found.number_of_series,
    )


def _series(
    study: LedgerStudy, basis: str, count: int | None, found: FoundSeries | None = None
) -> LedgerSeries:
    return LedgerSeries(
        0,
        study.pk,
        study.study_instance_uid,
        study.patient_id,
        found.series_instance_uid if found else "",
        found.modality if found else "",
        found.series_number if found else "",
        found.series_description if found else "",
        basis,
        count,
    )
