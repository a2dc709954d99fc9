"""Ctrl-C: what is under way is cancelled, and it is said what was done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import command_line
from tests.peers.raw import RawScp, receive_pdu, stall
from tests.scripted import Exchange, Scripted

WAIT = 15.0
STOPPING = {
    "INT": "Ctrl-C again ends at once",
    "TERM": "SIGTERM came; another one ends at once",
    "HUP": "the terminal was closed",
}


class Started:
    """A px that runs."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            command_line(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )

    def interrupt(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)

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


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_a_query_is_cancelled_and_the_association_released(start: Any, name: str) -> None:
    number = signal.Signals[f"SIG{name}"]
    cancelled = threading.Event()

    def find(exchange: Exchange) -> None:
        exchange.match(StudyInstanceUID="1.2")
        if exchange.wait_for_cancel():
            cancelled.set()
        exchange.end_find(0xFE00)

    with Scripted(find=find) as scripted:
        px = start("find", scripted.address, "--jsonl")
        assert px.first_row() == {"StudyInstanceUID": "1.2"}
        px.interrupt(number)
        code, out, err = px.end()
    assert cancelled.is_set()
    assert scripted.failures == [None]  # it ended by release
    assert code == 128 + number
    assert json.loads(out)["error"]["kind"] == "cancelled"
    assert STOPPING[name] in err
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


@pytest.mark.parametrize(("first", "second"), [("INT", "INT"), ("TERM", "TERM"), ("HUP", "TERM")])
def test_the_second_time_ends_at_once(start: Any, first: str, second: str) -> None:
    cancelled = threading.Event()

    def find(exchange: Exchange) -> None:
        exchange.match(StudyInstanceUID="1.2")
        exchange.wait_for_cancel()
        cancelled.set()
        exchange.association.next_message()

    with Scripted(find=find) as scripted:
        px = start("find", scripted.address, "--jsonl")
        px.first_row()
        px.interrupt(signal.Signals[f"SIG{first}"])
        assert cancelled.wait(WAIT)
        px.interrupt(signal.Signals[f"SIG{second}"])
        code, out, _ = px.end()
    assert code == 128 + signal.Signals[f"SIG{second}"]
    assert out == ""


def moving(asked: threading.Event, final: int) -> Any:
    def move(exchange: Exchange) -> None:
        exchange.progress(0xFF00, 5, 2, 0, 0)
        asked.set()
        assert exchange.wait_for_cancel()
        exchange.progress(final, 4, 3, 0, 0)

    return move


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_move_is_cancelled_and_its_numbers_are_told(start: Any, number: int) -> None:
    asked = threading.Event()
    with Scripted(move=moving(asked, 0xFE00)) as scripted:
        keys = ["-k", "StudyInstanceUID=1.2\\1.3"]
        px = start("move", scripted.address, "--to", "THERE", "--json", *keys)
        assert asked.wait(WAIT)
        px.interrupt(number)
        code, out, err = px.end()
    document = json.loads(out)
    assert code == 128 + number
    assert document["status"] == "cancelled"
    assert (document["completed"], document["remaining"]) == (3, 4)
    assert document["error"]["kind"] == "cancelled"
    assert "the PACS had sent 3 instances, 4 remain" in err
    assert scripted.failures == [None]


def test_a_get_is_cancelled(start: Any, home: Path) -> None:
    asked = threading.Event()

    def get(exchange: Exchange) -> None:
        exchange.progress(0xFF00, 5, 2, 0, 0)
        asked.set()
        assert exchange.wait_for_cancel()
        exchange.progress(0xFE00, 5, 2, 0, 0)

    with Scripted(get=get, find=lambda exchange: exchange.end_find(0)) as scripted:
        px = start("get", scripted.address, "--json", "-k", "StudyInstanceUID=1.2\\1.3")
        assert asked.wait(WAIT)
        px.interrupt(signal.SIGTERM)
        code, out, err = px.end()
    assert (code, json.loads(out)["status"]) == (143, "cancelled"), err
    assert scripted.failures == [None] * len(scripted.failures)


def test_a_terminal_that_is_closed(home: Path) -> None:
    """Whoever closes it sees nothing more, but the PACS hears a C-CANCEL and a release."""
    asked, cancelled = threading.Event(), threading.Event()

    def move(exchange: Exchange) -> None:
        exchange.progress(0xFF00, 5, 2, 0, 0)
        asked.set()
        if exchange.wait_for_cancel():
            cancelled.set()
        exchange.progress(0xFE00, 5, 2, 0, 0)

    with Scripted(move=move) as scripted:
        keys = ["--to", "THERE", "-k", "StudyInstanceUID=1.2\\1.3"]
        ours, theirs = os.openpty()
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *command_line("move", scripted.address, *keys)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        try:
            assert asked.wait(WAIT)
            os.close(ours)
            process.wait(WAIT)
        finally:
            process.kill()
            process.wait()
    assert cancelled.is_set()
    assert scripted.failures == [None]


def test_who_had_signals_ignored_wants_them_ignored(home: Path) -> None:
    """As ``nohup`` and ``&`` of a shell do."""
    asked, go_on = threading.Event(), threading.Event()

    def find(exchange: Exchange) -> None:
        asked.set()
        go_on.wait(WAIT)
        exchange.end_find(0)

    deaf = "trap '' HUP TERM INT; exec \"$@\""
    with Scripted(find=find) as scripted:
        command = command_line("find", scripted.address, "--json")
        process = subprocess.Popen(["sh", "-c", deaf, "sh", *command], stdout=subprocess.PIPE)
        try:
            assert asked.wait(WAIT)
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                process.send_signal(number)
            go_on.set()
            out, _ = process.communicate(timeout=WAIT)
        finally:
            process.kill()
            process.communicate()
    assert (process.returncode, json.loads(out)) == (0, [])


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
