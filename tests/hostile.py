"""A peer that sends whatever a test wants, and a receiver that it cannot harm.

In: bytes, put together by hand and not by our own encoder. Out: the PDUs that come back, and a
check of the invariants at the head of ``docs/reliability.md``. No row of it belongs here.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import socket
import struct
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.client import Client
from pypx.dicom import uids
from pypx.net.connection import Timeouts
from pypx.net.limits import AcceptorLimits
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived
from pypx.receiver.receiver import Receiver
from tests.listening import Ledger, echo, eventually, send
from tests.objects import CT_IMAGE

__all__ = ["CLOSED", "RawPeer", "Scene", "abort", "reject"]

EXPLICIT, IMPLICIT = uids.EXPLICIT_VR_LITTLE_ENDIAN, uids.IMPLICIT_VR_LITTLE_ENDIAN
APPLICATION = b"1.2.840.10008.3.1.1.1"
PATIENCE = 10.0  # seconds for an answer that must come at once
CLOSED = b""

RELEASE_RQ = bytes.fromhex("05000000000400000000")
RELEASE_RP = bytes.fromhex("06000000000400000000")
ABORT = bytes.fromhex("07000000000400000000")


# PDUs and what is in them (PS3.8 §9.3).


def pdu(kind: int, body: bytes, *, length: int | None = None) -> bytes:
    return struct.pack(">BxL", kind, len(body) if length is None else length) + body


def abort(source: int, reason: int) -> bytes:
    return pdu(7, bytes((0, 0, source, reason)))


def reject(result: int, source: int, reason: int) -> bytes:
    return pdu(3, bytes((0, result, source, reason)))


def item(kind: int, value: bytes, *, length: int | None = None) -> bytes:
    return struct.pack(">BxH", kind, len(value) if length is None else length) + value


def context(number: int, abstract: str = CT_IMAGE, *transfer: str, extra: bytes = b"") -> bytes:
    syntaxes = b"".join(item(0x40, one.encode()) for one in transfer or (EXPLICIT,))
    return item(0x20, bytes((number, 0, 0, 0)) + item(0x30, abstract.encode()) + syntaxes + extra)


CT = context(1)
ECHO = context(3, uids.VERIFICATION, IMPLICIT)
BOTH = CT + ECHO


def user_information(extra: bytes = b"", *, maximum: int = 16384) -> bytes:
    value = item(0x51, struct.pack(">L", maximum)) + item(0x52, b"1.2.3") + extra
    return item(0x50, value)


def request(
    contexts: bytes = BOTH,
    *,
    user: bytes | None = None,
    called: bytes = b"PYPX",
    calling: bytes = b"HOSTILE",
    version: int = 1,
    application: bytes = APPLICATION,
    extra: bytes = b"",
) -> bytes:
    """Put an A-ASSOCIATE-RQ together."""
    fixed = struct.pack(">Hxx16s16s32x", version, called.ljust(16), calling.ljust(16))
    items = item(0x10, application) + contexts + (user_information() if user is None else user)
    return pdu(1, fixed + items + extra)


def pdv(number: int, data: bytes, *, command: bool = True, last: bool = True) -> bytes:
    return struct.pack(">LBB", len(data) + 2, number, command | last << 1) + data


def p_data(*pdvs: bytes) -> bytes:
    return pdu(4, b"".join(pdvs))


# Command sets (PS3.7 §6.3.1).


def element(number: int, value: bytes, *, length: int | None = None, group: int = 0) -> bytes:
    return struct.pack("<HHL", group, number, len(value) if length is None else length) + value


def us(number: int) -> bytes:
    return struct.pack("<H", number)


def text(value: str | bytes) -> bytes:
    raw = value if isinstance(value, bytes) else value.encode("latin-1")
    return raw + b"\0" * (len(raw) % 2)


def command(elements: dict[int, bytes]) -> bytes:
    body = b"".join(element(number, value) for number, value in elements.items())
    return element(0, struct.pack("<L", len(body))) + body


def echo_rq(message_id: int = 1) -> bytes:
    verification = text(uids.VERIFICATION)
    return command(
        {2: verification, 0x100: us(0x30), 0x110: us(message_id), 0x800: us(0x0101)},
    )


def store_rq(
    uid: str | bytes = "1.2.3.4.1",
    message_id: int = 1,
    *,
    changes: Mapping[int, bytes | None] = MappingProxyType({}),
) -> bytes:
    """Put a C-STORE-RQ together; a change to None leaves the element out."""
    elements: dict[int, bytes | None] = {
        0x0002: text(CT_IMAGE),
        0x0100: us(1),
        0x0110: us(message_id),
        0x0700: us(0),
        0x0800: us(1),
        0x1000: text(uid),
    }
    elements.update(changes)
    return command({k: v for k, v in sorted(elements.items()) if v is not None})


def response_elements(whole: bytes) -> dict[int, bytes]:
    """Read the command set of a P-DATA-TF with one PDV."""
    assert whole[0] == 4, whole
    length, _, control = struct.unpack_from(">LBB", whole, 6)
    assert control == 3 and length + 10 == len(whole)
    found, position = {}, 12
    while position < len(whole):
        _, number, size = struct.unpack_from("<HHL", whole, position)
        found[number] = whole[position + 8 : position + 8 + size]
        position += 8 + size
    return found


def status_of(whole: bytes) -> int:
    return int.from_bytes(response_elements(whole)[0x900], "little")


class RawPeer:
    """A TCP connection to a listener; a context manager."""

    def __init__(
        self, port: int, *, host: str = "127.0.0.1", source: str = "", receive_buffer: int = 0
    ) -> None:
        self.socket = socket.socket()
        if source:
            self.socket.bind((source, 0))
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def send(self, *data: bytes) -> None:
        """Send all of it, as far as the listener still takes it."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(b"".join(data))

    def receive(self) -> bytes:
        """Give the next PDU; empty when the connection has ended."""
        header = self._exactly(6)
        if len(header) < 6:
            return CLOSED
        return header + self._exactly(int.from_bytes(header[2:], "big"))

    def rest(self) -> list[bytes]:
        """Give all PDUs until the connection ends."""
        found = []
        while whole := self.receive():
            found.append(whole)
        return found

    def associate(self, *arguments: Any, **changes: Any) -> bytes:
        """Ask for an association; give the A-ASSOCIATE-AC."""
        self.send(request(*arguments, **changes))
        answer = self.receive()
        assert answer[:1] == b"\x02", answer
        return answer

    def reset(self) -> None:
        """End the connection with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                piece = self.socket.recv(size - len(data))
            except ConnectionError:
                piece = b""
            if not piece:
                break
            data += piece
        return data


class Heard:
    """Notes down what a receiver tells."""

    def __init__(self) -> None:
        self.received: list[InstanceReceived] = []
        self.summaries: list[AssociationSummary] = []

    def association_began(self, event: AssociationBegan) -> None:
        pass

    def instance_received(self, event: InstanceReceived) -> None:
        self.received.append(event)

    def association_ended(self, event: AssociationSummary) -> None:
        self.summaries.append(event)


class Scene:
    """A receiver with limits, and what must hold whatever a peer did to it.

    Attributes:
        ledger: What was acknowledged.
        heard: What the receiver told.
    """

    def __init__(self, folder: Path, log: pytest.LogCaptureFixture, **limits: Any) -> None:
        log.set_level(logging.WARNING)
        self.folder = folder
        self.log = log
        self.ledger = Ledger()
        self.heard = Heard()
        self.archive = Archive(folder / "archive", durability="none")
        self.receiver = Receiver(
            self.archive, port=0, limits=AcceptorLimits(**limits), observer=self.heard
        )
        self.receiver.start()
        self.descriptors = open_descriptors()

    def close(self) -> None:
        self.receiver.stop(0)
        self.archive.close()

    def peer(self, **options: Any) -> RawPeer:
        return RawPeer(self.receiver.port, **options)

    def good(self, title: str = "GOOD") -> Client:
        """Give a client that behaves."""
        return Client(
            Address("PYPX", self.receiver.host, self.receiver.port),
            calling_ae_title=title,
            timeouts=Timeouts(connect=5, association=5, response=5, release=2),
        )

    def told(self) -> list[str]:
        """Give what was told of broken associations, in the log and to the observer."""
        errors = [one.error.message for one in self.heard.summaries if one.error is not None]
        return errors + [record.getMessage() for record in self.log.records]

    def tree(self) -> list[Path]:
        return sorted(p for p in self.archive.root.rglob("*.dcm") if ".pypx" not in p.parts)

    def quarantine(self) -> list[Path]:
        return sorted((self.archive.root / ".pypx/quarantine").glob("*.dcm"))

    def note(self, uid: str, data: bytes) -> None:
        """Note down what was acknowledged."""
        self.ledger.note(uid, data)

    def check(self, *lines: str) -> None:
        """See to it that all is as it has to be, and that these and no other lines were told.

        Each of ``lines`` is a part of one.
        """
        self.wait_for()
        told = self.told()
        assert len(told) == len(lines) and all(a in b for a, b in zip(lines, told, strict=True)), (
            told
        )
        contexts = [(CT_IMAGE, (EXPLICIT,)), (uids.VERIFICATION, (IMPLICIT,))]
        connection = self.good().connect(contexts)
        number = time.time_ns()
        assert send(connection, self.ledger, number, SOPInstanceUID=f"1.2.9.{number}").status == 0
        assert echo(connection)
        connection.release()
        self.wait_for()
        assert self.ledger.lost(self.archive.root) == []
        assert not list((self.archive.root / ".pypx/incoming").iterdir())
        assert self.archive.check(checksums=True).ok
        assert {path.name for path in self.folder.iterdir()} == {"archive"}
        assert open_descriptors() <= self.descriptors + 40  # folders that an archive keeps open
        assert "Traceback" not in self.log.text

    def wait_for(self, most: int = 0) -> None:
        """Return when no more connections than these are served."""
        eventually(lambda: len(self.receiver._server._associations) <= most, 5)


def open_descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Cut data at these positions."""
    edges = [0, *sorted(cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]
