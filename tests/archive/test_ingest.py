"""Files that are there already: import, rebuild, check, and what a crash leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pypx.archive import Archive, Report, Swept
from pypx.archive.files import probe
from pypx.archive.index_sqlite import SqliteIndex
from pypx.archive.tree import Tree
from pypx.dicom.part10 import FileMeta, encode_preamble_and_meta
from pypx.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from pypx.errors import ArchiveError, DataSetError, IndexUnavailableError
from tests.archive.helpers import (
    content,
    files_of,
    names,
    other_way,
    rows_of,
    store,
    superseded,
)
from tests.corpus import Corpus
from tests.objects import CT_IMAGE, data_set, write_file


@pytest.fixture
def root(in_memory: Path) -> Path:
    return in_memory / "archive"


@pytest.fixture
def archive(root: Path) -> Iterator[Archive]:
    with Archive(root) as archive:
        yield archive


@pytest.fixture
def filled(root: Path) -> Path:
    """An archive, closed, with 3 series in 2 studies of 2 patients."""
    with Archive(root) as archive:
        for number in range(1, 7):
            store(archive, number, SeriesInstanceUID="1.2.3.1" if number < 4 else "1.2.3.2")
        store(archive, 7, PatientID="P2", PatientName="山田^太郎", StudyInstanceUID="1.7")
    return root


def index_files(root: Path) -> list[Path]:
    return sorted((root / ".pypx").glob("index.sqlite*"))


class TestImport:
    @pytest.mark.parametrize("syntax", [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
    def test_the_data_set_is_kept_bit_by_bit(
        self, archive: Archive, tmp_path: Path, syntax: str
    ) -> None:
        path = write_file(tmp_path, 1, syntax=syntax)
        before = path.read_bytes()
        stored = archive.add_file(path)
        assert stored.outcome == "new" and content(stored.path) == data_set(1, syntax=syntax)
        assert path.read_bytes() == before
        assert archive.add_file(path).outcome == "duplicate"
        assert archive.check(checksums=True).ok

    def test_a_program_in_the_preamble_is_not_taken_over(
        self, archive: Archive, tmp_path: Path
    ) -> None:
        path = write_file(tmp_path, 1)
        path.write_bytes(b"MZ" + bytes(126) + path.read_bytes()[128:])
        path.chmod(0o777)
        stored = archive.add_file(path)
        assert stored.path.read_bytes()[:128] == bytes(128)
        assert stored.path.stat().st_mode & 0o7777 == 0o640

    def test_the_data_set_is_right_about_its_uid(self, archive: Archive, tmp_path: Path) -> None:
        meta = FileMeta(CT_IMAGE, "1.9.9", EXPLICIT_VR_LITTLE_ENDIAN, source_ae_title="SCANNER")
        path = tmp_path / "x.dcm"
        path.write_bytes(encode_preamble_and_meta(meta) + data_set(1))
        stored = archive.add_file(path)
        located = archive.locate("1.2.3.4.1")
        assert stored.sop_instance_uid == "1.2.3.4.1" and located is not None
        assert located.meta.source_ae_title == "SCANNER"

    def test_a_missing_uid_is_taken_from_the_meta_information(
        self, archive: Archive, tmp_path: Path
    ) -> None:
        meta = FileMeta(CT_IMAGE, "1.9.9", EXPLICIT_VR_LITTLE_ENDIAN)
        path = tmp_path / "x.dcm"
        path.write_bytes(encode_preamble_and_meta(meta) + data_set(1, SOPInstanceUID=None))
        assert archive.add_file(path).sop_instance_uid == "1.9.9"
        meta = FileMeta(CT_IMAGE, "", EXPLICIT_VR_LITTLE_ENDIAN)
        path.write_bytes(encode_preamble_and_meta(meta) + data_set(1, SOPInstanceUID=None))
        with pytest.raises(DataSetError, match="no SOP Instance UID"):
            archive.add_file(path)

    @pytest.mark.parametrize("what", ["torn", "garbage", "empty", "head only", "no preamble"])
    def test_what_is_no_object_is_refused(
        self, archive: Archive, root: Path, tmp_path: Path, what: str
    ) -> None:
        path = write_file(tmp_path, 1)
        whole = path.read_bytes()
        head = len(whole) - len(data_set(1))
        path.write_bytes(
            {
                "torn": whole[:-1],
                "garbage": b"garbage" * 100,
                "empty": b"",
                "head only": whole[:head],
                "no preamble": data_set(1),
            }[what]
        )
        with pytest.raises(DataSetError):
            archive.add_file(path)
        assert files_of(root) == [] and names(root / ".pypx/incoming") == []

    def test_only_regular_files(self, archive: Archive, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
            with pytest.raises(DataSetError, match="no file"):
                archive.add_file(path)
        with pytest.raises(ArchiveError, match="No such file"):
            archive.add_file(tmp_path / "missing")

    def test_a_file_that_changes_meanwhile(
        self, archive: Archive, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write_file(tmp_path, 1)
        real = os.lseek

        def lseek(fd: int, offset: int, how: int) -> int:
            if offset:  # the second pass
                path.write_bytes(write_file(tmp_path, 1, PatientName="Other").read_bytes())
            return real(fd, offset, how)

        monkeypatch.setattr(os, "lseek", lseek)
        with pytest.raises(ArchiveError, match="changed"):
            archive.add_file(path)
        assert files_of(root) == []

    def test_a_file_inside_the_tree_is_indexed_where_it_is(
        self, archive: Archive, root: Path
    ) -> None:
        (root / "by hand").mkdir()
        path = write_file(root / "by hand", 1)
        stored = archive.add_file(path)
        assert stored.path == path and stored.outcome == "new"
        assert rows_of(archive)[0]["path"] == str(path) and archive.check().ok
        assert archive.add_file(path).outcome == "new" and len(rows_of(archive)) == 1
        assert store(archive, 1).outcome == "duplicate"

    def test_the_other_object_of_that_uid_inside_the_tree(
        self, archive: Archive, root: Path
    ) -> None:
        first = store(archive, 1)
        (root / "by hand").mkdir()
        path = write_file(root / "by hand", 1, PatientID="new")
        stored = archive.add_file(path)
        assert stored.path == path and stored.outcome == "superseded" and not first.path.exists()
        assert len(list((root / ".pypx/superseded").glob("*.dcm"))) == 1
        assert archive.check().ok

    def test_a_file_of_pypx_itself_is_a_file_like_others(
        self, archive: Archive, root: Path
    ) -> None:
        store(archive, 1)
        second = store(archive, 1, PatientID="new")
        assert second.superseded is not None
        again = archive.add_file(second.superseded)
        assert again.outcome == "superseded" and content(again.path) == data_set(1)

    def test_a_layout_with_other_attributes(self, root: Path, tmp_path: Path) -> None:
        layout = "{ProtocolName}/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"
        with Archive(root, layout=layout) as archive:
            path = write_file(tmp_path, 1, ProtocolName="Head/Neck")
            assert archive.add_file(path).path.parts[-4] == "Head_Neck"
            assert store(archive, 2, ProtocolName="Knee").path.parts[-4] == "Knee"

    def test_real_files(self, corpus: Corpus, root: Path, tmp_path: Path) -> None:
        good = [file.path for file in corpus.good]
        with Archive(root, durability="none") as archive:
            for path in good:
                assert archive.add_file(path).outcome == "new", path.name
            for file in corpus.dup:
                assert archive.add_file(file.path).outcome in ("superseded", "duplicate")
            report = archive.check(checksums=True)
            assert report.ok and report.files == len(good)
            before = rows_of(archive)
            assert archive.rebuild().ok and rows_of(archive) == before


class TestRebuild:
    def everything(self, archive: Archive) -> list[Any]:
        levels = ("patient", "study", "series", "image")
        return [sorted(map(str, archive.find(level))) for level in levels]

    @pytest.mark.parametrize(
        "loss", ["deleted", "header", "truncated", "empty", "folder", "no log", "old log"]
    )
    def test_a_lost_index_is_made_again_when_the_archive_is_opened(
        self, filled: Path, loss: str
    ) -> None:
        path = filled / ".pypx/index.sqlite"
        with Archive(filled) as archive:
            if loss == "old log":
                store(archive, 1, SeriesInstanceUID="1.2.3.1", PatientName="Doe^Renamed")
                store(archive, 1, SeriesInstanceUID="1.2.3.1")
                log = Path(f"{path}-wal").read_bytes()
            before = self.everything(archive)
        match loss:
            case "deleted":
                path.unlink()
            case "header":
                with path.open("r+b") as file:
                    file.write(os.urandom(100))
            case "truncated":
                os.truncate(path, 5000)
            case "empty":
                os.truncate(path, 0)
            case "folder":
                path.unlink()
                path.mkdir()
            case "no log":
                Path(f"{path}-wal").unlink(missing_ok=True)
            case _:
                path.unlink()
                Path(f"{path}-wal").write_bytes(log)
        with Archive(filled) as archive:
            assert self.everything(archive) == before
            assert archive.check(checksums=True).ok
            assert store(archive, 1, SeriesInstanceUID="1.2.3.1").outcome == "duplicate"
            if loss in ("header", "truncated", "folder"):
                assert "was damaged" in archive.notes[0] and "damaged-" in archive.notes[0]
            if loss != "no log":
                assert "from 7 files" in archive.notes[-1]
        with Archive(filled) as archive:
            assert archive.notes == []

    def test_it_is_the_same_as_before(self, filled: Path) -> None:
        with Archive(filled) as archive:
            store(archive, 3, SeriesInstanceUID="1.2.3.1", PatientName="Doe^Renamed")
            before = self.everything(archive)
            counts: list[int] = []
            report = archive.rebuild(counts.append)
            assert report.ok and report.files == 7 and counts == list(range(1, 8))
            assert self.everything(archive) == before
            entry = archive._index.get("1.2.3.4.1")
            assert entry is not None and entry.host == "10.1.2.3", "what no file says is kept"

    def test_what_was_changed_by_hand_is_seen(self, filled: Path) -> None:
        with Archive(filled) as archive:
            rows = {row["SOPInstanceUID"]: Path(row["path"]) for row in rows_of(archive)}
            rows["1.2.3.4.1"].unlink()
            rows["1.2.3.4.2"].rename(filled / "moved.dcm")
            shutil.copy2(rows["1.2.3.4.3"], filled / "copy.dcm")
            (filled / "broken.dcm").write_bytes(b"x")
            (filled / "link.dcm").symlink_to(rows["1.2.3.4.3"])
            (filled / "notes.txt").write_text("not ours")
            report = archive.check()
            assert not report.ok
            missing = sorted(
                str(rows[uid].relative_to(filled)) for uid in ("1.2.3.4.1", "1.2.3.4.2")
            )
            assert report == Report(
                files=8,
                missing=tuple(missing),
                unindexed=("moved.dcm",),
                damaged=("broken.dcm",),
                copies=("copy.dcm",),
                strange=("link.dcm",),
            )
            report = archive.rebuild()
            assert list(report.missing) == missing and report.damaged == ("broken.dcm",)
            assert len(report.copies) == 1 and report.strange == ("link.dcm",)
            located = archive.locate("1.2.3.4.2")
            assert located is not None and located.path == filled / "moved.dcm"
            assert archive.locate("1.2.3.4.1") is None
            after = archive.check()
            assert not after.missing and not after.unindexed

    def test_the_newer_of_two_objects_with_one_uid_is_indexed(self, filled: Path) -> None:
        newer = write_file(filled, 1, PatientID="newer")
        with Archive(filled) as archive:
            for _ in range(2):
                report = archive.rebuild()
                assert archive.check().copies == report.copies
                located = archive.locate("1.2.3.4.1")
                assert located is not None and located.path == newer
                assert len(report.copies) == 1 and "4711" in report.copies[0]

    @pytest.mark.parametrize("batch", [1, 2, 256])
    @pytest.mark.parametrize(
        "times",  # 0: no copy there
        [(5, 5, 5, 5), (5, 6, 7, 6), (7, 6, 5, 7), (5, 7, 6, 8), (5, 0, 0, 5), (5, 0, 5, 0)],
    )
    def test_one_of_many_copies_is_indexed(
        self, filled: Path, monkeypatch: pytest.MonkeyPatch, batch: int, times: tuple[int, ...]
    ) -> None:
        monkeypatch.setattr("pypx.archive.ingest._BATCH", batch)
        with Archive(filled) as archive:
            located = archive.locate("1.2.3.4.2")
            assert located is not None
            original = located.path
            os.utime(original, (times[0], times[0]))
            archive.rebuild()
            (filled / "0").mkdir()
            paths = {original}
            places = [filled / "0" / "x.dcm", original.parent / "0.dcm", filled / "z.dcm"]
            for path, seconds in zip(places, times[1:], strict=True):
                if seconds:
                    shutil.copy(original, path)
                    os.utime(path, (seconds, seconds))
                    paths.add(path)
            for _ in range(3):
                report = archive.rebuild()
                located = archive.locate("1.2.3.4.2")
                assert located is not None and report.files == 6 + len(paths)
                assert located.path.stat().st_mtime == max(times)
                every = {str(path.relative_to(filled)) for path in paths}
                assert every == {*report.copies, str(located.path.relative_to(filled))}
                assert archive.check().copies == report.copies

    def test_rows_behind_a_link_are_gone(self, filled: Path, tmp_path: Path) -> None:
        with Archive(filled) as archive:
            folder = next(path for path in sorted(filled.iterdir()) if path.name.startswith("P2"))
            shutil.move(folder, tmp_path / "elsewhere")
            folder.symlink_to(tmp_path / "elsewhere")
            report = archive.rebuild()
            assert report.files == 6 and report.strange == (folder.name,)
            assert len(report.missing) == 1 and archive.locate("1.2.3.4.7") is None

    def test_damage_while_it_is_open(self, filled: Path) -> None:
        with Archive(filled) as archive:
            before = self.everything(archive)
            archive._index._connections._writer.execute(  # type: ignore[union-attr]
                "PRAGMA wal_checkpoint(TRUNCATE)"
            )
            path = filled / ".pypx/index.sqlite"
            with path.open("r+b") as file:
                for page in range(1, path.stat().st_size // 4096):
                    file.seek(page * 4096)
                    file.write(os.urandom(200))
            with pytest.raises(IndexUnavailableError) as caught:
                list(archive.find("study"))
            assert "px index rebuild" in caught.value.hint
            assert archive.rebuild().ok and self.everything(archive) == before
            assert any("damaged" in note for note in archive.notes)

    def test_deleted_while_it_is_open(self, filled: Path) -> None:
        with Archive(filled) as archive:
            before = len(rows_of(archive))
            for path in index_files(filled):
                path.unlink()
            stored = store(archive, 50)
            assert stored.path.is_file() and not stored.indexed
            archive.rebuild()
            assert len(rows_of(archive)) == before + 1 and archive.check().ok
            assert store(archive, 51).indexed

    def test_another_process_makes_it_again_while_we_store(self, filled: Path) -> None:
        with Archive(filled) as archive, Archive(filled) as other:
            for path in index_files(filled):
                path.unlink()
            other.rebuild()
            assert store(archive, 50).indexed
            assert len(rows_of(other)) == len(rows_of(archive)) == 8

    def test_a_failure_on_the_way_is_made_good_the_next_time(
        self, filled: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for path in index_files(filled):
            path.unlink()
        before = names(Path("/dev/fd"))

        def fail(*args: object, **kwargs: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("pypx.archive.ingest.read_entry", fail)
            with pytest.raises(KeyboardInterrupt):
                Archive(filled)
        assert names(Path("/dev/fd")) == before
        with Archive(filled) as archive:
            assert "7 objects" in archive.notes[0] and archive.check().ok

    def test_a_newer_schema_is_left_alone(self, filled: Path) -> None:
        connection = sqlite3.connect(filled / ".pypx/index.sqlite")
        connection.execute("PRAGMA user_version = 99")
        connection.commit()
        connection.close()
        before = names(Path("/dev/fd"))
        with pytest.raises(IndexUnavailableError, match="schema 99"):
            Archive(filled)
        assert names(Path("/dev/fd")) == before
        assert not list((filled / ".pypx").glob("*damaged*"))


class TestCheck:
    def test_bit_rot(self, filled: Path) -> None:
        with Archive(filled) as archive:
            path = Path(rows_of(archive)[2]["path"])
            whole = bytearray(path.read_bytes())
            whole[-10] ^= 1
            path.write_bytes(whole)
            assert archive.check().ok, "the size is the same"
            assert archive.check(checksums=True).damaged == (str(path.relative_to(filled)),)
            os.truncate(path, 100)
            assert archive.check().damaged == (str(path.relative_to(filled)),)

    def test_a_whole_folder_is_gone(self, filled: Path) -> None:
        with Archive(filled) as archive:
            shutil.rmtree(next(filled.glob("P2-*")))
            assert len(archive.check().missing) == 1
            assert len(archive.rebuild().missing) == 1 and archive.check().ok

    def test_what_disks_and_desktops_leave_is_passed_over(self, filled: Path) -> None:
        (filled / "lost+found").mkdir(mode=0)
        (filled / ".snapshot").mkdir()
        write_file(filled / ".snapshot", 99)
        (next(filled.glob("P2-*")) / "._x.dcm").write_bytes(b"AppleDouble")
        (next(filled.glob("P2-*")) / ".nfs0001").symlink_to("/nowhere")
        with Archive(filled) as archive:
            assert archive.check().ok and archive.rebuild().files == 7

    def test_a_folder_that_may_not_be_read(
        self, filled: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = os.scandir

        def scandir(path: Any) -> Any:
            if "P2-" in str(path):
                raise PermissionError(13, "Permission denied")
            return real(path)

        with Archive(filled) as archive:
            monkeypatch.setattr(os, "scandir", scandir)
            report = archive.check()
            assert len(report.strange) == 1 and report.files == 6 and not report.missing

    def test_a_name_that_is_no_text(self, filled: Path) -> None:
        try:
            (Path(os.fsdecode(bytes(filled) + b"/\xff\xfe.dcm"))).touch()
        except OSError:
            pytest.skip("names are text on this file system")
        with Archive(filled) as archive:
            assert len(archive.check().strange) == 1
            assert archive.rebuild().files == 7


class TestSweep:
    @pytest.fixture(autouse=True)
    def _later(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pypx.archive.archive._STARTED_NS", time.time_ns() + 10**12)

    def test_whole_files_are_stored_and_torn_ones_quarantined(self, filled: Path) -> None:
        incoming = filled / ".pypx/incoming"
        whole = write_file(filled.parent, 30).read_bytes()
        (incoming / "a.part").write_bytes(whole)
        (incoming / "b.part").write_bytes(whole[:-100])
        (incoming / "c.part").write_bytes(b"")
        (incoming / "d.part").write_bytes(write_file(filled.parent, 7).read_bytes())
        (incoming / "other").write_bytes(b"")
        with Archive(filled) as archive:
            located = archive.locate("1.2.3.4.30")
            assert located is not None and content(located.path) == data_set(30)
            assert "2 were whole" in archive.notes[0] and "1 were torn" in archive.notes[0]
            assert archive.check(checksums=True).ok and archive.sweep() == Swept(0, 0)
        (kept,) = (filled / ".pypx/quarantine").glob("*.dcm")
        assert kept.read_bytes() == whole[:-100]
        note = json.loads(kept.with_suffix(".json").read_text())
        assert "ended" in note["reason"]
        assert names(incoming) == ["other"]

    def test_what_a_process_left_that_died_while_it_probed_is_cleared(
        self, filled: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def killed(*args: object, **kwargs: object) -> None:
            raise KeyboardInterrupt

        fd = os.open(filled / ".pypx/incoming", os.O_RDONLY)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "unlink", killed)
            probe(fd)
        os.close(fd)
        assert len(names(filled / ".pypx/incoming")) == 1
        with Archive(filled) as archive:
            assert archive.notes == []
        assert names(filled / ".pypx/incoming") == []

    def test_files_in_use_are_left_alone(self, filled: Path) -> None:
        with other_way("LINK"), Archive(filled) as archive:
            meta = FileMeta(CT_IMAGE, "1.2.3.4.30", EXPLICIT_VR_LITTLE_ENDIAN)
            with archive.begin(meta) as incoming:
                incoming.write(data_set(30)[:100])
                with Archive(filled) as other:
                    assert other.notes == []
                assert len(names(filled / ".pypx/incoming")) == 1
            assert names(filled / ".pypx/incoming") == []

    def test_what_cannot_be_stored_now_is_left_for_later(
        self, filled: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        incoming = filled / ".pypx/incoming"
        for number in (30, 31):
            whole = write_file(filled.parent, number).read_bytes()
            (incoming / f"{number}.part").write_bytes(whole[: -(number % 30) or None])

        def full(*args: object, **kwargs: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("pypx.archive.tree.sync_file", full)
            before = len(names(Path("/dev/fd")))
            with Archive(filled) as archive:
                assert "could not be put in order" in archive.notes[0]
                assert len(rows_of(archive)) == 7
            assert len(names(Path("/dev/fd"))) == before
        assert names(incoming) == ["30.part", "31.part"]
        with Archive(filled) as archive:
            assert "1 were whole" in archive.notes[-1] and "1 were torn" in archive.notes[-1]
            assert archive.check().ok and len(rows_of(archive)) == 8
        assert names(incoming) == []

    def test_files_younger_than_the_process_are_left_alone(
        self, filled: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pypx.archive.archive._STARTED_NS", 0)
        (filled / ".pypx/incoming/a.part").write_bytes(b"x")
        with Archive(filled) as archive:
            assert archive.notes == []


class TestReconcile:
    def leave_a_mark(self, root: Path, since_ns: int) -> None:
        mark = root / ".pypx/running/1-dead"
        mark.touch()
        os.utime(mark, ns=(since_ns, since_ns))

    def test_what_was_stored_and_not_indexed(self, filled: Path) -> None:
        self.leave_a_mark(filled, time.time_ns())
        with Archive(filled) as archive:
            assert "0 objects" in archive.notes[0]
            paths = [Path(row["path"]) for row in rows_of(archive)]
            archive._index.forget([str(path.relative_to(filled)) for path in paths[:2]])
        self.leave_a_mark(filled, time.time_ns())
        with Archive(filled) as archive:
            assert "2 objects" in archive.notes[0] and archive.check().ok
        assert names(filled / ".pypx/running") == []

    def test_folders_that_did_not_change_are_not_looked_at(self, filled: Path) -> None:
        with Archive(filled) as archive:
            path = Path(rows_of(archive)[0]["path"])
            archive._index.forget([str(path.relative_to(filled))])
        os.utime(path.parent, (0, 0))
        self.leave_a_mark(filled, time.time_ns())
        with Archive(filled) as archive:
            assert archive.check().unindexed == (str(path.relative_to(filled)),)
        self.leave_a_mark(filled, 0)
        with Archive(filled) as archive:
            assert archive.check().ok

    def test_rows_of_files_that_are_gone(self, filled: Path) -> None:
        with Archive(filled) as archive:
            Path(rows_of(archive)[0]["path"]).unlink()
        self.leave_a_mark(filled, 0)
        with Archive(filled) as archive:
            assert archive.check().ok and len(rows_of(archive)) == 6

    def test_superseding_that_broke_off_and_took_the_index_along(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The new file has its name, the old one has not lost its own, and there are no rows."""
        with Archive(root) as archive:
            old = store(archive, 1)
            monkeypatch.setattr(Tree, "drop_retired", lambda *_: None)
            new = store(archive, 1, PatientID="0815")
            assert old.path.is_file() and new.path.is_file()
        monkeypatch.undo()
        for path in (root / ".pypx").glob("index.sqlite*"):
            path.unlink()
        self.leave_a_mark(root, 0)
        with Archive(root) as archive:
            report = archive.check()
            assert report.ok and not report.copies
            assert [row["PatientID"] for row in rows_of(archive)] == ["0815"]
        assert not old.path.exists() and new.path.is_file()
        assert data_set(1) in [content(path) for path in superseded(root)]

    def test_another_writer_is_alive(self, filled: Path) -> None:
        with Archive(filled) as archive:
            store(archive, 40)
            with Archive(filled) as other:
                assert other.notes == []
            assert len(names(filled / ".pypx/running")) == 1


