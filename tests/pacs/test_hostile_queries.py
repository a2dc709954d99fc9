"""The embedded PACS is asked for what breaks the rules: it answers, and the next one is served."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from pypx.archive import Archive
from pypx.client.client import Client
from pypx.dicom.uids import STUDY_ROOT_FIND
from pypx.net.connection import Timeouts
from pypx.pacs import Pacs
from pypx.pacs.samples import write_samples
from tests.hostile import (
    CLOSED,
    IMPLICIT,
    RawPeer,
    command,
    context,
    p_data,
    pdv,
    response_elements,
    text,
    us,
)


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    with Archive(tmp_path_factory.mktemp("samples"), durability="none") as archive:
        write_samples(archive)
        with Pacs(archive) as one:
            yield one


def key(group: int, number: int, value: bytes, *, length: int | None = None) -> bytes:
    return struct.pack("<HHL", group, number, len(value) if length is None else length) + value


LEVEL = key(0x0008, 0x0052, b"STUDY ")
ITEM = bytes.fromhex("feff00e0ffffffff")
IDENTIFIERS = {
    "nothing": b"",
    "no level": key(0x0010, 0x0020, b"DEMO"),
    "an empty level": key(0x0008, 0x0052, b""),
    "a level that is a sequence": key(0x0008, 0x0052, ITEM, length=0xFFFFFFFF),
    "an empty key": LEVEL + key(0x0010, 0x0020, b""),
    "a key that is a sequence": LEVEL + key(0x0010, 0x0020, ITEM * 3, length=24),
    "1,000 sequences in each other": LEVEL
    + (key(0x0040, 0x0100, b"", length=0xFFFFFFFF) + ITEM) * 1000,
    "an announced value of 4 GiB": LEVEL + key(0x0010, 0x0020, b"A", length=0xFFFFFFFE),
    "a value of an odd length": LEVEL + key(0x0010, 0x0010, b"A*B"),
    "bytes of no character set": LEVEL + key(0x0010, 0x0010, bytes(range(128, 254))),
    "a pattern that is all stars": LEVEL + key(0x0010, 0x0010, b"*" * 60 + b"!*"),
    "an expression": LEVEL + key(0x0010, 0x0010, b"(((a+)+)+)+$[" * 4),
    "SQL": LEVEL + key(0x0010, 0x0020, b"'; DROP TABLE instances; --"),
    "a range without ends": LEVEL + key(0x0008, 0x0020, b"--"),
    "a range of no dates": LEVEL + key(0x0008, 0x0020, b"99999999-00000000 "),
    "a list of 1,000 UIDs": LEVEL + key(0x0020, 0x000D, b"\\".join([b"1.2.3"] * 1000) + b" "),
    "groups of a file and of a command": key(0x0000, 0x0100, b"\1\0") + key(0x0002, 0x0010, b"1"),
    "any bytes": bytes(range(256)) * 8,
}


@pytest.mark.parametrize("identifier", IDENTIFIERS.values(), ids=IDENTIFIERS)
def test_a_query_that_breaks_the_rules(pacs: Pacs, identifier: bytes) -> None:
    asked = command(
        {
            0x0002: text(STUDY_ROOT_FIND),
            0x0100: us(0x20),
            0x0110: us(1),
            0x0700: us(0),
            0x0800: us(1),
        }
    )
    with RawPeer(pacs.address.port) as peer:
        peer.associate(context(1, STUDY_ROOT_FIND, IMPLICIT))
        peer.send(p_data(pdv(1, asked)) + p_data(pdv(1, identifier, command=False)))
        assert ends(peer)
    timeouts = Timeouts(connect=5, association=10, response=10, release=2)
    with Client(pacs.address, timeouts=timeouts) as client:
        assert len(list(client.find({"PatientID": ""}, level="study"))) == 3


def ends(peer: RawPeer) -> bool:
    """Whether a final response comes, or an A-ABORT."""
    while (whole := peer.receive()) != CLOSED:
        if whole[0] == 7:
            return True
        is_command = whole[0] == 4 and whole[11] & 1
        if is_command and len(whole) == 10 + int.from_bytes(whole[6:10], "big"):
            status = int.from_bytes(response_elements(whole)[0x900], "little")
            if status not in (0xFF00, 0xFF01):
                return True
    return False
