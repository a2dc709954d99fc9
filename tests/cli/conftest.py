"""``px`` in this process and as a process of its own, against a PACS in this process."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.cli.run import run
from pypx.pacs import Pacs
from pypx.pacs.samples import write_samples
from tests.peers.process import free_port


@dataclass(frozen=True)
class Ran:
    """What a command left: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def rows(self) -> list[Any]:
        """What ``--jsonl`` wrote."""
        return [json.loads(line) for line in self.out.splitlines()]


Px = Callable[..., Ran]


class _Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a user without settings, whose archive and configuration are in a new folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("NO_COLOR", "COLUMNS", "PYPX_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return tmp_path


@pytest.fixture
def px() -> Iterator[Px]:
    """Run px in this process; the command as on the command line."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]

    def call(*arguments: object, program: str = "px", terminal: bool = False) -> Ran:
        streams = [io.BytesIO(), io.BytesIO()]
        kind = _Terminal if terminal else io.TextIOWrapper
        old = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (kind(stream, "utf-8") for stream in streams)
        try:
            name = None if program == "px" else program.removeprefix("px-")
            code = run(program, name, [str(argument) for argument in arguments])
            sys.stdout.flush()
            sys.stderr.flush()
            return Ran(code, *(stream.getvalue().decode() for stream in streams))
        finally:
            sys.stdout, sys.stderr = old
            for number, handler in zip(numbers, handlers, strict=True):
                signal.signal(number, handler)

    yield call


def command_line(*arguments: object) -> list[str]:
    """Give the command line of px as a process of its own."""
    return [sys.executable, "-m", "pypx", *map(str, arguments)]


def impatient(constants: Mapping[str, float], *arguments: object) -> list[str]:
    """Give the command line of a px whose modules have other constants.

    Args:
        constants: ``module.NAME`` to its value.
        arguments: Of px.
    """
    changes = [
        f"import {module} as m; m.{name} = {value!r}"
        for (module, _, name), value in ((n.rpartition("."), v) for n, v in constants.items())
    ]
    code = "; ".join([*changes, "import sys; from pypx.cli.main import main; sys.exit(main())"])
    return [sys.executable, "-c", code, *map(str, arguments)]


@pytest.fixture
def process(home: Path) -> Px:
    """Run px as users do; keyword arguments are those of subprocess.run."""

    def call(*arguments: object, **options: Any) -> Ran:
        environment = {**os.environ, **options.pop("env", {})}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        done = subprocess.run(
            command_line(*arguments), env=environment, timeout=30, check=False, **streams
        )
        return Ran(done.returncode, *((s or b"").decode() for s in (done.stdout, done.stderr)))

    return call


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with Archive(tmp_path_factory.mktemp("samples"), durability="none") as archive:
        write_samples(archive)
        yield archive


@pytest.fixture(scope="session")
def running(samples: Archive) -> Iterator[Pacs]:
    with Pacs(samples) as pacs:
        yield pacs


@pytest.fixture
def pacs(running: Pacs) -> Pacs:
    """Give a PACS with the samples, which knows nobody to send to."""
    running.destinations.clear()
    return running


@pytest.fixture
def port(pacs: Pacs) -> int:
    """Give a free port, which the PACS knows as that of PYPX."""
    free = free_port()
    pacs.destinations["PYPX"] = Address("PYPX", "127.0.0.1", free)
    return free


def write_config(home: Path, text: str) -> Path:
    """Write the user's configuration."""
    path = home / "config" / "pypx" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# For px retrieve --------------------------------------------------------------------------

SOON = {"pypx.cli.job_options._BACKOFF": 0.01, "pypx.retrieve.asking._AFTER_ERROR": 0.2}
"""What makes a job ask again at once, for :func:`impatient` and for ``soon``."""

Serve = Callable[..., Address]


@pytest.fixture
def soon(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let jobs wait less, and give the configuration, to which more may be written."""
    for name, value in SOON.items():
        monkeypatch.setattr(name, value)
    return write_config(home, "[listen]\nsettle = 0.2\n")


@pytest.fixture
def serve(samples: Archive, listener_port: int) -> Iterator[Serve]:
    """Start a PACS with these faults, which knows us."""
    here = {"PYPX": Address("PYPX", "127.0.0.1", listener_port)}
    with ExitStack() as stack:

        def start(*faults: str, source: Archive = samples) -> Address:
            served = Pacs(source, destinations=here, faults=faults)
            return stack.enter_context(served).address

        yield start


@pytest.fixture
def listener_port() -> int:
    return free_port()


@pytest.fixture
def retrieve(px: Px, soon: Path, listener_port: int) -> Callable[..., Ran]:
    """Run px retrieve with our listener on ``listener_port``."""
    return lambda *arguments, **options: px(
        "retrieve", "--port", listener_port, *arguments, **options
    )


def result_rows(path: Path) -> list[tuple[str, str]]:
    """Give number and status of each line of the results of a list, which come in any order."""
    import csv

    with Path(f"{path}.result.csv").open(encoding="utf-8", newline="") as file:
        return sorted(
            [(line["row"], line["status"]) for line in csv.DictReader(file)],
            key=lambda row: int(row[0]),
        )


def stored(home: Path) -> int:
    """Count the images of the user's archive."""
    return len(list((home / "pypx").glob("[!.]*/**/*.dcm")))


@pytest.fixture
def before_image(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Do something before a PACS of this process sends its n-th image; n counts from 1."""
    from pypx.client.store import Instance
    from pypx.pacs.behaviour import Behaviour, Send

    todo: dict[int, Callable[[], None]] = {}
    sent, lock = [0], threading.Lock()

    def sending(_: Behaviour, send: Send) -> Send:
        def counted(instance: Instance) -> int:
            with lock:
                sent[0] += 1
                do = todo.pop(sent[0], None)
            if do is not None:
                do()
            return send(instance)

        return counted

    monkeypatch.setattr(Behaviour, "sending", sending)
    return todo.__setitem__
