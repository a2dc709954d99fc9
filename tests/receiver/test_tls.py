"""A listener that speaks TLS: who may associate, and what is said to the others."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.client import Client
from pypx.errors import AssociationRejectedError, NetworkError, TlsError
from pypx.net.connection import Timeouts
from pypx.net.limits import AcceptorLimits
from pypx.net.tls_settings import ClientTls, ServerTls
from pypx.receiver.allow import AllowRule
from pypx.receiver.receiver import Receiver
from tests.listening import eventually
from tests.net.certificates import Certificates

HOST = "127.0.0.1"
Listen = Callable[..., Address]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def listen(tmp_path: Path, certificates: Certificates) -> Iterator[Listen]:
    with ExitStack() as stack:

        def call(*rules: str, ca: str | None = None, **limits: float) -> Address:
            archive = stack.enter_context(Archive(tmp_path / "archive", durability="none"))
            allow = [AllowRule.parse(rule) for rule in rules]
            tls = ServerTls(certificates.issue(HOST), ca=ca)
            asked = AcceptorLimits(**limits)
            receiver = Receiver(archive, port=0, allow=allow, tls=tls, limits=asked)
            stack.enter_context(receiver)
            return Address("PYPX", receiver.host, receiver.port)

        yield call


def echo(address: Address, tls: ClientTls | None, *, called: str = "PYPX") -> None:
    where = Address(called, address.host, address.port)
    with Client(where, calling_ae_title="CT1", timeouts=Timeouts(2, 2, 2, 1), tls=tls) as client:
        client.echo()


def test_anybody_with_tls(listen: Listen, certificates: Certificates) -> None:
    address = listen()
    echo(address, ClientTls(ca=certificates.ca))


def test_nobody_without(
    listen: Listen, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    address = listen()
    with caplog.at_level(logging.WARNING), pytest.raises(NetworkError):
        echo(address, None)
    for _ in range(100):
        if caplog.records:
            break
    echo(address, ClientTls(ca=certificates.ca))  # and the next one is served
    [said] = [record.getMessage() for record in caplog.records]
    assert "does not speak TLS" in said


def test_only_who_has_a_certificate(listen: Listen, certificates: Certificates) -> None:
    address = listen(ca=certificates.ca)
    own = certificates.issue("ct1.example.org")
    echo(address, ClientTls(ca=certificates.ca, certificate=own))
    with pytest.raises(TlsError) as caught:
        echo(address, ClientTls(ca=certificates.ca))
    assert "certificate" in f"{caught.value.message} {caught.value.hint}"
    stranger = certificates.issue("ct1.example.org", stranger=True)
    with pytest.raises(TlsError):
        echo(address, ClientTls(ca=certificates.ca, certificate=stranger))


def test_a_rule_that_names_a_certificate(listen: Listen, certificates: Certificates) -> None:
    address = listen("CT1@127.0.0.1 tls ct1.example.org", ca=certificates.ca)
    right, wrong = (certificates.issue(f"{name}.example.org") for name in ("ct1", "ct2"))
    echo(address, ClientTls(ca=certificates.ca, certificate=right))
    with pytest.raises(AssociationRejectedError) as caught:
        echo(address, ClientTls(ca=certificates.ca, certificate=wrong))
    assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 1, 3)


def test_a_rule_that_names_what_we_are_called(listen: Listen, certificates: Certificates) -> None:
    address = listen("CT1@* to PYPX")
    tls = ClientTls(ca=certificates.ca)
    echo(address, tls)
    with pytest.raises(AssociationRejectedError) as caught:
        echo(address, tls, called="OTHER")
    assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 1, 7)


# Row A24 of docs/reliability.md.


def shake_hands(address: Address, context: ssl.SSLContext) -> str:
    """Try; give the version, or why not."""
    plain = socket.create_connection((address.host, address.port), 10)
    try:
        with context.wrap_socket(plain, server_hostname=address.host) as secure:
            secure.recv(1)  # with TLS 1.3 a refusal comes behind the handshake
            return str(secure.version())
    except ssl.SSLError as error:
        return str(error.reason)
    except ConnectionError:
        return "closed"
    finally:
        plain.close()


def client_of(certificates: Certificates, own: str | None = None) -> ssl.SSLContext:
    """Give a client that takes what OpenSSL still has of old versions and suites."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificates.ca)
    context.set_ciphers("ALL:@SECLEVEL=0")
    if own is not None:
        context.load_cert_chain(own)
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")  # that they are old is the point
@pytest.mark.parametrize(
    ("version", "suites"),
    [
        (ssl.TLSVersion.TLSv1, ""),
        (ssl.TLSVersion.TLSv1_1, ""),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES256-SHA"),  # CBC
        (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256:AES256-GCM-SHA384"),  # no forward secrecy
        (ssl.TLSVersion.TLSv1_2, "NULL:eNULL:aNULL"),
    ],
)
def test_a24_old_versions_and_suites(
    listen: Listen,
    certificates: Certificates,
    caplog: pytest.LogCaptureFixture,
    version: ssl.TLSVersion,
    suites: str,
) -> None:
    address = listen()
    context = client_of(certificates)
    context.minimum_version = context.maximum_version = version
    if suites:
        context.set_ciphers(f"{suites}:@SECLEVEL=0")
    said = shake_hands(address, context)
    assert "ALERT" in said or said in ("closed", "NO_CIPHERS_AVAILABLE"), said
    eventually(lambda: "no version or cipher suite" in caplog.text or "refused" in caplog.text)
    echo(address, ClientTls(ca=certificates.ca))


@pytest.mark.parametrize("kind", ["none", "expired", "of a stranger"])
def test_a24_certificates_that_do_not_let_in(
    listen: Listen, certificates: Certificates, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    address = listen(ca=certificates.ca)
    issue = certificates.issue
    own = {
        "none": lambda: None,
        "expired": lambda: issue("ct1", expired=True),
        "of a stranger": lambda: issue("ct1", stranger=True),
    }[kind]()
    said = shake_hands(address, client_of(certificates, own))
    assert "ALERT" in said or said == "closed", said
    eventually(lambda: len(caplog.records) == 1)
    good = ClientTls(ca=certificates.ca, certificate=issue("ct1"))
    echo(address, good)


def test_a24_handshakes_that_never_end(listen: Listen, certificates: Certificates) -> None:
    """They hold no association, and nobody up; each is closed when its time is over."""
    address = listen(artim_timeout=3.0, max_associations=1)
    hello = ssl.MemoryBIO()
    client = client_of(certificates).wrap_bio(ssl.MemoryBIO(), hello, server_hostname=HOST)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    first = hello.read()
    with ExitStack() as stack:
        peers = []
        for number in range(100):
            peer = socket.create_connection((address.host, address.port), 30)
            peers.append(stack.enter_context(peer))
            # Nothing, a part of the first message, or all of it and then nothing.
            peer.sendall(first[: (0, 3, len(first) // 2, len(first))[number % 4]])
        echo(address, ClientTls(ca=certificates.ca))
        for peer in peers:
            while peer.recv(4096):  # what it answers to a whole one, then its end
                pass
