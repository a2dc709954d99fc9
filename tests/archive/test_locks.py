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

from pypx.archive import locks
from pypx.archive.locks import Running, UidLocks
from pypx.errors import ArchiveError


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
