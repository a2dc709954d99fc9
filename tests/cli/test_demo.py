"""``px demo``: from nothing to files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pypx.pacs.samples import SAMPLE_INSTANCES
from tests.cli.conftest import Px


@pytest.fixture(autouse=True)
def temporary(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(home))
    return home


def test_the_commands_are_shown_and_the_files_are_there(process: Px, temporary: Path) -> None:
    ran = process("demo")
    assert ran.code == 0, ran.err
    shown = [line for line in ran.out.splitlines() if line.startswith("$ px ")]
    assert [line.split()[2] for line in shown] == ["echo", "find", "find", "retrieve", "ls"]
    assert f"Complete: all {SAMPLE_INSTANCES} instances are here." in ran.out
    (folder,) = temporary.glob("pypx-demo-*")
    assert len(list((folder / "archive").glob("[!.]*/**/*.dcm"))) == SAMPLE_INSTANCES
    assert ran.out.rstrip().endswith(f"PYPX_CONFIG={folder}/config.toml px ls")
    assert not (temporary / "pypx").exists()
    again = process("ls", env={"PYPX_CONFIG": str(folder / "config.toml")})
    assert again.err == "3 studies\n"


def test_as_json_into_a_file_and_an_archive_of_the_user(px: Px, tmp_path: Path) -> None:
    import json

    path = tmp_path / "demo.json"
    ran = px("demo", "--json", "-o", path, "--archive", tmp_path / "mine")
    assert (ran.code, ran.out) == (0, "")
    document = json.loads(path.read_text(encoding="utf-8"))
    assert [step["exit_code"] for step in document["steps"]] == [0] * 5
    assert len(document["files"]) == SAMPLE_INSTANCES
    assert all(Path(file).is_relative_to(tmp_path / "mine") for file in document["files"])


def test_the_samples_as_files_which_a_pacs_takes(px: Px, home: Path) -> None:
    import pydicom

    folder = home / "a" / "studies"
    assert px("demo", "--samples", folder).err == f"{SAMPLE_INSTANCES} files are in {folder}.\n"
    written = {pydicom.dcmread(file).SOPInstanceUID: file.name for file in folder.iterdir()}
    assert len(written) == SAMPLE_INSTANCES
    assert sorted(written.values())[0] == "DEMO-001-1-001.dcm"
    assert px("index", "import", folder).code == 0
    assert px("ls", "-k", "PatientID=DEMO-002", "--json").json[0]["instances"] == 14
    ran = px("demo", "--samples", folder / "DEMO-001-1-001.dcm", "--json")
    assert ran.code == 5 and "cannot be written" in ran.json["error"]["message"]
