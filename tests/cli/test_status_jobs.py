"""``px status`` and ``px status ID``: how the jobs of px retrieve stand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pypx.archive import Archive
from pypx.archive.ledger import Ledger
from pypx.archive.locks import TransferLock
from pypx.archive.transfers import Request, Transfer
from pypx.cli import status as status_module
from tests.archive.helpers import store
from tests.archive.ledgers import begin, expect, find, plan
from tests.cli.conftest import Px

OTHER = "1.2.3.5"


@pytest.fixture(autouse=True)
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_module, "_LOW_SPACE", 0)


@pytest.fixture
def archive(home: Path) -> Iterator[Archive]:
    with Archive(home / "pypx", durability="none") as one:
        yield one


@pytest.fixture
def ledger(archive: Archive) -> Ledger:
    return archive.ledger


def section(text: str, title: str) -> list[str]:
    """Give the lines of a table below its header."""
    return text.split(f"\n{title}\n")[1].partition("\n\n")[0].splitlines()[1:]


class TestTheList:
    def test_a_job_that_is_done(self, px: Px, archive: Archive, ledger: Ledger) -> None:
        store(archive, 1)
        job = plan(ledger, [1], state="complete")
        ran = px("status")
        assert (ran.code, ran.err) == (0, "")
        (line,) = section(ran.out, "Jobs")
        began = job.began_at[:19].replace("T", " ")
        assert line.split("  ") == [job.id, "complete", "hospital", "1 of 1", "1 of 1", began]
        (row,) = px("status", "--json").json["transfers"]
        assert row == {
            "id": job.id,
            "state": "complete",
            "node": "hospital",
            "reason": "",
            "began_at": job.began_at,
            "ended_at": job.ended_at,
            "seconds": 2.0,
            "series": 1,
            "series_complete": 1,
            "series_uncounted": 0,
            "requested": 1,
            "received": 1,
            "to_plan": 0,
        }

    def test_the_latest_five_or_all(self, px: Px, ledger: Ledger) -> None:
        made = [plan(ledger, [], state="complete", fingerprint=str(n)).id for n in range(7)]
        assert [one["id"] for one in px("status", "--json").json["transfers"]] == made[:1:-1]
        lines = section(px("status").out, "Jobs, the latest 5")
        assert [line.split()[0] for line in lines] == made[:1:-1]
        assert len(px("status", "--json", "--all").json["transfers"]) == 7
        assert len(section(px("status", "--all").out, "Jobs")) == 7

    def test_one_that_runs_needs_nobody(self, px: Px, archive: Archive, ledger: Ledger) -> None:
        job = plan(ledger, [1, 2, 3])
        ledger.next_series(job)
        with TransferLock.acquire(archive.root, job.id):
            assert px("status").code == 0
            for number in (1, 2):
                store(archive, number)
                (row,) = px("status", "--json").json["transfers"]
                assert (row["state"], row["received"]) == ("running", number)
                assert row["ended_at"] is None

    def test_one_whose_process_died(self, px: Px, ledger: Ledger) -> None:
        job = plan(ledger, [1])
        ran = px("status")
        assert ran.code == 1
        assert "interrupted" in section(ran.out, "Jobs")[0]
        assert ran.err == (
            f"warning: Job {job.id} (hospital) was interrupted: its process ended before it was"
            f" done.\nhint: px retrieve --resume {job.id}\n"
        )
        assert px("status", "--json").json["transfers"][0]["state"] == "interrupted"

    def test_one_that_ends_between_two_looks_is_not_called_dead(
        self, px: Px, archive: Archive, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = plan(ledger, [1])

        def end(root: Path, transfer_id: str) -> bool:
            ledger.set_state(job, "complete")
            return False

        monkeypatch.setattr(TransferLock, "is_held", end)
        ran = px("status", "--json")
        assert (ran.code, ran.json["transfers"][0]["state"]) == (0, "complete")

    @pytest.mark.parametrize("state", ["incomplete", "failed"])
    def test_one_that_did_not_get_all(self, px: Px, ledger: Ledger, state: str) -> None:
        job = plan(ledger, [1], state=state, reason="The PACS is gone.")
        ran = px("status", "--json")
        assert ran.code == 1
        words = "failed" if state == "failed" else "is incomplete"
        assert ran.json["attention"] == [f"Job {job.id} (hospital) {words}. The PACS is gone."]
        assert f"hint: px retrieve --resume {job.id}\n" in ran.err

    def test_what_was_cancelled_was_wanted_so(self, px: Px, ledger: Ledger) -> None:
        plan(ledger, [1], state="cancelled")
        assert px("status").code == 0

    @pytest.mark.parametrize("count", [None, 1])
    def test_what_came_later_settles_it_too(
        self, px: Px, archive: Archive, ledger: Ledger, count: int | None
    ) -> None:
        job = plan(ledger, None if count else [1], count=count, state="incomplete", reason="Gone.")
        assert px("status").code == 1
        stored = store(archive, 1)
        ran = px("status", "--json")
        assert (ran.code, ran.json["attention"]) == (0, [])
        (row,) = ran.json["transfers"]
        assert (row["state"], row["series_complete"], row["received"]) == ("complete", 1, 1)
        (came,) = (row["received_at"] for row in archive.find("image"))
        since = str(came)[:19].replace("T", " ")
        assert row["reason"] == f"What was missing came: complete since {since} UTC."
        assert "complete since" in px("status").out
        ran = px("status", job.id, "--json")
        assert (ran.code, ran.json["state"]) == (0, "complete")
        assert "complete since" in ran.json["reason"]
        stored.path.unlink()
        assert px("index", "rebuild").code == 0
        assert px("status", "--json").json["transfers"][0]["state"] == "incomplete"

    def test_what_nobody_found_still_needs_somebody(
        self, px: Px, archive: Archive, ledger: Ledger
    ) -> None:
        job = begin(ledger, {"PatientID": "4711"}, {"PatientID": "nobody"})
        expect(ledger, job, study := find(ledger, job), [1])
        ledger.close_study(study, "planned")
        query = ledger.next_query(job)
        assert query is not None
        ledger.close_query(query, "no-match")
        series = next(ledger.series(job))
        ledger.close_series(series, "incomplete", received=0, attempts=1)
        ledger.set_state(job, "incomplete", "One matched nothing.")
        store(archive, 1)
        (row,) = px("status", "--json").json["transfers"]
        assert (row["state"], row["reason"]) == ("incomplete", "One matched nothing.")

    def test_the_same_command_again_settles_it(self, px: Px, ledger: Ledger) -> None:
        plan(ledger, [1], state="failed")
        plan(ledger, [1], fingerprint="other", state="incomplete")
        assert len(px("status", "--json").json["attention"]) == 2
        plan(ledger, [], state="complete")
        plan(ledger, [], fingerprint="other", state="complete")
        assert px("status", "--json").json["attention"] == []

    def test_a_week_later_nobody_is_told_any_more(
        self, px: Px, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan(ledger, [1], state="failed")
        now = time.time()
        for days, code in ((6.9, 1), (7.1, 0)):
            monkeypatch.setattr(time, "time", lambda: now + days * 86_400)  # noqa: B023
            assert px("status").code == code

    def test_many_are_not_all_named(self, px: Px, ledger: Ledger) -> None:
        for number in range(7):
            plan(ledger, [1], state="failed", fingerprint=str(number))
        attention = px("status", "--json").json["attention"]
        assert len(attention) == 6
        assert attention[-1] == "2 more jobs did not get all of it."
        assert len(px("status", "--json", "--all").json["attention"]) == 7

    @pytest.mark.parametrize(
        ("count", "text"), [(None, "0 of ?"), (4, "0 of 4")], ids=["unknown", "a number"]
    )
    def test_what_the_pacs_does_not_say(
        self, px: Px, ledger: Ledger, count: int | None, text: str
    ) -> None:
        plan(ledger, None, count=count, state="cancelled")
        assert section(px("status").out, "Jobs")[0].split("  ")[4] == text


class TestWhich:
    def test_how_it_begins_is_enough(self, px: Px, ledger: Ledger) -> None:
        job = plan(ledger, [], state="complete")
        for name in (job.id, job.id[:11], job.id[:1]):
            assert px("status", name, "--json").json["id"] == job.id

    def test_more_than_one_begins_so(self, px: Px, ledger: Ledger) -> None:
        made = [plan(ledger, [], state="complete") for _ in range(4)]
        ran = px("status", made[0].id[:8], "--json")
        assert ran.code == 2
        assert ran.json["error"]["message"] == f"4 jobs begin with {made[0].id[:8]}."
        assert f"{made[3].id}, {made[2].id}, {made[1].id}, …" in ran.json["error"]["hint"]

    def test_a_mistyped_one_gets_the_nearest(self, px: Px, ledger: Ledger) -> None:
        job = plan(ledger, [], state="complete")
        ran = px("status", f"{job.id[:-1]}x")
        assert ran.code == 2
        assert f"There is no job {job.id[:-1]}x." in ran.err
        assert f"Did you mean {job.id}?" in ran.err
        assert f"The latest are {job.id};" in px("status", "zzz").err
        assert px("status", "").code == 2

    def test_an_archive_without_jobs(self, px: Px, archive: Archive) -> None:
        ran = px("status", "20240101-abcdef")
        assert ran.code == 2
        assert "px retrieve makes jobs" in ran.err

    @pytest.mark.parametrize("arguments", [["--missing"], ["--watch", "--json"]])
    def test_what_goes_together(self, px: Px, archive: Archive, arguments: list[str]) -> None:
        assert px("status", *arguments).code == 2


@pytest.fixture
def job(archive: Archive, ledger: Ledger) -> Transfer:
    """A job of two studies and a query without a match, incomplete in more than one way."""
    store(archive, 1)
    transfer: Transfer = begin(
        ledger,
        {"PatientID": "4711"},
        {"AccessionNumber": "A1"},
        {"PatientID": "nobody"},
        {"PatientID": "9"},
        keys={"Modality": "CT"},
        by="series",
        retries=3,
        dry=False,
    )
    study = find(ledger, transfer)
    first = expect(ledger, transfer, study, [1, 2, 3])
    counted = expect(ledger, transfer, study, None, OTHER, count=4)
    ledger.close_study(study, "planned")
    again = find(ledger, transfer)  # the same study, by another query
    twice = expect(ledger, transfer, again, [1, 2, 3])
    ledger.close_study(again, "planned")
    nothing = ledger.next_query(transfer)
    assert nothing
    ledger.close_query(nothing, "no-match", "Nothing matches.")
    ledger.close_study(find(ledger, transfer, "1.9"), "failed", "The PACS refused.")
    asked = ledger.note_request(transfer, first, "move", "series", 2)
    ledger.close_request(
        asked, Request(seconds=1.5, status=0xB000, completed=1, failed=1, warning=0)
    )
    ledger.note_request(transfer, twice, "get", "image", 1)
    store(archive, 2)
    for series in (first, twice):
        ledger.close_series(series, "incomplete", received=2, attempts=2, reason="One failed.")
    ledger.close_series(counted, "incomplete", received=0, attempts=1, reason="Nothing came.")
    ledger.add_extra(transfer, "1.2.3", "1.2.3.4", "1.2.3.4.9")
    ledger.note(transfer, "The PACS cut its answers.")
    ledger.set_state(transfer, "incomplete", "5 images are missing.", 12.0)
    return transfer


class TestOneJob:
    def test_as_json(self, px: Px, job: Transfer, ledger: Ledger) -> None:
        ran = px("status", job.id, "--json")
        assert (ran.code, ran.err) == (1, "")
        document = ran.json
        series = document.pop("series")
        ended = ledger.find(job.id)
        assert ended
        assert document == {
            "id": job.id,
            "state": "incomplete",
            "node": "hospital",
            "request": {"keys": {"Modality": "CT"}, "by": "series", "retries": 3, "dry": False},
            "reason": "5 images are missing.",
            "notes": ["The PACS cut its answers."],
            "began_at": job.began_at,
            "ended_at": ended.ended_at,
            "seconds": 12.0,
            "requested": 7,
            "received": 2,
            "missing": ["1.2.3.4.3"],
            "unexpected": ["1.2.3.4.9"],
            "to_plan": 0,
            "queries": [
                {
                    "number": 3,
                    "keys": {"PatientID": "nobody"},
                    "state": "no-match",
                    "reason": "Nothing matches.",
                }
            ],
            "studies": [
                {"study_instance_uid": "1.9", "state": "failed", "reason": "The PACS refused."}
            ],
        }
        first, counted = series
        requests = first.pop("requests")
        assert first == {
            "study_instance_uid": "1.2.3",
            "series_instance_uid": "1.2.3.4",
            "modality": "CT",
            "series_number": "2",
            "series_description": "Axial",
            "expected": 3,
            "received": 2,
            "missing": 1,
            "status": "incomplete",
            "attempts": 2,
            "reason": "One failed.",
        }
        assert [one.pop("sent_at")[:2] for one in requests] == ["20", "20"]
        assert requests[0] == {
            "method": "move",
            "level": "series",
            "asked": 2,
            "seconds": 1.5,
            "status": "B000",
            "completed": 1,
            "failed": 1,
            "warning": 0,
            "reason": "",
        }
        assert (requests[1]["method"], requests[1]["status"]) == ("get", None)
        assert (counted["expected"], counted["received"], counted["missing"]) == (4, 0, 4)

    def test_in_words(self, px: Px, job: Transfer) -> None:
        ran = px("status", job.id)
        assert ran.code == 1
        head, table, rest = ran.out.split("\n\n")
        lines = dict(line.split("  ", 1) for line in head.splitlines())
        told = {name: text.strip() for name, text in lines.items()}
        assert told.pop("Began") and told.pop("Ended")
        assert told == {
            "Job": job.id,
            "PACS": "hospital",
            "State": "incomplete: 5 images are missing.",
            "Request": "keys=Modality=CT, by=series, retries=3",
            "Worked": "12.0 s",
            "Series": "0 of 2 complete",
            "Images": "2 of 7, 5 missing",
            "Besides": "1 image that nobody asked for",
            "Note": "The PACS cut its answers.",
        }
        _, first, counted = table.splitlines()
        assert first.split("  ")[:3] == ["2024-01-31", "Thorax", "Doe, Jane"]
        assert "One failed." in first and first.endswith("1.2.3.4")
        assert counted.endswith(OTHER)
        assert rest.splitlines()[0] == "Not planned"
        assert "row 3" in rest and "PatientID=nobody" in rest and "study 1.9" in rest

    def test_what_is_missing(self, px: Px, job: Transfer) -> None:
        lines = section(px("status", job.id, "--missing").out, "Missing")
        assert [line.split("  ") for line in (" ".join(x.split()) for x in lines)] == [
            ["1.2.3.4.3 1.2.3.4"],
            [f"4 images: the PACS does not tell which {OTHER}"],
        ]
        assert "Missing\n" not in px("status", job.id).out

    def test_on_a_narrow_terminal(
        self, px: Px, job: Transfer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "60")
        monkeypatch.setenv("NO_COLOR", "1")
        out = px("status", job.id, terminal=True).out
        table = out.split("\n\n")[1].splitlines()
        assert "  Reason One failed." in table and "  Series Instance UID 1.2.3.4" in table
        assert max(map(len, table)) <= 60

    def test_what_came_late_is_not_missing(self, px: Px, archive: Archive, job: Transfer) -> None:
        store(archive, 3)
        ran = px("status", job.id, "--json")
        assert ran.json["missing"] == [] and ran.json["received"] == 3
        assert ran.json["series"][0]["status"] == "complete"
        assert ran.json["series"][0]["reason"] == ""
        assert ran.code == 1, "the other one is not"

    def test_a_complete_one(self, px: Px, archive: Archive, ledger: Ledger) -> None:
        stored = store(archive, 1)
        store(archive, 2)
        name = plan(ledger, [1, 2], state="complete").id
        ran = px("status", name)
        assert ran.code == 0
        assert "State    complete\n" in ran.out and "Images   2 of 2, 0 missing\n" in ran.out
        Path(stored.path).unlink()
        archive.rebuild()
        ran = px("status", name, "--json")
        assert (ran.code, ran.json["state"]) == (1, "incomplete")
        gone = "It was complete; 1 image is not in the archive any more."
        assert ran.json["reason"] == gone
        assert ran.json["series"][0]["status"] == "incomplete"
        assert ran.json["series"][0]["reason"] == gone

    def test_one_whose_process_died(self, px: Px, ledger: Ledger) -> None:
        job = plan(ledger, [1])
        ledger.next_series(job)
        document = px("status", job.id, "--json").json
        assert document["state"] == "interrupted"
        assert document["reason"] == "Its process ended before it was done."
        assert document["series"][0]["status"] == "open"

    def test_one_that_is_being_planned(self, px: Px, archive: Archive, ledger: Ledger) -> None:
        job = begin(ledger, {"PatientID": "1"}, {"PatientID": "2"})
        expect(ledger, job, find(ledger, job), None, "")
        with TransferLock.acquire(archive.root, job.id):
            ran = px("status", job.id)
        assert ran.code == 1
        assert "State    running\n" in ran.out
        assert "To plan  2 queries and studies\n" in ran.out
        assert "Images   0 of ?, 0 missing\n" in ran.out
        assert "(the whole study)" in ran.out

    def test_without_an_index(self, px: Px, archive: Archive, job: Transfer) -> None:
        archive.close()
        (archive.root / ".pypx/index.sqlite").unlink()
        assert px("status", job.id, "--json").json["error"]["kind"] == "index"


class TestForgetting:
    def test_by_name(self, px: Px, archive: Archive, ledger: Ledger) -> None:
        store(archive, 1)
        jobs = [plan(ledger, [1], fingerprint=str(n), state="incomplete") for n in range(3)]
        ran = px("status", "--forget", jobs[0].id, "--forget", jobs[1].id[:-1], "--json")
        assert (ran.code, ran.json) == (0, {"forgotten": [jobs[0].id, jobs[1].id]})
        assert [job.id for job in ledger.transfers()] == [jobs[2].id]
        with ledger._index.reading() as connection:
            for table in ("transfer_query", "transfer_series", "transfer_study"):
                assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)
        assert len(list(archive.find("image"))) == 1
        assert px("status", "--forget", jobs[2].id).out == "Forgot 1 job. The images stay.\n"

    def test_by_age(self, px: Px, archive: Archive, ledger: Ledger) -> None:
        old = plan(ledger, [1], fingerprint="a", state="complete")
        new = plan(ledger, [1], fingerprint="b", state="complete")
        held = plan(ledger, [1], fingerprint="c", state="running")
        with ledger._index.transaction() as connection:
            connection.execute(
                "UPDATE transfer SET began_at = '2020-01-31T00:00:00Z', ended_at = CASE ended_at"
                " WHEN '' THEN '' ELSE '2020-01-31T00:00:00Z' END WHERE id <> ?",
                (new.id,),
            )
        with TransferLock.acquire(archive.root, held.id):
            ran = px("status", "--forget-older", "30")
        assert (ran.code, ran.out) == (0, "Forgot 1 job. The images stay.\n")
        assert f"Job {held.id} is run by another process." in ran.err
        assert {job.id for job in ledger.transfers()} == {new.id, held.id}
        assert px("status", "--forget-older", "30", "--json").json == {"forgotten": [held.id]}
        assert old.id not in px("status", "--all").out

    def test_what_runs_stays(self, px: Px, archive: Archive, ledger: Ledger) -> None:
        job = plan(ledger, [1])
        with TransferLock.acquire(archive.root, job.id):
            ran = px("status", "--forget", job.id)
        assert (ran.code, ledger.find(job.id) is None) == (2, False)
        assert f"Job {job.id} is run by another process." in ran.err

    def test_a_wrong_name_forgets_nothing(self, px: Px, ledger: Ledger) -> None:
        job = plan(ledger, [1], state="complete")
        ran = px("status", "--forget", job.id, "--forget", "nothing")
        assert (ran.code, len(ledger.transfers())) == (2, 1)

    @pytest.mark.parametrize("more", [["20260131-aaaaaa"], ["--all"], ["--missing"], ["--watch"]])
    def test_it_only_forgets(self, px: Px, ledger: Ledger, more: list[str]) -> None:
        job = plan(ledger, [1], state="complete")
        ran = px("status", "--forget", job.id, *more)
        assert (ran.code, len(ledger.transfers())) == (2, 1)


def test_hostile_text_does_not_reach_the_terminal(px: Px, ledger: Ledger) -> None:
    evil = "\x1b]0;x\x07\u202e"
    job: Any = ledger.begin(evil, {evil: evil}, "f")
    ledger.add_queries(job, [(1, {"PatientID": evil}), (2, {"PatientID": evil})])
    study = find(ledger, job, evil, patient_name=evil, study_description=evil, study_date=evil)
    series = expect(ledger, job, study, [1], evil)
    ledger.close_series(series, "incomplete", received=0, attempts=1, reason=evil)
    ledger.close_study(study, "failed", evil)
    query = ledger.next_query(job)
    assert query
    ledger.close_query(query, "failed", evil)
    ledger.note(job, evil)
    ledger.set_state(job, "failed", evil)
    for arguments in ([], [job.id], [job.id, "--missing"], [job.id, "--json"], [evil]):
        ran = px("status", *arguments)
        assert not set(evil) & {"\x1b", "\x07", "\u202e"} & set(ran.out + ran.err)
