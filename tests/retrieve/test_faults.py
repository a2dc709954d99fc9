"""A job against each way to misbehave: the right set or the right verdict, no false success."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from pypx.archive import Archive
from pypx.archive.transfers import LedgerSeries
from pypx.errors import ConnectError
from pypx.pacs import FAULTS
from pypx.pacs.samples import SAMPLE_INSTANCES
from pypx.retrieve.asking import Asker, Verdict
from pypx.retrieve.run import Retrieval
from tests.retrieve.conftest import Done, Run

CT = {"AccessionNumber": "A1001"}
CT_IMAGES = 12

# What each fault does to a job is a test below, or one of these, after which all is well.
HARMLESS = {
    "late-stores",
    "send-twice",
    "association-per-object",
    "no-suboperation-counts",
    "answer-twice",
    "no-counts",
    "wrong-character-set",
    "no-character-set",
    "refuse-image-level",
    "refuse-series-level",
    "drop-objects",
    "cut-object",
    "unknown-destination",
    "reject-over-limit",
    "ignore-cancel",
    "empty-success",
}
TESTED = {
    "stall",
    "pending-for-ever",
    "cap-silently",
    "cap-with-a700",
    "ignore-modalities",
    "reject-aet",
}


def uids(archive: Archive, **keys: str) -> set[str]:
    return {str(row["SOPInstanceUID"]) for row in archive.find("image", keys)}


def is_whole(found: Done, wanted: set[str]) -> None:
    assert found.state == "complete", (found.error, found.queries, found.series)
    assert found.stored == wanted
    assert found.totals.received == found.totals.expected == len(wanted)
    assert not found.extras


def test_each_fault_is_tested() -> None:
    assert {kind.name for kind in FAULTS} == HARMLESS | TESTED
    assert not HARMLESS & TESTED


@pytest.mark.parametrize("method", ["auto", "move", "get"])
@pytest.mark.parametrize("fault", sorted(HARMLESS))
def test_what_can_be_mended_is_mended(run: Run, samples: Archive, fault: str, method: str) -> None:
    if (fault, method) == ("unknown-destination", "move"):
        pytest.skip("there is no other way: see below")
    given = {"empty-success": "empty-success=1", "refuse-series-level": fault}.get(fault, fault)
    is_whole(run(given, method=method), uids(samples))


@pytest.mark.parametrize("by", ["study", "series", "image"])
def test_dropped_objects_come_with_the_next_request(run: Run, samples: Archive, by: str) -> None:
    found = run("drop-objects=3", by=by)
    is_whole(found, uids(samples))
    assert sum(request.asked or 0 for request in found.requests) < 2 * SAMPLE_INSTANCES
    assert {request.level for request in found.requests if request.reason} <= {
        by,
        "series",
        "image",
    }


@pytest.mark.parametrize("by", ["study", "series", "image"])
def test_nothing_is_sent_twice(run: Run, samples: Archive, by: str) -> None:
    """Neither while threads plan and others ask, nor because two of them ask for one study."""
    found = run(by=by, associations=4)
    is_whole(found, uids(samples))
    assert sum(request.completed or 0 for request in found.requests) == SAMPLE_INSTANCES


def test_two_faults_that_hide_each_other(run: Run, samples: Archive) -> None:
    is_whole(run("send-twice", "drop-objects=2"), uids(samples))


def test_dropped_objects_without_numbers(run: Run, samples: Archive) -> None:
    is_whole(run("drop-objects=3", "no-suboperation-counts"), uids(samples))


def test_each_object_dropped_is_incomplete_and_says_what_is_missing(
    run: Run, here: Archive
) -> None:
    found = run("drop-objects=1", keys=CT, retries=1)
    assert found.state == "incomplete"
    assert not found.stored
    [series] = found.series
    assert (series.expected, series.received, series.state) == (CT_IMAGES, 0, "incomplete")
    assert "12 of 12 instances did not come" in series.reason
    assert len(here.ledger.missing(series)) == CT_IMAGES
    assert {request.method for request in found.requests} == {"move", "get"}


def test_with_counts_only_it_is_known_that_some_are_missing(run: Run) -> None:
    found = run("refuse-image-level", "drop-objects=3", keys=CT, retries=1)
    assert found.state == "incomplete"
    [series] = found.series
    assert (series.basis, series.expected, series.received) == ("count", CT_IMAGES, 8)


@pytest.mark.parametrize("level", ["image", "series"])
def test_without_counts_it_is_said_that_nobody_knows(run: Run, level: str) -> None:
    found = run(f"refuse-{level}-level", "no-counts", keys=CT)
    assert found.state == "unknown"
    assert len(found.stored) == CT_IMAGES
    [series] = found.series
    assert series.state == "unknown"
    assert "does not say how many instances" in series.reason
    assert [query.state for query in found.queries] == ["unknown"]


def test_an_unknown_destination_is_told_with_the_entry(run: Run, port: int) -> None:
    found = run("unknown-destination", keys=CT)
    assert {request.method for request in found.requests} == {"move", "get"}
    assert "A801" in found.notes
    for entry in (
        f'"DicomModalities": {{"pypx": ["PYPX", "127.0.0.1", {port}]}}',
        f"pypx = (PYPX, 127.0.0.1, {port})",
        '"dicomAETitle": "PYPX"',
    ):
        assert entry in found.notes


def test_an_unknown_destination_and_no_other_way(run: Run) -> None:
    found = run("unknown-destination", method="move")
    assert found.state == "failed"
    assert found.error is not None
    assert "A801" in found.error.message
    assert len(found.requests) <= 2, "each series would be told the same"
    assert all(series.state == "open" for series in found.series)


@pytest.mark.parametrize("fault", ["stall", "pending-for-ever"])
def test_a_pacs_that_hangs_is_given_up(run: Run, fault: str) -> None:
    found = run(fault, keys=CT, retries=1)
    assert found.state == "incomplete"
    assert "0.5 s" in found.series[0].reason, "it says how long it waited"
    assert not found.stored


def test_a_pacs_that_sends_nothing_is_not_asked_for_ever(run: Run) -> None:
    found = run("empty-success=0", queries=[(0, {"PatientID": "DEMO-*"})], retries=0)
    assert found.state in ("failed", "incomplete")
    assert len(found.requests) <= 10
    assert "sent nothing" in found.series[0].reason


def test_overload_is_answered_with_fewer_requests(run: Run, samples: Archive) -> None:
    found = run("empty-success=1", associations=4)
    is_whole(found, uids(samples))


def test_a_rejection_for_good_ends_it_at_once(run: Run) -> None:
    found = run("reject-aet")
    assert found.state == "failed"
    assert found.error is not None
    assert found.error.exit_code == 3
    assert not found.requests


@pytest.mark.parametrize("fault", ["cap-silently=1", "cap-silently=2", "cap-with-a700=2"])
def test_a_limit_of_matches_is_noticed(run: Run, samples: Archive, fault: str) -> None:
    """Images are more than any limit here, so this is what is known at best: how many."""
    found = run(fault, keys={"StudyDate": "20240101-20241231"}, retries=1)
    studies = {series.study_instance_uid for series in found.series}
    assert studies == {str(row["StudyInstanceUID"]) for row in samples.find("study")}
    if found.state == "complete":
        assert found.stored == uids(samples)
    else:
        assert found.state in ("incomplete", "unknown")


def test_a_key_that_is_ignored_is_filtered_here(run: Run, samples: Archive) -> None:
    found = run("ignore-modalities", keys={"ModalitiesInStudy": "MR"})
    assert found.state == "complete"
    mr = {str(row["StudyInstanceUID"]) for row in samples.find("series", {"Modality": "MR"})}
    assert {series.study_instance_uid for series in found.series} == mr
    assert "ModalitiesInStudy" in found.notes


@pytest.mark.parametrize("fault", ["ignore-cancel", "pending-for-ever", "stall"])
def test_it_can_be_cancelled(run: Run, fault: str) -> None:
    begun = threading.Event()

    def cancel(job: Retrieval) -> None:
        for _ in range(400):
            if job.snapshot().flights or job.state != "running":
                begun.set()
                break
            if job.wait(0.01):
                break
        job.cancel()

    found = run(fault, watch=cancel)
    assert found.state in ("cancelled", "complete" if fault == "ignore-cancel" else "cancelled")
    assert found.transfer.state == found.state


def test_a_study_whose_request_could_not_be_made_is_asked_for_again(
    run: Run, samples: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, outages = Asker.ask, [ConnectError("The PACS is away for a moment.")]

    def sometimes(self: Asker, series: LedgerSeries, together: Sequence[LedgerSeries]) -> Verdict:
        if together and outages:
            raise outages.pop()
        return ask(self, series, together)

    monkeypatch.setattr(Asker, "ask", sometimes)
    is_whole(run(by="study"), uids(samples))
    assert not outages
