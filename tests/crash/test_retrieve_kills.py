"""px retrieve that is killed at any moment, and begun again with the same command.

The set is complete and byte for byte at the end, and what had come before a kill was not sent
again after it: only what was under way.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pypx.archive import Archive
from tests.listening import at_home
from tests.peers.process import require
from tests.peers.retrieving import PxRetrieve, ended, write_cohort

STUDIES, IMAGES, PIXELS = 16, 20, 50_000
ASSOCIATIONS = 2  # of a job with a PACS, if nothing else is said
SOME = 5  # files after which a signal is sent
LONGEST_LIFE = 0.6  # seconds; some end before the first request
RATE = ("--max-rate", "300k")  # so that these lives are too short for all
EVERYTHING = ("-k", "StudyDate=20240101-20241231")

pytestmark = pytest.mark.timeout(90)


class Runner:
    """The process of ``tests.crash.retrieving``."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "retrieve.log"
        with self._log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [*_at_home(folder), "-m", "tests.crash.retrieving"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def start(self, *arguments: object) -> None:
        assert self._ask(f"start {json.dumps([*map(str, arguments)])}") == "started"

    def kill(self) -> str:
        return self._ask("kill")

    def wait(self) -> str:
        return self._ask("wait")

    @property
    def log(self) -> str:
        return self._log.read_text()

    def close(self) -> None:
        self._process.communicate(timeout=10)  # the end of stdin is its end

    def _ask(self, line: str) -> str:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


class Serving:
    """The process of ``tests.crash.serving``."""

    def __init__(self, root: Path, port: int, folder: Path, *faults: str) -> None:
        self._log = folder / "sent.log"
        command = [*_at_home(folder), "-m", "tests.crash.serving"]
        self._process = subprocess.Popen(
            [*command, str(root), str(port), str(self._log), *faults],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        self.address = self._process.stdout.readline().strip()
        assert self.address, "it did not start"

    def close(self) -> None:
        self._process.communicate(timeout=10)

    def sent(self, status: int | None = None) -> Counter[str]:
        """Count what it sent, or what of it was answered with a status."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        pairs = [line.split() for line in lines]
        return Counter(uid for uid, said in pairs if status is None or int(said) == status)


def _at_home(folder: Path) -> list[str]:
    program, *rest = at_home(folder / "home")
    return [require(program), *rest, sys.executable]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """An archive, and what is in it."""
    folder = tmp_path_factory.mktemp("pacs")
    held = write_cohort(folder, STUDIES, IMAGES, PIXELS)
    with Archive(folder / "archive", durability="none") as archive:
        for path in (folder / "cohort").iterdir():
            archive.add_file(path)
    return folder / "archive", held


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    with closing(Runner(tmp_path)) as one:
        yield one


@pytest.fixture
def retrieve(tmp_path: Path) -> PxRetrieve:
    return PxRetrieve(tmp_path, "settle = 0.5\n")


@pytest.mark.parametrize(
    ("method", "by", "kills", "faults"),
    [
        ("move", "series", 20, ()),
        ("get", "series", 10, ()),
        ("move", "study", 5, ()),
        ("auto", "image", 5, ()),
        ("move", "series", 5, ("drop-objects=3",)),
    ],
    ids=["move", "get", "study", "image", "repair"],
)
def test_killed_at_random_moments(
    tmp_path: Path,
    runner: Runner,
    retrieve: PxRetrieve,
    cohort: tuple[Path, dict[str, bytes]],
    method: str,
    by: str,
    kills: int,
    faults: tuple[str, ...],
) -> None:
    root, held = cohort
    chance = random.Random(f"{method}{by}{faults}")
    clock = threading.Event()
    with closing(Serving(root, retrieve.port, tmp_path, *faults)) as pacs:
        options = ("--method", method, "--by", by, "--config", retrieve.config)
        command = ("retrieve", pacs.address, *EVERYTHING, *options)
        for number in range(kills):
            before = {path.stem.partition("-")[2] for path in retrieve.files()}
            sent = pacs.sent(0)
            assert sent.keys() <= before, "what was acknowledged is there"
            runner.start(*command, *RATE)
            clock.wait(chance.uniform(0, LONGEST_LIFE))
            if number == kills - 1:
                retrieve.wait_for(1)  # a slow machine gets nothing done in such lives
            assert runner.kill() == "killed", runner.log
        runner.start(*command)
        assert runner.wait() == "ended 0", runner.log
        assert "Traceback" not in runner.log
        assert retrieve.stored() == held.keys()
        assert retrieve.contents() == held
        acknowledged = pacs.sent(0)
        assert max(acknowledged.values()) == 1, "what had come was sent again"
        stored_at_a_kill = held.keys() - acknowledged.keys()  # and the answer did not get out
        assert len(stored_at_a_kill) <= ASSOCIATIONS * kills
    with Archive(retrieve.root) as archive:
        assert [one.state for one in archive.ledger.transfers()] == ["complete"]


@pytest.mark.parametrize(
    ("method", "signals"),
    [
        ("move", ["TERM"]),
        ("move", ["INT"]),
        ("get", ["INT"]),
        ("move", ["INT", "INT"]),
        ("get", ["TERM", "TERM"]),
    ],
)
def test_stopped_by_a_signal(
    tmp_path: Path,
    retrieve: PxRetrieve,
    cohort: tuple[Path, dict[str, bytes]],
    method: str,
    signals: list[str],
) -> None:
    """Ctrl-C and SIGTERM cancel, and say what was done; twice they end at once."""
    root, held = cohort
    with closing(Serving(root, retrieve.port, tmp_path)) as pacs:
        command = (pacs.address, *EVERYTHING, "--method", method)
        with retrieve.running(*command, *RATE) as process:
            retrieve.wait_for(SOME)
            began = time.monotonic()
            for name in signals:
                process.send_signal(signal.Signals[f"SIG{name}"])
                time.sleep(0.05)
            found = ended(process)
            seconds = time.monotonic() - began
        before = retrieve.stored()
        assert SOME <= len(before) < len(held)
        if len(signals) == 1:
            assert found.code == 128 + signal.Signals[f"SIG{signals[0]}"]
            document = found.document
            assert document["status"] == "cancelled"
            assert document["received"] == len(before)
            assert document["id"] in document["error"]["hint"], "how to go on"
        else:
            assert found.code == 128 + signal.Signals[f"SIG{signals[0]}"]
            assert seconds < 2
        found = retrieve(*command)
        assert found.code == 0, found
        assert retrieve.contents() == held
        assert "Going on with job" in found.stderr
        assert max(pacs.sent(0).values()) == 1
