"""Hostile associations, section B of ``docs/reliability.md``: messages and their fragments."""

from __future__ import annotations

import pytest

from tests.hostile import (
    ABORT,
    CT,
    RELEASE_RP,
    RELEASE_RQ,
    RawPeer,
    Scene,
    abort,
    command,
    context,
    echo_rq,
    element,
    p_data,
    pdv,
    response_elements,
    status_of,
    store_rq,
    text,
    us,
)
from tests.objects import CT_IMAGE, data_set
from tests.receiver.conftest import Begin

DATA = data_set(1)
STORE = p_data(pdv(1, store_rq()))


def leave(peer: RawPeer) -> None:
    peer.send(RELEASE_RQ)
    assert peer.rest() == [RELEASE_RP]


def data(value: bytes = DATA, *, number: int = 1, last: bool = True) -> bytes:
    return p_data(pdv(number, value, command=False, last=last))


def without(number: int) -> bytes:
    return p_data(pdv(1, store_rq(changes={number: None})))


DIMSE, UNEXPECTED, INVALID = abort(0, 0), abort(2, 2), abort(2, 6)
BREACHES: dict[str, tuple[bytes, bytes]] = {
    "b1 a data set without a command": (data(), DIMSE),
    "b1 a command that never ends, then data": (
        p_data(pdv(1, store_rq()[:40], last=False)) + data(),
        DIMSE,
    ),
    "b1 two commands and no data": (STORE + STORE, DIMSE),
    "b2 the command in one context, the data in another": (STORE + data(number=3), DIMSE),
    "b2 the command in two contexts": (
        p_data(pdv(1, store_rq()[:40], last=False), pdv(3, store_rq()[40:])),
        DIMSE,
    ),
    "b3 a context that was not proposed": (p_data(pdv(99, store_rq())), INVALID),
    "b3 a context that was rejected": (p_data(pdv(5, echo_rq())), INVALID),
    "b3 an even context": (p_data(pdv(2, echo_rq())), INVALID),
    "b6 release in the middle of a message": (
        STORE + data(DATA[:100], last=False) + RELEASE_RQ,
        UNEXPECTED,
    ),
    "b6 the next command in the middle of a message": (
        STORE + data(DATA[:100], last=False) + STORE,
        DIMSE,
    ),
    "b7 a second request before the data": (STORE + p_data(pdv(1, echo_rq())), DIMSE),
    "b10 a response that nobody asked for": (
        p_data(pdv(1, command({0x100: us(0x8001), 0x120: us(1), 0x800: us(0x101), 0x900: us(0)}))),
        DIMSE,
    ),
    "b10 the command field FFFF": (
        p_data(pdv(1, command({0x100: us(0xFFFF), 0x110: us(1), 0x800: us(0x101)}))),
        DIMSE,
    ),
    "b12 no message ID": (without(0x110), DIMSE),
    "b12 no command field": (without(0x100), DIMSE),
    "b12 no SOP instance UID": (without(0x1000), DIMSE),
    "b12 an empty command field": (p_data(pdv(1, store_rq(changes={0x100: b""}))), DIMSE),
    "b12 nothing at all": (p_data(pdv(1, b"")), DIMSE),
    "b13 garbage": (p_data(pdv(1, b"this is no command set")), DIMSE),
    "b13 explicit VR": (p_data(pdv(1, b"\0\0\0\1US\2\0\1\0" * 3)), DIMSE),
    "b13 1 MiB": (p_data(pdv(1, bytes(65_000), last=False)) * 16, DIMSE),
    "b14 a US of 1 byte": (p_data(pdv(1, store_rq(changes={0x110: b"\1"}))), DIMSE),
    "b14 a US of 100 bytes": (p_data(pdv(1, store_rq(changes={0x110: bytes(100)}))), DIMSE),
    "b14 an element beyond the end": (
        p_data(pdv(1, store_rq() + element(0x5000, b"", length=0xFFFFFFFE))),
        DIMSE,
    ),
    "b14 a sequence that never ends": (
        p_data(pdv(1, store_rq() + element(0x5000, b"\xfe\xff\0\xe0", length=0xFFFFFFFF))),
        DIMSE,
    ),
}


@pytest.mark.parametrize(("stream", "answer"), BREACHES.values(), ids=BREACHES)
def test_b_breaches(scene: Scene, stream: bytes, answer: bytes) -> None:
    """Rows B1 to B3, B6, B7, B10, B12 to B14: nothing is stored and the association ends."""
    find = context(5, "1.2.840.10008.5.1.4.1.2.2.1")
    with scene.peer() as peer:
        peer.associate(CT + context(3, "1.2.840.10008.1.1", "1.2.840.10008.1.2") + find)
        peer.send(stream)
        assert peer.rest() == [answer]
    assert scene.tree() == scene.quarantine() == []
    scene.check("")


@pytest.mark.parametrize("sizes", [(3, 5), (3,)], ids=["even in all", "odd in all"])
def test_b5_odd_fragments(scene: Scene, sizes: tuple[int, ...]) -> None:
    """Some peers cut where they should not (PS3.8 Annex E); the data set is whole all the same."""
    pieces, position = [], 0
    for size in sizes:
        pieces.append(data(DATA[position : position + size], last=False))
        position += size
    with scene.peer() as peer:
        peer.associate()
        peer.send(STORE, *pieces, data(DATA[position:]))
        assert status_of(peer.receive()) == 0
        leave(peer)
    scene.note("1.2.3.4.1", DATA)
    scene.check()


