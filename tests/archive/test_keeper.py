"""The thread that looks after the index."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pypx.archive import Archive, keeper
from pypx.archive.keeper import Keeper, StoppedError
from pypx.errors import ArchiveError
from tests.archive.helpers import names, rows_of, store
from tests.listening import eventually


class Index:
    """Stands for the index: is damaged as often as ``reasons`` says."""

    def __init__(self, *reasons: str, failures: int = 0) -> None:
        self.reasons = list(reasons)
        self.failures = failures
        self.mended: list[str] = []
        self.told: list[str] = []
        self.looked = threading.Semaphore(0)
        self.synced = threading.Semaphore(0)

    def defect(self) -> str:
        return self.reasons[0] if self.reasons else self.in_order()

    def in_order(self) -> str:
        self.looked.release()
        return ""

    def mend(self, reason: str) -> None:
        if self.failures:
            self.failures -= 1
            raise ArchiveError("The disk is full.")
        self.mended.append(self.reasons.pop(0))

    def sync(self) -> None:
        self.synced.release()

    def keeper(self) -> Keeper:
        return Keeper(defect=self.defect, mend=self.mend, sync=self.sync, tell=self.told.append)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "_LOOK_EVERY", 0.001)


@pytest.mark.usefixtures("quick")
def test_it_mends_what_it_finds() -> None:
    index = Index("cut", "gone")
    one = index.keeper()
    one.start()
    one.start()
    assert index.looked.acquire(timeout=10)
    one.stop()
    assert (index.mended, index.told) == (["cut", "gone"], [])


@pytest.mark.usefixtures("quick")
def test_it_tells_once_of_what_fails_and_tries_again() -> None:
    index = Index("cut", failures=3)
    one = index.keeper()
    one.start()
    assert index.looked.acquire(timeout=10)
    one.stop()
    assert index.mended == ["cut"]
    assert len(index.told) == 1 and "The disk is full." in index.told[0]


def test_it_looks_when_it_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "_LOOK_EVERY", 1000.0)
    monkeypatch.setattr(keeper, "_LONGEST_PAUSE", 1000.0)
    index = Index()
    one = index.keeper()
    one.start()
    one.wake()
    assert index.looked.acquire(timeout=10)
    one.stop()


def test_it_syncs_now_and_then(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    monkeypatch.setattr(keeper, "_SYNC_EVERY", 0.0)
    index = Index()
    one = index.keeper()
    one.start()
    assert index.synced.acquire(timeout=10) and index.synced.acquire(timeout=10)
    one.stop()


def test_where_no_thread_can_be_had_the_next_call_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    index = Index()
    one = index.keeper()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        one.start()
    one.wake()
    assert index.looked.acquire(timeout=10)
    one.stop()


def test_who_is_stopped_does_not_go_on() -> None:
    one = Index().keeper()
    one.check()
    one.stop()
    one.start()
    with pytest.raises(StoppedError):
        one.check()


def test_an_archive_that_is_closed_while_it_mends_is_mended_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_LOOK_EVERY", 1000.0)
    root = tmp_path / "archive"
    archive = Archive(root)
    for number in range(3):
        store(archive, number)
    assert archive._keeper is not None
    archive._keeper.stop()  # as close() does while the thread is at it
    (root / ".pypx/index.sqlite").unlink()
    with pytest.raises(StoppedError):
        archive._mend("it was removed")
    archive.close()
    assert len(names(root / ".pypx/running")) == 1, "the next start has to look everywhere"
    with Archive(root) as again:
        assert again.check().ok and len(rows_of(again)) == 3
    assert "receiving goes on" in archive.notes[0]


def test_an_index_that_is_overwritten_is_made_again_while_objects_are_stored(
    tmp_path: Path,
) -> None:
    root = tmp_path / "archive"
    with Archive(root) as archive:
        for number in range(20):
            store(archive, number)
    with Archive(root) as archive:
        store(archive, 20)
        with (root / ".pypx/index.sqlite").open("r+b") as file:
            file.write(os.urandom(200_000))
        assert archive._keeper is not None
        archive._keeper.wake()
        store(archive, 21)
        eventually(lambda: any("made again from" in note for note in archive.notes))
        store(archive, 22)
        assert archive.check().ok and len(rows_of(archive)) == 23
