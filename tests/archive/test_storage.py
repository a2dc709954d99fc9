"""How an object comes in: new, known, with other content; and that nothing is ever lost."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pypx.archive import Archive, Outcome, tree
from pypx.archive.files import Publication, can_write_back
from pypx.archive.index_sqlite import SqliteIndex
from pypx.dicom.part10 import decode_preamble_and_meta
from pypx.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from pypx.errors import ArchiveError, ArchiveFullError, DataSetError
from tests.archive.helpers import (
    SENDER,
    begin,
    content,
    files_of,
    header_of,
    names,
    other_way,
    rows_of,
    store,
    superseded,
)
from tests.objects import data_set

WAYS = [way.name for way in Publication]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def archive(root: Path) -> Iterator[Archive]:
    with Archive(root) as archive:
        yield archive


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    with other_way(request.param):
        yield request.param


class TestNew:
    def test_the_file_is_what_was_received(self, way: str, archive: Archive, root: Path) -> None:
        stored = store(archive)
        assert stored.outcome == "new" and stored.indexed and stored.superseded is None
        assert stored.sop_instance_uid == "1.2.3.4.1"
        assert content(stored.path) == data_set(1)
        assert stored.bytes == stored.path.stat().st_size
        assert files_of(root) == [str(stored.path.relative_to(root))]
        assert names(root / ".pypx/incoming") == []

    def test_the_head_of_the_file(self, archive: Archive) -> None:
        whole = store(archive).path.read_bytes()
        assert whole[:132] == bytes(128) + b"DICM"
        meta, _ = decode_preamble_and_meta(whole)
        assert meta.sop_instance_uid == "1.2.3.4.1" and meta.source_ae_title == "MODALITY"
        assert meta.transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN

    def test_the_row(self, archive: Archive, root: Path) -> None:
        stored = store(archive)
        (row,) = rows_of(archive)
        assert row["PatientName"] == "Doe^Jane" and row["StudyDescription"] == "Thorax"
        assert row["path"] == str(stored.path) and row["bytes"] == stored.bytes
        entry = archive._index.get("1.2.3.4.1")
        assert entry is not None
        assert (entry.calling_ae_title, entry.host) == ("MODALITY", "10.1.2.3")
        assert entry.bytes - entry.data_set_offset == len(data_set(1))
        assert len(entry.checksum) == 32 and entry.received_at.endswith("Z")

    def test_the_time_of_the_file_is_that_of_the_row(self, archive: Archive) -> None:
        stored = store(archive)
        (row,) = rows_of(archive)
        microseconds = stored.path.stat().st_mtime_ns // 1000 % 1_000_000
        assert str(row["received_at"]).endswith(f".{microseconds:06d}Z")

    @pytest.mark.parametrize("piece", [1, 7, 1000])
    def test_in_pieces(self, archive: Archive, piece: int) -> None:
        data = data_set(1)
        with begin(archive) as incoming:
            buffer = bytearray(piece)
            for start in range(0, len(data), piece):
                part = data[start : start + piece]
                buffer[: len(part)] = part  # the view is reused, as a receiver does
                incoming.write(memoryview(buffer)[: len(part)])
            assert incoming.size == len(data)
            stored = incoming.commit(header_of(archive, data))
        assert content(stored.path) == data

    def test_the_modes(self, archive: Archive, root: Path) -> None:
        for number, umask in ((1, 0o000), (2, 0o077)):
            before = os.umask(umask)
            try:
                path = store(archive, number, StudyInstanceUID=f"1.{umask + 1}").path
            finally:
                os.umask(before)
            assert path.stat().st_mode & 0o7777 == 0o640
            while path != root:
                path = path.parent
                assert path.stat().st_mode & 0o7777 == 0o750
        for path in (root / ".pypx").iterdir():
            assert path.stat().st_mode & 0o7777 == (0o750 if path.is_dir() else 0o640)

    @pytest.mark.parametrize("one_sync", [False, True])
    def test_sync_comes_before_the_name_and_the_name_before_the_row(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, one_sync: bool
    ) -> None:
        """With ``one_sync`` as on ext4 and XFS, where the sync of the file keeps its name."""
        monkeypatch.setattr(tree, "sync_keeps_name", lambda fd: one_sync)
        if one_sync and not can_write_back():
            pytest.skip("sync_file_range is of Linux")
        archive = Archive(root)
        store(archive, 1)
        data = "end_writeback" if one_sync else "fdatasync"
        steps: list[str] = []

        def spy(owner: Any, name: str) -> None:
            real = getattr(owner, name)

            def call(*args: Any, **kwargs: Any) -> Any:
                result = real(*args, **kwargs)
                steps.append(name)
                return result

            monkeypatch.setattr(owner, name, call)

        for name in ("writev", "fdatasync", "link", "fsync", "mkdir"):
            spy(os, name)
        spy(tree, "end_writeback")
        spy(SqliteIndex, "_write")
        store(archive, 2)
        assert steps == ["writev", "writev", data, "link", "fsync", "_write"]
        steps.clear()
        store(archive, 3, SeriesInstanceUID="1.9", StudyInstanceUID="1.8")
        assert steps == [
            *("writev", "writev", data),
            *("fsync", "mkdir", "fsync", "mkdir", "fsync"),  # patient, study, series: each parent
            *("link", "fsync", "_write"),
        ]
        archive.close()

    def test_without_durability_nothing_is_synced(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(fd: int) -> None:
            raise AssertionError

        monkeypatch.setattr(os, "fsync", refuse)
        monkeypatch.setattr(os, "fdatasync", refuse)
        with Archive(root, durability="none") as archive:
            store(archive)
            store(archive, PatientName="Other")

    def test_two_series_with_the_same_hash_have_two_folders(
        self, archive: Archive, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "pypx.archive.layout.xxh3_128_hexdigest",
            lambda raw: "0" * 8 + str(raw[-1]).rjust(24, "0"),
        )
        one = store(archive, 1, SeriesInstanceUID="1.2.1").path.parent
        other = store(archive, 2, SeriesInstanceUID="1.2.2").path.parent
        third = store(archive, 3, SeriesInstanceUID="1.2.2").path.parent
        assert one != other == third and one.name.endswith("-00000000")
        with Archive(archive.root) as again:
            assert store(again, 4, SeriesInstanceUID="1.2.2").path.parent == other
            assert store(again, 5, SeriesInstanceUID="1.2.1").path.parent == one


class TestRefused:
    def test_another_uid_in_the_data_set(self, archive: Archive, root: Path) -> None:
        data = data_set(2)
        with begin(archive, 1) as incoming:
            incoming.write(data)
            with pytest.raises(DataSetError, match="another SOP Instance UID"):
                incoming.commit(header_of(archive, data))
        assert files_of(root) == [] and rows_of(archive) == []

    def test_it_can_go_to_quarantine_then(self, archive: Archive, root: Path) -> None:
        data = data_set(2)
        with begin(archive, 1) as incoming:
            incoming.write(data)
            with pytest.raises(DataSetError):
                incoming.commit(header_of(archive, data))
            assert content(incoming.quarantine("Another UID.")) == data

    def test_or_begin_again_with_the_uid_it_has(
        self, way: str, archive: Archive, root: Path
    ) -> None:
        data = data_set(2)
        with begin(archive, 1) as incoming:
            incoming.write(data)
            meta = begin(archive, 2)
            meta.abort()
            with incoming.restarted(meta.meta) as other:
                assert other.size == len(data) and other.checksum == incoming.checksum
                stored = other.commit(header_of(archive, data))
        assert stored.sop_instance_uid == "1.2.3.4.2" and content(stored.path) == data
        assert names(root / ".pypx/incoming") == [] and archive.check(checksums=True).ok

    def test_nothing_was_written(self, archive: Archive, root: Path) -> None:
        with begin(archive) as incoming, pytest.raises(DataSetError, match="empty"):
            incoming.commit(header_of(archive, data_set(1)))
        assert files_of(root) == []

    @pytest.mark.parametrize("uid", ["", " ", "\0"])
    def test_no_uid(self, archive: Archive, uid: str) -> None:
        with pytest.raises(DataSetError, match="no SOP Instance UID"):
            begin(archive, SOPInstanceUID=uid)

    def test_the_end_comes_once(self, archive: Archive) -> None:
        with begin(archive) as incoming:
            incoming.abort()
            incoming.abort()
            for call in (
                lambda: incoming.write(b"x"),
                lambda: incoming.commit(header_of(archive, data_set(1))),
                lambda: incoming.quarantine("x"),
            ):
                with pytest.raises(ArchiveError, match="ended before"):
                    call()

    def test_what_is_aborted_leaves_nothing(self, way: str, archive: Archive, root: Path) -> None:
        with begin(archive) as incoming:
            incoming.write(data_set(1)[:100])
        assert files_of(root) == [] and names(root / ".pypx/incoming") == []


HOSTILE_UIDS = [
    "../../x",
    "/etc/x",
    "..\\x",
    ".",
    "..",
    "1.2.3/../../x",
    "%2e%2e",
    "1.2\n3",
    "1.02",
]


@pytest.mark.parametrize("uid", [*HOSTILE_UIDS, "1." + "2" * 70, "1" * 2000])
def test_a_hostile_uid_has_no_effect_on_the_path(archive: Archive, root: Path, uid: str) -> None:
    changes = {"SOPInstanceUID": uid, "StudyInstanceUID": uid, "SeriesInstanceUID": uid}
    stored = store(archive, 1, **changes, PatientID=uid, InstanceNumber=None)
    assert stored.path.resolve().is_relative_to(root)
    assert stored.path.name.startswith("NA-sha256-")
    assert len(files_of(root)) == 1 and list(root.parent.iterdir()) == [root]
    assert store(archive, 1, **changes, PatientID=uid, InstanceNumber=None).outcome == "duplicate"
    located = archive.locate(uid)
    assert located is not None and located.path == stored.path
    before = rows_of(archive)
    archive.rebuild()
    assert rows_of(archive) == before and archive.check().ok


class TestLinks:
    def test_a_folder_that_is_a_link_is_not_followed(self, archive: Archive, root: Path) -> None:
        outside = root.parent / "outside"
        outside.mkdir()
        patient = store(archive).path.parents[2]
        store(archive, 2, PatientID="other")
        other = next(path for path in root.iterdir() if path.name.startswith("other"))
        other.rename(root.parent / "away")
        other.symlink_to(outside)
        with pytest.raises(ArchiveError) as caught:
            store(archive, 3, PatientID="other")
        assert "link" in caught.value.hint and list(outside.iterdir()) == []
        assert patient.is_dir() and archive.locate("1.2.3.4.3") is None
        assert store(archive, 4).outcome == "new"

    @pytest.mark.parametrize("what", ["link", "dangling", "pipe", "folder"])
    def test_something_else_under_the_final_name(
        self, archive: Archive, root: Path, what: str
    ) -> None:
        path = store(archive).path.with_name("2-1.2.3.4.2.dcm")
        target = root.parent / "passwd"
        target.write_bytes(b"secret")
        match what:
            case "link":
                path.symlink_to(target)
            case "dangling":
                path.symlink_to(root.parent / "missing")
            case "pipe":
                os.mkfifo(path)
            case _:
                path.mkdir()
        with pytest.raises(ArchiveError, match="no file has the name"):
            store(archive, 2)
        assert target.read_bytes() == b"secret" and not (root.parent / "missing").exists()
        assert names(root / ".pypx/incoming") == []
        if what != "folder":
            report = archive.check()
            assert report.strange == (str(path.relative_to(root)),) and not report.ok


class TestKnown:
    def test_the_same_content_is_not_written_again(self, archive: Archive, root: Path) -> None:
        first = store(archive)
        before = first.path.stat()
        again = store(archive)
        assert again.outcome is Outcome.DUPLICATE and again.path == first.path
        assert first.path.stat() == before and superseded(root) == []
        assert len(rows_of(archive)) == 1

    @pytest.mark.parametrize(
        "change",
        [
            {"PixelData": b"other pixels"},
            {"PatientName": "Other^One"},
            {"PatientID": "0815"},
            {"StudyInstanceUID": "1.9", "SeriesInstanceUID": "1.9.1"},
            {"InstanceNumber": "77"},
            {"syntax": IMPLICIT_VR_LITTLE_ENDIAN},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_other_content_supersedes_and_both_are_kept(
        self, way: str, archive: Archive, root: Path, change: dict[str, str]
    ) -> None:
        first = store(archive)
        old = first.path.read_bytes()
        second = store(archive, 1, **change)
        assert second.outcome is Outcome.SUPERSEDED and second.indexed
        assert files_of(root) == [str(second.path.relative_to(root))]
        assert content(second.path) == data_set(1, **change)
        (kept,) = superseded(root)
        assert second.superseded == kept and kept.read_bytes() == old
        (row,) = rows_of(archive)
        assert row["path"] == str(second.path)
        assert archive.check(checksums=True).ok
        assert store(archive, 1, **change).outcome is Outcome.DUPLICATE

    def test_the_note_says_what_happened(self, archive: Archive, root: Path) -> None:
        first = store(archive)
        second = store(archive, PatientName="Müller^Jörg")
        (kept,) = superseded(root)
        note = json.loads(kept.with_suffix(".json").read_text("utf-8"))
        assert note["sop_instance_uid"] == "1.2.3.4.1" and "same SOP Instance UID" in note["reason"]
        assert note["path"] == str(first.path.relative_to(root))
        assert note["superseded_by"]["path"] == str(second.path.relative_to(root))
        assert note["superseded_by"]["host"] == "10.1.2.3"
        assert note["superseded_at"].endswith("Z") and note["checksum"]
        assert kept.stat().st_mode & 0o7777 == 0o640
        assert kept.with_suffix(".json").stat().st_mode & 0o7777 == 0o640

    def test_back_and_forth_keeps_every_content(self, archive: Archive, root: Path) -> None:
        for turn in range(4):
            store(archive, PatientName="ABAB"[turn])
        assert [content(path) for path in superseded(root)] == [
            data_set(1, PatientName=name) for name in "ABA"
        ]

    def test_a_file_that_is_gone_is_stored_anew(self, archive: Archive) -> None:
        first = store(archive)
        first.path.unlink()
        second = store(archive)
        assert second.outcome is Outcome.NEW and content(second.path) == data_set(1)

    def test_a_folder_that_is_gone_is_made_anew(self, archive: Archive, root: Path) -> None:
        store(archive)
        for path in root.iterdir():
            if path.name != ".pypx":
                path.rename(root.parent / "away")
        second = store(archive, 2)
        assert second.path.is_file() and second.outcome is Outcome.NEW
        assert store(archive, 1).outcome is Outcome.NEW

    @pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "garbage"])
    def test_a_damaged_file_is_no_duplicate(
        self, archive: Archive, root: Path, damage: str
    ) -> None:
        path = store(archive).path
        whole = bytearray(path.read_bytes())
        match damage:
            case "flip":
                whole[-5] ^= 1
            case "truncate":
                del whole[-100:]
            case "empty":
                whole.clear()
            case _:
                whole[:] = b"garbage"
        path.write_bytes(whole)
        again = store(archive)
        assert again.outcome is Outcome.SUPERSEDED and content(again.path) == data_set(1)
        assert [kept.read_bytes() for kept in superseded(root)] == [bytes(whole)]

    def test_a_file_that_was_only_touched_is_a_duplicate(self, archive: Archive) -> None:
        os.utime(store(archive).path)
        assert store(archive).outcome is Outcome.DUPLICATE

    def test_a_file_that_the_index_does_not_know(self, archive: Archive, root: Path) -> None:
        first = store(archive)
        archive._index.forget([str(first.path.relative_to(root))])
        assert rows_of(archive) == []
        again = store(archive)
        assert again.outcome is Outcome.DUPLICATE and again.path == first.path
        assert len(rows_of(archive)) == 1 and archive.check().ok

    def test_another_file_that_the_index_does_not_know(self, archive: Archive, root: Path) -> None:
        first = store(archive)
        archive._index.forget([str(first.path.relative_to(root))])
        again = store(archive, PixelData=b"other")
        assert again.outcome is Outcome.SUPERSEDED
        assert content(superseded(root)[0]) == data_set(1) and archive.check().ok

    def test_a_third_file_under_the_new_name(self, archive: Archive, root: Path) -> None:
        first = store(archive, InstanceNumber="7")
        third = first.path.with_name("8-1.2.3.4.1.dcm")
        third.write_bytes(b"whatever it is")
        second = store(archive, InstanceNumber="8")
        assert second.path == third and second.outcome is Outcome.SUPERSEDED
        assert len(superseded(root)) == 2 and len(files_of(root)) == 1

    def test_files_that_were_exchanged_by_hand(self, archive: Archive, root: Path) -> None:
        one, two = store(archive, 1).path, store(archive, 2).path
        one.unlink()
        two.rename(one)
        again = store(archive, 1)
        assert again.outcome is Outcome.SUPERSEDED and content(again.path) == data_set(1)
        assert [content(path) for path in superseded(root)] == [data_set(2)]
        assert store(archive, 2).outcome is Outcome.NEW
        assert archive.check(checksums=True).ok and len(files_of(root)) == 2

    def test_an_empty_file_is_a_free_name(self, way: str, archive: Archive) -> None:
        path = store(archive).path.with_name("2-1.2.3.4.2.dcm")
        path.touch()
        stored = store(archive, 2)
        assert stored.path == path and stored.outcome is Outcome.NEW
        assert content(path) == data_set(2)


class TestTogether:
    def together(self, count: int, work: Callable[[int], Any]) -> list[Any]:
        barrier = threading.Barrier(count)
        results: list[Any] = []

        def run(number: int) -> None:
            barrier.wait(10)
            results.append(work(number))

        threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == count
        return results

    def test_the_same_object_eight_times(self, way: str, archive: Archive, root: Path) -> None:
        results = self.together(8, lambda number: store(archive).outcome)
        assert sorted(results) == [Outcome.DUPLICATE] * 7 + [Outcome.NEW]
        assert len(files_of(root)) == len(rows_of(archive)) == 1
        assert superseded(root) == [] and archive.check(checksums=True).ok

    def test_eight_contents_of_one_uid(self, way: str, archive: Archive, root: Path) -> None:
        def work(number: int) -> bytes:
            store(archive, PixelData=bytes([number]) * 100, PatientID=str(number % 3))
            return data_set(1, PixelData=bytes([number]) * 100, PatientID=str(number % 3))

        sent = self.together(8, work)
        (last,) = files_of(root)
        kept = [content(path) for path in (*superseded(root), root / last)]
        assert sorted(kept) == sorted(sent) and archive.check(checksums=True).ok

    def test_eight_senders(self, archive: Archive, root: Path) -> None:
        def work(sender: int) -> None:
            for number in range(10):
                series = f"1.2.{sender % 4}"
                store(archive, 100 * sender + number, SeriesInstanceUID=series)

        self.together(8, work)
        assert len(files_of(root)) == len(rows_of(archive)) == 80
        assert archive.check(checksums=True).ok

    def test_two_archives_on_one_root(self, archive: Archive, root: Path) -> None:
        with Archive(root) as other:

            def work(number: int) -> str:
                one = (archive, other)[number % 2]
                for turn in range(5):
                    store(one, 1, PatientID=str(turn % 2))
                return store(one, 10 + number % 3).outcome

            results = self.together(6, work)
        assert sorted(results) == ["duplicate"] * 3 + ["new"] * 3
        assert len(files_of(root)) == 4 and archive.check(checksums=True).ok


class TestQuarantine:
    def test_it_is_kept_with_a_reason(self, way: str, archive: Archive, root: Path) -> None:
        with begin(archive, SOPInstanceUID="../../x") as incoming:
            incoming.write(data_set(1)[:500])
            path = incoming.quarantine("The data set is truncated.", SENDER)
        assert path.parent == root / ".pypx/quarantine" and "sha256-" in path.name
        assert content(path) == data_set(1)[:500]
        assert path.stat().st_mode & 0o7777 == 0o640
        note = json.loads(path.with_suffix(".json").read_text("utf-8"))
        assert note["reason"] == "The data set is truncated."
        assert note["sop_instance_uid"] == "../../x" and note["data_set_bytes"] == 500
        assert note["source"] == {
            "calling_ae_title": "MODALITY",
            "called_ae_title": "PYPX",
            "host": "10.1.2.3",
        }
        assert files_of(root) == [] and names(root / ".pypx/incoming") == []
        assert archive.check().ok

    def test_nothing_had_arrived_yet(self, archive: Archive) -> None:
        with begin(archive) as incoming:
            path = incoming.quarantine("The association was lost.")
        assert content(path) == b""

    def test_twice_in_one_microsecond(
        self, archive: Archive, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pypx.archive.incoming.iso_time", lambda ns: "2024-01-31T10:11:12Z")
        paths = set()
        for _ in range(3):
            with begin(archive) as incoming:
                paths.add(incoming.quarantine("x"))
        assert len(paths) == 3 and all(path.with_suffix(".json").exists() for path in paths)


class TestIndexNotAvailable:
    def test_an_object_is_stored_and_indexed_later(self, root: Path) -> None:
        with Archive(root, index_wait=0.02) as archive:
            store(archive, 1)
            other = sqlite3.connect(root / ".pypx/index.sqlite", isolation_level=None)
            other.execute("BEGIN EXCLUSIVE")
            stored = store(archive, 2)
            assert stored.indexed is False and stored.path.is_file() and archive.waiting == 1
            assert store(archive, 2).outcome is Outcome.DUPLICATE
            superseding = store(archive, 2, PatientID="new")
            assert superseding.outcome is Outcome.SUPERSEDED and not superseding.indexed
            assert len(rows_of(archive)) == 1, "queries go on"
            other.close()
            assert store(archive, 3).indexed is True and archive.waiting == 0
            assert len(rows_of(archive)) == 3 and archive.check(checksums=True).ok
            assert len(archive.notes) == 2


def is_root() -> bool:
    return os.geteuid() == 0


class TestRealDisks:
    @pytest.fixture
    def small(self, tmp_path: Path) -> Iterator[Path]:
        if not is_root() or not Path("/proc/mounts").exists():
            pytest.skip("needs root to mount a small disk")
        mount = tmp_path / "small"
        mount.mkdir()
        options = ["mount", "-t", "tmpfs", "-o", "size=700k,nr_inodes=60", "tmpfs", str(mount)]
        if subprocess.run(options, check=False, capture_output=True).returncode:
            pytest.skip("cannot mount a tmpfs here")
        yield mount
        subprocess.run(["umount", "-l", str(mount)], check=True)

    def test_a_full_disk(self, small: Path) -> None:
        with Archive(small) as archive:
            store(archive, 1)
            filler = small / "filler"
            filler.write_bytes(bytes(300_000))
            for changes in ({"number": 2}, {"number": 1}):
                with pytest.raises(ArchiveFullError) as caught:
                    store(archive, **changes, PixelData=bytes(2_000_000))
                assert caught.value.dimse_status == 0xA700 and caught.value.hint
            first = archive.locate("1.2.3.4.1")
            assert first is not None and content(first.path) == data_set(1)
            assert store(archive, 1).outcome == "duplicate", "which needs no room"
            assert names(small / ".pypx/incoming") == []
            filler.unlink()
            assert store(archive, 3, PixelData=bytes(100_000)).outcome == "new"
            assert archive.check(checksums=True).ok

    def test_no_inode_is_left(self, small: Path) -> None:
        with Archive(small) as archive:
            store(archive, 1)
            with pytest.raises(ArchiveFullError):
                for number in range(2, 80):
                    store(archive, number, PixelData=b"12")
            assert archive.check(checksums=True).ok

    def test_the_disk_becomes_read_only_and_comes_back(self, small: Path) -> None:
        with Archive(small, durability="none") as archive:
            store(archive, 1)
        with Archive(small, durability="none") as archive:
            archive._index.close()  # a disk with files that are open for writing stays writable
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        with pytest.raises(ArchiveError) as caught:
            Archive(small)
        assert "read-only" in caught.value.hint
        with Archive(small, read_only=True) as archive:
            assert len(rows_of(archive)) == 1
            with pytest.raises(ArchiveError, match="read-only"):
                begin(archive)
        subprocess.run(["mount", "-o", "remount,rw", str(small)], check=True)
        with Archive(small) as archive:
            assert store(archive, 2).outcome == "new"

    def test_the_disk_is_unmounted_under_us(self, small: Path) -> None:
        with Archive(small) as archive:
            store(archive, 1)
            subprocess.run(["umount", "-l", str(small)], check=True)
            with pytest.raises(ArchiveError, match="not where it was"):
                store(archive, 2)
            assert list(small.iterdir()) == [], "nothing goes to the disk behind it"
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(small)], check=True)

    def test_the_limit_of_the_file_size(self, archive: Archive) -> None:
        import resource

        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
        try:
            with pytest.raises(ArchiveFullError):
                store(archive, 1, PixelData=bytes(100_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert store(archive, 1, PixelData=bytes(100_000)).outcome == "new"


def test_a_tree_that_is_moved_gets_no_more_files(root: Path) -> None:
    with Archive(root) as archive:
        store(archive, 1)
        root.rename(root.parent / "moved")
        with pytest.raises(ArchiveError, match="not where it was"):
            store(archive, 2)
        assert len(files_of(root.parent / "moved")) == 1
        (root.parent / "moved").rename(root)
        assert store(archive, 2).outcome == "new"


def test_only_so_many_folders_are_kept_open(archive: Archive) -> None:
    before = len(names(Path("/dev/fd")))
    for number in range(80):
        store(archive, number, SeriesInstanceUID=f"1.2.3.{number}", StudyInstanceUID="1.2")
    assert len(names(Path("/dev/fd"))) <= before + 40
    assert archive.check().ok


def test_another_process_is_busy_with_the_object(
    archive: Archive, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pypx.archive.locks._POLL", 0.0)
    monkeypatch.setattr("pypx.archive.locks.time.monotonic", iter(range(0, 10_000, 20)).__next__)
    with Archive(root) as other, other._storage.locks.hold("1.2.3.4.1"):
        with pytest.raises(ArchiveError, match="Another process"):
            store(archive, 1)
        assert store(archive, 2).outcome == "new"


def test_a_clock_that_goes_back_changes_no_outcome(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(archive, 1)
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)
    again = store(archive, 1, PatientID="new")
    assert again.outcome == "superseded"
    (row,) = rows_of(archive)
    assert row["PatientID"] == "new" and row["received_at"] == "1970-01-01T00:00:01.000000Z"
    assert archive.check(checksums=True).ok


def test_nothing_of_the_layout_reaches_the_disk_before_it_is_safe(archive: Archive) -> None:
    stored = store(
        archive,
        1,
        PatientID="../../../etc",
        PatientName="a/b\\c",
        StudyDescription="..",
        SeriesDescription="x" * 64,
        InstanceNumber="1",
    )
    parts = stored.path.relative_to(archive.root).parts
    assert len(parts) == 4 and parts[0] == "_.._.._etc-a_b_c"


def test_descriptors_are_closed(root: Path) -> None:
    before = names(Path("/dev/fd"))
    with Archive(root) as archive:
        for number in range(5):
            store(archive, number % 3, PatientID=str(number))
    assert names(Path("/dev/fd")) == before
