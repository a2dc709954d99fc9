"""The write protocol, step by step, in its three ways."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pypx.archive import files
from pypx.archive.files import (
    Publication,
    TempFile,
    archive_error,
    make_folder,
    open_file,
    open_folder,
    probe,
    write_all,
)
from pypx.errors import ArchiveError, ArchiveFullError
from tests.archive.helpers import other_way

WAYS = list(Publication)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    for name in ("incoming", "tree"):
        (tmp_path / name).mkdir()
    fd = os.open(tmp_path / "incoming", os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def tree(tmp_path: Path, folder: int) -> Iterator[int]:
    fd = os.open(tmp_path / "tree", os.O_RDONLY)
    yield fd
    os.close(fd)


def names(fd: int) -> list[str]:
    return sorted(os.listdir(fd))


@pytest.mark.parametrize("way", WAYS)
class TestTempFile:
    def test_it_is_published_whole_and_leaves_nothing_behind(
        self, way: Publication, folder: int, tree: int, tmp_path: Path
    ) -> None:
        temp = TempFile.create(folder, way)
        write_all(temp.fd, [b"abc", memoryview(b"def")])
        assert names(tree) == []
        temp.publish(tree, "x.dcm")
        temp.close()
        assert names(tree) == ["x.dcm"] and names(folder) == []
        assert (tmp_path / "tree/x.dcm").read_bytes() == b"abcdef"
        assert (tmp_path / "tree/x.dcm").stat().st_nlink == 1

    def test_a_name_that_is_taken_is_not_taken_over(
        self, way: Publication, folder: int, tree: int, tmp_path: Path
    ) -> None:
        (tmp_path / "tree/x.dcm").write_bytes(b"old")
        temp = TempFile.create(folder, way)
        write_all(temp.fd, [b"new"])
        with pytest.raises(FileExistsError):
            temp.publish(tree, "x.dcm")
        temp.close()
        assert (tmp_path / "tree/x.dcm").read_bytes() == b"old"
        assert names(tree) == ["x.dcm"] and names(folder) == []

    def test_a_link_in_its_place_is_a_name_that_is_taken(
        self, way: Publication, folder: int, tree: int, tmp_path: Path
    ) -> None:
        (tmp_path / "tree/x.dcm").symlink_to(tmp_path / "outside")
        temp = TempFile.create(folder, way)
        with pytest.raises(FileExistsError):
            temp.publish(tree, "x.dcm")
        temp.close()
        assert not (tmp_path / "outside").exists()

    def test_it_replaces_in_one_step(
        self, way: Publication, folder: int, tree: int, tmp_path: Path
    ) -> None:
        (tmp_path / "tree/x.dcm").write_bytes(b"old")
        os.link(tmp_path / "tree/x.dcm", tmp_path / "kept")
        temp = TempFile.create(folder, way)
        write_all(temp.fd, [b"new"])
        temp.replace(tree, "x.dcm")
        temp.close()
        assert (tmp_path / "tree/x.dcm").read_bytes() == b"new"
        assert (tmp_path / "kept").read_bytes() == b"old"
        assert names(folder) == []

    def test_what_is_given_up_leaves_nothing(self, way: Publication, folder: int) -> None:
        temp = TempFile.create(folder, way)
        write_all(temp.fd, [b"abc"])
        temp.close()
        temp.close()
        assert names(folder) == []

    @pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277])
    def test_the_mode_does_not_depend_on_the_umask(
        self, way: Publication, umask: int, folder: int, tree: int, tmp_path: Path
    ) -> None:
        before = os.umask(umask)
        try:
            temp = TempFile.create(folder, way)
            temp.publish(tree, "x.dcm")
            temp.close()
            os.close(make_folder(tree, "sub"))
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "tree/x.dcm").stat().st_mode) == 0o640
        assert stat.S_IMODE((tmp_path / "tree/sub").stat().st_mode) == 0o750


def test_renaming_gives_its_empty_file_back_when_it_fails(
    folder: int, tree: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    temp = TempFile.create(folder, Publication.RENAME)

    def rename(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(OSError, match="I/O error"):
        temp.publish(tree, "x.dcm")
    temp.close()
    assert names(tree) == [] and names(folder) == []


@pytest.mark.parametrize("way", ["TMPFILE", "LINK", "RENAME"])
def test_the_way_is_found_by_trying(way: str, folder: int) -> None:
    with other_way(way):
        assert probe(folder) is Publication[way]
    assert names(folder) == []


def test_no_proc_means_no_unnamed_files(folder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def link(source: str, *args: object, **kwargs: object) -> None:
        if source.startswith("/proc"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        real(source, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", link)
    assert probe(folder) is Publication.LINK


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EMFILE])
def test_a_disk_that_cannot_be_written_is_no_way_at_all(
    number: int, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError) as caught:
        probe(folder)
    assert caught.value.errno == number


@pytest.mark.parametrize("most", [1, 2, 3, 7, 100])
def test_short_writes_are_continued(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, view: real(fd, memoryview(view)[:most]))
    monkeypatch.setattr(os, "writev", lambda fd, views: real(fd, memoryview(views[0])[:most]))
    path = tmp_path / "x"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    assert write_all(fd, [b"abcdefgh", memoryview(b"ijk"), b"", b"lm"]) == 13
    assert write_all(fd, [b"nop"]) == 3
    os.close(fd)
    assert path.read_bytes() == b"abcdefghijklmnop"


def test_more_views_than_the_system_takes_at_once(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "x", os.O_CREAT | os.O_WRONLY)
    assert write_all(fd, [b"ab"] * 3000) == 6000
    os.close(fd)
    assert (tmp_path / "x").read_bytes() == b"ab" * 3000


@pytest.mark.parametrize(
    ("number", "kind", "status"),
    [
        (errno.ENOSPC, ArchiveFullError, 0xA700),
        (errno.EDQUOT, ArchiveFullError, 0xA700),
        (errno.EFBIG, ArchiveFullError, 0xA700),
        (errno.EROFS, ArchiveError, 0xA700),
        (errno.EIO, ArchiveError, 0xA700),
        (errno.EACCES, ArchiveError, 0xA700),
        (errno.ELOOP, ArchiveError, 0xA700),
    ],
)
def test_an_error_of_the_system_becomes_one_of_ours(
    number: int, kind: type[ArchiveError], status: int
) -> None:
    error = archive_error(OSError(number, os.strerror(number), "/a/Doe_John/x"), "store it")
    assert type(error) is kind and error.dimse_status == status and error.exit_code == 5
    assert "could not store it" in error.message and error.hint
    assert "Doe" not in error.message + error.hint


def test_an_error_without_a_number_still_has_a_sentence() -> None:
    assert archive_error(OSError("odd"), "store it").message.endswith(": OSError.")


def test_links_and_files_are_no_folders(tree: int, tmp_path: Path) -> None:
    (tmp_path / "tree/link").symlink_to(tmp_path)
    (tmp_path / "tree/file").touch()
    for name in ("link", "file"):
        with pytest.raises(OSError) as caught:
            open_folder(tree, name)
        assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR)
        with pytest.raises(OSError):
            make_folder(tree, name)


def test_only_regular_files_are_opened_and_nothing_hangs(tree: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tree/pipe")
    (tmp_path / "tree/folder").mkdir()
    (tmp_path / "tree/link").symlink_to(tmp_path / "tree/file")
    (tmp_path / "tree/file").touch()
    for name in ("pipe", "folder", "link", "missing"):
        with pytest.raises(OSError):
            open_file(tree, name)
    os.close(open_file(tree, "file"))


def test_macos_syncs_past_the_cache_of_the_drive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    monkeypatch.setattr(files, "_F_FULLFSYNC", 51)
    monkeypatch.setattr(files.fcntl, "fcntl", lambda fd, command: calls.append(command))
    files.sync_file(0)
    assert calls == [51]

    def unsupported(fd: int, command: int) -> None:
        raise OSError(errno.ENOTSUP, "no")

    monkeypatch.setattr(files.fcntl, "fcntl", unsupported)
    monkeypatch.delattr(os, "fdatasync", raising=False)
    monkeypatch.setattr(os, "fsync", calls.append)
    files.sync_file(7)
    assert calls == [51, 7]
