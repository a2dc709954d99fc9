"""What a PACS has of what is wanted: studies, then their series, then their instances.

In: keys and a client. Out: values, each once, and whether they are all. Each query has keys of
its own level and the unique keys above it, so no PACS has to answer relational queries (PS3.4
§C.4.1.2.2). What is done with what was found does not belong here.

ModalitiesInStudy is never made of a wanted Modality: a PACS that does not support it may ignore
it, which costs little, but also may find nothing, or compare it as one text ("CT\\SR" is not
"CT"), and then studies would be lost. The series of each study are asked for their Modality.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from pypx.client.query import RETURN_KEYS, Level, Model
from pypx.dicom.levels import UNIQUE_KEYS, level_of
from pypx.errors import ConfigError, StatusError
from pypx.retrieve.axes import Axis, Dates, Keys, Names, Numbers, Times, Uids, Values
from pypx.retrieve.limits import Limit, Query, Search
from pypx.retrieve.locating import Known, key_to_locate, locate
from pypx.retrieve.matching import is_exact, is_universal
from pypx.retrieve.whole import Report, Whole
from pypx.values import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from pypx.client.requestor import Found, Requestor
    from pypx.dicom.data_set import DataSet

__all__ = ["Expected", "Finder", "FoundSeries", "FoundStudy", "check_keys", "study_axes"]

_CLOSING = ("StudyInstanceUID", "AccessionNumber", "PatientID")
# The likely ones first; what a study has besides is seen in its matches.
_MODALITIES = (
    *("CT", "MR", "CR", "DX", "US", "XA", "MG", "NM", "PT", "RF", "SR", "PR", "KO", "OT", "SC"),
    *("SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "ES"),
)
_NOUNS = {"patient": "patients", "study": "studies", "series": "series", "image": "images"}


@frozen
class FoundStudy:
    """A study; texts are empty and numbers None where the PACS does not give them."""

    study_instance_uid: str
    patient_id: str
    patient_name: str
    study_date: str
    study_description: str
    accession_number: str
    modalities: tuple[str, ...]
    number_of_series: int | None
    number_of_instances: int | None


@frozen
class FoundSeries:
    """A series; texts are empty and numbers None where the PACS does not give them."""

    study_instance_uid: str
    series_instance_uid: str
    patient_id: str
    modality: str
    series_number: str
    series_description: str
    number_of_instances: int | None


@frozen
class Expected:
    """What is expected of a series.

    Attributes:
        instances: SOP Instance UID to SOP Class UID, which is empty where it is unknown; those
            that are known, which are all if the basis is ``instances``.
        count: How many there are; None if that is unknown.
        basis: ``instances``, ``count`` (of the PACS, and not all UIDs are known) or ``unknown``.
        note: Sentences for the report; empty if there is nothing to say.
    """

    instances: Mapping[str, str]
    count: int | None
    basis: str
    note: str


class _Level:
    """What is known of a PACS at one level."""

    def __init__(self, name: str, axes: tuple[Axis, ...]) -> None:
        self.name = name
        self.axes = axes
        self.limit = Limit()
        self.is_refused = False
        self.has_answered = False


class Finder:
    """Find what one PACS has; it remembers limits and levels that are refused.

    Args:
        client: Asks. While what was found is not at its end, it may need another association.
        model: The query/retrieve model, ``patient`` or ``study`` root.
        today: For ranges of dates that have no end.
        match_limit: After how many matches it ends an answer; None where that is not known.
        known: Knows the studies of series and images that are here.

    Raises:
        ConfigError: There is no such model.
    """

    def __init__(
        self,
        client: Requestor,
        *,
        model: Model | str = "study",
        today: date,
        match_limit: int | None = None,
        known: Known = lambda keyword, uid: None,
    ) -> None:
        self._client = client
        self._model = Model.parse(model)
        self._pacs = str(client.address)
        self._known = known
        axes: dict[str, tuple[Axis, ...]] = {
            "patient": (Dates("PatientBirthDate", today), Names("PatientName")),
            "study": study_axes(today),
            "series": (
                Uids("SeriesInstanceUID"),
                Values("Modality", _MODALITIES),
                Numbers("SeriesNumber"),
            ),
            "image": (Uids("SOPInstanceUID"), Numbers("InstanceNumber")),
        }
        self._levels = {name: _Level(name, own) for name, own in axes.items()}
        if match_limit is not None:
            for level in self._levels.values():
                level.limit.confirm((match_limit, match_limit))

    def studies(self, keys: Keys) -> Whole[FoundStudy]:
        """Find studies; in the patient root model their patients first.

        Args:
            keys: Of all levels; those of the patient and the study are asked for here.

        Returns:
            An iterator. It raises StatusError where the PACS refuses the query, and
            NetworkError, AssociationError or ProtocolError where it does not answer.

        Raises:
            ConfigError: All keys are of lower levels, and none names one series or one image: all
                studies would be looked through.
        """
        check_keys(keys)
        report = Report()
        return Whole(self._studies(keys, report), report)

    def _studies(self, keys: Keys, report: Report) -> Generator[FoundStudy, None, None]:
        if not _has_study_keys(keys) and (keyword := key_to_locate(keys)) is not None:
            above = locate(self._client, self._model, keyword, keys[keyword], self._known)
            keys = {**keys, **above}
        own = self._keys_at("study", keys)
        if self._model is Model.STUDY:
            for match in self._search("study", own, {}, report):
                yield _study(match, {})
            return
        for patient in self._patients(keys, report):
            above = {"PatientID": patient["PatientID"]}
            for match in self._search("study", own, above, report):
                yield _study(match, patient)

    def _patients(self, keys: Keys, report: Report) -> list[dict[str, str]]:
        """Give ID and name of the patients; a list, since their studies are asked for next."""
        own = self._keys_at("patient", keys)
        if own.keys() == {"PatientID"} and is_exact(own["PatientID"]):
            return [dict(own)]
        wanted = "PatientID", "PatientName"
        return [
            {keyword: match.get(keyword) or "" for keyword in wanted}
            for match in self._search("patient", own, {}, report)
        ]

    def series(self, study: FoundStudy, keys: Keys) -> Whole[FoundSeries]:
        """Find the series of a study.

        Where the PACS refuses queries of this level, there are none and ``refused`` is true.

        Args:
            study: Which.
            keys: Of all levels; those of the series are asked for here.

        Returns:
            An iterator, which raises as that of :meth:`studies`.
        """
        report = Report()
        return Whole(self._series(study, self._keys_at("series", keys), report), report)

    def _series(
        self, study: FoundStudy, own: Keys, report: Report
    ) -> Generator[FoundSeries, None, None]:
        level = self._levels["series"]
        above = self._above(study.patient_id) | {"StudyInstanceUID": study.study_instance_uid}
        total = None if own else study.number_of_series
        try:
            if not level.is_refused:
                for match in self._search("series", own, above, report, total):
                    yield _series(match, study)
                level.has_answered = True
                return
        except StatusError:
            # Once it has answered, a failure is one of this study and not of the level.
            level.is_refused = not level.has_answered
        report.is_refused = True
        report.doubt(f"{self._pacs} refuses queries for series.")

    def instances(self, series: FoundSeries, keys: Keys) -> Expected:
        """Find what instances a series has, or at least how many.

        Args:
            series: Which.
            keys: Of all levels; those of the image are asked for here.

        Raises:
            NetworkError, AssociationError, ProtocolError: The PACS did not answer.
        """
        level = self._levels["image"]
        own = self._keys_at("image", keys)
        above = self._above(series.patient_id) | {
            "StudyInstanceUID": series.study_instance_uid,
            "SeriesInstanceUID": series.series_instance_uid,
        }
        total = None if own else series.number_of_instances
        report = Report()
        found: dict[str, str] = {}
        try:
            if level.is_refused:
                report.doubt(f"{self._pacs} refuses queries for images.")
            else:
                for match in self._search("image", own, above, report, total):
                    found[match["SOPInstanceUID"]] = match.get("SOPClassUID") or ""
                level.has_answered = True
        except StatusError as error:
            level.is_refused = not level.has_answered
            report.doubt(error.message)
        if report.is_whole and not (found or own) and total is None:
            report.doubt(f"{self._pacs} finds no images in a series that it has.")
        note = " ".join(report.notes)
        if report.is_whole or (total is not None and len(found) >= total > 0):
            return Expected(found, len(found), "instances", note)
        if total is not None:
            return Expected(found, total, "count", note)
        return Expected(found, None, "unknown", note)

    def _above(self, patient_id: str) -> dict[str, str]:
        """Give the unique key of the patient, where it is one of the model."""
        return {"PatientID": patient_id} if self._model is Model.PATIENT else {}

    def _keys_at(self, level: str, keys: Keys) -> dict[str, str]:
        """Give the keys that have a value and belong to a level.

        The study root model has those of the patient at the study level (PS3.4 §C.6.2). ``*``
        means the same as no value, but Orthanc 1.10 then leaves out what has not the attribute.
        """
        levels = {level}
        if level == "study" and self._model is Model.STUDY:
            levels.add("patient")
        return {
            keyword: value
            for keyword, value in keys.items()
            if level_of(keyword) in levels and not is_universal(value)
        }

    def _search(
        self, name: str, own: Keys, above: Keys, report: Report, total: int | None = None
    ) -> Iterator[DataSet]:
        level = self._levels[name]
        keys = {**own, **above}
        query = Query(
            keys,
            above,
            UNIQUE_KEYS[name],
            _NOUNS[name],
            self._pacs,
            # That some images are missing is known then, and no key names the others.
            level.axes if name != "image" or total is None else (),
            closed=any(is_exact(keys.get(keyword, "")) for keyword in _CLOSING),
            total=total,
        )
        wanted = self._return_keys(name)

        def ask(keys: Keys) -> Found:
            return self._client.find(keys, level=name, model=self._model, return_keys=wanted)

        return Search(query, ask, level.limit, report).matches()

    def _return_keys(self, level: str) -> list[str]:
        """Give the usual ones without those of levels that the model has above."""
        usual = RETURN_KEYS[Level.parse(level)]
        allowed = {level, "patient"} if self._model is Model.STUDY else {level}
        return [key for key in usual if level_of(key) in allowed or key in UNIQUE_KEYS.values()]


def study_axes(today: date) -> tuple[Axis, ...]:
    """Give the axes along which queries for studies are split, in the order to try them.

    Args:
        today: For ranges of dates that have no end.
    """
    return (
        Uids("StudyInstanceUID"),
        Dates("StudyDate", today),
        Times("StudyTime", "StudyDate"),
        Values("ModalitiesInStudy", _MODALITIES),
        Names("PatientName"),
    )


def check_keys(keys: Keys) -> None:
    """Refuse to go through all studies to find series or images.

    Raises:
        ConfigError: All keys are of series or images, and none of them is the UID of one.
    """
    if _has_study_keys(keys) or key_to_locate(keys) is not None:
        return
    for keyword, value in keys.items():
        if value:
            raise ConfigError(
                f"{keyword} alone would look through every study of the PACS.",
                hint="Add a key of the study, for example StudyInstanceUID: "
                "px find NODE -k PatientID=… --tree shows it.",
            )


def _has_study_keys(keys: Keys) -> bool:
    return any(level_of(keyword) in ("patient", "study") for keyword in keys)


def _study(match: DataSet, patient: Mapping[str, str]) -> FoundStudy:
    def text(keyword: str) -> str:
        return match.get(keyword) or patient.get(keyword, "")

    return FoundStudy(
        text("StudyInstanceUID"),
        text("PatientID"),
        text("PatientName"),
        text("StudyDate"),
        text("StudyDescription"),
        text("AccessionNumber"),
        tuple(filter(None, text("ModalitiesInStudy").split("\\"))),
        _number(match, "NumberOfStudyRelatedSeries"),
        _number(match, "NumberOfStudyRelatedInstances"),
    )


def _series(match: DataSet, study: FoundStudy) -> FoundSeries:
    return FoundSeries(
        study.study_instance_uid,
        match["SeriesInstanceUID"],
        study.patient_id,
        match.get("Modality") or "",
        match.get("SeriesNumber") or "",
        match.get("SeriesDescription") or "",
        _number(match, "NumberOfSeriesRelatedInstances"),
    )


def _number(match: DataSet, keyword: str) -> int | None:
    text = (match.get(keyword) or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