def test_rows_become_durable_now_and_then(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a crash, only what came after the last time but one has to be looked for."""
    with Archive(root) as archive:
        opened = time.time_ns()
        store(archive, 1)
        (mark,) = (root / ".pypx/running").iterdir()
        archive._storage.sync_index()
        first = time.time_ns()
        store(archive, 2)
        archive._storage.sync_index()
        renewed = mark.stat().st_mtime_ns
        assert opened < renewed <= first
        monkeypatch.setattr(SqliteIndex, "sync", lambda self: False)
        archive._storage.sync_index()
        assert mark.stat().st_mtime_ns == renewed


STORE_UNTIL_KILLED = """
import sys
from pathlib import Path
from pypx.archive import Archive
from tests.archive.helpers import store
archive = Archive(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    store(archive, number % 40, PatientID=str(number // 120), SeriesInstanceUID=f"1.{number % 3}")
    print(number, flush=True)
"""


@pytest.mark.parametrize("way", ["TMPFILE", "LINK"])
def test_processes_that_are_killed_lose_nothing(root: Path, way: str) -> None:
    """Two writers at once, killed at some moment: what they acknowledged is there."""
    prefix = "" if way == "TMPFILE" else "import pypx.archive.files as f; f._TMPFILE = 0\n"
    with Archive(root) as archive:
        store(archive, 1000)
    command = [sys.executable, "-c", prefix + STORE_UNTIL_KILLED, str(root)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    acknowledged = 0
    for wanted, process in zip((150, 60), processes, strict=True):
        assert process.stdout is not None
        for line in process.stdout:
            acknowledged = max(acknowledged, int(line))
            if int(line) >= wanted:
                process.send_signal(signal.SIGKILL)
                break
    for process in processes:
        process.stdout.close()  # type: ignore[union-attr]
        process.wait(10)
    with Archive(root) as archive:
        uids = {row["SOPInstanceUID"] for row in rows_of(archive)}
        assert {f"1.2.3.4.{number % 40}" for number in range(1, acknowledged + 1)} <= uids
        report = archive.check(checksums=True)
        assert report.ok and not report.copies
        assert names(root / ".pypx/incoming") == [] or way == "LINK"
        with_row = {str(Path(row["path"]).relative_to(root)) for row in rows_of(archive)}
        assert with_row == set(files_of(root))
