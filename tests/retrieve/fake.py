"""A PACS that is a list: it answers C-FIND as PS3.4 §C.2.2.2 says, but for what a test changes.

Written apart from pypx.retrieve.finding.matching, so that one checks the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from pypx.dicom.data_set import DataSet
from pypx.errors import StatusError
from pypx.retrieve.finding.finder import Finder
from tests.retrieve import TODAY

Row = Mapping[str, str]
RANGES = ("StudyDate", "StudyTime", "PatientBirthDate")


class Matches(Iterator[DataSet]):
    """What pypx.client.query.Matches is to those who read from it."""

    def __init__(self, answers: Iterator[DataSet]) -> None:
        self.status: int | None = None
        self._answers = answers

    def __next__(self) -> DataSet:
        try:
            return next(self._answers)
        except StopIteration as end:
            self.status = end.value or self.status or 0
            raise StopIteration from None

    def close(self) -> None:
        pass


class FakePacs:
    """A client of itself.

    Args:
        rows: By level, each with all that it has, unique keys above included.
        cap: At most so many matches; None for all.
        status: What it then says.
        ignore: Keys it does not match.
        hide: Keys it does not return.
        repeat: How often each match comes.
        refuse: A level, or a key, that is answered with A900.
        empty_first: A range without a beginning has what is empty, as with Orthanc 1.10.
    """

    address = "FAKE@here:104"

    def __init__(
        self,
        rows: Mapping[str, Sequence[Row]],
        *,
        cap: int | None = None,
        status: int = 0,
        ignore: Iterable[str] = (),
        hide: Iterable[str] = (),
        repeat: int = 1,
        refuse: Iterable[str] = (),
        empty_first: bool = False,
    ) -> None:
        self.rows = rows
        self.cap = cap
        self.status = status
        self.ignore = frozenset(ignore)
        self.hide = frozenset(hide)
        self.repeat = repeat
        self.refuse = frozenset(refuse)
        self.empty_first = empty_first
        self.asked: list[tuple[str, dict[str, str]]] = []

    def finder(self, model: str = "study") -> Finder:
        client: Any = self
        return Finder(client, model=model, today=TODAY)

    def find(
        self, keys: Mapping[str, str], *, level: str, model: Any, return_keys: Sequence[str]
    ) -> Matches:
        self.asked.append((level, dict(keys)))
        return Matches(self._answers(keys, level, return_keys))

    def _answers(self, keys: Row, level: str, return_keys: Sequence[str]) -> Any:
        if self.refuse & {level, *keys}:
            raise StatusError("The PACS refuses this.", status=0xA900)
        heeded = [item for item in keys.items() if item[0] not in self.ignore]
        judges = [_judge(key, value, self.empty_first) for key, value in heeded]
        number = 0
        for row in self.rows.get(level, ()):
            if not all(judge(row) for judge in judges):
                continue
            if number == self.cap:
                if self.status >> 12 == 0xA:
                    raise StatusError("Too many.", status=self.status)
                return self.status
            number += 1
            asked = {key: row.get(key, "") for key in (*return_keys, *keys)}
            match = DataSet.from_keywords(
                {key: value for key, value in asked.items() if key not in self.hide}
            )
            for _ in range(self.repeat):
                yield match
        return 0


def _judge(key: str, wanted: str, empty_first: bool) -> Callable[[Row], bool]:
    def fits(row: Row) -> bool:
        value = row.get(key, "")
        if not wanted:
            return True
        if not value:
            return empty_first and key in RANGES and wanted.startswith("-")
        if key in RANGES and "-" in wanted:
            first, _, last = wanted.partition("-")
            return (first or value) <= value <= (last or value)
        if key.endswith("UID"):
            return value in wanted.split("\\")
        if key == "PatientName":
            return fnmatchcase(value.casefold(), wanted.casefold())
        return any(fnmatchcase(one, wanted) for one in value.split("\\"))

    return fits


def studies(number: int, **changes: Callable[[int], str]) -> list[Row]:
    """Make studies: one a day from 1 January 2024, at another second and of another patient."""
    return [
        study(index, **{key: make(index) for key, make in changes.items()})
        for index in range(number)
    ]


def study(index: int, **changes: str) -> Row:
    day, second = index % 28, index % 60
    return {
        "StudyInstanceUID": f"1.2.{index}",
        "StudyDate": f"2024{index // 28 % 12 + 1:02}{day + 1:02}",
        "StudyTime": f"{index // 60 % 24:02}{index % 7:02}{second:02}",
        "PatientID": f"P{index}",
        "PatientName": f"{chr(65 + index % 26)}{chr(97 + index // 26 % 26)}^X",
        "ModalitiesInStudy": ("CT", "MR", "CT\\SR")[index % 3],
        **changes,
    }


def series(number: int) -> list[Row]:
    """Make the series of the study 1.2: of many modalities."""
    return [
        {
            "StudyInstanceUID": "1.2",
            "SeriesInstanceUID": f"1.2.{index}",
            "SeriesNumber": str(index + 1),
            "Modality": ("CT", "SR", "PR", "MR")[index % 4],
        }
        for index in range(number)
    ]
