"""Answers that a PACS cuts: noticed, split until the parts are whole, or said not to be."""

from __future__ import annotations

from datetime import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pypx.errors import StatusError
from pypx.retrieve.finding.finder import FoundSeries, FoundStudy
from pypx.retrieve.finding.limits import Limit
from tests.retrieve.fake import FakePacs, Row, series, studies, study

DATED = {"StudyDate": "20000101-"}  # leaves out what has no date, so that all can be shown


def found(pacs: FakePacs, **keys: str) -> tuple[set[str], bool, list[str]]:
    """Give the UIDs that were found, whether they are all, and the notes."""
    with pacs.finder().studies(keys) as whole:
        uids = [one.study_instance_uid for one in whole]
        assert len(uids) == len(set(uids))
        return set(uids), whole.is_whole, whole.notes


def uids(rows: list[Row]) -> set[str]:
    return {row["StudyInstanceUID"] for row in rows}


CAPS = [(10, 0), (16, 0), (50, 0), (10, 0xB001), (37, 0xB001), (37, 0xA700), (0, 0xA700)]


@pytest.mark.parametrize(("cap", "status"), CAPS)
@pytest.mark.parametrize("order", [1, -1])
def test_a_cut_answer_is_split_by_date_until_it_is_whole(cap: int, status: int, order: int) -> None:
    rows = studies(150)[::order]
    if not cap:
        cap, rows = 1, rows[:1]
    pacs = FakePacs({"study": rows}, cap=cap, status=status)
    got, whole, notes = found(pacs, **DATED)
    assert got == uids(rows) and whole
    if len(rows) > 1:
        assert f"ended an answer after {cap} studies" in notes[0]
        assert ("without saying so" in notes[0]) == (status == 0)
        assert f"split by StudyDate, gave {len(rows)} in all" in notes[0]
        assert len(pacs.asked) < 8 * len(rows) / cap + 2


def test_a_pacs_that_gives_nothing_of_too_much() -> None:
    class Nothing(FakePacs):
        def _answers(self, keys, level, return_keys):  # type: ignore[no-untyped-def]
            matches = list(super()._answers(keys, level, return_keys))
            if len(matches) > 5:
                raise self.failure
            yield from matches

    pacs = Nothing({"study": studies(60)})
    pacs.failure = StatusError("Too many.", status=0xA700)
    got, whole, _ = found(pacs, **DATED)
    assert len(got) == 60 and whole
    pacs.failure = StatusError("I do not understand.", status=0xC001)
    with pytest.raises(StatusError):
        found(pacs, **DATED)


def test_a_busy_day_is_split_by_time_and_what_has_none_is_said() -> None:
    rows = [study(index, StudyDate="20240101") for index in range(45)]
    pacs = FakePacs({"study": rows}, cap=10)
    got, whole, notes = found(pacs, StudyDate="20240101")
    assert got == uids(rows) and not whole
    assert "studies without StudyTime are in no range of it" in notes[1]
    got, whole, _ = found(pacs, StudyDate="20240101", StudyTime="0000-2359")
    assert got == uids(rows) and whole


def test_one_second_is_split_by_modality_and_name() -> None:
    rows = [
        study(index, StudyDate="20240101", StudyTime="120000", ModalitiesInStudy="CT")
        for index in range(26)
    ]
    got, whole, notes = found(FakePacs({"study": rows}, cap=10), StudyDate="20240101")
    assert got == uids(rows) and not whole
    assert "PatientName" in notes[0]


def test_undated_studies_are_looked_for_and_never_called_whole() -> None:
    rows = [*studies(30), *[study(30 + index, StudyDate="") for index in range(15)]]
    got, whole, notes = found(FakePacs({"study": rows}, cap=10))
    assert got == uids(rows) and not whole
    assert "studies without StudyDate are in no range of it" in notes[1]


