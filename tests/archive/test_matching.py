"""What the keys of a query match: PS3.4 C.2.2.2, on an index with known rows."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pypx.archive.attributes import ATTRIBUTES, Level
from pypx.archive.index import Entry
from pypx.archive.index_sqlite import SqliteIndex
from pypx.archive.matching import _glob
from pypx.errors import ConfigError

STUDIES: dict[str, dict[str, str]] = {
    # the last component of the UID: what is in its one CT instance
    "1": {"PatientID": "P1", "PatientName": "Doe^John", "StudyDate": "20240101"},
    "2": {"PatientID": "P2", "PatientName": "doe^jane^^^", "StudyDate": "20240131"},
    "3": {"PatientID": "P[3]", "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"},
    "4": {"PatientID": "p1", "PatientName": "Müller^Jürgen", "StudyDate": "2023.12.31"},
    "5": {"PatientID": "P%5_*?", "PatientName": "Doe", "StudyDate": "garbage"},
    "6": {"PatientID": "", "PatientName": "", "StudyDate": ""},
}
TIMES = {"1": "10", "2": "101112.5", "3": "1159", "4": "11:59:59", "5": "", "6": "120000"}


def entry(study: str, series: str = "1", number: str = "1", **changes: str) -> Entry:
    values = dict.fromkeys((attribute.keyword for attribute in ATTRIBUTES), "")
    values |= {
        "StudyInstanceUID": f"1.2.{study}",
        "StudyTime": TIMES.get(study, ""),
        "AccessionNumber": f"A-{study}'; DROP TABLE study; --",
        "StudyDescription": "Thorax \\ Abdomen" if study == "1" else "Brain [MR] 50% a_b",
        "SeriesInstanceUID": f"1.2.{study}.{series}",
        "SeriesNumber": series,
        "Modality": "CT",
        "SOPInstanceUID": f"1.2.{study}.{series}.{number}",
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "InstanceNumber": number,
    }
    values |= STUDIES.get(study, {}) | changes
    return Entry(
        path=f"p/{study}/{series}/{number}.dcm",
        values=values,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        bytes=1000,
        data_set_offset=300,
        checksum="0" * 32,
        received_at=f"2024-01-01T00:00:00.{int(number):06d}Z",
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteIndex]:
    index = SqliteIndex(tmp_path_factory.mktemp("index") / "index.sqlite", durable=False)
    index.add([entry(study) for study in STUDIES])
    index.add([entry("2", "2", number, Modality="SR") for number in ("1", "2", "03")])
    index.add([entry("2", "3", "9", Modality="PR", SeriesNumber="+3")])
    yield index
    index.close()


def found(index: SqliteIndex, **keys: str) -> str:
    """Give the studies that match, as the last digits of their UIDs."""
    rows = index.find(Level.STUDY, keys)
    return "".join(sorted(str(row["StudyInstanceUID"])[-1] for row in rows))


ALL = "123456"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        # universal (C.2.2.2.3)
        ({}, ALL),
        ({"PatientID": ""}, ALL),
        ({"PatientID": "*"}, ALL),
        ({"PatientID": "**"}, ALL),
        ({"PatientID": "  "}, ALL),
        ({"NumberOfStudyRelatedInstances": "", "ModalitiesInStudy": ""}, ALL),
        # single value (C.2.2.2.1)
        ({"PatientID": "P1"}, "1"),
        ({"PatientID": "P1 "}, "1"),
        ({"PatientID": "p1"}, "4"),
        ({"PatientID": "P"}, ""),
        ({"PatientID": "P[3]"}, "3"),
        ({"PatientID": "' OR 1=1 --"}, ""),
        ({"AccessionNumber": "A-2'; DROP TABLE study; --"}, "2"),
        ({"PatientID": "\ud800"}, ""),
        # wildcards (C.2.2.2.4)
        ({"PatientID": "P*"}, "1235"),
        ({"PatientID": "*1"}, "14"),
        ({"PatientID": "?1"}, "14"),
        ({"PatientID": "??"}, "124"),
        ({"PatientID": "P?"}, "12"),
        ({"PatientID": "P[*"}, "3"),
        ({"PatientID": "P[12]*"}, ""),
        ({"PatientID": "*]"}, "3"),
        ({"PatientID": "P%*"}, "5"),
        ({"PatientID": "*_*"}, "5"),
        ({"StudyDescription": "*[MR]*"}, "23456"),
        ({"StudyDescription": "*50%*"}, "23456"),
        ({"StudyDescription": "brain*"}, ""),
        # person names: no case; whole, or one component group
        ({"PatientName": "DOE^JOHN"}, "1"),
        ({"PatientName": "Doe^Jane"}, "2"),
        ({"PatientName": "doe*"}, "125"),
        ({"PatientName": "Doe^*"}, "12"),
        ({"PatientName": "doe"}, "5"),
        ({"PatientName": "Doe^^^"}, "5"),
        ({"PatientName": "MÜLLER*"}, "4"),
        ({"PatientName": "M?ller^j*"}, "4"),
        ({"PatientName": "Mu\u0308ller*"}, "4"),
        ({"PatientName": "yamada^tarou"}, "3"),
        ({"PatientName": "山田*"}, "3"),
        ({"PatientName": "*太郎"}, "3"),
        ({"PatientName": "やまだ^たろう"}, "3"),
        ({"PatientName": "Yamada*=山田*"}, "3"),
        ({"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"}, "3"),
        ({"PatientName": "Yamada^Tarou=X"}, ""),
        # dates and times (C.2.2.2.5)
        ({"StudyDate": "20240101"}, "1"),
        ({"StudyDate": "2024.01.01"}, "1"),
        ({"StudyDate": "20240101-20240131"}, "12"),
        ({"StudyDate": "20240102-"}, "2"),
        ({"StudyDate": "-20240101"}, "14"),
        ({"StudyDate": "20231231-20231231"}, "4"),
        ({"StudyDate": "20240131-20240101"}, ""),
        ({"StudyDate": "202401*"}, "12"),
        ({"StudyTime": "10"}, "1"),
        ({"StudyTime": "100000"}, "1"),
        ({"StudyTime": "101112.50"}, "2"),
        ({"StudyTime": "10-11"}, "1234"),
        ({"StudyTime": "1000-1100"}, "12"),
        ({"StudyTime": "1159-"}, "346"),
        ({"StudyTime": "-1011"}, "12"),
        ({"StudyTime": "-1010"}, "1"),
        ({"StudyTime": "11:59"}, "3"),
        # UIDs, single and in lists (C.2.2.2.2)
        ({"StudyInstanceUID": "1.2.3"}, "3"),
        ({"StudyInstanceUID": "1.2.3\0"}, "3"),
        ({"StudyInstanceUID": "1.2.3\\1.2.4\\9.9"}, "34"),
        ({"StudyInstanceUID": "\\".join(f"9.{n}" for n in range(50_000)) + "\\1.2.5"}, "5"),
        ({"StudyInstanceUID": "1.2.*"}, ""),
        ({"StudyInstanceUID": "*"}, ALL),
        ({"PatientID": "P1\\P2"}, "12"),
        ({"PatientID": "P1\\P[*"}, "13"),
        # keys of lower levels: something below matches
        ({"Modality": "CT"}, ALL),
        ({"Modality": "SR"}, "2"),
        ({"Modality": "S?"}, "2"),
        ({"SeriesInstanceUID": "1.2.2.3"}, "2"),
        ({"SOPInstanceUID": "1.2.4.1.1\\1.2.2.2.2"}, "24"),
        ({"Modality": "SR", "InstanceNumber": "9"}, ""),
        ({"Modality": "PR", "InstanceNumber": "9"}, "2"),
        ({"SeriesNumber": "3"}, "2"),
        ({"InstanceNumber": "3"}, "2"),
        ({"InstanceNumber": "03"}, "2"),
        ({"InstanceNumber": "0*"}, "2"),
        ({"ModalitiesInStudy": "SR"}, "2"),
        ({"ModalitiesInStudy": "SR\\MR"}, "2"),
        ({"ModalitiesInStudy": "SR", "Modality": "PR"}, "2"),
        ({"ModalitiesInStudy": "MR"}, ""),
        ({"PatientID": "P2", "StudyDate": "20240131", "Modality": "SR"}, "2"),
        ({"PatientID": "P1", "StudyDate": "20240131"}, ""),
    ],
)
def test_studies(index: SqliteIndex, keys: dict[str, str], expected: str) -> None:
    assert found(index, **keys) == expected


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"PatinetID": "x"}, "PatinetID"),
        ({"ProtocolName": ""}, "ProtocolName"),
        ({"": "x"}, "''"),
        ({"NumberOfStudyRelatedInstances": "3"}, "counted"),
        ({"StudyDate": "2024/01/01"}, "no date"),
        ({"StudyDate": "2024-01-01"}, "no date"),
        ({"StudyDate": "-"}, "no date"),
        ({"StudyDate": "20240101-x"}, "no date"),
        ({"StudyTime": "1"}, "no time"),
        ({"PatientID": "x" * 1025}, "longer"),
        ({"PatientName": "*" + "a*" * 600}, "longer"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(
    index: SqliteIndex, keys: dict[str, str], says: str
) -> None:
    for level in Level:
        with pytest.raises(ConfigError) as caught:
            index.find(level, keys)
        assert says in caught.value.message


def test_a_mistyped_keyword_gets_a_suggestion(index: SqliteIndex) -> None:
    with pytest.raises(ConfigError) as caught:
        index.find(Level.STUDY, {"PatinetID": "x"})
    assert "PatientID?" in caught.value.hint


@pytest.mark.timeout(10)
def test_a_hostile_pattern_takes_no_time(index: SqliteIndex) -> None:
    assert found(index, StudyDescription="*" + "a*" * 500 + "!") == ""


TEXT = st.text(st.sampled_from("ab*?[]^-_%\\' é山"), max_size=12)


@given(pattern=TEXT, value=TEXT)
def test_a_pattern_matches_what_the_standard_says(pattern: str, value: str) -> None:
    expected = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern)
    (found,) = MEMORY.execute("SELECT ? GLOB ?", (value, _glob(pattern))).fetchone()
    assert bool(found) == bool(re.fullmatch(expected, value, re.DOTALL))


MEMORY = sqlite3.connect(":memory:")


def count(index: SqliteIndex, level: Level, **keys: str) -> int:
    return len(list(index.find(level, keys)))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, (6, 6, 8, 10)),
        ({"PatientID": "P2"}, (1, 1, 3, 5)),
        ({"StudyDate": "20240131"}, (1, 1, 3, 5)),
        ({"Modality": "SR"}, (1, 1, 1, 3)),
        ({"ModalitiesInStudy": "SR"}, (1, 1, 3, 5)),
        ({"SOPInstanceUID": "1.2.2.2.2"}, (1, 1, 1, 1)),
        ({"SeriesInstanceUID": "1.2.2.2\\1.2.2.3"}, (1, 1, 2, 4)),
    ],
)
def test_a_key_at_every_level(
    index: SqliteIndex, keys: dict[str, str], expected: tuple[int, ...]
) -> None:
    assert tuple(count(index, level, **keys) for level in Level) == expected


def only(index: SqliteIndex, level: Level, **keys: str) -> dict[str, Any]:
    (row,) = index.find(level, keys)
    return row


def test_the_row_of_a_patient(index: SqliteIndex) -> None:
    row = only(index, Level.PATIENT, PatientID="P2")
    assert row.pop("path").startswith("p/2/")
    assert row == {
        "PatientID": "P2",
        "PatientName": "doe^jane^^^",
        "PatientBirthDate": None,
        "PatientSex": None,
        "NumberOfPatientRelatedStudies": "1",
        "NumberOfPatientRelatedSeries": "3",
        "NumberOfPatientRelatedInstances": "5",
        "instances": 5,
        "bytes": 5000,
    }


def test_the_row_of_a_study(index: SqliteIndex) -> None:
    row = only(index, Level.STUDY, PatientID="P2")
    assert row["PatientName"] == "doe^jane^^^" and row["StudyInstanceUID"] == "1.2.2"
    assert row["ModalitiesInStudy"] == ["CT", "PR", "SR"]
    assert row["NumberOfStudyRelatedSeries"] == "3"
    assert row["NumberOfStudyRelatedInstances"] == "5"
    assert (row["instances"], row["bytes"]) == (5, 5000)
    assert only(index, Level.STUDY, PatientID="P1")["ModalitiesInStudy"] == "CT"
    assert only(index, Level.STUDY, PatientID="P1")["StudyDescription"] == ["Thorax ", " Abdomen"]


def test_the_row_of_a_series(index: SqliteIndex) -> None:
    row = only(index, Level.SERIES, SeriesInstanceUID="1.2.2.2")
    assert row["Modality"] == "SR" and row["PatientID"] == "P2" and row["StudyDate"] == "20240131"
    assert row["NumberOfSeriesRelatedInstances"] == "3" and row["path"] == "p/2/2"


def test_the_row_of_an_instance(index: SqliteIndex) -> None:
    row = only(index, Level.IMAGE, SOPInstanceUID="1.2.2.2.2")
    assert row["InstanceNumber"] == "2" and row["SOPClassUID"] == "1.2.840.10008.5.1.4.1.1.2"
    assert row["TransferSyntaxUID"] == "1.2.840.10008.1.2.1"
    assert (row["instances"], row["bytes"], row["path"]) == (1, 1000, "p/2/2/2.dcm")
    assert row["received_at"] == "2024-01-01T00:00:00.000002Z"


def test_patients_without_an_id_are_told_apart_by_name(tmp_path: Path) -> None:
    index = SqliteIndex(tmp_path / "index.sqlite", durable=False)
    for study, name in (("7", "A"), ("8", "B"), ("9", "A")):
        index.add([entry(study, PatientID="", PatientName=name)])
    rows = {str(row["PatientName"]): row for row in index.find(Level.PATIENT, {})}
    assert {name: row["NumberOfPatientRelatedStudies"] for name, row in rows.items()} == {
        "A": "2",
        "B": "1",
    }
    index.close()


def test_a_patient_has_the_name_that_came_last(tmp_path: Path) -> None:
    index = SqliteIndex(tmp_path / "index.sqlite", durable=False)
    index.add([entry("7", number="5", PatientID="P", PatientName="New")])
    index.add([entry("8", number="1", PatientID="P", PatientName="Old")])
    assert only(index, Level.PATIENT)["PatientName"] == "New"
    assert only(index, Level.PATIENT)["NumberOfPatientRelatedStudies"] == "2"
    index.close()


def test_a_study_with_two_patient_ids_shows_as_what_it_is(tmp_path: Path) -> None:
    index = SqliteIndex(tmp_path / "index.sqlite", durable=False)
    index.add([entry("7", number="1", PatientID="P1"), entry("7", number="2", PatientID="P2")])
    rows = sorted((str(row["PatientID"]), row["instances"]) for row in index.find(Level.STUDY, {}))
    assert rows == [("P1", 1), ("P2", 1)]
    index.close()
