"""``px index``: the index made again, and files taken in."""

from __future__ import annotations

import csv
import errno
import io
import os
import shutil
import signal
from pathlib import Path

import pytest

from pypx.archive import Archive, ingest
from pypx.errors import ArchiveFullError
from tests.archive.helpers import store
from tests.cli.conftest import Px
from tests.objects import write_file


@pytest.fixture
def root(home: Path) -> Path:
    with Archive(home / "pypx", durability="none") as archive:
        for number in (1, 2, 3):
            store(archive, number)
    return home / "pypx"


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    """Give a disc as hospitals burn them: two images, a DICOMDIR, a text and rubbish."""
    disc = tmp_path / "disc"
    (disc / "IMAGES" / "A").mkdir(parents=True)
    (disc / ".Trash").mkdir()
    write_file(disc / "IMAGES", 11)
    write_file(disc / "IMAGES" / "A", 12)
    write_file(disc / ".Trash", 13)
    (disc / "DICOMDIR").write_bytes(b"a directory")
    (disc / "README.TXT").write_text("Insert the disc.")
    return disc


def number_of_images(px: Px) -> int:
    return len(px("ls", "--level", "image", "--jsonl").rows)


# rebuild


def test_a_deleted_index_is_made_again(px: Px, root: Path) -> None:
    before = px("ls", "--level", "image", "--json").json
    for path in (root / ".pypx").glob("index.sqlite*"):
        path.unlink()
    ran = px("index", "rebuild")
    assert ran.code == 0
    assert "3 files indexed." in ran.err
    assert px("ls", "--level", "image", "--json").json == before


def test_a_tree_without_its_meta_folder(px: Px, root: Path) -> None:
    shutil.rmtree(root / ".pypx")
    assert px("index", "rebuild", "-q").code == 0
    assert number_of_images(px) == 3
    assert px("verify", "-q").code == 0


def test_a_damaged_index_is_kept_aside(px: Px, root: Path) -> None:
    (root / ".pypx/index.sqlite").write_bytes(b"rubbish" * 1000)
    ran = px("index", "rebuild")
    assert ran.code == 0
    assert "The index was damaged" in ran.err
    assert list((root / ".pypx").glob("index.sqlite.damaged-*"))


def test_rebuild_says_what_it_found(px: Px, root: Path) -> None:
    one, two, three = sorted(root.rglob("*.dcm"))
    one.unlink()
    two.write_bytes(b"torn")
    shutil.copyfile(three, root / "copy.dcm")
    (root / "link.dcm").symlink_to(three)
    ran = px("index", "rebuild", "--json")
    assert ran.code == 1
    document = ran.json
    assert document.pop("seconds") >= 0
    (copy,) = document.pop("copies")
    assert copy in (str(three), str(root / "copy.dcm"))
    assert document == {
        "status": "failure",
        "files": 3,
        "damaged": [str(two)],
        "strange": [str(root / "link.dcm")],
        "removed": [str(one)],
    }
    text = px("index", "rebuild")
    assert text.code == 1
    assert str(two) in text.out
    assert "1 file indexed." in text.err


def test_rebuild_without_an_archive(px: Px, home: Path) -> None:
    assert px("index", "rebuild").code == 2
    assert not (home / "pypx").exists()


# import


def test_folders_with_all_below_them(px: Px, disc: Path) -> None:
    ran = px("index", "import", disc)
    assert ran.code == 1
    assert str(disc / "README.TXT") in ran.out
    assert "DICOMDIR" not in ran.out
    assert "2 files taken in" in ran.err
    assert "1 refused" in ran.err
    assert number_of_images(px) == 2
    assert px("verify", "-q").code == 0


def test_files_come_in_once(px: Px, disc: Path) -> None:
    (disc / "README.TXT").unlink()
    first = px("index", "import", disc, "--json")
    assert first.code == 0
    again = px("index", "import", disc / "IMAGES", disc / "IMAGES" / "11.dcm", "--json")
    document = again.json
    assert document.pop("seconds") >= 0
    assert again.code == 0
    assert document == {
        "status": "success",
        "files": 3,
        "new": 0,
        "duplicate": 3,
        "superseded": 0,
        "passed_over": 0,
        "bytes": 0,
        "refused": [],
    }
    assert px("index", "import", disc).err == "nothing new, 2 here already, 1 passed over.\n"


def test_rows_of_what_became_of_each(px: Px, root: Path, disc: Path) -> None:
    other = write_file(disc, 1, PatientID="other")
    ran = px("index", "import", disc, "--jsonl")
    assert ran.code == 1
    by_name = {Path(row["path"]).name: row for row in ran.rows}
    assert {name: row["outcome"] for name, row in by_name.items()} == {
        "11.dcm": "new",
        "12.dcm": "new",
        "1.dcm": "superseded",
        "README.TXT": "refused",
    }
    row = by_name["1.dcm"]
    assert (row["path"], row["sop_instance_uid"]) == (str(other), "1.2.3.4.1")
    assert Path(row["stored"]).stat().st_size == row["bytes"]
    assert by_name["README.TXT"]["reason"]
    assert len(list(csv.DictReader(io.StringIO(px("index", "import", disc, "--csv").out)))) == 4


@pytest.mark.parametrize("what", ["nothing", "pipe", "empty", "torn"])
def test_refused_with_a_reason(px: Px, tmp_path: Path, what: str) -> None:
    path = tmp_path / "in.dcm"
    match what:
        case "pipe":
            os.mkfifo(path)
        case "empty":
            path.touch()
        case "torn":
            whole = write_file(tmp_path, 5)
            path.write_bytes(whole.read_bytes()[:-9])
    ran = px("index", "import", path, "--json")
    assert ran.code == 1
    (refused,) = ran.json["refused"]
    assert refused["path"] == str(path)
    assert refused["error"]["message"]
    assert number_of_images(px) == 0


def test_a_file_inside_the_tree_is_indexed_where_it_is(px: Px, root: Path) -> None:
    path = write_file(root, 8)
    ran = px("index", "import", root, "--jsonl")
    assert ran.code == 0
    (row,) = [row for row in ran.rows if row["sop_instance_uid"] == "1.2.3.4.8"]
    assert (row["outcome"], row["stored"]) == ("new", str(path))
    assert px("verify", "-q").code == 0


def test_a_full_disk_ends_it(
    px: Px, root: Path, disc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise ArchiveFullError(f"The archive could not store: {os.strerror(errno.ENOSPC)}.")

    monkeypatch.setattr(ingest, "add_file", full)
    ran = px("index", "import", disc, "--json")
    assert ran.code == 5
    assert ran.json["error"]["kind"] == "archive-full"
    assert ran.json["status"] == "failure"


def test_ctrl_c_ends_after_the_file_under_way(
    px: Px, disc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ingest.add_file

    def interrupted(*args: object) -> object:
        signal.raise_signal(signal.SIGINT)
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(ingest, "add_file", interrupted)
    ran = px("index", "import", disc, "--json")
    assert ran.code == 130
    assert (ran.json["status"], ran.json["new"] + len(ran.json["refused"])) == ("cancelled", 1)


def test_import_needs_a_path(px: Px) -> None:
    ran = px("index", "import")
    assert ran.code == 2
    assert "PATH" in ran.err
