"""Where ``px`` is a program, as after an installation."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

PROGRAMS = ("px", "px-echo", "px-find", "px-move", "px-listen")


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """Give the environment of a user without settings, who has px and its like in PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in PROGRAMS:
        entry = name.removeprefix("px-") if name != "px" else "main"
        program = folder / name
        program.write_text(
            f"#!{sys.executable}\nimport sys\nfrom pypx.cli.main import {entry}\n"
            f"sys.exit({entry}())\n"
        )
        program.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYPX_", "_PX"))}
    return {
        **environment,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TERM": "dumb",
    }
