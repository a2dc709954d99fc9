"""``px verify``: what happened to files behind the archive's back."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pypx.archive import Archive
from tests.archive.helpers import store
from tests.cli.conftest import Px
from tests.objects import write_file

KINDS = ["missing", "damaged", "unindexed", "strange", "copies"]


@pytest.fixture
def root(home: Path) -> Path:
    """Give an archive of three images, at the place where px looks for it."""
    with Archive(home / "pypx", durability="none") as archive:
        for number in (1, 2, 3):
            store(archive, number)
    return home / "pypx"


def image(root: Path, number: int) -> Path:
    (path,) = root.rglob(f"*-1.2.3.4.{number}.dcm")
    return path


def flip_a_bit(root: Path) -> Path:
    path = image(root, 2)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return path


def cut(root: Path) -> Path:
    path = image(root, 2)
    path.write_bytes(path.read_bytes()[:-1])
    return path


def remove(root: Path) -> Path:
    path = image(root, 2)
    path.unlink()
    return path


def remove_all(root: Path) -> Path:
    path = remove(root)
    for number in (1, 3):
        image(root, number).unlink()
    path.parent.rmdir()
    return path


def add(root: Path) -> Path:
    return write_file(root, 7)


def add_garbage(root: Path) -> Path:
    path = root / "garbage.dcm"
    path.write_bytes(b"no DICOM")
    return path


def add_a_link(root: Path) -> Path:
    path = root / "link.dcm"
    path.symlink_to(image(root, 1))
    return path


CASES = {
    "damaged": [flip_a_bit, cut, add_garbage],
    "missing": [remove],
    "unindexed": [add],
    "strange": [add_a_link],
}


@pytest.mark.parametrize("form", [(), ("--no-checksums",)])
def test_all_is_well(px: Px, root: Path, form: tuple[str, ...]) -> None:
    ran = px("verify", *form)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.startswith("3 files, all ")
    document = px("verify", "--json", *form).json
    assert document.pop("seconds") >= 0
    assert document == {"status": "success", "files": 3, **{kind: [] for kind in KINDS}}


@pytest.mark.parametrize(
    ("kind", "happens"), [(kind, one) for kind, several in CASES.items() for one in several]
)
def test_exactly_what_happened_is_reported(
    px: Px, root: Path, kind: str, happens: Callable[[Path], Path]
) -> None:
    path = happens(root)
    ran = px("verify", "--json")
    assert ran.code == 1
    document = ran.json
    assert document["status"] == "failure"
    assert {name: document[name] for name in KINDS} == {
        name: [str(path)] if name == kind else [] for name in KINDS
    }
    assert px("verify", "--jsonl").rows == [{"problem": kind, "path": str(path)}]
    text = px("verify")
    assert text.code == 1
    assert text.out.splitlines()[1].split() == [kind, *str(path).split()]
    assert "hint: " in text.err
    (row,) = csv.DictReader(io.StringIO(px("verify", "--csv").out))
    assert row == {"problem": kind, "path": str(path)}


def test_a_whole_folder_that_is_gone(px: Px, root: Path) -> None:
    remove_all(root)
    assert len(px("verify", "--json").json["missing"]) == 3


def test_without_checksums_bit_rot_goes_unseen(px: Px, root: Path) -> None:
    flip_a_bit(root)
    assert px("verify", "--no-checksums").code == 0
    cut(root)
    assert px("verify", "--no-checksums").code == 1


def test_a_copy_is_told_and_is_no_harm(px: Px, root: Path) -> None:
    copy = root / "copy.dcm"
    copy.write_bytes(image(root, 1).read_bytes())
    ran = px("verify", "--json")
    assert (ran.code, ran.json["copies"]) == (0, [str(copy)])


def test_a_new_index_makes_the_archive_whole(px: Px, root: Path) -> None:
    add(root)
    remove(root)
    assert px("verify", "-q").code == 1
    assert px("index", "rebuild", "-q").code == 0
    assert px("verify", "-q").code == 0


def test_on_a_terminal_a_bar_moves(px: Px, root: Path) -> None:
    ran = px("verify", terminal=True)
    assert ran.code == 0
    assert "3 files, all as stored." in ran.err


def test_names_in_a_folder_are_harmless(px: Px, root: Path) -> None:
    (root / "\x1b[31mred.dcm").write_bytes(b"x")
    ran = px("verify")
    assert ran.code == 1
    assert "\x1b" not in ran.out


@pytest.mark.parametrize("option", ["--json", "-q"])
def test_no_archive(px: Px, home: Path, option: str) -> None:
    assert px("verify", option).code == 2
    assert not (home / "pypx").exists()


def test_what_is_stored_meanwhile_is_no_problem(root: Path) -> None:
    """The same objects come again and again with other content, while the archive is checked."""
    with Archive(root, durability="none") as archive:
        done = threading.Event()

        def supersede() -> None:
            for turn in range(150):
                store(archive, 1 + turn % 3, PatientID=str(turn % 2), PixelData=bytes([turn] * 8))
            done.set()

        thread = threading.Thread(target=supersede)
        thread.start()
        try:
            while not done.is_set():
                report = archive.check(checksums=True)
                assert report.ok, report
        finally:
            thread.join()
