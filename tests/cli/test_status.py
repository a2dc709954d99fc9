"""``px status``: what the archive holds, how it is, and whether somebody has to do something."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pypx.archive import Archive
from pypx.cli import status as status_module
from pypx.dicom.part10 import FileMeta
from pypx.receiver.completion import SeriesComplete
from pypx.receiver.hook_delivery import Delivery
from pypx.receiver.hook_queue import HookQueue
from tests.archive.helpers import SENDER, begin, store
from tests.cli.conftest import Px
from tests.objects import CT_IMAGE, data_set


@pytest.fixture(autouse=True)
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of a test may be nearly full: memory."""
    monkeypatch.setattr(status_module, "_LOW_SPACE", 0)


@pytest.fixture
def root(home: Path) -> Path:
    return home / "pypx"


@pytest.fixture
def archive(root: Path) -> Iterator[Archive]:
    with Archive(root, durability="none") as one:
        yield one


def quarantine(archive: Archive, number: int, reason: str = "It has no StudyInstanceUID.") -> None:
    with begin(archive, number) as incoming:
        incoming.write(data_set(number))
        incoming.quarantine(reason, SENDER)


def fail(root: Path, number: int, reason: str = "answered 404") -> None:
    queue = HookQueue(root / ".pypx/hooks")
    event = SeriesComplete("1", f"1.{number}", id=f"{number:016x}")
    delivery = Delivery("pipeline", event, time.time())
    queue.give_up(queue.put(delivery), delivery, reason)


