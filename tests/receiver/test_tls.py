"""A listener that speaks TLS: who may associate, and what is said to the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.client import Client
from pypx.errors import AssociationRejectedError, NetworkError, TlsError
from pypx.net.connection import Timeouts
from pypx.net.tls_settings import ClientTls, ServerTls
from pypx.receiver.allow import AllowRule
from pypx.receiver.receiver import Receiver
from tests.net.certificates import Certificates

HOST = "127.0.0.1"
Listen = Callable[..., Address]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def listen(tmp_path: Path, certificates: Certificates) -> Iterator[Listen]:
    with ExitStack() as stack:

        def call(*rules: str, ca: str | None = None) -> Address:
            archive = stack.enter_context(Archive(tmp_path / "archive", durability="none"))
            allow = [AllowRule.parse(rule) for rule in rules]
            tls = ServerTls(certificates.issue(HOST), ca=ca)
            receiver = Receiver(archive, port=0, allow=allow, tls=tls)
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
