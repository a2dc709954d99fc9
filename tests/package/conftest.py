"""Where ``px`` is a program, as after an installation, and PACS to use it with."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

import pytest

_PROJECT = Path(__file__).parents[2] / "pyproject.toml"
PROGRAMS: dict[str, str] = tomllib.loads(_PROJECT.read_text())["project"]["scripts"]
"""The programs, and what each calls: ``module:function``."""


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """Give the environment of a user without settings, who has px and its like in PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, target in PROGRAMS.items():
        module, _, entry = target.partition(":")
        program = folder / name
        program.write_text(
            f"#!{sys.executable}\nimport sys\nfrom {module} import {entry}\nsys.exit({entry}())\n"
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
