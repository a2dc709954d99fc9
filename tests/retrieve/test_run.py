"""A job of several threads: who asks for what when, how it ends, and that it ends."""

from __future__ import annotations

import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pypx.archive import Archive
from pypx.archive.ledger import Ledger
from pypx.errors import (
    ConfigError,
    ConnectError,
    IndexUnavailableError,
    NetworkError,
    PeerTimeoutError,
    PypxError,
    StatusError,
)
from pypx.net.connection import Timeouts
from pypx.pacs.samples import SAMPLE_INSTANCES
from pypx.retrieve.planning import Planner
from pypx.retrieve.run import Retrieval
from tests.retrieve.conftest import EVERYTHING, Run
from tests.retrieve.jobs import PER_SERIES, STUDY, Act, Pacs, planned, retrieval

NOTHING = Act(sends=frozenset(), counts=False)


def away() -> PypxError:
    return ConnectError("nobody listens")


def finish(job: Retrieval, seconds: float = 20) -> None:
    job.start()
    assert job.wait(seconds)


def stored(archive: Archive) -> set[str]:
    return {str(row["SOPInstanceUID"]) for row in archive.find("image")}


# What is asked for at once


@pytest.mark.parametrize("by", ["study", "series", "image"])
def test_what_two_rows_find_is_fetched_once(here: Archive, by: str) -> None:
    pacs = Pacs(here)
    pacs.on_move = lambda: threading.Event().wait(0.01)
    transfer = planned(here.ledger, rows=6)
    job = retrieval(here, transfer, pacs, associations=4, by=by)
    finish(job)
    assert job.state == "complete"
    asked = Counter(uid for one in pacs.asked for uid in one)
    assert set(asked) == stored(here)
    assert set(asked.values()) == {1}


def test_what_two_rows_find_is_fetched_once_from_a_pacs(run: Run) -> None:
    found = run("late-stores", queries=[(n, EVERYTHING) for n in range(1, 5)], associations=4)
    assert found.state == "complete"
    assert sum(request.asked or 0 for request in found.requests) == SAMPLE_INSTANCES


def test_all_of_a_study_is_asked_for_at_once_by_however_many_threads(run: Run) -> None:
    found = run(
        by="study", associations=4, keys={"PatientID": "DEMO-002"}, timeouts=Timeouts(), settle=20.0
    )
    assert found.state == "complete"
    assert [(one.level, one.asked) for one in found.requests] == [("study", 14)]


def test_a_study_whose_request_never_went_out_is_asked_for_again(here: Archive) -> None:
    pacs = Pacs(here, [Act(error=away, refuses=True)])
    job = retrieval(here, planned(here.ledger), pacs, by="study", associations=1)
    job._reached = True  # it was there once
    finish(job)
    assert job.state == "complete"
    assert pacs.levels == ["study", "study"]


def test_a_study_that_comes_in_part_is_mended_series_by_series(here: Archive) -> None:
    pacs = Pacs(here, [Act(sends=frozenset({0, 1, 2, 3}))])
    job = retrieval(here, planned(here.ledger), pacs, by="study", associations=4)
    finish(job)
    assert job.state == "complete"
    assert Counter(uid for one in pacs.asked for uid in one).most_common(1)[0][1] <= 2
    assert pacs.asked[1] == [f"{STUDY}.5.1", f"{STUDY}.5.2"]


def test_one_association_is_never_more(run: Run) -> None:
    for method in ("move", "get"):
        found = run("reject-over-limit=1", associations=1, method=method)
        assert found.state == "complete"
        assert not [text for text in found.said if "waits" in text], method


# How it ends


def test_a_job_that_was_killed_before_its_last_word_is_complete(run: Run, here: Archive) -> None:
    found = run()
    for query in found.queries:
        here.ledger.close_query(query, "found")
    here.ledger.set_state(found.transfer, "running")
    again = run(transfer=found.transfer)
    assert again.state == "complete"
    assert len(again.requests) == len(found.requests)


def test_what_cannot_even_be_begun_is_an_error(here: Archive) -> None:
    job = retrieval(here, planned(here.ledger), Pacs(here))

    def refuse(number: int) -> Any:
        raise ConfigError("The certificate cannot be read.")

    job._make_client = refuse
    finish(job)
    assert job.state == "failed"
    assert job.error is not None
    assert "certificate" in job.error.message


