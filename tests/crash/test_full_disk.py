"""A disk that is full: a failure status, the association lives on, and what is stored stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.client import Client
from pypx.client.sop_classes import SOPClasses
from pypx.dicom import uids
from pypx.dimse.messages import CEchoRQ, CEchoRSP, CStoreRQ, CStoreRSP
from pypx.net.connection import Connection
from pypx.receiver.receiver import Receiver
from pypx.receiver.retrieved import Retrieved
from tests.archive.helpers import content, names, superseded
from tests.crash.conftest import mounted
from tests.crash.load import CONTEXTS, TIMEOUTS
from tests.listening import Ledger, Listener, associated, check, send
from tests.objects import CT_IMAGE, data_set
from tests.scripted import Exchange, Scripted

PAGE = 4096
SIZE = 4 << 20  # bytes of the disk
LARGE = bytes(300_000)  # pixels
OUT_OF_RESOURCES = 0xA700

pytestmark = [pytest.mark.usefixtures("may_mount"), pytest.mark.timeout(60)]


class Disk:
    """A disk in memory with an archive, a receiver, and one association."""

    def __init__(self, root: Path, started: ExitStack) -> None:
        self.root = root
        self.archive = started.enter_context(Archive(root / "archive"))
        receiver = started.enter_context(Receiver(self.archive, port=0))
        client = Client(Address("PYPX", "127.0.0.1", receiver.port), timeouts=TIMEOUTS)
        contexts = [*CONTEXTS, (uids.VERIFICATION, (uids.IMPLICIT_VR_LITTLE_ENDIAN,))]
        self.connection: Connection = client.connect(contexts)
        started.callback(self.connection.release)

    def send(self, number: int, **changes: object) -> CStoreRSP:
        uid, data = f"1.2.3.4.{number}", data_set(number, **changes)
        self.connection.send(1, CStoreRQ(7, CT_IMAGE, uid), data)
        response = self.connection.receive().message
        assert isinstance(response, CStoreRSP)
        assert response.affected_sop_instance_uid == uid
        return response

    def still_lives(self) -> bool:
        self.connection.send(3, CEchoRQ(8))
        response = self.connection.receive().message
        return isinstance(response, CEchoRSP) and response.status == 0

    def fill(self, left: int = 0) -> None:
        """Leave so many bytes free, in whole pages."""
        with (self.root / "filler").open("ab") as filler:
            status = os.statvfs(self.root)
            os.posix_fallocate(
                filler.fileno(), filler.tell(), status.f_bavail * status.f_bsize - left or 1
            )

    def make_room(self) -> None:
        (self.root / "filler").unlink(missing_ok=True)

    def stored(self) -> dict[str, bytes]:
        """Give the content of each file of the tree."""
        tree = (self.root / "archive").glob("[!.]*/**/*.dcm")
        return {path.name: content(path) for path in tree}

    def assert_in_order(self) -> None:
        report = self.archive.check(checksums=True)
        assert report.ok and not report.copies, report
        assert names(self.archive.root / ".pypx/incoming") == []


@contextmanager
def disk(folder: Path, options: str = "") -> Iterator[Disk]:
    with (
        mounted(folder, "-t", "tmpfs", "-o", f"size={SIZE}{options}", "px") as root,
        ExitStack() as s,
    ):
        yield Disk(root, s)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Disk]:
    with disk(tmp_path / "disk") as one:
        yield one


def assert_refused(response: CStoreRSP) -> None:
    assert response.status == OUT_OF_RESOURCES
    assert "No space left" in (response.error_comment or "")


def test_d1_full_at_an_object_and_room_again(small: Disk) -> None:
    assert small.send(1).status == 0
    small.fill(left=len(LARGE) // 2)
    assert_refused(small.send(2, PixelData=LARGE))
    assert small.still_lives()
    assert [*small.stored()] == ["1-1.2.3.4.1.dcm"]
    small.assert_in_order()
    assert small.send(3).status == 0, "a smaller one still has room"
    small.make_room()
    assert small.send(2, PixelData=LARGE).status == 0
    assert small.stored()["2-1.2.3.4.2.dcm"] == data_set(2, PixelData=LARGE)
    small.assert_in_order()


@pytest.mark.parametrize("left", [0, PAGE, 10 * PAGE, len(LARGE) // PAGE * PAGE, len(LARGE) + PAGE])
def test_d2_a_resend_that_meets_a_full_disk_leaves_the_stored_one(small: Disk, left: int) -> None:
    assert small.send(1).status == 0
    small.fill(left)
    before = small.stored()
    response = small.send(1, PixelData=LARGE)
    if response.status:
        assert_refused(response)
        assert small.stored() == before
    else:
        kept = {content(path) for path in superseded(small.archive.root)}
        assert kept == {data_set(1)}
    assert small.still_lives()
    small.assert_in_order()
    small.make_room()
    assert small.send(1, PixelData=LARGE).status == 0
    assert small.stored() == {"1-1.2.3.4.1.dcm": data_set(1, PixelData=LARGE)}
    assert data_set(1) in {content(path) for path in superseded(small.archive.root)}
    small.assert_in_order()


def test_d2_the_same_again_needs_no_room(small: Disk) -> None:
    """Not a byte is left; what is there already is acknowledged, or refused and still there."""
    assert small.send(1).status == 0
    small.fill()
    before = small.stored()
    for _ in range(3):
        response = small.send(1)
        assert response.status in (0, OUT_OF_RESOURCES)
        assert_refused(small.send(1, PixelData=b"other"))
        assert_refused(small.send(2))
        assert small.stored() == before and not superseded(small.archive.root)
    assert small.still_lives()
    small.make_room()
    assert small.send(1).status == 0
    assert small.send(1, PixelData=b"other").status == 0
    small.assert_in_order()


def test_d1_low_space_is_refused_before(tmp_path: Path) -> None:
    """As users say it, with --min-free; once there is room again the association goes on."""
    ledger = Ledger()
    with (
        mounted(tmp_path / "disk", "-t", "tmpfs", "-o", f"size={SIZE}", "px") as where,
        Listener(where / "archive", tmp_path, "--min-free", "1M") as listener,
        associated(listener) as connection,
    ):
        assert send(connection, ledger, 1).status == 0
        filler = where / "filler"
        filler.write_bytes(bytes(3 << 20))
        refused = send(connection, ledger, 2)
        assert refused.status == OUT_OF_RESOURCES
        assert "less than" in (refused.error_comment or "")
        filler.unlink()
        assert send(connection, ledger, 2).status == 0
        check(listener, ledger)


def test_d1_full_at_each_page_of_everything_that_is_written(tmp_path: Path) -> None:
    """The object, new folders, the log of the index: wherever the last page goes."""
    outcomes = set()
    for pages in range(20):
        with disk(tmp_path / "disk") as small:
            assert small.send(1).status == 0
            small.fill(left=pages * PAGE)
            new = {"PatientID": "other", "StudyInstanceUID": "1.9", "SeriesInstanceUID": "1.9.1"}
            response = small.send(2, **new)
            outcomes.add(response.status)
            if response.status:
                assert_refused(response)
                assert [*small.stored()] == ["1-1.2.3.4.1.dcm"]
            assert small.still_lives()
            small.make_room()
            assert small.send(2, **new).status == 0
            assert len(small.stored()) == 2
            small.assert_in_order()
    assert outcomes == {0, OUT_OF_RESOURCES}


def test_d4_no_inode_left(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", ",nr_inodes=40") as small:
        assert small.send(1).status == 0
        fillers = []
        with pytest.raises(OSError, match="No space left"):
            for number in range(100):
                fillers.append(small.root / f"filler-{number}")
                fillers[-1].touch()
        assert_refused(small.send(2))
        assert small.still_lives()
        for filler in fillers:
            filler.unlink(missing_ok=True)
        assert small.send(2).status == 0
        small.assert_in_order()


def test_d1_a_full_disk_ends_a_c_get_of_ours(tmp_path: Path) -> None:
    """What fits is stored, the next is refused as out of resources, the rest is cancelled."""
    statuses: list[int] = []
    cancelled: list[bool] = []

    def large(exchange: Exchange) -> None:
        number = 0
        while not statuses or statuses[-1] == 0:
            number += 1
            statuses.append(exchange.store(number, PixelData=LARGE))
        cancelled.append(exchange.wait_for_cancel())
        exchange.progress(0xFE00, 99, number - 1, 1, 0)

    with (
        mounted(tmp_path / "disk", "-t", "tmpfs", "-o", f"size={SIZE}", "px") as root,
        Archive(root / "archive") as archive,
        Scripted(get=large) as scripted,
        Client(scripted.address, timeouts=TIMEOUTS) as client,
    ):
        names_ = {"calling_ae_title": "SCRIPTED", "called_ae_title": "PYPX"}
        with Retrieved(archive, host="127.0.0.1", **names_) as retrieved:
            classes = SOPClasses((CT_IMAGE,), True)
            keys = {"StudyInstanceUID": "1.2.3"}
            result = client.get(keys, retrieved.store, sop_classes=classes).run()
        stored = len(statuses) - 1
        assert (result.status, cancelled) == (0xFE00, [True])
        assert statuses == [0] * stored + [OUT_OF_RESOURCES]
        assert stored > 1
        assert retrieved.totals.instances == stored
        tree = list((root / "archive").glob("[!.]*/**/*.dcm"))
        assert len(tree) == stored
        report = archive.check(checksums=True)
        assert report.ok, report
        assert names(archive.root / ".pypx/incoming") == []
