"""Studies, series and instances of the embedded PACS, honest and not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from pypx.archive import Archive
from pypx.client.client import Client
from pypx.errors import ConfigError, ConnectError, StatusError
from pypx.pacs import Pacs
from pypx.pacs.samples import SAMPLE_INSTANCES, write_samples
from pypx.retrieve.finding.finder import Expected, Finder, FoundSeries, FoundStudy
from pypx.retrieve.finding.locating import known_in
from tests.archive.helpers import store
from tests.retrieve import TODAY
from tests.retrieve.fake import FakePacs, study

ALL = {"PatientID": "*"}
DATED = {"StudyDate": "20000101-"}
Make = Callable[..., Finder]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with Archive(tmp_path_factory.mktemp("samples"), durability="none") as archive:
        write_samples(archive)
        yield archive


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Give an archive of 120 studies on 40 days, one of which has 30 images."""
    with Archive(tmp_path_factory.mktemp("many"), durability="none") as archive:
        for number in range(120):
            store(
                archive,
                number,
                StudyInstanceUID=f"1.2.{number}",
                SeriesInstanceUID=f"1.2.{number}.1",
                PatientID=f"P{number}",
                PatientName=f"{chr(65 + number % 26)}^X",
                StudyDate=f"2024{number % 4 + 1:02}{number % 10 + 1:02}",
                StudyTime=f"{number % 24:02}0000",
                PixelData=None,
            )
        for number in range(1000, 1029):
            store(
                archive,
                number,
                StudyInstanceUID="1.2.0",
                SeriesInstanceUID="1.2.0.1",
                PatientID="P0",
                PatientName="A^X",
                StudyDate="20240101",
                PixelData=None,
            )
        yield archive


@pytest.fixture
def make(samples: Archive) -> Iterator[Make]:
    with ExitStack() as stack:

        def finder(*faults: str, archive: Archive = samples, model: str = "study") -> Finder:
            pacs = stack.enter_context(Pacs(archive, faults=faults))
            client = stack.enter_context(Client(pacs.address))
            return Finder(client, model=model, today=TODAY)

        yield finder


def everything(finder: Finder, **keys: str) -> dict[str, list[tuple[FoundSeries, Expected]]]:
    """Give accession numbers, and series with what is expected of them."""
    found = {}
    with finder.studies({**ALL, **keys}) as studies:
        for one in list(studies):
            series = list(finder.series(one, keys))
            found[one.accession_number] = [(each, finder.instances(each, keys)) for each in series]
    return found


@pytest.mark.parametrize("model", ["study", "patient"])
@pytest.mark.parametrize(
    "faults", [(), ("no-counts",), ("answer-twice",), ("wrong-character-set",)]
)
def test_everything_is_found_down_to_the_instances(
    make: Make, model: str, faults: tuple[str, ...]
) -> None:
    found = everything(make(*faults, model=model))
    assert {number: len(series) for number, series in found.items()} == {
        "A1001": 1,
        "A1002": 2,
        "A1003": 1,
    }
    expected = [one for series in found.values() for _, one in series]
    assert {one.basis for one in expected} == {"instances"}
    assert sum(one.count or 0 for one in expected) == SAMPLE_INSTANCES
    assert sum(len(one.instances) for one in expected) == SAMPLE_INSTANCES
    assert all(one.note == "" for one in expected)


def test_what_is_said_of_studies_and_series(make: Make) -> None:
    finder = make()
    (found,) = finder.studies({"AccessionNumber": "A1002"})
    assert found == FoundStudy(
        found.study_instance_uid,
        "DEMO-002",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "20240302",
        "MR Brain",
        "A1002",
        ("MR",),
        2,
        14,
    )
    series = sorted(finder.series(found, {}), key=lambda one: one.series_number)
    assert [
        (one.modality, one.series_number, one.series_description, one.number_of_instances)
        for one in series
    ] == [("MR", "1", "T1 axial", 8), ("MR", "2", "T2 [fast] coronal", 6)]
    assert {one.patient_id for one in series} == {"DEMO-002"}
    expected = finder.instances(series[0], {"InstanceNumber": "3"})
    assert (expected.count, expected.basis) == (1, "instances")
    assert set(expected.instances.values()) == {"1.2.840.10008.5.1.4.1.1.4"}


