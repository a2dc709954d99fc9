"""The pieces of a query: together they reach what it reaches, and each is less than it."""

from __future__ import annotations

from collections import Counter
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pypx.dicom.data_set import DataSet
from pypx.retrieve.finding.axes import Dates, Names, Numbers, Times, Uids, Values
from tests.retrieve import TODAY

DATES = Dates("StudyDate", TODAY)
TIMES = Times("StudyTime", "StudyDate")
NAMES = Names("PatientName")


@pytest.mark.parametrize(
    ("value", "seen", "pieces"),
    [
        ("", {}, ["-19621001", "19621002-"]),
        ("*", {"20240101": 5, "20240201": 5}, ["-20240101", "20240102-"]),
        ("", {"20240101": 1, "20240201": 9}, ["-20240101", "20240102-"]),
        ("", {"20240101": 3}, ["-20231231", "20240101", "20240102-"]),
        ("20240101-20240102", {"20240101": 3}, ["20240101", "20240102"]),
        ("20240101-20240103", {"20240103": 3}, ["20240101-20240102", "20240103"]),
        ("20240101-20240103", {"20190101": 3}, ["20240101-20240102", "20240103"]),
        ("-19000101", {}, ["-09500702", "09500703-19000101"]),
        ("20990101-", {}, ["20990101-60490701", "60490702-"]),
        ("20240101", {"20240101": 3}, []),
        ("20240101-20240101", {}, []),
        ("-00010101", {}, []),
        ("99991231-", {}, []),
        ("2024*", {"20240101": 3}, []),
    ],
)
def test_dates(value: str, seen: dict[str, int], pieces: list[str]) -> None:
    assert DATES.pieces({"StudyDate": value}, Counter(seen)) == pieces
    assert DATES.serves({"StudyDate": value}) == bool(pieces)


@pytest.mark.parametrize(
    ("value", "seen", "pieces"),
    [
        ("", {}, ["-120000.499999", "120000.5-"]),
        ("", {"36000": 2, "36010": 2}, ["-100000.499999", "100000.5-"]),
        ("", {"36000": 2}, ["-095959.499999", "095959.5-100000.499999", "100000.5-"]),
        ("10-1059", {}, ["10-103000.499999", "103000.5-1059"]),
        ("10-1059", {"1": 2}, ["10-103000.499999", "103000.5-1059"]),
        ("095959.5-100000.499999", {"36000": 2}, []),
        ("1015", {"36900": 2}, []),
        ("10*", {}, []),
    ],
)
def test_times(value: str, seen: dict[str, int], pieces: list[str]) -> None:
    keys = {"StudyDate": "20240101", "StudyTime": value}
    assert TIMES.pieces(keys, Counter(seen)) == pieces
    assert TIMES.serves(keys) == bool(pieces)
    assert not TIMES.serves({**keys, "StudyDate": "20240101-20240102"})


def test_names_grow_by_a_letter_those_seen_first() -> None:
    first = NAMES.pieces({}, Counter({"Z": 1, "Ä": 2}))
    assert first[:4] == ["Ä*", "Z*", "A*", "B*"] and len(first) == 37
    second = NAMES.pieces({"PatientName": "Do*"}, Counter({"e": 2}))
    assert second[:3] == ["Do", "Doe*", "DoA*"] and second[-1] == "Do^*"
    match = DataSet.from_keywords({"PatientName": "Doe^John"})
    assert list(NAMES.sort({"PatientName": "Do*"}, match)) == ["e"]
    for keys in ({"PatientName": "D?e*"}, {"PatientName": "Doe"}, {"PatientID": "4711"}):
        assert not NAMES.serves(keys)


def test_values_are_those_seen_and_those_known() -> None:
    axis = Values("Modality", ["CT", "MR"])
    assert axis.pieces({}, Counter({"XY": 1, "CT": 2})) == ["CT", "XY", "MR"]
    assert axis.pieces({"Modality": "CT"}, Counter()) == []


def test_numbers_are_one_that_is_there_the_next_and_gaps() -> None:
    axis = Numbers("InstanceNumber")
    seen = Counter(["1", "2", "5", "9"])
    assert axis.pieces({}, seen) == ["1", "10", "3", "4"]
    assert axis.pieces({}, Counter()) == []


def test_uids_are_halved() -> None:
    axis = Uids("StudyInstanceUID")
    assert axis.pieces({"StudyInstanceUID": "1\\2\\3"}, Counter()) == ["1", "2\\3"]
    assert not axis.serves({"StudyInstanceUID": "1"})


@given(
    st.lists(st.dates(), max_size=6),
    st.one_of(st.none(), st.dates()),
    st.one_of(st.none(), st.dates()),
    st.dates(),
)
def test_each_day_is_in_one_piece(
    seen: list[date], first: date | None, last: date | None, day: date
) -> None:
    if first and last and first > last:
        first, last = last, first
    ends = [one.isoformat().replace("-", "") if one else "" for one in (first, last)]
    keys = {"StudyDate": "-".join(ends) if any(ends) else ""}
    pieces = DATES.pieces(keys, Counter(f"{one.year:04}{one:%m%d}" for one in seen))
    if not pieces:
        assert not DATES.serves(keys)
        return
    inside = (first or date.min) <= day <= (last or date.max)
    text = day.isoformat().replace("-", "")
    assert sum(_is_in(text, piece) for piece in pieces) == inside
    assert keys["StudyDate"] not in pieces


@given(
    st.lists(st.integers(0, 86_400), max_size=6),
    st.times(),
    st.sampled_from(["%H", "%H%M", "%H%M%S", "%H%M%S.%f"]),
)
def test_each_time_is_in_one_piece_however_short_it_is(
    seen: list[int], moment: object, shape: str
) -> None:
    keys = {"StudyDate": "20240101", "StudyTime": ""}
    text = format(moment, shape)
    while TIMES.serves(keys):
        pieces = TIMES.pieces(keys, Counter(map(str, seen)))
        (own,) = [piece for piece in pieces if _is_in(text, piece)]
        keys["StudyTime"] = own


def _is_in(text: str, piece: str) -> bool:
    """Compare as text, as many PACS do."""
    first, hyphen, last = piece.partition("-")
    return (first or text) <= text <= ((last if hyphen else first) or text)
