"""``pypx.find`` as upstream had it: studies, their series, and what is then done with them.

In: a dictionary of upstream. Out: ``status``, ``data`` with an object for each keyword,
``command``, ``args``, ``then``. What the PACS cuts short is ``partial``, and told as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from pypx.client.query import Level, make_identifier
from pypx.compat.answers import Answer, Caller, answer, failed, line, no_value, synthetic, value_of
from pypx.compat.flags import FLAGS
from pypx.compat.options import Request, query_keys, read
from pypx.dicom.dictionary import parse_tag, tag_text
from pypx.dicom.levels import UNIQUE_KEYS, level_of
from pypx.errors import ConfigError, PypxError, StatusError
from pypx.text import count

if TYPE_CHECKING:
    from pypx.client.requestor import Requestor
    from pypx.config import Node
    from pypx.dicom.data_set import DataSet

__all__ = ["RETURN_TAGS", "find", "run_find"]

RETURN_TAGS = (
    *("AccessionNumber", "PatientID", "PatientName", "PatientBirthDate", "PatientAge"),
    *("PatientSex", "StudyDate", "StudyDescription", "StudyInstanceUID", "Modality"),
    *("ModalitiesInStudy", "PerformedStationAETitle", "NumberOfPatientRelatedInstances"),
    *("NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries"),
    *("NumberOfStudyRelatedInstances", "NumberOfStudyRelatedSeries"),
    *("NumberOfSeriesRelatedInstances", "InstanceNumber", "SeriesDate", "SeriesDescription"),
    *("SeriesInstanceUID", "ProtocolName", "AcquisitionProtocolDescription"),
    *("AcquisitionProtocolName", "QueryRetrieveLevel"),
)
"""What is asked for where ``QueryReturnTags`` does not say otherwise."""

_ABOVE = frozenset({"patient", "study"})
_AT_ONCE = 50  # UIDs of one query
_NOBODY = Caller()
Entry = dict[str, Any]


class _TruncatedError(PypxError):
    kind = "truncated"


class _SeriesError(PypxError):
    kind = "partial"


def find(opt: Mapping[str, Any] | None = None) -> Answer:
    """Query a PACS for studies and their series (C-FIND, PS3.4 §C.4.1), and go on from there.

    Args:
        opt: All optional: ``aet``, ``aec``, ``serverIP``, ``serverPort``; any keyword of DICOM
            with the value to match; ``QueryReturnTags``, ``StudyOnly``, ``withFeedBack``,
            ``then``, ``thenArgs``, ``intraSeriesRetrieveDelay`` and ``JSONargString`` as the
            flags of px-find; and of ours ``node``, ``timeout``, ``config``, ``archive``.

    Returns:
        ``status``, ``data``, ``command``, ``returncode``, ``args``, and ``then`` where there
        were steps; ``error`` where something failed. ``partial`` means that the PACS ended the
        answer too soon, or that a step did not do all; ``data`` is a sentence where nothing
        came. It is there at once, and can be awaited as well.
    """
    try:
        return Answer(run_find(read("find", opt)))
    except PypxError as error:
        return Answer({**failed(error), "args": dict(opt or {})})


def run_find(request: Request, caller: Caller = _NOBODY) -> dict[str, Any]:
    """Do what :func:`find` does.

    Raises:
        ConfigError: The request makes no sense.
    """
    from pypx.compat.following import Following
    from pypx.compat.reports import check_report, make_report

    check_report(request)
    following = Following.of(request, caller)
    keys = query_keys(request)
    if following.retrieves and not any(keys.values()):
        raise ConfigError(
            "Nothing says what is to be retrieved: all that the PACS has would come.",
            hint="Give a key; if really everything is meant, --PatientID '*'.",
        )
    node = request.node()
    with closing(request.client(node, caller)) as client:
        look_up = _LookUp(request, client, node, keys, caller)
        found = look_up.run(with_series=not request.is_on("StudyOnly") or following.needs_series)
        if isinstance(found["data"], list) and following.steps:
            following.follow(found, client)
    if isinstance(found["data"], list) and _wants_report(request, following.steps):
        found["report"] = make_report(request, found["data"])
    if request.is_on("StudyOnly"):
        for study in found["data"] if isinstance(found["data"], list) else ():
            study.pop("series", None)
        if not following.steps:
            return found
    found["args"] = {**request.args, "QueryRetrieveLevel": "STUDY"}
    return {key: found[key] for key in _ORDER if key in found} | found


def _wants_report(request: Request, steps: list[str]) -> bool:
    """Whether a report was asked for, or the call is one of 1.x, which always gave one."""
    old = {flag.key for flag in FLAGS if flag.old}
    return "report" in steps or request.is_on("move") or not old.isdisjoint(request.given)


_ORDER = ("status", "command", "data", "args", "then", "report", "returncode", "error")


class _LookUp:
    """One query for studies, and one for the series of each."""

    def __init__(
        self, request: Request, client: Requestor, node: Node, keys: dict[str, str], caller: Caller
    ) -> None:
        tags = request.words("QueryReturnTags")
        self._request, self._client, self._node = request, client, node
        self._caller = caller
        self._tags = {name: _tag(name) for name in (*(tags or RETURN_TAGS), *keys)}
        above = [name for name in self._tags if level_of(name) in _ABOVE]
        self._above = {name: keys.get(name, "") for name in ("StudyInstanceUID", *above)}
        self._wanted = {name: keys[name] for name in keys if name not in self._above}
        below = [name for name in self._tags if level_of(name) == "series"]
        extra = () if tags else ("SeriesNumber",)
        self._below = dict.fromkeys((*below, "SeriesInstanceUID", *extra), "") | self._wanted
        self._losses = 0
        self._unknown: list[PypxError] = []

    def run(self, *, with_series: bool) -> dict[str, Any]:
        """Ask, and give ``status``, ``data``, ``command`` and ``returncode``."""
        matches, error, command = self._studies()
        if error is not None and not matches:
            return failed(error, command)
        self._feed_back(f"{count(len(matches), 'study', 'studies')} found.")
        studies = [self._entry(match, self._tags) for match in matches]
        if with_series:
            studies = [study for study in studies if self._add_series(study)]
        for number, study in enumerate(studies):
            series = study.pop("series", None)
            study["uid"] = synthetic(number, "uid")
            if series is not None:
                study["series"] = series
        error = error or self._complaint()
        if error is not None:
            return answer("partial", studies, command, error.exit_code, error)
        return answer("success", studies, command, 0)

    def _studies(self) -> tuple[list[DataSet], PypxError | None, str]:
        """Give the studies, why they are not all, and the command line that asks the same."""
        if self._wanted and not any(self._above.values()):
            found = self._studies_of_series()
            if found is not None:
                return found
        command = self._command(Level.STUDY, self._above)
        return *self._ask(Level.STUDY, self._above), command

    def _studies_of_series(self) -> tuple[list[DataSet], PypxError | None, str] | None:
        """Give the studies that have series that match, where no key is of the study.

        A query for series without their study is relational (PS3.4 §C.4.1.3.2.1): not every PACS
        takes it. But with keys of series, a query for studies has no matches at all from
        Orthanc 1.10.

        Returns:
            None where the PACS does not take it, so that all studies have to be looked through.
        """
        unique = {"StudyInstanceUID": "", "SeriesInstanceUID": ""}
        keys = {**unique, **self._wanted}
        series, error = self._ask(Level.SERIES, keys)
        uids = list(dict.fromkeys(match.get("StudyInstanceUID") or "" for match in series))
        if (isinstance(error, StatusError) and not series) or "" in uids:
            return None
        studies: list[DataSet] = []
        for start in range(0, len(uids), _AT_ONCE):
            listed = "\\".join(uids[start : start + _AT_ONCE])
            some, raised = self._ask(Level.STUDY, {**self._above, "StudyInstanceUID": listed})
            studies += some
            error = error or raised
        return studies, error, self._command(Level.SERIES, keys)

    def _ask(self, level: Level, keys: Mapping[str, str]) -> tuple[list[DataSet], PypxError | None]:
        """Give the matches, each once, and why they are not all."""
        found: dict[str, DataSet] = {}
        unique = UNIQUE_KEYS[level.value.lower()]
        try:
            with self._client.find(keys, level=level, return_keys=()) as matches:
                for match in matches:
                    found.setdefault(match.get(unique) or f" {len(found)}", match)
        except PypxError as error:
            return list(found.values()), error
        if not matches.truncated and matches.count != self._node.match_limit:
            return list(found.values()), None
        has = "has" if matches.truncated else "ends its answers there and may have"
        return list(found.values()), _TruncatedError(
            f"{self._node.address} {has} more matches than the {len(found)} that it gave.",
            hint="Ask for less at once, for example by ranges of StudyDate.",
        )

    def _add_series(self, study: Entry) -> bool:
        """Add the series to a study; False when the keys want none of its series."""
        uid = value_of(study, "StudyInstanceUID")
        keys = {"StudyInstanceUID": uid, **self._below}
        if self._node.model == "patient":  # its unique key, too (PS3.4 §C.6.1.1)
            keys = {"PatientID": value_of(study, "PatientID"), **keys}
        study["series"] = []
        if self._losses > 1:  # the peer is gone, and asking for each study helps nobody
            return self._without_series(study, self._unknown[-1])
        if not uid:
            nameless = PypxError(f"{self._node.address} does not tell the UID of a study.")
            return self._without_series(study, nameless)
        matches, error = self._ask(Level.SERIES, keys)
        if error is not None:
            self._losses = 0 if isinstance(error, StatusError) else self._losses + 1
            self._without_series(study, error)
        command = self._command(Level.SERIES, keys)
        inherited = {name: entry for name, entry in study.items() if name in self._above}
        for number, match in enumerate(matches):
            series = self._entry(match, self._tags, inherited)
            series["uid"] = synthetic(number, "uid")
            series["label"] = synthetic("SERIES", "RetrieveLevel")
            series["command"] = synthetic(command, "command")
            series["status"] = synthetic("success" if error is None else "partial", "status")
            study["series"].append(series)
        self._feed_back(f"Study {uid} has {count(len(matches), 'series', 'series')}.")
        return bool(matches or error or not self._wanted)

    def _without_series(self, study: Entry, error: PypxError) -> bool:
        """Note that not all series of a study are known."""
        self._unknown.append(error)
        study["error"] = synthetic(error.message, "error")
        return True

    def _entry(
        self, match: DataSet, tags: Mapping[str, str], inherited: Mapping[str, Entry] | None = None
    ) -> Entry:
        """Give a match as upstream showed it: what was asked for, then what else came."""
        entry: Entry = {}
        unique = "StudyInstanceUID" if inherited is None else "SeriesInstanceUID"
        for name in dict.fromkeys((*tags, unique, *match.keywords())):
            tag = tags.get(name) or _tag(name)
            value = match.get(name)
            if value:
                entry[name] = {"tag": tag, "value": value, "label": name}
            elif inherited and name in inherited:
                entry[name] = inherited[name]
            else:
                entry[name] = {"tag": tag, "value": no_value(tag), "label": name}
        return entry

    def _command(self, level: Level, keys: Mapping[str, str]) -> str:
        """Give the command line of findscu that asks the same."""
        identifier = make_identifier(keys, level)
        options = ["-P" if self._node.model == "patient" else "-S"]
        for name in identifier.keywords():
            value = identifier.get(name)
            if name == "SpecificCharacterSet":
                value = "ISO_IR 192"  # that of a shell, whatever we ask in
            options += ["-k", f"{name}={value}" if value else name]
        program = self._request.text("findscu") or "findscu"
        return line(program, self._node, self._request.calling, options)

    def _complaint(self) -> PypxError | None:
        if not self._unknown:
            return None
        first = self._unknown[0]
        studies = count(len(self._unknown), "study", "studies")
        return _SeriesError(
            f"Of {studies} not all series are known: {first.message}", hint=first.hint
        )

    def _feed_back(self, sentence: str) -> None:
        if self._request.is_on("withFeedBack"):
            self._caller.tell(sentence)


def _tag(name: str) -> str:
    """Write a tag as findscu does: ``0010,0020``."""
    return tag_text(parse_tag(name))[1:-1].lower()
