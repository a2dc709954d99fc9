"""An archive that upstream wrote, taken over where it is or copied; the tree of either version."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pypx.archive import Archive
from tests.archive.helpers import content, files_of, store
from tests.cli.conftest import Px, write_config
from tests.objects import write_file

RUN = "0f8fad5b-d9cb-469f-a165-70867728950e"
SERIES = "Thorax-20240131-1.2.3/T1..ax.-20240201-1.2.3.4"


def place(path: Path, number: int, **changes: Any) -> Path:
    """Put an image where upstream would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {"SeriesDescription": "T1 [ax]", "SeriesDate": "20240201", **changes}
    return write_file(path.parent, number, **values).rename(path)


def version_1(base: Path) -> Path:
    """Give ``/dicom`` as version 1 leaves it: data, log and tmp."""
    patient = base / "data" / "4711-Doe.Jane"
    series = patient / SERIES
    for number in (1, 2, 3):
        place(series / f"{number:05d}-1.2.3.4.{number}.dcm", number)
    (series / "series.info").write_text("[SERIES]\nseriesdescription = T1..ax.\n\n")
    (series.parent / "study.info").write_text("[STUDY]\nstudydate = 20240131\n\n")
    (patient / "patient.info").write_text("[PATIENT]\npatientid = 4711\n\n")
    # One that broke off, of a patient whose ID begins with a dash.
    broken = base / "data" / ".5-no.value.provided" / "A-20240131-1.2.5" / "B-20240201-1.2.5.6"
    place(broken / "00009-1.2.3.4.9.dcm", 9, PatientID="-5", SeriesInstanceUID="1.2.5.6")
    (broken / "receiving.series").write_text("[SERIES]\n\n")
    (broken.parent / "study.info").write_text("[STUDY]\n\n")
    (broken.parents[1] / "patient.info").write_text("[PATIENT]\n\n")
    # The same image twice, and one image with two contents: the name of the patient was mended.
    place(base / "data" / "4711-Doe" / SERIES / "00001-1.2.3.4.1.dcm", 1)
    other = place(base / "data" / "4711-Doe" / SERIES / "00002-1.2.3.4.2.dcm", 2, PatientName="Doe")
    os.utime(other, (10, 10))  # this one was first
    log = base / "log"
    for kind, uid in (("patient", "4711"), ("study", "1.2.3"), ("series", "1.2.3.4")):
        (log / f"{kind}_map").mkdir(parents=True)
        (log / f"{kind}_map" / f"{uid}.json").write_text(json.dumps({uid: "/dicom/data"}))
    for name in (f"out-{RUN}.txt", f"err-{RUN}.txt", "listen.run.log"):
        (log / name).write_text("something")
    # What storescp had received when its process was killed: no .dcm, and a mark of each AE title.
    place(base / "tmp" / RUN / "Doe" / "CT.1.2.3.4.7", 7)
    (base / "tmp" / RUN / "MODALITY").touch()
    return base / "data"


def version_3(base: Path) -> Path:
    """Give ``/home/dicom`` as version 3 leaves it: data, log, services and tmp."""
    patient = base / "data" / "4711-Doe_Jane-19800101"
    series = patient / "Thorax-A1-20240131" / "T1_ax_-1dcd484"
    for number in (1, 2, 3):
        place(series / f"{number:04d}-1.2.3.4.{number}.dcm", number)
    # Two studies of one day share a folder there.
    place(series.parent / "CT-2ab31ff" / "0009-1.2.3.4.9.dcm", 9, StudyInstanceUID="1.2.5")
    place(series.with_name("T1_ax_-0000000") / "0001-1.2.3.4.1.dcm", 1)
    meta = base / "log" / "seriesData" / "1.2.3.4-img" / "0001-1.2.3.4.1.dcm.json"
    meta.parent.mkdir(parents=True)
    meta.write_text("{}")
    for name in ("repack.log", "1.2.3-pulse.log"):
        (base / "log" / name).write_text("something")
    (base / "services").mkdir()
    (base / "services" / "pacs.json").write_text("{}")
    place(base / "tmp" / "MR.1.2.3.4.7", 7)
    return base / "data"


Make = Callable[[Path], Path]
BOTH = pytest.mark.parametrize("make", [version_1, version_3])


@pytest.fixture
def dicom(tmp_path: Path) -> Path:
    (tmp_path / "dicom").mkdir()
    return tmp_path / "dicom"


def uids(px: Px, root: Path) -> set[str]:
    rows = px("ls", "--archive", root, "--level", "image", "--jsonl").rows
    return {row["SOPInstanceUID"].removeprefix("1.2.3.4.") for row in rows}


