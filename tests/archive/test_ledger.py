"""The ledger: what was asked of a PACS, what is still to be done, and what is here of it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pypx.archive import Archive, schema
from pypx.archive.index_sqlite import SqliteIndex
from pypx.archive.ledger import Ledger
from pypx.archive.transfers import LedgerStudy, Request, Standing, Totals, Transfer
from pypx.errors import IndexUnavailableError
from tests.archive.helpers import store
from tests.archive.ledgers import SERIES, STUDY, begin, expect, find, plan, series_of, uids
from tests.archive.test_matching import entry
from tests.objects import CT_IMAGE


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "archive", durability="none") as one:
        yield one


@pytest.fixture
def ledger(archive: Archive) -> Ledger:
    return archive.ledger


class TestTransfers:
    def test_one_that_is_begun_runs(self, ledger: Ledger) -> None:
        transfer = ledger.begin("hospital", {"keys": {"PatientID": "ä"}, "by": "series"}, "f")
        assert (transfer.node, transfer.state, transfer.reason) == ("hospital", "running", "")
        assert transfer.request == {"keys": {"PatientID": "ä"}, "by": "series"}
        assert (transfer.notes, transfer.ended_at, transfer.seconds) == ((), "", 0.0)
        assert transfer.began_at[:10].replace("-", "") == transfer.id[:8]
        assert transfer.is_unfinished
        assert ledger.find(transfer.id) == transfer
        assert ledger.find("20200101-ffffff") is None

    def test_the_newest_come_first(self, ledger: Ledger) -> None:
        made = [ledger.begin("hospital", {}, str(number)) for number in range(4)]
        assert ledger.transfers() == made[::-1]
        assert ledger.transfers(2) == [made[3], made[2]]

    def test_how_it_ended(self, ledger: Ledger) -> None:
        transfer = begin(ledger)
        ledger.set_state(transfer, "cancelled", "Interrupted.", 1.5)
        ledger.resume(transfer)
        resumed = ledger.find(transfer.id)
        assert resumed and (resumed.state, resumed.reason, resumed.ended_at) == ("running", "", "")
        ledger.set_state(transfer, "complete", seconds=2.0)
        ended = ledger.find(transfer.id)
        assert ended and (ended.state, ended.seconds) == ("complete", 3.5)
        assert ended.ended_at >= ended.began_at and not ended.is_unfinished

    @pytest.mark.parametrize("state", ["running", "cancelled", "failed"])
    def test_the_same_command_finds_what_it_has_not_finished(
        self, ledger: Ledger, state: str
    ) -> None:
        transfer = ledger.begin("hospital", {}, "f")
        ledger.begin("hospital", {}, "other")
        ledger.set_state(transfer, state)
        assert ledger.unfinished("f") == ledger.find(transfer.id)
        assert ledger.unfinished("g") is None

    @pytest.mark.parametrize("state", ["complete", "incomplete"])
    def test_but_not_what_came_to_its_end(self, ledger: Ledger, state: str) -> None:
        ledger.set_state(ledger.begin("hospital", {}, "f"), "failed")
        ledger.set_state(ledger.begin("hospital", {}, "f"), state)
        assert ledger.unfinished("f") is None

    def test_a_sentence_is_noted_once(self, ledger: Ledger) -> None:
        transfer = begin(ledger)
        for sentence in ("Die Größe fehlt.", "B.", "Die Größe fehlt."):
            ledger.note(transfer, sentence)
        found = ledger.find(transfer.id)
        assert found and found.notes == ("Die Größe fehlt.", "B.")

    def test_unsettled_are_the_newest_of_their_command(self, ledger: Ledger) -> None:
        states = {"a": "incomplete", "b": "failed", "c": "cancelled", "d": "complete"}
        for fingerprint, state in states.items():
            ledger.set_state(ledger.begin("hospital", {}, fingerprint), state)
        running = ledger.begin("hospital", {}, "e")
        found = [one.state for one in ledger.unsettled("2020")]
        assert found == ["running", "failed", "incomplete"]
        assert ledger.unsettled("2999") == [running]
        ledger.set_state(ledger.begin("hospital", {}, "a"), "complete")
        assert [one.state for one in ledger.unsettled("2020")] == ["running", "failed"]

    def test_at_the_end_nobody_is_busy(self, ledger: Ledger) -> None:
        transfer = plan(ledger, [1, 2])
        taken = ledger.next_series(transfer)
        assert taken is not None and ledger.series_of(taken.pk).state == "busy"
        ledger.set_state(transfer, "failed", "why")
        assert {one.state for one in ledger.series(transfer)} == {"open"}

    def test_one_is_removed_with_all_its_rows(self, archive: Archive, ledger: Ledger) -> None:
        old, running = plan(ledger, [1, 2], state="incomplete"), plan(ledger, [1])
        series = next(ledger.series(old))
        ledger.note_request(old, series, "move", "series", 2)
        ledger.add_extra(old, "1", "1.1", "1.1.1")
        ledger.remove(old)
        assert ledger.transfers() == [running]
        tables = [table for table in schema.TABLES if table.startswith("transfer_")]
        left = {table: count_of(archive, table) for table in tables}
        assert left == {
            "transfer_query": 1,
            "transfer_study": 1,
            "transfer_series": 1,
            "transfer_instance": 1,
            "transfer_request": 0,
            "transfer_extra": 0,
        }


def count_of(archive: Archive, table: str) -> int:
    connection = sqlite3.connect(archive.root / ".pypx/index.sqlite")
    (number,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.close()
    return int(number)


class TestQueries:
    def test_each_is_taken_once_in_its_order(self, ledger: Ledger) -> None:
        transfer = begin(ledger, {"PatientID": "1"}, {"PatientID": "2"})
        ledger.add_queries(transfer, [(2, {"PatientID": "other"}), (3, {"PatientID": "3"})])
        taken = [ledger.next_query(transfer) for _ in range(4)]
        assert [one and (one.number, one.keys["PatientID"]) for one in taken] == [
            (1, "1"),
            (2, "2"),
            (3, "3"),
            None,
        ]
        assert {one.state for one in ledger.queries(transfer)} == {"busy"}

    def test_by_state(self, ledger: Ledger) -> None:
        transfer = begin(ledger, {"PatientID": "1"}, {"PatientID": "2"})
        query = ledger.next_query(transfer)
        assert query
        ledger.close_query(query, "no-match", "Nothing matches.")
        (closed,) = ledger.queries(transfer, "no-match")
        assert (closed.number, closed.reason) == (1, "Nothing matches.")
        assert [one.number for one in ledger.queries(transfer, "open")] == [2]

    def test_it_settles_when_its_studies_and_series_have(self, ledger: Ledger) -> None:
        transfer = begin(ledger)
        study = find(ledger, transfer)
        assert ledger.settled_queries(transfer) == []
        expect(ledger, transfer, study, [1, 2])
        expect(ledger, transfer, study, None, "1.2.3.5")
        ledger.close_study(study, "planned")
        assert ledger.settled_queries(transfer) == []
        for state, received in (("incomplete", 1), ("unknown", 7)):
            series = ledger.next_series(transfer)
            assert series
            assert ledger.settled_queries(transfer) == []
            ledger.close_series(series, state, received=received, attempts=1, reason="why")
        ((query, standing),) = ledger.settled_queries(transfer)
        assert standing == Standing(1, 0, 0, 2, 0, 1, 2, 8, "why")
        ledger.close_query(query, "incomplete")
        assert ledger.settled_queries(transfer) == []

    def test_only_the_query_of_a_study_is_looked_at(self, ledger: Ledger) -> None:
        transfer = begin(ledger, {"PatientID": "1"}, {"PatientID": "2"})
        first, second = find(ledger, transfer), find(ledger, transfer)
        for study in (first, second):
            ledger.close_study(study, "planned")
        assert len(ledger.settled_queries(transfer)) == 2
        ((query, _),) = ledger.settled_queries(transfer, second.pk)
        assert query.number == 2

    def test_one_that_found_nothing_is_settled(self, ledger: Ledger) -> None:
        transfer = begin(ledger)
        query = ledger.next_query(transfer)
        assert query
        ledger.close_query(query, "found")
        assert ledger.settled_queries(transfer)[0][1] == Standing(0, 0, 0, 0, 0, 0, 0, 0, "")

    def test_a_study_that_could_not_be_planned_counts(self, ledger: Ledger) -> None:
        transfer = begin(ledger)
        ledger.close_study(find(ledger, transfer), "failed", "The PACS refused.")
        ((_, standing),) = ledger.settled_queries(transfer)
        assert (standing.studies, standing.studies_failed) == (1, 1)


class TestStudies:
    def test_as_they_were_found(self, ledger: Ledger) -> None:
        transfer = begin(ledger)
        study = find(ledger, transfer, accession_number="A1", number_of_instances=9)
        assert study == LedgerStudy(
            study.pk, study.query_pk, STUDY, "4711", "Doe^Jane", "20240131", "Thorax", "A1", 9
        )
        assert ledger.next_study(transfer) is None
        ledger.close_study(study, "failed", "why")
        (closed,) = ledger.studies(transfer)
        assert (closed.state, closed.reason) == ("failed", "why")

    def test_found_again_after_a_resume_it_is_one(self, ledger: Ledger) -> None:
        transfer = begin(ledger)
        ledger.close_study(find(ledger, transfer), "planned")
        ledger.close_query(next(ledger.queries(transfer)), "incomplete")
        ledger.resume(transfer)
        query = ledger.next_query(transfer)
        assert query
        ledger.add_studies(transfer, query, [LedgerStudy(0, 0, STUDY), LedgerStudy(0, 0, "1.9")])
        assert [one.study_instance_uid for one in ledger.studies(transfer)] == [STUDY, "1.9"]
        taken = ledger.next_study(transfer)
        assert taken and taken.study_instance_uid == "1.9", "the other one is planned"


class TestSeries:
    def test_what_is_here_is_seen_when_it_is_planned(
        self, archive: Archive, ledger: Ledger
    ) -> None:
        store(archive, 1)
        transfer = begin(ledger)
        study = find(ledger, transfer)
        series = expect(ledger, transfer, study, [1, 2, 3])
        assert (series.state, series.expected, series.here_before) == ("open", 3, 1)
        assert (series.study_instance_uid, series.patient_id) == (STUDY, "4711")
        assert (series.modality, series.series_number) == ("CT", "2")
        assert ledger.missing(series) == uids([2, 3])
        assert expect(ledger, transfer, study, [1]).state == "complete"
        assert ledger.next_series(transfer) is None, "nothing of it is to be asked for"
        assert expect(ledger, transfer, study, [1, 2]).state == "open", "it was planned again"
        assert ledger.waiting(transfer) == 1

    def test_series_of_a_study_that_is_not_planned_yet_can_be_left_out(
        self, ledger: Ledger
    ) -> None:
        transfer = begin(ledger)
        study = find(ledger, transfer)
        for number in range(3):
            expect(ledger, transfer, study, [number], f"{SERIES}.{number}")
        assert ledger.waiting(transfer) == 3
        assert ledger.waiting(transfer, 2) == 2
        assert ledger.waiting(transfer, planned=True) == 0
        assert ledger.next_series(transfer, planned=True) is None
        ledger.close_study(study, "planned")
        assert ledger.waiting(transfer, planned=True) == 3
        assert ledger.next_series(transfer, planned=True) is not None

    def test_what_arrives_is_no_longer_missing(self, archive: Archive, ledger: Ledger) -> None:
        transfer = begin(ledger)
        series = expect(ledger, transfer, find(ledger, transfer), [1, 2])
        assert (ledger.here(series), len(ledger.missing(series))) == (0, 2)
        store(archive, 1)
        store(archive, 9)
        assert (ledger.here(series), ledger.missing(series)) == (1, uids([2]))
        states = {uid: at is not None for _, uid, at in ledger.instances(transfer)}
        assert states == {"1.2.3.4.1": True, "1.2.3.4.2": False}

    @pytest.mark.parametrize(
        ("uid", "count", "here", "state"),
        [
            (SERIES, 2, 2, "complete"),
            (SERIES, 3, 2, "open"),
            (SERIES, None, 2, "open"),
            ("", 3, 3, "complete"),
            ("", 4, 3, "open"),
            ("1.2.9", 0, 0, "complete"),
        ],
    )
    def test_where_only_a_number_is_known(
        self,
        archive: Archive,
        ledger: Ledger,
        uid: str,
        count: int | None,
        here: int,
        state: str,
    ) -> None:
        store(archive, 1)
        store(archive, 2)
        store(archive, 3, SeriesInstanceUID="1.2.3.5")
        transfer = begin(ledger)
        series = expect(ledger, transfer, find(ledger, transfer), None, uid, count=count)
        assert (series.here_before, series.state) == (here, state)
        assert ledger.missing(series) == {}

    def test_they_are_taken_study_by_study_where_that_is_wanted(self, ledger: Ledger) -> None:
        transfer = begin(ledger, {"PatientID": "1"}, {"PatientID": "2"})
        one, other = find(ledger, transfer, "1.1"), find(ledger, transfer, "1.2")
        for study in (one, other):
            expect(ledger, transfer, study, [1], f"{study.study_instance_uid}.1")
        assert ledger.next_series(transfer, planned=True) is None, "it may get more"
        ledger.close_study(other, "planned")
        taken = ledger.next_series(transfer, planned=True)
        assert taken and taken.series_instance_uid == "1.2.1"
        ledger.close_series(taken, "open", received=0, attempts=0)
        taken = ledger.next_series(transfer, other.pk)
        assert taken and taken.series_instance_uid == "1.2.1" and taken.state == "busy"
        assert ledger.next_series(transfer, other.pk) is None
        taken = ledger.next_series(transfer)
        assert taken and taken.series_instance_uid == "1.1.1"

    def test_one_that_is_open_again_is_taken_again(self, ledger: Ledger) -> None:
        transfer = plan(ledger, [1, 2])
        series = ledger.next_series(transfer)
        assert series
        ledger.close_series(series, "open", received=1, attempts=1, reason="The PACS is busy.")
        again = ledger.next_series(transfer)
        assert again and (again.attempts, again.received) == (1, 1)
        assert again.reason == "The PACS is busy."
        assert ledger.series_of(series.pk) == again

    def test_what_nobody_expected(self, archive: Archive, ledger: Ledger) -> None:
        store(archive, 7)
        transfer = plan(ledger, [1])
        series = next(ledger.series(transfer))
        store(archive, 1)
        store(archive, 8)
        assert ledger.unexpected(series, transfer.began_at) == ["1.2.3.4.8"]
        assert ledger.unexpected(next(ledger.series(plan(ledger, None))), "") == []

    def test_is_an_instance_expected(self, ledger: Ledger) -> None:
        transfer = plan(ledger, [1])
        counted = plan(ledger, None, count=3)
        whole = begin(ledger)
        expect(ledger, whole, find(ledger, whole), None, "")
        for one, study, series, instance, expected in [
            (transfer, STUDY, SERIES, "1.2.3.4.1", True),
            (transfer, STUDY, SERIES, "1.2.3.4.2", False),
            (transfer, "1.9", SERIES, "1.2.3.4.1", False),
            (counted, STUDY, SERIES, "1.2.3.4.2", True),
            (counted, STUDY, "1.9", "1.2.3.4.2", False),
            (whole, STUDY, "1.9", "1.9.1", True),
        ]:
            assert ledger.is_expected(one, study, series, instance) is expected

    def test_requests(self, ledger: Ledger) -> None:
        transfer = plan(ledger, [1, 2])
        series = next(ledger.series(transfer))
        first = ledger.note_request(transfer, series, "move", "series", 2)
        second = ledger.note_request(transfer, series, "get", "image", None)
        ended = Request(seconds=1.5, status=0xB000, completed=1, failed=1, warning=0, reason="why")
        ledger.close_request(first, ended)
        one, other = ledger.requests(series)
        assert (one.method, one.level, one.asked, one.status) == ("move", "series", 2, 0xB000)
        assert (one.seconds, one.completed, one.failed, one.reason) == (1.5, 1, 1, "why")
        assert (other.method, other.level, other.asked, other.seconds) == (
            "get",
            "image",
            None,
            None,
        )
        assert first != second and one.sent_at.endswith("Z")

    def test_extras_are_noted_once(self, ledger: Ledger) -> None:
        transfer = begin(ledger)
        for _ in range(2):
            ledger.add_extra(transfer, STUDY, SERIES, "1.2.3.4.9")
        assert ledger.extras(transfer) == ["1.2.3.4.9"]
        assert ledger.extras(begin(ledger)) == []


class TestTotals:
    def test_of_a_transfer(self, archive: Archive, ledger: Ledger) -> None:
        store(archive, 1)
        transfer = begin(ledger, {"PatientID": "1"}, {"PatientID": "2"})
        study = find(ledger, transfer)
        expect(ledger, transfer, study, [1, 2])
        expect(ledger, transfer, study, [1], "1.2.3.5")
        expect(ledger, transfer, study, None, "1.2.3.6")
        assert ledger.totals(transfer) == Totals(3, 1, 3, 2, 2, 1, to_plan=2)
        ledger.close_study(study, "planned")
        assert ledger.totals(transfer).to_plan == 1

    def test_nothing_is_planned(self, ledger: Ledger) -> None:
        assert ledger.totals(begin(ledger)) == Totals(0, 0, 0, 0, 0, 0, 1)

    def test_a_series_that_two_queries_found_counts_once(
        self, archive: Archive, ledger: Ledger
    ) -> None:
        transfer = begin(ledger, {"PatientID": "4711"}, {"AccessionNumber": "A1"})
        for numbers in ([1, 2, 3], None):
            expect(ledger, transfer, find(ledger, transfer), numbers)
        assert ledger.totals(transfer) == Totals(1, 0, 3, 0, 0, 0, 2)
        store(archive, 1)
        expect(ledger, transfer, next(ledger.studies(transfer)), [1, 2, 3])
        assert ledger.totals(transfer).received == 1

    def test_of_the_two_the_one_that_got_more(self, archive: Archive, ledger: Ledger) -> None:
        for order in (("incomplete", "complete"), ("complete", "incomplete")):
            transfer = begin(ledger, {"PatientID": "4711"}, {"AccessionNumber": "A1"})
            for state in order:
                series = expect(ledger, transfer, find(ledger, transfer), [1, 2])
                received = 2 if state == "complete" else 1
                ledger.close_series(series, state, received=received, attempts=1)
            totals = ledger.totals(transfer)
            assert (totals.series, totals.complete, totals.received) == (1, 1, 2)

    def test_what_is_under_way_counts_as_it_comes(self, archive: Archive, ledger: Ledger) -> None:
        transfer = plan(ledger, [1, 2, 3])
        ledger.next_series(transfer)
        for number in (1, 2):
            store(archive, number)
            assert ledger.totals(transfer).received == number

    def test_more_of_one_series_makes_up_for_nothing(
        self, archive: Archive, ledger: Ledger
    ) -> None:
        transfer = begin(ledger)
        study = find(ledger, transfer)
        for number in (1, 2, 3):
            store(archive, number)
        expect(ledger, transfer, study, None, count=1)
        expect(ledger, transfer, study, None, "1.2.3.5", count=2)
        expect(ledger, transfer, study, None, "")
        totals = ledger.totals(transfer)
        assert (totals.expected, totals.received, totals.here_before) == (3, 1, 1)
        assert (totals.uncounted, totals.received_uncounted) == (1, 3)


KILLED = """
import os, sys
from pypx.archive import Archive
from tests.archive.helpers import store
from tests.archive.ledgers import begin, expect, find
archive = Archive(sys.argv[1], durability="none")
ledger = archive.ledger
transfer = begin(ledger, {"PatientID": "1"}, {"PatientID": "2"})
study = find(ledger, transfer)
for number in range(3):
    expect(ledger, transfer, study, [number], f"1.2.3.{number}")