@pytest.mark.parametrize("method", ["next_series", "settled_queries", "close_series"])
def test_an_index_that_goes_away_ends_the_job_and_not_the_program(
    here: Archive, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    transfer = planned(here.ledger)
    real = getattr(Ledger, method)
    calls: list[object] = []

    def fail(*args: Any, **more: Any) -> Any:
        calls.append(args)
        if len(calls) > 1:
            raise IndexUnavailableError("locked")
        return real(*args, **more)

    monkeypatch.setattr(Ledger, method, fail)
    job = retrieval(here, transfer, Pacs(here))
    finish(job)
    assert isinstance(job.error, IndexUnavailableError)
    assert job.state == "failed"


def test_a_defect_of_ours_is_raised_by_who_waits(here: Archive) -> None:
    pacs = Pacs(here)

    def defect() -> None:
        raise ZeroDivisionError

    pacs.on_move = defect
    job = retrieval(here, planned(here.ledger), pacs, associations=3)
    job.start()
    with pytest.raises(ZeroDivisionError):
        job.wait(20)
    assert not any(thread.is_alive() for thread in job._threads)


def test_a_snapshot_needs_no_index(here: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    job = retrieval(here, planned(here.ledger), Pacs(here))
    assert job.snapshot().totals.expected == 2 * PER_SERIES

    def fail(transfer: object) -> Any:
        raise IndexUnavailableError("locked")

    monkeypatch.setattr(job._ledger, "totals", fail)
    job._next_sum = 0.0
    assert job.snapshot().totals.expected == 2 * PER_SERIES


# Cancelling


def test_a_request_that_goes_out_while_the_job_is_cancelled_is_cancelled(here: Archive) -> None:
    pacs = Pacs(here, rest=Act(hangs=True))
    job = retrieval(here, planned(here.ledger), pacs, associations=1)
    pacs.on_move = job.cancel
    finish(job, 5)
    assert job.state == "cancelled"


def test_looking_for_what_there_is_can_be_cancelled(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Retrieval] = []
    real = Planner._add_series

    def cancel(self: Planner, *args: Any) -> None:
        while not jobs:
            threading.Event().wait(0.001)
        jobs[0].cancel()
        real(self, *args)

    monkeypatch.setattr(Planner, "_add_series", cancel)
    found = run(keys={"PatientID": "DEMO-002"}, watch=jobs.append, associations=1)
    assert found.state == "cancelled"
    assert len(found.series) == 1, "the second one was not asked for"


# Waiting


def test_nobody_turns_round_and_round_while_no_more_requests_are_allowed(here: Archive) -> None:
    job = retrieval(here, planned(here.ledger), Pacs(here), associations=4)
    turn = job._turns.next()
    assert turn is not None
    job._turns.again(turn.pk, 0.0)
    assert job._until_next(0.0) == 0.0
    job._shared.load.allowed = job._active = 1
    assert job._until_next(0.0) > 0.1


def test_a_series_that_waits_for_its_next_attempt_keeps_the_job_alive(here: Archive) -> None:
    pacs = Pacs(here, [NOTHING, NOTHING])
    job = retrieval(here, planned(here.ledger, number=1), pacs, backoff=0.1, associations=3)
    finish(job)
    assert job.state == "complete"


# Whatever a PACS does

SENT = st.frozensets(st.integers(0, 2 * PER_SERIES - 1))
ERRORS = st.sampled_from(
    [
        None,
        None,
        lambda: StatusError("out of resources", status=0xA700),
        lambda: StatusError("unable to process", status=0xC000),
        lambda: PeerTimeoutError("silent", phase="response"),
        lambda: NetworkError("lost"),
    ]
)
ACTS = st.one_of(
    st.builds(Act, SENT, SENT, *(st.booleans(),) * 2, st.sampled_from([0, 0xB000]), error=ERRORS),
    st.builds(Act, sends=SENT, counts=st.just(False), error=ERRORS),
    st.just(Act(error=away, refuses=True)),
)


@given(
    acts=st.lists(ACTS, max_size=8),
    rest=st.sampled_from([Act(), NOTHING]),
    by=st.sampled_from(["study", "series", "image"]),
    associations=st.integers(1, 3),
    rows=st.integers(1, 2),
)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_complete_is_said_only_of_what_is(
    acts: list[Act], rest: Act, by: str, associations: int, rows: int
) -> None:
    with (
        tempfile.TemporaryDirectory() as text,
        Archive(Path(text), durability="none") as archive,
    ):
        pacs = Pacs(archive, list(acts), rest)
        transfer = planned(archive.ledger, rows)
        job = retrieval(archive, transfer, pacs, by=by, associations=associations, retries=2)
        try:
            finish(job)
        finally:
            pacs.settle()
        expected = {f"{STUDY}.{s}.{n}" for s in (4, 5) for n in range(PER_SERIES)}
        if job.state == "complete":
            assert stored(archive) >= expected
        else:
            assert job.state in ("incomplete", "failed")
            assert job.error is not None or any(
                one.reason for one in archive.ledger.series(transfer)
            )
        if not acts and rest == Act():
            assert job.state == "complete"
