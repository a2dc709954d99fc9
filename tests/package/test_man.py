"""The man pages: one for each command, and none with a mistake in its markup."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pypx.cli.group import COMMANDS, load_command
from tests.peers.process import require

MAKE = Path(__file__).parents[2] / "tools/make_man.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("man")
    subprocess.run([sys.executable, str(MAKE), str(path)], check=True, timeout=60)
    return path


def test_one_for_each_command_and_what_is_in_it(folder: Path) -> None:
    names = {path.stem for path in folder.iterdir()}
    assert names == {"px", *(f"px-{name}" for name in COMMANDS)}
    for name in COMMANDS:
        text = (folder / f"px-{name}.1").read_text(encoding="ascii")
        for parameter in load_command(name).params:
            if parameter.param_type_name == "option" and not getattr(parameter, "hidden", False):
                assert max(parameter.opts, key=len).replace("-", r"\-") in text


def test_they_are_without_mistakes(folder: Path) -> None:
    mandoc = require("mandoc")
    pages = sorted(map(str, folder.iterdir()))
    done = subprocess.run(
        [mandoc, "-T", "lint", "-W", "warning", *pages],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_they_can_be_read(folder: Path) -> None:
    page = str(folder / "px-find.1")
    done = subprocess.run(
        [require("mandoc"), "-T", "ascii", "-O", "width=100", page],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    shown = done.stdout.replace("\b", "\0")
    lines = [line.strip() for line in shown.splitlines()]
    assert "px find hospital --PatientID PID1 --tree" in lines  # each example on its line
    assert any("Query a PACS (C-FIND)" in line for line in lines)