def test_a_round_number_that_is_no_limit_costs_little_and_is_no_note() -> None:
    for number, most in ((1, 6), (10, 3), (64, 3), (100, 3)):
        pacs = FakePacs({"study": studies(number)})
        got, whole, notes = found(pacs)
        assert len(got) == number and whole and not notes
        assert len(pacs.asked) <= most


def test_a_few_undated_studies_are_whole_where_their_modality_shows_them() -> None:
    rows = [study(index, StudyDate="") for index in range(10)]
    got, whole, notes = found(FakePacs({"study": rows}))
    assert got == uids(rows) and whole and not notes


def test_what_no_key_reaches_cannot_be_shown() -> None:
    bare = dict.fromkeys(("StudyDate", "StudyTime", "PatientName", "ModalitiesInStudy"), "")
    rows = [study(index, **bare) for index in range(10)]
    got, whole, notes = found(FakePacs({"study": rows}))
    assert got == uids(rows) and not whole
    assert "10 may be a limit of the PACS" in notes[0]


def test_a_narrow_query_is_not_doubted_for_few_matches() -> None:
    rows = [study(index, PatientID="P") for index in range(8)]
    pacs = FakePacs({"study": rows})
    assert found(pacs, PatientID="P") == (uids(rows), True, [])
    assert len(pacs.asked) == 1
    rows += [study(index, PatientID="P") for index in range(8, 25)]
    pacs = FakePacs({"study": rows}, cap=10)
    assert found(pacs, PatientID="P", **DATED)[:2] == (uids(rows), True)


def test_what_is_smaller_than_an_answer_before_was_not_cut() -> None:
    pacs = FakePacs({"study": [study(i, StudyDescription="ab"[i < 37]) for i in range(41)]})
    finder = pacs.finder()
    for description in "ba":
        assert len(list(finder.studies({"StudyDescription": description}))) in (37, 4)
    assert len(pacs.asked) == 2


def test_a_limit_once_confirmed_is_suspected_whenever_it_is_met() -> None:
    rows = studies(60)
    pacs = FakePacs({"study": rows}, cap=7, status=0xB001)
    finder = pacs.finder()
    assert len(list(finder.studies(DATED))) == 60
    pacs.status = 0
    assert len(list(finder.studies(DATED))) == 60


def test_a_list_of_uids_is_halved() -> None:
    rows = studies(64)
    pacs = FakePacs({"study": rows}, cap=10)
    wanted = "\\".join(sorted(uids(rows)))
    assert found(pacs, StudyInstanceUID=wanted)[:2] == (uids(rows), True)
    assert {key for _, keys in pacs.asked for key in keys} == {"StudyInstanceUID"}


@pytest.mark.parametrize(("cap", "undated"), [(None, 20), (10, 9), (10, 30)])
def test_what_has_no_date_may_come_with_the_oldest(cap: int | None, undated: int) -> None:
    """Orthanc 1.10 heeds a range of dates, and is not taken for one that ignores it."""
    rows = [*studies(64 - undated), *(study(80 + n, StudyDate="") for n in range(undated))]
    pacs = FakePacs({"study": rows}, cap=cap, empty_first=True)
    got, whole, notes = found(pacs)
    assert got == uids(rows) or not whole
    assert whole == (cap is None), notes  # of a limit it cannot be known that all dateless came
    assert not any("does not heed" in note for note in notes)


@pytest.mark.parametrize("how", ["ignore", "refuse"])
def test_a_key_that_a_pacs_does_not_heed_splits_nothing(how: str) -> None:
    rows = studies(50)
    pacs = FakePacs({"study": rows}, cap=10, **{how: ["StudyDate"]})  # type: ignore[arg-type]
    got, whole, notes = found(pacs)
    assert not whole and 10 < len(got) <= 50
    assert "the PACS does not heed StudyDate" in notes[-1]
    assert len(pacs.asked) < 400


def test_answers_that_come_twice_count_as_the_pacs_may_count_them() -> None:
    rows = studies(55)
    pacs = FakePacs({"study": rows}, cap=10, repeat=3)
    assert found(pacs, **DATED)[:2] == (uids(rows), True)


