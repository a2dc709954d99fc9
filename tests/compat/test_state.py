"""``pypx.status``: what is here, in upstream's words."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import pypx
from pypx.archive import Archive
from tests.archive import ledgers


@pytest.fixture
def archive(samples: Archive, home: Path):
    """Give the user's archive, with the samples."""
    with Archive(home / "pypx", durability="none") as archive:
        for located in samples.instances():
            archive.add_file(located.path)
        yield archive


def expect(archive: Archive, study: str, series: str, expected: int | None) -> None:
    """Note down that somebody asked for a series."""
    transfer = ledgers.begin(archive.ledger)
    found = ledgers.find(archive.ledger, transfer, study)
    ledgers.expect(archive.ledger, transfer, found, None, series, count=expected)


def row_of(archive: Archive, description: str) -> dict[str, object]:
    (row,) = archive.find("series", {"SeriesDescription": description})
    return row


@pytest.mark.parametrize(
    ("expected", "state", "requested", "code"),
    [
        (8, "ImagesAllReceivedOK", 8, 0),
        (9, "ImagesInFlight", 9, 1),
        (None, "ImagesReceived", -1, 0),
    ],
)
def test_a_series_against_what_was_asked_for(
    archive: Archive, expected: int | None, state: str, requested: int, code: int
) -> None:
    row = row_of(archive, "T1 axial")
    study, series = str(row["StudyInstanceUID"]), str(row["SeriesInstanceUID"])
    expect(archive, study, series, expected)
    found = pypx.status({"SeriesInstanceUID": series})
    assert (found["status"], found["returncode"]) == ("success", code)
    assert found["state"] == {"study": "StudyOK", "series": "SeriesOK", "images": state}
    assert found["study"] == {
        "state": "StudyOK",
        "StudyInstanceUID": study,
        "seriesListInStudy": [series],
    }
    assert found["images"]["received"] == {"count": 8}
    assert found["images"]["requested"] == {"count": requested}
    assert pypx.status({"SeriesInstanceUID": series, "StudyInstanceUID": "1.2"})["state"] == {
        "study": "NoStudyFound",
        "series": "NoSeriesFound",
        "images": "NoImagesReceived",
    }


def test_a_study_and_each_of_its_series(archive: Archive) -> None:
    study = str(row_of(archive, "T1 axial")["StudyInstanceUID"])
    found = pypx.status({"StudyInstanceUID": study, "verifySeriesInStudy": True})
    assert found["images"]["received"] == {"count": 14}
    assert found["images"]["requested"] == {"count": -1}
    each = found["series"]["each"]
    assert sorted(one["images"]["received"]["count"] for one in each.values()) == [6, 8]
    assert sorted(found["study"]["seriesListInStudy"]) == sorted(each)


def test_without_an_archive_nothing_is_here(home: Path) -> None:
    found = pypx.status({"StudyInstanceUID": "1.2"})
    assert (found["state"]["images"], found["returncode"]) == ("NoImagesReceived", 1)
    assert not (home / "pypx").exists()


def test_an_archive_that_cannot_be_read(archive: Archive, home: Path) -> None:
    shutil.rmtree(home / "pypx" / ".pypx")
    found = pypx.status({"StudyInstanceUID": "1.2"})
    assert (found["status"], found["returncode"]) == ("error", 5)


def test_something_has_to_be_looked_for() -> None:
    assert pypx.status()["returncode"] == 2
