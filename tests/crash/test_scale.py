"""Many associations, many instances, few descriptors, few threads; and peers that misbehave."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from pypx.dimse.messages import CStoreRQ
from pypx.errors import PypxError
from pypx.net.connection import Timeouts
from tests.crash.conftest import limited
from tests.listening import (
    OUT_OF_RESOURCES,
    Footprint,
    Ledger,
    Listener,
    all_from_here,
    associated,
    check,
    echo,
    eventually,
    instance,
    send,
)
from tests.objects import CT_IMAGE
from tests.peers.process import HOST, require

IMPATIENT = Timeouts(connect=5, association=5, response=5, release=1)

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="only Linux tells what a process holds"
)


def series(number: int) -> dict[str, str]:
    return {"StudyInstanceUID": f"1.2.{number}", "SeriesInstanceUID": f"1.2.{number}.1"}


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    with Listener(tmp_path / "archive", tmp_path, *all_from_here(tmp_path)) as one:
        yield one


# What a peer can do with an association.


def only_connect(listener: Listener, ledger: Ledger, number: int) -> None:
    with socket.create_connection((HOST, listener.port)):
        pass


def ask(listener: Listener, ledger: Ledger, number: int) -> None:
    with associated(listener) as connection:
        assert echo(connection)


def store(listener: Listener, ledger: Ledger, number: int) -> None:
    with associated(listener) as connection:
        assert send(connection, ledger, number).status == 0


def break_off(listener: Listener, ledger: Ledger, number: int) -> None:
    uid, data = instance(number)
    with suppress(PypxError), associated(listener) as connection:
        connection.send(1, CStoreRQ(7, CT_IMAGE, uid))
        connection.send_data_set(1, data[:1000], is_last=False)
        connection.abort()


def vanish(listener: Listener, ledger: Ledger, number: int) -> None:
    uid, data = instance(number)
    with suppress(PypxError), associated(listener) as connection:
        connection.send(1, CStoreRQ(7, CT_IMAGE, uid))
        connection.send_data_set(1, data[:1000], is_last=False)
        connection._channel.close()


def speak_http(listener: Listener, ledger: Ledger, number: int) -> None:
    with socket.create_connection((HOST, listener.port), timeout=30) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with suppress(OSError):
            while sock.recv(4096):
                pass


def announce_4_gib(listener: Listener, ledger: Ledger, number: int) -> None:
    with socket.create_connection((HOST, listener.port), timeout=30) as sock:
        sock.sendall(b"\x01\x00\xff\xff\xff\xff" + bytes(1000))
        with suppress(OSError):
            while sock.recv(4096):
                pass


def lie(listener: Listener, ledger: Ledger, number: int) -> None:
    _, data = instance(number)
    with associated(listener) as connection:
        response = send(connection, Ledger(), number, data=data, SOPInstanceUID="1.2.666")
        assert response.status == 0xA900


Peer = Callable[[Listener, Ledger, int], None]
MISBEHAVING: list[Peer] = [break_off, vanish, speak_http, announce_4_gib, lie]


@pytest.mark.timeout(120)
def test_f3_3000_associations_one_after_the_other(tmp_path: Path) -> None:
    """The first 1,500 fill the caches; then no more than 1 KiB stays of each.

    A heap grows in steps, whenever a thread gets an arena of its own: only what grows each time
    is a leak.
    """
    kinds: list[Peer] = [only_connect, ask, store, break_off]
    ledger = Ledger()
    footprints: list[Footprint] = []
    with Listener(tmp_path / "archive", tmp_path, "--durability", "none") as listener:
        idle = listener.status("Threads")

        def run(first: int) -> Footprint:
            for number in range(first, first + 1500):
                kinds[number % 4](listener, ledger, number)
            eventually(lambda: listener.status("Threads") <= idle)
            return listener.footprint()

        footprints += [run(0), run(1500)]
        while len(footprints) < 5 and grown(footprints) > 1500 << 10:
            footprints.append(run(1500 * len(footprints)))
        assert grown(footprints) <= 1500 << 10
        check(listener, ledger, footprints[0])


def grown(footprints: list[Footprint]) -> int:
    """By how many bytes the listener grew at least from one to the next."""
    return min(b.resident - a.resident for a, b in pairwise(footprints))


@pytest.mark.timeout(120)
def test_f4_200_associations_of_which_20_misbehave(listener: Listener) -> None:
    ledger = Ledger()
    before = listener.footprint()
    ready = threading.Barrier(200, timeout=60)
    failed: list[BaseException] = []

    def be_good(number: int) -> None:
        with associated(listener, f"GOOD{number}") as connection:
            ready.wait()
            for one in range(4):
                pixels = bytes(1 + 997 * (number * 4 + one) % 60_000 & ~1 or 2)
                uid = f"1.2.{number}.1.{one}"
                changes = {"SOPInstanceUID": uid, "PixelData": pixels, **series(number)}
                assert send(connection, ledger, one, **changes).status == 0

    def be(number: int) -> None:
        try:
            if number % 10:
                be_good(number)
            else:
                ready.wait()
                for kind in MISBEHAVING:
                    kind(listener, ledger, 10_000 + number)
        except BaseException as error:
            failed.append(error)
            ready.abort()
            raise

    threads = [threading.Thread(target=be, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(ledger.contents) == 720
    check(listener, ledger, before)
    assert len(list((listener.root / ".pypx/quarantine").glob("*.dcm"))) == 20


def test_f6_64_descriptors(tmp_path: Path) -> None:
    """Who comes when there is none left waits; who is there already is told A700."""
    ledger = Ledger()
    prefix = [require("prlimit"), "--nofile=64:64"]
    with Listener(tmp_path / "archive", tmp_path, prefix=prefix) as listener:
        with associated(listener) as connection:
            assert send(connection, ledger, 1).status == 0
            before = listener.footprint()
            with ExitStack() as waiting:
                for _ in range(80):
                    waiting.enter_context(socket.create_connection((HOST, listener.port)))
                eventually(lambda: "cannot accept a connection" in listener.log.lower())
                refused = send(connection, ledger, 2, **series(2))
                assert refused.status == OUT_OF_RESOURCES
                assert "open files" in (refused.error_comment or "")
                assert echo(connection)
                said = listener.log.count("open files")
                assert echo(connection) and listener.log.count("open files") < said + 100, (
                    "it waits, and does not turn round and round"
                )
            eventually(lambda: listener.footprint().sockets <= before.sockets)
            assert send(connection, ledger, 2, **series(2)).status == 0
        check(listener, ledger, before)


@pytest.mark.usefixtures("may_mount")
def test_f7_no_more_threads(tmp_path: Path) -> None:
    ledger = Ledger()
    with (
        limited("pids", "pids.max", 10) as prefix,
        Listener(tmp_path / "archive", tmp_path, prefix=prefix) as listener,
    ):
        before = listener.footprint()
        with ExitStack() as served:
            connections = []
            with pytest.raises(PypxError):
                for number in range(12):
                    one = associated(listener, f"A{number}", timeouts=IMPATIENT)
                    connections.append(served.enter_context(one))
            assert len(connections) >= 4
            for number, connection in enumerate(connections):
                assert send(connection, ledger, number, **series(number)).status == 0
            assert "cannot serve a connection" in listener.log.lower()
        eventually(lambda: listener.footprint().is_back_to(before))
        check(listener, ledger, before)
        listener.stop()


@pytest.mark.timeout(180)
def test_f8_d20_10000_instances_in_one_folder(tmp_path: Path) -> None:
    """The thousandth and the last take as many calls that read or write."""
    calls = {}
    root = tmp_path / "archive"
    with Listener(root, tmp_path, "--durability", "none") as listener:
        ledger = Ledger()
        with associated(listener) as connection:
            for number in range(10_001):
                if number % 1000 == 0:
                    calls[number] = listener.calls()
                assert send(connection, ledger, number, PixelData=b"12").status == 0
        early = calls[3000] - calls[1000]
        late = calls[10_000] - calls[8000]
        assert late < 1.3 * early
        assert len({path.parent for path in root.glob("[!.]*/**/*.dcm")}) == 1
        assert check(listener, ledger).files == 10_002
