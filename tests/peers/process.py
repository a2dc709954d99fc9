"""Programs that run beside the tests: found, started, waited for and ended.

What belongs to one product is in the module of that product.
"""

from __future__ import annotations

__all__ = ["HOST", "IN_CI", "Outcome", "Peer", "Place", "free_port", "require", "run", "wait_port"]

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

HOST = "127.0.0.1"
IN_CI = os.environ.get("CI") == "true"
SEARCH_PATH = os.pathsep.join(
    (os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/sbin")
)
PORTS = range(20000, 32000)  # below what Linux and macOS hand out to outgoing connections

_handed_out: set[int] = set()


def require(program: str) -> str:
    """Return the path of a program; without it the test fails in CI and is skipped elsewhere."""
    path = shutil.which(program, path=SEARCH_PATH)
    if path is None:
        missing = f"{program} is not installed (see tools/install_peers.sh)"
        if IN_CI:
            pytest.fail(missing)
        pytest.skip(missing)
    return path


def free_port() -> int:
    """Return a port that nobody listens on, never the same one twice in a run.

    Test processes that run side by side have ports of their own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    for _ in range(1000):
        port = random.choice(PORTS[worker::workers])
        if port in _handed_out:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("", port))
                _handed_out.add(port)
                return port
    raise RuntimeError(f"no free port in {PORTS}")


def wait_port(
    port: int, *, timeout: float = 20.0, alive: Callable[[], bool] = lambda: True
) -> None:
    """Return as soon as something accepts TCP connections on the port.

    Raises:
        TimeoutError: Nothing did within ``timeout`` seconds, or ``alive`` says that nothing will.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and alive():
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1.0):
            return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")


class Place(Protocol):
    """A network of its own in which a program may run.

    Attributes:
        host: The address at which programs there are reached.
        inside: The beginning of a command line that runs there.
    """

    host: str
    inside: list[str]


class Outcome(NamedTuple):
    """How a program ended, and what it wrote to stdout and stderr."""

    returncode: int
    output: str


def run(
    program: str,
    *arguments: str | os.PathLike[str],
    nodelay: bool = True,
    timeout: float = 60.0,
) -> Outcome:
    """Run a program to its end; ``nodelay`` is TCP_NODELAY=1 for DCMTK, which leaves Nagle on."""
    done = subprocess.run(
        [require(program), *(os.fspath(a) for a in arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(nodelay),
        timeout=timeout,
        check=False,
    )
    return Outcome(done.returncode, done.stdout.decode("utf-8", "backslashreplace"))


class Peer:
    """A server of somebody else's, in a process group of its own.

    ``port`` is that of its DICOM side; it is up when that and ``other_ports`` accept
    connections. Its output goes to a file, and when it does not start, the error shows the
    end of that. It runs in ``place``, or where the test does. It ends with the test process
    even if that is killed, where the system can.
    """

    START_TIMEOUT = 20.0
    STOP_TIMEOUT = 10.0

    def __init__(
        self,
        program: str,
        *arguments: str | os.PathLike[str],
        ae_title: str,
        port: int,
        log: Path,
        other_ports: Sequence[int] = (),
        nodelay: bool = True,
        place: Place | None = None,
    ) -> None:
        self.program = program
        self.ae_title = ae_title
        self.port = port
        self._ports = (port, *other_ports)
        self.log_path = log
        self._place = place
        inside = place.inside if place is not None else []
        command = [require(program), *(os.fspath(a) for a in arguments)]
        self._command = [*_end_with_parent(), *inside, *command]
        self._env = _environment(nodelay)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """``AET@host:port`` of its DICOM side."""
        host = HOST if self._place is None else self._place.host
        return f"{self.ae_title}@{host}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_path.read_text(encoding="utf-8", errors="backslashreplace")

    def start(self) -> None:
        """Start it and return when it accepts connections."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
            )
        try:
            for port in self._ports:
                self._wait_for(port)
        except TimeoutError as error:
            self.kill()
            raise RuntimeError(
                f"{self.program} did not start: {error}\n{self.log[-3000:]}"
            ) from None
        except BaseException:
            self.kill()
            raise

    def _wait_for(self, port: int) -> None:
        timeout = self.START_TIMEOUT
        if self._place is None:
            wait_port(port, timeout=timeout, alive=lambda: self.pid is not None)
            return
        deadline = time.monotonic() + timeout  # nobody out here can reach it
        while (pid := self.pid) is not None and time.monotonic() < deadline:
            if _listens(pid, port):
                return
            time.sleep(0.02)
        raise TimeoutError(f"nothing listens on port {port} of {self._place.host}")

    def signal(self, how: signal.Signals) -> None:
        """Send a signal to it and to what it forked."""
        assert self._process is not None
        _signal_group(self._process.pid, how)

    def stop(self) -> None:
        """End it politely; kill it when it does not listen."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, the way a crash does."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it politely and start it again with what it has stored."""
        self.stop()
        self.start()

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        _signal_group(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self.STOP_TIMEOUT)
        _signal_group(process.pid, signal.SIGKILL)  # also children that it forked
        process.wait()


def _listens(pid: int, port: int) -> bool:
    """Whether anybody listens on a port in the network of a process (Linux)."""
    lines = []
    for kind in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):  # it has just ended, or there is no IPv6
            lines += Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    return any(one[3] == "0A" and int(one[1].rpartition(":")[2], 16) == port for one in fields)


def _signal_group(group: int, how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, how)


def _end_with_parent() -> list[str]:
    # Linux binds it to the thread, so a peer is to be started in the one that outlives it.
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def _environment(nodelay: bool) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    return env | ({"TCP_NODELAY": "1"} if nodelay else {})
