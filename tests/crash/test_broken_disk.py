"""A disk that has no inodes, is read-only, immutable, elsewhere, slow, or not what it was."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pypx.dimse.messages import CStoreRQ, CStoreRSP
from tests.archive.helpers import names
from tests.crash.conftest import injected, mounted
from tests.crash.load import Sender, Senders, check_senders, lost
from tests.crash.test_power_cut import cut_power
from tests.listening import (
    OUT_OF_RESOURCES,
    Ledger,
    Listener,
    associated,
    check,
    echo,
    instance,
    px,
    send,
)
from tests.objects import CT_IMAGE
from tests.peers.process import require, run

OTHER_STUDY = {"StudyInstanceUID": "1.9", "SeriesInstanceUID": "1.9.1"}

pytestmark = [pytest.mark.usefixtures("may_mount"), pytest.mark.timeout(90)]


def make_ext4(image: Path, *options: str, mebibytes: int = 64) -> Path:
    with image.open("wb") as file:
        file.truncate(mebibytes << 20)
    subprocess.run([require("mkfs.ext4"), "-q", "-F", *options, str(image)], check=True)
    return image


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give a small ext4 that turns read-only on errors."""
    image = make_ext4(tmp_path / "image")
    with mounted(tmp_path / "disk", "-o", "loop,errors=remount-ro", str(image)) as where:
        yield where


def start(root: Path, folder: Path) -> str:
    """Start a listener that refuses to run, and give what it says."""
    ended = px(folder / "home", "listen", "--port", 0, "--archive", root)
    assert ended.returncode == 5, ended.output
    assert "Traceback" not in ended.output
    return ended.output


def refused(listener: Listener, number: int = 2, **changes: str) -> str:
    """Send what cannot be stored; give the comment, and see that the association lives."""
    with associated(listener) as connection:
        response = send(connection, Ledger(), number, **changes)
        assert response.status == OUT_OF_RESOURCES
        assert echo(connection)
        return response.error_comment or ""


def store(listener: Listener, ledger: Ledger, number: int, **changes: str) -> None:
    with associated(listener) as connection:
        response = send(connection, ledger, number, **changes)
        assert response.status == 0, response


def attribute(sign: str, path: Path) -> None:
    subprocess.run([require("chattr"), f"{sign}i", str(path)], check=True)


def test_d4_no_inode_left(tmp_path: Path) -> None:
    ledger = Ledger()
    image = make_ext4(tmp_path / "image", "-N", "64")
    with (
        mounted(tmp_path / "disk", "-o", "loop", str(image)) as disk,
        Listener(disk / "archive", tmp_path) as listener,
    ):
        store(listener, ledger, 1)
        fillers = []
        with pytest.raises(OSError, match="No space left"):
            for number in range(64):
                fillers.append(disk / f"filler-{number}")
                fillers[-1].touch()
        assert "No space left" in refused(listener)
        for filler in fillers:
            filler.unlink(missing_ok=True)
        store(listener, ledger, 2)
        check(listener, ledger)


def test_d4_the_limit_of_the_file_size(tmp_path: Path) -> None:
    """SIGXFSZ would end the process."""
    ledger = Ledger()
    limit = [require("prlimit"), "--fsize=4000000"]
    with Listener(tmp_path / "archive", tmp_path, prefix=limit) as listener:
        with associated(listener) as connection:
            assert send(connection, ledger, 1).status == 0
            for changes in ({}, {"SOPInstanceUID": "1.2.3.4.1"}):
                response = send(connection, ledger, 2, PixelData=bytes(5_000_000), **changes)
                assert response.status == OUT_OF_RESOURCES
                assert "too large" in (response.error_comment or "")
            assert send(connection, ledger, 2).status == 0
        check(listener, ledger)


def test_d5_read_only_at_the_start(disk: Path, tmp_path: Path) -> None:
    subprocess.run([require("mount"), "-o", "remount,ro", str(disk)], check=True)
    assert "read-only" in start(disk / "archive", tmp_path).lower()


@pytest.mark.parametrize("inside", [".", ".pypx/incoming"])
def test_d5_an_immutable_root(disk: Path, tmp_path: Path, inside: str) -> None:
    """All folders of ours exist, so that only who sends something can see it."""
    root = disk / "archive"
    ledger = Ledger()
    with Listener(root, tmp_path):
        pass
    attribute("+", root / inside)
    try:
        with Listener(root, tmp_path) as listener:
            assert "not permitted" in refused(listener)
            attribute("-", root / inside)
            store(listener, ledger, 1)
            check(listener, ledger)
    finally:
        attribute("-", root / inside)


