"""What a PACS answers to queries (C-FIND): levels, models, kinds of keys, limits, text.

In: a case whose association works. Out: findings, and a study, a series and an instance to go on
with. A clinical PACS has other things to do, so there are few queries, and each is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from pypx.client.query import RETURN_KEYS, Level, Model
from pypx.dicom.data_set import DataSet
from pypx.dicom.levels import UNIQUE_KEYS, level_of
from pypx.doctor.case import Case, Sample
from pypx.doctor.questions import MOST_MATCHES, Answer, Questions
from pypx.doctor.steps import Finding, Status
from pypx.doctor.texts import UTF_8, look_at
from pypx.errors import StatusError
from pypx.retrieve.finding.limits import Limit
from pypx.retrieve.finding.matching import Criterion, read_date

__all__ = ["Querying"]

_DAYS = (1, 7, 30, 365)
_LIGHT = (
    *("StudyInstanceUID", "StudyDate", "PatientName", "PatientID", "ModalitiesInStudy"),
    *("StudyDescription", "AccessionNumber"),
)
# Whose instances are small, the best first; what is large by nature stands nowhere.
_SMALL = ("CT", "MR", "PT", "NM", "CR", "SC", "OT", "US", "SR", "DX")
_OTHERS = ("CT", "MR")
_FEW = 10  # fewer studies than these are no sign of a limit while there is more to ask for


class Querying:
    """Ask, and learn from the answers.

    Args:
        case: What is known.
        questions: What asks.
        today: For ranges of dates.
    """

    def __init__(self, case: Case, questions: Questions, today: date) -> None:
        self._case = case
        self._questions = questions
        self._today = today
        self._seen: list[DataSet] = []  # with text
        self._by_level: dict[str, Answer] = {}
        self.widest: tuple[dict[str, str], Answer] | None = None
        self.cut_at: int | None = None  # of a series or image query

    # Levels

    def studies(self) -> Finding:
        """Find studies, of few days first, and take one to go on with."""
        case, error = self._case, None
        for keys in self._ranges():
            try:
                answer = self._ask(keys, "study", case.model, _LIGHT)
            except StatusError as refused:
                error = refused
                continue
            self.widest = keys, answer
            if self._is_enough(answer):
                break
        if self.widest is None:
            assert error is not None  # each of the ranges was refused
            if case.model is not Model.PATIENT:
                raise error
            self.widest = self._studies_of_a_patient()
        answer = self.widest[1]
        uids = [match.get("StudyInstanceUID") or "" for match in answer.matches]
        named = dict.fromkeys(filter(None, uids))
        repeated = len(uids) - len(named)
        facts = {"model": case.model.value, "matches": len(uids), "repeated": repeated}
        if not named:
            return Finding(
                "It has no study for us, so no more can be asked.",
                Status.FAILED,
                "Does it hold images, and may our AE title see them? Some show only some studies.",
                facts,
                exit_code=1,
            )
        self._seen += answer.matches
        case.sample = _sample(min(answer.matches, key=_rank))
        case.learnt.model = case.model.value
        said = f"It gives studies in the {case.model.value} root model"
        said += f"; {repeated} of {len(uids)} matches came twice." if repeated else "."
        return Finding(said, facts=facts)

    def _studies_of_a_patient(self) -> tuple[dict[str, str], Answer]:
        """Go the way that the patient root model has for all (PS3.4 §C.4.1.2.1)."""
        patients = self._ask({}, "patient", Model.PATIENT, ("PatientID",))
        known = (match.get("PatientID") for match in patients.matches)
        keys = {"PatientID": next(filter(None, known), "")}
        return keys, self._ask(keys, "study", Model.PATIENT, _LIGHT)

    def _ranges(self) -> list[dict[str, str]]:
        last = self._today + timedelta(days=1)  # it may be tomorrow already where the PACS is
        ranges = [f"{self._today - timedelta(days=days):%Y%m%d}-{last:%Y%m%d}" for days in _DAYS]
        return [*({"StudyDate": one} for one in ranges), {}]

    def _is_enough(self, answer: Answer) -> bool:
        number = len(answer.matches)
        suspect = number >= _FEW and Limit().suspects((number, number), closed=False)
        return answer.is_cut or number >= MOST_MATCHES or suspect

    def series(self) -> Finding:
        """Find the series of the study, and take one with few and small instances."""
        sample = self._sample
        above = {**self._case.keys(), "StudyInstanceUID": sample.study}
        finding = self._level("series", above, None)
        answer = self._by_level.get("series")
        if answer is not None and answer.matches:
            chosen = min(answer.matches, key=_rank)
            sample.series = chosen.get("SeriesInstanceUID") or ""
            sample.in_series = _number(chosen, "NumberOfSeriesRelatedInstances")
        return finding

    def images(self) -> Finding:
        """Find the instances of the series, and take one."""
        sample = self._sample
        if not sample.series:
            return Finding("No series is known whose images could be asked for.", Status.SKIPPED)
        above = {
            **self._case.keys(),
            "StudyInstanceUID": sample.study,
            "SeriesInstanceUID": sample.series,
        }
        finding = self._level("image", above, sample.in_series)
        answer = self._by_level.get("image")
        if answer is not None and answer.matches:
            sample.instance = answer.matches[0].get("SOPInstanceUID") or ""
            sample.sop_class = answer.matches[0].get("SOPClassUID") or ""
        return finding

    def _level(self, level: str, above: dict[str, str], counted: int | None) -> Finding:
        """Ask at a level, and compare with what the PACS counts."""
        learnt = self._case.learnt
        try:
            answer = self._ask(above, level, self._case.model, _usual(level))
        except StatusError as error:
            learnt.refused_levels.append(level)
            facts = {"status": f"{error.status:04X}"}
            hint = "px retrieve does without them; what came cannot be compared by UID then."
            known = level in self._case.target.refused_levels
            return Finding(error.message, Status.WARNING, hint, facts).unless(known)
        self._by_level[level] = answer
        number = len({match.get(UNIQUE_KEYS[level]) for match in answer.matches})
        facts_ = {"matches": len(answer.matches), "counted": counted}
        noun = "images" if level == "image" else "series"
        short = counted is not None and number < counted and answer.status is not None
        if answer.is_cut or short:
            if answer.is_cut or Limit().suspects((number, number), closed=False):
                self.cut_at = number
            how = f"with status {answer.status:04X}H" if answer.is_cut else "without saying so"
            most = f", of {counted} that it counts" if counted is not None else ""
            hint = "px retrieve notices that, and asks in another way."
            said = f"It ends the answer after {number} {noun}{most}, {how}."
            known = self._case.target.match_limit == number
            return Finding(said, Status.WARNING, hint, facts_).unless(known)
        if not number:
            said = f"It gives no {noun} where there have to be some."
            hint = "Is the archive behind it complete? Ask again for a study of today."
            return Finding(said, Status.WARNING, hint, facts_)
        return Finding(f"It gives {number} {noun}.", facts=facts_)

    def patients(self) -> Finding:
        """Find the patient of the study, in the patient root model."""
        if Model.PATIENT.find_sop_class not in self._case.accepted:
            return Finding("It does not take queries in the patient root model.", Status.SKIPPED)
        if not self._sample.patient_id:
            return Finding("The study has no PatientID to ask for.", Status.SKIPPED)
        try:
            keys = {"PatientID": self._sample.patient_id}
            answer = self._ask(keys, "patient", Model.PATIENT, _usual("patient"))
        except StatusError as error:
            return Finding(f"{error.message} px does without.", facts=_status(error))
        self._by_level["patient"] = answer
        number = len(answer.matches)
        return Finding(f"It gives {number or 'no'} patient.", facts={"matches": number})

    def other_model(self) -> Finding:
        """Ask the same in the model that is not configured."""
        case, sample = self._case, self._sample
        other = Model.PATIENT if case.model is Model.STUDY else Model.STUDY
        if other.find_sop_class not in case.accepted:
            said = f"It does not take queries in the {other.value} root model."
            return Finding(said, Status.SKIPPED, facts={"model": other.value})
        levels = {
            "study": {"StudyInstanceUID": sample.study},
            "series": {"StudyInstanceUID": sample.study, "SeriesInstanceUID": sample.series},
            "image": {
                "StudyInstanceUID": sample.study,
                "SeriesInstanceUID": sample.series,
                "SOPInstanceUID": sample.instance,
            },
        }
        found = {}
        for level, keys in levels.items():
            if not all(list(keys.values())[:-1]):
                continue  # what is above is not known
            try:
                wanted = (UNIQUE_KEYS[level],)
                answer = self._ask({**case.keys(other), **keys}, level, other, wanted)
                found[level] = f"{len(answer.matches)} found"
            except StatusError as error:
                found[level] = f"refused with {error.status:04X}H"
        said = ", ".join(f"{level} {what}" for level, what in found.items())
        facts = {"model": other.value, "levels": found}
        better = [level for level in case.learnt.refused_levels if level in found]
        if better and all(found[level].startswith("1 ") for level in better):
            case.learnt.model = other.value
            case.learnt.refused_levels.clear()
            hint = f"Set model = {other.value!r} for the node, or let px doctor --save do it."
            said = f"In the {other.value} root model it serves more: {said}."
            return Finding(said, Status.WARNING, hint, facts)
        return Finding(f"In the {other.value} root model: {said}.", facts=facts)

    # Kinds of keys

    def wildcard(self) -> Finding:
        """Ask with a wildcard that fits, and with one that does not."""
        sample = self._sample
        keyword = "PatientName" if sample.patient_name.isascii() else "PatientID"
        value = sample.patient_name if keyword == "PatientName" else sample.patient_id
        if len(value) < 2 or not value.isascii() or set("*?\\") & set(value):
            return Finding("The study has no text to try a wildcard with.", Status.SKIPPED)
        unlike = "Q" if value[0].upper() != "Q" else "X"
        return self._try_key(
            f"wildcards (*) in {keyword}", keyword, f"{value[:-1]}*", f"{unlike}*{value[1:]}"
        )

    def date_range(self) -> Finding:
        """Ask for a range with the date of the study, and for one without it."""
        day = read_date(self._sample.study_date)
        if day is None or not date(1900, 1, 2) <= day <= date(2999, 1, 1):
            return Finding("The study has no date to try a range with.", Status.SKIPPED)
        before, after = day - timedelta(days=1), day + timedelta(days=1)
        return self._try_key(
            "ranges of StudyDate",
            "StudyDate",
            f"{before:%Y%m%d}-{after:%Y%m%d}",
            f"{after:%Y%m%d}-{after + timedelta(days=1):%Y%m%d}",
        )

    def modalities(self) -> Finding:
        """Ask for a modality that the study has not."""
        sample = self._sample
        others = [one for one in _OTHERS if one not in sample.modalities]
        if not sample.modalities or not others:
            return Finding("It does not say which modalities the study has.", Status.SKIPPED)
        return self._try_key("the key ModalitiesInStudy", "ModalitiesInStudy", "", others[0])

    def _try_key(self, what: str, keyword: str, fits: str, misses: str) -> Finding:
        """Ask for the study with a value that fits, and with one that does not."""
        sample, model = self._sample, self._case.model
        level, unique, uid = "study", "StudyInstanceUID", sample.study
        if model is Model.PATIENT and level_of(keyword) == "patient":
            level, unique, uid = "patient", "PatientID", sample.patient_id
        narrow = {"StudyInstanceUID": sample.study} if level == "study" else {}
        if sample.patient_id and keyword != "PatientID":
            narrow = {"PatientID": sample.patient_id}  # beside a UID some look at nothing else
        wanted = (unique, keyword)
        try:
            if fits:
                found = self._ask({**narrow, keyword: fits}, level, model, wanted)
                if not found.has(unique, uid):
                    hint = "Ask without it, and choose among the matches."
                    said = f"It does not find the study with {what}."
                    return Finding(said, Status.WARNING, hint, {"works": False})
            wrong = self._ask({**narrow, keyword: misses}, level, model, wanted)
        except StatusError as error:
            hint = "Ask without it, and choose among the matches."
            return Finding(error.message, Status.WARNING, hint, _status(error))
        criterion = Criterion(keyword, misses)
        if any(criterion.fits(match) is False for match in wrong.matches) or (
            wrong.has(unique, uid)
        ):
            return Finding(
                f"It ignores {what}: what does not match comes as well.",
                Status.WARNING,
                "px find says when that happens; px retrieve drops what does not match.",
                {"works": False},
            )
        return Finding(f"It heeds {what}.", facts={"works": True})

    def relational(self) -> Finding:
        """Ask for a series without its study (PS3.4 §C.4.1.2.2)."""
        sample = self._sample
        if not sample.series:
            return Finding("No series is known that could be asked for.", Status.SKIPPED)
        keys = {"SeriesInstanceUID": sample.series}
        try:
            answer = self._ask(keys, "series", self._case.model, ("SeriesInstanceUID",))
        except StatusError as error:
            facts = {"relational": False, **_status(error)}
            return Finding("It refuses relational queries; px makes none.", facts=facts)
        works = answer.has("SeriesInstanceUID", sample.series)
        said = "answers relational queries" if works else "finds nothing by relational queries"
        return Finding(f"It {said}; px makes none.", facts={"relational": works})

    # What comes back

    def return_keys(self) -> Finding:
        """Tell which of the usual return keys come back, and with a value."""
        sample, case = self._sample, self._case
        keys = {**case.keys(), "StudyInstanceUID": sample.study}
        self._by_level["study"] = self._ask(keys, "study", case.model, _usual("study"))
        facts = {}
        absent: list[str] = []
        for level in ("patient", "study", "series", "image"):
            answer = self._by_level.get(level)
            if answer is None or not answer.matches:
                continue
            usual = _usual(level)
            given = [key for key in usual if any(match.get(key) for match in answer.matches)]
            empty = [key for key in usual if key not in given]
            missing = [key for key in empty if not any(key in match for match in answer.matches)]
            facts[level] = {"given": given, "empty": empty}
            absent += [key for key in empty if key.startswith("NumberOf") or key in missing]
        study = self._by_level["study"].matches
        if study:
            sample.instances = _number(study[0], "NumberOfStudyRelatedInstances")
            self._seen += study
        if not absent:
            return Finding("All the usual return keys come back.", facts=facts)
        said = f"It does not give {', '.join(dict.fromkeys(absent))}."
        counts = any(key.startswith("NumberOf") for key in absent)
        if counts and case.learnt.refused_levels:
            hint = "Neither by UID nor by number can be seen whether all came: ask for the counts."
            return Finding(said, Status.WARNING, hint, facts)
        return Finding(said, facts=facts)

    def character_set(self) -> Finding:
        """Compare text with the character set that it is said to be in."""
        texts = look_at(self._seen)
        declared = [one or "none" for one in texts.declared]
        facts = {
            "declared": declared,
            "ascii": texts.plain,
            "other": texts.others,
            "doubtful": texts.doubtful,
            "really": texts.really,
        }
        names = ", ".join(declared)
        if not texts.others:
            said = f"All text of {texts.plain} matches is ASCII (declared: {names})."
            return Finding(said, facts=facts)
        if not texts.doubtful:
            self._case.learnt.text_fits = True
            said = f"Text fits the character set that is declared: {names}."
            return Finding(said, facts=facts)
        self._case.learnt.character_set = texts.really
        by_looks = f", by its looks {texts.really} (UTF-8)" if texts.really == UTF_8 else ""
        return Finding(
            f"Text of {texts.doubtful} of {texts.others} matches is not in the character set that "
            f"is declared ({names}){by_looks}: names may be shown wrongly.",
            Status.WARNING,
            "Its administrator sets the character set of query responses; --save notes down "
            "what it really is."
            if texts.really
            else "Its administrator sets the character set of query responses.",
            facts,
        ).unless(texts.really != "" and texts.really == self._case.target.character_set)

    # Helpers

    @property
    def _sample(self) -> Sample:
        assert self._case.sample is not None  # who asks for more needs the step that found it
        return self._case.sample

    def _ask(
        self, keys: dict[str, str], level: str, model: Model, return_keys: Sequence[str]
    ) -> Answer:
        return self._questions.ask(keys, level, model, return_keys)


def _usual(level: str) -> tuple[str, ...]:
    return RETURN_KEYS[Level.parse(level)]


def _status(error: StatusError) -> dict[str, str]:
    return {"status": f"{error.status:04X}"}


def _modalities(match: DataSet) -> tuple[str, ...]:
    text = match.get("Modality") or match.get("ModalitiesInStudy") or ""
    return tuple(filter(None, text.split("\\")))


def _rank(match: DataSet) -> tuple[int, int]:
    """Sort by how small an instance is likely to be, then by how few there are."""
    ranks = [_SMALL.index(one) if one in _SMALL else len(_SMALL) for one in _modalities(match)]
    few = _number(match, "NumberOfSeriesRelatedInstances")
    unnamed = 100 if not (match.get("StudyInstanceUID") or match.get("SeriesInstanceUID")) else 0
    return max(ranks, default=len(_SMALL)) + unnamed, few or 0


def _sample(match: DataSet) -> Sample:
    return Sample(
        match.get("StudyInstanceUID") or "",
        patient_id=match.get("PatientID") or "",
        patient_name=match.get("PatientName") or "",
        accession_number=match.get("AccessionNumber") or "",
        study_date=match.get("StudyDate") or "",
        modalities=_modalities(match),
    )


def _number(match: DataSet, keyword: str) -> int | None:
    text = (match.get(keyword) or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