def test_keys_of_each_level_are_asked_for_at_their_level() -> None:
    above = {"PatientID": "P1", "StudyInstanceUID": "1.2.1"}
    rows = {
        "patient": [{"PatientID": f"P{n}", "PatientName": "X"} for n in (1, 2, 3)],
        "study": [study(n) for n in (1, 2, 3)],
        "series": [{**above, "SeriesInstanceUID": "1", "Modality": "CT"}],
        "image": [{**above, "SeriesInstanceUID": "1", "SOPInstanceUID": "2"}],
    }
    keys = {
        "PatientName": "X*",
        "StudyDate": "2024*",
        "ModalitiesInStudy": "*",
        "Modality": "CT",
        "SOPClassUID": "",
    }
    pacs = FakePacs(rows)
    finder = pacs.finder("patient")
    (first, *others) = finder.studies(keys)
    assert len(others) == 2 and (first.patient_name, first.patient_id) == ("X", "P1")
    (series,) = finder.series(first, keys)
    assert finder.instances(series, keys).instances == {"2": ""}
    assert pacs.asked == [
        ("patient", {"PatientName": "X*"}),
        ("study", {"StudyDate": "2024*", "PatientID": "P1"}),
        ("study", {"StudyDate": "2024*", "PatientID": "P2"}),
        ("study", {"StudyDate": "2024*", "PatientID": "P3"}),
        ("series", {"Modality": "CT", **above}),
        ("image", {**above, "SeriesInstanceUID": "1"}),
    ]
    pacs = FakePacs(rows)
    assert [one.patient_id for one in pacs.finder("patient").studies({"PatientID": "P2"})] == ["P2"]
    assert pacs.asked == [("study", {"PatientID": "P2"})]


@pytest.mark.parametrize(
    "keys", [{"Modality": "CT"}, {"SeriesInstanceUID": "1*"}, {"SOPInstanceUID": "1\\2"}]
)
def test_series_are_not_looked_for_in_every_study(make: Make, keys: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="every study") as caught:
        make().studies(keys)
    assert caught.value.hint


LOWER = {
    "SeriesInstanceUID": ("series", {"SeriesInstanceUID": "1.2.5.7"}),
    "SOPInstanceUID": ("image", {"SOPInstanceUID": "1.2.5.7.9"}),
}


@pytest.mark.parametrize("model", ["study", "patient"])
@pytest.mark.parametrize("keyword", sorted(LOWER))
def test_the_study_of_a_series_or_image_is_asked_for(keyword: str, model: str) -> None:
    level, key = LOWER[keyword]
    rows = {
        "study": [study(index) for index in range(9)],
        level: [
            {**key, keyword: f"{key[keyword]}{more}", "StudyInstanceUID": f"1.2.{n}", **patient}
            for n, more, patient in ((4, ".1", {"PatientID": "P4"}), (5, "", {"PatientID": "P5"}))
        ],
    }
    for ignore in ((), (keyword,)):
        pacs = FakePacs(rows, ignore=ignore)
        found = list(pacs.finder(model).studies(key))
        assert [one.study_instance_uid for one in found] == ["1.2.5"]
        assert pacs.asked[0] == (level, key)
        assert len(pacs.asked) == 2


