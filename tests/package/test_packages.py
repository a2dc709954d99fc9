"""sdist and wheel: built, looked into, and installed where nothing is."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from email import message_from_string
from pathlib import Path
from typing import NamedTuple

import pytest

from pypx.cli.group import COMMANDS
from pypx.version import __version__
from tests.package.conftest import PROGRAMS

REPOSITORY = Path(__file__).parents[2]
LONG = 600  # seconds; packages are downloaded
pytestmark = pytest.mark.timeout(2 * LONG)


class Built(NamedTuple):
    sdist: Path
    wheel: Path


def run(*words: object, **environment: str) -> str:
    """Run a program with what the system has, and nothing of this Python; give what it says."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in words],
        env={**kept, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.stdout[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build both, the wheel out of the sdist, as python -m build does."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, REPOSITORY)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist, wheel)


def test_what_is_in_the_wheel(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        names = wheel.namelist()
        (metadata,) = (name for name in names if name.endswith("dist-info/METADATA"))
        facts = message_from_string(wheel.read(metadata).decode())
    tops = {name.split("/")[0] for name in names}
    about = f"pypx-{__version__}"
    assert tops == {"pypx", f"{about}.dist-info", f"{about}.data"}
    source = {str(path.relative_to(REPOSITORY / "src")) for path in files(REPOSITORY / "src")}
    assert {name for name in names if name.startswith("pypx/")} == source
    pages = {name.rpartition("/")[2] for name in names if "/share/man/man1/" in name}
    assert pages == {"px.1", *(f"px-{name}.1" for name in COMMANDS)}
    assert facts["Name"] == "pypx" and facts["Version"] == __version__
    assert facts["License-Expression"] == "MIT"
    assert facts["Description-Content-Type"] == "text/markdown"
    assert "Nothing is lost" in str(facts.get_payload())


def test_what_is_in_the_sdist(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "Dockerfile"}
    wanted |= {"tests/conftest.py", "tools/make_man.py", "docs/reliability.md", "compose.yaml"}
    assert wanted <= names
    for name in names:
        assert "__pycache__" not in name and not name.endswith((".dcm", ".pyc", ".sqlite"))
        top = name.partition("/")[0]
        assert not top.startswith(".") or top in (".dockerignore", ".gitignore")
    assert built.sdist.stat().st_size < 5_000_000


def files(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in str(path)
    ]


def test_the_sdist_installs_and_runs_in_an_empty_environment(built: Built, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    bin = tmp_path / "venv/bin"
    run(bin / "python", "-m", "pip", "install", "--no-cache-dir", built.sdist)
    check(bin, tmp_path / "home")
    assert (tmp_path / "venv/share/man/man1/px-find.1").is_file()
    run(bin / "python", "-m", "pip", "check")


def test_pipx_installs_the_wheel(built: Built, tmp_path: Path) -> None:
    home, bin = tmp_path / "home", tmp_path / "bin"
    where = {
        "PIPX_HOME": str(tmp_path / "pipx"),
        "PIPX_BIN_DIR": str(bin),
        "PIPX_MAN_DIR": str(tmp_path / "man"),
        "PIPX_DEFAULT_PYTHON": sys.executable,
        "HOME": str(home),
    }
    home.mkdir()
    run(sys.executable, "-m", "pipx", "install", built.wheel, **where)
    check(bin, home)
    assert (tmp_path / "man/man1/px-find.1").exists()


def check(bin: Path, home: Path) -> None:
    """Run what was installed, as a user who has nothing."""
    home.mkdir(exist_ok=True)
    user = {"HOME": str(home), "TMPDIR": str(home), "XDG_CONFIG_HOME": str(home / "config")}
    assert {path.name for path in bin.iterdir()} >= set(PROGRAMS)
    assert run(bin / "px", "--version", **user) == f"pypx {__version__}\n"
    assert "C-ECHO" in run(bin / "px-echo", "--help", **user)
    assert "Complete: all 27 instances are here." in run(bin / "px", "demo", **user)
