"""Which matches contradict a key (PS3.4 §C.2.2.2), and which only write it otherwise."""

from __future__ import annotations

import time
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import Element
from pypx.retrieve.finding.matching import (
    Criterion,
    Filter,
    date_range,
    is_exact,
    is_universal,
    time_range,
)


def fits(keyword: str, key: str, value: str) -> bool | None:
    return Criterion(keyword, key).fits(DataSet.from_keywords({keyword: value}))


FITTING = [
    ("StudyInstanceUID", "1.2.3", "1.2.3"),
    ("StudyInstanceUID", "1.2.3\\1.2.4", "1.2.4"),
    ("StudyInstanceUID", "1.2.*", "1.2.4"),
    ("PatientID", "ab 1", "AB 1 "),
    ("PatientID", "*7?1", "4711"),
    ("AccessionNumber", " 4711 ", "4711"),
    ("StudyDescription", "CT*Thorax", "ct  Thorax"),
    ("StudyDescription", "Schädel", "SCHADEL"),
    ("Modality", "CT\\MR", "MR"),
    ("ModalitiesInStudy", "SR", "CT\\SR"),
    ("ModalitiesInStudy", "CT\\MR", "SR\\MR"),
    ("StudyDate", "20240115", "20240115"),
    ("StudyDate", "20240115", "2024.01.15"),
    ("StudyDate", "20240101-20240131", "20240131"),
    ("StudyDate", "-20240131", "19991231"),
    ("StudyDate", "20240101-", "20240101"),
    ("StudyDate", "202401*", "20240115"),
    ("StudyTime", "101500", "101500.25"),
    ("StudyTime", "10", "105959"),
    ("StudyTime", "1015-1016", "101659.999999"),
    ("StudyTime", "101530-", "1015"),
    ("StudyTime", "-101500", "10:15"),
    ("SeriesNumber", "2", "002"),
    ("SeriesNumber", "2", " +2"),
    ("Rows", "512", "512"),
    ("PatientName", "doe^jane", "Doe^Jane"),
    ("PatientName", "Doe^Jane", "DOE^JANE^^"),
    ("PatientName", "Doe^Jane", "Doe Jane"),
    ("PatientName", "doe^*", "Doe"),
    ("PatientName", "D?e*", "Doe^Jane"),
    ("PatientName", "Muller*", "Müller^Änne"),
    ("PatientName", "Müller*", "MULLER^ANNE"),
    ("PatientName", "山田^太郎", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("PatientName", "Yamada^Tarou=山田^太郎", "Yamada^Tarou"),
    ("PatientName", "Yamada*=山田*", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("PatientName", "Muster^Änne", "Muster^Ã\x84nne"),  # UTF-8 that was called Latin-1
]

CONTRADICTING = [
    ("StudyInstanceUID", "1.2.3", "1.2.33"),
    ("StudyInstanceUID", "1.2.3\\1.2.4", "1.2.5"),
    ("PatientID", "4711", "04711"),
    ("PatientID", "47?", "4711"),
    ("StudyDescription", "[CT]", "C"),
    ("Modality", "CT", "MR"),
    ("ModalitiesInStudy", "MR", "CT\\SR"),
    ("StudyDate", "20240115", "20240116"),
    ("StudyDate", "20240101-20240131", "20240201"),
    ("StudyDate", "-20240131", "20240201"),
    ("StudyDate", "20240101-", "20231231"),
    ("StudyDate", "202401*", "20240215"),
    ("StudyTime", "101500", "101501"),
    ("StudyTime", "1015-1016", "1017"),
    ("SeriesNumber", "2", "12"),
    ("PatientName", "Doe^Jane", "Doe^John"),
    ("PatientName", "Doe", "Doe^John"),
    ("PatientName", "山田^太郎", "鈴木^一郎"),
    ("PatientName", "Yamada*=山田*", "Yamada^Tarou=鈴木^一郎"),
]

UNDECIDED = [
    ("StudyDate", "20240115", "yesterday"),
    ("StudyDate", "2024", "20240115"),
    ("StudyTime", "25h", "101500"),
    ("StudyTime", "101500", "noon"),
    ("SeriesNumber", "2", "two"),
    ("PatientName", "Doe*", "M\ufffdller"),
    ("AcquisitionDateTime", "20240115", "20240116101500"),
    ("StudyDescription", "CT", ""),
]


@pytest.mark.parametrize(("keyword", "key", "value"), FITTING)
def test_what_a_pacs_may_write_otherwise_fits(keyword: str, key: str, value: str) -> None:
    assert fits(keyword, key, value) is True


@pytest.mark.parametrize(("keyword", "key", "value"), CONTRADICTING)
def test_what_clearly_contradicts_does_not_fit(keyword: str, key: str, value: str) -> None:
    assert fits(keyword, key, value) is False


@pytest.mark.parametrize(("keyword", "key", "value"), UNDECIDED)
def test_what_cannot_be_compared_is_not_decided(keyword: str, key: str, value: str) -> None:
    assert fits(keyword, key, value) is None


def test_bytes_that_fit_no_character_set_contradict_nothing() -> None:
    match = DataSet([Element(0x00100010, "PN", b"M\xfcller^\xc4nne ")])
    assert Criterion("PatientName", "Schmidt*").fits(match) is None


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("20240229", (date(2024, 2, 29), date(2024, 2, 29))),
        ("2024-02-29", (date(2024, 2, 29), date(2024, 2, 29))),
        ("20240101-20240229", (date(2024, 1, 1), date(2024, 2, 29))),
        ("-20240229", (None, date(2024, 2, 29))),
        ("20240101-", (date(2024, 1, 1), None)),
        ("20240230", None),
        ("-", None),
        ("2024", None),
        ("20240101-x", None),
        ("", None),
    ],
)
def test_ranges_of_dates(text: str, ends: object) -> None:
    assert date_range(text) == ends


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("10", (36_000_000_000, 39_599_999_999)),
        ("101500", (36_900_000_000, 36_900_999_999)),
        ("10:15:00.5", (36_900_500_000, 36_900_599_999)),
        ("-0000", (0, 59_999_999)),
        ("2359-", (86_340_000_000, 86_399_999_999)),
        ("235960", (86_399_000_000, 86_399_999_999)),
        ("1-2", None),
        ("-", None),
    ],
)
def test_ranges_of_times(text: str, ends: object) -> None:
    assert time_range(text) == ends


