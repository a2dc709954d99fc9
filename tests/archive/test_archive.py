"""The face of the archive: opening it, searching it, and finding what to send."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pypx.archive import Archive, Level
from pypx.dicom.header import INDEX_TAGS
from pypx.dicom.part10 import FileMeta
from pypx.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from pypx.errors import ArchiveError, ConfigError, IndexUnavailableError
from tests.archive.helpers import begin, content, files_of, header_of, rows_of, store
from tests.objects import CT_IMAGE, data_set


@pytest.fixture
def root(in_memory: Path) -> Path:
    return in_memory / "archive"


@pytest.fixture
def archive(root: Path) -> Iterator[Archive]:
    with Archive(root) as archive:
        yield archive


class TestOpening:
    def test_it_is_made_where_it_is_missing(self, tmp_path: Path) -> None:
        root = tmp_path / "a/b/c"
        with Archive(str(root)) as archive:
            assert archive.root == root and archive.notes == []
        assert root.stat().st_mode & 0o777 == 0o750
        assert sorted(path.name for path in (root / ".pypx").iterdir()) == [
            *("incoming", "index.sqlite", "lock", "log", "quarantine", "running", "superseded"),
        ]

    def test_or_not(self, root: Path) -> None:
        root.mkdir()
        for options in ({"create": False}, {"read_only": True}):
            with pytest.raises(ArchiveError, match="no archive"):
                Archive(root, **options)  # type: ignore[arg-type]
        assert list(root.iterdir()) == []

    def test_a_file_in_its_place(self, root: Path) -> None:
        root.write_bytes(b"")
        with pytest.raises(ArchiveError):
            Archive(root)
        root.unlink()
        root.mkdir()
        (root / ".pypx").symlink_to("/etc")
        with pytest.raises(ArchiveError) as caught:
            Archive(root)
        assert "link" in caught.value.hint

    @pytest.mark.parametrize(
        ("options", "says"),
        [({"layout": "nice"}, "no layout"), ({"durability": "some"}, "no durability")],
    )
    def test_a_wrong_option_touches_nothing(
        self, root: Path, options: dict[str, str], says: str
    ) -> None:
        with pytest.raises(ConfigError, match=says):
            Archive(root, **options)  # type: ignore[arg-type]
        assert not root.exists()

    def test_what_was_stored_is_there_the_next_time(self, root: Path) -> None:
        with Archive(root) as archive:
            store(archive, 1)
            before = rows_of(archive)
        archive.close()
        with Archive(root, create=False) as archive:
            assert rows_of(archive) == before and archive.notes == []

    def test_another_layout_the_next_time(self, root: Path) -> None:
        with Archive(root) as archive:
            first = store(archive, 1)
        with Archive(root, layout="uid") as archive:
            assert store(archive, 1).path == first.path, "what is there stays where it is"
            second = store(archive, 2)
            assert second.path == root / "1.2.3/1.2.3.4/1.2.3.4.2.dcm"
            assert archive.check().ok and archive.rebuild().ok and len(rows_of(archive)) == 2

    def test_reading_only(self, root: Path) -> None:
        with Archive(root) as archive:
            stored = store(archive, 1)
        before = sorted(path.name for path in root.rglob("*"))
        with Archive(root, read_only=True) as archive:
            assert len(list(archive.find())) == 1 and archive.check(checksums=True).ok
            located = archive.locate("1.2.3.4.1")
            assert located is not None and located.path == stored.path
            for call in (
                lambda: begin(archive, 2),
                lambda: archive.add_file(stored.path),
                archive.rebuild,
                archive.sweep,
            ):
                with pytest.raises(ArchiveError, match="read-only"):
                    call()
        after = sorted(path.name for path in root.rglob("*"))
        assert [name for name in after if "sqlite-" not in name] == before

    def test_reading_only_without_an_index(self, root: Path) -> None:
        Archive(root).close()
        (root / ".pypx/index.sqlite").unlink()
        with pytest.raises(IndexUnavailableError, match="no index"):
            Archive(root, read_only=True)
        (root / ".pypx/index.sqlite").write_bytes(b"no database" * 100)
        with pytest.raises(IndexUnavailableError, match="damaged"):
            Archive(root, read_only=True)

    def test_room_that_is_left(self, archive: Archive) -> None:
        assert archive.free_bytes() > 0


def test_sqlite_is_loaded_with_the_archive_only() -> None:
    code = (
        "import sys, pypx, pypx.errors, pypx.address; assert 'sqlite3' not in sys.modules;"
        "import pypx.archive; assert 'sqlite3' in sys.modules;"
        "heavy = {'pydicom', 'asyncio', 'logging', 'json', 'hashlib', 'rich'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def filled(archive: Archive) -> Archive:
    for number in range(1, 5):
        store(archive, number, SeriesInstanceUID=f"1.2.3.{1 + number % 2}", Modality="CT")
    store(archive, 5, SeriesInstanceUID="1.2.3.9", Modality="SR")
    store(archive, 6, PatientID="P2", PatientName="Roe^R", StudyInstanceUID="1.9", StudyDate="")
    return archive


class TestFind:
    @pytest.mark.parametrize(
        ("level", "count"), [("patient", 2), ("study", 2), ("series", 4), ("image", 6)]
    )
    def test_every_level(self, filled: Archive, level: str, count: int) -> None:
        rows = list(filled.find(level))
        assert len(rows) == count == len(list(filled.find(Level(level), {})))
        assert sum(int(str(row["instances"])) for row in rows) == 6
        total = sum(path.stat().st_size for path in filled.root.glob("*/*/*/*.dcm"))
        assert sum(int(str(row["bytes"])) for row in rows) == total

    def test_the_path_is_that_of_the_level(self, filled: Archive) -> None:
        for depth, level in enumerate(Level, 1):
            for row in filled.find(level):
                path = Path(str(row["path"]))
                assert path.exists() and len(path.relative_to(filled.root).parts) == depth
        (study,) = filled.find("study", {"PatientID": "4711"})
        assert len(list(Path(str(study["path"])).glob("*/*.dcm"))) == 5

    def test_a_layout_without_folders_of_patients(self, root: Path) -> None:
        with Archive(root, layout="uid") as archive:
            store(archive, 1)
            assert next(archive.find("patient"))["path"] is None
            assert next(archive.find("study"))["path"] == str(root / "1.2.3")

    def test_the_study_as_the_surface_shows_it(self, filled: Archive) -> None:
        (row,) = filled.find("study", {"PatientName": "doe*", "ModalitiesInStudy": "SR"})
        assert row["ModalitiesInStudy"] == ["CT", "SR"] and row["instances"] == 5
        assert row["NumberOfStudyRelatedSeries"] == "3"
        assert row["AccessionNumber"] is None and row["StudyDate"] == "20240131"

    def test_mistakes_are_told_before_the_first_row(self, filled: Archive) -> None:
        with pytest.raises(ConfigError, match="no level"):
            filled.find("instance")
        with pytest.raises(ConfigError, match="PatinetID"):
            filled.find("study", {"PatinetID": "x"})

    def test_it_streams(self, filled: Archive) -> None:
        rows = filled.find("image")
        first = next(rows)
        assert first["SOPInstanceUID"] == "1.2.3.4.1"
        assert store(filled, 7).outcome == "new"


class TestLocate:
    def test_where_the_data_set_is(self, filled: Archive) -> None:
        located = filled.locate("1.2.3.4.5")
        assert located is not None and located.meta.sop_instance_uid == "1.2.3.4.5"
        assert located.meta.transfer_syntax_uid == "1.2.840.10008.1.2.1"
        assert located.meta.sop_class_uid == "1.2.840.10008.5.1.4.1.1.2"
        with located.path.open("rb") as file:
            file.seek(located.data_set_offset)
            sent = file.read()
        assert len(sent) == located.size
        assert sent == data_set(5, SeriesInstanceUID="1.2.3.9", Modality="SR")
        assert filled.locate("1.2.3") is None

    def test_what_a_move_has_to_send(self, filled: Archive) -> None:
        keys = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1\\1.2.3.2"}
        found = list(filled.instances(keys))
        assert sorted(one.meta.sop_instance_uid[-1] for one in found) == list("1234")
        assert all(len(content(one.path)) == one.size for one in found)
        assert len(list(filled.instances())) == 6
        with pytest.raises(ConfigError):
            filled.instances({"What": ""})


def test_the_tags_that_a_receiver_has_to_look_for(archive: Archive, tmp_path: Path) -> None:
    assert archive.header_tags >= INDEX_TAGS
    layout = "{ProtocolName}/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"
    with Archive(tmp_path / "other", layout=layout) as other:
        assert other.header_tags == archive.header_tags | {0x00181030}


def test_hostile_texts_are_stored_and_found(archive: Archive, root: Path) -> None:
    texts = {
        "PatientName": "'; DROP TABLE instance; --",
        "PatientID": "%_*?[",
        "StudyDescription": "x" * 5000,
        "AccessionNumber": "a\tb",
        "SeriesDescription": "\u202egnp.exe",
        "StudyDate": "yesterday",
        "InstanceNumber": "..",
    }
    stored = store(archive, 1, **{k: v for k, v in texts.items() if k != "InstanceNumber"})
    (row,) = archive.find("image", {"PatientName": "'; drop table*"})
    assert row["PatientID"] == "%_*?[" and len(str(row["StudyDescription"])) == 1024
    assert stored.path.resolve().is_relative_to(root)
    assert files_of(root) == [os.path.relpath(stored.path, root)]
    before = rows_of(archive)
    assert archive.rebuild().ok and rows_of(archive) == before


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "StudyInstanceUID", "Modality"])
@pytest.mark.parametrize("vr", [b"OB", b"UN", b"US", b"SQ"])
def test_a_wrong_vr_is_stored_as_it_is(archive: Archive, keyword: str, vr: bytes) -> None:
    data = data_set(1, **{keyword: "1.2"})
    tag = {
        "PatientID": b"\x10\x00\x20\x00",
        "PatientName": b"\x10\x00\x10\x00",
        "StudyInstanceUID": b"\x20\x00\x0d\x00",
        "Modality": b"\x08\x00\x60\x00",
    }[keyword]
    start = data.index(tag)
    length = data[start + 6]
    value = b"" if vr == b"SQ" else data[start + 8 : start + 8 + length]
    head = tag + vr
    if vr == b"US":
        head += len(value).to_bytes(2, "little")
    else:
        head += b"\0\0" + len(value).to_bytes(4, "little")
    data = data[:start] + head + value + data[start + 8 + length :]
    with begin(archive, 1) as incoming:
        incoming.write(data)
        stored = incoming.commit(header_of(archive, data))
    assert content(stored.path) == data
    before = rows_of(archive)
    assert archive.rebuild().ok and rows_of(archive) == before


@pytest.mark.parametrize("padding", [" ", "\0"])
def test_padding_of_an_announced_uid_is_no_part_of_it(archive: Archive, padding: str) -> None:
    meta = FileMeta(f"{CT_IMAGE}{padding}", f"1.2.3.4.1{padding}", EXPLICIT_VR_LITTLE_ENDIAN)
    with archive.begin(meta) as incoming:
        assert (incoming.meta.sop_class_uid, incoming.meta.sop_instance_uid) == (
            CT_IMAGE,
            "1.2.3.4.1",
        )
        incoming.write(data_set(1))
        stored = incoming.commit(header_of(archive, data_set(1)))
    assert stored.sop_instance_uid == "1.2.3.4.1"


def test_how_long_an_object_waits_for_the_index_is_a_matter_of_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("pypx.archive.index_sqlite.time.sleep", slept.append)
    root = tmp_path / "archive"
    with Archive(root, index_wait=0.0) as archive:
        store(archive, 1)
        other = sqlite3.connect(root / ".pypx/index.sqlite", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        stored = store(archive, 2)
        assert not stored.indexed and stored.path.is_file() and archive.waiting == 1
        assert slept == []
        other.execute("ROLLBACK")
        other.close()
        assert store(archive, 3).indexed and archive.waiting == 0
