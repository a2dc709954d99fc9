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
from tests.hostile import (
    ABORT,
    RELEASE_RP,
    RELEASE_RQ,
    RawPeer,
    echo_rq,
    p_data,
    pdv,
    status_of,
    store_rq,
)
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


# The same with bytes that are put together by hand, in a fraction of the time.


def ask_cheaply(listener: Listener, ledger: Ledger, number: int) -> None:
    with RawPeer(listener.port) as peer:
        peer.associate()
        peer.send(p_data(pdv(3, echo_rq())))
        assert status_of(peer.receive()) == 0
        release(peer)


def store_cheaply(listener: Listener, ledger: Ledger, number: int) -> None:
    with RawPeer(listener.port) as peer:
        peer.associate()
        send_cheaply(peer, ledger, number)
        release(peer)


def send_cheaply(peer: RawPeer, ledger: Ledger, number: int) -> None:
    uid, data = instance(number, PixelData=b"12", **series(number // 100 + 1))
    peer.send(p_data(pdv(1, store_rq(uid))), p_data(pdv(1, data, command=False)))
    assert status_of(peer.receive()) == 0
    ledger.note(uid, data)


def break_off_cheaply(listener: Listener, ledger: Ledger, number: int) -> None:
    """Half an object, then RST or an A-ABORT."""
    uid, data = instance(number)
    with RawPeer(listener.port) as peer:
        peer.associate()
        half = pdv(1, data[:1000], command=False, last=False)
        peer.send(p_data(pdv(1, store_rq(uid))), p_data(half))
        if number % 8 < 4:
            peer.reset()
        else:
            peer.send(ABORT)


def at_rest(listener: Listener, ledger: Ledger) -> Footprint:
    """Give what it holds when it has served somebody and nobody is there."""
    store_cheaply(listener, ledger, 10**6)
    eventually(lambda: listener.footprint().sockets == 1)
    return listener.footprint()


def release(peer: RawPeer) -> None:
    peer.send(RELEASE_RQ)
    assert peer.receive() == RELEASE_RP


@pytest.mark.timeout(180)
def test_f3_10000_associations_one_after_the_other(tmp_path: Path) -> None:
    """The first 5,000 fill the caches; then no more than 1 KiB stays of each.

    A heap grows in steps, whenever a thread gets an arena of its own: only what grows each time
    is a leak.
    """
    kinds: list[Peer] = [only_connect, ask_cheaply, store_cheaply, break_off_cheaply]
    ledger = Ledger()
    with Listener(tmp_path / "archive", tmp_path, "--durability", "none") as listener:
        idle = at_rest(listener, ledger)

        def run(first: int) -> Footprint:
            for number in range(first, first + 2500):
                kinds[number % 4](listener, ledger, number)
            eventually(lambda: listener.status("Threads") <= idle.threads)
            return listener.footprint()

        footprints = [run(first) for first in range(0, 10_000, 2500)]
        assert grown(footprints[1:]) <= 2500 << 10
        assert len(ledger.contents) == 2501
        check(listener, ledger, footprints[0])


def grown(footprints: list[Footprint]) -> int:
    """By how many bytes the listener grew at least from one to the next."""
    return min(b.resident - a.resident for a, b in pairwise(footprints))


@pytest.mark.timeout(120)
def test_f3_200_associations_at_once_and_again(listener: Listener) -> None:
    """Each time all of them are there before the first one stores anything."""
    ledger = Ledger()
    footprints: list[Footprint] = []
    idle = at_rest(listener, ledger)
    for _ in range(6):
        with ExitStack() as stack:
            peers = [stack.enter_context(RawPeer(listener.port)) for _ in range(200)]
            for peer in peers:
                peer.associate()
            assert listener.footprint().sockets >= idle.sockets + 200
            for number, peer in enumerate(peers):
                send_cheaply(peer, ledger, number)  # the second time it is known
            for peer in peers:
                release(peer)
        eventually(lambda: listener.status("Threads") <= idle.threads)
        footprints.append(listener.footprint())
    assert grown(footprints[2:]) <= 200 << 10
    check(listener, ledger, footprints[0])


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
