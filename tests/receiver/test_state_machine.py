"""Every PDU in every state over a real socket, against the transcribed PS3.8 Table 9-10.

As acceptor it is the receiver, as requestor the connection of our clients. In Sta3 and Sta8 the
other side of our table is our own code, which answers at once: what is to come in such a state
is sent behind what leads there, in one segment. Sta10 and Sta12 are those of an acceptor that
asks for release; ours never does, and ``tests/ul/test_matrix.py`` has them.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.client import Client
from pypx.dicom import uids
from pypx.dimse.messages import CEchoRSP
from pypx.errors import (
    AssociationAbortedError,
    AssociationRejectedError,
    ConnectionLostError,
    LocalProtocolError,
    PypxError,
    RemoteProtocolError,
)
from pypx.net import served
from pypx.net.connection import Connection, Timeouts
from pypx.receiver.receiver import Receiver
from tests.hostile import (
    ABORT,
    CLOSED,
    ECHO,
    IMPLICIT,
    RELEASE_RP,
    RELEASE_RQ,
    Heard,
    RawPeer,
    abort,
    command,
    echo_rq,
    item,
    p_data,
    pdu,
    pdv,
    reject,
    request,
    status_of,
    text,
    us,
    user_information,
)
from tests.listening import eventually
from tests.ul.test_states import transcribed

TABLE = transcribed()
RQ = request(ECHO)
AC = pdu(
    2,
    RQ[6:74]
    + item(0x10, b"1.2.840.10008.3.1.1.1")
    + item(0x21, bytes((3, 0, 0, 0)) + item(0x40, IMPLICIT.encode()))
    + user_information(),
)
ECHO_RQ = p_data(pdv(3, echo_rq()))
ECHO_RSP = p_data(
    pdv(3, command({2: text(uids.VERIFICATION), 0x100: us(0x8030), 0x120: us(1)}
    | {0x800: us(0x0101), 0x900: us(0)})),
)  # fmt: skip
STIMULI = [
    ("Evt3", "A-ASSOCIATE-AC", AC, 2),
    ("Evt4", "A-ASSOCIATE-RJ", reject(1, 1, 1), 2),
    ("Evt6", "A-ASSOCIATE-RQ", RQ, 2),
    ("Evt10", "P-DATA-TF", b"", 2),  # a C-ECHO-RQ or -RSP, as it suits the role
    ("Evt12", "A-RELEASE-RQ", RELEASE_RQ, 2),
    ("Evt13", "A-RELEASE-RP", RELEASE_RP, 2),
    ("Evt16", "A-ABORT", ABORT, 2),
    ("Evt17", "closed", CLOSED, 0),
    ("Evt19", "unknown type", pdu(0x41, bytes(4)), 1),
    ("Evt19", "P-DATA-TF without a PDV", pdu(4, b""), 6),
    ("Evt19", "P-DATA-TF of 4 GiB", pdu(4, b"", length=0xFFFFFFFF), 6),
    ("Evt19", "request of 4 GiB", pdu(1, b"", length=0xFFFFFFFF), 6),
    ("Evt19", "release of 5 bytes", pdu(5, bytes(5)), 6),
]
ALL = pytest.mark.parametrize(
    ("event", "data", "reason"),
    [pytest.param(event, data, reason, id=name) for event, name, data, reason in STIMULI],
)
ABORTS = {"AA-1": (0, 0), "AA-7": (2, None), "AA-8": (2, None)}
SILENT = ("AA-2", "AA-3", "AA-4", "AA-5", "AA-6", "AR-5")


def aborting(action: str, reason: int) -> bytes:
    source, fixed = ABORTS[action]
    return abort(source, reason if fixed is None else fixed)


# As acceptor.


@pytest.fixture(scope="module")
def heard() -> Heard:
    return Heard()


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory, heard: Heard) -> Iterator[Receiver]:
    folder = tmp_path_factory.mktemp("states")
    with (
        pytest.MonkeyPatch.context() as patch,
        Archive(folder / "archive", durability="none") as archive,
        Receiver(archive, port=0, observer=heard) as one,
    ):
        patch.setattr(served, "_CLOSE_WAIT", 0.05)
        yield one


def to_sta2(peer: RawPeer) -> bytes:
    return b""


def to_sta3(peer: RawPeer) -> bytes:
    return RQ


def to_sta6(peer: RawPeer) -> bytes:
    peer.associate(ECHO)
    return b""


def to_sta8(peer: RawPeer) -> bytes:
    peer.associate(ECHO)
    return RELEASE_RQ


def to_sta13(peer: RawPeer) -> bytes:
    peer.associate(ECHO)
    peer.send(RELEASE_RQ)
    assert peer.receive() == RELEASE_RP
    return b""


@ALL
@pytest.mark.parametrize("bring", [to_sta2, to_sta3, to_sta6, to_sta8, to_sta13])
def test_acceptor(
    receiver: Receiver,
    heard: Heard,
    caplog: pytest.LogCaptureFixture,
    bring: Callable[[RawPeer], bytes],
    event: str,
    data: bytes,
    reason: int,
) -> None:
    state = bring.__name__.removeprefix("to_").capitalize()
    action, _ = TABLE[event, state]
    heard.summaries.clear()
    with RawPeer(receiver.port) as peer:
        before = bring(peer)
        if event == "Evt17":
            peer.send(before)
            peer.socket.shutdown(socket.SHUT_WR)
        else:
            peer.send(before + (data or ECHO_RQ))
        match action:
            case "AE-6":
                assert peer.receive()[:1] == b"\x02"
                peer.send(RELEASE_RQ)
                assert peer.rest() == [RELEASE_RP]
            case "DT-2":
                assert status_of(peer.receive()) == 0
                peer.send(RELEASE_RQ)
                assert peer.rest() == [RELEASE_RP]
            case "AR-2":
                assert peer.rest() == [RELEASE_RP]
            case "AA-4" if before:  # the connection ends behind what is answered at once
                peer.rest()
            case _ if action in SILENT:
                assert peer.rest() == []
            case _:
                assert peer.rest() == [aborting(action, reason)]
    eventually(lambda: not receiver._server._associations, 5)
    told: list[object] = [one.error for one in heard.summaries if one.error]
    assert not any(isinstance(error, LocalProtocolError) for error in told)
    assert "defect" not in caplog.text
    told += caplog.records
    is_broken = action in ("AA-1", "AA-3", "AA-4", "AA-8") or (action, state) == ("AA-2", "Sta2")
    assert len(told) == (is_broken and not (event == "Evt17" and state == "Sta8")), told


# As requestor.


class Acceptor:
    """The other side of a connection, which does as the test says."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address("RAW", *self._listener.getsockname()[:2])
        self.outcome: Any = None
        self._thread: threading.Thread | None = None

    def begin(self, function: Callable[[Connection], Any]) -> RawPeer:
        """Let our side connect and call the function; give the connection, with its request."""
        client = Client(
            self.address,
            calling_ae_title="TESTS",
            timeouts=Timeouts(connect=5, association=5, response=5, release=0.1),
        )

        def run() -> None:
            try:
                connection = client.connect([(uids.VERIFICATION, (IMPLICIT,))] * 2)
                self.outcome = function(connection)
            except PypxError as error:
                self.outcome = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        sock, _ = self._listener.accept()
        sock.settimeout(10)
        peer = RawPeer.__new__(RawPeer)
        peer.socket = sock
        assert peer.receive()[:1] == b"\x01"
        return peer

    def end(self) -> Any:
        """Wait for the function; give what it returned, or its error."""
        assert self._thread is not None
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self.outcome

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def acceptor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Acceptor]:
    from pypx.net import connection

    monkeypatch.setattr(connection, "_abort_wait", lambda timeouts: 0.03)
    one = Acceptor()
    yield one
    one.close()


