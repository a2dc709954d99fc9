"""``px find``: the same matches in every form, and what is said besides."""

from __future__ import annotations

import csv
import io
import sys
import threading
import time
from pathlib import Path

import pytest

from pypx.pacs import Pacs
from tests.cli.conftest import Px
from tests.scripted import Exchange, Scripted

STUDIES = ["DEMO-001", "DEMO-002", "DEMO-003"]


def test_a_table_has_one_line_a_match_and_is_readable(px: Px, pacs: Pacs) -> None:
    ran = px("find", pacs.address)
    assert ran.code == 0
    header, *lines = ran.out.splitlines()
    assert header.split()[:3] == ["Date", "Modality", "Description"]
    assert "Study Instance UID" in header
    assert "Study ID" not in header  # a column without any value
    assert len(lines) == 3
    (doe,) = (line for line in lines if "DEMO-003" in line)
    assert "2024-06-21 17:45" in doe
    assert "Doe, John" in doe
    assert "1988-07-17" in doe
    (yamada,) = (line for line in lines if "DEMO-002" in line)
    assert "Yamada, Tarou (山田 太郎, やまだ たろう)" in yamada
    assert ran.err == "3 studies\n"


def test_json_has_the_values_as_they_are(px: Px, pacs: Pacs) -> None:
    ran = px("find", pacs.address, "--PatientID", "DEMO-002", "--json")
    (study,) = ran.json
    assert study["PatientName"] == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert study["StudyDate"] == "20240302"
    assert study["NumberOfStudyRelatedSeries"] == "2"


def test_json_lines(px: Px, pacs: Pacs) -> None:
    rows = px("find", pacs.address, "--jsonl").rows
    assert sorted(row["PatientID"] for row in rows) == STUDIES


def test_csv_has_the_columns_that_were_asked_for(px: Px, pacs: Pacs) -> None:
    ran = px("find", pacs.address, "--csv", "-k", "ReferringPhysicianName")
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert sorted(row["PatientID"] for row in rows) == STUDIES
    assert "ReferringPhysicianName" in rows[0]
    assert "RetrieveAETitle" not in rows[0]


def test_csv_without_a_match_has_its_header(px: Px, pacs: Pacs) -> None:
    ran = px("find", pacs.address, "--csv", "--PatientID", "none")
    assert ran.out.startswith("StudyDate,")
    assert len(ran.out.splitlines()) == 1


def test_dicom_json(px: Px, pacs: Pacs) -> None:
    (study,) = px("find", pacs.address, "--dicom-json", "--PatientID", "DEMO-003").json
    assert study["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^John"}]}


def test_no_match_is_no_failure(px: Px, pacs: Pacs) -> None:
    ran = px("find", pacs.address, "--PatientID", "none")
    assert (ran.code, ran.out, ran.err) == (0, "", "no match\n")
    assert px("find", pacs.address, "--PatientID", "none", "--json").json == []


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["-k", "PatientID=DEMO-001"], 1),
        (["-k", "0010,0020=DEMO-001"], 1),
        (["-k", "(0010,0020)=DEMO-001"], 1),
        (["--PatientID", "DEMO-001"], 1),
        (["--PatientID=DEMO-001"], 1),
        (["--PatientName", "*o*"], 2),
        (["-k", "StudyDate=2024-01-15"], 1),
        (["-k", "StudyDate=2024/01/15"], 1),
        (["-k", "StudyDate=2024-01-01..2024-03-31"], 2),
        (["-k", "StudyDate=2024-03-01.."], 2),
        (["-k", "StudyDate=..2024-03-02"], 2),
        (["-k", "StudyDate=2024-01-01-2024-03-31"], 2),
        (["-k", "StudyDate=20240101-20240331"], 2),
        (["--level", "series"], 4),
        (["--level", "series", "-k", "Modality=MR"], 2),
        (["--level", "image"], 27),
        (["--level", "patient"], 3),
        (["--limit", "2"], 2),
        (["-k", "PatientID"], 3),
    ],
)
def test_keys_and_levels(px: Px, pacs: Pacs, arguments: list[str], found: int) -> None:
    ran = px("find", pacs.address, "--jsonl", *arguments)
    assert (ran.code, len(ran.rows)) == (0, found), ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--PatientIDD", "x"], "--PatientID"),
        (["--PatientID"], "--PatientID needs a value"),
        (["--PatientID", "--json"], "-k PatientID"),
        (["--levl", "x"], "--level"),
        (["-k", "PatientNam=x"], "PatientName"),
        (["-k", "PatientID=a", "-k", "PatientID=b"], "two values"),
        (["-k", "RequestAttributesSequence=x"], "sequence"),
        (["-k", "QueryRetrieveLevel=STUDY"], "--level"),
        (["-k", "Status=0"], "belongs to the messages of DICOM"),
        (["--tree", "--level", "series"], "--tree"),
        (["--tree", "--csv"], "--csv"),
        (["--json", "--csv"], "exclude"),
        (["--dicom-json", "--csv"], "exclude"),
        (["--limit", "0"], "--limit"),
        (["--level", "bogus"], "bogus"),
    ],
)
def test_what_is_no_use_is_exit_2(px: Px, arguments: list[str], said: str) -> None:
    ran = px("find", "A@127.0.0.1:1", *arguments)
    assert ran.code == 2
    assert said in ran.err
    assert ran.err.startswith("error: ")