def test_matches_without_a_uid_are_said() -> None:
    pacs = FakePacs({"study": [*studies(3), study(9, StudyInstanceUID="")]})
    got, whole, notes = found(pacs, StudyDescription="")
    assert len(got) == 3 and not whole
    assert "gave matches without StudyInstanceUID" in notes[0]


def test_looking_for_what_has_no_date_has_an_end() -> None:
    rows = studies(400)
    pacs = FakePacs({"study": rows}, cap=10)
    found(pacs, **DATED)
    by_date = len(pacs.asked)
    pacs.asked.clear()
    assert found(pacs)[0] == uids(rows)
    assert by_date < len(pacs.asked) < by_date + 250


def test_a_pacs_that_never_gives_anything_is_not_asked_for_ever() -> None:
    pacs = FakePacs({"study": [study(1)]}, cap=0, status=0xA700)
    got, whole, notes = found(pacs)
    assert got == set() and not whole and notes
    assert len(pacs.asked) < 350


def test_an_early_end_of_looking_ends_the_query() -> None:
    pacs = FakePacs({"study": studies(30)}, cap=10)
    whole = pacs.finder().studies({})
    next(whole)
    assert not whole.is_whole
    whole.close()
    assert list(whole) == [] and len(pacs.asked) == 1
    assert not whole.is_whole


def test_an_error_is_never_whole_afterwards() -> None:
    whole = FakePacs({}, refuse=["study"]).finder().studies({})
    with pytest.raises(StatusError):
        next(whole)
    assert list(whole) == [] and not whole.is_whole


# Series and images ---------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 0xA700])
def test_series_are_compared_with_their_number_and_split_by_modality(status: int) -> None:
    rows = series(25)
    pacs = FakePacs({"series": rows}, cap=10, status=status)
    finder = pacs.finder()
    whole = finder.series(study_of(25), {})
    assert len(list(whole)) == 25 and whole.is_whole
    assert "split by Modality" in whole.notes[0]


def test_series_that_no_modality_shows_are_counted() -> None:
    pacs = FakePacs({"series": [{**row, "Modality": "ZZ"} for row in series(25)]}, cap=10)
    whole = pacs.finder().series(study_of(25), {})
    assert len(list(whole)) < 25 and not whole.is_whole
    assert "counts 25 series, but gives" in whole.notes[-1]


def test_a_number_that_is_wrong_for_each_study_is_soon_not_looked_into() -> None:
    pacs = FakePacs({"series": series(3)})
    finder = pacs.finder()
    for _ in range(5):
        whole = finder.series(study_of(4), {})
        assert len(list(whole)) == 3 and not whole.is_whole
    before = len(pacs.asked)
    list(finder.series(study_of(4), {}))
    assert len(pacs.asked) == before + 1


def test_a_limit_that_is_not_round_is_learned_from_the_number_of_series() -> None:
    rows = [
        {**row, "Modality": "CT" if index < 9 else "SR"} for index, row in enumerate(series(15))
    ]
    pacs = FakePacs({"series": rows}, cap=7)
    whole = pacs.finder().series(study_of(15), {})
    assert len(list(whole)) > 13 and not whole.is_whole


@pytest.mark.parametrize(("there", "basis"), [(20, "instances"), (25, "unknown")])
def test_images_without_a_number_are_probed(there: int, basis: str) -> None:
    pacs = FakePacs({"image": images(there)}, cap=20)
    expected = pacs.finder().instances(series_of(None), {})
    assert expected.basis == basis
    assert len(expected.instances) >= 20
    assert len(pacs.asked) <= 6


def study_of(number: int | None) -> FoundStudy:
    return FoundStudy("1.2", "P", "", "", "", "", (), number, None)


def series_of(number: int | None) -> FoundSeries:
    return FoundSeries("1.2", "1.2.3", "P", "CT", "1", "", number)


