"""Who may read what pypx makes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pypx.archive import Archive
from pypx.archive.storage import NOBODY
from pypx.client.client import Client
from pypx.dicom.part10 import FileMeta
from pypx.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from pypx.errors import ConfigError
from pypx.modes import DEFAULT_UMASK, check_umask, file_mode, folder_mode, set_umask
from pypx.outfile import OutFile
from pypx.receiver.completion import SeriesComplete
from pypx.receiver.hook_delivery import Delivery
from pypx.receiver.hook_queue import HookQueue
from pypx.receiver.receiver import Receiver
from tests.objects import CT_IMAGE, write_file

IDENTIFIERS = ("SECRETID", "SECRETNAME", "SECRETACC", "SECRETDESC")


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)
    set_umask(DEFAULT_UMASK)


def modes(root: Path) -> dict[str, int]:
    """Give the mode of all that is below a folder, and of itself."""
    return {str(path): stat.S_IMODE(path.lstat().st_mode) for path in (root, *root.rglob("*"))}


def check(root: Path) -> None:
    found = modes(root)
    assert len(found) > 5
    for path, mode in found.items():
        wanted = folder_mode() if Path(path).is_dir() else file_mode()
        assert mode == wanted, f"{path}: {mode:o} and not {wanted:o}"


def files(folder: Path) -> list[Path]:
    """Give a new object, another content for it, and one that cannot be placed."""
    folder.mkdir()
    facts = {
        "PatientID": "SECRETID",
        "PatientName": "SECRETNAME^A",
        "AccessionNumber": "SECRETACC",
        "StudyDescription": "SECRETDESC",
    }
    found = []
    for number, more in enumerate([{}, {"InstitutionName": "B"}]):
        (folder / str(number)).mkdir()
        found.append(write_file(folder / str(number), **facts, **more))
    return found


@pytest.mark.parametrize("umask", ["027", "077", "022", "007"])
@pytest.mark.parametrize("system", [0o000, 0o077])
def test_everything_below_an_archive(tmp_path: Path, umask: str, system: int) -> None:
    set_umask(umask)
    os.umask(system)
    root = tmp_path / "archive"
    with Archive(root, durability="none") as archive:
        with (
            Receiver(archive, port=0, ae_title="US") as receiver,
            Client(f"US@127.0.0.1:{receiver.port}") as client,
        ):
            list(client.store_files(files(tmp_path / "files")))
        meta = FileMeta(CT_IMAGE, "1.2.3.4", EXPLICIT_VR_LITTLE_ENDIAN)
        archive.note_interrupted(meta, NOBODY, 1, "The link broke.")
    with Archive(root) as archive:
        archive.rebuild()
        queue = HookQueue(root / ".pypx" / "hooks")
        event = SeriesComplete("1.2", "1.2.3", id="1")
        queue.put(Delivery("hook", event, 0.0))
        check(root)
    check(root)


def test_no_identifier_in_any_path(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    with Archive(root, layout="uid", durability="none") as archive:
        for file in files(tmp_path / "files"):
            archive.add_file(file)
    names = "\n".join(map(str, root.rglob("*")))
    assert "superseded/" in names
    assert not [one for one in IDENTIFIERS if one in names]


@pytest.mark.parametrize("text", ["", "27x", "777", "0o1000", "700", "100"])
def test_what_is_no_umask(text: str) -> None:
    with pytest.raises(ConfigError):
        check_umask(text)


def test_results_in_a_file_are_not_for_others(tmp_path: Path) -> None:
    for system, wanted in ((0o022, 0o640), (0o077, 0o600)):
        os.umask(system)
        file = OutFile(str(tmp_path / "rows.csv"))
        assert all(mode == 0o600 for path, mode in modes(tmp_path).items() if path.endswith("part"))
        file.commit()
        assert modes(tmp_path)[str(tmp_path / "rows.csv")] == wanted