ledger.next_query(transfer)
ledger.next_series(transfer)
store(archive, 1)
ledger.close_series(ledger.next_series(transfer), "complete", received=1, attempts=1)
os.kill(os.getpid(), 9)
"""


def test_after_a_kill_the_same_command_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    subprocess.run([sys.executable, "-c", KILLED, str(root)], check=False, timeout=60)
    with Archive(root, durability="none") as archive:
        ledger = archive.ledger
        transfer = ledger.unfinished("f")
        assert transfer and transfer.state == "running"
        states = [one.state for one in ledger.series(transfer)]
        assert states == ["busy", "complete", "open"]
        assert ledger.next_query(transfer) is None and ledger.next_study(transfer) is None
        ledger.resume(transfer)
        assert [one.state for one in ledger.series(transfer)] == ["open", "complete", "open"]
        assert [one.state for one in ledger.queries(transfer)] == ["found", "open"]
        query, study = ledger.next_query(transfer), ledger.next_study(transfer)
        assert query and query.number == 2
        assert study and study.study_instance_uid == STUDY, "its series were not all noted down"
        assert [bool(ledger.next_series(transfer)) for _ in range(3)] == [True, True, False]


def test_a_resume_asks_again_for_what_was_given_up(ledger: Ledger) -> None:
    transfer = plan(ledger, [1, 2], state="incomplete", reason="Gone.")
    ledger.resume(transfer)
    series = ledger.next_series(transfer)
    assert series and (series.attempts, series.reason) == (0, "")


def test_a_resume_asks_again_for_what_is_here_no_more(archive: Archive, ledger: Ledger) -> None:
    paths = [Path(store(archive, number).path) for number in (1, 2)]
    transfer = plan(ledger, [1, 2], state="complete")
    ledger.close_query(next(ledger.queries(transfer)), "complete")
    ledger.resume(transfer)
    assert [one.state for one in ledger.queries(transfer)] == ["complete"]
    assert ledger.next_series(transfer) is None
    paths[0].unlink()
    archive.rebuild()
    ledger.resume(transfer)
    assert [one.state for one in ledger.queries(transfer)] == ["found"]
    series = ledger.next_series(transfer)
    assert series and len(ledger.missing(series)) == 1


def test_what_cannot_be_asked_for_is_not_asked_for(ledger: Ledger) -> None:
    transfer = ledger.begin("hospital", {}, "f")
    for _ in range(2):  # a killed process notes all rows down once more
        ledger.refuse_query(transfer, 2, {"PatientID": "1"}, "It has no heading.")
        ledger.add_queries(transfer, [(3, {"PatientID": "2"})])
        ledger.resume(transfer)
        first, second = ledger.queries(transfer)
        assert (first.state, first.reason) == ("malformed", "It has no heading.")
        assert second.state == "open"
    query = ledger.next_query(transfer)
    assert query and query.number == 3
    assert ledger.next_query(transfer) is None
    assert ledger.standing(first).studies == 0


TAKER = """
import sys
from pypx.archive import Archive
with Archive(sys.argv[1], durability="none") as archive:
    transfer = archive.ledger.find(sys.argv[2])
    print("ready", flush=True)
    sys.stdin.readline()
    while series := archive.ledger.next_series(transfer):
        print(series.pk)
