"""TLS over a pair of sockets: what is secure, and a sentence for what is not."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pypx.errors import ConfigError, PeerTimeoutError, TlsError
from pypx.net.tls import ClientTls, ServerTls, TlsSocket, client_context, server_context
from tests.net.certificates import Certificates

HOST = "pacs.example.org"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


Meet = Callable[..., tuple[TlsSocket | Exception, TlsSocket | Exception]]


@pytest.fixture
def meet() -> Iterator[Meet]:
    """Have a requestor and an acceptor shake hands; each is a socket, or what it raised."""
    made: list[TlsSocket] = []

    def call(
        client: ClientTls, server: ServerTls, *, name: str = HOST
    ) -> tuple[TlsSocket | Exception, TlsSocket | Exception]:
        ours, theirs = socket.socketpair()
        requestor = TlsSocket(ours, client_context(client), peer="PACS@there", name=name)
        acceptor = TlsSocket(theirs, server_context(server), peer="10.0.0.1", server_side=True)
        made.extend((requestor, acceptor))
        raised: list[Exception] = []

        def accept() -> None:
            try:
                acceptor.handshake(5)
                acceptor.sendmsg([b"."])  # with TLS 1.3 the requestor hears of a refusal late
            except (TlsError, PeerTimeoutError, OSError) as error:
                raised.append(error)

        thread = threading.Thread(target=accept)
        thread.start()
        found: TlsSocket | Exception = requestor
        try:
            requestor.handshake(5)
            requestor.recv_into(memoryview(bytearray(1)))
        except (TlsError, PeerTimeoutError, OSError) as error:
            found = error
            with suppress(OSError):
                ours.close()
        thread.join()
        return found, raised[0] if raised else acceptor

    yield call
    for one in made:
        one.close()


def test_both_sides_talk(meet: Meet, certificates: Certificates) -> None:
    server = ServerTls(certificates.issue(HOST))
    requestor, acceptor = meet(ClientTls(ca=certificates.ca), server)
    assert isinstance(requestor, TlsSocket) and isinstance(acceptor, TlsSocket)
    assert requestor.version == acceptor.version == "TLSv1.3"
    assert HOST in requestor.peer_names
    assert acceptor.peer_names == ()
    data = bytes(range(256)) * 1000
    writing = threading.Thread(target=lambda: requestor.sendmsg([data[:7], data[7:]]))
    writing.start()
    buffer, got = memoryview(bytearray(1 << 20)), b""
    while len(got) < len(data):
        got += bytes(buffer[: acceptor.recv_into(buffer)])
    writing.join()
    assert got == data


def test_what_was_not_taken_is_sent_by_the_same_call_again(
    meet: Meet, certificates: Certificates
) -> None:
    requestor, acceptor = meet(ClientTls(ca=certificates.ca), ServerTls(certificates.issue(HOST)))
    assert isinstance(requestor, TlsSocket) and isinstance(acceptor, TlsSocket)
    requestor.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", 0, 20_000))
    data = os.urandom(4 << 20)
    got, held_up = bytearray(), threading.Event()

    def read() -> None:
        held_up.wait(10)
        buffer = memoryview(bytearray(1 << 20))
        while len(got) < len(data) + 1:
            got.extend(buffer[: acceptor.recv_into(buffer)])

    reading = threading.Thread(target=read)
    reading.start()
    with pytest.raises(BlockingIOError):
        requestor.sendmsg([data[:100], data[100:]])
    held_up.set()
    while True:
        try:
            assert requestor.sendmsg([data[:100], data[100:]]) == len(data)
            break
        except BlockingIOError:
            continue
    requestor.sendmsg([b"!"])
    reading.join(10)
    assert got == data + b"!"


def test_nothing_there_yet_is_no_end(meet: Meet, certificates: Certificates) -> None:
    requestor, acceptor = meet(ClientTls(ca=certificates.ca), ServerTls(certificates.issue(HOST)))
    assert isinstance(requestor, TlsSocket) and isinstance(acceptor, TlsSocket)
    buffer = memoryview(bytearray(100))
    with pytest.raises(BlockingIOError):
        requestor.recv_into(buffer, 0, socket.MSG_DONTWAIT)
    acceptor.sendmsg([b"x"])
    assert requestor.recv_into(buffer) == 1
    acceptor.close()
    assert requestor.recv_into(buffer) == 0


def test_the_older_version_and_its_suites(meet: Meet, certificates: Certificates) -> None:
    server = ServerTls(certificates.issue(HOST))
    context = client_context(ClientTls(ca=certificates.ca))
    names = {suite["name"] for suite in context.get_ciphers()}
    assert {"ECDHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-GCM-SHA384"} <= names
    assert not any("CBC" in name or "RC4" in name or name[-4:] == "-SHA" for name in names)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    for one in (context, server_context(server)):
        assert one.options & ssl.OP_NO_RENEGOTIATION and one.options & ssl.OP_NO_COMPRESSION
    only = ClientTls(ca=certificates.ca, minimum="1.3")
    requestor, _ = meet(only, server)
    assert isinstance(requestor, TlsSocket)


@pytest.mark.parametrize(
    ("names", "options", "said"),
    [
        ((HOST,), {"expired": True}, "has expired"),
        (("elsewhere.example.org",), {}, "is for another name"),
        ((HOST,), {"stranger": True}, "leads to none that is trusted"),
    ],
)
def test_a_certificate_that_is_not_good(
    meet: Meet,
    certificates: Certificates,
    names: tuple[str, ...],
    options: dict[str, bool],
    said: str,
) -> None:
    server = ServerTls(certificates.issue(*names, **options))
    requestor, acceptor = meet(ClientTls(ca=certificates.ca), server)
    assert isinstance(requestor, TlsError)
    assert said in requestor.message
    assert "PACS@there" in requestor.message
    assert requestor.hint
    assert requestor.exit_code == 3
    assert isinstance(acceptor, TlsError)
    requestor, _ = meet(ClientTls(verify=False), server)
    assert isinstance(requestor, TlsSocket), "who says so takes any"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_a_peer_with_an_old_tls_only(certificates: Certificates) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.load_cert_chain(certificates.issue(HOST))
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with suppress(OSError):
            old.wrap_socket(theirs, server_side=True).close()

    serving = threading.Thread(target=serve)
    serving.start()
    context = client_context(ClientTls(ca=certificates.ca))
    requestor = TlsSocket(ours, context, peer="PACS@there", name=HOST)
    with pytest.raises(TlsError, match="PACS@there") as caught:
        requestor.handshake(5)
    assert "version" in caught.value.message
    assert caught.value.hint
    requestor.close()
    serving.join(5)
    theirs.close()


def test_another_name_may_be_given(meet: Meet, certificates: Certificates) -> None:
    server = ServerTls(certificates.issue(HOST))
    requestor, _ = meet(ClientTls(ca=certificates.ca), server, name="10.0.0.7")
    assert isinstance(requestor, TlsError)
    requestor, _ = meet(ClientTls(ca=certificates.ca), server, name=HOST)
    assert isinstance(requestor, TlsSocket)


def test_a_listener_that_wants_a_certificate(meet: Meet, certificates: Certificates) -> None:
    server = ServerTls(certificates.issue(HOST), ca=certificates.ca)
    ours = ClientTls(ca=certificates.ca, certificate=certificates.issue("client.example.org"))
    requestor, acceptor = meet(ours, server)
    assert isinstance(requestor, TlsSocket) and isinstance(acceptor, TlsSocket)
    assert "client.example.org" in acceptor.peer_names
    requestor, acceptor = meet(ClientTls(ca=certificates.ca), server)
    assert isinstance(acceptor, TlsError)
    assert "shows no certificate" in acceptor.message
    assert not isinstance(requestor, TlsSocket)
    theirs = certificates.issue("client.example.org", stranger=True)
    requestor, acceptor = meet(ClientTls(ca=certificates.ca, certificate=theirs), server)
    assert isinstance(acceptor, TlsError)
    assert "leads to none that is trusted" in acceptor.message


def test_a_peer_without_tls(certificates: Certificates) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00")
    requestor = TlsSocket(
        ours, client_context(ClientTls(ca=certificates.ca)), peer="PACS@there", name=HOST
    )
    with pytest.raises(TlsError, match=r"does not speak TLS on this port"):
        requestor.handshake(5)
    requestor.close()
    theirs.close()


def test_dicom_without_tls_at_a_port_with_tls(certificates: Certificates) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"\x01\x00\x00\x00\x00\x44" + bytes(68))
    context = server_context(ServerTls(certificates.issue(HOST)))
    acceptor = TlsSocket(ours, context, peer="10.0.0.1", server_side=True)
    with pytest.raises(TlsError, match=r"does not speak TLS"):
        acceptor.handshake(5)
    acceptor.close()
    theirs.close()


def test_a_peer_that_says_nothing(certificates: Certificates) -> None:
    ours, theirs = socket.socketpair()
    requestor = TlsSocket(
        ours, client_context(ClientTls(ca=certificates.ca)), peer="PACS@there", name=HOST
    )
    with pytest.raises(PeerTimeoutError, match=r"TLS handshake within 0.05 s"):
        requestor.handshake(0.05)
    requestor.close()
    theirs.close()


def test_files_that_are_no_certificates(certificates: Certificates, tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("-----BEGIN CERTIFICATE-----\nno\n", "ascii")
    good = certificates.issue(HOST)
    with pytest.raises(ConfigError, match=r"rubbish.pem"):
        server_context(ServerTls(str(rubbish)))
    with pytest.raises(ConfigError, match=r"rubbish.pem"):
        client_context(ClientTls(ca=str(rubbish)))
    with pytest.raises(ConfigError, match=r"missing.pem cannot be read"):
        client_context(ClientTls(ca=str(tmp_path / "missing.pem")))
    with pytest.raises(ConfigError, match=r"missing.pem cannot be read"):
        server_context(ServerTls(good, key=str(tmp_path / "missing.pem")))
    with pytest.raises(ConfigError, match=r"no certificate and its key"):
        server_context(ServerTls(good, key=certificates.issue(HOST)))
    with pytest.raises(ConfigError, match=r"no version of TLS"):
        client_context(ClientTls(minimum="1.0"))
