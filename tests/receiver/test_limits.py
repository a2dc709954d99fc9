"""Each limit of an acceptor over a real socket: the answer, one line, and nobody else is harmed."""

from __future__ import annotations

import time
from contextlib import ExitStack
from itertools import count

import pytest

from pypx.errors import AssociationRejectedError
from pypx.net import served
from pypx.receiver.allow import AllowRule
from tests.hostile import (
    BOTH,
    CLOSED,
    CT,
    EXPLICIT,
    RELEASE_RP,
    RELEASE_RQ,
    RawPeer,
    Scene,
    abort,
    context,
    echo_rq,
    element,
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
from tests.objects import CT_IMAGE, data_set
from tests.receiver.conftest import Begin


def store(peer: RawPeer, scene: Scene, number: int) -> int:
    """Store an instance as a peer should."""
    data = data_set(number)
    peer.send(p_data(pdv(1, store_rq(f"1.2.3.4.{number}"))), p_data(pdv(1, data, command=False)))
    status = status_of(peer.receive())
    if status == 0:
        scene.note(f"1.2.3.4.{number}", data)
    return status


def test_associations_at_once(begin: Begin) -> None:
    scene = begin(max_associations=2)
    with scene.peer() as one, scene.peer() as two, scene.peer() as three:
        one.associate()
        two.associate()
        three.send(request())
        assert three.rest() == [reject(2, 3, 2)]
        assert store(one, scene, 1) == 0
        one.send(RELEASE_RQ)
        assert one.rest() == [RELEASE_RP]
        scene.wait_for(1)
        with scene.peer() as four:
            four.associate()
            for peer in (two, four):
                peer.send(RELEASE_RQ)
                assert peer.rest() == [RELEASE_RP]
    scene.check("We rejected the association: 2 are open already (max_associations).")


def test_associations_at_once_of_one_host(begin: Begin) -> None:
    scene = begin(max_associations=10, max_associations_per_host=2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(scene.peer()).associate()
        with scene.peer() as third:
            third.send(request())
            assert third.rest() == [reject(2, 3, 2)]
        # Another host is served: all of 127.0.0.0/8 is this machine.
        with RawPeer(scene.receiver.port, source="127.0.0.2") as other:
            other.associate()
            assert store(other, scene, 1) == 0
            other.send(RELEASE_RQ)
            assert other.rest() == [RELEASE_RP]
    told = scene.told()
    assert told[0] == (
        "We rejected the association: 2 of this host are open already (max_associations_per_host)."
    )


def test_a_rejected_association_takes_no_seat_while_it_lingers(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = begin(max_associations=1)
    monkeypatch.setattr(served, "_CLOSE_WAIT", 5)
    scene.receiver.configure(allow=[AllowRule.parse("FRIEND@*")], min_free=0)
    with scene.peer() as stranger:
        stranger.send(request())
        assert stranger.receive() == reject(1, 1, 3)  # and it does not close
        with scene.peer() as friend:
            friend.associate(calling=b"FRIEND")


def test_connections_that_wait_give_way_to_those_that_ask(begin: Begin) -> None:
    scene = begin(max_waiting=5)
    with ExitStack() as stack:
        silent = [stack.enter_context(scene.peer()) for _ in range(12)]
        with scene.good() as good:
            good.echo()
        assert [peer.receive() for peer in silent[:7]] == [CLOSED] * 7
    lines = [line for line in scene.told() if "max_waiting" in line]
    assert len(lines) == len(scene.told()) == 8  # the good one was the 13th


@pytest.mark.parametrize(
    ("first", "line"),
    [
        (pdu(1, b"", length=5001), "A-ASSOCIATE-RQ with a length of 5001"),
        (request(user=user_information(item(0x99, bytes(900)))), "user information has 921 bytes"),
    ],
    ids=["max_request", "max_user_information"],
)
def test_requests_that_are_too_large(begin: Begin, first: bytes, line: str) -> None:
    scene = begin(max_request=5000, max_user_information=900)
    with scene.peer() as peer:
        peer.send(first)
        assert peer.rest() == [abort(0, 0)]  # PS3.8 Table 9-10: Sta2, Evt19, AA-1
    scene.check(line)


def test_a_request_at_the_limits_is_taken(begin: Begin) -> None:
    user = user_information(item(0x99, bytes(879)))
    assert len(user) == 904
    scene = begin(max_request=len(request(user=user)) - 6, max_user_information=900)
    with scene.peer() as peer:
        peer.associate(user=user)
        peer.send(RELEASE_RQ)
        assert peer.rest() == [RELEASE_RP]
    scene.check()


def test_presentation_contexts(begin: Begin) -> None:
    scene = begin(max_contexts=2)
    with scene.peer() as peer:
        peer.send(request(BOTH + context(5)))
        assert peer.rest() == [reject(1, 3, 2)]
    scene.check("3 presentation contexts, and we take 2 (max_contexts)")


@pytest.mark.parametrize("length", [0x1001, 0x7FFFFFFF, 0xFFFFFFFF])
def test_the_length_of_a_pdu_is_refused_at_its_header(begin: Begin, length: int) -> None:
    scene = begin(max_pdu=0x1000)
    with scene.peer() as peer:
        answer = peer.associate()
        assert item(0x51, (0x1000).to_bytes(4, "big")) in answer
        assert store(peer, scene, 1) == 0
        peer.send(pdu(4, b"", length=length))
        assert peer.rest() == [abort(2, 6)]
    scene.check(f"P-DATA-TF of {length} bytes")


def test_a_command_set(begin: Begin) -> None:
    scene = begin(max_command=1024)
    with scene.peer() as peer:
        peer.associate()
        peer.send(p_data(pdv(3, echo_rq() + element(0x5000, bytes(1000)))))
        assert peer.rest() == [abort(0, 0)]
    scene.check("command set of more than 1024 bytes")


def many_elements(number: int) -> bytes:
    """Give a data set with so many elements more than the 12 of the tests."""
    header = b"\x09\x00"
    private = [header + n.to_bytes(2, "little") + b"LO\0\0" for n in range(0x10, 0x10 + number)]
    data = data_set(1)
    position = data.index(b"\x10\x00\x10\x00PN")
    return data[:position] + b"".join(private) + data[position:]


@pytest.mark.parametrize(("number", "status"), [(88, 0), (89, 0xC000)])
def test_elements_of_an_object(begin: Begin, number: int, status: int) -> None:
    scene = begin(max_elements=100)
    with scene.peer() as peer:
        peer.associate()
        data = many_elements(number)
        peer.send(p_data(pdv(1, store_rq())), p_data(pdv(1, data, command=False)))
        assert status_of(peer.receive()) == status
        assert store(peer, scene, 2) == 0
        peer.send(RELEASE_RQ)
        assert peer.rest() == [RELEASE_RP]
    assert len(scene.quarantine()) == (status != 0)
    scene.check()


@pytest.mark.parametrize(("depth", "status"), [(3, 0), (4, 0xC000)])
def test_the_depth_of_an_object(begin: Begin, depth: int, status: int) -> None:
    scene = begin(max_depth=3)
    sequence = b"\x09\x00\x10\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    with scene.peer() as peer:
        peer.associate()
        data = data_set(1, PixelData=None) + sequence * depth + end * depth
        peer.send(p_data(pdv(1, store_rq())), p_data(pdv(1, data, command=False)))
        assert status_of(peer.receive()) == status
        assert store(peer, scene, 2) == 0
        peer.send(RELEASE_RQ)
        assert peer.rest() == [RELEASE_RP]
    scene.check()


def test_objects_of_an_association(begin: Begin) -> None:
    scene = begin(max_objects=2)
    with scene.peer() as peer:
        peer.associate()
        assert [store(peer, scene, number) for number in (1, 2)] == [0, 0]
        peer.send(p_data(pdv(1, store_rq("1.2.3.4.3"))))
        assert peer.rest() == [abort(0, 0)]
    scene.check("The peer sent more than 2 objects (max_objects).")
    assert len(scene.tree()) == 3


def test_bytes_of_an_association(begin: Begin) -> None:
    scene = begin(max_bytes=20_000)
    with scene.peer() as peer:
        peer.associate()
        assert store(peer, scene, 1) == 0
        peer.send(p_data(pdv(1, store_rq("1.2.3.4.2"))))
        peer.send(*[p_data(pdv(1, bytes(1000), command=False, last=False))] * 20)
        assert peer.rest() == [abort(0, 0)]
    scene.check("The peer sent more than 20000 bytes (max_bytes).")


def test_silence(begin: Begin) -> None:
    scene = begin(idle_timeout=0.3)
    with scene.peer() as peer:
        peer.associate()
        assert store(peer, scene, 1) == 0
        assert peer.rest() == [abort(0, 0)]
    scene.check("The peer was silent for 0.3 s.")


def drip(peer: RawPeer, data: bytes, pause: float = 0.02) -> float:
    """Send a byte at a time until the peer ends it; give the seconds that it took."""
    began = time.monotonic()
    for position in count():
        peer.send(data[position : position + 1])
        peer.socket.settimeout(pause)
        try:
            if peer.receive() is not None:
                return time.monotonic() - began
        except TimeoutError:
            pass
    raise AssertionError


def test_a_request_byte_by_byte(begin: Begin) -> None:
    """Case A2: no byte extends the time."""
    scene = begin(artim_timeout=0.4)
    with scene.peer() as peer:
        assert 0.3 < drip(peer, request()) < 2
    scene.check("did not ask for an association within 0.4 s")


@pytest.mark.parametrize("behind", [0, 1], ids=["at once", "behind a whole PDU"])
def test_a_pdu_byte_by_byte(begin: Begin, behind: int) -> None:
    """Case B16: a message that never ends, however slowly, does not hold a seat."""
    scene = begin(pdu_timeout=0.4)
    with scene.peer() as peer:
        peer.associate()
        peer.send(p_data(pdv(1, store_rq("1.2.3.4.9"))) * behind)
        body = pdv(1, bytes(2000), command=False) if behind else pdv(1, store_rq("1.2.3.4.9"))
        assert 0.3 < drip(peer, p_data(body)) < 2
        peer.socket.settimeout(5)
    scene.check("more than 0.4 s to send one PDU")


def test_a_pdu_may_be_slow_within_its_time(begin: Begin) -> None:
    scene = begin(pdu_timeout=2)
    with scene.peer() as peer:
        peer.associate()
        whole = p_data(pdv(3, echo_rq()))
        for position in range(0, len(whole), 20):
            peer.send(whole[position : position + 20])
            time.sleep(0.02)
        assert status_of(peer.receive()) == 0
        peer.send(RELEASE_RQ)
        assert peer.rest() == [RELEASE_RP]
    scene.check()


def test_the_time_of_an_association(begin: Begin) -> None:
    scene = begin(association_timeout=0.4)
    with scene.peer() as peer:
        peer.associate()
        answers = []
        for number in count(1):
            peer.send(p_data(pdv(3, echo_rq(number & 0xFFFF))))
            answers.append(peer.receive())
            if answers[-1][:1] != b"\x04":
                break
            time.sleep(0.01)
        assert answers[-1] == abort(0, 0)
        assert len(answers) > 5
    scene.check("lasted longer than 0.4 s (association_timeout)")


def test_a_peer_that_reads_nothing(begin: Begin) -> None:
    """Case A19: we wait for it a while, hold no more than one response, and go on without it."""
    scene = begin(send_timeout=0.3)
    with scene.peer(receive_buffer=2048) as peer:
        peer.associate()
        flood = p_data(pdv(3, echo_rq())) * 1000
        peer.socket.settimeout(2)
        sent = 0
        with pytest.raises((TimeoutError, ConnectionError)):
            while sent < 400 << 20:  # what the kernel keeps for us has an end
                peer.socket.sendall(flood)
                sent += len(flood)
    scene.check("did not take our data within 0.3 s")


def test_others_go_on(begin: Begin) -> None:
    """An object that is under way arrives, whatever another association does."""
    scene = begin(max_objects=3, pdu_timeout=0.4)
    data = data_set(1)
    with scene.peer() as good:
        good.associate()
        good.send(p_data(pdv(1, store_rq())))
        good.send(p_data(pdv(1, data[:500], command=False, last=False)))
        with scene.peer() as bad:
            bad.associate()
            bad.send(b"\x04\0")
            assert bad.rest() == [abort(2, 0)]
        good.send(p_data(pdv(1, data[500:], command=False)))
        assert status_of(good.receive()) == 0
        scene.note("1.2.3.4.1", data)
        good.send(RELEASE_RQ)
        assert good.rest() == [RELEASE_RP]
    scene.check("more than 0.4 s to send one PDU")


def test_a_client_sees_the_reason(begin: Begin) -> None:
    scene = begin(max_contexts=1)
    with pytest.raises(AssociationRejectedError) as caught:
        scene.good().connect([(CT_IMAGE, (EXPLICIT,))] * 2)
    assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 3, 2)
    assert len(CT) < len(BOTH)