@pytest.mark.parametrize("way", ["silence", "close", "abort"])
def test_b6_the_last_fragment_never_comes(begin: Begin, way: str) -> None:
    scene = begin(idle_timeout=0.3)
    with scene.peer() as peer:
        peer.associate()
        peer.send(STORE, data(DATA[:-2], last=False))
        if way == "abort":
            peer.send(ABORT)
        if way == "silence":
            assert peer.rest() == [DIMSE]
    assert scene.tree() == scene.quarantine() == []
    scene.check("")


@pytest.mark.parametrize("number", [0, 1, 65535])
def test_b8_any_message_id_again_and_again(scene: Scene, number: int) -> None:
    with scene.peer() as peer:
        peer.associate()
        for _ in range(2):
            peer.send(p_data(pdv(1, store_rq(message_id=number))), data())
            answer = peer.receive()
            assert status_of(answer) == 0
            assert response_elements(answer)[0x120] == us(number)
        leave(peer)
    scene.note("1.2.3.4.1", DATA)
    scene.check()


def test_b9_any_cut_is_the_same_object(scene: Scene) -> None:
    request = store_rq()
    ways = [
        p_data(pdv(1, request), pdv(1, DATA, command=False)),
        b"".join(
            p_data(pdv(1, request[n : n + 2], last=n + 2 >= len(request)))
            for n in range(0, len(request), 2)
        )
        + b"".join(data(DATA[n : n + 2], last=n + 2 >= len(DATA)) for n in range(0, len(DATA), 2)),
        p_data(
            pdv(1, request),
            *[
                pdv(1, DATA[n : n + 1], command=False, last=n + 1 == len(DATA))
                for n in range(len(DATA))
            ],
        ),
    ]
    with scene.peer() as peer:
        peer.associate()
        for stream in ways:
            peer.send(stream)
            assert status_of(peer.receive()) == 0
        leave(peer)
    scene.note("1.2.3.4.1", DATA)
    assert [one.outcome for one in scene.heard.received] == ["new", "duplicate", "duplicate"]
    scene.check()


def test_b9_a_large_pdv(begin: Begin) -> None:
    scene = begin(max_pdu=20 << 20)
    large = data_set(1, PixelData=bytes(16 << 20))
    with scene.peer() as peer:
        peer.associate()
        peer.send(STORE, data(large))
        assert status_of(peer.receive()) == 0
        leave(peer)
    scene.note("1.2.3.4.1", large)
    scene.check()


def test_b10_a_cancel_of_nothing_and_a_service_that_is_not_ours(scene: Scene) -> None:
    cancel = command({0x100: us(0x0FFF), 0x120: us(77), 0x800: us(0x101)})
    action = command(
        {0x3: text(CT_IMAGE), 0x100: us(0x130), 0x110: us(5), 0x800: us(0x101)}
        | {0x1001: text("1.2"), 0x1008: us(1)}
    )
    with scene.peer() as peer:
        peer.associate()
        peer.send(p_data(pdv(1, cancel)), p_data(pdv(1, action)))
        assert status_of(peer.receive()) == 0x0211
        leave(peer)
    scene.check()


def test_b11_a_store_that_announces_no_data_set(scene: Scene) -> None:
    with scene.peer() as peer:
        peer.associate()
        peer.send(p_data(pdv(1, store_rq(changes={0x800: us(0x0101)}))))
        assert status_of(peer.receive()) == 0xC000
        peer.send(STORE, data())
        assert status_of(peer.receive()) == 0
        leave(peer)
    scene.note("1.2.3.4.1", DATA)
    scene.check()


@pytest.mark.parametrize("length", [0, 7, 0xFFFFFFFF])
def test_b13_the_group_length_may_be_wrong(scene: Scene, length: int) -> None:
    wrong = element(0, length.to_bytes(4, "little")) + echo_rq()[12:]
    with scene.peer() as peer:
        peer.associate()
        for one in (wrong, wrong[12:]):
            peer.send(p_data(pdv(3, one)))
            assert status_of(peer.receive()) == 0
        leave(peer)
    scene.check()


def test_b15_10000_echoes_at_once(scene: Scene) -> None:
    """They are answered in order, and others are served meanwhile."""
    import threading

    with scene.peer() as peer:
        peer.associate()
        flood = b"".join(p_data(pdv(3, echo_rq(number))) for number in range(10_000))
        sending = threading.Thread(target=peer.send, args=(flood,))
        sending.start()
        with scene.good() as good:
            good.echo()
        for number in range(10_000):
            assert response_elements(peer.receive())[0x120] == us(number)
        sending.join()
        leave(peer)
    scene.check()


ORIGINATORS = [b"../../etc", b"\x1b[31mRED", b"\xff" * 16, b"A\\B", b"x" * 300]


@pytest.mark.parametrize("title", ORIGINATORS, ids=repr)
def test_b17_who_moves_is_only_noted(scene: Scene, title: bytes) -> None:
    changes = {0x1030: text(title), 0x1031: us(65535)}
    with scene.peer() as peer:
        peer.associate()
        peer.send(p_data(pdv(1, store_rq(changes=changes))), data())
        assert status_of(peer.receive()) == 0
        leave(peer)
    scene.note("1.2.3.4.1", DATA)
    (event,) = scene.heard.received
    assert event.move_originator_ae_title == title.decode("latin-1")
    scene.check()
