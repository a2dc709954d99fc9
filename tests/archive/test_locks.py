"""Locks by UID, and the marks of processes that write."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pypx.archive import Archive, locks
from pypx.archive.locks import Running, TransferLock, UidLocks
from pypx.errors import ArchiveError, ConfigError


def open_lock(path: Path) -> int:
    return os.open(path / "lock", os.O_CREAT | os.O_RDWR)


@pytest.fixture(params=["ofd", "posix"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "posix":
        monkeypatch.setattr(locks, "_OFD_SETLK", 0)
    elif not locks._OFD_SETLK:
        pytest.skip("open file description locks are of Linux")
    return str(request.param)


def test_one_thread_at_a_time(kind: str, tmp_path: Path) -> None:
    fd = open_lock(tmp_path)
    uid_locks = UidLocks(fd)
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(200):
            with uid_locks.hold("1.2.3"):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(fd)
    assert most == 1


def test_two_archives_in_one_process_exclude_each_other(tmp_path: Path) -> None:
    if not locks._OFD_SETLK:
        pytest.skip("open file description locks are of Linux")
    one, other = open_lock(tmp_path), open_lock(tmp_path)
    with UidLocks(one).hold("1.2.3"):
        with (
            pytest.raises(ArchiveError, match="busy"),
            UidLocks(other).hold("1.2.3", longest_wait=0.02),
        ):
            pass
        with UidLocks(other).hold("1.2.4", longest_wait=0.02):
            pass
    with UidLocks(other).hold("1.2.3", longest_wait=0.02):
        pass
    os.close(one)
    os.close(other)


HOLDER = """
import os, sys
from pypx.archive import locks
from pypx.archive.locks import UidLocks
if sys.argv[2] == "posix":
    locks._OFD_SETLK = 0
with UidLocks(os.open(sys.argv[1], os.O_RDWR)).hold("1.2.3"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_another_process_is_excluded_until_it_ends(kind: str, tmp_path: Path) -> None:
    fd = open_lock(tmp_path)
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "lock"), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"held\n"
        with (
            pytest.raises(ArchiveError, match="busy"),
            UidLocks(fd).hold("1.2.3", longest_wait=0.02),
        ):
            pass
        process.kill()
    with UidLocks(fd).hold("1.2.3", longest_wait=0.5):
        pass
    os.close(fd)


def test_a_file_system_without_locks_is_used_without(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "fcntl", refuse)
    monkeypatch.setattr(locks.fcntl, "lockf", refuse)
    fd = open_lock(tmp_path)
    with UidLocks(fd).hold("1.2.3"):
        pass
    os.close(fd)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_who_ends_well_leaves_no_mark(folder: int) -> None:
    running = Running(folder, durable=True)
    running.begin()
    running.begin()
    assert len(os.listdir(folder)) == 1
    assert running.dead() == {} == Running(folder, durable=True).dead()
    running.end(complete=True)
    running.end(complete=True)
    assert os.listdir(folder) == []


def test_who_dies_leaves_a_mark_with_its_time(folder: int) -> None:
    running = Running(folder, durable=True)
    running.begin(since_ns=1_000_000_000)
    running.end(complete=False)
    other = Running(folder, durable=True)
    other.begin()
    ((name, since_ns),) = other.dead().items()
    assert since_ns == 1_000_000_000
    other.forget(name)
    other.forget(name)
    assert other.dead() == {} and len(os.listdir(folder)) == 1
    other.end(complete=True)


def test_a_mark_that_is_not_locked_yet_is_nobodys(folder: int, tmp_path: Path) -> None:
    (tmp_path / "1-2.new").touch()
    assert Running(folder, durable=True).dead() == {}


def test_a_mark_that_cannot_be_made_durable_is_an_error(
    folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError):
        Running(folder, durable=True).begin()


def test_a_mark_is_renewed_but_never_while_the_index_is_made_again(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    running = Running(folder, durable=True)
    running.begin(since_ns=1_000_000_000)
    running.renew(3_000_000_000)
    running.renew(2_000_000_000)

    def since() -> int:
        (mark,) = tmp_path.iterdir()
        return mark.stat().st_mtime_ns

    assert since() == 3_000_000_000
    running.begin(since_ns=0)
    running.renew(4_000_000_000)
    assert since() == 0
    running.end(complete=True)
    os.close(folder)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(locks, "_LOOK_WAIT", 0.02)
    Archive(tmp_path, durability="none").close()
    return tmp_path


def test_one_process_runs_a_transfer(root: Path) -> None:
    assert not TransferLock.is_held(root, "1")
    assert not (root / ".pypx/transfers").exists(), "who looks creates nothing"
    with TransferLock.acquire(root, "1") as lock:
        assert TransferLock.is_held(root, "1") and not TransferLock.is_held(root, "2")
        with pytest.raises(ConfigError, match="Job 1 is run by another process") as caught:
            TransferLock.acquire(root, "1")
        assert "px status 1" in caught.value.hint
        with TransferLock.acquire(root, "2"):
            assert TransferLock.is_held(root, "2")
        assert TransferLock.is_held(root, "1")
    lock.release()
    assert not TransferLock.is_held(root, "1")
    assert list((root / ".pypx/transfers").iterdir()) == []
    TransferLock.acquire(root, "1").release()


RUNNER = """
import sys
from pathlib import Path
from pypx.archive.locks import TransferLock
with TransferLock.acquire(Path(sys.argv[1]), "1"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_transfer_whose_process_dies_is_nobodys(root: Path) -> None:
    command = [sys.executable, "-c", RUNNER, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"held\n"
        assert TransferLock.is_held(root, "1")
        with pytest.raises(ConfigError):
            TransferLock.acquire(root, "1")
        process.kill()
    assert (root / ".pypx/transfers/1.lock").exists()
    assert not TransferLock.is_held(root, "1")
    with TransferLock.acquire(root, "1"):
        assert TransferLock.is_held(root, "1")
    assert not (root / ".pypx/transfers/1.lock").exists()


def test_whoever_only_looks_keeps_nobody_from_running_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TransferLock.acquire(root, "0").release()
    path = root / ".pypx/transfers/1.lock"
    path.touch()
    looking = os.open(path, os.O_RDONLY)
    locks.fcntl.flock(looking, locks.fcntl.LOCK_SH)
    monkeypatch.setattr(locks.time, "sleep", lambda _: os.close(looking))
    with TransferLock.acquire(root, "1"):
        assert TransferLock.is_held(root, "1")


def test_a_lock_that_is_removed_meanwhile_is_not_taken_for_ours(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder ends between our open and our lock: another one could make the file anew."""
    other = TransferLock.acquire(root, "1")
    flock = locks.fcntl.flock

    def late(fd: int, kind: int) -> None:
        monkeypatch.setattr(locks.fcntl, "flock", flock)
        other.release()
        flock(fd, kind)

    monkeypatch.setattr(locks.fcntl, "flock", late)
    with TransferLock.acquire(root, "1"):
        assert TransferLock.is_held(root, "1")


def test_a_transfer_on_a_file_system_without_locks(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with TransferLock.acquire(root, "1"):
        assert TransferLock.is_held(root, "1"), "the file counts"
    assert not TransferLock.is_held(root, "1")


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="could not lock the job: No such file"):
        TransferLock.acquire(tmp_path / "nowhere", "1")
    assert not TransferLock.is_held(tmp_path / "nowhere", "1")
