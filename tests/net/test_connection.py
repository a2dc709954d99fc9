"""The requestor against peers that play a script: every way to fail has its own error."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from pypx.address import Address
from pypx.dimse.messages import CEchoRQ, CEchoRSP, CStoreRQ
from pypx.dimse.session import Session
from pypx.errors import (
    AssociationAbortedError,
    AssociationRejectedError,
    ConnectError,
    ConnectionLostError,
    NameLookupError,
    PeerTimeoutError,
    PypxError,
    RemoteProtocolError,
)
from pypx.net.connection import Connection, Timeouts
from pypx.ul.association import Association, Role
from pypx.ul.codec import encode_pdu
from pypx.ul.negotiation import propose
from pypx.ul.pdu import (
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AReleaseRP,
    AReleaseRQ,
    PresentationContextAC,
    UserInformation,
)
from pypx.values import replace
from tests.peers.raw import Played, RawScp, Step, close, receive_pdu, reset, send, stall

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
QUICK = Timeouts(connect=0.2, association=0.2, response=0.2, release=0.05)
REQUEST = AAssociateRQ(
    "RAW", "TESTS", propose([(VERIFICATION, (IMPLICIT,))]), UserInformation(16384, "1.2.3")
)
ACCEPT = AAssociateAC(
    "RAW",
    "TESTS",
    (PresentationContextAC(1, 0, IMPLICIT),),
    UserInformation(16384, "1.2.3", "RAW"),
)


def accept(**changes: object) -> bytes:

    return encode_pdu(replace(ACCEPT, **changes))  # type: ignore[arg-type]


def response(message_id: int = 1, context_id: int = 1) -> bytes:
    """The bytes of a C-ECHO-RSP, made by a session of its own."""
    association = Association(Role.REQUESTOR)
    association.associate(REQUEST, 0.0)
    association.transport_connected(0.0)
    association.data_to_send()
    association.receive_data(accept(), 0.0)
    session = Session(association)
    session.send(context_id, CEchoRSP(message_id, 0))
    return b"".join(session.data_to_send())


@pytest.fixture
def peer() -> Iterator[Callable[..., Address]]:
    started: list[RawScp] = []

    def start(*script: Step) -> Address:
        started.append(RawScp(script))
        return Address("RAW", "127.0.0.1", started[-1].port)

    yield start
    for one in started:
        one.stop()


def test_an_association_is_made_and_released(peer: Callable[..., Address]) -> None:
    release = send(encode_pdu(AReleaseRP()))
    address = peer(
        receive_pdu(), send(accept()), receive_pdu(), send(response()), receive_pdu(), release
    )
    connection = Connection.open(address, REQUEST, QUICK)
    assert connection.accepted == ACCEPT
    context = connection.context_for(VERIFICATION)
    assert context is not None
    connection.send(context.context_id, CEchoRQ(1))
    received = connection.receive()
    assert received.message == CEchoRSP(1, 0)
    assert received.data_set is None
    connection.release()
    assert not connection.is_open


def test_an_answer_byte_by_byte_is_an_answer(peer: Callable[..., Address]) -> None:
    address = peer(receive_pdu(), send(accept(), piece=1), receive_pdu(), send(response(), piece=1))
    connection = Connection.open(address, REQUEST, QUICK)
    connection.send(1, CEchoRQ(1))
    assert connection.receive().message == CEchoRSP(1, 0)
    connection.abort()


def test_an_answer_may_come_slowly_but_a_poll_ends_in_time(peer: Callable[..., Address]) -> None:
    slowly = send(response(), piece=6, pause=0.03)
    address = peer(receive_pdu(), send(accept()), receive_pdu(), slowly)
    connection = Connection.open(address, REQUEST, QUICK)
    connection.send(1, CEchoRQ(1))
    started = time.monotonic()
    assert connection.poll(0.05) is None
    assert connection.poll(0.05) is None
    assert connection.receive(0.2).message == CEchoRSP(1, 0)
    assert time.monotonic() - started > 0.05 + 0.05 + 0.2
    connection.abort()


OPENING: dict[str, tuple[list[Step], type[PypxError], str]] = {
    "rejected, calling AE title": (
        [receive_pdu(), send(encode_pdu(AAssociateRJ(1, 1, 3)))],
        AssociationRejectedError,
        "calling AE title",
    ),
    "rejected, called AE title": (
        [receive_pdu(), send(encode_pdu(AAssociateRJ(1, 1, 7)))],
        AssociationRejectedError,
        "called AE title",
    ),
    "rejected, busy": (
        [receive_pdu(), send(encode_pdu(AAssociateRJ(2, 3, 2)))],
        AssociationRejectedError,
        "as many associations as it allows",
    ),
    "aborted": (
        [receive_pdu(), send(encode_pdu(AAbort(2, 1)))],
        AssociationAbortedError,
        "aborted",
    ),
    "closed at once": ([close()], ConnectionLostError, "closed the connection"),
    "closed after the request": ([receive_pdu(), close()], ConnectionLostError, "closed"),
    "reset": ([receive_pdu(), reset()], ConnectionLostError, "closed the connection"),
    "cut in the answer": (
        [receive_pdu(), send(accept()[:20]), close()],
        ConnectionLostError,
        "not whole",
    ),
    "silent": ([receive_pdu(), stall()], PeerTimeoutError, "did not answer the association"),
    "HTTP": (
        [receive_pdu(), send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), stall()],
        RemoteProtocolError,
        "HTTP",
    ),
    "garbage": ([receive_pdu(), send(b"\xff" * 100), stall()], RemoteProtocolError, ""),
    "a context that was not proposed": (
        [
            receive_pdu(),
            send(accept(presentation_contexts=(PresentationContextAC(3, 0, IMPLICIT),))),
            stall(),
        ],
        RemoteProtocolError,
        "was not proposed",
    ),
    "a transfer syntax that was not proposed": (
        [
            receive_pdu(),
            send(accept(presentation_contexts=(PresentationContextAC(1, 0, "1.2.3"),))),
            stall(),
        ],
        RemoteProtocolError,
        "was not proposed",
    ),
    "P-DATA instead of an answer": (
        [receive_pdu(), send(response()), stall()],
        RemoteProtocolError,
        "",
    ),
}


@pytest.mark.parametrize(("script", "kind", "words"), OPENING.values(), ids=OPENING)
def test_an_association_that_is_not_made_says_why(
    peer: Callable[..., Address], script: list[Step], kind: type[PypxError], words: str
) -> None:
    with pytest.raises(PypxError) as caught:
        Connection.open(peer(*script), REQUEST, QUICK)
    assert type(caught.value) is kind
    assert words in caught.value.message
    assert caught.value.exit_code == 3
    assert caught.value.message.endswith((".", "!"))


RESPONDING: dict[str, tuple[list[Step], type[PypxError], str]] = {
    "silent": ([stall()], PeerTimeoutError, "did not answer within"),
    "aborted": ([send(encode_pdu(AAbort(0, 0)))], AssociationAbortedError, "aborted"),
    "closed": ([close()], ConnectionLostError, "closed the connection"),
    "released": ([send(encode_pdu(AReleaseRQ())), stall()], ConnectionLostError, "released"),
    "cut in the response": ([send(response()[:30]), close()], ConnectionLostError, "not whole"),
    "a context that was not accepted": (
        [send(response(context_id=5)), stall()],
        RemoteProtocolError,
        "was not accepted",
    ),
    "a second association request": (
        [send(encode_pdu(REQUEST)), stall()],
        RemoteProtocolError,
        "A-ASSOCIATE-RQ",
    ),
}


@pytest.mark.parametrize(("script", "kind", "words"), RESPONDING.values(), ids=RESPONDING)
def test_an_operation_that_is_cut_off_says_why(
    peer: Callable[..., Address], script: list[Step], kind: type[PypxError], words: str
) -> None:
    address = peer(receive_pdu(), send(accept()), receive_pdu(), *script)
    connection = Connection.open(address, REQUEST, QUICK)
    with pytest.raises(PypxError) as caught:
        connection.send(1, CEchoRQ(1))
        connection.receive()
    assert type(caught.value) is kind
    assert words in caught.value.message
    assert not connection.is_open


def test_a_peer_that_takes_nothing_ends_a_write_in_time(peer: Callable[..., Address]) -> None:
    """What the kernels hold is full soon; then the time-out of the requestor counts."""
    address = peer(receive_pdu(), send(accept()), stall(reading=False))
    connection = Connection.open(address, REQUEST, QUICK)
    started = time.monotonic()
    with pytest.raises(PeerTimeoutError) as caught:
        connection.send(1, CStoreRQ(1, VERIFICATION, "1.2.3"), bytes(32 << 20))
    assert caught.value.phase == "send"
    assert caught.value.hint
    assert time.monotonic() - started < 10
    assert not connection.is_open


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what was not taken")
@pytest.mark.parametrize("size", [1 << 20, 8 << 20], ids=["held by the kernel", "not held"])
def test_a_peer_that_takes_what_is_sent_is_not_silent(
    peer: Callable[..., Address], size: int
) -> None:
    """Slowly: longer than the time-out, while we write and while we wait for the answer."""

    def take_slowly(played: Played) -> None:
        step = size // 20
        played.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, step // 2)
        for _ in range(20):
            played.stopped.wait(0.1)
            played.receive_exactly(step)

    address = peer(receive_pdu(), send(accept()), take_slowly, send(response()), stall())
    patient = replace(QUICK, response=1.0)
    connection = Connection.open(address, REQUEST, patient)
    connection.send(1, CStoreRQ(1, VERIFICATION, "1.2.3"), bytes(size))
    assert connection.receive().message == CEchoRSP(1, 0)
    connection.abort()


def test_an_abort_reaches_the_peer(peer: Callable[..., Address]) -> None:
    scp = RawScp([receive_pdu(), send(accept()), stall()])
    try:
        connection = Connection.open(Address("RAW", "127.0.0.1", scp.port), REQUEST, QUICK)
        connection.abort()
        scp.wait()
        assert bytes(scp.connections[0].received).endswith(encode_pdu(AAbort(0, 0)))
    finally:
        scp.stop()


def test_a_peer_that_ignores_a_release_is_not_waited_for_long(
    peer: Callable[..., Address],
) -> None:
    connection = Connection.open(peer(receive_pdu(), send(accept()), stall()), REQUEST, QUICK)
    started = time.monotonic()
    connection.release()
    assert time.monotonic() - started < 5
    assert not connection.is_open


def test_both_sides_may_release_at_once(peer: Callable[..., Address]) -> None:
    collision = send(encode_pdu(AReleaseRQ()) + encode_pdu(AReleaseRP()))
    address = peer(receive_pdu(), send(accept()), receive_pdu(), collision, receive_pdu())
    connection = Connection.open(address, REQUEST, QUICK)
    connection.release()
    assert not connection.is_open


def test_a_closed_port_is_a_refused_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(ConnectError, match="refused the connection"):
            Connection.open(Address("RAW", "127.0.0.1", port), REQUEST, QUICK)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64, "a..b", "xn--é"])
def test_a_name_without_address_says_so(host: str) -> None:
    with pytest.raises(NameLookupError, match="cannot be resolved") as caught:
        Connection.open(Address("RAW", host, 4242), REQUEST, QUICK)
    assert caught.value.hint


def test_a_port_that_swallows_the_connection_times_out_in_its_phase() -> None:
    # A listener with a full backlog answers no further SYN, as a firewall that drops.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        where = listener.getsockname()
        crowd = [socket.socket() for _ in range(4)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(where)
        try:
            with pytest.raises(PeerTimeoutError) as caught:
                Connection.open(Address("RAW", *where), REQUEST, QUICK)
            assert caught.value.phase in ("connect", "association")
        finally:
            for one in crowd:
                one.close()
