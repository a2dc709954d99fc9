"""Workers that die or are stopped under load, alone and below ``px listen``."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pypx.archive import Archive
from pypx.net.server import can_share_port
from pypx.receiver.workers import Workers
from tests.cli.test_listen import Listening
from tests.crash.load import Senders, check_senders, lost
from tests.receiver.test_workers import WAIT, Heard, is_alive, make, wait_until

pytestmark = pytest.mark.skipif(not can_share_port(), reason="no port is shared here")


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the archive of a user without settings."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    Archive(tmp_path / "pypx").close()
    return tmp_path / "pypx"


@pytest.fixture
def workers(root: Path, heard: Heard) -> Iterator[Workers]:
    two = make(root, heard)
    two.start()
    yield two
    if not two.stopping.is_set():
        two.stop(0)


def test_workers_killed_under_load_lose_nothing_acknowledged(
    workers: Workers, heard: Heard, root: Path
) -> None:
    with Senders(workers.port, 4, 7, 60_000) as senders:
        for _ in range(3):
            for sender in senders:
                sender.wait_for(5)
            wait_until(lambda: len(workers.processes) == 2)
            busy = int(heard.received[-1].association_id.partition("-")[0])
            os.kill(busy, signal.SIGKILL)
            wait_until(lambda busy=busy: busy not in workers.processes)  # type: ignore[misc]
        for sender in senders:
            sender.wait_for(5)
    workers.stop()
    check_senders(senders)
    assert sum(sender.broken for sender in senders) > 0  # some were cut off
    assert lost(root, senders) == []


def test_a_stop_under_load_loses_nothing_acknowledged(workers: Workers, root: Path) -> None:
    processes = workers.processes
    with Senders(workers.port, 4, 8, 60_000) as senders:
        for sender in senders:
            sender.wait_for(10)
        began = time.monotonic()
        workers.stop(10 * WAIT)
        assert time.monotonic() - began < 5 * WAIT  # between two objects, not after the last one
    check_senders(senders)
    assert not any(map(is_alive, processes))
    assert lost(root, senders) == []


Listen = Callable[..., Listening]


@pytest.fixture
def listen(root: Path) -> Iterator[Listen]:
    started = []

    def start(*arguments: object) -> Listening:
        started.append(Listening("--archive", root, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.mark.parametrize("number", [1, 2])
def test_a_listener_that_is_stopped_under_load_tells_what_it_received(
    listen: Listen, root: Path, number: int
) -> None:
    listener = listen("--workers", number, "--jsonl", "--grace", WAIT)
    with Senders(listener.address.port, 4, 3, 50_000) as senders:
        for sender in senders:
            sender.wait_for(10)
        code, out, _ = listener.stop(signal.SIGTERM)
    assert code == 0
    check_senders(senders)
    assert lost(root, senders) == []
    received = sum(json.loads(line)["instances"] for line in out.splitlines())
    assert received >= sum(sender.count for sender in senders)


def test_workers_end_when_the_listener_is_killed(listen: Listen, root: Path) -> None:
    listener = listen("--workers", 2)
    processes = listener.workers()
    assert len(processes) == 2
    with Senders(listener.address.port, 2, 4, 50_000) as senders:
        for sender in senders:
            sender.wait_for(5)
        listener.process.kill()
        wait_until(lambda: not any(map(is_alive, processes)))
    check_senders(senders)
    assert lost(root, senders) == []
