"""A PACS that goes away in the middle of px retrieve, and comes back or does not.

The job goes on by itself, or ends and says so; at the end the set is complete, and no instance
was sent again that had come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from pypx.archive import Archive
from tests.peers.orthanc import Orthanc
from tests.peers.proxy import Network
from tests.peers.retrieving import PxRetrieve, Retrieved, ended, store, write_cohort

STUDIES, IMAGES, PIXELS = 8, 30, 20_000
EVERYTHING = ("-k", "StudyDate=20240101-20241231", "--max-rate", "2M")
SOME = 60  # files after which it happens

pytestmark = pytest.mark.timeout(90)


class Cohort(NamedTuple):
    """An Orthanc, and what it holds."""

    peer: Orthanc
    held: dict[str, bytes]


@pytest.fixture(scope="module")
def cohort(orthanc: Callable[..., Orthanc], tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("cohort")
    held = write_cohort(folder, STUDIES, IMAGES, PIXELS)
    peer = orthanc(config={"DicomScuTimeout": 2, "DicomModalitiesInDatabase": True})
    store(peer, folder / "cohort")
    return Cohort(peer, held)


@pytest.fixture
def pacs(cohort: Cohort) -> Iterator[Cohort]:
    yield cohort
    if cohort.peer.pid is None:
        cohort.peer.start()


@pytest.fixture
def retrieve(tmp_path: Path, engine: str) -> PxRetrieve:
    return PxRetrieve(tmp_path, "settle = 1.0\n", engine)


def is_whole(retrieve: PxRetrieve, found: Retrieved, pacs: Cohort) -> None:
    """The set is complete, byte for byte, and what had come was not sent again."""
    assert found.code == 0, found
    assert found.document["status"] == "success"
    assert retrieve.stored() == set(pacs.held)
    assert retrieve.contents() == pacs.held
    assert sent(retrieve) <= len(pacs.held)


def sent(retrieve: PxRetrieve) -> int:
    """Count the sub-operations that Orthanc called completed, of all jobs."""
    with Archive(retrieve.root) as archive:
        ledger = archive.ledger
        return sum(
            request.completed or 0
            for transfer in ledger.transfers()
            for series in ledger.series(transfer)
            for request in ledger.requests(series)
        )


@pytest.mark.parametrize("method", ["move", "get"])
def test_orthanc_is_killed_and_started_again(retrieve, pacs, method):
    pacs.peer.add_modality("PYPX", retrieve.port)
    with retrieve.running(pacs.peer.address, *EVERYTHING, "--method", method) as process:
        retrieve.wait_for(SOME)
        pacs.peer.kill()
        time.sleep(1.5)
        assert process.poll() is None, "it waits"
        before = retrieve.count()
        pacs.peer.start()
        found = ended(process)
    assert SOME <= before < len(pacs.held)
    assert "The job waits for it." in found.stderr
    is_whole(retrieve, found, pacs)


def test_orthanc_is_killed_while_the_job_plans(retrieve, pacs):
    """It waits if it had begun; an Orthanc that was never there ends it at once."""
    pacs.peer.add_modality("PYPX", retrieve.port)
    with retrieve.running(pacs.peer.address, *EVERYTHING) as process:
        while not (retrieve.root / ".pypx/index.sqlite").exists():
            time.sleep(0.005)
        time.sleep(0.08)
        pacs.peer.kill()
        time.sleep(0.5)
        pacs.peer.start()
        found = ended(process)
    if found.code == 3:
        assert not retrieve.count()
        found = retrieve(pacs.peer.address, *EVERYTHING)
    is_whole(retrieve, found, pacs)


@pytest.mark.parametrize("how", ["resume", "again"])
def test_orthanc_is_killed_and_not_started_until_the_job_is_resumed(retrieve, pacs, how):
    pacs.peer.add_modality("PYPX", retrieve.port)
    arguments = (pacs.peer.address, *EVERYTHING)
    with retrieve.running(*arguments, "--wait", "2") as process:
        retrieve.wait_for(SOME)
        pacs.peer.kill()
        killed = time.monotonic()
        found = ended(process)
    assert 2 < time.monotonic() - killed < 15
    assert found.code == 3, found
    document = found.document
    assert document["status"] == "failure"
    assert document["error"]["hint"]
    assert SOME <= document["received"] < len(pacs.held)
    with Archive(retrieve.root) as archive:
        assert [one.state for one in archive.ledger.transfers()] == ["failed"]
    pacs.peer.start()
    again = ("--resume", document["id"]) if how == "resume" else arguments
    found = retrieve(*again)
    is_whole(retrieve, found, pacs)
    assert found.document["id"] == document["id"]


@pytest.mark.parametrize("method", ["move", "get"])
def test_the_network_is_cut_and_mended(retrieve, pacs, method):
    """Connections hang then, and are given up after --timeout."""
    with ExitStack() as stack:
        there = stack.enter_context(Network(pacs.peer.port))
        back = stack.enter_context(Network(retrieve.port))
        pacs.peer.add_modality("PYPX", back.port)
        address = f"ORTHANC@127.0.0.1:{there.port}"
        arguments = (address, *EVERYTHING, "--method", method, "--timeout", "1.5")
        process = stack.enter_context(retrieve.running(*arguments))
        retrieve.wait_for(SOME)
        for network in (there, back):
            network.cut()
        time.sleep(3)
        assert process.poll() is None
        before = retrieve.count()
        for network in (there, back):
            network.mend()
        found = ended(process)
    assert before < len(pacs.held)
    is_whole(retrieve, found, pacs)


def test_the_network_is_cut_for_good(retrieve, pacs):
    with ExitStack() as stack:
        there = stack.enter_context(Network(pacs.peer.port))
        address = f"ORTHANC@127.0.0.1:{there.port}"
        arguments = (address, *EVERYTHING, "--method", "get", "--timeout", "1", "--wait", "1")
        process = stack.enter_context(retrieve.running(*arguments))
        retrieve.wait_for(SOME)
        there.cut()
        found = ended(process)
    assert found.code == 3, found
    assert "1 s" in found.document["error"]["message"]


def test_only_the_way_back_is_cut(retrieve, pacs):
    """A firewall closes between Orthanc and us; C-GET takes over for what is missing."""
    with ExitStack() as stack:
        back = stack.enter_context(Network(retrieve.port))
        pacs.peer.add_modality("PYPX", back.port)
        arguments = (pacs.peer.address, *EVERYTHING, "--timeout", "1.5", "--retries", "1")
        process = stack.enter_context(retrieve.running(*arguments))
        retrieve.wait_for(STUDIES * IMAGES - SOME)
        back.cut()
        found = ended(process)
    assert found.code == 0, found
    assert retrieve.stored() == set(pacs.held)


@pytest.mark.parametrize("method", ["move", "get"])
def test_we_are_killed_again_and_again(retrieve, pacs, method):
    """Orthanc may be in the middle of a C-MOVE to the one that was killed."""
    pacs.peer.add_modality("PYPX", retrieve.port)
    command = (pacs.peer.address, *EVERYTHING, "--method", method)
    for _ in range(4):
        before = retrieve.count()
        with retrieve.running(*command) as process:
            retrieve.wait_for(before + 20)
            process.kill()
    is_whole(retrieve, retrieve(*command), pacs)