def wait(connection: Connection) -> Any:
    return connection.receive().message


def release(connection: Connection) -> None:
    connection.release()


def give_up(connection: Connection) -> None:
    connection.abort()


def in_sta5(acceptor: Acceptor) -> tuple[RawPeer, bytes]:
    return acceptor.begin(lambda connection: connection), b""


def in_sta6(acceptor: Acceptor) -> tuple[RawPeer, bytes]:
    peer = acceptor.begin(wait)
    peer.send(AC)
    return peer, b""


def in_sta7(acceptor: Acceptor) -> tuple[RawPeer, bytes]:
    peer = acceptor.begin(release)
    peer.send(AC)
    assert peer.receive() == RELEASE_RQ
    return peer, b""


def in_sta8(acceptor: Acceptor) -> tuple[RawPeer, bytes]:
    return in_sta6(acceptor)[0], RELEASE_RQ


def in_sta9(acceptor: Acceptor) -> tuple[RawPeer, bytes]:
    return in_sta7(acceptor)[0], RELEASE_RQ


def in_sta11(acceptor: Acceptor) -> tuple[RawPeer, bytes]:
    peer, _ = in_sta7(acceptor)
    peer.send(RELEASE_RQ)
    assert peer.receive() == RELEASE_RP
    return peer, b""


def in_sta13(acceptor: Acceptor) -> tuple[RawPeer, bytes]:
    peer = acceptor.begin(give_up)
    peer.send(AC)
    assert peer.receive() == ABORT
    return peer, b""


ERRORS: dict[str, type[PypxError]] = {
    "AA-3": AssociationAbortedError,
    "AA-4": ConnectionLostError,
    "AA-8": RemoteProtocolError,
    "AE-4": AssociationRejectedError,
    "AR-2": ConnectionLostError,
}


@ALL
@pytest.mark.parametrize("bring", [in_sta5, in_sta6, in_sta7, in_sta8, in_sta9, in_sta11, in_sta13])
def test_requestor(
    acceptor: Acceptor,
    bring: Callable[[Acceptor], tuple[RawPeer, bytes]],
    event: str,
    data: bytes,
    reason: int,
) -> None:
    state = bring.__name__.removeprefix("in_").capitalize()
    action, _ = TABLE[event, state]
    peer, before = bring(acceptor)
    with peer:
        if event == "Evt17":
            peer.send(before)
            peer.socket.shutdown(socket.SHUT_WR)
        else:
            peer.send(before + (data or ECHO_RSP))
        match action:
            case "AE-3":
                connection = acceptor.end()
                connection.cut()
                assert peer.rest() == []
                return
            case "DT-2":
                assert isinstance(acceptor.end(), CEchoRSP)
                return
            case "AR-6":  # delivered to nobody; the release goes on
                peer.send(RELEASE_RP)
                assert peer.rest() == []
            case "AR-8":
                assert peer.receive() == RELEASE_RP
                peer.send(RELEASE_RP)
                assert peer.rest() == []
            case "AR-2":
                assert peer.rest() == [RELEASE_RP]
            case "AR-3":
                assert peer.rest() == []
            case "AA-4" if before:
                peer.rest()
            case "AE-4":
                assert peer.rest() == []
            case _ if action in SILENT:
                assert peer.rest() == []
            case _:
                assert peer.rest() == [aborting(action, reason)]
        outcome = acceptor.end()
    # A release or an abort of ours is over in any case: nothing is lost by how the peer leaves.
    expected = ERRORS.get(action) if state in ("Sta5", "Sta6", "Sta8") else None
    if expected is None:
        assert outcome is None
    else:
        assert isinstance(outcome, expected), outcome
