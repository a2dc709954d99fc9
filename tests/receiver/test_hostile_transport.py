"""Hostile associations, section A of ``docs/reliability.md``: transport and upper layer."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack

import pytest

from pypx.receiver.allow import AllowRule
from tests.hostile import (
    ABORT,
    APPLICATION,
    CLOSED,
    CT,
    RELEASE_RP,
    RELEASE_RQ,
    RawPeer,
    Scene,
    abort,
    context,
    echo_rq,
    item,
    p_data,
    pdu,
    pdv,
    reject,
    request,
    status_of,
    store_rq,
    user_information,
)
from tests.objects import data_set
from tests.receiver.conftest import Begin


def leave(peer: RawPeer) -> None:
    peer.send(RELEASE_RQ)
    assert peer.rest() == [RELEASE_RP]


def test_a1_connections_that_say_nothing(begin: Begin) -> None:
    scene = begin(artim_timeout=0.4)
    with ExitStack() as stack:
        silent = [stack.enter_context(scene.peer()) for _ in range(60)]
        with scene.peer() as good:
            good.associate()
            leave(good)
        assert [peer.receive() for peer in silent] == [CLOSED] * 60
    scene.check(*["did not ask for an association within 0.4 s"] * 60)


@pytest.mark.parametrize(("kind", "answer"), [(1, abort(0, 0)), (2, abort(0, 0)), (4, abort(0, 0))])
def test_a3_a_length_of_4_gib_is_refused_at_the_header(
    scene: Scene, kind: int, answer: bytes
) -> None:
    with scene.peer() as peer:
        peer.send(pdu(kind, b"", length=0xFFFFFFFF))
        assert peer.rest() == [answer]
    scene.check("sent")


@pytest.mark.parametrize("length", [0x7FFFFFFF, 0xFFFFFFFF, (1 << 20) + 1])
def test_a4_p_data_of_more_than_announced(scene: Scene, length: int) -> None:
    with scene.peer() as peer:
        peer.associate()
        peer.send(pdu(4, b"", length=length))
        assert peer.rest() == [abort(2, 6)]
    scene.check(f"P-DATA-TF of {length} bytes")


BROKEN_REQUESTS = {
    "an item beyond the end": request(extra=item(0x10, b"", length=1)),
    "a context beyond its item": request(item(0x20, b"\1\0\0\0" + item(0x30, b"1.2", length=9))),
    "a sub-item beyond": request(user=item(0x50, item(0x51, b"\0\0\1\0", length=99))),
    "a maximum length of 3 bytes": request(user=item(0x50, item(0x51, b"\0\0\1"))),
    "half an item header": request(extra=b"\x50\0"),
    "two application contexts": request(extra=item(0x10, APPLICATION)),
    "two user informations": request(extra=user_information()),
    "fewer than the fixed fields": pdu(1, bytes(67)),
    "2000 contexts": request(context(1) * 2000),
}


@pytest.mark.parametrize("first", BROKEN_REQUESTS.values(), ids=BROKEN_REQUESTS)
def test_a5_requests_that_are_inconsistent(scene: Scene, first: bytes) -> None:
    with scene.peer() as peer:
        peer.send(first)
        assert peer.rest() == [abort(0, 0)]
    scene.check("")


@pytest.mark.parametrize("size", [0, 100], ids=["empty items", "items"])
def test_a5_a6_a_request_of_1_mib(scene: Scene, size: int) -> None:
    """Unknown items are passed over (PS3.8 §9.3.1): 200,000 of them cost little."""
    plain = len(request()) - 6
    number = ((1 << 20) - plain) // (size + 4)
    extra = item(0x99, bytes(size)) * number
    with scene.peer() as peer:
        began = time.process_time()
        peer.associate(extra=extra)
        assert time.process_time() - began < 1
        leave(peer)
    scene.check()


STRANGERS = {
    "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "an HTTP request"),
    "TLS": (bytes.fromhex("1603010200010001fc0303"), "a TLS handshake"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
    "random": (bytes.fromhex("93b1c07e5d22"), "type 93H"),
    "an unknown PDU": (pdu(0x41, bytes(4)), "type 41H"),
    "P-DATA first": (p_data(pdv(1, echo_rq())), "unexpected P-DATA-TF"),
}


@pytest.mark.parametrize(("first", "line"), STRANGERS.values(), ids=STRANGERS)
def test_a7_who_speaks_something_else(scene: Scene, first: bytes, line: str) -> None:
    with scene.peer() as peer:
        peer.send(first)
        assert peer.rest() == [abort(0, 0)]
    scene.check(line)


def test_a7_an_unknown_pdu_in_an_association(scene: Scene) -> None:
    with scene.peer() as peer:
        peer.associate()
        peer.send(pdu(0x41, bytes(4)))
        assert peer.rest() == [abort(2, 1)]
    scene.check("type 41H")


BROKEN_P_DATA = {
    "without a PDV": pdu(4, b""),
    "a PDV of 0 bytes": pdu(4, bytes.fromhex("000000000103")),
    "a PDV of 1 byte": pdu(4, bytes.fromhex("000000010103")),
    "a PDV beyond its PDU by 1": pdu(4, bytes.fromhex("000000050103") + bytes(2)),
    "a PDV of 4 GiB": pdu(4, bytes.fromhex("ffffffff0103") + bytes(2)),
    "a PDV of 4 GiB - 1": pdu(4, bytes.fromhex("fffffffe0103") + bytes(2)),
    "a PDV that leaves 1 byte": pdu(4, bytes.fromhex("000000030103") + bytes(2)),
    "a PDV that leaves 3 bytes": pdu(4, bytes.fromhex("000000030103") + bytes(4)),
}


@pytest.mark.parametrize("data", BROKEN_P_DATA.values(), ids=BROKEN_P_DATA)
def test_a8_b4_pdvs_that_do_not_fit(scene: Scene, data: bytes) -> None:
    with scene.peer() as peer:
        peer.associate()
        peer.send(data)
        assert peer.rest() == [abort(2, 6)]
    scene.check("")


def test_a8_empty_fragments(scene: Scene) -> None:
    """One at the end is legal; 10,000 of a command set are not."""
    with scene.peer() as peer:
        peer.associate()
        peer.send(p_data(pdv(3, echo_rq(), last=False)), p_data(pdv(3, b"")))
        assert status_of(peer.receive()) == 0
        peer.send(p_data(*[pdv(3, b"", last=False)] * 10_000))
        assert peer.rest() == [abort(0, 0)]
    scene.check("1024 fragments")


def test_a9_byte_by_byte_and_all_at_once(scene: Scene) -> None:
    data = data_set(1)
    store = p_data(pdv(1, store_rq())) + p_data(pdv(1, data, command=False))
    for size in (1, 10_000):
        with scene.peer() as peer:
            for stream in (request(), store):
                for position in range(0, len(stream), size):
                    peer.send(stream[position : position + size])
                peer.receive()
            peer.send(store * 50)
            assert [status_of(peer.receive()) for _ in range(50)] == [0] * 50
            leave(peer)
    scene.note("1.2.3.4.1", data)
    scene.check()


CONTEXTS = {
    "300 with the same IDs": b"".join(context(n & 0xFF | 1) for n in range(300)),
    "a duplicate ID": CT + CT,
    "an even ID": CT + context(2),
    "ID 0": context(0),
    "none": b"",
    "no abstract syntax": item(0x20, b"\1\0\0\0" + item(0x40, b"1.2.840.10008.1.2")),
    "no transfer syntax": item(0x20, b"\1\0\0\0" + item(0x30, b"1.2.840.10008.1.1")),
}


@pytest.mark.parametrize("contexts", CONTEXTS.values(), ids=CONTEXTS)
def test_a10_presentation_contexts_that_break_a_rule(scene: Scene, contexts: bytes) -> None:
    with scene.peer() as peer:
        peer.send(request(contexts))
        assert peer.rest() == [abort(2, 6)]
    scene.check("")


def test_a10_as_many_contexts_as_there_can_be(scene: Scene) -> None:
    syntaxes = [f"1.2.840.10008.1.2.{number}" for number in range(1000)]
    contexts = context(1, "1.2.840.10008.1.1", "1.2.840.10008.1.2", *syntaxes)
    with scene.peer() as peer:
        peer.associate(contexts + b"".join(context(n) for n in range(3, 256, 2)))
        leave(peer)
    scene.check()


TITLES = [
    b" " * 16,
    b"../secret/VICTIM",
    b"A\0B",
    b"\xff" * 16,
    b"A\\B",
    b"\x1b[31mRED",
    b"LINE\nBREAK",
    b'"; rm -rf /',
    b"lower",
]


@pytest.mark.parametrize("title", TITLES, ids=repr)
def test_a12_titles_are_labels(scene: Scene, title: bytes) -> None:
    data = data_set(1)
    with scene.peer() as peer:
        answer = peer.associate(called=title, calling=title)
        assert answer[10:42] == title.ljust(16) * 2 or not title.strip(b" \0")
        peer.send(p_data(pdv(1, store_rq())), p_data(pdv(1, data, command=False)))
        assert status_of(peer.receive()) == 0
        leave(peer)
    scene.note("1.2.3.4.1", data)
    (path,) = scene.tree()
    assert path.is_file()
    scene.check()


@pytest.mark.parametrize("maximum", [0, 1, 7, 4096, 0xFFFFFFFF])
def test_a15_what_the_peer_receives_at_most(scene: Scene, maximum: int) -> None:
    with scene.peer() as peer:
        peer.associate(user=user_information(maximum=maximum))
        peer.send(p_data(pdv(3, echo_rq())))
        if maximum in (1, 7):  # no fragment with 2 bytes of data fits
            assert peer.rest() == [abort(2, 6)]
            scene.check("")
            return
        assert status_of(peer.receive()) == 0
        leave(peer)
    scene.check()


@pytest.mark.parametrize("offset", [0, 3, 100, -700, -690, -400, -1])
def test_a18_a_reset_anywhere(scene: Scene, offset: int) -> None:
    kept = data_set(1, PixelData=bytes(500))
    stream = p_data(pdv(1, store_rq())) + p_data(pdv(1, kept, command=False))
    with scene.peer() as peer:
        peer.associate()
        peer.send(stream)
        assert status_of(peer.receive()) == 0
        scene.note("1.2.3.4.1", kept)
    with scene.peer() as peer:
        peer.associate()
        peer.send(stream[:offset])
        peer.reset()
    scene.check("", "")


def test_a18_a_reset_of_a_request(scene: Scene) -> None:
    for size in (1, 50):
        with scene.peer() as peer:
            peer.send(request()[:size])
            peer.reset()
        scene.wait_for()
    assert len(scene.told()) <= 2  # what came just before a reset may be lost with it


def test_a20_a_peer_that_pauses(begin: Begin) -> None:
    scene = begin(idle_timeout=0.4)
    data = data_set(1)
    with scene.peer() as peer:
        peer.associate()
        peer.send(p_data(pdv(1, store_rq())), p_data(pdv(1, data[:90], command=False, last=False)))
        time.sleep(0.2)
        peer.send(p_data(pdv(1, data[90:], command=False)))
        assert status_of(peer.receive()) == 0
        scene.note("1.2.3.4.1", data)
        peer.send(p_data(pdv(1, store_rq("1.2.3.4.2"))))
        assert peer.rest() == [abort(0, 0)]
    scene.check("silent for 0.4 s")


def identity(kind: int, primary: bytes, secondary: bytes = b"") -> bytes:
    value = bytes((kind, 0)) + len(primary).to_bytes(2, "big") + primary
    return item(0x58, value + len(secondary).to_bytes(2, "big") + secondary)


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 9])
def test_a22_no_identity_is_told(scene: Scene, kind: int) -> None:
    secret = b"planted-secret" * 1000
    with scene.peer() as peer:
        peer.associate(user=user_information(identity(kind, secret, secret)))
        peer.send(ABORT)
        assert peer.rest() == []
    scene.check("The peer aborted")
    assert "planted" not in scene.log.text + str(scene.heard.summaries)


def test_a23_what_is_unknown_or_reserved_is_passed_over(scene: Scene) -> None:
    whole = bytearray(request(version=3, user=user_information(item(0x77, b"x") * 9)))
    whole[1] = whole[8] = whole[45] = 0xFF
    with scene.peer() as peer:
        peer.send(bytes(whole))
        assert peer.receive()[:1] == b"\x02"
        leave(peer)
    scene.check()


@pytest.mark.parametrize(
    ("first", "answer"),
    [
        (request(application=b"1.2.840.10008.3.1.1.2"), reject(1, 1, 2)),
        (request(version=2), reject(1, 2, 2)),
    ],
    ids=["application context", "protocol version"],
)
def test_a23_requests_that_are_rejected(scene: Scene, first: bytes, answer: bytes) -> None:
    with scene.peer() as peer:
        peer.send(first)
        assert peer.rest() == [answer]
    scene.check("We rejected the association")


def test_a17_data_behind_the_release(scene: Scene) -> None:
    with scene.peer() as peer:
        peer.associate()
        peer.send(RELEASE_RQ)
        assert peer.receive() == RELEASE_RP
        peer.send(p_data(pdv(1, store_rq())))
        assert peer.rest() == []
    scene.check()


@pytest.mark.parametrize(
    ("rule", "asked", "answer"),
    [
        ("FRIEND@*", {}, reject(1, 1, 3)),
        ("HOSTILE@127.0.0.2", {}, reject(1, 1, 3)),
        ("hostile@*", {}, reject(1, 1, 3)),
        ("HOSTILE@* to PYPX", {"called": b"OTHER"}, reject(1, 1, 7)),
        ("HOSTILE@* tls hostile.example.org", {}, reject(1, 1, 3)),
    ],
)
def test_a13_who_is_not_in_the_list(
    scene: Scene, rule: str, asked: dict[str, bytes], answer: bytes
) -> None:
    """By calling AE title, address, called AE title, certificate: the standard's reason."""
    scene.receiver.configure(allow=[AllowRule.parse(rule), AllowRule.parse("GOOD@*")], min_free=0)
    with scene.peer() as peer:
        peer.send(request(**asked))
        assert peer.rest() == [answer]
    scene.check("We rejected the association")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
def test_a13_the_same_title_from_two_addresses(scene: Scene) -> None:
    rules = [AllowRule.parse("HOSTILE@127.0.0.2"), AllowRule.parse("GOOD@*")]
    scene.receiver.configure(allow=rules, min_free=0)
    with scene.peer(source="127.0.0.2") as peer:
        peer.associate()
        leave(peer)
    with scene.peer(source="127.0.0.3") as peer:
        peer.send(request())
        assert peer.rest() == [reject(1, 1, 3)]
    scene.check("We rejected the association")