def test_a_usage_error_is_json_too(px: Px) -> None:
    ran = px("find", "A@127.0.0.1:1", "--json", "--limit", "x")
    assert ran.code == 2
    assert ran.json["error"]["kind"] == "usage"
    assert "--help" in ran.json["error"]["hint"]


def test_a_key_taken_for_a_node(px: Px) -> None:
    err = px("find", "PatientID=1").err
    assert "-k PatientID=VALUE" in err
    assert "PatientID=1" not in err


# The tree ---------------------------------------------------------------------------------


def test_a_tree_is_studies_with_their_series(px: Px, pacs: Pacs) -> None:
    ran = px("find", pacs.address, "--tree")
    assert ran.code == 0
    assert ran.err == "3 studies, 4 series\n"
    lines = ran.out.splitlines()
    assert len(lines) == 7
    assert sum(line.startswith("└─ ") for line in lines) == 3
    (axial,) = (line for line in lines if "T1 axial" in line)
    assert axial.startswith("├─ 1  MR  T1 axial  8 images  ")


def test_a_tree_as_json(px: Px, pacs: Pacs) -> None:
    studies = px("find", pacs.address, "--tree", "--json").json
    counts = {study["PatientID"]: len(study["series"]) for study in studies}
    assert counts == {"DEMO-001": 1, "DEMO-002": 2, "DEMO-003": 1}


def test_keys_of_series_leave_out_studies_that_have_none(px: Px, pacs: Pacs) -> None:
    (study,) = px("find", pacs.address, "--tree", "--json", "-k", "SeriesDescription=T1*").json
    assert [series["SeriesDescription"] for series in study["series"]] == ["T1 axial"]


def test_the_studies_and_all_their_series_take_one_association(px: Px) -> None:
    def find(exchange: Exchange) -> None:
        if exchange.identifier.get("QueryRetrieveLevel") == "STUDY":
            for number in range(3):
                exchange.match(StudyInstanceUID=f"1.{number}")
        else:
            exchange.match(SeriesInstanceUID="9." + str(exchange.identifier["StudyInstanceUID"]))
        exchange.end_find()

    with Scripted(find=find) as scripted:
        studies = px("find", scripted.address, "--tree", "--json").json
        assert len(scripted.requests) == 1
    assert [study["series"][0]["SeriesInstanceUID"] for study in studies] == [
        "9.1.0",
        "9.1.1",
        "9.1.2",
    ]


def test_a_study_whose_series_are_refused_is_kept_and_told(px: Px) -> None:
    def find(exchange: Exchange) -> None:
        if exchange.identifier.get("QueryRetrieveLevel") == "STUDY":
            exchange.match(StudyInstanceUID="1.1")
            exchange.match(StudyInstanceUID="1.2")
        elif exchange.identifier["StudyInstanceUID"] == "1.1":
            exchange.end_find(0xC000)
            return
        exchange.end_find()

    with Scripted(find=find) as scripted:
        ran = px("find", scripted.address, "--tree", "--json")
        table = px("find", scripted.address, "--tree")
    assert ran.code == table.code == 1
    first, second = ran.json
    assert first["series"] is None
    assert first["error"]["status"] == "C000"
    assert second["series"] == []
    assert "series of 1 studies are unknown" in ran.err
    assert "└─ series unknown: " in table.out


