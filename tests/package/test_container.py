"""The container without a container: its entry point, and what compose.yaml refers to.

``make image-check`` builds the image and runs it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from pypx.cli.group import COMMANDS

REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
GRACE = ["--grace", "8"]
ALL = ["--host", "0.0.0.0", *GRACE]
HEALTH = ["--allow", "HEALTHCHECK@127.0.0.1"]


@pytest.fixture(scope="module")
def entry() -> ModuleType:
    spec = importlib.util.spec_from_file_location("entry", REPOSITORY / "docker/entrypoint.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "config.toml"
    monkeypatch.setenv("PYPX_CONFIG", str(path))
    yield path


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], ["px-listen"]),
        (["px-find", "-k", "PatientID=1"], ["px-find", "-k", "PatientID=1"]),
        (["--px-find", "--aec", "X"], ["px-find", "--aec", "X"]),
        (["--px", "ls"], ["px", "ls"]),
        (["--aet", "RESEARCH"], ["px-listen", "--aet", "RESEARCH"]),
        (["sh", "-c", "id"], ["sh", "-c", "id"]),
    ],
)
def test_what_runs(entry: ModuleType, arguments: list[str], line: list[str]) -> None:
    assert entry.command_line(arguments) == line


@pytest.mark.parametrize(
    ("options", "allow", "text", "added"),
    [
        ([], "", "", [*ALL, "--allow-any"]),
        ([], "", '[listen]\nallow = ["CT1@*"]\n', [*ALL, *HEALTH]),
        ([], "", '[nodes.a]\naddress = "A@127.0.0.1:1"\n', [*ALL, *HEALTH]),
        ([], "A@10.0.0.0/8, B@*", "", [*ALL, "--allow", "A@10.0.0.0/8", "--allow", "B@*", *HEALTH]),
        (["--allow", "A@*"], "", "", [*ALL, *HEALTH]),
        (["--allow=A@*"], "", "", [*ALL, *HEALTH]),
        (["--allow-any", "--host=::"], "A@*", "", GRACE),
        (["--allow-any", "--host=::", "--grace", "1"], "", "", []),
        ([], "", "[listen]\nwrong = 1\n", [*ALL, *HEALTH]),
        (["--inetd"], "", "", []),
    ],
)
def test_the_listener_is_open_only_if_nothing_says_who_may_send(
    entry: ModuleType, config: Path, options: list[str], allow: str, text: str, added: list[str]
) -> None:
    if text:
        config.write_text(text)
    assert entry.added_options(options, {"PYPX_ALLOW": allow}) == added


def test_a_configuration_that_was_named_counts(entry: ModuleType, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('[listen]\nallow = ["CT1@*"]\n')
    for options in (["--config", str(other)], [f"--config={other}"]):
        assert entry.added_options(options, {}) == [*ALL, *HEALTH]


def test_which_is_the_listener(entry: ModuleType) -> None:
    assert entry.options_of_listener(["px-listen", "-v"]) == ["-v"]
    assert entry.options_of_listener(["px", "listen", "-v"]) == ["-v"]
    assert entry.options_of_listener(["px", "ls"]) is None


def test_a_volume_that_cannot_be_written(entry: ModuleType, tmp_path: Path) -> None:
    assert entry.complaint(tmp_path / "a" / "b", 1000) == ""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    tmp_path.chmod(0o755)
    said = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, str(REPOSITORY / "docker"), str(tmp_path / "a" / "b")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "cannot be written" in said
    assert "belongs to UID 0, and this container runs as UID 65534" in said
    assert "chown 65534" in said and "--user 0" in said


_AS_NOBODY = """
import os, pathlib, sys
sys.path.insert(0, sys.argv[1])
import entrypoint
os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(entrypoint.complaint(pathlib.Path(sys.argv[2]), os.getuid()))
"""


def test_the_dockerfile_and_the_code_agree(entry: ModuleType) -> None:
    title, _, host = entry.HEALTH_RULE.partition("@")
    assert f'"--aet", "{title}", "PYPX@{host}:10402"' in DOCKERFILE
    for line in DOCKERFILE.splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            *sources, _ = [word for word in line.split()[1:] if not word.startswith("--")]
            ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
            for source in sources:
                assert (REPOSITORY / source).exists()
                assert f"!{source}" in ignored


def _compose() -> dict[str, Any]:
    document = yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def test_compose() -> None:
    """What the specification of compose wants of it, as far as one can see without compose."""
    document = _compose()
    assert {key for key in document if not key.startswith("x-")} == {"name", "services", "volumes"}
    services = document["services"]
    assert set(services) == {"listener", "pacs", "try"}
    known = {"image", "build", "profiles", "ports", "volumes", "environment", "restart", "command"}
    known |= {"stop_grace_period", "depends_on", "network_mode", "pid"}
    for service in services.values():
        assert set(service) <= known
        assert "image" in service
        assert set(service.get("depends_on", ())) <= set(services)
        for bind in service.get("volumes", ()):
            source = bind.partition(":")[0]
            assert source in document["volumes"] or (REPOSITORY / source).is_file()
    assert services["try"]["network_mode"] == services["try"]["pid"] == "service:listener"
    assert services["listener"]["ports"][0].endswith(":10402")


def test_the_test_pacs_knows_the_listener() -> None:
    settings = json.loads((REPOSITORY / "docker/orthanc.json").read_text(encoding="utf-8"))
    assert settings["DicomModalities"] == {"PYPX": ["PYPX", "listener", 10402]}
    assert f"ORTHANC@pacs:{settings['DicomPort']}" in (REPOSITORY / "docker/try.sh").read_text()


def test_the_script_of_compose_has_commands_that_exist() -> None:
    script = REPOSITORY / "docker/try.sh"
    subprocess.run(["sh", "-n", str(script)], check=True)
    for line in script.read_text().splitlines():
        if line.startswith("run px "):
            assert line.split()[2] in COMMANDS
