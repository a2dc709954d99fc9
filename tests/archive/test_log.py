"""The record of interrupted objects: it is bounded, and never in the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pypx.archive import Archive, Source
from pypx.archive import log as log_module
from pypx.archive.log import Interrupted
from pypx.dicom.part10 import FileMeta
from pypx.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from tests.archive.helpers import SENDER, names
from tests.objects import CT_IMAGE


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path, durability="none") as one:
        yield one


def meta(uid: str = "1.2.3") -> FileMeta:
    return FileMeta(CT_IMAGE, uid, EXPLICIT_VR_LITTLE_ENDIAN)


def uids(archive: Archive) -> list[str]:
    return [record.sop_instance_uid for record in archive.interrupted()]


def test_what_is_noted_is_read_back_also_by_who_only_reads(archive: Archive) -> None:
    assert list(archive.interrupted()) == []
    archive.note_interrupted(meta(), SENDER, 17, "The peer is gone.")
    (record,) = archive.interrupted()
    assert record == Interrupted(
        record.at, "MODALITY", "PYPX", "10.1.2.3", CT_IMAGE, "1.2.3", 17, "The peer is gone."
    )
    assert record.at.endswith("Z")
    with Archive(archive.root, read_only=True) as reader:
        assert list(reader.interrupted()) == [record]


def test_hostile_text_stays_on_its_line(archive: Archive) -> None:
    text = 'a\nb"\x00\ud800 \u2028'
    archive.note_interrupted(meta(text), Source(text), 0, text)
    archive.note_interrupted(meta("2"), SENDER, 0, "")
    first, second = archive.interrupted()
    assert first.sop_instance_uid == first.calling_ae_title == first.reason == text
    assert second.sop_instance_uid == "2"


def test_it_is_bounded_and_keeps_the_latest(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "_LARGEST", 2000)
    for number in range(102):
        archive.note_interrupted(meta(f"1.{number}"), SENDER, number, "Gone.")
    folder = archive.root / ".pypx/log"
    assert names(folder) == ["interrupted.1.jsonl", "interrupted.jsonl"]
    assert all(path.stat().st_size < 2500 for path in folder.iterdir())
    found = uids(archive)
    assert found == [f"1.{number}" for number in range(102 - len(found), 102)]
    assert 8 <= len(found) < 30


def test_torn_and_strange_lines_are_left_out(archive: Archive) -> None:
    archive.note_interrupted(meta("1"), SENDER, 1, "Gone.")
    path = archive.root / ".pypx/log/interrupted.jsonl"
    path.write_bytes(b'\xff\n{"at": 1}\n[]\n' + path.read_bytes() + b'{"at": "20')
    assert uids(archive) == ["1"]


def test_it_never_raises(archive: Archive) -> None:
    path = archive.root / ".pypx/log/interrupted.jsonl"
    path.symlink_to("/nowhere/x")
    archive.note_interrupted(meta(), SENDER, 1, "Gone.")
    path.unlink()
    path.mkdir()
    archive.note_interrupted(meta(), SENDER, 1, "Gone.")
    archive.close()
    archive.note_interrupted(meta(), SENDER, 1, "Gone.")


def test_lines_are_json(archive: Archive) -> None:
    archive.note_interrupted(meta(), SENDER, 5, "Gone.")
    (line,) = (archive.root / ".pypx/log/interrupted.jsonl").read_text().splitlines()
    assert json.loads(line)["bytes"] == 5
