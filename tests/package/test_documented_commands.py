"""Every command that README and docs show runs, against a real PACS, and ends as it should."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pypx.cli.group import COMMANDS
from tests.package.documented import (
    CANNOT_RUN,
    FAILS,
    PAGES,
    REPOSITORY,
    SHELLS,
    Command,
    Sandbox,
    blocks,
    commands,
    fill,
    why_not,
)
from tests.peers.orthanc import Orthanc
from tests.peers.process import free_port

TEXTS = {str(page.relative_to(REPOSITORY)): page.read_text(encoding="utf-8") for page in PAGES}
SHOWN = {name: list(commands(text)) for name, text in TEXTS.items()}

TITLES = ("PYPX", "CHRISLOCAL", "CHRIS-ULTRON-AET")
"""What we call ourselves, in our style and in upstream's."""


@pytest.fixture(scope="module")
def our_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def hospital(our_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("hospital")
    pacs = Orthanc(folder, destinations=dict.fromkeys(TITLES, our_port))
    pacs.start()
    try:
        fill(pacs, folder / "studies")
        yield pacs
    finally:
        pacs.kill()


@pytest.mark.peers
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", [name for name, shown in SHOWN.items() if shown])
def test_each_command_runs(
    page: str, installed: dict[str, str], hospital: Orthanc, our_port: int
) -> None:
    sandbox = Sandbox(Path(installed["HOME"]), installed, hospital, our_port, TEXTS[page])
    try:
        said = [sandbox.complaint(one) for one in SHOWN[page] if why_not(one) is None]
    finally:
        end = sandbox.stop()
    assert not [*filter(None, said)] and not end, "\n\n".join([*filter(None, said), end])


def test_what_cannot_run_is_shown_somewhere() -> None:
    every = [command for shown in SHOWN.values() for command in shown]
    for pattern in (*CANNOT_RUN, *FAILS):
        assert any(re.match(pattern, command.text) for command in every), pattern
    assert not [one.text for one in every if why_not(one) and one.text.startswith("px")]


def test_no_command_hides_in_a_block_of_another_language() -> None:
    for page, text in TEXTS.items():
        for line, language, inside in blocks(text):
            if language not in SHELLS:
                hidden = [one for one in inside if re.match(r"(\$ )?(px|make|docker|pip) ", one)]
                assert not hidden, f"{page}:{line}: {hidden}"


def test_commands_in_the_text_exist() -> None:
    for page, text in TEXTS.items():
        for name in re.findall(r"`px ([a-z-]+)[ `]", text):
            assert name in COMMANDS, f"{page}: px {name}"


def test_how_commands_are_taken_out_of_a_page() -> None:
    text = "\n".join(
        [
            *("```sh", "# first", "px ls \\", "  --csv", "", "cat > a <<'END'", "px", "END", "```"),
            *("```console", "$ px ls", "3 studies", "```", "```text", "px no", "```"),
            *("```python", "import pypx", "pypx", "```"),
        ]
    )
    assert list(commands(text)) == [
        Command(3, "sh", "px ls \\\n  --csv"),
        Command(6, "sh", "cat > a <<'END'\npx\nEND"),
        Command(11, "sh", "px ls"),
        Command(18, "python", "import pypx\npypx"),
    ]
