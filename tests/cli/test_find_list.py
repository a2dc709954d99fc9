"""``px find --from``: a query for each row of a list, and what is said of the rows."""

from __future__ import annotations

import csv
import io
import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook

from pypx.pacs import Pacs
from tests.cli.conftest import Px
from tests.scripted import Exchange, Scripted
from tests.test_import import HEAVY, of_px, packages

COHORT = "PatientID,StudyDate\nDEMO-003,2024-06-21\nnobody,\nDEMO-001,\n"


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    path = tmp_path / "cohort.csv"
    path.write_text(COHORT)
    return path


def test_each_match_has_the_number_of_its_row(px: Px, pacs: Pacs, cohort: Path) -> None:
    ran = px("find", pacs.address, "--from", cohort, "--jsonl")
    assert ran.code == 0
    assert [(one["row"], one["PatientID"]) for one in ran.rows] == [
        (2, "DEMO-003"),
        (4, "DEMO-001"),
    ]
    assert next(iter(ran.rows[0])) == "row"
    assert ran.err == "2 studies for 3 rows\n1 row without a match: 3\n"


def test_a_list_in_the_other_forms(px: Px, pacs: Pacs, cohort: Path) -> None:
    rows = px("find", pacs.address, "--from", cohort, "--jsonl").rows
    assert px("find", pacs.address, "--from", cohort, "--json").json == rows
    text = px("find", pacs.address, "--from", cohort, "--csv", "-k", "ReferringPhysicianName").out
    table = list(csv.reader(io.StringIO(text)))
    assert table[0][:2] == ["row", "StudyDate"]
    assert table[0][-1] == "ReferringPhysicianName"
    assert [line[0] for line in table[1:]] == ["2", "4"]
    header, *lines = px("find", pacs.address, "--from", cohort).out.splitlines()
    assert header.split()[:2] == ["Row", "Date"]
    assert [line.split()[0] for line in lines] == ["2", "4"]


def test_a_list_of_excel(px: Px, pacs: Pacs, tmp_path: Path) -> None:
    from datetime import date

    book = Workbook()
    for one in (("PatientID", "StudyDate"), ("DEMO-001", date(2024, 1, 15)), ("DEMO-002", None)):
        book.active.append(one)
    book.save(tmp_path / "cohort.xlsx")
    rows = px("find", pacs.address, "--from", tmp_path / "cohort.xlsx", "--jsonl").rows
    assert [(one["row"], one["PatientID"]) for one in rows] == [(2, "DEMO-001"), (3, "DEMO-002")]


def test_a_list_from_the_standard_input(
    px: Px, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(COHORT.encode())))
    rows = px("find", pacs.address, "--from", "-", "--jsonl").rows
    assert [one["row"] for one in rows] == [2, 4]


def test_keys_of_the_command_line_are_of_all_rows(px: Px, pacs: Pacs, cohort: Path) -> None:
    ran = px("find", pacs.address, "--from", cohort, "--jsonl", "-k", "ModalitiesInStudy=CT")
    assert [one["row"] for one in ran.rows] == [4]
    assert "2 rows without a match: 2-3" in ran.err


def test_a_column_that_a_pacs_does_not_return_by_itself(px: Px, tmp_path: Path) -> None:
    asked: list[tuple[Any, Any]] = []

    def find(exchange: Exchange) -> None:
        keys = exchange.identifier
        asked.append((keys.get("PatientID"), keys.get("ReferringPhysicianName")))
        exchange.match(StudyInstanceUID="1.2", PatientID="1", ReferringPhysicianName="House")
        exchange.end_find()

    path = tmp_path / "cohort.tsv"
    path.write_text("PatientID\tReferringPhysicianName\n1\tHouse\n1\t\n")
    with Scripted(find=find) as scripted:
        ran = px("find", scripted.address, "--from", path, "--csv")
        assert len(scripted.requests) == 1  # one association
    assert asked == [("1", "House"), ("1", "")]
    assert [line.split(",")[-1] for line in ran.out.splitlines()[1:]] == ["House", "House"]


@pytest.mark.parametrize("level", ["patient", "series", "image"])
def test_levels(px: Px, pacs: Pacs, cohort: Path, level: str) -> None:
    ran = px("find", pacs.address, "--from", cohort, "--level", level, "--json")
    assert ran.code == 0
    assert {one["row"] for one in ran.json} == {2, 4}


def test_a_limit_is_of_each_row(px: Px, pacs: Pacs, cohort: Path) -> None:
    ran = px("find", pacs.address, "--from", cohort, "--level", "image", "--limit", "1", "--jsonl")
    assert [one["row"] for one in ran.rows] == [2, 4]


