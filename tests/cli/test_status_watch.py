"""``px status --watch``: the jobs of another process, live."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pypx.archive import Archive
from pypx.archive.ledger import Ledger
from pypx.archive.locks import TransferLock
from pypx.archive.transfers import Transfer
from pypx.cli import status as status_module
from pypx.cli import watch as watch_module
from tests.archive.helpers import store
from tests.archive.ledgers import plan
from tests.cli.conftest import Px, command_line

Steps = Callable[..., None]


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


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Do these things, one in each pause between two looks; after the last, Ctrl-C."""

    def set_up(*steps: Callable[[], object]) -> None:
        left = list(steps)

        def pause(seconds: float) -> None:
            assert seconds == 1.0
            if not left:
                os.kill(os.getpid(), signal.SIGINT)
                raise AssertionError("the signal came late")
            left.pop(0)()

        monkeypatch.setattr(watch_module, "_pause", pause)

    return set_up


class Running:
    """A job of three images that this process runs."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.job: Transfer = plan(archive.ledger, [1, 2, 3])
        self.lock = TransferLock.acquire(archive.root, self.job.id)
        series = archive.ledger.next_series(self.job)
        assert series
        self.series = series

    def receive(self, number: int) -> None:
        store(self.archive, number)

    def end(self, state: str, received: int, reason: str = "") -> None:
        ledger = self.archive.ledger
        ledger.close_series(self.series, state, received=received, attempts=1, reason=reason)
        ledger.set_state(self.job, state, reason)
        self.lock.release()


@pytest.fixture
def running(archive: Archive) -> Iterator[Running]:
    one = Running(archive)
    with ExitStack() as stack:
        stack.callback(one.lock.release)
        yield one


def test_a_line_for_each_change(px: Px, running: Running, between: Steps) -> None:
    between(
        lambda: running.receive(1),
        lambda: None,
        lambda: [running.receive(2), running.receive(3)],
        lambda: running.end("complete", 3),
    )
    ran = px("status", running.job.id[:10], "--watch")
    assert (ran.code, ran.err) == (0, "")
    name = f"{running.job.id} hospital"
    lines, _, rest = ran.out.partition("\nJob ")
    assert lines.splitlines() == [
        f"{name} running: series 0 of 1, images 0 of 3",
        f"{name} running: series 0 of 1, images 1 of 3",
        f"{name} running: series 0 of 1, images 3 of 3",
        f"{name} complete: series 1 of 1, images 3 of 3",
    ]
    assert "State    complete\n" in rest, "at its end the job is shown"


def test_it_ends_with_the_job(px: Px, running: Running, between: Steps) -> None:
    between(lambda: running.end("incomplete", 0, "Nothing came."))
    ran = px("status", running.job.id, "--watch", "--missing")
    assert ran.code == 1
    assert "incomplete: series 0 of 1, images 0 of 3 (Nothing came.)\n" in ran.out
    assert "1.2.3.4.3" in ran.out


def test_it_ends_when_the_process_of_the_job_dies(px: Px, running: Running, between: Steps) -> None:
    between(running.lock.release)
    ran = px("status", running.job.id, "--watch")
    assert ran.code == 1
    assert "interrupted: series 0 of 1" in ran.out


def test_a_later_job_may_begin_alike(
    px: Px, running: Running, ledger: Ledger, between: Steps
) -> None:
    between(
        lambda: plan(ledger, [1], state="cancelled", fingerprint="g"),
        lambda: running.end("complete", 3),
    )
    ran = px("status", running.job.id[:8], "--watch")
    assert "error" not in ran.err and "complete: series 1 of 1" in ran.out


def test_all_jobs_until_ctrl_c(px: Px, running: Running, ledger: Ledger, between: Steps) -> None:
    other: list[Transfer] = []
    between(
        lambda: running.receive(1),
        lambda: other.append(plan(ledger, [], state="complete", fingerprint="g")),
        lambda: running.end("incomplete", 1, "Two are gone."),
    )
    ran = px("status", "--watch")
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == [
        running.job.id,
        running.job.id,
        other[0].id,
        running.job.id,
    ]


def test_on_a_terminal_the_block_is_drawn_again(
    px: Px, running: Running, between: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    between(lambda: running.receive(1), lambda: running.end("complete", 3))
    ran = px("status", running.job.id, "--watch", terminal=True)
    assert ran.code == 1, "two of them are not here"
    first, second, last = ran.out.partition("\nJob   ")[0].split("\x1b[J")
    assert [text.count("\n") for text in (first, second)] == [3, 3]
    assert second.endswith("\r\x1b[3A") and first.endswith("\r\x1b[3A")
    assert "0 of 3" in first and "1 of 3" in second
    assert f"{running.job.id}: 0.0 images/s, since 20" in first
    assert "complete" in last and "images/s" not in last
    lines = f"{first}\n{second}\n{last}".replace("\r\x1b[3A", "").splitlines()
    assert max(map(len, lines)) < 70


def test_a_terminal_that_is_low(
    px: Px, ledger: Ledger, between: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        plan(ledger, [], state="complete", fingerprint=str(number))
    monkeypatch.setattr(watch_module, "_height", lambda: 4)
    between(lambda: None)
    ran = px("status", "--watch", terminal=True)
    assert ran.code == 0
    assert [text.count("\n") for text in ran.out.split("\r\x1b[3A\x1b[J")] == [3, 3]


def test_a_terminal_without_escape_sequences(
    px: Px, running: Running, between: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    between(lambda: running.receive(1))
    ran = px("status", "--watch", terminal=True)
    assert ran.code == 0 and "\x1b" not in ran.out and len(ran.out.splitlines()) == 2


@pytest.mark.parametrize("terminal", [False, True])
def test_no_job_yet(
    px: Px, archive: Archive, ledger: Ledger, between: Steps, terminal: bool
) -> None:
    between(lambda: plan(ledger, [], state="complete"))
    ran = px("status", "--watch", terminal=terminal)
    assert ran.code == 0
    assert ("No job yet." in ran.out) is terminal
    assert "complete" in ran.out


@pytest.mark.parametrize("terminal", [False, True])
def test_an_index_that_is_away_for_a_moment(
    px: Px, running: Running, between: Steps, terminal: bool
) -> None:
    index = running.archive.root / ".pypx/index.sqlite"
    aside = index.with_name("aside")
    between(
        lambda: index.rename(aside),
        lambda: None,
        lambda: aside.rename(index),
        lambda: running.end("incomplete", 0),
    )
    ran = px("status", running.job.id, "--watch", terminal=terminal)
    assert ran.code == 1
    told = ran.out if terminal else ran.err
    assert told.count("The archive has no index") == (2 if terminal else 1)
    assert "incomplete" in ran.out


def test_an_index_that_is_away_from_the_start(px: Px, archive: Archive) -> None:
    archive.close()
    (archive.root / ".pypx/index.sqlite").unlink()
    assert px("status", "--watch").code == 5
    assert px("status", "20240101-abcdef", "--watch").code == 5


def test_as_users_do_it(running: Running) -> None:
    command = command_line("status", "--watch", "--archive", running.archive.root)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        assert "running: series 0 of 1, images 0 of 3" in process.stdout.readline()
        running.receive(1)
        assert "running: series 0 of 1, images 1 of 3" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stdout.read() == ""
        assert process.stderr.read() == "Stopping; Ctrl-C again ends at once.\n"
