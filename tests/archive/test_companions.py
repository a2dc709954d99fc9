"""The files beside images, and the maps: what is in them, and when they are written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest

from pypx.archive import Archive
from pypx.archive.companions import Companions
from pypx.errors import IndexUnavailableError
from tests.archive.helpers import names, store

VALUES: dict[str, Any] = {"SeriesDescription": "T1 ax", "SeriesDate": "20240201"}
SERIES = "1.2.3.4"


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "data", layout="pypx-1", durability="none") as one:
        yield one


def companions(archive: Archive, **options: Any) -> Companions:
    made = archive.companions(**options)
    assert made is not None
    return made


def ini(path: Path) -> dict[str, dict[str, str]]:
    """Read a file as its users do; keys come in lower case whatever it has."""
    text = path.read_text()
    parser = ConfigParser()
    parser.read_string(text)
    for section in parser.sections():
        assert all(f"\n{key} = " in text for key in parser[section])
    return {section: dict(parser[section]) for section in parser.sections()}


def json_of(folder: Path) -> dict[str, Any]:
    """Give each file of the maps with what is in it."""
    return {
        str(path.relative_to(folder)): json.loads(path.read_text())
        for path in sorted(folder.glob("*/*"))
    }


def test_what_upstream_writes(archive: Archive, tmp_path: Path) -> None:
    series = store(archive, 1, **VALUES).path.parent
    study, patient = series.parent, series.parents[1]
    made = companions(archive, maps=tmp_path / "log")
    made.begin(SERIES, str(series))
    assert names(series) == ["00001-1.2.3.4.1.dcm", "receiving.series"]
    expected = {
        "seriesdescription": "T1.ax",
        "seriesdate": "20240201",
        "seriesinstanceuid": SERIES,
        "location": str(series),
    }
    assert ini(series / "receiving.series") == {"SERIES": expected}
    assert ini(study / "study.info") == {
        "STUDY": {
            "studydescription": "Thorax",
            "studydate": "20240131",
            "studyinstanceuid": "1.2.3",
            "location": str(study),
        }
    }
    assert ini(patient / "patient.info") == {
        "PATIENT": {"patientid": "4711", "patientname": "Doe.Jane", "location": str(patient)}
    }
    made.complete(SERIES, str(series))
    assert names(series) == ["00001-1.2.3.4.1.dcm", "series.info"]
    assert ini(series / "series.info") == {"SERIES": expected}
    assert json_of(tmp_path / "log") == {
        "patient_map/4711.json": {"4711": str(patient)},
        "study_map/1.2.3.json": {"1.2.3": str(study)},
        f"series_map/{SERIES}.json": {SERIES: str(series)},
    }
    report = archive.check()
    assert report.ok and report.files == 1
    for path in (*(tmp_path / "log").rglob("*"), *archive.root.rglob("*.info"), tmp_path / "log"):
        assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o640)


def test_a_missing_value_has_upstreams_words(archive: Archive, tmp_path: Path) -> None:
    series = store(archive, 1, PatientID=None, PatientName="", StudyDescription="").path.parent
    companions(archive, maps=tmp_path / "log").complete(SERIES, str(series))
    assert ini(series.parents[1] / "patient.info")["PATIENT"]["patientid"] == "no value provided"
    assert ini(series.parent / "study.info")["STUDY"]["studydescription"] == "no value provided"
    assert series.parents[1].name == "no.value.provided-no.value.provided"
    assert (tmp_path / "log" / "patient_map" / "no value provided.json").exists()


def test_more_of_a_series_begins_it_again(archive: Archive) -> None:
    series = store(archive, 1, **VALUES).path.parent
    made = companions(archive)
    made.begin(SERIES, str(series))
    made.complete(SERIES, str(series))
    before = (series / "series.info").stat().st_ino
    made.begin(SERIES, str(series))
    assert {"receiving.series", "series.info"} <= set(names(series))
    made.complete(SERIES, str(series))
    assert "receiving.series" not in names(series)
    assert (series / "series.info").stat().st_ino != before  # who watches for it sees it again
    made.complete(SERIES, str(series))
    assert names(series) == ["00001-1.2.3.4.1.dcm", "series.info"]


def test_what_is_there_stays(archive: Archive, tmp_path: Path) -> None:
    series = store(archive, 1, **VALUES).path.parent
    log = tmp_path / "log"
    (series.parents[1] / "patient.info").write_text("[PATIENT]\nmine = 1\n")
    for name, place in (("patient_map/4711", tmp_path), (f"series_map/{SERIES}", "/is/no/more")):
        (log / name).parent.mkdir(parents=True, exist_ok=True)
        (log / f"{name}.json").write_text(json.dumps({Path(name).name: str(place)}))
    (log / f"series_map/{SERIES}.json").write_text(json.dumps({SERIES: "/is/no/more"}))
    companions(archive, maps=log).complete(SERIES, str(series))
    assert "mine" in (series.parents[1] / "patient.info").read_text()
    maps = json_of(log)
    assert maps["patient_map/4711.json"] == {"4711": str(tmp_path)}
    assert maps[f"series_map/{SERIES}.json"] == {SERIES: str(series)}


def test_a_map_that_is_damaged_is_written_anew(archive: Archive, tmp_path: Path) -> None:
    series = store(archive, 1).path.parent
    path = tmp_path / "log" / "series_map" / f"{SERIES}.json"
    path.parent.mkdir(parents=True)
    for text in ("{", "[]", "{}", "null", f'{{"{SERIES}": 3}}'):
        path.write_text(text)
        companions(archive, maps=tmp_path / "log").complete(SERIES, str(series))
        assert json.loads(path.read_text()) == {SERIES: str(series)}


def test_a_layout_of_ours_has_none_unless_they_are_wanted(tmp_path: Path) -> None:
    with Archive(tmp_path / "data", durability="none") as archive:
        series = store(archive, 1, **VALUES).path.parent
        assert archive.companions() is None
        companions(archive, maps=tmp_path / "log").complete(SERIES, str(series))
        assert names(series) == ["1-1.2.3.4.1.dcm"]
        assert len(json_of(tmp_path / "log")) == 3
        companions(archive, info=True).complete(SERIES, str(series))
        assert names(series) == ["1-1.2.3.4.1.dcm", "series.info"]
        assert names(series.parents[1])[-1] == "patient.info"
    with Archive(tmp_path / "uid", layout="uid", durability="none") as archive:
        series = store(archive, 1, **VALUES).path.parent
        companions(archive, info=True, maps=tmp_path / "m").complete(SERIES, str(series))
        assert set(json_of(tmp_path / "m")) == {"study_map/1.2.3.json", f"series_map/{SERIES}.json"}
        assert names(series.parent) == [SERIES, "study.info"]
    with Archive(tmp_path / "data", layout="pypx-3", read_only=True) as archive:
        assert archive.companions(maps=tmp_path) is None
    with Archive(tmp_path / "3", layout="pypx-3", durability="none") as archive:
        assert archive.companions() is not None
        assert archive.companions(info=False) is None


def test_all_that_is_in_the_index(archive: Archive, tmp_path: Path) -> None:
    here = [
        store(archive, number, SeriesInstanceUID=f"1.2.3.{number}").path.parent
        for number in (1, 2, 3)
    ]
    made = companions(archive, maps=tmp_path / "log")
    made.begin("1.2.3.1", str(here[0]))
    made.complete("1.2.3.2", str(here[1]))
    inode = (here[1] / "series.info").stat().st_ino
    seen: list[int] = []
    assert made.write_all(seen.append) == 3
    assert seen == [1, 2, 3]
    assert [path.name for one in here for path in sorted(one.glob("*ser*"))] == [
        "receiving.series",
        "series.info",
        "series.info",
    ]
    assert (here[1] / "series.info").stat().st_ino == inode
    assert len(json_of(tmp_path / "log")) == 5


def test_no_link_is_followed_and_nothing_half_is_left(archive: Archive, tmp_path: Path) -> None:
    series = store(archive, 1, **VALUES).path.parent
    away = tmp_path / "away"
    series.rename(away)
    series.symlink_to(away)
    with pytest.raises(OSError, match=r"Not a directory|symbolic"):
        companions(archive).complete(SERIES, str(series))
    assert names(away) == ["00001-1.2.3.4.1.dcm"]


def test_a_write_that_fails_leaves_nothing(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = store(archive, 1, **VALUES).path.parent

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pypx.archive.companions.write_all", full)
        with pytest.raises(OSError, match="No space"):
            companions(archive).complete(SERIES, str(series))
    assert names(series) == ["00001-1.2.3.4.1.dcm"]
    assert names(series.parent) == [series.name]


def test_a_series_that_the_index_does_not_have_yet(archive: Archive) -> None:
    with pytest.raises(IndexUnavailableError):
        companions(archive).begin("1.2.9", str(archive.root))
