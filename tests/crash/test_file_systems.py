"""An archive on what disks are formatted with: hard links or none, capitals or none, kills, cuts.

Each file system is in a file, mounted by way of a loop device. exFAT comes in user space: it has
no hard links, no unnamed files, no modes, whole seconds, and takes ``a`` and ``A`` for one name.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from pypx.archive import Archive
from tests.archive.helpers import content, files_of, store, superseded
from tests.crash.conftest import mounted
from tests.crash.load import Child, Sender, Senders, check_senders, lost
from tests.crash.test_power_cut import round_of
from tests.listening import Ledger, Listener, associated, check, send
from tests.objects import data_set
from tests.peers.process import free_port, require

KILLS = 20
SENDERS = 2

pytestmark = [pytest.mark.usefixtures("may_mount"), pytest.mark.timeout(120)]


class FileSystem(NamedTuple):
    """How one is made, and what its folders need."""

    mebibytes: int
    make: tuple[str, ...]
    case_sensitive: bool = True


FILE_SYSTEMS = {
    "casefold": FileSystem(64, ("mkfs.ext4", "-q", "-F", "-O", "casefold"), False),
    "xfs": FileSystem(320, ("mkfs.xfs", "-q")),
    "btrfs": FileSystem(128, ("mkfs.btrfs", "-q")),
    "exfat": FileSystem(64, ("mkfs.exfat",), False),
}


def image_of(name: str, folder: Path) -> Path:
    """Give a file with an empty file system in it."""
    kind = FILE_SYSTEMS[name]
    image = folder / name
    with image.open("wb") as file:
        file.truncate(kind.mebibytes << 20)
    program, *options = kind.make
    subprocess.run([require(program), *options, str(image)], check=True, capture_output=True)
    return image


@contextmanager
def disk(name: str, image: Path) -> Iterator[Path]:
    """Mount it; where the kernel does not know it, the test is skipped."""
    where = image.with_name("mnt")
    if name == "exfat":
        require("mount.exfat-fuse")
        with mounted(where, "-t", "exfat-fuse", "-o", "loop", str(image)):
            yield where
        return
    if name == "casefold" and not Path("/sys/fs/ext4/features/casefold").exists():
        pytest.skip("the ext4 of this kernel knows capitals only (CONFIG_UNICODE)")
    with mounted(where, "-o", "loop", str(image)):
        if name == "casefold":
            (where / "archive").mkdir(exist_ok=True)
            subprocess.run([require("chattr"), "+F", str(where / "archive")], check=True)
        yield where


@pytest.fixture(params=FILE_SYSTEMS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(name: str, tmp_path: Path) -> Iterator[Path]:
    with disk(name, image_of(name, tmp_path)) as where:
        yield where / "archive"


def test_d13_d14_new_known_and_other_content(root: Path, tmp_path: Path) -> None:
    ledger = Ledger()
    with Listener(root, tmp_path) as listener:
        with associated(listener) as connection:
            for changes in ({}, {}, {"PixelData": b"other"}, {"PatientID": "planted-other"}):
                assert send(connection, ledger, 1, **changes).status == 0
        check(listener, ledger)
        assert len(superseded(root)) == 2
    with Archive(root) as archive:
        assert archive.check(checksums=True).ok
        assert archive.rebuild().ok


def test_d20_names_that_differ_in_capitals(root: Path, name: str) -> None:
    """Two patients, two series: neither hides the other, whatever the disk thinks of names."""
    with Archive(root) as archive:
        for number, patient in enumerate(["abc", "ABC", "Abc", "stra\u00dfe", "STRASSE"]):
            values = {"PatientID": patient, "StudyInstanceUID": f"1.{number}"}
            assert store(archive, number, **values).outcome == "new"
            assert store(archive, number, **values).outcome == "duplicate"
        assert archive.check(checksums=True).ok
        assert archive.rebuild().ok
        assert len(list(archive.instances())) == 5
    folders = {path.parts[0].casefold() for path in map(Path, files_of(root))}
    assert len(files_of(root)) == 5
    assert len(folders) <= 5 and (root / "ABC-Doe_Jane").is_dir()
    if not FILE_SYSTEMS[name].case_sensitive:
        assert (root / "aBc-doe_janE").is_dir(), "the disk is what the test is about"


def test_f1_eight_at_once(root: Path) -> None:
    with Archive(root) as archive:
        ready = threading.Barrier(8)

        def run(number: int) -> None:
            ready.wait()
            store(archive, 1)
            store(archive, 2, PixelData=bytes([number, 0]))

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert archive.check(checksums=True).ok
        assert len(files_of(root)) == 2
    kept = {content(root / path) for path in files_of(root)}
    kept |= {content(path) for path in superseded(root)}
    sent = {data_set(2, PixelData=bytes([number, 0])) for number in range(8)}
    assert kept == sent | {data_set(1)}


def test_d9_killed_at_random_moments(root: Path, name: str, child: Child) -> None:
    chance = random.Random(name)
    port = free_port()
    clock = threading.Event()
    with Senders(port, SENDERS, seed=KILLS, largest=30_000) as senders:
        for _ in range(KILLS):
            child.start(root, port, way="")
            clock.wait(chance.uniform(0, 0.2))
            child.kill()
    check_senders(senders)
    assert lost(root, senders, links=name != "exfat") == []
    assert sum(sender.count for sender in senders) > 0


def test_d11_power_cuts_on_xfs(tmp_path: Path, child: Child) -> None:
    """Its ioctl has the number of ext4's (XFS_IOC_GOINGDOWN), and the flag the same meaning.

    But a folder's fsync that comes during or after it returns success (xfs_dir_fsync does not look
    whether the file system is shut down), which no real cut does.
    """
    image = image_of("xfs", tmp_path)
    with disk("xfs", image):
        pass  # or skipped
    chance = random.Random(11)
    before: list[Sender] = []
    for _ in range(8):
        assert round_of(child, image, before, "full", chance.randint(1, 10), honest=False) == []


@pytest.mark.parametrize("name", ["btrfs", "exfat"])
def test_d11_power_cuts_without_an_ioctl(name: str, tmp_path: Path, child: Child) -> None:
    """What has reached the device when the receiver is killed; what waits in memory is lost."""
    image = image_of(name, tmp_path)
    chance = random.Random(11)
    before: list[Sender] = []
    for seed in range(8):
        port = free_port()
        with disk(name, image) as where:
            child.start(where / "archive", port)
            with Senders(port, SENDERS, seed=seed, largest=30_000) as senders:
                before += senders
                senders[0].wait_for(chance.randint(1, 10))
                child.kill()
                shutil.copyfile(image, tmp_path / "cut")
        check_senders(senders)
        (tmp_path / "cut").replace(image)
        with disk(name, image) as where:
            assert lost(where / "archive", before, links=name != "exfat") == []