def test_what_is_here_already_names_the_study(here: Archive) -> None:
    store(here, 9, StudyInstanceUID="1.2.5", SeriesInstanceUID="1.2.5.7", PatientID="P5")
    for key in ({"SeriesInstanceUID": "1.2.5.7"}, {"SOPInstanceUID": "1.2.3.4.9"}):
        pacs: Any = FakePacs({"study": [study(index) for index in range(9)]})
        finder = Finder(pacs, today=TODAY, known=known_in(here))
        assert [one.study_instance_uid for one in finder.studies(key)] == ["1.2.5"]
        assert [level for level, _ in pacs.asked] == ["study"]


@pytest.mark.parametrize("refuse", [[], ["series"]])
def test_a_study_that_nobody_names_is_not_guessed(refuse: list[str]) -> None:
    pacs = FakePacs({"study": [study(1)]}, refuse=refuse)
    with pytest.raises(StatusError, match="does not say which study SeriesInstanceUID"):
        list(pacs.finder().studies({"SeriesInstanceUID": "1.2.3"}))
    assert [level for level, _ in pacs.asked] == ["series"], "no study was looked through"


def test_a_key_that_the_pacs_ignores_is_heeded_here(make: Make) -> None:
    whole = make("ignore-modalities").studies({**ALL, "ModalitiesInStudy": "MR"})
    assert [one.accession_number for one in whole] == ["A1002"]
    assert whole.is_whole
    assert "ignores the key ModalitiesInStudy: 2 of the studies" in whole.notes[0]


def test_a_name_in_a_wrong_character_set_is_not_dropped(make: Make) -> None:
    for fault in ("wrong-character-set", "no-character-set"):
        whole = make(fault).studies({"PatientName": "Muster^Änne"})
        assert [one.accession_number for one in whole] == ["A1001"]


@pytest.mark.parametrize("fault", ["cap-silently=10", "cap-silently=16", "cap-with-a700=7"])
def test_more_studies_than_the_pacs_gives_at_once(make: Make, many: Archive, fault: str) -> None:
    whole = make(fault, archive=many).studies(DATED)
    assert len({one.study_instance_uid for one in whole}) == 120
    assert whole.is_whole and "120 in all" in whole.notes[0]


def test_without_a_date_it_is_said_what_cannot_be_shown(make: Make, many: Archive) -> None:
    whole = make("cap-silently", archive=many).studies(ALL)
    assert len(list(whole)) == 120
    assert not whole.is_whole
    assert "without StudyDate" in whole.notes[-1]


@pytest.mark.parametrize("fault", ["cap-silently=2", "cap-with-a700=2"])
def test_the_samples_behind_a_small_limit(make: Make, fault: str) -> None:
    finder = make(fault)
    whole = finder.studies(DATED)
    studies = list(whole)
    assert len(studies) == 3 and whole.is_whole
    brain = next(one for one in studies if one.accession_number == "A1002")
    series = finder.series(brain, {})
    expected = [finder.instances(one, {}) for one in list(series)]
    assert series.is_whole
    assert {(one.basis, one.count, len(one.instances)) for one in expected} == {
        ("count", 8, 2),
        ("count", 6, 2),
    }
    assert all("images, but gives 2" in one.note for one in expected)


@pytest.mark.parametrize("fault", ["cap-silently=20", "cap-with-a700=20"])
def test_images_behind_a_limit_and_without_a_number(make: Make, many: Archive, fault: str) -> None:
    finder = make(fault, "no-counts", archive=many)
    (one,) = finder.studies({"PatientID": "P0"})
    (series,) = finder.series(one, {})
    expected = finder.instances(series, {})
    assert (expected.count, expected.basis) == (None, "unknown")
    assert 20 <= len(expected.instances) < 30
    assert "ended an answer after 20 images" in expected.note
    (other,) = finder.studies({"PatientID": "P1"})
    assert finder.instances(next(finder.series(other, {})), {}).basis == "instances"


