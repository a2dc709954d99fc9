"""What is imported when: start-up time is a promise, and one careless import breaks it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pypx
from pypx.address import Address
from pypx.archive import Archive
from pypx.pacs import Pacs

HEAVY = {"pydicom", "numpy", "sqlite3", "rich", "asyncio", "http", "email", "concurrent"}
# What costs a few milliseconds each, and an echo has no use for.
IDLE = {"tomllib", "tomli_w", "platformdirs", "pathlib", "logging", "subprocess", "hashlib"}


def modules(code: str, tmp_path: Path) -> set[str]:
    """Give the names of all modules that are loaded after the code."""
    script = f"{code}\nimport sys\nsys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={"HOME": str(tmp_path)},
    )
    return set(done.stderr.splitlines()[-1].split())


def of_px(arguments: list[str], tmp_path: Path) -> set[str]:
    return modules(
        f"import sys; sys.argv = ['px', *{arguments!r}]\n"
        "from pypx.cli.main import main\nassert main() == 0",
        tmp_path,
    )


def packages(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_import_pypx_imports_nothing_else(tmp_path: Path) -> None:
    loaded = modules("import pypx", tmp_path) - modules("", tmp_path)
    assert loaded <= {"pypx", "pypx.version", "__future__"}


def test_the_version_is_answered_before_click(tmp_path: Path) -> None:
    loaded = of_px(["--version"], tmp_path)
    assert not packages(loaded) & {"click", "typing", "re", *HEAVY, *IDLE}
    assert "pypx.cli.run" not in loaded


@pytest.mark.parametrize("arguments", [["--help"], ["echo", "--help"], ["find", "--help"]])
def test_help_needs_no_network_and_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    loaded = of_px(arguments, tmp_path)
    assert not packages(loaded) & HEAVY
    assert "pypx.net.connection" not in loaded


def test_help_of_px_loads_no_command(tmp_path: Path) -> None:
    assert not of_px(["--help"], tmp_path) & {"pypx.cli.echo", "pypx.cli.find", "pypx.cli.demo"}


@pytest.fixture
def pacs(tmp_path: Path):
    with Archive(tmp_path / "pacs", durability="none") as archive, Pacs(archive) as running:
        yield running


def test_an_echo_to_an_address_without_a_file_loads_little(pacs: Pacs, tmp_path: Path) -> None:
    loaded = of_px(["echo", str(pacs.address), "--json"], tmp_path)
    assert not packages(loaded) & (HEAVY | IDLE)
    unused = {"query", "move", "get", "sop_classes"}
    assert not loaded & {*(f"pypx.client.{name}" for name in unused), "pypx.dicom.data_set"}
    assert not any(name.startswith("pypx.archive") for name in loaded)


@pytest.mark.parametrize("form", ["--jsonl", "--json", "--csv", "--tree"])
def test_a_query_loads_nothing_heavy(pacs: Pacs, tmp_path: Path, form: str) -> None:
    loaded = of_px(["find", str(pacs.address), form], tmp_path)
    assert not packages(loaded) & HEAVY
    assert not any(name.startswith("pypx.archive") for name in loaded)


def test_a_listener_loads_only_what_it_uses(tmp_path: Path) -> None:
    loaded = packages(modules("import pypx.cli.listening", tmp_path))
    unused = {"multiprocessing", "prometheus_client", "httpx", "subprocess"}
    assert not loaded & ((HEAVY | unused) - {"sqlite3"})


def test_the_public_names_are_what_they_say() -> None:
    assert pypx.Address is Address
    assert pypx.Archive is Archive
    assert pypx.Pacs is Pacs
    assert pypx.Client.__name__ == "Client"
    assert pypx.Receiver.__name__ == "Receiver"
    assert pypx.DataSet.__name__ == "DataSet"
    assert pypx.errors.PypxError.__name__ == "PypxError"
    assert pypx.__version__
    assert set(pypx.__all__) <= set(dir(pypx))


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        _ = pypx.Clint  # type: ignore[attr-defined]