def images(number: int) -> list[Row]:
    return [
        {
            "StudyInstanceUID": "1.2",
            "SeriesInstanceUID": "1.2.3",
            "SOPInstanceUID": f"1.2.3.{index}",
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
            "InstanceNumber": str(index + 1),
        }
        for index in range(number)
    ]


def test_what_a_limit_suspects() -> None:
    limit = Limit()
    open_, closed = (
        [n for n in range(70) if limit.suspects((n, n), closed=narrow)] for narrow in (False, True)
    )
    assert open_ == [1, 2, 4, 8, 10, 16, 20, 30, 32, 40, 50, 60, 64]
    assert closed == [10, 16, 20, 30, 32, 40, 50, 60, 64]
    limit.saw((33, 30))
    assert not limit.suspects((32, 29), closed=False)
    assert limit.suspects((32, 30), closed=True), "of 32 responses 30 were different"
    limit.confirm((7, 7))
    assert limit.suspects((7, 7), closed=True)


# Any list, any limit -------------------------------------------------------------------------

DATES = st.sampled_from(["", "20240101", "20240101", "20240102", "20230615", "19000101"])
TIMES = st.sampled_from(["", "10", "1015", "101500", "101501", "235959.5", "000000"])
NAMES = st.sampled_from(["", "Doe^John", "doe^jane", "Ä", "山田", "D", "*", "^"])
MODALITIES = st.sampled_from(["", "CT", "CT\\SR", "XY"])
STUDIES = st.lists(st.tuples(DATES, TIMES, NAMES, MODALITIES), max_size=30)
KEYS = st.sampled_from(
    [{}, {"StudyDate": "20230101-"}, {"StudyDate": "-20240101", "StudyTime": "10-"}]
)


def rows_of(made: list[tuple[str, str, str, str]]) -> list[Row]:
    keywords = ("StudyDate", "StudyTime", "PatientName", "ModalitiesInStudy")
    return [
        study(index, **dict(zip(keywords, values, strict=True)))
        for index, values in enumerate(made)
    ]


@given(STUDIES, st.integers(1, 12), st.sampled_from([0xA700, 0xB001]), KEYS, st.integers(1, 2))
def test_a_limit_that_is_told_is_never_taken_for_whole(
    made: list[tuple[str, str, str, str]],
    cap: int,
    status: int,
    keys: dict[str, str],
    repeat: int,
) -> None:
    rows = rows_of(made)
    everything, _, _ = found(FakePacs({"study": rows}), **keys)
    got, whole, _ = found(FakePacs({"study": rows}, cap=cap, status=status, repeat=repeat), **keys)
    assert got <= everything
    assert got == everything or not whole


@given(STUDIES, st.sampled_from([10, 16, 20]), KEYS)
def test_a_silent_limit_is_noticed_unless_it_hides_just_what_no_key_reaches(
    made: list[tuple[str, str, str, str]], cap: int, keys: dict[str, str]
) -> None:
    rows = rows_of(made)
    everything, _, _ = found(FakePacs({"study": rows}), **keys)
    got, whole, _ = found(FakePacs({"study": rows}, cap=cap), **keys)
    assert got <= everything
    hidden = [row for row in rows if row["StudyInstanceUID"] in everything - got]
    assert not whole or all(not row["StudyDate"] or not row["StudyTime"] for row in hidden)


@given(
    st.lists(st.tuples(st.integers(1, 3), st.times()), unique_by=str, max_size=30),
    st.sampled_from([1, 2, 4, 8, 10, 20]),
)
def test_what_has_date_and_time_is_found_whatever_the_silent_limit(
    moments: list[tuple[int, time]], cap: int
) -> None:
    by_second = {(day, f"{moment:%H%M%S}"): None for day, moment in moments}
    rows = [
        study(index, StudyDate=f"2024010{day}", StudyTime=moment)
        for index, (day, moment) in enumerate(by_second)
    ]
    got, _, _ = found(FakePacs({"study": rows}, cap=cap))
    assert got == uids(rows)
