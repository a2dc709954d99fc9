"""``px retrieve --from``: each row a query, and beside the list what became of it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pypx.pacs.retrieve import Request
from tests.cli.conftest import Px, Ran, Serve, result_rows, stored

Retrieve = Callable[..., Ran]

MIXED = """PatientID,StudyDate
DEMO-001,
NOBODY,
DEMO-*,
DEMO-003,31.06.2024
DEMO-003,2024-06-21
DEMO-003,
"""
OUTCOMES = [
    ("2", "complete"),
    ("3", "no-match"),
    ("4", "too-many"),
    ("5", "malformed"),
    ("6", "complete"),
    ("7", "complete"),
]


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    path = tmp_path / "cohort.csv"
    path.write_text(MIXED)
    return path


def results(path: Path) -> list[dict[str, str]]:
    with Path(f"{path}.result.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def job_of(px: Px) -> Any:
    return px("status", "--json").json["transfers"][0]


def test_each_row_has_its_result(
    px: Px, retrieve: Retrieve, serve: Serve, cohort: Path, home: Path
) -> None:
    ran = retrieve(serve(), "--from", cohort, "--max-studies-per-row", "2")
    assert ran.code == 1
    assert sorted(result_rows(cohort)) == OUTCOMES
    lines = {int(line["row"]): line for line in results(cohort)}
    assert lines[2] == {
        "row": "2",
        "PatientID": "DEMO-001",
        "StudyDate": "",
        "status": "complete",
        "studies": "1",
        "series": "1",
        "expected": "12",
        "received": "12",
        "missing": "0",
        "reason": "",
    }
    assert lines[3]["reason"] == "Nothing on the PACS matches."
    assert lines[4]["reason"] == "It matches more than 2 studies."
    assert "which is not a date like" in lines[5]["reason"]
    assert "Row 5: StudyDate is '31.06.2024'" in ran.err
    assert stored(home) == 13
    assert (
        f"6 rows (3 complete, 1 malformed, 1 no-match, 1 too-many): see {cohort}.result.csv"
        in ran.out
    )
    assert ran.err.splitlines()[-1] == (
        "error: Incomplete: all 13 instances are here, but 1 of 6 queries matched nothing and"
        " 1 of 6 queries matched too many studies and 1 of 6 queries could not be asked for."
    )
    job = job_of(px)
    assert (job["state"], px("status").code) == ("incomplete", 1)
    told = px("status", job["id"], "--json")
    assert told.code == 1
    assert [(one["number"], one["state"]) for one in told.json["queries"]] == [
        (3, "no-match"),
        (4, "too-many"),
        (5, "malformed"),
    ]


def test_a_list_that_is_all_here_is_exit_0(
    px: Px, retrieve: Retrieve, serve: Serve, tmp_path: Path
) -> None:
    cohort = tmp_path / "cohort.tsv"
    cohort.write_text("AccessionNumber\tModality\nA1001\tCT\nA1002\tMR\n")
    address = serve()
    ran = retrieve(address, "--from", cohort, "--json")
    assert (ran.code, ran.json["status"], ran.json["received"]) == (0, "success", 26)
    assert result_rows(cohort) == [("2", "complete"), ("3", "complete")]
    before = Path(f"{cohort}.result.csv").read_bytes()
    again = retrieve(address, "--from", cohort, "--json")
    assert (again.code, again.json["completed"]) == (0, 0)
    assert Path(f"{cohort}.result.csv").read_bytes() == before, "it says all that already"
    assert px("status").code == 0


def test_an_excel_list(retrieve: Retrieve, serve: Serve, tmp_path: Path, home: Path) -> None:
    from datetime import date

    from openpyxl import Workbook

    book = Workbook()
    for row in (("PatientID", "StudyDate"), ("DEMO-003", date(2024, 6, 21)), (None, None)):
        book.active.append(row)
    book.save(tmp_path / "cohort.xlsx")
    assert retrieve(serve(), "--from", tmp_path / "cohort.xlsx").code == 0
    assert stored(home) == 1
    assert results(tmp_path / "cohort.xlsx")[0]["StudyDate"] == "20240621"


def test_keys_of_the_command_hold_for_each_row(
    retrieve: Retrieve, serve: Serve, tmp_path: Path, home: Path
) -> None:
    cohort = tmp_path / "cohort.csv"
    cohort.write_text("PatientID\nDEMO-001\nDEMO-002\n")
    ran = retrieve(serve(), "--from", cohort, "-k", "Modality=MR")
    assert ran.code == 1
    assert sorted(result_rows(cohort)) == [("2", "no-match"), ("3", "complete")]
    assert stored(home) == 14


def test_rows_with_the_same_series_get_it_once(
    retrieve: Retrieve,
    serve: Serve,
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cohort = tmp_path / "cohort.csv"
    rows = ["A1002,MR", "A1002,", "A1002,MR", "A1001,"]
    cohort.write_text("AccessionNumber,Modality\n" + "\n".join(rows) + "\n")
    asked: list[str] = []
    init = Request.__init__

    def notice(self: Request, *arguments: Any, **named: Any) -> None:
        init(self, *arguments, **named)
        asked.append(type(self.message).__name__)

    monkeypatch.setattr(Request, "__init__", notice)
    ran = retrieve(serve(), "--from", cohort, "--json", "--associations", "4")
    assert (ran.code, ran.json["received"], ran.json["requested"]) == (0, 26, 26)
    assert sorted(result_rows(cohort)) == [(str(n), "complete") for n in (2, 3, 4, 5)]
    assert asked == ["CMoveRQ"] * 3
    assert [line["received"] for line in sorted(results(cohort), key=lambda r: r["row"])] == [
        "14",
        "14",
        "14",
        "12",
    ]


def test_a_row_that_does_not_come(retrieve: Retrieve, serve: Serve, tmp_path: Path) -> None:
    cohort = tmp_path / "cohort.csv"
    cohort.write_text("AccessionNumber\nA1001\n")
    ran = retrieve(serve("drop-objects=1"), "--from", cohort, "--retries", "0")
    assert ran.code == 1
    (line,) = results(cohort)
    assert (line["status"], line["expected"], line["missing"]) == ("incomplete", "12", "12")
    assert "12 of 12 instances did not come" in line["reason"]
    ran = retrieve(serve("refuse-image-level", "no-counts"), "--from", cohort)
    assert (ran.code, result_rows(cohort)[-1]) == (1, ("2", "unknown"))


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        ("", (), "is empty"),
        ("PatientNumber\n1\n", (), "PatientNumber"),
        ("PatientID,PatientID\n1,2\n", (), "has PatientID in the columns 1 and 2"),
        ("PatientID\n1\n", ("-k", "PatientID=2"), "is a column of"),
        ("PatientID,Modality\n1,MR\n", ("--by", "study"), "names a part of a study"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_before_anything(
    px: Px, tmp_path: Path, home: Path, text: str, arguments: Any, said: str
) -> None:
    cohort = tmp_path / "cohort.csv"
    cohort.write_text(text)
    ran = px("retrieve", "DEMO@127.0.0.1:9", "--from", cohort, *arguments, "--json")
    assert (ran.code, said in ran.json["error"]["message"]) == (2, True), ran.err
    assert not (home / "pypx").exists() and not Path(f"{cohort}.result.csv").exists()


def test_a_list_without_rows(retrieve: Retrieve, serve: Serve, tmp_path: Path) -> None:
    cohort = tmp_path / "cohort.csv"
    cohort.write_text("PatientID\n\n\n")
    ran = retrieve(serve(), "--from", cohort)
    assert ran.code == 0
    assert f"{cohort} has no rows below its headings." in ran.err


def test_a_row_that_would_look_through_all_studies(
    retrieve: Retrieve, serve: Serve, tmp_path: Path
) -> None:
    cohort = tmp_path / "cohort.csv"
    cohort.write_text("PatientID,Modality\n,MR\n*,\nDEMO-001,CT\n")
    assert retrieve(serve(), "--from", cohort).code == 1
    assert sorted(result_rows(cohort)) == [
        ("2", "malformed"),
        ("3", "malformed"),
        ("4", "complete"),
    ]


def test_the_standard_input_has_no_results_but_can_be_planned(
    process: Any, px: Px, serve: Serve, home: Path
) -> None:
    ran = px("retrieve", "DEMO@127.0.0.1:9", "--from", "-")
    assert ran.code == 2
    assert "no file for its results" in ran.err
    ran = process(
        "retrieve", serve(), "--from", "-", "--dry-run", input=b"PatientID\nDEMO-001\nNOBODY\n"
    )
    assert ran.code == 1
    assert "1 series in 1 study: 0 of 12 images are here; 12 would be asked for." in ran.out
    assert "1 row of 2 would get nothing." in ran.err
    assert not (home / "pypx").exists()


def test_a_plan_of_a_list_writes_no_results(retrieve: Retrieve, serve: Serve, cohort: Path) -> None:
    ran = retrieve(serve(), "--from", cohort, "--dry-run", "--max-studies-per-row", "2", "--json")
    assert ran.code == 1
    assert [(one["number"], one["status"]) for one in ran.json["queries"]] == [
        (3, "no-match"),
        (4, "too-many"),
        (5, "malformed"),
    ]
    assert ran.json["requested"] == 13
    assert not Path(f"{cohort}.result.csv").exists()


def test_results_of_another_list_stop_it(
    px: Px, retrieve: Retrieve, serve: Serve, cohort: Path, home: Path
) -> None:
    Path(f"{cohort}.result.csv").write_text("row,PatientName,status\n")
    ran = retrieve(serve(), "--from", cohort)
    assert ran.code == 2
    assert "its columns are others" in ran.err
    assert not (home / "pypx").exists()


def test_no_room_for_the_results(
    px: Px, retrieve: Retrieve, serve: Serve, cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pypx.cli.list_results import ListResults
    from pypx.cli.output import OutputError

    def fail(*_: object) -> None:
        raise OutputError(f"Cannot write to {cohort}.result.csv: No space left on device.")

    with monkeypatch.context() as patch:
        patch.setattr(ListResults, "_write", fail)
        Path(f"{cohort}.result.csv").write_text(
            "row,PatientID,StudyDate,status,studies,series,expected,received,missing,reason\n"
        )
        ran = retrieve(serve(), "--from", cohort)
    assert ran.code == 1
    assert "No space left on device" in ran.err and "defect" not in ran.err
    ran = retrieve(serve(), "--from", cohort, "--max-studies-per-row", "2")
    assert sorted(result_rows(cohort)) == OUTCOMES


def test_hostile_cells(retrieve: Retrieve, serve: Serve, tmp_path: Path) -> None:
    cohort = tmp_path / "cohort.csv"
    evil = ["=1+1", "<script>", "../../etc", "x" * 10_000, '"a,b"']
    cohort.write_text("PatientID\n" + "\n".join(evil) + "\nDEMO-001\n\x1b]0;x\x07\n")
    ran = retrieve(serve(), "--from", cohort, "--report", tmp_path / "job.html")
    assert ran.code == 1
    assert not {"\x1b", "\x07"} & set(ran.out + ran.err)
    assert len(result_rows(cohort)) == 7
    lines = Path(f"{cohort}.result.csv").read_text(encoding="utf-8")
    assert "2,'=1+1," in lines and "\x1b" not in lines
    assert "<script>" not in (tmp_path / "job.html").read_text(encoding="utf-8")
