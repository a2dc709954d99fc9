"""``px completion``, with real shells, and Tab in the two that complete only on a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pypx.cli.completion import PROGRAMS
from tests.package import conftest
from tests.peers.process import require

START = {
    "bash": (["--norc", "--noprofile", "-i"], 'eval "$(px completion bash)"'),
    "zsh": (["-f", "-i"], 'autoload -Uz compinit && compinit -u -D && eval "$(px completion zsh)"'),
}
CASES = [
    ("px find hosp", "hospital"),
    ("px-find hosp", "hospital"),
    ("px find -k PatientID=1 hosp", "hospital"),
    ("px nodes show hosp", "hospital"),
    ("px find hospital -k SeriesInst", "SeriesInstanceUID"),
    ("px find hospital --AccessionNu", "--AccessionNumber"),
    ("px find hospital --PatientID 1 --lim", "--limit"),
    ("px find hospital --level ser", "series"),
    ("px verif", "verify"),
    ("px demo --fault drop-obj", "drop-objects"),
    ("px ls -o cohor", "cohort.csv"),
]


@pytest.fixture
def environment(installed: dict[str, str]) -> dict[str, str]:
    home = Path(installed["HOME"])
    config = home / ".config/pypx/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[nodes.hospital]\naddress = "ORTHANC@10.1.2.3:4242"\n')
    (home / "cohort.csv").touch()
    return installed


class Terminal:
    """A shell on a terminal of its own."""

    PATIENCE = 40.0

    def __init__(self, line: list[str], environment: dict[str, str]) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(environment["HOME"])
            os.execvpe(line[0], line, environment)
        self.read = ""

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def until(self, text: str) -> str:
        """Read until a text comes; give what came before it."""
        deadline = time.monotonic() + self.PATIENCE
        while text not in self.read:
            assert time.monotonic() < deadline, f"{text!r} never came, but {self.read!r}"
            if select.select([self.descriptor], [], [], 1.0)[0]:
                self.read += os.read(self.descriptor, 65536).decode("utf-8", "replace")
        before, _, self.read = self.read.partition(text)
        return before

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.descriptor)


@pytest.fixture
def terminal(request: pytest.FixtureRequest, environment: dict[str, str]) -> Iterator[Terminal]:
    options, setup = START[request.param]
    shell = Terminal([require(request.param), *options], {**environment, "PS1": "READY>"})
    try:
        shell.until("READY>")
        shell.type(f"{setup}; echo LEARNT=$?\n")
        shell.until("LEARNT=0")
        shell.until("READY>")
        yield shell
    finally:
        shell.close()


@pytest.mark.parametrize("terminal", START, indirect=True)
def test_tab(terminal: Terminal) -> None:
    for line, expected in CASES:
        typed = line.rpartition(" ")[2]
        terminal.type(f"{line}\t")
        # What Tab adds, and then Ctrl-U for the next line.
        terminal.until(line + expected.removeprefix(typed))
        terminal.type("\x15\n")
        terminal.until("READY>")


def test_fish(environment: dict[str, str]) -> None:
    fish = require("fish")
    asked = "".join(f"complete -C '{line}'; echo =;" for line, _ in CASES)
    done = subprocess.run(
        [fish, "--no-config", "-c", f"px completion fish | source; {asked}"],
        env=environment,
        cwd=environment["HOME"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    answers = [answer.split() for answer in done.stdout.split("=\n")]
    for (line, expected), answer in zip(CASES, answers, strict=False):
        assert expected in answer, (line, answer, done.stderr)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_can_read(
    shell: str, environment: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "script"
    line = ["px", "completion", shell, "-o", str(path)]
    subprocess.run(line, env=environment, check=True, timeout=60)
    text = path.read_text()
    for program in PROGRAMS:
        assert re.search(rf"\b{program}\b", text)
    options = ["--no-config", "--no-execute"] if shell == "fish" else ["-n"]
    subprocess.run([require(shell), *options, str(path)], check=True, timeout=60)


def _answers(environment: dict[str, str], line: str) -> list[str]:
    words = line.split(" ")
    asking = {"_PX_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": len(words) - 1}
    done = subprocess.run(
        ["px"],
        env={**environment, **{key: str(value) for key, value in asking.items()}},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_half_a_line_and_a_wrong_configuration_complete_nothing_but_break_nothing(
    environment: dict[str, str],
) -> None:
    assert _answers(environment, "px find --nonsense --PatientID ") in ([], ["plain,hospital"])
    assert "plain,PatientID" in _answers(environment, "px find -k ")
    assert _answers(environment, "px find -k CommandField") == []
    Path(environment["HOME"], ".config/pypx/config.toml").write_text("[nodes\n")
    assert _answers(environment, "px find ho") == []
    assert _answers(environment, "px nodes add ho") == []


def test_each_program_that_is_a_command_is_completed() -> None:
    assert set(conftest.PROGRAMS) - set(PROGRAMS) == {"px-report"}  # which is upstream's only