def test_version_1_is_taken_over_where_it_is(px: Px, dicom: Path) -> None:
    data = version_1(dicom)
    before = {path: (data / path).read_bytes() for path in files_of(data)}
    ran = px("index", "import", "--archive", data, data, "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["new"], ran.json["duplicate"], ran.json["superseded"]) == (4, 1, 1)
    assert ran.json["refused"] == [] and ran.json["passed_over"] == 6
    assert uids(px, data) == {"1", "2", "3", "9"}
    # Nothing has moved, but for what would be hidden (a copy) and what was superseded.
    after = {path: (data / path).read_bytes() for path in files_of(data)}
    gone = "4711-Doe/Thorax-20240131-1.2.3/T1..ax.-20240201-1.2.3.4/00002-1.2.3.4.2.dcm"
    assert {path: after.get(path) for path in before if path != gone} == {
        path: text for path, text in before.items() if path != gone
    }
    assert len(set(after) - set(before)) == 1
    (kept,) = (data / ".pypx" / "superseded").glob("*.dcm")
    assert kept.read_bytes() == before[gone]
    assert px("verify", "--archive", data).code == 0
    assert px("index", "import", "--archive", data, data).code == 0
    assert uids(px, data) == {"1", "2", "3", "9"}
    assert {path: (data / path).read_bytes() for path in files_of(data)} == after


def test_version_3_is_taken_over_where_it_is(px: Px, dicom: Path) -> None:
    data = version_3(dicom)
    before = files_of(data)
    ran = px("index", "import", "--archive", data, data, "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["new"], ran.json["duplicate"]) == (4, 1)
    assert files_of(data) == before
    assert uids(px, data) == {"1", "2", "3", "9"}
    assert px("verify", "--archive", data).code == 0


@pytest.mark.parametrize(("make", "layout"), [(version_1, "pypx-1"), (version_3, "pypx-3")])
def test_what_comes_later_joins_its_series(px: Px, dicom: Path, make: Make, layout: str) -> None:
    data = make(dicom)
    assert px("index", "import", "--archive", data, data).code == 0
    with Archive(data, layout=layout, durability="none") as archive:
        (row,) = archive.find("image", {"SOPInstanceUID": "1.2.3.4.3"})
        values = {"SeriesDescription": "T1 [ax]", "SeriesDate": "20240201", "AccessionNumber": "A1"}
        stored = store(archive, 4, PatientBirthDate="19800101", **values).path
    there = Path(str(row["path"])).parent
    if layout == "pypx-1":
        assert stored.parent == there
    else:  # the digits of the tree above are made up
        assert stored.parent.parent == there.parent and stored.name == "0004-1.2.3.4.4.dcm"


@BOTH
def test_all_of_it_is_copied_with_what_was_left_over(px: Px, dicom: Path, make: Make) -> None:
    data = make(dicom)
    before = {path: (dicom / path).read_bytes() for path in files_of(dicom)}
    ours = dicom.parent / "ours"
    ran = px("index", "import", "--archive", ours, dicom, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["refused"] == [] and ran.json["new"] == 5
    assert uids(px, ours) == {"1", "2", "3", "7", "9"}
    assert {path: (dicom / path).read_bytes() for path in files_of(dicom)} == before
    assert not (data / ".pypx").exists()
    assert px("verify", "--archive", ours).code == 0
    with Archive(ours, read_only=True) as archive:
        (row,) = archive.find("image", {"SOPInstanceUID": "1.2.3.4.7"})
    (left,) = (dicom / "tmp").rglob("*1.2.3.4.7")
    assert content(Path(str(row["path"]))) == content(left)


def test_what_is_left_over_can_be_taken_in_after_the_tree(px: Px, dicom: Path) -> None:
    data = version_1(dicom)
    write_config(dicom.parent, 'layout = "pypx-1"\n')
    assert px("index", "import", "--archive", data, data).code == 0
    ran = px("index", "import", "--archive", data, dicom / "tmp", "--json").json
    assert (ran["new"], ran["passed_over"], ran["refused"]) == (1, 1, [])
    assert (data / "4711-Doe.Jane" / SERIES / "00007-1.2.3.4.7.dcm").exists()


def test_a_file_without_dcm_in_the_tree_gets_a_name_that_is_seen(px: Px, dicom: Path) -> None:
    data = version_1(dicom)
    odd = place(data / "4711-Doe.Jane" / SERIES / "IM0001", 8)
    write_config(dicom.parent, 'layout = "pypx-1"\n')
    assert px("index", "import", "--archive", data, odd).code == 0
    assert odd.exists() and odd.with_name("00008-1.2.3.4.8.dcm").exists()
    (data / ".pypx" / "index.sqlite").unlink()
    px("index", "rebuild", "--archive", data)
    assert "8" in uids(px, data)


def test_a_torn_image_is_named(px: Px, dicom: Path) -> None:
    data = version_3(dicom)
    path = next(data.rglob("0003-*.dcm"))
    path.write_bytes(path.read_bytes()[:600])
    empty = path.with_name("0010-1.2.3.4.10.dcm")
    empty.touch()
    ran = px("index", "import", "--archive", dicom.parent / "ours", data, "--json")
    assert ran.code == 1
    assert [one["path"] for one in ran.json["refused"]] == [str(path), str(empty)]


def test_hidden_folders_of_others_stay_hidden(px: Px, dicom: Path) -> None:
    place(dicom / ".Trash-1000" / "files" / "1.dcm", 1)
    place(dicom / "images" / "2.dcm", 2)
    ran = px("index", "import", "--archive", dicom.parent / "ours", dicom, "--json")
    assert (ran.code, ran.json["new"]) == (0, 1)