def test_what_names_everything_and_what_one_thing() -> None:
    assert [is_universal(value) for value in ("", "*", " ** ", "?", "a*")] == [
        *([True] * 3),
        *([False] * 2),
    ]
    assert [is_exact(value) for value in ("1.2", "1.2\\1.3", "a*", "?", "")] == [
        True,
        *([False] * 4),
    ]


def test_a_filter_drops_counts_and_says_so() -> None:
    one = Filter(
        {"ModalitiesInStudy": "MR", "PatientComments": "x", "PatientID": "P1", "StudyDate": "*"},
        silent={"PatientID": "P1"},
    )
    kept = [
        one.admits(DataSet.from_keywords({"ModalitiesInStudy": modalities}))
        for modalities in ("MR", "CT", "CT\\MR", "SR", "")
    ]
    assert kept == [True, False, True, False, True]
    ignored, *unknown = one.notes("The PACS", "studies")
    assert ignored.startswith("The PACS ignores the key ModalitiesInStudy: 2 of the studies")
    assert [note.partition(":")[0] for note in unknown] == [
        "The PACS did not return PatientComments with 3 of the studies",
        "The PACS did not return ModalitiesInStudy with 1 of the studies",
    ]


def test_a_hostile_value_takes_no_time() -> None:
    started = time.perf_counter()
    assert fits("StudyDescription", "*a*a*a*a*a*a*a*b", "a" * 20_000) is False
    assert time.perf_counter() - started < 5


@given(st.text("abAB^= ü*?", max_size=12), st.text("abAB^= ü", max_size=12))
def test_a_value_fits_itself_and_nothing_fails(key: str, value: str) -> None:
    fits("PatientName", key, value)
    fits("StudyDescription", key, value)
    if value.strip("^= "):
        assert fits("PatientName", value, value) is True
        assert fits("StudyDescription", value, value) is True
