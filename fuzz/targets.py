"""What is fuzzed: functions that take any bytes and raise only for a defect of ours.

In: bytes. Out: nothing, or an exception that is none of a peer's making. Who makes the bytes is
``__main__`` (atheris), ``tests/fuzz`` (hypothesis, and the inputs that once found something).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import socket
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pypx.archive import Archive
from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import decode_elements
from pypx.dicom.encoding import encoding_of
from pypx.dicom.header import INDEX_TAGS, HeaderScan
from pypx.dimse.command import decode_command, encode_command
from pypx.dimse.session import Session
from pypx.errors import DataSetError, LocalProtocolError, RemoteProtocolError
from pypx.net.channel import Channel
from pypx.net.limits import AcceptorLimits
from pypx.net.served import ServedAssociation
from pypx.receiver.receiver import Receiver
from pypx.ul.association import Association, Role
from pypx.ul.codec import decode_pdu
from pypx.ul.reader import Limits, PDUReader

__all__ = ["REQUEST", "TARGETS", "acceptor", "command", "data_set", "pdu"]

_SYNTAXES = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)
_LIMITS = AcceptorLimits(max_command=4096, max_elements=20_000, max_bytes=1 << 20)


def pdu(data: bytes) -> None:
    """Read a stream of PDUs: whole, and split where the first byte says."""
    size, stream = 1 + data[0] if data else 1, data[1:]
    whole = list(PDUReader().feed(stream))
    _check_last(whole)
    reader = PDUReader()
    split = []
    for start in range(0, len(stream), size):
        split += reader.feed(memoryview(stream)[start : start + size])
    _check_last(split)
    errors = [[str(i) for i in items if isinstance(i, Exception)] for items in (whole, split)]
    assert errors[0] == errors[1], errors
    if stream:
        with contextlib.suppress(RemoteProtocolError):
            decode_pdu(stream[0], stream[1:])


def _check_last(items: list[Any]) -> None:
    for item in items[:-1]:
        assert not isinstance(item, Exception)


def command(data: bytes) -> None:
    """Decode a command set; what is one can be written again."""
    try:
        message = decode_command(data)
    except RemoteProtocolError:
        return
    encode_command(message)


def data_set(data: bytes) -> None:
    """Decode a data set, and scan it as it arrives; the first two bytes say how."""
    if len(data) < 2:
        return
    syntax, size, body = _SYNTAXES[data[0] % 4], 1 + data[1], data[2:]
    scan = HeaderScan(syntax, wanted=INDEX_TAGS, max_elements=20_000, max_inflated=1 << 20)
    for start in range(0, len(body), size):
        scan.feed(memoryview(body)[start : start + size])
    with contextlib.suppress(DataSetError):
        _look_at(scan.finish())
    if syntax == _SYNTAXES[3]:
        return
    try:
        for _ in decode_elements(body, encoding_of(syntax)):
            pass
        _look_at(DataSet.from_bytes(body, encoding_of(syntax)))
    except DataSetError:
        pass


def _look_at(found: DataSet) -> None:
    for keyword in ("SOPInstanceUID", "PatientName", "NumberOfFrames", "StudyDate"):
        found.get(keyword)


# The whole acceptor: an association over a socket, with an archive behind it.


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _context(number: int, abstract: bytes, transfer: bytes) -> bytes:
    return _item(0x20, bytes((number, 0, 0, 0)) + _item(0x30, abstract) + _item(0x40, transfer))


def _pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(body)) + body


_CT = b"1.2.840.10008.5.1.4.1.1.2"
REQUEST = _pdu(
    1,
    struct.pack(">Hxx16s16s32x", 1, b"PYPX".ljust(16), b"FUZZ".ljust(16))
    + _item(0x10, b"1.2.840.10008.3.1.1.1")
    + _context(1, _CT, _SYNTAXES[0].encode())
    + _context(3, b"1.2.840.10008.1.1", _SYNTAXES[1].encode())
    + _context(5, _CT, _SYNTAXES[3].encode())
    + _item(0x50, _item(0x51, bytes((0, 0, 64, 0)))),
)
RELEASE = _pdu(5, bytes(4))


def _store_rq(uid: bytes) -> bytes:
    uid += b"\0" * (len(uid) % 2)
    return b"".join(
        (
            struct.pack("<HHL", 0, 2, len(_CT) + 1) + _CT + b"\0",
            struct.pack("<HHLH", 0, 0x100, 2, 1),
            struct.pack("<HHLH", 0, 0x110, 2, 7),
            struct.pack("<HHLH", 0, 0x800, 2, 1),
            struct.pack("<HHL", 0, 0x1000, len(uid)) + uid,
        )
    )


def _p_data(number: int, data: bytes, *, is_command: bool, is_last: bool = True) -> bytes:
    control = is_command | is_last << 1
    return _pdu(4, struct.pack(">LBB", len(data) + 2, number, control) + data)


def _stream(data: bytes) -> bytes:
    """Say what the peer sends: the first byte tells how much of it is as it should be."""
    how, rest = (data[0] % 5, data[1:]) if data else (0, b"")
    match how:
        case 0:
            return rest
        case 1:
            return REQUEST + rest
        case 2:
            return REQUEST + _p_data(1, rest, is_command=True)
        case 3:
            uid = rest[1 : 1 + rest[0] % 80] if rest else b""
            body = rest[1 + len(uid) :]
            number = 5 if rest and rest[0] & 0x80 else 1
            store = _p_data(number, _store_rq(uid), is_command=True)
            return REQUEST + store + _p_data(number, body, is_command=False) + RELEASE
        case _:
            store = _p_data(1, _store_rq(b"1.2.3.4"), is_command=True)
            pieces = [rest[at : at + 16] for at in range(0, len(rest), 16)] or [b""]
            last = len(pieces) - 1
            return (
                REQUEST
                + store
                + b"".join(
                    _p_data(1, piece, is_command=False, is_last=number == last)
                    for number, piece in enumerate(pieces)
                )
                + RELEASE
            )


class _Pair(socket.socket):
    """One end of a socket pair, which knows no options of TCP."""

    def setsockopt(self, level: int, *arguments: Any) -> None:  # type: ignore[override]
        """Set an option, unless it is one of TCP."""
        if level != socket.IPPROTO_TCP:
            super().setsockopt(level, *arguments)


class _Listener:
    """A receiver whose associations come over socket pairs, and its archive in memory."""

    _MOST = 2000  # associations into one archive

    def __init__(self) -> None:
        shm = Path("/dev/shm")
        self._folder = tempfile.mkdtemp(dir=shm if shm.is_dir() else None, prefix="pypx-fuzz-")
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        self._served = self._MOST
        self._archive: Archive | None = None
        self._receiver: Receiver

    def serve(self, stream: bytes) -> bytes:
        """Let a peer send this and close; give what it receives."""
        self._renew()
        ours, theirs = (
            _Pair(one.family, one.type, fileno=one.detach()) for one in socket.socketpair()
        )
        with theirs:
            theirs.setblocking(False)
            sent = 0
            try:
                while sent < len(stream):
                    sent += theirs.send(stream[sent:])
            except BlockingIOError:
                pass  # more than a socket pair holds: the peer is cut short
            theirs.shutdown(socket.SHUT_WR)
            association = Association(
                Role.ACCEPTOR, pdu_timeout=60, limits=Limits(1 << 16, 1 << 20, 1 << 12)
            )
            session = Session(association, command_limit=_LIMITS.max_command)
            served = ServedAssociation(Channel(ours, session), "127.0.0.1", _LIMITS)
            served.run(self._receiver, self._receiver.negotiate)
            served.close()
            assert not isinstance(served.failure, LocalProtocolError), served.failure
            received = b""
            while piece := theirs.recv(1 << 16):
                received += piece
            return received

    def _renew(self) -> None:
        """Begin a new archive now and then, so that nothing grows but what leaks."""
        self._served += 1
        if self._served <= self._MOST:
            return
        self._served = 0
        if self._archive is not None:
            self._receiver.stop(0)
            self._archive.close()
            shutil.rmtree(self._folder)
            os.mkdir(self._folder)  # noqa: PTH102 - it is text here
        self._archive = Archive(Path(self._folder) / "archive", durability="none")
        self._receiver = Receiver(self._archive, port=0, limits=_LIMITS)


_listener: _Listener | None = None


def acceptor(data: bytes) -> None:
    """Serve an association; all that comes back is whole PDUs, and nothing is left half."""
    global _listener  # noqa: PLW0603 - made only where it is fuzzed
    if _listener is None:
        _listener = _Listener()
    stream = _stream(data)
    answers = _listener.serve(stream)
    position = 0
    while position < len(answers):
        kind, length = struct.unpack_from(">BxL", answers, position)
        position += 6 + length
        assert kind in (2, 3, 4, 6, 7), answers
    assert position == len(answers), answers


TARGETS: dict[str, Callable[[bytes], None]] = {
    "pdu": pdu,
    "command": command,
    "data_set": data_set,
    "acceptor": acceptor,
}
