"""Memory does not grow with what is sent: one large object, many at once, and a hard limit."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from xxhash import xxh3_128

from pypx.dicom.part10 import decode_preamble_and_meta
from pypx.dimse.messages import CStoreRQ, CStoreRSP
from pypx.net.connection import Connection
from tests.crash.conftest import limited
from tests.listening import (
    PLANTED,
    Ledger,
    Listener,
    all_from_here,
    associated,
    check,
    echo,
    instance,
    send,
)
from tests.objects import CT_IMAGE, data_set

MIB = 1 << 20
LARGE = 2112 * MIB  # of each of two elements: more than 4 GiB together
NEEDED = 8 << 30  # bytes on the disk, so that nobody else runs out of room

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="only Linux tells how much memory was used"
)


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """Give a folder on a real disk: what is in memory would be counted as such."""
    place = os.environ.get("PYPX_TEST_CACHE") or Path(__file__).parents[2] / ".cache"
    Path(place).mkdir(exist_ok=True)
    if shutil.disk_usage(place).free < NEEDED:
        pytest.skip(f"{place} has less than {NEEDED >> 30} GiB left")
    with tempfile.TemporaryDirectory(dir=place, prefix="memory-") as folder:
        yield Path(folder)


_PRIVATE = bytes.fromhex("e17f1000") + b"LO\x06\0TESTS "  # whose the next element is


class Large:
    """An object that is never in memory as a whole: pixels, and as much in a private element."""

    def __init__(self, number: int, size: int) -> None:
        self.uid = f"1.2.3.4.{number}"
        length = size.to_bytes(4, "little")
        head = data_set(number, PixelData=None, NumberOfFrames=str(size // MIB), **PLANTED)
        self._heads = [
            head + bytes.fromhex("e07f1000") + b"OW\0\0" + length,
            _PRIVATE + bytes.fromhex("e17f1010") + b"OB\0\0" + length,
        ]
        self._size = size
        self._digest = xxh3_128()
        self._block = bytearray(os.urandom(MIB))
        self.sent = 0

    def pieces(self) -> Iterator[tuple[bytes, bool]]:
        """Give the data set piece by piece, and whether it is the last piece."""
        for head in self._heads:
            self._digest.update(head)
            self.sent += len(head) + self._size
            yield head, False
            for number in range(self._size // MIB):
                self._block[:8] = number.to_bytes(8, "little")
                self._digest.update(self._block)
                is_last = head is self._heads[-1] and number + 1 == self._size // MIB
                yield bytes(self._block), is_last

    def send(self, connection: Connection) -> Iterator[None]:
        """Send it, a piece each time that the next one is asked for."""
        connection.send(1, CStoreRQ(7, CT_IMAGE, self.uid))
        for piece, is_last in self.pieces():
            connection.send_data_set(1, piece, is_last=is_last)
            yield

    def assert_stored(self, root: Path) -> None:
        """Compare the file with what was sent; also piece by piece."""
        (path,) = root.glob(f"[!.]*/**/*-{self.uid}.dcm")
        digest = xxh3_128()
        with path.open("rb") as file:
            _, offset = decode_preamble_and_meta(file.read(4096))
            file.seek(offset)
            while piece := file.read(MIB):
                digest.update(piece)
        assert path.stat().st_size - offset == self.sent
        assert digest.digest() == self._digest.digest()


def answer(connection: Connection) -> int:
    response = connection.receive().message
    assert isinstance(response, CStoreRSP)
    return response.status


@contextmanager
def associations(listener: Listener, number: int) -> Iterator[list[Connection]]:
    with ExitStack() as stack:
        yield [stack.enter_context(associated(listener, f"A{n}")) for n in range(number)]


@pytest.mark.timeout(240)
def test_c17_f5_an_object_of_more_than_4_gib(on_disk: Path) -> None:
    root = on_disk / "archive"
    with Listener(root, on_disk) as listener:
        large = Large(1, LARGE)
        with associated(listener) as connection:
            for _ in large.send(connection):
                pass
            assert answer(connection) == 0
        assert large.sent > 4 << 30
        assert listener.peak < 150 * MIB
        large.assert_stored(root)
        shutil.rmtree(next(root.glob("[!.]*")))  # what follows need not read it again
        with associated(listener) as connection:
            assert echo(connection)


@pytest.mark.timeout(120)
def test_f4_100_associations_with_an_object_under_way(tmp_path: Path) -> None:
    ledger = Ledger()
    with Listener(tmp_path / "archive", tmp_path, *all_from_here(tmp_path)) as listener:
        before = listener.footprint()
        with associations(listener, 100) as connections:
            objects = [instance(number, PixelData=bytes(2 * MIB)) for number in range(100)]
            for connection, (uid, _) in zip(connections, objects, strict=True):
                connection.send(1, CStoreRQ(7, CT_IMAGE, uid))
            step = MIB // 2
            for begin in range(0, 3 * MIB, step):  # all of them are under way at any time
                for connection, (_, data) in zip(connections, objects, strict=True):
                    if piece := data[begin : begin + step]:
                        is_last = begin + step >= len(data)
                        connection.send_data_set(1, piece, is_last=is_last)
            for connection, (uid, data) in zip(connections, objects, strict=True):
                assert answer(connection) == 0
                ledger.note(uid, data)
            assert listener.footprint().sockets >= 100
        assert listener.peak < 300 * MIB
        check(listener, ledger, before)


@pytest.mark.usefixtures("may_mount")
@pytest.mark.timeout(240)
def test_f5_50_associations_under_a_hard_limit(on_disk: Path) -> None:
    """1.2 GiB in all, in a group of processes that is killed beyond 256 MiB."""
    root = on_disk / "archive"
    with (
        limited("memory", "memory.limit_in_bytes", 256 * MIB) as prefix,
        Listener(root, on_disk, prefix=prefix) as listener,
    ):
        objects = [Large(number, 24 * MIB) for number in range(50)]
        with associations(listener, 50) as connections:
            sending = [
                one.send(connection) for one, connection in zip(objects, connections, strict=True)
            ]
            while sending := [one for one in sending if next(one, StopIteration) is None]:
                pass
            assert [answer(connection) for connection in connections] == [0] * 50
        for one in objects:
            one.assert_stored(root)
        shutil.rmtree(next(root.glob("[!.]*")))
        with associated(listener) as connection:
            assert send(connection, Ledger(), 99).status == 0
