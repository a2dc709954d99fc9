"""``px listen`` under a service manager: its sockets, what it hears, and its watchdog."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.net.service_manager import ServiceManager
from tests.cli.conftest import stored, write_config
from tests.cli.test_listen import SHARED, WORKERS, send
from tests.listening import eventually
from tests.peers.process import free_port
from tests.receiver.test_workers import wait_until

WAIT = 30.0
LAUNCHER = """
import os, sys
sockets = [os.dup(os.dup(os.dup(int(number)))) for number in sys.argv[1].split(",") if number]
for place, number in enumerate(sockets):
    os.dup2(number, 3 + place, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(sockets)), LISTEN_FDNAMES="x")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
HUNG = """
import time
from pypx.net.server import Server
Server._begin = lambda *_: time.sleep(3600)
import sys
from pypx.cli.main import main
sys.exit(main())
"""


class Manager:
    """What starts services, gives them sockets, and hears of them."""

    def __init__(self, stack: ExitStack, *, abstract: bool = False) -> None:
        self.stack = stack
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="px-"))
        self.name = f"@{folder}/notify" if abstract else f"{folder}/notify"
        self.heard: list[str] = []
        self.patience = WAIT
        self.notify = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self.notify.bind(f"\0{self.name[1:]}" if abstract else self.name)
        self.process: subprocess.Popen[bytes] | None = None
        self.log = Path(folder) / "log"

    def open(self, family: socket.AddressFamily, host: str) -> socket.socket:
        sock = self.stack.enter_context(socket.socket(family))
        sock.bind((host, 0))
        sock.listen()
        return sock

    def start(
        self,
        *arguments: object,
        sockets: tuple[socket.socket, ...] = (),
        code: str = "",
        first: str = "",
        **environ: str,
    ) -> subprocess.Popen[bytes]:
        numbers = ",".join(str(sock.fileno()) for sock in sockets)
        program = ["-c", code] if code else ["-m", "pypx"]
        program += [first] if first else []
        command = [sys.executable, "-c", LAUNCHER, numbers, *program, "listen"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *map(str, arguments)],
                pass_fds=[sock.fileno() for sock in sockets],
                env={**os.environ, "NOTIFY_SOCKET": self.name, **environ},
                stdout=log,
                stderr=log,
            )
        self.stack.callback(self.end, self.process)
        return self.process

    @staticmethod
    def end(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()

    @property
    def said(self) -> str:
        return self.log.read_text()

    def hear(self, timeout: float | None = None) -> list[str]:
        """Give the lines of the next datagram; none after this time."""
        self.notify.settimeout(self.patience if timeout is None else timeout)
        try:
            lines = self.notify.recv(4096).decode().split("\n")
        except TimeoutError:
            return []
        self.heard += lines
        return lines

    def wait_for(self, line: str) -> list[str]:
        while lines := self.hear():
            if line in lines:
                return lines
        raise AssertionError((line, self.heard, self.said))

    def wait_for_silence(self) -> None:
        """Hear until it says nothing for as long as it never is silent while it is well."""
        for _ in range(20):
            if not self.hear(2.5):
                return
        raise AssertionError(self.heard)


@pytest.fixture
def manager(home: Path) -> Iterator[Manager]:
    with ExitStack() as stack:
        yield Manager(stack)


def both(manager: Manager) -> tuple[socket.socket, socket.socket]:
    try:
        six = manager.open(socket.AF_INET6, "::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    return manager.open(socket.AF_INET, "127.0.0.1"), six


def address(sock: socket.socket) -> Address:
    return Address("PYPX", *sock.getsockname()[:2])


@pytest.mark.parametrize("workers", WORKERS)
def test_sockets_of_the_manager(
    manager: Manager, samples: Archive, home: Path, workers: int
) -> None:
    four, six = both(manager)
    port = free_port()
    write_config(home, f"[listen]\nport = {port}\n")
    process = manager.start("--workers", workers, sockets=(four, six))
    manager.wait_for("READY=1")
    where = f"127.0.0.1:{address(four).port} and [::1]:{address(six).port}"
    assert f"STATUS=Receiving on {where}" in manager.heard
    assert f"Listening on {where} as PYPX" in manager.said
    assert "the configured one is not bound" in manager.said
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    for sock in (four, six):
        send(address(sock), samples, 3)
    assert stored(home) == 3

    process.send_signal(signal.SIGHUP)
    lines = manager.wait_for("RELOADING=1")
    assert re.fullmatch(r"MONOTONIC_USEC=\d+", lines[1])
    assert manager.hear() == ["READY=1"]

    process.send_signal(signal.SIGTERM)
    manager.wait_for("STOPPING=1")
    assert process.wait(WAIT) == 0

    # Who opened the sockets still has them: a connection waits for the next one.
    with socket.create_connection(four.getsockname()):
        manager.start("--workers", workers, sockets=(four, six))
        manager.wait_for("READY=1")
        send(address(four), samples, 1)


def test_a_name_that_is_in_no_file_system(home: Path) -> None:
    with ExitStack() as stack:
        manager = Manager(stack, abstract=True)
        manager.start("--port", 0)
        manager.wait_for("READY=1")


def test_it_is_ready_when_the_archive_is(manager: Manager, home: Path) -> None:
    """READY=1 after all has been put in order, and never where it cannot be."""
    (home / "pypx").write_text("no folder")
    process = manager.start("--port", 0)
    assert process.wait(WAIT) in (2, 5)
    assert manager.hear(0.1) == []


@pytest.mark.parametrize("workers", WORKERS)
def test_a_socket_for_all_needs_somebody_who_may_send(manager: Manager, workers: int) -> None:
    sockets = (manager.open(socket.AF_INET, "127.0.0.1"), manager.open(socket.AF_INET, "0.0.0.0"))
    assert manager.start("--workers", workers, sockets=sockets).wait(WAIT) == 2
    assert "would take files from anybody" in manager.said


@pytest.mark.parametrize("kind", ["file", "datagram", "unix", "not listening"])
def test_what_is_no_socket_that_listens(manager: Manager, kind: str) -> None:
    stack = manager.stack
    families = {"unix": socket.AF_UNIX}
    kinds = {"datagram": socket.SOCK_DGRAM}
    if kind == "file":
        given: Any = stack.enter_context(manager.log.with_name("file").open("wb"))
    else:
        family = families.get(kind, socket.AF_INET)
        given = stack.enter_context(socket.socket(family, kinds.get(kind, socket.SOCK_STREAM)))
        if kind == "unix":
            given.bind(str(manager.log.with_name("stream")))
            given.listen()
    assert manager.start(sockets=(given,)).wait(WAIT) == 2
    assert "The file descriptor 3 of the service manager is no TCP socket" in manager.said
    assert "ListenStream=" in manager.said


def test_what_is_meant_for_another_process() -> None:
    environ = {
        "LISTEN_PID": str(os.getppid()),
        "LISTEN_FDS": "3",
        "WATCHDOG_PID": str(os.getppid()),
        "WATCHDOG_USEC": "1000000",
        "NOTIFY_SOCKET": "vsock:2:1234",
        "OTHER": "stays",
    }
    manager = ServiceManager(environ)
    assert (manager.sockets, manager.watchdog) == ((), 0)
    manager.tell("READY=1")  # nobody hears it
    assert environ == {"OTHER": "stays"}, "processes that we start are not meant"


def test_a_connection_that_it_accepted_is_no_listening_socket(home: Path) -> None:
    """``Accept=yes`` for ``--inetd``: it is standard input too, and must not stay open."""
    mine, theirs = socket.socketpair()
    code = (
        "import os; from pypx.net.service_manager import ServiceManager; "
        "os.environ['LISTEN_PID'] = str(os.getpid()); "
        "print(ServiceManager(os.environ, listens=False).sockets); os.fstat(3)"
    )
    with mine, theirs:
        launch = f"import os, sys; os.dup2({theirs.fileno()}, 3); os.set_inheritable(3, True); "
        launch += f"os.environ['LISTEN_FDS'] = '1'; exec({code!r})"
        ran = subprocess.run(
            [sys.executable, "-c", launch],
            pass_fds=[theirs.fileno()],
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.stdout == "()\n"
    assert "Bad file descriptor" in ran.stderr


# The watchdog -----------------------------------------------------------------------------

SECONDS = {"WATCHDOG_USEC": "2000000"}


@pytest.mark.parametrize("workers", WORKERS)
def test_a_process_that_is_stopped_beats_no_more(manager: Manager, workers: int) -> None:
    process = manager.start("--port", 0, "--workers", workers, **SECONDS)
    manager.wait_for("READY=1")
    manager.wait_for("WATCHDOG=1")
    process.send_signal(signal.SIGSTOP)
    manager.wait_for_silence()
    process.send_signal(signal.SIGCONT)
    manager.wait_for("WATCHDOG=1")
    manager.wait_for("WATCHDOG=1")


def test_a_loop_that_hangs_beats_no_more(manager: Manager, samples: Archive) -> None:
    """All other threads live: a beat of theirs would say nothing."""
    four = manager.open(socket.AF_INET, "127.0.0.1")
    process = manager.start(sockets=(four,), code=HUNG, **SECONDS)
    manager.wait_for("READY=1")
    manager.wait_for("WATCHDOG=1")
    with socket.create_connection(four.getsockname()):
        manager.wait_for_silence()
        process.send_signal(signal.SIGHUP)
        manager.wait_for("RELOADING=1")  # the main thread lives
        manager.wait_for_silence()
    assert "WATCHDOG=1" not in manager.heard[manager.heard.index("RELOADING=1") :]


@SHARED
def test_one_worker_that_hangs_is_enough(manager: Manager) -> None:
    process = manager.start("--port", 0, "--workers", 2, **SECONDS)
    manager.wait_for("WATCHDOG=1")
    task = Path(f"/proc/{process.pid}/task")

    def workers() -> list[int]:
        found = [(one / "children").read_text().split() for one in task.iterdir()]
        return [int(pid) for pids in found for pid in pids]

    eventually(lambda: len(workers()) == 2)
    os.kill(workers()[0], signal.SIGSTOP)
    manager.wait_for_silence()
    os.kill(workers()[0], signal.SIGCONT)
    os.kill(workers()[1], signal.SIGCONT)
    manager.wait_for("WATCHDOG=1")
    # One that died does not count: it is started again.
    os.kill(workers()[0], signal.SIGKILL)
    wait_until(lambda: "It is started again" in manager.said)
    manager.wait_for("WATCHDOG=1")
