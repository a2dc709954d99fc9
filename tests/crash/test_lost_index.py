"""The index is locked, deleted, damaged, on a full disk, or made again: receiving goes on."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pypx.archive.schema import VERSION
from pypx.errors import IndexUnavailableError
from tests.archive.helpers import names
from tests.crash.conftest import mounted
from tests.crash.load import Senders, check_senders, lost
from tests.crash.test_broken_disk import lost_by_either, make_ext4, store
from tests.crash.test_power_cut import cut_power
from tests.listening import (
    Ledger,
    Listener,
    associated,
    check,
    compared,
    eventually,
    px,
    send,
)

pytestmark = pytest.mark.timeout(90)


def index_of(root: Path) -> Path:
    return root / ".pypx/index.sqlite"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the index as another program does that writes to it and does not end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


def test_e1_locked_while_receiving(tmp_path: Path) -> None:
    """All are acknowledged, only the first has to wait, and all are indexed afterwards."""
    ledger = Ledger()
    root = tmp_path / "archive"
    with Listener(root, tmp_path) as listener:
        store(listener, ledger, 0)
        before = listener.footprint()
        with locked(index_of(root)):
            with associated(listener) as connection:
                for number in range(1, 60):
                    assert send(connection, ledger, number).status == 0
                for number in range(1, 60):
                    assert send(connection, ledger, number).status == 0, "and once more"
            assert compared(root).unindexed
            asked = px(tmp_path / "home", "ls", "--archive", root)
            assert asked.returncode == 0, "who asks is answered meanwhile"
        report = check(listener, ledger, before)
        assert report.files == 61
        listener.stop()
    assert names(root / ".pypx/running") == []


def test_e1_locked_and_killed(tmp_path: Path) -> None:
    ledger = Ledger()
    root = tmp_path / "archive"
    with Listener(root, tmp_path) as listener:
        store(listener, ledger, 0)
        with locked(index_of(root)):
            with associated(listener) as connection:
                for number in range(1, 20):
                    assert send(connection, ledger, number).status == 0
            listener.kill()
        listener.start()
        check(listener, ledger)


def deleted(path: Path) -> None:
    path.unlink()


def deleted_with_its_log(path: Path) -> None:
    for name in names(path.parent):
        if name.startswith("index.sqlite"):
            (path.parent / name).unlink()


def truncated(path: Path) -> None:
    os.truncate(path, 5000)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def overwritten_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(os.urandom(100))


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(os.urandom(path.stat().st_size))


def without_its_log(path: Path) -> None:
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def garbled_log(path: Path) -> None:
    log = path.with_name(path.name + "-wal")
    size = log.stat().st_size if log.exists() else 10_000
    log.write_bytes(os.urandom(size or 10_000))


def a_folder(path: Path) -> None:
    deleted_with_its_log(path)
    path.mkdir()


HARMS: list[Callable[[Path], None]] = [
    deleted,
    deleted_with_its_log,
    truncated,
    emptied,
    overwritten_header,
    overwritten,
    without_its_log,
    garbled_log,
    a_folder,
]


FAST = ("--durability", "none")  # for what does not cut the power


def name_of(harm: Callable[[Path], None]) -> str:
    return harm.__name__


@pytest.mark.parametrize("harm", HARMS, ids=name_of)
@pytest.mark.parametrize("ending", ["stopped", "killed"])
def test_e2_harmed_at_rest(tmp_path: Path, harm: Callable[[Path], None], ending: str) -> None:
    ledger = Ledger()
    root = tmp_path / "archive"
    with Listener(root, tmp_path, *FAST) as listener:
        with associated(listener) as connection:
            for number in range(40):
                assert send(connection, ledger, number, PatientID=f"planted-{number}").status == 0
        listener.stop()
        harm(index_of(root))
        listener.start()
        store(listener, ledger, 41)
        assert check(listener, ledger).files == 42


def harmed_while_receiving(
    listener: Listener, ledger: Ledger, harm: Callable[[Path], None]
) -> None:
    """What comes is acknowledged all the time, and it is there."""
    with associated(listener) as connection:
        for number in range(40):
            assert send(connection, ledger, number, PatientID=f"planted-{number}").status == 0
    listener.restart()  # all is in the file by then, and not in its log only
    with associated(listener) as connection:
        assert send(connection, ledger, 40).status == 0
        harm(index_of(listener.root))
        for number in range(41, 80):
            assert send(connection, ledger, number, PatientID=f"planted-{number}").status == 0
    assert ledger.lost(listener.root) == []


@pytest.mark.parametrize("harm", HARMS, ids=name_of)
def test_e2_harmed_while_receiving(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    ledger = Ledger()
    with Listener(tmp_path / "archive", tmp_path, *FAST) as listener:
        harmed_while_receiving(listener, ledger, harm)
        listener.kill()
        listener.start()
        assert check(listener, ledger).files == 81


@pytest.mark.parametrize("harm", HARMS, ids=name_of)
def test_e2_harmed_and_mended_while_receiving(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    """The index is whole again without a new start."""
    ledger = Ledger()
    with Listener(tmp_path / "archive", tmp_path, *FAST) as listener:
        harmed_while_receiving(listener, ledger, harm)
        eventually(lambda: in_order(listener.root), timeout=30)
        assert check(listener, ledger).files == 81


def in_order(root: Path) -> bool:
    """Say whether index and tree are the same, without the right to mend anything."""
    try:
        return compared(root).ok
    except IndexUnavailableError:
        return False


@pytest.mark.usefixtures("may_mount")
def test_e3_no_room_for_the_index_and_room_for_the_files(tmp_path: Path) -> None:
    """The index is on a small disk of its own, by way of a link."""
    ledger = Ledger()
    root = tmp_path / "archive"
    with (
        mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=2m", "px") as disk,
        Listener(root, tmp_path) as listener,
    ):
        store(listener, ledger, 0)
        listener.stop()
        shutil.move(index_of(root), disk / "index.sqlite")
        index_of(root).symlink_to(disk / "index.sqlite")
        listener.start()
        store(listener, ledger, 1)
        with (disk / "filler").open("wb") as filler:
            status = os.statvfs(disk)
            os.posix_fallocate(filler.fileno(), 0, status.f_bavail * status.f_bsize)
        with associated(listener) as connection:
            for number in range(2, 50):
                changes = {"PatientID": f"planted-{number}", "StudyInstanceUID": f"1.{number}"}
                assert send(connection, ledger, number, **changes).status == 0
            assert compared(root).unindexed
            (disk / "filler").unlink()
            eventually(lambda: in_order(root))
        check(listener, ledger)
        listener.stop()  # before its disk goes


@pytest.mark.usefixtures("may_mount")
def test_e4_a_cut_while_the_index_is_written(tmp_path: Path) -> None:
    """Small objects and a folder for each: most of the time it is the index that is written."""
    image = make_ext4(tmp_path / "image")
    where = tmp_path / "disk"
    before = []
    for seed in range(6):
        with mounted(where, "-o", "loop", str(image)):
            with (
                Listener(where / "archive", tmp_path) as listener,
                Senders(listener.port, 3, seed=seed, largest=10) as senders,
            ):
                before += senders
                senders[0].wait_for(5 + seed)
                cut_power(where)
            check_senders(senders, refusals=frozenset({0xA700}))
        with mounted(where, "-o", "loop", str(image)):
            assert lost(where / "archive", before) == []


@pytest.mark.parametrize("version", [VERSION + 1, VERSION + 1000])
def test_e7_a_newer_schema(tmp_path: Path, version: int) -> None:
    root = tmp_path / "archive"
    ledger = Ledger()
    with Listener(root, tmp_path) as listener:
        store(listener, ledger, 1)
        listener.stop()
    with closing(sqlite3.connect(index_of(root))) as other:
        other.execute(f"PRAGMA user_version = {version}")
    before = index_of(root).read_bytes()
    ended = px(tmp_path / "home", "listen", "--port", 0, "--archive", root)
    assert ended.returncode == 5 and "newer pypx" in ended.output
    assert index_of(root).read_bytes() == before
    assert ledger.lost(root) == []


def test_e7_a_schema_that_was_never_finished(tmp_path: Path) -> None:
    """The tables of an aborted first start: none, and the number of none."""
    root = tmp_path / "archive"
    ledger = Ledger()
    with Listener(root, tmp_path) as listener:
        store(listener, ledger, 1)
        listener.stop()
        for path in (root / ".pypx").glob("index.sqlite*"):
            path.unlink()
        with closing(sqlite3.connect(index_of(root))) as other:
            other.execute("PRAGMA journal_mode = WAL")
        listener.start()
        eventually(lambda: in_order(root), timeout=30)


def test_e8_made_again_while_receiving(tmp_path: Path) -> None:
    """Three times in a row, also with the index gone in between; in the end it is the tree."""
    ledger = Ledger()
    root = tmp_path / "archive"
    with Listener(root, tmp_path) as listener:
        with Senders(listener.port, 2, seed=8, largest=5000) as senders:
            senders[0].wait_for(100)
            for turn in range(3):
                ended = px(tmp_path / "home", "index", "rebuild", "--archive", root)
                assert ended.returncode == 0, ended.output
                senders[0].wait_for(20)
                if turn == 1:
                    index_of(root).unlink()
                    senders[0].wait_for(3)
        check_senders(senders)
        check(listener, ledger)
    # Without an index nobody knows that a UID was there already under another name.
    assert lost_by_either(root, senders) == []