def test_d5_an_immutable_folder_of_ours_at_the_start(disk: Path, tmp_path: Path) -> None:
    (disk / "archive").mkdir()
    attribute("+", disk / "archive")
    try:
        assert "not permitted" in start(disk / "archive", tmp_path)
    finally:
        attribute("-", disk / "archive")


def test_d5_a_disk_that_turns_read_only(disk: Path, tmp_path: Path) -> None:
    """As ext4 does after an error; the file system is then mounted anew, and so is the listener."""
    ledger = Ledger()
    device = disk.stat().st_dev
    name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
    trigger = Path(f"/sys/fs/ext4/{name}/trigger_fs_error")
    if not trigger.exists():
        pytest.skip("this kernel lets nobody cause an error of ext4")
    with Listener(disk / "archive", tmp_path) as listener:
        store(listener, ledger, 1)
        trigger.write_text("1")
        assert "Read-only" in refused(listener)
        assert "Read-only" in refused(listener, 1, **OTHER_STUDY)
        listener.stop()
        assert "Traceback" not in listener.log
    assert ledger.lost(disk / "archive") == []


@pytest.mark.parametrize("level", [1, 2, 3])
def test_d5_an_immutable_folder(disk: Path, tmp_path: Path, level: int) -> None:
    """Of the patient, the study or the series: what goes elsewhere is stored meanwhile."""
    ledger = Ledger()
    with Listener(disk / "archive", tmp_path) as listener:
        store(listener, ledger, 1)
        (file,) = (disk / "archive").glob("[!.]*/**/*.dcm")
        folder = file.parents[3 - level]
        attribute("+", folder)
        try:
            changes = {1: OTHER_STUDY, 2: {"SeriesInstanceUID": "1.2.9"}, 3: {}}[level]
            assert "not permitted" in refused(listener, 2, **changes)
            store(listener, ledger, 3, PatientID="planted-other", StudyInstanceUID="1.8")
        finally:
            attribute("-", folder)
        store(listener, ledger, 2, **changes)
        check(listener, ledger)


def renamed(disk: Path) -> Callable[[], None]:
    (disk / "archive").rename(disk / "elsewhere")
    return lambda: (disk / "elsewhere").rename(disk / "archive") and None


def covered(disk: Path) -> Callable[[], None]:
    subprocess.run([require("mount"), "-t", "tmpfs", "px", str(disk / "archive")], check=True)
    return lambda: subprocess.run([require("umount"), str(disk / "archive")], check=True) and None


def replaced(disk: Path) -> Callable[[], None]:
    (disk / "archive").rename(disk / "elsewhere")
    (disk / "archive").mkdir()

    def put_back() -> None:
        (disk / "archive").rmdir()
        (disk / "elsewhere").rename(disk / "archive")

    return put_back


@pytest.mark.parametrize("harm", [renamed, covered, replaced], ids=lambda harm: harm.__name__)
def test_d5_d6_a_tree_that_is_not_where_it_was(
    disk: Path, tmp_path: Path, harm: Callable[[Path], Callable[[], None]]
) -> None:
    ledger = Ledger()
    with Listener(disk / "archive", tmp_path) as listener:
        store(listener, ledger, 1)
        put_back = harm(disk)
        try:
            assert "not where it was" in refused(listener)
            assert "not where it was" in refused(listener, 1, PixelData="other")
            if harm is not renamed:
                assert names(disk / "archive") == [], "nothing goes where the archive is not"
        finally:
            put_back()
        store(listener, ledger, 2)
        check(listener, ledger)


def test_d5_a_tree_that_is_deleted(disk: Path, tmp_path: Path) -> None:
    ledger = Ledger()
    with Listener(disk / "archive", tmp_path) as listener:
        store(listener, ledger, 1)
        shutil.rmtree(disk / "archive")
        for _ in range(2):
            assert refused(listener)
        assert names(disk) == ["lost+found"], "no second archive begins by itself"
    with Listener(disk / "archive", tmp_path) as listener:
        ledger = Ledger()
        store(listener, ledger, 1)
        check(listener, ledger)


def test_d6_a_disk_that_is_unmounted_and_mounted_again(tmp_path: Path) -> None:
    ledger = Ledger()
    image = make_ext4(tmp_path / "image")
    where = tmp_path / "disk"
    loop = run(require("losetup"), "--find", "--show", str(image)).output.strip()
    try:
        with mounted(where, loop), Listener(where, tmp_path) as listener:
            store(listener, ledger, 1)
            subprocess.run([require("umount"), "--lazy", str(where)], check=True)
            assert "not where it was" in refused(listener)
            assert names(where) == [], "the disk below is not filled"
            subprocess.run([require("mount"), loop, str(where)], check=True)
            store(listener, ledger, 2)
            check(listener, ledger)
            listener.stop()
    finally:
        subprocess.run([require("losetup"), "--detach", loop], check=True)


