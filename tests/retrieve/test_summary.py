"""The verdict is about the set of instances; the document and the table say the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pypx.archive.transfers import Request
from pypx.cli.output import Output
from pypx.cli.retrieved import show_studies
from pypx.errors import CancelledError, StatusError
from pypx.retrieve.report.summary import Sums, Verdict, document, study_lines, verdict_of
from tests.retrieve.transfers import Job, job, uid_of


def verdict(one: Job) -> Verdict:
    account = one.archive.account(one.transfer)
    sums = Sums()
    for study in account.studies():
        sums = sums.with_study(study)
    return verdict_of(one.transfer, sums, account.queries())


def complete(one: Job) -> None:
    series = one.series(one.study(), numbers=range(1, 4))
    one.receive(1, 2, 3)
    one.close(series)
    one.end()


def one_is_missing(one: Job) -> None:
    series = one.series(one.study(), numbers=range(1, 4))
    one.receive(1, 2)
    one.close(series, "incomplete", "1 of 3 instances did not come.")
    one.end("incomplete")


def came_afterwards(one: Job) -> None:
    one_is_missing(one)
    one.receive(*range(4))


def gone_afterwards(one: Job) -> None:
    series = one.series(one.study(), numbers=range(1, 4))
    one.receive(1, 2)
    one.close(series)
    one.end()


def count_is_unknown(one: Job) -> None:
    series = one.series(one.study(), numbers=range(1), basis="unknown")
    one.receive(1)
    one.close(series, "unknown")
    one.end("incomplete")


def too_few_by_count(one: Job) -> None:
    series = one.series(one.study(), numbers=range(1, 6), basis="count")
    one.receive(1)
    one.close(series, "incomplete")
    one.end("incomplete")


def study_not_planned(one: Job) -> None:
    complete(one)
    one.study("1.2.9", "failed", "The PACS answered A900H.")
    one.end("incomplete")


def perhaps_more_series(one: Job) -> None:
    series = one.series(one.study(reason="There may be more series."), numbers=range(1, 2))
    one.receive(1)
    one.close(series)
    one.end()


def perhaps_more_studies(one: Job) -> None:
    complete(one)
    one.ledger.close_query(one.queries[0], "unknown", "There may be more studies.")
    one.end("unknown")


def no_match(one: Job) -> None:
    one.ledger.close_query(one.queries[0], "no-match", "Nothing on the PACS matches.")
    one.end("incomplete")


def a_row_of_a_list_failed(one: Job) -> None:
    complete(one)
    one.query("too-many", PatientID="*")
    one.query("failed", PatientID="2")
    one.query("malformed")
    one.end("incomplete", "Three rows gave nothing.")


def cancelled(one: Job) -> None:
    one.series(one.study(), numbers=range(1, 4))
    one.receive(1)
    one.end("cancelled")


def failed(one: Job) -> None:
    one.series(one.study(), numbers=range(1, 4))
    one.end("failed", "The PACS cannot be reached.")


def running(one: Job) -> None:
    one.series(one.study(), numbers=range(1, 4))
    one.receive(1)


@pytest.mark.parametrize(
    ("happens", "word", "status", "sentence"),
    [
        (complete, "complete", "success", "Complete: all 3 instances are here."),
        (
            one_is_missing,
            "incomplete",
            "warning",
            "Incomplete: 1 of 3 instances is missing.",
        ),
        (
            came_afterwards,
            "complete",
            "success",
            "Complete by now: all 3 instances are here.",
        ),
        (
            gone_afterwards,
            "incomplete",
            "warning",
            "It was complete, but now 1 of 3 instances is missing.",
        ),
        (
            count_is_unknown,
            "unknown",
            "warning",
            (
                "Not shown to be complete: 1 instance is here, but the PACS does not say how many"
                " instances 1 of 1 series have."
            ),
        ),
        (
            too_few_by_count,
            "incomplete",
            "warning",
            "Incomplete: 4 of 5 instances are missing.",
        ),
        (
            study_not_planned,
            "incomplete",
            "warning",
            "Incomplete: all 3 instances are here, but the series of 1 study are not known.",
        ),
        (
            perhaps_more_series,
            "unknown",
            "warning",
            (
                "Not shown to be complete: the instance is here, but 1 study may have more series"
                " than the PACS says."
            ),
        ),
        (
            perhaps_more_studies,
            "unknown",
            "warning",
            (
                "Not shown to be complete: all 3 instances are here, but there may be more studies"
                " than the PACS says."
            ),
        ),
        (
            no_match,
            "incomplete",
            "warning",
            "Incomplete: the query matched nothing.",
        ),
        (
            a_row_of_a_list_failed,
            "incomplete",
            "warning",
            (
                "Incomplete: all 3 instances are here, but 1 of 4 queries matched too many studies"
                " and 1 of 4 queries failed and 1 of 4 queries could not be asked for."
            ),
        ),
        (cancelled, "cancelled", "cancelled", "Cancelled: 1 of 3 instances is here so far."),
        (
            failed,
            "failed",
            "failure",
            "Failed: 0 of 3 instances are here so far. The PACS cannot be reached.",
        ),
        (running, "running", "running", "In progress: 1 of 3 instances is here so far."),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_the_verdict(
    tmp_path: Path, happens: Callable[[Job], None], word: str, status: str, sentence: str
) -> None:
    with job(tmp_path) as one:
        happens(one)
        found = verdict(one)
        assert (found.word, found.sentence) == (word, sentence)
        said = document(one.archive, one.transfer)
    assert said["status"] == status
    assert ("error" in said) == (status not in ("success", "running"))
    is_worth_resuming = word in ("incomplete", "cancelled", "failed") and happens is not no_match
    assert (one.transfer.id in found.hint) == is_worth_resuming


def test_the_document(tmp_path: Path) -> None:
    with job(tmp_path, 1) as one:
        study = one.study()
        first = one.series(study, numbers=range(1, 5))
        one.series(study, "1.2.3.5", range(10, 12))
        one.receive(2, 9)
        one.ledger.add_extra(one.transfer, "1.2.3", "1.2.3.4", uid_of(9))
        one.ask(first, Request(seconds=1.0, status=0xB000, completed=1, failed=2, warning=1))
        one.ledger.note(one.transfer, "C-GET was used instead.")
        one.close(first, "incomplete", "2 of 4 instances did not come.")
        one.query("no-match", "Nothing on the PACS matches.", PatientID="0042")
        one.end("cancelled", seconds=12.3456)
        said = document(one.archive, one.transfer, CancelledError("Interrupted."))
        entry = next(iter(one.archive.find("image", {"SOPInstanceUID": uid_of(2)})))
    expected = {
        "id": one.transfer.id,
        "node": "hospital",
        "status": "cancelled",
        "completed": 1,
        "failed": 2,
        "warning": 1,
        "remaining": 2,
        "failed_sop_instance_uids": [uid_of(3), uid_of(4)],
        "seconds": 12.346,
        "bytes": entry["bytes"],
        "requested": 6,
        "received": 2,
        "here_before": 1,
        "missing": [uid_of(3), uid_of(4), uid_of(10), uid_of(11)],
        "unexpected_sop_instance_uids": [uid_of(9)],
        "notes": ["C-GET was used instead."],
        "error": {"kind": "cancelled", "message": "Interrupted.", "hint": ""},
    }
    assert {key: said[key] for key in expected} == expected
    assert said["series"][0] == {
        "series_instance_uid": "1.2.3.4",
        "study_instance_uid": "1.2.3",
        "expected": 4,
        "received": 2,
        "status": "incomplete",
        "reason": "2 of 4 instances did not come.",
    }
    assert said["queries"] == [
        {
            "number": 1,
            "keys": {"PatientID": "0042"},
            "status": "no-match",
            "reason": "Nothing on the PACS matches.",
        }
    ]
    json.dumps(said)


def test_an_error_with_a_status_keeps_it(tmp_path: Path) -> None:
    with job(tmp_path) as one:
        one.end("failed")
        said = document(one.archive, one.transfer, StatusError("No.", status=0xA702))
    assert said["error"]["status"] == "A702"


def test_a_series_of_two_queries_counts_once_and_is_as_bad_as_the_worse(tmp_path: Path) -> None:
    with job(tmp_path) as one:
        first = one.series(one.study(), numbers=range(1, 3))
        one.query(AccessionNumber="1")
        second = one.series(one.study(), numbers=range(2, 5))
        one.receive(1, 2)
        one.close(first)
        one.close(second, "incomplete", "Two did not come.")
        one.end("incomplete")
        said = document(one.archive, one.transfer)
    (series,) = said["series"]
    assert (series["expected"], series["received"]) == (4, 2)
    assert (series["status"], series["reason"]) == ("incomplete", "Two did not come.")
    assert said["missing"] == [uid_of(3), uid_of(4)]


def test_a_line_for_each_study(tmp_path: Path) -> None:
    with job(tmp_path) as one:
        study = one.study()
        for uid, numbers in (("1.2.3.4", range(1, 3)), ("1.2.3.5", range(10, 12))):
            one.close(one.series(study, uid, numbers), "incomplete", "It did not come.")
        one.receive(1, 2)
        one.close(one.ledger.series_of(1))
        one.study("1.2.8", "failed", "The PACS answered A900H.")
        one.series(one.study("1.2.9"), "1.2.9.1", range(3), basis="unknown")
        first, second, third = study_lines(one.archive, one.transfer)
    assert (first.complete, first.series) == (1, 2)
    assert (first.received, first.expected) == (2, 4)
    assert (first.verdict, first.reason) == ("incomplete", "It did not come.")
    assert (second.verdict, second.reason) == ("failed", "The PACS answered A900H.")
    assert (third.verdict, third.expected) == ("open", None)


def shown(one: Job, capsysbinary: pytest.CaptureFixture[bytes]) -> list[str]:
    out = Output()
    show_studies(out, one.archive, one.transfer)
    out.flush()
    return capsysbinary.readouterr().out.decode().splitlines()


def test_the_table(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    with job(tmp_path) as one:
        study = one.study(patient_name="Doe^J\x1b[2J", study_description="Thorax")
        one.close(one.series(study, numbers=range(1, 3)), "incomplete", "It did not come.")
        one.receive(1)
        head, line = shown(one, capsysbinary)
    titles = ["Date", "Description", "Patient", "Series", "Images", "Result", "Reason"]
    assert head.split() == titles
    assert re.split(r"\s{2,}", line) == [
        "2024-01-31",
        "Thorax",
        "Doe, J\\x1b[2J",
        "0/1",
        "1/2",
        "incomplete",
        "It did not come.",
    ]


def test_of_many_studies_those_that_are_complete_are_a_number(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    with job(tmp_path) as one:
        for number in range(60):
            uid = f"1.3.{number}"
            series = one.series(one.study(uid), f"{uid}.1", range(number, number + 1))
            one.close(series, "complete" if number else "incomplete")
        one.receive(*range(60))
        lines = shown(one, capsysbinary)
    assert len(lines) == 3
    assert "incomplete" in lines[1]
    assert lines[2] == "59 complete studies"


def test_without_studies_there_is_no_table(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    with job(tmp_path) as one:
        assert shown(one, capsysbinary) == []