def test_the_same_study_is_a_match_of_each_row_that_names_it(px: Px, tmp_path: Path) -> None:
    def find(exchange: Exchange) -> None:
        for _ in range(2):
            exchange.match(StudyInstanceUID="1.2")
        exchange.end_find()

    path = tmp_path / "cohort.csv"
    path.write_text("StudyInstanceUID\n1.2\n1.2\n")
    with Scripted(find=find) as scripted:
        rows = px("find", scripted.address, "--from", path, "--jsonl").rows
    assert rows == [{"row": 2, "StudyInstanceUID": "1.2"}, {"row": 3, "StudyInstanceUID": "1.2"}]


# What goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-k", "PatientID=1"], "PatientID is a column of"),
        (["--StudyDate", "2024-01-01"], "StudyDate is a column of"),
        (["--tree"], "--tree has no place for the rows of a list"),
        (["--dicom-json"], "--dicom-json has no place for the rows of a list"),
    ],
)
def test_what_does_not_go_together(px: Px, cohort: Path, arguments: list[str], said: str) -> None:
    ran = px("find", "A@127.0.0.1:1", "--from", cohort, *arguments)
    assert ran.code == 2
    assert said in ran.err


def test_a_column_may_be_asked_for_as_well(px: Px, pacs: Pacs, cohort: Path) -> None:
    ran = px("find", pacs.address, "--from", cohort, "--jsonl", "-k", "StudyDate")
    assert [one["row"] for one in ran.rows] == [2, 4]


def test_a_wrong_heading_is_told_before_the_pacs_is_asked(px: Px, tmp_path: Path) -> None:
    path = tmp_path / "cohort.csv"
    path.write_text("Patient ID\n1\n")
    ran = px("find", "A@127.0.0.1:1", "--from", path, "--json")
    assert ran.code == 2
    assert ran.json["error"]["message"].startswith(f"{path}, column 1: 'Patient ID' is no DICOM")
    assert "PatientID" in ran.json["error"]["hint"]


def test_a_list_without_rows(px: Px, pacs: Pacs, tmp_path: Path) -> None:
    path = tmp_path / "cohort.csv"
    path.write_text("PatientID\n")
    ran = px("find", pacs.address, "--from", path, "--json")
    assert (ran.code, ran.json) == (0, [])
    assert ran.err == f"{path} has no rows below its headings.\n"


def test_rows_that_cannot_be_asked_for_stop_nothing(px: Px, pacs: Pacs, tmp_path: Path) -> None:
    path = tmp_path / "cohort.csv"
    path.write_text("PatientID,StudyDate\n*,\nDEMO-001,\nDEMO-003,21.06.2024\nDEMO-002,\n")
    ran = px("find", pacs.address, "--from", path, "--json")
    assert ran.code == 1
    assert [one["row"] for one in ran.json["matches"]] == [3, 5]
    assert ran.json["error"]["kind"] == "partial"
    assert ran.json["error"]["message"] == f"2 rows of {path} failed: 2, 4."
    assert "warning: Row 2: It has no value, and would ask for everything.\n" in ran.err
    assert "warning: Row 4: StudyDate is '21.06.2024', which is not a date" in ran.err


def test_a_value_that_no_query_can_have(px: Px, pacs: Pacs, tmp_path: Path) -> None:
    path = tmp_path / "cohort.csv"
    path.write_text("PatientID,Rows\nDEMO-001,many\nDEMO-003,\n")
    ran = px("find", pacs.address, "--from", path, "--level", "image", "--jsonl")
    assert ran.code == 1
    assert {one.get("row") for one in ran.rows[:-1]} == {3}
    assert "Row 2: Rows: The VR US needs a number." in ran.err


def refusing(exchange: Exchange) -> None:
    """Refuse what asks for an odd number."""
    if int(str(exchange.identifier["PatientID"])) % 2:
        exchange.end_find(0xA900, "odd")
    else:
        exchange.match(StudyInstanceUID="1.2", PatientID=str(exchange.identifier["PatientID"]))
        exchange.end_find()


