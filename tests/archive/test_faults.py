"""Faults at every step of storing: nothing is lost, and nothing is half there."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pypx.archive import Archive, Report
from pypx.archive.index_sqlite import SqliteIndex
from pypx.errors import ArchiveError, ArchiveFullError
from tests.archive.helpers import content, files_of, names, other_way, store, superseded
from tests.objects import data_set
from tests.peers.process import IN_CI

STEP = 1 if IN_CI or os.environ.get("PYPX_CRASH") == "1" else 2
"""Elsewhere each call is the last one, or fails, in turn; in CI both."""

# Faults. Every call of the system that storing makes fails once, or is the last one that
# the process makes; whatever it was, what was there before still is, and nothing is half there.

CALLS = (
    *("open", "write", "writev", "fdatasync", "fsync", "link", "rename", "mkdir", "fchmod"),
    *("unlink", "utime", "dup", "fstat", "stat", "readv", "lseek"),
)


class Killed(BaseException):
    """The process has ended: no call does anything any more."""


class Faults:
    """Lets the nth call of the system fail, or be the last one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = -1
        self.error: OSError | None = None
        self.dead = False
        self.opened: set[int] = set()
        self.real_close = os.close
        for name in CALLS:
            monkeypatch.setattr(os, name, self.wrapped(name, getattr(os, name)))
        monkeypatch.setattr(os, "close", self.close)
        for name in ("_write", "get"):
            real = getattr(SqliteIndex, name)
            monkeypatch.setattr(SqliteIndex, name, self.wrapped(name, real))

    def wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.step()
            result = real(*args, **kwargs)
            if name in ("open", "dup"):
                self.opened.add(result)
            return result

        return call

    def step(self) -> None:
        if self.dead:
            raise Killed
        if self.left < 0:
            return
        self.left -= 1
        if self.left < 0:
            if self.error is not None:
                raise self.error
            self.dead = True
            raise Killed

    def close(self, fd: int) -> None:
        if not self.dead:
            self.opened.discard(fd)
            self.real_close(fd)

    def revive(self, archive: Archive) -> None:
        """Let the system clean up after the process, and be another one."""
        self.dead = False
        archive._keeper.stop()  # type: ignore[union-attr]
        archive._index._connections.close()
        for fd in self.opened:
            with suppress(OSError):
                self.real_close(fd)
        self.opened.clear()


SCENARIOS: dict[str, dict[str, Any]] = {
    "new": {"number": 2},
    "new in a new folder": {"number": 2, "PatientID": "new", "StudyInstanceUID": "1.7"},
    "other content, same path": {"number": 1, "PixelData": b"other pixels"},
    "known": {"number": 1},
    "other content, other path": {"number": 1, "PatientID": "0815"},
}


def check_promises(
    archive: Archive, root: Path, changes: dict[str, Any], done: bool
) -> Report | None:
    """Check what holds at any time after the first object was acknowledged."""
    everything = [root / path for path in files_of(root)] + superseded(root)
    contents = [content(path) for path in everything if path.stat().st_size]
    assert data_set(1) in contents, "what was acknowledged is there"
    sent = {data_set(1), data_set(9), data_set(**changes)}
    assert set(contents) <= sent, "nothing is half there"
    if done:
        assert data_set(**changes) in contents
    if archive.waiting:
        return None  # the index follows later, and says nothing of this now
    report = archive.check()
    empty = [path for path in report.damaged if (root / path).stat().st_size == 0]
    assert list(report.damaged) == empty, "only the way without links leaves an empty file"
    assert not report.missing and not report.strange
    return report


def faulty(
    root: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], nth: int, killed: bool
) -> bool:
    """Store with a fault at the nth call; say whether there were so many."""
    number = (errno.EIO, errno.ENOSPC)[nth % 2]
    with monkeypatch.context() as patch:
        faults = Faults(patch)
        archive = Archive(root)
        store(archive, 9)  # what opens files only once is open now
        faults.left = nth
        faults.error = None if killed else OSError(number, os.strerror(number))
        done = False
        try:
            done = store(archive, **changes).indexed
        except Killed:
            pass
        except ArchiveError as caught:
            assert caught.dimse_status == 0xA700
            assert isinstance(caught, ArchiveFullError) == (number == errno.ENOSPC)
        hit = faults.left < 0
        faults.left = -1
        if faults.dead:
            faults.revive(archive)
        else:
            check_promises(archive, root, changes, done)
            assert store(archive, **changes).path.is_file()
            archive.close()
            if nth % 4:  # an archive that was closed well is opened for a few of them only
                return hit
    with Archive(root) as fresh:
        assert names(root / ".pypx/incoming") == []
        report = check_promises(fresh, root, changes, done)
        assert report and not report.unindexed and not report.copies, "index and tree are the same"
        stored = store(fresh, **changes)
        assert content(stored.path) == data_set(**changes)
        assert fresh.check().ok and fresh.locate("1.2.3.4.1") is not None
    return hit


@pytest.mark.parametrize(
    ("way", "scenario"),
    [
        *(("TMPFILE", scenario) for scenario in SCENARIOS),
        *((way, scenario) for way in ("LINK", "RENAME") for scenario in list(SCENARIOS)[::2]),
    ],
)
@pytest.mark.parametrize("killed", [True, False], ids=["killed", "error"])
def test_a_fault_at_every_call(
    way: str, scenario: str, killed: bool, in_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = in_memory / "before"
    with Archive(before) as archive:
        store(archive, 1)
    monkeypatch.setattr("pypx.archive.archive._STARTED_NS", time.time_ns() + 10**12)
    nth = int(killed) if STEP > 1 else 0
    hit = True
    with other_way(way):
        while hit:
            root = in_memory / str(nth)
            shutil.copytree(before, root)
            hit = faulty(root, monkeypatch, SCENARIOS[scenario], nth, killed)
            shutil.rmtree(root)
            nth += STEP
    assert nth > 5
