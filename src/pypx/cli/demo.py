"""``px demo``: all of it against a PACS of our own, on this machine only.

In: nothing. Out: real commands, each shown before it runs, and what they left on disk.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

import click

from pypx.address import DEFAULT_AE_TITLE, Address
from pypx.cli.command import PxCommand
from pypx.cli.options import Invocation, common_options
from pypx.cli.output import Output, visible
from pypx.errors import ArchiveError, PypxError

__all__ = ["command"]

_STEPS = (
    ("px echo demo", "Does the PACS answer?"),
    ("px find demo", "What studies has it?"),
    ("px find demo --PatientID DEMO-002 --tree", "What series has a study?"),
    ("px retrieve demo -k PatientID='DEMO-*'", "Get all of them, and compare."),
    ("px ls --tree", "What have we got?"),
)
_IMPATIENT = " --retries 1"  # of a PACS that misbehaves
_INDENT = "  "
_MOST_FILES = 3  # of a series, in the tree


class _PartialError(PypxError):
    kind = "partial"


@click.command("demo", cls=PxCommand, short_help="Try all of it on this machine.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="How the PACS misbehaves (may be repeated).",
)
@click.option("--list-faults", is_flag=True, help="List the ways to misbehave, and end.")
@click.option(
    "--samples",
    metavar="DIR",
    help="Write the sample studies into DIR as files, for another PACS, and end.",
)
@common_options()
def command(
    invocation: Invocation, *, faults: tuple[str, ...], list_faults: bool, samples: str | None
) -> int:
    """Start a PACS with three sample studies on loopback, and use px against it.

    Each command is shown before it runs, and can be typed just so. Nothing leaves this
    machine, and your configuration and archive are not touched. What was received stays in
    a new folder, or in --archive DIR.

    With --fault the PACS does what PACS in the field were seen to do, and the commands show
    what is said to that; the exit code is that of the first one that fails.

    \b
    px demo --fault drop-objects=3
    px demo --fault late-stores --fault no-suboperation-counts
    px demo --list-faults
    px demo --samples studies
    """
    from pypx.archive import Archive
    from pypx.pacs import Pacs
    from pypx.pacs.faults import misbehaving
    from pypx.pacs.samples import SAMPLE_INSTANCES, write_sample_files, write_samples

    out = invocation.out
    if list_faults:
        _list_faults(out)
        return 0
    if samples is not None:
        write_sample_files(Path(samples))
        if out.form == "json":
            out.document({"folder": samples, "files": SAMPLE_INSTANCES})
        else:
            out.say(f"{SAMPLE_INSTANCES} files are in {samples}.")
        return 0
    misbehaving(faults)  # a wrong name is no reason to make a folder
    demo = _Demo(invocation)
    port = _free_port()
    here = {DEFAULT_AE_TITLE: Address(DEFAULT_AE_TITLE, "127.0.0.1", port)}
    with (
        Archive(demo.folder / "pacs", durability="none") as held,
        Pacs(held, destinations=here, faults=faults) as pacs,
    ):
        write_samples(held)
        demo.configure(pacs.address, port)
        out.say(f"A PACS with {SAMPLE_INSTANCES} images runs here: {pacs.address}")
        if faults:
            out.say(f"It misbehaves: {', '.join(faults)}.")
        more = {"retrieve": _IMPATIENT} if faults else {}
        steps = [demo.step(line + more.get(line.split()[1], ""), why) for line, why in _STEPS]
    files = sorted(demo.archive.glob("[!.]*/**/*.dcm"), key=_by_number)
    if out.form == "json":
        names = [str(file) for file in files]
        out.document({"steps": steps, "folder": str(demo.folder), "files": names})
    else:
        out.write("\n" + "".join(f"{visible(line)}\n" for line in _tree(demo.archive, files)))
        out.line(f"\n{len(files)} files are in {demo.archive}, and stay there. To look again:")
        out.line(f"PYPX_CONFIG={shlex.quote(str(demo.config))} px ls")
    failed = [step["exit_code"] for step in steps if step["exit_code"]]
    if not failed and len(files) < SAMPLE_INSTANCES:
        raise _PartialError(f"Only {len(files)} of {SAMPLE_INSTANCES} images arrived.")
    return failed[0] if failed else 0


def _list_faults(out: Output) -> None:
    from pypx.pacs import FAULTS

    if out.form == "json":
        out.document(
            [{"name": f.name, "sentence": f.sentence, "default": f.default} for f in FAULTS]
        )
        return
    width = max(len(kind.usage) for kind in FAULTS)
    out.write("".join(f"{kind.usage:{width}}  {kind.sentence}\n" for kind in FAULTS))
    out.flush()
    out.say("The value of a fault may be changed; it is shown as it is where none is given.")


class _Demo:
    """A folder with a configuration of its own, and the commands that run in it."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="pypx-demo-"))
        except OSError as error:
            raise ArchiveError(
                f"No folder for the demo can be made: {error.strerror or error}.",
                hint="Name a folder where you may write in TMPDIR.",
            ) from None
        given = invocation.archive
        self.archive = self.folder / "archive" if given is None else Path(given).absolute()
        self.config = self.folder / "config.toml"

    def configure(self, address: Address, port: int) -> None:
        """Write the configuration that the commands use.

        Raises:
            ArchiveError: The folder cannot be written.
        """
        import tomli_w

        settings = {
            "archive": str(self.archive),
            "listen": {"port": port, "settle": 1.0},  # nothing is slow on one machine
            "nodes": {"demo": {"address": str(address)}},
        }
        try:
            self.config.write_text(tomli_w.dumps(settings), encoding="utf-8")
        except OSError as error:
            raise ArchiveError(f"{self.config} cannot be written: {error.strerror}.") from None

    def step(self, line: str, why: str) -> dict[str, Any]:
        """Show a command, and run it."""
        out = self._invocation.out
        shown = out.form == "text"
        if shown:
            out.line(f"\n# {why}\n$ {line}")
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("PYPX_")
        }
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "pypx", *shlex.split(line)[1:], *self._flags(line)],
            env={**environment, "PYPX_CONFIG": str(self.config)},
            stdout=None if shown and not out.to_file else subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        said = (done.stdout or b"").decode("utf-8", "replace")
        if shown and out.to_file:
            out.write(said)
        step: dict[str, Any] = {
            "command": line,
            "exit_code": done.returncode,
            "seconds": round(time.monotonic() - started, 3),
        }
        return step if shown else {**step, "output": said}

    def _flags(self, line: str) -> Iterator[str]:
        """Give the options of ours that the command shall have too."""
        out = self._invocation.out
        yield from ["-q"] if out.quiet else []
        yield from ["-v"] if out.verbose else []
        yield from ["--log-json"] if out.log_json else []
        if self._invocation.timeout is not None:
            yield from ("--timeout", str(self._invocation.timeout))


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


def _tree(root: Path, files: list[Path]) -> Iterator[str]:
    """Give the lines of a tree of folders, with the first files of each."""
    yield str(root)
    above: tuple[str, ...] = ()
    for folder, inside in groupby(files, key=lambda file: file.parent):
        parts = folder.relative_to(root).parts
        same = list(takewhile(lambda pair: pair[0] == pair[1], zip(parts, above, strict=False)))
        for depth in range(len(same), len(parts)):
            yield f"{_INDENT * (depth + 1)}{parts[depth]}/"
        above = parts
        names = [file.name for file in inside]
        for name in names[:_MOST_FILES]:
            yield f"{_INDENT * (len(parts) + 1)}{name}"
        if len(names) > _MOST_FILES:
            yield f"{_INDENT * (len(parts) + 1)}… and {len(names) - _MOST_FILES} more"


def _by_number(file: Path) -> tuple[Path, int, str]:
    """Sort instances of a series by the number that their names begin with."""
    number = file.name.partition("-")[0]
    return file.parent, int(number) if number.isdecimal() else 0, file.name