"""


def test_threads_and_processes_never_take_the_same(archive: Archive, ledger: Ledger) -> None:
    transfer = begin(ledger)
    study = find(ledger, transfer)
    for number in range(120):
        expect(ledger, transfer, study, [1], f"1.2.3.{number}")
    command = [sys.executable, "-c", TAKER, str(archive.root), transfer.id]
    taken: list[int] = []

    def take() -> None:
        while series := ledger.next_series(transfer):
            taken.append(series.pk)

    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin and other.stdout and other.stdout.readline() == "ready\n"
        threads = [threading.Thread(target=take) for _ in range(3)]
        other.stdin.write("\n")
        other.stdin.flush()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        taken += map(int, other.stdout.read().split())
    assert len(taken) == len(set(taken)) == 120


def test_transfers_do_not_see_each_other(ledger: Ledger) -> None:
    one, other = plan(ledger, [1, 2]), plan(ledger, [3], fingerprint="g")
    assert [list(ledger.missing(series)) for series in ledger.series(other)] == [["1.2.3.4.3"]]
    taken = ledger.next_series(other)
    assert taken and ledger.next_series(other) is None
    assert ledger.waiting(one) == 1 and ledger.waiting(other) == 0
    ledger.close_series(taken, "complete", received=1, attempts=1)
    ledger.resume(one)
    assert [series.state for series in ledger.series(other)] == ["complete"]
    assert (ledger.totals(one).expected, ledger.totals(other).expected) == (2, 1)


def test_two_archives_have_ledgers_of_their_own(tmp_path: Path, ledger: Ledger) -> None:
    transfer = plan(ledger, [1])
    with Archive(tmp_path / "other", durability="none") as other:
        assert other.ledger.transfers() == []
        with pytest.raises(IndexUnavailableError, match="does not know the transfer"):
            other.ledger.next_series(transfer)
        plan(other.ledger, [1, 2, 3])
    assert ledger.totals(transfer).expected == 1


@pytest.mark.parametrize("others", [0, 1], ids=["empty", "with a transfer of the same number"])
def test_an_index_made_again_while_a_transfer_runs(
    archive: Archive, ledger: Ledger, others: int
) -> None:
    store(archive, 1)
    transfer = begin(ledger, {"PatientID": "1"}, {"PatientID": "2"})
    study = find(ledger, transfer)
    series = expect(ledger, transfer, study, [1, 2])
    query = ledger.next_query(transfer)
    assert query
    lose_index(archive)
    if others:
        other: Transfer = begin(ledger, {"PatientID": "8"}, {"PatientID": "9"}, fingerprint="g")
        expect(ledger, other, find(ledger, other, "1.9"), [1, 2], "1.9.1")
        ledger.next_query(other)
        before = state_of(ledger, other)
    for write in (
        lambda: ledger.set_state(transfer, "complete"),
        lambda: ledger.note(transfer, "A sentence."),
        lambda: ledger.resume(transfer),
        lambda: ledger.add_queries(transfer, [(5, {"PatientID": "5"})]),
        lambda: ledger.next_query(transfer),
        lambda: ledger.close_query(query, "found"),
        lambda: ledger.add_studies(transfer, query, [study]),
        lambda: ledger.next_study(transfer),
        lambda: ledger.close_study(study, "planned"),
        lambda: ledger.add_series(transfer, study, series_of(), {}),
        lambda: ledger.next_series(transfer),
        lambda: ledger.close_series(series, "complete", received=2, attempts=1),
        lambda: ledger.note_request(transfer, series, "move", "series", 1),
        lambda: ledger.add_extra(transfer, STUDY, SERIES, "1.9"),
        lambda: ledger.totals(transfer),
        lambda: ledger.waiting(transfer),
        lambda: ledger.settled_queries(transfer),
        lambda: ledger.extras(transfer),
        lambda: list(ledger.queries(transfer)),
        lambda: list(ledger.studies(transfer)),
        lambda: list(ledger.series(transfer)),
        lambda: list(ledger.instances(transfer)),
    ):
        with pytest.raises(IndexUnavailableError, match="does not know the transfer") as caught:
            write()
        assert "The same command again" in caught.value.hint
    assert ledger.find(transfer.id) is None and ledger.unfinished("f") is None
    if others:
        assert state_of(ledger, other) == before


def lose_index(archive: Archive) -> None:
    for path in (archive.root / ".pypx").glob("index.sqlite*"):
        path.unlink()
    archive.rebuild()
    assert archive.ledger.transfers() == []


def state_of(ledger: Ledger, transfer: Transfer) -> object:
    return (
        ledger.find(transfer.id),
        list(ledger.queries(transfer)),
        list(ledger.studies(transfer)),
        list(ledger.series(transfer)),
        list(ledger.instances(transfer)),
        ledger.totals(transfer),
    )


def test_a_rebuild_of_a_good_index_keeps_the_ledger(archive: Archive, ledger: Ledger) -> None:
    store(archive, 1)
    transfer = plan(ledger, [1, 2])
    before = state_of(ledger, transfer)
    archive.rebuild()
    assert state_of(ledger, transfer) == before


@pytest.mark.parametrize("version", range(1, schema.VERSION))
def test_an_index_of_before_gets_a_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    path = tmp_path / "index.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr(schema, "_MIGRATIONS", schema._MIGRATIONS[:version])
        patch.setattr(schema, "VERSION", version)
        patch.setattr(schema, "TABLES", schema.TABLES[:4])
        connection = sqlite3.connect(path, isolation_level=None)
        schema.migrate(connection)
        assert schema.version_of(connection) == version
        connection.close()
    index = SqliteIndex(path, durable=False)
    index.add([entry("1")])
    ledger = Ledger(index)
    transfer = begin(ledger)
    series = ledger.add_series(
        transfer,
        find(ledger, transfer),
        series_of(basis="instances", expected=1),
        {"1.2.1.1.1": CT_IMAGE},
    )
    assert series.state == "complete"
    index.close()
    with sqlite3.connect(path) as connection:
        assert schema.version_of(connection) == schema.VERSION
    connection.close()
