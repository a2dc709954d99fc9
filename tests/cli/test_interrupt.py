"""Ctrl-C: what is under way is cancelled, and it is said what was done."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.conftest import command_line
from tests.peers.raw import RawScp, receive_pdu, stall
from tests.scripted import Exchange, Scripted

WAIT = 15.0


class Started:
    """A px that runs."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            command_line(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def first_row(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def end(self) -> tuple[int, str, str]:
        out, err = (data.decode() for data in self.process.communicate(timeout=WAIT))
        return self.process.returncode, out, err


@pytest.fixture
def start() -> Iterator[Any]:
    started = []

    def call(*arguments: object) -> Started:
        started.append(Started(*arguments))
        return started[-1]

    yield call
    for one in started:
        one.process.kill()
        one.process.communicate()


def test_a_query_is_cancelled_and_the_association_released(start: Any) -> None:
    cancelled = threading.Event()

    def find(exchange: Exchange) -> None:
        exchange.match(StudyInstanceUID="1.2")
        if exchange.wait_for_cancel():
            cancelled.set()
        exchange.end_find(0xFE00)

    with Scripted(find=find) as scripted:
        px = start("find", scripted.address, "--jsonl")
        assert px.first_row() == {"StudyInstanceUID": "1.2"}
        px.interrupt()
        code, out, err = px.end()
    assert cancelled.is_set()
    assert scripted.failures == [None]  # it ended by release
    assert code == 130
    assert json.loads(out)["error"]["kind"] == "cancelled"
    assert "Ctrl-C again ends at once" in err
    assert "Interrupted after 1 study; the query was cancelled." in err
    assert "Traceback" not in err


def test_a_peer_that_ignores_the_cancel_is_left(start: Any) -> None:
    def find(exchange: Exchange) -> None:
        exchange.match(StudyInstanceUID="1.2")
        exchange.wait_for_cancel()
        exchange.association.next_message()

    with Scripted(find=find) as scripted:
        px = start("find", scripted.address, "--jsonl", "--timeout", "0.5")
        px.first_row()
        px.interrupt()
        code, _, err = px.end()
    assert code == 130
    assert "Interrupted" in err


def test_the_second_time_ends_at_once(start: Any) -> None:
    cancelled = threading.Event()

    def find(exchange: Exchange) -> None:
        exchange.match(StudyInstanceUID="1.2")
        exchange.wait_for_cancel()
        cancelled.set()
        exchange.association.next_message()

    with Scripted(find=find) as scripted:
        px = start("find", scripted.address, "--jsonl")
        px.first_row()
        px.interrupt()
        assert cancelled.wait(WAIT)
        px.interrupt()
        code, out, _ = px.end()
    assert code == 130
    assert out == ""


def moving(asked: threading.Event, final: int) -> Any:
    def move(exchange: Exchange) -> None:
        exchange.progress(0xFF00, 5, 2, 0, 0)
        asked.set()
        assert exchange.wait_for_cancel()
        exchange.progress(final, 4, 3, 0, 0)

    return move


def test_a_move_is_cancelled_and_its_numbers_are_told(start: Any) -> None:
    asked = threading.Event()
    with Scripted(move=moving(asked, 0xFE00)) as scripted:
        keys = ["-k", "StudyInstanceUID=1.2\\1.3"]
        px = start("move", scripted.address, "--to", "THERE", "--json", *keys)
        assert asked.wait(WAIT)
        px.interrupt()
        code, out, err = px.end()
    document = json.loads(out)
    assert code == 130
    assert document["status"] == "cancelled"
    assert (document["completed"], document["remaining"]) == (3, 4)
    assert document["error"]["kind"] == "cancelled"
    assert "the PACS had sent 3 instances, 4 remain" in err
    assert scripted.failures == [None]


def test_an_association_request_without_an_answer(start: Any) -> None:
    asked = threading.Event()
    scp = RawScp([receive_pdu(), lambda _: asked.set(), stall()])
    px = start("echo", f"A@127.0.0.1:{scp.port}", "--json")
    assert asked.wait(WAIT)
    px.interrupt()
    code, out, _ = px.end()
    scp.stop()
    assert code == 130
    assert json.loads(out)["error"]["kind"] == "cancelled"
