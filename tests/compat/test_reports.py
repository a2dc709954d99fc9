"""``pypx.report``: one result in four forms."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pypx
from tests.compat.conftest import Opt


@pytest.fixture
def found(opt: Callable[..., Opt]) -> dict[str, Any]:
    return pypx.find(opt(PatientID="DEMO-002"))


def test_json(found: dict[str, Any]) -> None:
    (study,) = pypx.report({"reportData": found})["data"]
    assert set(study) == {"header", "body", "bodySeriesUID"}
    assert study["header"]["StudyDescription"] == "MR Brain"
    assert study["header"]["PatientAge"] == ""
    assert sorted(row["SeriesDescription"] for row in study["body"]) == [
        "T1 axial",
        "T2 [fast] coronal",
    ]
    assert set(study["bodySeriesUID"][0]) == {
        "SeriesInstanceUID",
        "SeriesNumber",
        "NumberOfSeriesRelatedInstances",
    }


def test_the_data_may_come_in_any_way(found: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    file.write_text(json.dumps(found), encoding="utf-8")
    wanted = pypx.report({"reportData": found})
    assert pypx.report({"reportData": json.dumps(found)}) == wanted
    assert pypx.report({"reportData": found["data"]}) == wanted
    assert pypx.report({"reportDataFile": str(file)}) == wanted


@pytest.mark.parametrize(
    "opt",
    [{}, {"reportData": "{"}, {"reportData": {"data": "E: refused"}}, {"reportDataFile": "/no"}],
)
def test_what_is_no_data(opt: dict[str, Any]) -> None:
    assert pypx.report(opt)["returncode"] == 2


def test_the_keywords_that_are_shown(found: dict[str, Any]) -> None:
    layout = {"header": {"study": ["StudyID"], "series": ["Modality"]}, "body": {"series": ["uid"]}}
    opts: list[dict[str, Any]] = [
        {"reportTags": layout},
        {"reportTags": json.dumps(layout)},
        {
            "reportHeaderStudyTags": "StudyID",
            "reportHeaderSeriesTags": "Modality",
            "reportBodySeriesTags": "uid",
        },
    ]
    for opt in opts:
        (study,) = pypx.report({"reportData": found, **opt})["data"]
        assert study["header"] == {"StudyID": "", "Modality": "MR"}
        assert study["body"] == [{"uid": "0"}, {"uid": "1"}]
    special = pypx.report({"reportData": found, "seriesSpecial": "Modality"})["data"][0]
    assert special["bodySeriesUID"] == [{"Modality": "MR"}, {"Modality": "MR"}]
    assert pypx.report({"reportData": found, "reportTags": "x"})["returncode"] == 2


def test_text_for_people(found: dict[str, Any]) -> None:
    found["data"][0]["StudyDescription"]["value"] = "\x1b[2Jwiped"
    made = pypx.report({"reportData": found})["report"]
    for form in ("tabular", "rawText"):
        assert "T2 [fast] coronal" in made[form]
        assert "\\x1b[2Jwiped" in made[form]
        assert "\x1b" not in made[form]


@pytest.mark.parametrize("colorize", ["dark", "light"])
def test_colours(found: dict[str, Any], colorize: str) -> None:
    assert "\x1b[" in pypx.report({"reportData": found, "colorize": colorize})["report"]["tabular"]


def test_csv(found: dict[str, Any]) -> None:
    def made(**opt: Any) -> str:
        return str(pypx.report({"reportData": found, **opt})["report"]["csv"])

    assert len(made().splitlines()) == 2
    rows = list(csv.DictReader(io.StringIO(made(csvPrintHeaders=True)), delimiter="|"))
    assert sorted(row["NumberOfSeriesRelatedInstances"] for row in rows) == ["6", "8"]
    (row,) = csv.DictReader(
        io.StringIO(made(csvPrintHeaders=True, csvSummarize=True, csvSeparator=","))
    )
    assert (row["PatientID"], row["NumberOfSeries"]) == ("DEMO-002", "2")
    pretty = made(csvPrettify=True, csvPrintHeaders=True).splitlines()
    assert len({line.index("|") for line in pretty}) == 1
    for wrong in ("--", '"', "\n"):
        assert pypx.report({"reportData": found, "csvSeparator": wrong})["returncode"] == 2
