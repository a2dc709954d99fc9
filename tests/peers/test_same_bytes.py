"""Row J5: the same hostile bytes to pypx and to others, as ``docs/reliability.md`` has it.

What pypx answers must be what the table says. What the others do is compared as well, for the
versions that the table names; where another version runs here, its test is skipped.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynetdicom
import pytest

from pypx.archive import Archive
from pypx.dicom import uids
from pypx.receiver.receiver import Receiver
from tests.hostile import (
    CT,
    RELEASE_RQ,
    command,
    context,
    p_data,
    pdu,
    pdv,
    request,
    store_rq,
)
from tests.listening import eventually
from tests.objects import data_set
from tests.peers.orthanc import Orthanc
from tests.peers.process import HOST, Peer, require

pytestmark = pytest.mark.peers

TABLE = (Path(__file__).parents[2] / "docs/reliability.md").read_text(encoding="utf-8")
PATIENCE = 20.0  # seconds for an answer that is expected
PIECE = 8000  # bytes in a PDU
SILENCE = 1.5  # seconds after which one that is not expected does not come
_numbers = itertools.count(1)
CT_TWICE = context(1) + context(3)


def stored(uid: str | None = None, *, told: str | None = None, **changes: Any) -> bytes:
    """Give a C-STORE of an object that is new."""
    uid = uid or f"1.2.3.{next(_numbers)}"
    data = data_set(SOPInstanceUID=uid, PixelData=bytes(64), **changes)
    return store(told or uid, data)


def store(uid: str, data: bytes) -> bytes:
    edges = range(0, len(data), PIECE)
    pieces = [
        p_data(pdv(1, data[edge : edge + PIECE], command=False, last=edge + PIECE >= len(data)))
        for edge in edges
    ]
    return p_data(pdv(1, store_rq(uid))) + b"".join(pieces)


def nested(depth: int) -> bytes:
    """Give an object with sequences in each other, of undefined lengths."""
    begin = bytes.fromhex("29001010 5351 0000 ffffffff feff00e0 ffffffff")
    end = bytes.fromhex("feff0de0 00000000 feffdde0 00000000")
    head = data_set(SOPInstanceUID="1.2.3.0", PixelData=None)
    creator = bytes.fromhex("29001000") + b"LO\x06\0TESTS "
    return store("1.2.3.0", head + creator + begin * depth + end * depth)


def odd() -> bytes:
    uid = f"1.2.3.{next(_numbers)}"
    data = data_set(SOPInstanceUID=uid, PixelData=bytes(64))
    first = pdv(1, data[:101], command=False, last=False)
    return p_data(pdv(1, store_rq(uid))) + p_data(first) + p_data(pdv(1, data[101:], command=False))


def cut() -> bytes:
    uid = f"1.2.3.{next(_numbers)}"
    return store(uid, data_set(SOPInstanceUID=uid, PixelData=bytes(64))[:-30])


def split() -> bytes:
    uid = f"1.2.3.{next(_numbers)}"
    data = data_set(SOPInstanceUID=uid, PixelData=bytes(64))
    return p_data(pdv(1, store_rq(uid))) + p_data(pdv(3, data, command=False))


Probe = tuple[bytes, Callable[[], bytes]]  # what to associate with, empty for nothing; what to send


def probe(send: Callable[[], bytes] | bytes, associate: bytes | None = None) -> Probe:
    asked = request(CT_TWICE + context(5, uids.VERIFICATION)) if associate is None else associate
    return asked, send if callable(send) else lambda: send


PROBES: dict[str, Probe] = {
    "A-ASSOCIATE-RQ of 4 GiB": probe(pdu(1, bytes(64), length=0xFFFFFFFF), b""),
    "P-DATA-TF of 4 GiB": probe(pdu(4, bytes(64), length=0xFFFFFFFF)),
    "PDV of 0 bytes": probe(pdu(4, bytes.fromhex("000000000103"))),
    "PDV of 1 byte": probe(pdu(4, bytes.fromhex("000000010103"))),
    "context that was not negotiated": probe(lambda: p_data(pdv(99, store_rq()))),
    "data set without a command": probe(p_data(pdv(1, data_set(), command=False))),
    "two commands": probe(lambda: p_data(pdv(1, store_rq())) * 2),
    "command on 1, data set on 3": probe(split),
    "fragment of an odd length": probe(odd),
    "P-DATA-TF first": probe(p_data(pdv(1, store_rq())), b""),
    "HTTP": probe(b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n", b""),
    "A-ASSOCIATE-RQ again": probe(request()),
    "P-DATA-TF without a PDV": probe(pdu(4, b"")),
    "SOP Instance UID ../../evil": probe(lambda: stored("../../evil")),
    "another instance than announced": probe(lambda: stored(told="1.2.9.9")),
    "SOP Instance UID of 74 characters": probe(lambda: stored("1.2." + "3" * 70)),
    "last element truncated": probe(cut),
    "command set without elements": probe(p_data(pdv(1, command({})))),
    "command set that is none": probe(p_data(pdv(1, b"\xff" * 64))),
    "PDU of type 41H": probe(pdu(0x41, bytes(4))),
    "duplicate context IDs": probe(request(CT + CT), b""),
    "even context ID": probe(request(context(2)), b""),
    "other application context": probe(request(application=b"1.2.3"), b""),
    "protocol version 2": probe(request(version=2), b""),
    "P-DATA-TF behind the release": probe(lambda: RELEASE_RQ + p_data(pdv(1, store_rq()))),
    "Study Instance UID ..": probe(lambda: stored(StudyInstanceUID="..")),
    "60,000 sequences in each other": probe(lambda: nested(60_000)),
}


def observe(port: int, one: Probe, expected: str) -> str:
    """Give what comes back, in the words of the table."""
    asked, make = one
    words: list[str] = []
    with socket.create_connection((HOST, port), PATIENCE) as peer:
        peer.settimeout(PATIENCE)
        if asked:
            peer.sendall(asked)
            assert word(peer) == "accepted"
        with contextlib.suppress(ConnectionError):
            peer.sendall(make())
        peer.settimeout(SILENCE if "silent" in expected else PATIENCE)
        with contextlib.suppress(ConnectionError):
            while not words or words[-1] == "released":
                try:
                    words.append(word(peer))
                except TimeoutError:
                    words.append("silent")
    return ", ".join(words) or "closed"


def word(peer: socket.socket) -> str:
    header = exactly(peer, 6)
    if len(header) < 6:
        return "closed"
    body = exactly(peer, int.from_bytes(header[2:], "big"))
    match header[0]:
        case 2:
            return "accepted"
        case 3:
            return f"rejected {body[1]}/{body[2]}/{body[3]}"
        case 4:
            status = re.search(rb"\0\0\x00\x09\x02\0\0\0(..)", body, re.DOTALL)
            assert status, body
            return f"{int.from_bytes(status[1], 'little'):04X}"
        case 6:
            return "released"
        case 7:
            return f"abort {body[2]}/{body[3]}"
    return f"PDU {header[0]:02X}"


def exactly(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = peer.recv(size - len(data))
        if not piece:
            break
        data += piece
    return data


def column(name: str) -> dict[str, str]:
    """Give a column of the table, by probe."""
    begin = TABLE.index("| what is sent |")
    lines = TABLE[begin:].partition("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    place = next(n for n, cell in enumerate(rows[0]) if cell.startswith(name))
    return {row[0]: row[place] for row in rows[2:]}


def version(name: str) -> str:
    """Give the version of a product that the table names."""
    found = re.search(rf"\| {name} ([\d.]+)", TABLE)
    assert found
    return found[1]


def compare(name: str, start: Callable[[], Peer]) -> None:
    wanted = column(name)
    found = {}
    peer = start()
    for probed, one in PROBES.items():
        found[probed] = observe(peer.port, one, wanted[probed])
        if ", dies" in wanted[probed]:
            eventually(lambda: peer.pid is None)  # noqa: B023
            found[probed] += ", dies"
            peer = start()
    assert found == wanted


def test_every_row_is_there() -> None:
    assert list(column("pypx")) == list(PROBES)


def test_pypx(tmp_path: Path) -> None:
    wanted = column("pypx")
    with Archive(tmp_path / "archive") as archive, Receiver(archive, port=0) as receiver:
        found = {name: observe(receiver.port, one, "never silent") for name, one in PROBES.items()}
    assert found == wanted
    assert not any("silent" in one for one in wanted.values())
    assert {path.name for path in tmp_path.iterdir()} == {"archive"}


def test_storescp(storescp: Callable[..., Peer]) -> None:
    said = subprocess.run(
        [str(Path(require("dcmdump")).with_name("storescp")), "--version"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    if f"v{version('DCMTK')} " not in said:
        pytest.skip(f"another version of DCMTK: {said.splitlines()[:1]}")
    compare("DCMTK", lambda: storescp(bit_preserving=False))


def test_orthanc(orthanc: Callable[..., Orthanc]) -> None:
    one = orthanc()
    running = one.rest("/system")["Version"]
    if running != version("Orthanc"):
        pytest.skip(f"another version of Orthanc: {running}")
    compare("Orthanc", orthanc)


def test_pynetdicom(pynetdicom_storescp: Callable[..., Peer]) -> None:
    if pynetdicom.__version__ != version("pynetdicom"):
        pytest.skip(f"another version of pynetdicom: {pynetdicom.__version__}")
    compare("pynetdicom", pynetdicom_storescp)
