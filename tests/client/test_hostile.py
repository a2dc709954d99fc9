"""A PACS that is hostile or broken: what other tests of section G of the table do not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.client import Client
from pypx.client.sop_classes import SOPClasses
from pypx.dimse.messages import CFindRSP
from pypx.errors import PypxError, RemoteProtocolError
from pypx.net import connection
from pypx.net.connection import Timeouts
from pypx.receiver.retrieved import Retrieved
from pypx.text import cell, visible
from tests.hostile import ECHO, IMPLICIT, item, request, user_information
from tests.objects import CT_IMAGE
from tests.peers.raw import RawScp, receive_pdu, send, stall
from tests.scripted import Exchange, Scripted

PATIENT = Timeouts(connect=5, association=10, response=10, release=0.1)
KEYS = {"StudyInstanceUID": "1.2.3"}


def client(scripted: Scripted) -> Client:
    return Client(scripted.address, calling_ae_title="TESTS", timeouts=PATIENT)


HOSTILE_UIDS = ["../../evil", "/etc/evil", "..", "1.2/../../x", "1" * 65]


def test_g1_instances_with_hostile_uids(tmp_path: Path) -> None:
    def hostile(exchange: Exchange) -> None:
        for number, uid in enumerate(HOSTILE_UIDS, 1):
            status = exchange.store(number, uid=uid, StudyInstanceUID="..", PatientID="../..")
            assert status in (0, 0xC000)
        assert exchange.store(9, StudyInstanceUID="1.2.777") == 0  # nobody asked for that study
        exchange.progress(0x0000, None, len(HOSTILE_UIDS) + 1, 0, 0)

    with Archive(tmp_path / "archive", durability="none") as archive:
        kept = Retrieved(archive, host="x", calling_ae_title="A", called_ae_title="B")
        with Scripted(get=hostile) as scripted, client(scripted) as one:
            one.get(KEYS, kept.store, sop_classes=SOPClasses((CT_IMAGE,), True)).run()
        assert {path.name for path in tmp_path.iterdir()} == {"archive"}
        assert archive.check(checksums=True).ok
        assert kept.totals.instances + kept.totals.failures == len(HOSTILE_UIDS) + 1
        for path in archive.root.rglob("*.dcm"):
            assert path.resolve().is_relative_to(archive.root.resolve())


def test_g5_matches_without_end() -> None:
    """They are given as they come; a limit ends it, and so does who asks for no more."""

    def endless(exchange: Exchange) -> None:
        while not exchange.association.cancelled(exchange.request.message_id):
            exchange.match(PatientID="the same for ever")
        exchange.end_find(0xFE00)

    with Scripted(find=endless) as scripted, client(scripted) as one:
        assert len(list(one.find({}, limit=1000))) == 1000
        for number, _ in enumerate(matches := one.find({}), 1):
            if number == 1000:
                matches.close()
                break


def test_g5_a_match_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_DATA_SET_LIMIT", 1 << 20)

    def too_large(exchange: Exchange) -> None:
        exchange.match(PatientComments="x" * (2 << 20))

    with (
        Scripted(find=too_large) as scripted,
        client(scripted) as one,
        pytest.raises(RemoteProtocolError, match="more than 1 MiB"),
    ):
        list(one.find({}))


TEXTS = {
    "Latin-1 as UTF-8": ("ISO_IR 192", "Müller".encode("latin-1")),
    "no label": ("", "Müller".encode("latin-1")),
    "an unknown set": ("ISO_IR 999", b"M\xfcller"),
    "ISO 2022 that breaks off": ("\\ISO 2022 IR 87", b"\x1b$B;"),
    "GB18030": ("GB18030", "王".encode("gb18030")),
    "terminal": ("", b"\x1b[31m\x1b]0;x\x07"),
    "right to left": ("ISO_IR 192", "\u202etxt".encode()),
    "a formula": ("", b"=cmd|' /C calc'!A1"),
    "markup": ("", b"<script>alert(1)</script>"),
    "300 characters": ("", b"x" * 300),
}


@pytest.mark.parametrize(("label", "raw"), TEXTS.values(), ids=TEXTS)
def test_g6_g14_texts_of_any_kind(label: str, raw: bytes) -> None:
    raw += b" " * (len(raw) % 2)

    def odd(exchange: Exchange) -> None:
        charset = label.encode() + b" " * (len(label) % 2)
        identifier = (
            b"\x08\0\x05\0" + len(charset).to_bytes(4, "little") + charset
            if not exchange.encoding.explicit
            else b"\x08\0\x05\0CS" + len(charset).to_bytes(2, "little") + charset
        )
        head = b"\x10\0\x10\0" + (b"PN" if exchange.encoding.explicit else b"")
        size = len(raw).to_bytes(2 if exchange.encoding.explicit else 4, "little")
        exchange.send(
            CFindRSP(exchange.request.message_id, 0xFF00, has_data_set=True),
            identifier + head + size + raw,
        )
        exchange.end_find()

    with Scripted(find=odd) as scripted, client(scripted) as one:
        (match,) = list(one.find({}))
    name = str(match.get("PatientName") or "")
    assert visible(name).isprintable()
    assert not cell(name).startswith(("=", "+", "-", "@"))


def accept() -> bytes:
    """Give an A-ASSOCIATE-AC for the verification context 1."""
    rq = request(ECHO)
    body = rq[6:74] + item(0x10, b"1.2.840.10008.3.1.1.1")
    body += item(0x21, bytes((1, 0, 0, 0)) + item(0x40, IMPLICIT.encode())) + user_information()
    return b"\2\0" + len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    "answer",
    [
        bytes.fromhex("040000000000"),
        bytes.fromhex("04000000000600000000") + bytes((1, 3)),
        bytes.fromhex("040000000006000000020103"),
        bytes.fromhex("04000000000a000000060103") + b"junk",
    ],
    ids=["no PDV", "a PDV of 0", "an empty command", "junk"],
)
def test_g13_responses_that_are_none(answer: bytes) -> None:
    scp = RawScp([receive_pdu(), send(accept()), receive_pdu(), send(answer), stall()])
    try:
        address = Address.parse(scp.address)
        with pytest.raises(PypxError) as caught, Client(address, timeouts=PATIENT) as one:
            one.echo()
        assert isinstance(caught.value, RemoteProtocolError)
    finally:
        scp.stop()