def test_rows_that_the_pacs_refuses_are_told_and_the_others_asked_for(
    px: Px, tmp_path: Path
) -> None:
    path = tmp_path / "cohort.csv"
    path.write_text("PatientID\n" + "".join(f"{number}\n" for number in range(2, 22)))
    with Scripted(find=refusing) as scripted:
        lines = px("find", scripted.address, "--from", path, "--jsonl")
        assert len(scripted.requests) == 1
        kept = px("find", scripted.address, "--from", path, "--csv", "-o", tmp_path / "out.csv")
    assert lines.code == kept.code == 1
    assert [one["row"] for one in lines.rows[:-1]] == list(range(2, 22, 2))
    error = lines.rows[-1]["error"]
    assert error["message"] == f"10 rows of {path} failed: 3, 5, 7, 9, 11, 13, 15, 17, …."
    assert lines.err.count("warning: Row ") == 5
    assert "warning: Row 3: " in lines.err
    assert "A900H" in lines.err
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 11


def test_a_pacs_that_is_gone_ends_it(px: Px, tmp_path: Path) -> None:
    def find(exchange: Exchange) -> None:
        if exchange.identifier["PatientID"] == "2":
            exchange.cut()
        else:
            exchange.match(StudyInstanceUID="1.2", PatientID="1")
            exchange.end_find()

    path = tmp_path / "cohort.csv"
    path.write_text("PatientID\n1\n2\n3\n")
    with Scripted(find=find) as scripted:
        ran = px("find", scripted.address, "--from", path, "--json")
        assert len(scripted.requests) == 1
    assert ran.code == 3
    assert [one["row"] for one in ran.json["matches"]] == [2]
    assert f"(row 3 of {path} was the last)." in ran.json["error"]["message"]


def test_a_pacs_that_is_not_there(px: Px, cohort: Path) -> None:
    ran = px("find", "A@127.0.0.1:1", "--from", cohort, "--json")
    assert ran.code == 3
    assert ran.json["error"]["kind"] == "connect"


def test_rows_with_more_matches_than_the_pacs_gives(px: Px, tmp_path: Path) -> None:
    def find(exchange: Exchange) -> None:
        exchange.match(StudyInstanceUID="1.2")
        exchange.end_find(0xB001 if exchange.identifier["PatientID"] == "2" else 0)

    path = tmp_path / "cohort.csv"
    path.write_text("PatientID\n1\n2\n3\n")
    with Scripted(find=find) as scripted:
        ran = px("find", scripted.address, "--from", path, "--jsonl")
    assert ran.code == 1
    assert len(ran.rows) == 4
    assert "1 row with more matches than the PACS gave: 3." in ran.err


def test_keys_that_the_pacs_ignores_are_told_once(px: Px, tmp_path: Path) -> None:
    def find(exchange: Exchange) -> None:
        if exchange.identifier["PatientID"] != "9":
            exchange.match(StudyInstanceUID="1.2", PatientID="1", Modality="CT")
        exchange.end_find()

    path = tmp_path / "cohort.csv"
    path.write_text("PatientID,Modality,AccessionNumber\n1,MR,\n1,CT,4\n1,PT,\n9,MR,\n")
    with Scripted(find=find) as scripted:
        ran = px("find", scripted.address, "--from", path, "--jsonl")
    assert ran.code == 0
    assert "2 of 3 matches have another Modality: the PACS ignored that key." in ran.err
    assert ran.err.count("did not return") == 1
    assert "The PACS did not return AccessionNumber: it may" in ran.err


def test_text_of_a_list_does_nothing_to_a_terminal(px: Px, pacs: Pacs, tmp_path: Path) -> None:
    path = tmp_path / "cohort.csv"
    path.write_text("PatientID,StudyDate\n1,\u202ex\n")
    ran = px("find", pacs.address, "--from", path)
    assert ran.code == 1
    assert "\u202e" not in ran.err


def test_a_list_of_text_loads_nothing_heavy(pacs: Pacs, cohort: Path, tmp_path: Path) -> None:
    loaded = of_px(["find", str(pacs.address), "--from", str(cohort), "--jsonl"], tmp_path)
    assert not packages(loaded) & {"openpyxl", "tempfile", *HEAVY}


def test_rows_are_not_collected(px: Px, pacs: Pacs, tmp_path: Path) -> None:
    """What 10,000 rows take is what a few take: 200 matches more would be some 600 kB."""
    path = tmp_path / "cohort.csv"
    most = []
    for rows in (10, 20, 220):  # the first loads what is loaded once
        path.write_text("PatientID\n" + "DEMO-001\n" * rows)
        tracemalloc.start()
        ran = px("find", pacs.address, "--from", path, "--jsonl", "-o", tmp_path / "out.jsonl")
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (ran.code, ran.err) == (0, f"{rows} studies for {rows} rows\n")
    last = (tmp_path / "out.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["row"] == 221
    assert most[2] - most[1] < 200_000, most
