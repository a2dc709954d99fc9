"""Each command over a link that is slow, loses packets, dies in the middle, or resets.

Nothing hangs longer than its time-out, nothing is lost: all of it is there at the end, or what is
not there is named, and comes when the link is back.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from pypx.archive import Archive
from tests.corpus import CorpusFile
from tests.link.conftest import Cohort, dcmqrscp
from tests.link.namespaces import Wire
from tests.listening import eventually
from tests.objects import CT_IMAGE, write_file
from tests.peers.dcmtk import DcmQrScp
from tests.peers.retrieving import PxRetrieve, Retrieved, ended

EVERYTHING = ("-k", "StudyDate=20240101-20241231")
COMMANDS = {
    "get": ("get",),
    "move": ("move",),
    "retrieve get": ("retrieve", "--method", "get"),
    "retrieve move": ("retrieve", "--method", "move"),
}
JOBS = [name for name in COMMANDS if name.startswith("retrieve")]
ONCE = [name for name in COMMANDS if name not in JOBS]
SOME = 4  # files, of 30, after which it happens
TIMEOUT = 1.0
LONG_AGO = 20.0  # seconds: with the time-outs that px has by itself it would be 30 or 60

pytestmark = [pytest.mark.peers, pytest.mark.timeout(90)]

Spoil = Callable[[Wire], None]
SLOW: dict[str, Spoil] = {
    "2 % lost": lambda wire: wire.lose(0.02),
    "1 Mbit/s": lambda wire: wire.slow("1mbit"),
}
BROKEN: dict[str, Spoil] = {"dead": Wire.die, "reset": Wire.reset}


def started(
    px: PxRetrieve, command: str, address: str, *arguments: object
) -> AbstractContextManager[subprocess.Popen[str]]:
    name, *options = COMMANDS[command]
    return px.running(address, *EVERYTHING, *options, *arguments, command=name)


def run(px: PxRetrieve, command: str, address: str, *arguments: object) -> Retrieved:
    with started(px, command, address, *arguments) as process:
        return ended(process)


def requests(px: PxRetrieve) -> int:
    """Count the requests of all jobs."""
    with Archive(px.root) as archive:
        ledger = archive.ledger
        series = [one for job in ledger.transfers() for one in ledger.series(job)]
        return sum(len(ledger.requests(one)) for one in series)


@contextmanager
def soon() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < LONG_AGO


def failed_and_says_why(found: Retrieved) -> None:
    assert found.code == 3, found
    assert "error: " in found.stderr
    assert "hint: " in found.stderr


def is_a_part(px: PxRetrieve, cohort: Cohort) -> set[str]:
    """See that what is here is whole; give what is not here."""
    assert px.contents().items() <= cohort.held.items()
    return cohort.held.keys() - px.stored()


# Links that are bad all the time ----------------------------------------------------------


@pytest.mark.parametrize("how", SLOW)
@pytest.mark.parametrize("command", COMMANDS)
def test_all_of_it_comes(
    px: PxRetrieve, pacs: DcmQrScp, wire: Wire, cohort: Cohort, how: str, command: str
) -> None:
    SLOW[how](wire)
    found = run(px, command, pacs.address, "--timeout", 45)
    assert found.code == 0, found
    assert px.contents() == cohort.held
    assert not is_a_part(px, cohort)


@pytest.mark.parametrize("how", SLOW)
def test_all_matches_come(
    px: PxRetrieve, pacs: DcmQrScp, wire: Wire, cohort: Cohort, how: str
) -> None:
    SLOW[how](wire)
    found = px(pacs.address, *cohort.images_of_one_series, "--timeout", 45, command="find")
    assert found.code == 0, found
    assert {one["SOPInstanceUID"] for one in json.loads(found.stdout)} == cohort.of_one_series


@pytest.mark.parametrize("command", COMMANDS)
def test_an_image_may_take_longer_than_the_time_out(
    px: PxRetrieve, tmp_path: Path, wire: Wire, command: str
) -> None:
    """Bytes come all the time, and so nobody is silent."""
    path = write_file(tmp_path, PixelData=bytes(350_000), StudyDate="20240101")
    large = CorpusFile(path, "here", CT_IMAGE, transfer_syntax_uid="1.2.840.10008.1.2.1")
    with dcmqrscp(tmp_path, [large], wire, px.port) as pacs:
        wire.slow("1mbit")
        found = run(px, command, pacs.address, "--timeout", 1.5)
    assert found.code == 0, found
    assert px.count() == 1
    if command in JOBS:
        assert requests(px) == 1, "it was not given up and asked for again"


# Links that break -------------------------------------------------------------------------


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("command", ONCE)
def test_a_link_that_breaks_in_the_middle(
    px: PxRetrieve, pacs: DcmQrScp, wire: Wire, cohort: Cohort, how: str, command: str
) -> None:
    """It ends with the time-out and says why; what came is whole."""
    wire.slow("1mbit")
    with started(px, command, pacs.address, "--timeout", TIMEOUT) as process:
        px.wait_for(SOME)
        BROKEN[how](wire)
        with soon():
            found = ended(process)
    failed_and_says_why(found)
    assert len(cohort.held) - len(is_a_part(px, cohort)) >= found.document["received"] >= SOME


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("command", JOBS)
def test_a_job_goes_on_when_the_link_is_back(
    px: PxRetrieve, pacs: DcmQrScp, wire: Wire, cohort: Cohort, how: str, command: str
) -> None:
    wire.slow("1mbit")
    with started(px, command, pacs.address, "--timeout", TIMEOUT) as process:
        px.wait_for(SOME)
        BROKEN[how](wire)
        time.sleep(2 * TIMEOUT)
        assert process.poll() is None
        before = px.count()
        wire.mend()
        found = ended(process)
    assert before < len(cohort.held)
    assert found.code == 0, found
    assert not is_a_part(px, cohort)


@pytest.mark.parametrize("command", ONCE)
def test_a_connection_that_dies_in_the_middle(
    px: PxRetrieve, pacs: DcmQrScp, wire: Wire, cohort: Cohort, command: str
) -> None:
    """As behind a firewall that forgets: no FIN, and only what carries the images is dead."""
    wire.die_after(50_000)
    with soon():
        found = run(px, command, pacs.address, "--timeout", TIMEOUT)
    failed_and_says_why(found)
    assert 0 < len(is_a_part(px, cohort)) < len(cohort.held)


@pytest.mark.parametrize("command", JOBS)
def test_a_job_ends_when_the_link_stays_dead(
    px: PxRetrieve, pacs: DcmQrScp, wire: Wire, cohort: Cohort, command: str
) -> None:
    """What is missing is named; the same command completes it later."""
    wire.slow("1mbit")
    with started(px, command, pacs.address, "--timeout", TIMEOUT, "--wait", 1) as process:
        px.wait_for(SOME)
        wire.die()
        with soon():
            found = ended(process)
    failed_and_says_why(found)
    planned = {one["study_instance_uid"] for one in found.document["series"]}
    not_here = {uid for uid in is_a_part(px, cohort) if cohort.study_of(uid) in planned}
    assert set(found.document["missing"]) == not_here
    wire.mend()
    found = run(px, command, pacs.address)
    assert found.code == 0, found
    assert not is_a_part(px, cohort)


@pytest.mark.parametrize("how", ["dead", "reset", "dead after a while"])
def test_a_query_over_a_link_that_breaks(
    px: PxRetrieve, pacs: DcmQrScp, wire: Wire, cohort: Cohort, how: str
) -> None:
    """It never looks finished."""
    if how == "dead after a while":
        wire.die_after(3000)  # with the first matches
    else:
        BROKEN[how](wire)
    with soon():
        found = px(pacs.address, *cohort.images_of_one_series, "--timeout", 1, command="find")
    failed_and_says_why(found)
    matches = json.loads(found.stdout)
    assert len(matches) < len(cohort.of_one_series)


# A PACS that is stopped -------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_a_pacs_that_pauses(
    px: PxRetrieve, pacs: DcmQrScp, wire: Wire, cohort: Cohort, command: str
) -> None:
    """For less than the time-out: nobody notices."""
    wire.slow("2mbit")
    with started(px, command, pacs.address, "--timeout", 30) as process:
        px.wait_for(SOME)
        pacs.signal(signal.SIGSTOP)
        time.sleep(1)
        pacs.signal(signal.SIGCONT)
        found = ended(process)
    assert found.code == 0, found
    assert not is_a_part(px, cohort)


@pytest.mark.parametrize("command", ONCE)
def test_a_pacs_that_is_stopped(
    px: PxRetrieve, pacs: DcmQrScp, wire: Wire, cohort: Cohort, command: str
) -> None:
    wire.slow("1mbit")
    with started(px, command, pacs.address, "--timeout", TIMEOUT) as process:
        px.wait_for(SOME)
        pacs.signal(signal.SIGSTOP)
        with soon():
            found = ended(process)
    failed_and_says_why(found)
    is_a_part(px, cohort)
    with soon():
        found = px(pacs.address, *EVERYTHING, "--timeout", TIMEOUT, command="find")
    failed_and_says_why(found)


@pytest.mark.parametrize("command", JOBS)
def test_a_job_goes_on_with_a_pacs_that_was_stopped(
    px: PxRetrieve, pacs: DcmQrScp, wire: Wire, cohort: Cohort, command: str
) -> None:
    wire.slow("1mbit")
    with started(px, command, pacs.address, "--timeout", TIMEOUT) as process:
        px.wait_for(SOME)
        pacs.signal(signal.SIGSTOP)
        eventually(lambda: requests_that_failed(px), 20)
        pacs.signal(signal.SIGCONT)
        found = ended(process)
    assert found.code == 0, found
    assert not is_a_part(px, cohort)


def requests_that_failed(px: PxRetrieve) -> int:
    with Archive(px.root, read_only=True) as archive:
        ledger = archive.ledger
        series = [one for job in ledger.transfers() for one in ledger.series(job)]
        return sum(bool(asked.reason) for one in series for asked in ledger.requests(one))