def test_a_peer_that_is_gone_is_not_asked_for_each_study(px: Px) -> None:
    def find(exchange: Exchange) -> None:
        if exchange.identifier.get("QueryRetrieveLevel") == "STUDY":
            for number in range(9):
                exchange.match(StudyInstanceUID=f"1.{number}")
            exchange.end_find()
        else:
            exchange.cut()

    with Scripted(find=find) as scripted:
        ran = px("find", scripted.address, "--tree", "--json")
        assert len(scripted.requests) == 2
    assert ran.code == 3
    assert len(ran.json["matches"]) == 9
    assert all(study["series"] is None for study in ran.json["matches"])


# What a PACS does that it should not ------------------------------------------------------


def three_of_one(exchange: Exchange) -> None:
    for _ in range(3):
        exchange.match(StudyInstanceUID="1.2", PatientID="1")
    exchange.match(StudyInstanceUID="1.3", PatientID="1")
    exchange.end_find()


def test_one_answer_for_each_instance_is_one_match(px: Px) -> None:
    with Scripted(find=three_of_one) as scripted:
        ran = px("find", scripted.address, "--jsonl", "-v")
        assert px("find", scripted.address, "--jsonl", "--limit", "2").rows == ran.rows
    assert [row["StudyInstanceUID"] for row in ran.rows] == ["1.2", "1.3"]
    assert "2 answers had the unique key of another" in ran.err


def test_a_key_that_was_ignored_is_told(px: Px) -> None:
    def find(exchange: Exchange) -> None:
        exchange.match(StudyInstanceUID="1.2", Modality="CT")
        exchange.match(StudyInstanceUID="1.3", Modality="MR")
        exchange.end_find()

    with Scripted(find=find) as scripted:
        ran = px("find", scripted.address, "-k", "Modality=MR", "-k", "PatientID=1")
    assert ran.code == 0
    assert "1 of 2 matches have another Modality" in ran.err
    assert "did not return PatientID" in ran.err


def test_more_matches_than_it_gives(px: Px) -> None:
    def find(exchange: Exchange) -> None:
        exchange.match(StudyInstanceUID="1.2")
        exchange.end_find(0xB001)

    with Scripted(find=find) as scripted:
        rows, lines, table = (
            px("find", scripted.address, form) for form in ("--json", "--jsonl", "-q")
        )
    assert rows.code == lines.code == table.code == 1
    assert rows.json["error"]["kind"] == "truncated"
    assert rows.json["matches"][0]["StudyInstanceUID"] == "1.2"
    assert [list(row) for row in lines.rows][-1] == ["error"]
    assert "1.2" in table.out
    assert "has more matches than the 1 that it gave" in table.err


def failing(exchange: Exchange) -> None:
    exchange.match(StudyInstanceUID="1.2")
    exchange.end_find(0xA700, "too much")


@pytest.mark.parametrize("form", ["--json", "--jsonl", "--csv", "-v"])
def test_a_failure_in_the_middle_leaves_what_came(px: Px, form: str) -> None:
    with Scripted(find=failing) as scripted:
        ran = px("find", scripted.address, form)
    assert ran.code == 4
    assert "1.2" in ran.out
    assert "A700H" in ran.err
    assert "too much" in ran.err
    match form:
        case "--json":
            assert ran.json["error"]["status"] == "A700"
            assert ran.json["matches"] == [{"StudyInstanceUID": "1.2"}]
        case "--jsonl":
            assert ran.rows[0] == {"StudyInstanceUID": "1.2"}
            assert ran.rows[1]["error"]["kind"] == "status"


