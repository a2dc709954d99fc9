"""What is found below paths, and what is passed over."""

from __future__ import annotations

import os
from pathlib import Path

from pypx.client.sources import Unsendable, in_files, walk
from pypx.client.store import Instance
from pypx.dicom.part10 import FileMeta, encode_preamble_and_meta
from pypx.errors import ArchiveError, DataSetError, NotDicomError
from tests.objects import write_file


def found(*paths: Path) -> list[str | Unsendable]:
    return list(walk([str(path) for path in paths]))


def test_folders_are_read_to_the_bottom_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a", "c/d/e"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert found(tmp_path) == [f"{tmp_path}/{name}" for name in ("a", "b/1", "b/2", "c/d/e")]
    assert found(tmp_path / "c", tmp_path / "a") == [f"{tmp_path}/c/d/e", f"{tmp_path}/a"]


def test_hidden_names_and_dicomdir_are_passed_over(tmp_path: Path) -> None:
    for name in (".DS_Store", "DICOMDIR", "dicomdir", "x"):
        (tmp_path / name).touch()
    (tmp_path / ".pypx").mkdir()
    (tmp_path / ".pypx" / "y").touch()
    over: list[str] = []
    assert list(walk([str(tmp_path)], over.append)) == [f"{tmp_path}/x"]
    names = {".DS_Store", ".pypx", "DICOMDIR", "dicomdir"}
    assert {Path(path).name for path in over} == names


def test_a_folder_is_entered_once_whatever_leads_to_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "file").symlink_to(tmp_path / "a" / "x")
    assert found(tmp_path) == [f"{tmp_path}/a/x", f"{tmp_path}/file"]
    assert found(tmp_path / "link", tmp_path / "a") == [
        f"{tmp_path}/link/loop/file",
        f"{tmp_path}/link/x",
    ]


def test_a_pipe_is_not_opened_and_a_broken_link_is_a_failure(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "away").symlink_to(tmp_path / "nowhere")
    away, pipe = in_files([str(tmp_path)])
    assert isinstance(pipe, Unsendable)
    assert isinstance(pipe.error, NotDicomError)
    assert isinstance(away, Unsendable)
    assert isinstance(away.error, ArchiveError)


def test_a_file_that_is_gone_or_a_folder_that_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    files = in_files([str(tmp_path / "gone")])
    assert [isinstance(one, Unsendable) and type(one.error) for one in files] == [ArchiveError]


def test_names_of_any_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe\x1b[31m\n.dcm")
    write_file(tmp_path, 1).rename(tmp_path / name)
    (instance,) = in_files([str(tmp_path)])
    assert isinstance(instance, Instance)
    assert instance.path.name == name


def test_torn_files_are_failures_and_others_none_of_ours(tmp_path: Path) -> None:
    whole = write_file(tmp_path, 1)
    data = whole.read_bytes()
    offset = Instance.from_file(whole).data_set_offset
    cases = {
        "2-in-the-meta": data[:180],
        "3-no-data-set": data[:offset],
        "4-empty": b"",
        "5-short": data[:100],
        "6-text": b"not an image\n" * 100,
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    errors = [type(one.error) for one in in_files([str(tmp_path)]) if isinstance(one, Unsendable)]
    assert errors == [DataSetError] * 2 + [NotDicomError] * 3


def test_a_deflated_stream_is_made_even_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "odd"
    for syntax, added in (("1.2.840.10008.1.2.1.99", b"\0"), ("1.2.840.10008.1.2.1", b"")):
        meta = FileMeta("1.2", "1.3", syntax)
        path.write_bytes(encode_preamble_and_meta(meta) + b"odd")
        pieces = list(Instance.from_file(path).pieces())
        assert pieces == [(b"odd" + added, True)]


def test_a_dicomdir_under_another_name_is_passed_over(tmp_path: Path) -> None:
    write_file(tmp_path, 1, SOPClassUID="1.2.840.10008.1.3.10")
    (one,) = in_files([str(tmp_path)])
    assert isinstance(one, Unsendable)
    assert isinstance(one.error, NotDicomError)


def test_a_small_file_is_read_once(tmp_path: Path) -> None:
    small, large = write_file(tmp_path, 1), write_file(tmp_path, 2, PixelData=bytes(70_000))
    for path in (small, large):
        assert Instance.from_file(path).data_set is None
    kept, read_later = in_files([str(tmp_path)])
    assert isinstance(kept, Instance)
    assert isinstance(read_later, Instance)
    assert read_later.data_set is None
    whole = small.read_bytes()[kept.data_set_offset :]
    small.unlink()
    assert list(kept.pieces()) == [(whole, True)]
    assert b"Doe" in whole
    assert "Doe" not in repr(kept)


def test_a_large_file_comes_in_pieces(tmp_path: Path) -> None:
    path = write_file(tmp_path, 1, PixelData=bytes(range(256)) * 2048)
    instance = Instance.from_file(path)
    pieces = [(bytes(piece), is_last) for piece, is_last in instance.pieces()]
    assert b"".join(piece for piece, _ in pieces) == path.read_bytes()[instance.data_set_offset :]
    assert [is_last for _, is_last in pieces] == [False] * (len(pieces) - 1) + [True]
    assert len(pieces) > 3