def test_d8_a_sync_that_takes_long(tmp_path: Path) -> None:
    """Who waits for it waits; the others are served, and nothing piles up in memory."""
    ledger = Ledger()
    with (
        Listener(tmp_path / "archive", tmp_path) as listener,
        associated(listener) as waiting,
        associated(listener) as other,
    ):
        uid, data = instance(1, PixelData=bytes(4 << 20))
        assert listener.pid
        with injected(listener.pid, "fsync,fdatasync", "delay_enter=60s"):
            waiting.send(1, CStoreRQ(7, CT_IMAGE, uid), data)
            for _ in range(20):
                assert echo(other)
            with associated(listener) as third:
                assert echo(third)
            assert waiting.poll(0) is None, "it is not acknowledged before it is durable"
        response = waiting.receive().message
        assert isinstance(response, CStoreRSP) and response.status == 0
        ledger.note(uid, data)
        assert listener.peak < 150 << 20
        check(listener, ledger)


@pytest.mark.parametrize(
    ("call", "when", "delay"),
    [
        ("linkat", "delay_exit", 100),
        ("fsync", "delay_enter", 100),
        ("fdatasync", "delay_exit", 100),
        ("pwrite64", "delay_enter", 10),
    ],
)
def test_d12_a_cut_between_two_steps(tmp_path: Path, call: str, when: str, delay: int) -> None:
    """Each step lasts, so that the cut of the power comes within or just behind it."""
    image = make_ext4(tmp_path / "image")
    where = tmp_path / "disk"
    with mounted(where, "-o", "loop", str(image)):
        with Listener(where / "archive", tmp_path) as listener:
            assert listener.pid
            with (
                Senders(listener.port, 3, seed=12, largest=30_000) as senders,
                injected(listener.pid, call, f"{when}={delay}ms"),
            ):
                senders[0].wait_for(2, timeout=60)
                cut_power(where)
        check_senders(senders, refusals=frozenset({OUT_OF_RESOURCES}))
    with mounted(where, "-o", "loop", str(image)):
        assert lost(where / "archive", senders) == []


def test_d17_two_receivers_on_one_archive(tmp_path: Path) -> None:
    """What comes to both at once is one file; what comes to either is in the one index."""
    ledger = Ledger()
    root = tmp_path / "archive"
    (tmp_path / "second").mkdir()
    with Listener(root, tmp_path) as first, Listener(root, tmp_path / "second") as second:
        with (
            Senders(first.port, 2, seed=1, largest=30_000) as senders,
            Senders(second.port, 2, seed=1, largest=30_000) as same,
        ):
            for one in (*senders, *same):
                one.wait_for(30)
        check_senders([*senders, *same])
        check(first, ledger)
        check(second, ledger)
    assert lost_by_either(root, [*senders, *same]) == []


def lost_by_either(root: Path, senders: list[Sender]) -> list[str]:
    """Both sent the same; which content came last is not known, so only nothing may be gone."""
    ledger = Ledger()
    for sender in senders:
        for uid, contents in sender.contents.items():
            for data in contents:
                ledger.note(uid, data)
    return ledger.lost(root)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        before = Path.cwd()
        os.chdir(path.parent)  # the name of a socket has at most 108 bytes
        try:
            sock.bind(path.name)
        finally:
            os.chdir(before)


def device(path: Path) -> None:
    os.mknod(path, 0o20600, os.makedev(1, 5))  # /dev/zero: whoever reads it reads for ever


def dangling(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


def link_outside(path: Path) -> None:
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("what", [pipe, listening, device, dangling, link_outside, Path.mkdir])
def test_d16_no_file_where_one_should_be(tmp_path: Path, what: Callable[[Path], None]) -> None:
    ledger = Ledger()
    root = tmp_path / "archive"
    with Listener(root, tmp_path) as listener:
        store(listener, ledger, 1)
        (first,) = root.glob("[!.]*/**/*.dcm")
        target = first.with_name(first.name.replace("1-1.2.3.4.1", "2-1.2.3.4.2"))
        what(target)
        assert "no file" in refused(listener)
        verify = px(tmp_path / "home", "verify", "--archive", root)
        assert verify.returncode == (0 if what is Path.mkdir else 1)
        assert (target.name in verify.output) == (what is not Path.mkdir)
        (root / ".pypx/incoming/left.part").symlink_to("/etc/passwd")
        listener.restart()
        assert Path("/etc/passwd").stat().st_size
        (root / ".pypx/incoming/left.part").unlink()
        target.rmdir() if what is Path.mkdir else target.unlink()
        store(listener, ledger, 2)
        check(listener, ledger)