def test_a_pacs_that_refuses_images_is_asked_once() -> None:
    pacs = FakePacs({}, refuse=["image"])
    finder = pacs.finder()
    series = FoundSeries("1.2", "1.2.3", "", "CT", "1", "", 12)
    for _ in range(2):
        expected = finder.instances(series, {})
        assert (expected.basis, expected.count, expected.instances) == ("count", 12, {})
        assert expected.note
    assert len(pacs.asked) == 1
    unknown = FoundSeries("1.2", "1.2.3", "", "CT", "1", "", None)
    assert finder.instances(unknown, {}).basis == "unknown"
    assert finder.instances(series, {"Rows": "512"}).basis == "unknown"


def test_a_series_without_images_is_not_one_that_is_whole() -> None:
    """A PACS that knows no IMAGE level may as well find nothing."""
    finder = FakePacs({}).finder()
    unknown = FoundSeries("1.2", "1.2.3", "", "CT", "1", "", None)
    expected = finder.instances(unknown, {})
    assert (expected.basis, expected.count) == ("unknown", None)
    assert "no images" in expected.note
    none = FoundSeries("1.2", "1.2.3", "", "CT", "1", "", 0)
    assert finder.instances(none, {}).basis == "instances", "the PACS says so twice"
    assert finder.instances(unknown, {"InstanceNumber": "7"}).count == 0, "none matches"


def test_levels_that_the_pacs_refuses(make: Make) -> None:
    finder = make("refuse-image-level", "refuse-series-level=C000")
    (found,) = finder.studies({"AccessionNumber": "A1001"})
    for _ in range(2):
        series = finder.series(found, {})
        assert list(series) == [] and series.refused and not series.is_whole
        assert "refuses queries for series" in series.notes[0]
    one = FoundSeries(found.study_instance_uid, "1.2", "", "CT", "1", "", 12)
    assert finder.instances(one, {}).basis == "count"


def test_one_failure_after_an_answer_does_not_condemn_the_level() -> None:
    pacs = FakePacs({"series": [{"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.3"}]})
    finder = pacs.finder()
    found = FoundStudy("1.2", "", "", "", "", "", (), 1, None)
    for refused in ((), ("series",), ()):
        pacs.refuse = frozenset(refused)
        series = finder.series(found, {})
        assert len(list(series)) == (not refused)
        assert series.refused == bool(refused)


def test_what_is_no_answer_is_an_error(make: Make) -> None:
    with pytest.raises(StatusError):
        list(FakePacs({}, refuse=["study"]).finder().studies(ALL))
    with pytest.raises(ConnectError), Client("X@127.0.0.1:1") as client:
        list(Finder(client, today=TODAY).studies(ALL))
    with pytest.raises(ConfigError):
        make(model="worklist")


def test_a_limit_that_is_known_is_seen_though_it_is_not_round() -> None:
    rows = {
        "study": [
            {"StudyInstanceUID": f"1.2.{day}", "StudyDate": f"202401{day}"} for day in range(10, 30)
        ]
    }
    client: Any = FakePacs(rows, cap=7)
    keys = {"StudyDate": "20240101-20240131"}
    assert len(list(Finder(client, today=TODAY).studies(keys))) == 7
    whole = Finder(client, today=TODAY, match_limit=7).studies(keys)
    assert len(list(whole)) == 20
    assert whole.is_whole


def test_nothing_is_whole(make: Make) -> None:
    whole = make().studies({"PatientID": "NOBODY"})
    assert list(whole) == [] and whole.is_whole and not whole.notes


def test_closing_early_leaves_the_association_usable(make: Make, many: Archive) -> None:
    finder = make(archive=many)
    with finder.studies(ALL) as whole:
        next(whole)
    assert not whole.is_whole
    assert len(list(finder.studies({"PatientID": "P7"}))) == 1


def test_series_of_another_modality_are_none(make: Make) -> None:
    finder = make()
    keys = {"AccessionNumber": "A1001", "Modality": "MR"}
    (found,) = finder.studies(keys)
    series = finder.series(found, keys)
    assert list(series) == [] and series.is_whole
