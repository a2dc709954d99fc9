"""Clocks that jump while objects come, and bits that rot while nobody looks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pypx.archive import Archive
from tests.archive.helpers import content, superseded
from tests.listening import Ledger, Listener, associated, check, echo, px, send
from tests.peers.process import require, run

pytestmark = pytest.mark.timeout(60)


class Clock:
    """A wall clock for other processes, which the test moves; the monotonic one is as it is."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.set("+0")
        library = run(require("faketime"), "-f", "+0", "env").output
        (preload,) = (line for line in library.splitlines() if line.startswith("LD_PRELOAD="))
        self.prefix = [
            *("env", preload, f"FAKETIME_TIMESTAMP_FILE={self._file}", "FAKETIME_NO_CACHE=1"),
            *("FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1"),
        ]

    def set(self, offset: str) -> None:
        """Set it off the real one: ``+1y``, ``-86400``; or to an absolute time."""
        self._file.write_text(f"{offset}\n")


JUMPS = {
    "a year on": "+1y",
    "a year back": "-1y",
    "1970": "@1970-01-01 00:00:10",
    "an hour on": "+3600",
    "an hour back": "-3600",
}


@pytest.mark.parametrize("jump", JUMPS)
def test_d19_the_clock_jumps(tmp_path: Path, jump: str) -> None:
    """No association ends of it, the latest is the latest, and the next start loses nothing."""
    clock = Clock(tmp_path)
    ledger = Ledger()
    with Listener(tmp_path / "archive", tmp_path, prefix=clock.prefix) as listener:
        with associated(listener) as connection:
            assert send(connection, ledger, 1).status == 0
            assert send(connection, ledger, 2).status == 0
            clock.set(JUMPS[jump])
            assert echo(connection)
            assert send(connection, ledger, 1).status == 0
            assert send(connection, ledger, 2, PixelData=b"later").status == 0
            assert send(connection, ledger, 3).status == 0
        (third,) = listener.root.glob("[!.]*/**/*-1.2.3.4.3.dcm")
        assert abs(third.stat().st_mtime - time.time()) > 1800, "it did jump"
        assert len(superseded(listener.root)) == 1
        check(listener, ledger)
        clock.set("+0")
        with associated(listener) as connection:
            assert send(connection, ledger, 4).status == 0
        listener.kill()
        listener.start()
        assert check(listener, ledger).copies == ()
        listener.stop()
    with Archive(listener.root) as archive:
        located = archive.locate("1.2.3.4.2")
        assert located and b"later" in content(located.path)
        assert archive.rebuild().ok
        located = archive.locate("1.2.3.4.2")
        assert located and b"later" in content(located.path)


@pytest.mark.parametrize("away", ["+1y", "-1y"])
def test_d19_killed_before_the_clock_jumps(tmp_path: Path, away: str) -> None:
    """What a dead process has not indexed is found by a start that thinks it is another year."""
    clock = Clock(tmp_path)
    ledger = Ledger()
    with Listener(tmp_path / "archive", tmp_path, prefix=clock.prefix) as listener:
        with associated(listener) as connection:
            assert send(connection, ledger, 1).status == 0
            clock.set(away)
            assert send(connection, ledger, 2).status == 0
            listener.kill()
        clock.set("+0")
        listener.start()
        check(listener, ledger)


def flipped(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        (byte,) = file.read(1)
        file.seek(-100, os.SEEK_END)
        file.write(bytes([byte ^ 1]))


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 2)


def removed(path: Path) -> None:
    path.unlink()


def added(path: Path) -> None:
    path.with_name("added.dcm").write_bytes(path.read_bytes().replace(b"1.2.3.4.2", b"1.2.3.4.9"))


ROT: dict[Callable[[Path], None], str] = {
    flipped: "damaged",
    truncated: "damaged",
    removed: "missing",
    added: "unindexed",
}


@pytest.mark.parametrize("rot", ROT, ids=lambda rot: rot.__name__)
def test_d18_bits_rot_while_a_listener_runs(tmp_path: Path, rot: Callable[[Path], None]) -> None:
    """px verify tells exactly of it, who sends goes on, and sending it again makes it good."""
    ledger = Ledger()
    root = tmp_path / "archive"
    with Listener(root, tmp_path) as listener, associated(listener) as connection:
        for number in range(1, 6):
            assert send(connection, ledger, number).status == 0
        (path,) = root.glob("[!.]*/**/*-1.2.3.4.2.dcm")
        assert px(tmp_path / "home", "verify", "--archive", root).returncode == 0
        rot(path)
        verified = px(tmp_path / "home", "verify", "--csv", "--archive", root)
        assert verified.returncode == 1
        found = [line for line in verified.output.splitlines() if line.startswith(ROT[rot])]
        wrong = path.with_name("added.dcm") if rot is added else path
        assert len(found) == 1 and wrong.name in found[0], verified.output
        for number in range(6, 9):
            assert send(connection, ledger, number).status == 0
        if rot is added:
            wrong.unlink()
        else:
            assert send(connection, ledger, 2).status == 0
        check(listener, ledger)
