"""Each command through a relay that delays, splits, resets and stalls; no root is needed.

What a kernel does to packets is in the other files; this one does it to the bytes.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.pacs import Pacs
from pypx.pacs.samples import write_samples
from tests.archive.helpers import content
from tests.link.test_bad_links import COMMANDS, JOBS, LONG_AGO, ONCE, TIMEOUT, failed_and_says_why
from tests.peers.process import HOST
from tests.peers.proxy import Network
from tests.peers.retrieving import PxRetrieve, Retrieved, ended

KEYS = ("-k", "AccessionNumber=A1001")
IMAGES = 12
IN_THE_MIDDLE = 40_000  # bytes, of 100,000
DELAY = 0.1  # seconds one way: 200 ms for a question and its answer

pytestmark = pytest.mark.timeout(90)

Spoiled = dict[str, float | int]
SPOILED: dict[str, Spoiled] = {"200 ms": {"delay": DELAY}, "7 bytes at once": {"piece": 7}}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with Archive(tmp_path_factory.mktemp("samples"), durability="none") as archive:
        write_samples(archive)
        yield archive


class Scene:
    """A PACS, a relay to it, one back to us, and px."""

    def __init__(self, folder: Path, samples: Archive, stack: ExitStack, spoiled: Spoiled) -> None:
        self.px = PxRetrieve(folder, "settle = 0.5\n")
        self.back = stack.enter_context(Network(self.px.port, **spoiled))
        destinations = {"PYPX": Address("PYPX", HOST, self.back.port)}
        self.pacs = stack.enter_context(Pacs(samples, destinations=destinations))
        self.there = stack.enter_context(Network(self.pacs.address.port, **spoiled))
        self.address = f"DEMO@{HOST}:{self.there.port}"
        keys = {"AccessionNumber": "A1001"}
        self.held = {
            one.meta.sop_instance_uid: content(one.path) for one in samples.instances(keys)
        }
        assert len(self.held) == IMAGES

    def start(self, command: str, *arguments: object):
        name, *options = COMMANDS[command]
        return self.px.running(self.address, *KEYS, *options, *arguments, command=name)

    def run(self, command: str, *arguments: object) -> Retrieved:
        with self.start(command, *arguments) as process:
            return ended(process)

    def in_the_middle(self, do: Callable[[Network], None]) -> None:
        """Do it to both relays, when the images are under way."""

        def both() -> None:
            for one in (self.there, self.back):
                do(one)

        for one in (self.there, self.back):
            one.when(IN_THE_MIDDLE, both)

    def missing(self) -> set[str]:
        """See that what is here is whole; give what is not here."""
        assert self.px.contents().items() <= self.held.items()
        return self.held.keys() - self.px.stored()


Make = Callable[..., Scene]


@pytest.fixture
def make(tmp_path: Path, samples: Archive) -> Iterator[Make]:
    with ExitStack() as stack:
        yield lambda **spoiled: Scene(tmp_path, samples, stack, spoiled)


@pytest.mark.parametrize("how", SPOILED)
@pytest.mark.parametrize("command", COMMANDS)
def test_all_of_it_comes(make: Make, how: str, command: str) -> None:
    scene = make(**SPOILED[how])
    found = scene.run(command, "--timeout", 45)
    assert found.code == 0, found
    assert not scene.missing()


@pytest.mark.parametrize("how", SPOILED)
def test_questions(make: Make, how: str) -> None:
    scene = make(**SPOILED[how])
    assert scene.px(scene.address, "--timeout", 45, command="echo").code == 0
    found = scene.px(scene.address, "-k", "PatientID=DEMO-*", command="find")
    assert found.code == 0, found
    assert len(json.loads(found.stdout)) == 3


@pytest.mark.parametrize("how", SPOILED)
def test_px_store(make: Make, tmp_path: Path, samples: Archive, how: str) -> None:
    """From the archive of the samples to one of its own, behind the relay."""
    scene = make(**SPOILED[how])
    with (
        Archive(tmp_path / "there", durability="none") as archive,
        Pacs(archive) as pacs,
        Network(pacs.address.port, **SPOILED[how]) as network,
    ):
        where = f"DEMO@{HOST}:{network.port}"
        found = scene.px(where, *KEYS, "--archive", samples.root, command="store")
        assert found.code == 0, found
        assert {one.meta.sop_instance_uid for one in archive.instances()} == scene.held.keys()


@pytest.mark.parametrize("command", ONCE)
def test_a_reset_in_the_middle(make: Make, command: str) -> None:
    scene = make()
    scene.in_the_middle(Network.reset)
    began = time.monotonic()
    found = scene.run(command, "--timeout", TIMEOUT)
    assert time.monotonic() - began < LONG_AGO
    failed_and_says_why(found)
    assert scene.missing()


@pytest.mark.parametrize("command", JOBS)
def test_a_job_goes_on_after_a_reset(make: Make, command: str) -> None:
    scene = make()
    scene.in_the_middle(Network.reset)
    found = scene.run(command)
    assert found.code == 0, found
    assert not scene.missing()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_short_stall_is_only_slow(make: Make, command: str) -> None:
    scene = make()
    stalled = threading.Event()
    scene.in_the_middle(lambda network: (network.stall(), stalled.set()))
    with scene.start(command, "--timeout", 30) as process:
        assert stalled.wait(30)
        time.sleep(1)
        assert process.poll() is None
        for network in (scene.there, scene.back):
            network.go_on()
        found = ended(process)
    assert found.code == 0, found
    assert not scene.missing()


@pytest.mark.parametrize("command", ONCE)
def test_a_stall_ends_with_the_time_out(make: Make, command: str) -> None:
    scene = make()
    scene.in_the_middle(Network.stall)
    began = time.monotonic()
    found = scene.run(command, "--timeout", TIMEOUT)
    assert time.monotonic() - began < LONG_AGO
    failed_and_says_why(found)
    assert scene.missing()


@pytest.mark.parametrize("command", JOBS)
def test_a_job_goes_on_after_a_stall(make: Make, command: str) -> None:
    """What was held back comes late, over connections that were given up."""
    scene = make()
    stalled = threading.Event()
    scene.in_the_middle(lambda network: (network.stall(), stalled.set()))
    with scene.start(command, "--timeout", TIMEOUT) as process:
        assert stalled.wait(30)
        time.sleep(2 * TIMEOUT)
        for network in (scene.there, scene.back):
            network.go_on()
        found = ended(process)
    assert found.code == 0, found
    assert not scene.missing()