def tree(root: Path) -> dict[str, tuple[int, int]]:
    """Give every file with its size and time, the shared memory of SQLite's readers aside."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


def test_an_archive_that_is_well(px: Px, archive: Archive, root: Path) -> None:
    store(archive, 1)
    store(archive, 2)
    archive.close()
    ran = px("status")
    assert (ran.code, ran.err) == (0, "")
    lines = dict(line.split("  ", 1) for line in ran.out.splitlines())
    assert {name: text.strip() for name, text in lines.items() if name != "Free"} == {
        "Archive": str(root),
        "Holds": "1 study, 1 series, 2 images, 5.1 kB",
        "Receiving": "nobody",
        "Quarantine": "0 objects",
        "Superseded": "0 objects",
        "Interrupted": "0 objects",
        "Hooks": "0 waiting, 0 failed",
    }


def test_as_json(px: Px, archive: Archive, root: Path) -> None:
    stored = store(archive, 1)
    archive.close()
    ran = px("status", "--json")
    assert ran.code == 0
    document = ran.json
    assert document.pop("free_bytes") > 0
    nothing = {"count": 0, "latest": []}
    assert document == {
        "status": "ok",
        "attention": [],
        "archive": str(root),
        "studies": 1,
        "series": 1,
        "instances": 1,
        "bytes": stored.bytes,
        "index": {"incomplete_since": None, "error": None},
        "processes": [],
        "transfers": [],
        "quarantine": nothing,
        "superseded": nothing,
        "interrupted": nothing,
        "hooks": {"queued": 0, "failed": nothing},
    }


def test_an_empty_archive(px: Px, archive: Archive) -> None:
    archive.close()
    ran = px("status")
    assert ran.code == 0
    assert "0 studies, 0 series, 0 images, 0 B" in ran.out


def test_a_missing_archive(px: Px, home: Path) -> None:
    ran = px("status", "--json")
    assert ran.code == 2
    assert f"no archive at {home}/pypx" in ran.json["error"]["message"]
    (home / "pypx").mkdir()
    assert px("status").code == 5
    assert list((home / "pypx").iterdir()) == []


def test_while_somebody_receives_nothing_is_touched(px: Px, archive: Archive, root: Path) -> None:
    store(archive, 1)
    before = tree(root)
    ran = px("status", "--json")
    assert ran.code == 0
    (process,) = ran.json["processes"]
    assert process["pid"] > 0
    assert process["since"].endswith("Z")
    assert ran.json["instances"] == 1
    assert tree(root) == before
    assert f"process {process['pid']} since 20" in px("status").out
    archive.close()
    assert px("status", "--json").json["processes"] == []


def test_what_was_set_aside_and_broke_off(px: Px, archive: Archive) -> None:
    store(archive, 1)
    store(archive, 1, PixelData=b"others")
    for number in range(7):
        quarantine(archive, number)
    meta = FileMeta(CT_IMAGE, "1.2.77", "1.2")
    archive.note_interrupted(meta, SENDER, 1700, "The peer is gone.")
    ran = px("status")
    assert ran.code == 0
    assert "Quarantine, the latest 5 of 7\n" in ran.out
    assert "\nSuperseded\n" in ran.out
    assert "MODALITY@10.1.2.3" in ran.out
    assert "1.7 kB had come. The peer is gone." in ran.out
    assert "1.2.77" in ran.out
    document = px("status", "--json").json
    assert document["quarantine"]["count"] == 7
    newest = document["quarantine"]["latest"][0]
    assert (newest["sop_instance_uid"], newest["reason"]) == (
        "1.2.3.4.6",
        "It has no StudyInstanceUID.",
    )
    assert (newest["calling_ae_title"], newest["host"]) == ("MODALITY", "10.1.2.3")
    assert Path(newest["path"]).is_file()
    assert document["superseded"]["count"] == 1
    assert document["interrupted"]["latest"][0]["bytes"] == 1700
    everything = px("status", "--json", "--all").json
    assert len(everything["quarantine"]["latest"]) == 7
    assert "Quarantine\n" in px("status", "--all").out


def test_a_file_without_a_note_counts(px: Px, archive: Archive, root: Path) -> None:
    quarantine(archive, 1)
    (note,) = (root / ".pypx/quarantine").glob("*.json")
    note.write_text("[]")
    assert px("status", "--json").json["quarantine"]["latest"][0]["reason"] == ""
    note.unlink()
    assert px("status", "--json").json["quarantine"]["count"] == 1


def test_hooks(px: Px, archive: Archive, root: Path) -> None:
    event = SeriesComplete("1", "1.9", id="f" * 16)
    HookQueue(root / ".pypx/hooks").put(Delivery("x", event, time.time()))
    assert px("status").code == 0
    fail(root, 1)
    ran = px("status")
    assert ran.code == 1
    assert "1 waiting, 1 failed" in ran.out
    assert "answered 404" in ran.out
    assert "pipeline" in ran.out
    assert "warning: Hooks have not taken 1 delivery." in ran.err
    document = px("status", "--json").json
    assert document["status"] == "attention"
    assert document["attention"] == ["Hooks have not taken 1 delivery."]
    assert document["hooks"]["queued"] == 1
    (failure,) = document["hooks"]["failed"]["latest"]
    assert (failure["hook"], failure["series_instance_uid"]) == ("pipeline", "1.1")


def test_low_space(px: Px, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.close()
    monkeypatch.setattr(status_module, "_LOW_SPACE", 1 << 60)
    ran = px("status")
    assert ran.code == 1
    assert "The disk has only" in ran.err
    assert "--min-free" in ran.err


KILLED = """
import os, sys
from pypx.archive import Archive
from tests.archive.helpers import store
archive = Archive(sys.argv[1], durability="none")
store(archive, 1)
os.kill(os.getpid(), 9)
"""


def test_after_a_kill_it_says_so_until_somebody_puts_it_in_order(px: Px, root: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(root)], check=False, timeout=60)
    before = tree(root)
    ran = px("status", "--json")
    assert ran.code == 1
    assert ran.json["index"]["incomplete_since"].startswith("20")
    assert ran.json["processes"] == []
    assert tree(root) == before
    assert "A process ended too soon" in px("status").err
    assert px("ls").code == 0
    assert px("status").code == 0


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_without_an_index_the_rest_is_told(
    px: Px, archive: Archive, root: Path, damage: str
) -> None:
    store(archive, 1)
    quarantine(archive, 2)
    archive.close()
    index = root / ".pypx/index.sqlite"
    if damage == "missing":
        index.unlink()
    else:
        index.write_bytes(b"no database at all" * 1000)
    ran = px("status", "--json")
    assert ran.code == 1
    assert ran.json["instances"] is None
    assert ran.json["index"]["error"]["kind"] == "index"
    assert ran.json["transfers"] is None
    assert ran.json["quarantine"]["count"] == 1
    assert "unknown: the index cannot be read" in px("status").out
    assert damage == "missing" or index.read_bytes().startswith(b"no database")


def test_hostile_text_does_not_reach_the_terminal(px: Px, archive: Archive, root: Path) -> None:
    evil = "\x1b]0;x\x07\u202e"
    archive.note_interrupted(FileMeta(evil, evil, "1.2"), SENDER, 0, evil)
    quarantine(archive, 1, evil)
    fail(root, 1, evil)
    for arguments in ([], ["--json"]):
        ran = px("status", *arguments)
        assert ran.code == 1
        assert not set(evil) & {"\x1b", "\x07", "\u202e"} & set(ran.out + ran.err)


def test_hooks_of_an_archive_that_has_none_yet(px: Px, archive: Archive, root: Path) -> None:
    shutil.rmtree(root / ".pypx/quarantine")
    shutil.rmtree(root / ".pypx/running")
    assert px("status").code == 0
