"""What all commands have in common: help, usage errors, defects, broken outputs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pypx.cli.group import COMMANDS
from pypx.pacs import Pacs
from pypx.version import __version__
from tests.cli.conftest import Px, command_line

EVERY = ["--json", "-o", "--quiet", "--verbose", "--log-json", "--config"]


def test_help_lists_the_commands(px: Px) -> None:
    ran = px("--help")
    assert ran.code == 0
    for name, what in COMMANDS.items():
        assert f"  {name}" in ran.out
        assert what in ran.out
    assert list(COMMANDS) == [
        *(
            "echo",
            "find",
            "move",
            "get",
            "retrieve",
            "qr",
            "store",
            "listen",
            "ls",
            "status",
            "verify",
            "index",
            "nodes",
            "users",
            "doctor",
            "support-bundle",
            "completion",
            "demo",
        )
    ]


def test_without_a_command_the_help_is_on_stderr(px: Px) -> None:
    ran = px()
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Usage: px")


@pytest.mark.parametrize(
    "command",
    [
        *COMMANDS,
        *("nodes list", "nodes add", "nodes remove", "users list", "users add", "users remove"),
        *("index rebuild", "index import"),
    ],
)
def test_each_command_has_help_and_the_options_of_all(px: Px, command: str) -> None:
    ran = px(*command.split(), "--help" if command == "qr" else "-h")
    assert ran.code == 0
    assert ran.out.startswith(f"Usage: px {command}")
    if command not in ("nodes", "users", "index"):
        for option in EVERY:
            assert option in ran.out
    if command in ("echo", "find", "move", "listen"):
        assert "--timeout" in ran.out
        assert "--archive" in ran.out


@pytest.mark.parametrize("command", ["echo", "find", "move", "listen"])
def test_programs_of_their_own_are_the_commands(px: Px, command: str) -> None:
    own = px("--help", program=f"px-{command}").out
    assert own == px(command, "--help").out.replace(f"px {command} [", f"px-{command} [", 1)


@pytest.mark.parametrize("program", ["px", "px-echo", "px-find", "px-move", "px-listen"])
def test_entry_points_answer_the_version(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pypx.cli import main

    monkeypatch.setattr(sys, "argv", [program, "--version"])
    assert getattr(main, program.removeprefix("px-").replace("px", "main"))() == 0
    assert capsys.readouterr().out == f"pypx {__version__}\n"


def test_python_m_pypx(process: Px) -> None:
    assert process("--version").out == f"pypx {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ecoh"], "Did you mean echo?"),
        (["retreive"], "Did you mean retrieve?"),
        (["photograph"], "There are echo, find"),
        (["--bogus"], "There is no option --bogus."),
        (["echo", "--bogus"], "px echo --help"),
        (["echo", "--jsn"], "Did you mean --json"),
        (["listen", "--port"], "--port"),
        (["nodes", "add", "x"], "ADDRESS"),
    ],
)
def test_usage_errors(px: Px, arguments: list[str], said: str) -> None:
    ran = px(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert ran.err.startswith("error: ")
    assert "Usage:" not in ran.err


@pytest.mark.parametrize(
    "arguments", [["ecoh"], ["find", "--PatientIDD", "x"], ["find", "--limit", "x"], ["echo"]]
)
def test_every_error_is_json_where_json_was_asked_for(px: Px, arguments: list[str]) -> None:
    for form in ("--json", "--jsonl"):
        ran = px(*arguments, form)
        assert ran.code == 2
        assert set(ran.json["error"]) == {"kind", "message", "hint"}


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch) -> None:
    from pypx.cli.options import PeerFlags

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("of the test")

    monkeypatch.setattr(PeerFlags, "node", broken)


@pytest.mark.usefixtures("defect")
def test_a_defect_is_one_sentence(px: Px, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = px("echo", "A@h")
    assert (ran.code, ran.out) == (1, "")
    error, hint = ran.err.splitlines()
    assert error.startswith(f"error: This is a defect of pypx {__version__}: ZeroDivisionError")
    assert "PYPX_DEBUG=1" in hint
    assert px("echo", "A@h", "--json").json["error"]["kind"] == "defect"
    monkeypatch.setenv("PYPX_DEBUG", "1")
    assert "Traceback (most recent call last)" in px("echo", "A@h").err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["find"], ["find", "--json"]])
def test_a_full_stdout_is_one_sentence(process: Px, pacs: Pacs, arguments: list[str]) -> None:
    if arguments[0] == "find":
        arguments = [*arguments, str(pacs.address), "-q"]
    with Path("/dev/full").open("wb") as full:
        ran = process(*arguments, stdout=full)
    assert ran.code == 1
    assert ran.err == "error: Cannot write to the standard output: No space left on device.\n"


def test_a_reader_that_has_enough_is_no_error(pacs: Pacs) -> None:
    process = subprocess.Popen(
        command_line("find", pacs.address, "--level", "image", "--jsonl", "-q"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(20) == 1
    process.stderr.close()


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_defect(pacs: Pacs, closed: str) -> None:
    line = subprocess.list2cmdline(command_line("echo", pacs.address))
    done = subprocess.run(
        ["/bin/sh", "-c", f"{line} {closed}"], capture_output=True, timeout=20, check=False
    )
    assert done.returncode == 0
    assert b"defect" not in done.stderr


def test_a_file_in_a_folder_that_is_not_there(px: Px, pacs: Pacs, tmp_path: Path) -> None:
    ran = px("find", pacs.address, "-o", tmp_path / "no" / "file")
    assert ran.code == 2
    assert "cannot be written" in ran.err
    assert px("find", pacs.address, "-o", tmp_path).code == 2


def test_a_file_is_replaced_when_the_new_one_is_whole(px: Px, pacs: Pacs, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text("old")
    link = tmp_path / "link.json"
    link.symlink_to(path)
    assert px("find", pacs.address, "--json", "-o", link, "-q").code == 0
    assert path.read_text(encoding="utf-8").startswith("[")
    assert link.is_symlink()
    assert {found.name for found in tmp_path.iterdir()} == {"link.json", "out.json"}


@pytest.mark.parametrize("value", ["1", ""])
def test_no_color(px: Px, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("NO_COLOR", value)
    ran = px("echo", "A@127.0.0.1:1", terminal=True)
    assert ("\x1b[" in ran.err) is (value == "")


def test_a_dumb_terminal_has_no_colours(px: Px, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b[" not in px("echo", "A@127.0.0.1:1", terminal=True).err


def test_completion_of_the_shell(process: Px) -> None:
    words = {"COMP_WORDS": "px fi", "COMP_CWORD": "1"}
    ran = process(env={"_PX_COMPLETE": "bash_complete", **words})
    assert "find" in ran.out
