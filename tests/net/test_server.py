"""The acceptor over real sockets: one bad peer never costs another, and it can stop."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping

import pytest

from pypx.address import Address
from pypx.client.client import Client
from pypx.dicom import uids
from pypx.dimse.assembler import MessageReceived
from pypx.dimse.messages import CEchoRQ, CEchoRSP, CFindRQ, CFindRSP, CStoreRSP, Message
from pypx.dimse.n_services import N_SERVICES, NResponse
from pypx.errors import AssociationRejectedError, ConfigError, NetworkError, PypxError
from pypx.net.connection import Timeouts
from pypx.net.limits import AcceptorLimits
from pypx.net.served import Caller, ServedAssociation, Service
from pypx.net.server import Server
from pypx.ul.codec import encode_pdu
from pypx.ul.negotiation import answer
from pypx.ul.pdu import AAbort, AAssociateAC, AAssociateRJ, AAssociateRQ

SYNTAX = uids.IMPLICIT_VR_LITTLE_ENDIAN


class Echoer:
    """A provider that answers C-ECHO, and fails on C-FIND as nothing should."""

    def __init__(self) -> None:
        self.began_associations: list[ServedAssociation] = []
        self.ended_associations: list[ServedAssociation] = []
        self.changed = threading.Condition()
        self.services: Mapping[type[Message], Service] = {
            CEchoRQ: self._echo,
            CFindRQ: self._defect,
        }

    def negotiate(self, request: AAssociateRQ, caller: Caller) -> AAssociateAC | AAssociateRJ:
        if request.calling_ae_title == "UNWANTED":
            return AAssociateRJ(1, 1, 3)
        return answer(request, lambda _, syntaxes: syntaxes[0], implementation_class_uid="1.2.3")

    def began(self, association: ServedAssociation) -> None:
        assert association.contexts
        self.began_associations.append(association)

    def ended(self, association: ServedAssociation) -> None:
        with self.changed:
            self.ended_associations.append(association)
            self.changed.notify_all()

    def wait(self, count: int) -> list[ServedAssociation]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.ended_associations) >= count, 10)
        return self.ended_associations

    @staticmethod
    def _echo(association: ServedAssociation, received: MessageReceived) -> None:
        assert isinstance(received.message, CEchoRQ)
        association.send(received.context_id, CEchoRSP(received.message.message_id, 0))

    @staticmethod
    def _defect(association: ServedAssociation, received: MessageReceived) -> None:
        raise ZeroDivisionError("a defect of the provider")


@pytest.fixture
def provider() -> Echoer:
    return Echoer()


@pytest.fixture
def server(provider: Echoer) -> Iterator[Server]:
    limits = AcceptorLimits(max_associations=3, artim_timeout=0.3, idle_timeout=0.3)
    one = Server("127.0.0.1", 0, provider, limits=limits)
    one.start()
    yield one
    one.stop()


def client(server: Server, title: str = "TESTS") -> Client:
    return Client(
        Address("HERE", server.host, server.port),
        calling_ae_title=title,
        timeouts=Timeouts(connect=2, association=5, response=5, release=2),
    )


def test_an_echo_is_answered_and_the_end_is_told(server: Server, provider: Echoer) -> None:
    with client(server) as one:
        assert one.echo().seconds >= 0
        assert one.echo().peer.implementation_class_uid == "1.2.3"
    (association,) = provider.wait(1)
    assert association.failure is None
    assert (association.calling_ae_title, association.called_ae_title) == ("TESTS", "HERE")


def test_a_rejection_is_told_on_both_sides(server: Server, provider: Echoer) -> None:
    with pytest.raises(AssociationRejectedError) as caught, client(server, "UNWANTED") as one:
        one.echo()
    assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 1, 3)
    assert isinstance(provider.wait(1)[0].failure, NetworkError)


def test_one_too_many_is_rejected_and_the_next_accepted_when_one_left(
    server: Server, provider: Echoer
) -> None:
    clients = [client(server) for _ in range(3)]
    for one in clients:
        one.echo()
    with pytest.raises(AssociationRejectedError) as caught:
        client(server).echo()
    assert (caught.value.result, caught.value.source, caught.value.reason) == (2, 3, 2)
    clients[0].close()
    provider.wait(2)
    with client(server) as another:
        another.echo()
    for one in clients[1:]:
        one.close()


def test_silent_connections_use_no_slot_and_end_by_artim(server: Server) -> None:
    silent = [socket.create_connection((server.host, server.port)) for _ in range(20)]
    with client(server) as one:
        one.echo()
    for sock in silent:
        sock.settimeout(10)
        assert sock.recv(1) == b""
        sock.close()


def test_a_silent_association_is_aborted(server: Server, provider: Echoer) -> None:
    one = client(server)
    one.echo()
    (association,) = provider.wait(1)
    assert "silent" in str(association.failure)
    with pytest.raises(PypxError, match="abort"):
        one.echo()


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"SSH-2.0-x\r\n",
        b"\0" * 99,
    ],
)
def test_who_speaks_something_else_is_aborted_at_once(server: Server, first: bytes) -> None:
    with socket.create_connection((server.host, server.port)) as sock:
        sock.settimeout(5)
        sock.sendall(first)
        assert sock.recv(100) == encode_pdu(AAbort(0, 0))
    with client(server) as one:
        one.echo()


def test_a_defect_ends_its_association_and_no_other(
    server: Server, provider: Echoer, caplog: pytest.LogCaptureFixture
) -> None:
    with client(server) as well:
        well.echo()
        with pytest.raises(PypxError), client(server) as unlucky:
            list(unlucky.find({"PatientID": "x"}))
        assert "a defect of the provider" in caplog.text
        well.echo()


def test_a_request_that_nobody_serves_is_answered(server: Server) -> None:
    kind = N_SERVICES[0x0130]
    with client(server) as one:
        connection = one.connect([(uids.VERIFICATION, (SYNTAX,))])
        connection.send(1, kind(5, requested_sop_class_uid="1.2"))  # type: ignore[call-arg]
        response = connection.receive().message
        assert isinstance(response, NResponse)
        assert (response.message_id_being_responded_to, response.status) == (5, 0x0211)
        connection.send(1, CEchoRQ(6))
        assert connection.receive().message == CEchoRSP(6, 0)
        connection.release()


def test_a_response_that_nobody_asked_for_ends_the_association(server: Server) -> None:
    with client(server) as one:
        connection = one.connect([(uids.VERIFICATION, (SYNTAX,))])
        connection.send(1, CStoreRSP(5, 0))
        with pytest.raises(PypxError, match="abort"):
            connection.receive()


def test_many_requests_in_one_segment_are_answered_in_order(server: Server) -> None:
    connection = client(server).connect([(uids.VERIFICATION, (SYNTAX,))])
    for number in range(500):
        connection._channel.session.send(1, CEchoRQ(number))
    connection._channel.flush()
    for number in range(500):
        assert connection.receive().message == CEchoRSP(number, 0)
    connection.release()


def test_stop_ends_idle_associations_and_frees_the_port(provider: Echoer) -> None:
    server = Server("127.0.0.1", 0, provider)
    server.start()
    idle = client(server)
    idle.echo()
    started = time.monotonic()
    server.stop(grace=5)
    assert time.monotonic() - started < 5
    with pytest.raises(PypxError):
        idle.echo()
    again = Server("127.0.0.1", server.port, provider)
    again.start()
    again.stop()


def test_a_stop_at_the_moment_when_an_association_begins(
    provider: Echoer, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting, go = threading.Event(), threading.Event()
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "px-association":
            starting.set()
            assert go.wait(10)
        real(thread)

    server = Server("127.0.0.1", 0, provider)
    server.start()
    monkeypatch.setattr(threading.Thread, "start", start)
    with socket.create_connection((server.host, server.port)):
        assert starting.wait(10)
        failed: list[BaseException] = []

        def stop() -> None:
            try:
                server.stop()
            except RuntimeError as error:
                failed.append(error)

        stopping = threading.Thread(target=stop)
        stopping.start()
        while not server._stopping:
            pass
        go.set()
        stopping.join(10)
        assert not stopping.is_alive() and failed == []


def test_a_service_that_goes_on_sending_ends_when_the_server_stops() -> None:
    done = threading.Event()

    def endless(association: ServedAssociation, received: MessageReceived) -> None:
        try:
            while not association.cancelled(1):
                association.send(received.context_id, CFindRSP(1, 0xFF00))
        finally:
            done.set()

    provider = Echoer()
    provider.services = {CFindRQ: endless}
    server = Server("127.0.0.1", 0, provider)
    server.start()
    connection = client(server).connect([(uids.STUDY_ROOT_FIND, (SYNTAX,))])
    connection.send(1, CFindRQ(1, uids.STUDY_ROOT_FIND, has_data_set=False))
    connection.receive()
    server.stop()
    assert done.wait(5)
    connection.abort()


def test_a_port_in_use_says_so(server: Server, provider: Echoer) -> None:
    with pytest.raises(ConfigError, match="in use") as caught:
        Server("127.0.0.1", server.port, provider)
    assert "--port" in caught.value.hint


def test_an_address_of_another_machine_cannot_be_bound(provider: Echoer) -> None:
    with pytest.raises(ConfigError, match="Cannot listen"):
        Server("192.0.2.1", 0, provider)