def test_a_failure_leaves_no_file(px: Px, tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    path.write_text("as it was")
    with Scripted(find=failing) as scripted:
        ran = px("find", scripted.address, "--json", "-o", path)
    assert ran.code == 4
    assert ran.json["error"]["kind"] == "status"
    assert path.read_text() == "as it was"
    assert list(tmp_path.glob(".*part")) == []
    assert f"{path} was not written." in ran.err


def test_a_whole_result_is_in_the_file(px: Px, pacs: Pacs, tmp_path: Path) -> None:
    path = tmp_path / "found.csv"
    ran = px("find", pacs.address, "--csv", "-o", path)
    assert (ran.code, ran.out) == (0, "")
    assert len(path.read_text(encoding="utf-8").splitlines()) == 4


def test_a_limit_cancels_the_query(px: Px) -> None:
    cancelled = threading.Event()

    def find(exchange: Exchange) -> None:
        exchange.match(StudyInstanceUID="1.2")
        exchange.match(StudyInstanceUID="1.3")
        if exchange.wait_for_cancel():
            cancelled.set()
        exchange.end_find(0xFE00)

    with Scripted(find=find) as scripted:
        ran = px("find", scripted.address, "--jsonl", "--limit", "1")
        assert cancelled.is_set()
    assert (ran.code, len(ran.rows)) == (0, 1)


@pytest.mark.parametrize("form", ["--jsonl", "--csv"])
def test_a_row_is_written_before_the_last_one_came(
    px: Px, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pypx.cli.output import Output

    written = threading.Event()
    flush = Output.flush

    def noted(out: Output) -> None:
        flush(out)
        assert isinstance(sys.stdout.buffer, io.BytesIO)
        if b"1.2" in sys.stdout.buffer.getvalue():
            written.set()

    def find(exchange: Exchange) -> None:
        exchange.match(StudyInstanceUID="1.2")
        assert written.wait(10)
        exchange.match(StudyInstanceUID="1.3")
        exchange.end_find()

    monkeypatch.setattr(Output, "flush", noted)
    started = time.monotonic()
    with Scripted(find=find) as scripted:
        assert px("find", scripted.address, form).code == 0
    assert time.monotonic() - started < 5


HOSTILE = "\x1b[31mred\x1b]0;title\x07\u202etxt\r\n"


def hostile(exchange: Exchange) -> None:
    exchange.match(StudyInstanceUID="1.2", PatientName="[bold]Doe", StudyDescription=HOSTILE)
    exchange.match(StudyInstanceUID="1.3", PatientName="=1+1", StudyDescription="@cmd")
    exchange.end_find()


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("arguments", [[], ["--csv"], ["--tree"], ["--jsonl"]])
def test_text_of_a_peer_does_nothing_to_a_terminal(
    px: Px, arguments: list[str], terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with Scripted(find=hostile) as scripted:
        ran = px("find", scripted.address, *arguments, terminal=terminal)
    assert ran.code in (0, 1)
    for harmful in ("\x1b", "\x07", "\r", "\u202e"):
        assert harmful not in ran.out + ran.err
    assert "[bold]Doe" in ran.out


def test_csv_cells_are_no_formulas(px: Px) -> None:
    with Scripted(find=hostile) as scripted:
        out = px("find", scripted.address, "--csv").out
    assert ",'=1+1," in out
    assert ",'@cmd," in out


def test_text_of_a_wrong_character_set_is_told(px: Px) -> None:
    from pypx.dimse.messages import CFindRSP

    def find(exchange: Exchange) -> None:
        name = b"M\xfcller"  # no Specific Character Set says what that is
        data = b"\x10\x00\x10\x00PN" + len(name).to_bytes(2, "little") + name
        exchange.send(CFindRSP(exchange.request.message_id, 0xFF00, has_data_set=True), data)
        exchange.end_find()

    with Scripted(find=find) as scripted:
        ran = px("find", scripted.address)
    assert ran.code == 0
    assert "warning: PatientName may be shown wrongly" in ran.err


def test_a_narrow_terminal_gets_lines_that_fit(
    px: Px, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    ran = px("find", pacs.address, terminal=True)
    assert max(map(len, ran.out.splitlines())) <= 80
    assert "no room for" in ran.err
    assert len(ran.out.splitlines()) == 1 + 3 + 3  # a UID has a line of its own


def test_verbose_tells_what_was_negotiated(px: Px, pacs: Pacs) -> None:
    err = px("find", pacs.address, "-v").err
    assert "Study Root Query/Retrieve Information Model - FIND, Explicit VR Little Endian" in err
