"""Lines that are limited: nobody fills a disk with what the listener says of him."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pypx.archive import Archive
from pypx.cli.line_limit import LineLimit
from tests.cli.test_listen import WORKERS, Listening, send, write_config
from tests.hostile import ABORT, CLOSED, RawPeer, p_data, pdv, reject, request, store_rq

MANY = 60


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_so_many_in_a_span_then_one_line_for_the_rest() -> None:
    told: list[str] = []
    clock = Clock()
    limit = LineLimit(told.append, most=3, span=60, clock=clock)
    assert [limit.passes("10.1.2.3", "A", f"line {n}") for n in range(1003)] == [True] * 3 + [
        False
    ] * 1000
    assert limit.passes("10.1.2.3", "B", "another kind")
    assert limit.passes("10.1.2.4", "A", "another host")
    clock.now = 59
    limit.tell_due()
    assert told == []
    clock.now = 60
    limit.tell_due()
    assert told == ["1,000 more like this from 10.1.2.3 within 60 s were not written: line 1002"]
    assert [limit.passes("10.1.2.3", "A", "again") for _ in range(4)] == [True] * 3 + [False]
    limit.close()
    assert told[1:] == ["1 more like this from 10.1.2.3 within 60 s were not written: again"]


def test_a_network_of_ipv6_is_one_host_and_memory_has_an_end() -> None:
    told: list[str] = []
    limit = LineLimit(told.append, most=1, clock=Clock())
    passed = [limit.passes(f"2001:db8:1:2::{n:x}", "A", "a line") for n in range(1, 50)]
    assert sum(passed) == 1
    passed = [limit.passes(f"10.{n >> 8}.{n & 255}.1", "A", "a line") for n in range(5000)]
    assert sum(passed) == 1000  # 999 hosts, and one line for all others
    assert len(limit._counts) <= 1001


@pytest.fixture
def listen(home: Path) -> Iterator[Any]:
    started: list[Listening] = []

    def start(*arguments: object) -> Listening:
        started.append(Listening(*arguments))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.mark.parametrize("workers", WORKERS)
def test_a_peer_that_misbehaves_again_and_again(listen: Any, workers: int) -> None:
    """Also one that makes each breach another text, by what it sends."""
    listener = listen("--workers", workers)
    for number in range(MANY):
        with socket.create_connection(("127.0.0.1", listener.address.port)) as peer:
            peer.sendall(b"\x01\0" + (0x7FFF_0000 + number).to_bytes(4, "big") + bytes(64))
            peer.settimeout(20)
            assert peer.recv(100)
    code, _, err = listener.stop(signal.SIGTERM)
    assert code == 0
    assert err.count("A connection from 127.0.0.1") == 20 + 1  # and the example
    assert f"{MANY - 20} more like this from 127.0.0.1 within 60 s were not written: A con" in err


@pytest.mark.parametrize("form", ["text", "jsonl", "log-json"])
def test_who_is_not_allowed_again_and_again_and_who_sends(
    listen: Any, samples: Archive, home: Path, form: str
) -> None:
    """What became of objects is told, also for a host whose other lines are too many."""
    write_config(home, '[listen]\nallow = ["SENDER@127.0.0.1"]\n')
    listener = listen(*([] if form == "text" else [f"--{form}"]))
    for _ in range(MANY):
        with RawPeer(listener.address.port) as peer:
            peer.send(request())
            assert peer.receive() == reject(1, 1, 3)
    for _ in range(25):
        send(listener.address, samples, 1)
    code, out, err = listener.stop(signal.SIGTERM)
    assert code == 0
    assert f"{MANY - 20} more like this from 127.0.0.1" in err
    assert f"Stopped after {MANY + 25} associations: 25 images" in err
    lines = out.splitlines()
    if form == "text":
        assert sum("HOSTILE@" in line for line in lines) == 20
        assert sum("SENDER@" in line and "1 image" in line for line in lines) == 25
        assert sum("HOSTILE@" in line for line in err.splitlines()) == 20 + 1
    elif form == "jsonl":
        rows = [json.loads(line) for line in lines]
        assert sum(row["calling_ae_title"] == "HOSTILE" for row in rows) == 20
        assert sum(row["instances"] for row in rows) == 25
    else:
        events = [json.loads(line) for line in err.splitlines()[1:]]
        rows = [event for event in events if event.get("event") == "association"]
        assert sum(row["calling_ae_title"] == "HOSTILE" for row in rows) == 20
        assert sum(row["instances"] for row in rows) == 25


def test_an_object_that_breaks_off_is_told_each_time(listen: Any) -> None:
    listener = listen()
    for _ in range(25):
        with RawPeer(listener.address.port) as peer:
            peer.associate()
            begun = p_data(pdv(1, bytes(8), command=False, last=False))
            peer.send(p_data(pdv(1, store_rq())) + begun + ABORT)
            assert peer.receive() == CLOSED
    _, out, err = listener.stop(signal.SIGTERM)
    assert sum("HOSTILE@" in line for line in out.splitlines()) == 25
    assert err.count("The peer aborted") == 25
