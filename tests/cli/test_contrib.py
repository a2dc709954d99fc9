"""What is in contrib: units that systemd takes and px can live in, rotation that loses nothing."""

from __future__ import annotations

import getpass
import grp
import os
import re
import shlex
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pypx.archive import Archive
from tests.cli.conftest import stored, write_config
from tests.cli.test_listen import send
from tests.cli.test_service_manager import Manager, address
from tests.hostile import RawPeer, request
from tests.listening import eventually
from tests.peers.process import require

CONTRIB = Path(__file__).parents[2] / "contrib"
UNITS = CONTRIB / "systemd"
SERVICE = (UNITS / "pypx-listen.service").read_text(encoding="utf-8")
MOST_EXPOSED = 15  # of 100: nearly all is closed but the network
WAIT = 30.0
TRACED = 100.0


def systemd(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [require("systemd-analyze"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """Give the units with a program that is there."""
    found = []
    for kind in ("service", "socket"):
        path = tmp_path / f"pypx-listen.{kind}"
        text = (UNITS / path.name).read_text(encoding="utf-8")
        path.write_text(text.replace("/opt/pypx/bin/px", "/bin/true"))
        found.append(path)
    return found


@pytest.fixture
def manager(home: Path) -> Iterator[Manager]:
    with ExitStack() as stack:
        yield Manager(stack)


def test_systemd_takes_the_units(units: list[Path]) -> None:
    ran = systemd("verify", "--man=no", *units)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


def test_what_the_service_may_do_is_little(units: list[Path]) -> None:
    ran = systemd("security", "--offline=true", f"--threshold={MOST_EXPOSED}", units[0])
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"Overall exposure level for pypx-listen.service: [01]\.\d", ran.stdout)


def test_systemd_makes_the_user(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    command = [require("systemd-sysusers"), f"--root={tmp_path}", UNITS / "pypx.sysusers"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    user = (tmp_path / "etc/passwd").read_text()
    assert re.search(r"^pypx:x:\d+:\d+:DICOM listener:/var/lib/pypx:\S*nologin$", user, re.M)


def command_of_the_service(archive: Path) -> list[str]:
    """Give what ``ExecStart`` runs after ``px listen``, with another archive."""
    line = re.search(r"^ExecStart=(.*)$", SERVICE, re.M)
    assert line
    program, command, *arguments = shlex.split(line[1])
    assert (program, command) == ("/opt/pypx/bin/px", "listen")
    place = arguments.index("--archive") + 1
    assert arguments[place] == "/var/lib/pypx/archive"
    arguments[place] = str(archive)
    return arguments


def test_the_command_of_the_service(manager: Manager, samples: Archive, home: Path) -> None:
    sock = manager.open(socket.AF_INET, "127.0.0.1")
    watchdog = re.search(r"^WatchdogSec=(\d+)$", SERVICE, re.M)
    assert watchdog
    arguments = command_of_the_service(home / "pypx")
    process = manager.start(*arguments, sockets=(sock,), WATCHDOG_USEC=f"{watchdog[1]}000000")
    manager.wait_for("READY=1")
    manager.wait_for("WATCHDOG=1")
    send(address(sock), samples, 2)
    assert stored(home) == 2
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT) == 0


def allowed_calls() -> set[str]:
    """Give the calls of the system that ``SystemCallFilter`` lets through."""
    groups: dict[str, set[str]] = {}
    group = ""
    for line in systemd("syscall-filter", "--no-pager").stdout.splitlines():
        if line.startswith("@"):
            group = line.strip()
            groups[group] = set()
        elif group and line.startswith(" ") and not line.strip().startswith("#"):
            groups[group].add(line.strip())

    def calls_of(name: str) -> set[str]:
        if not name.startswith("@"):
            return {name}
        return {call for one in groups[name] for call in calls_of(one)}

    allowed: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", SERVICE, re.M):
        named = {call for name in line.lstrip("~").split() for call in calls_of(name)}
        allowed = allowed - named if line.startswith("~") else allowed | named
    return allowed


@pytest.mark.timeout(400)  # under strace each call waits for a second process
def test_the_calls_of_the_system_that_it_needs(
    manager: Manager, samples: Archive, home: Path
) -> None:
    """All that it calls on its way is let through: a start, objects, a reload, hooks, a stop."""
    manager.patience = TRACED
    hook = 'hooks = [{ name = "one", command = ["/bin/true"] }]\n'
    write_config(home, hook + "[listen]\nsettle = 0.1\n")
    sock = manager.open(socket.AF_INET, "127.0.0.1")
    traced = home / "calls"
    strace = ["-f", "-qq", "-e", "trace=all", "-o", str(traced)]
    code = f"import os, sys; os.execv({require('strace')!r}, ['strace', *{strace!r}, '-D'"
    code += ", sys.executable, '-m', 'pypx', *sys.argv[1:]])"
    process = manager.start(sockets=(sock,), code=code)
    manager.wait_for("READY=1")
    send(address(sock), samples, 3)
    queue = home / "pypx/.pypx/hooks/queue"
    eventually(lambda: 'execve("/bin/true"' in traced.read_text(), TRACED)
    process.send_signal(signal.SIGHUP)
    manager.wait_for("RELOADING=1")
    eventually(lambda: not list(queue.rglob("*.json")), TRACED)
    process.send_signal(signal.SIGTERM)
    assert process.wait(TRACED) == 0
    eventually(lambda: f"{process.pid} exit_group(0)" in traced.read_text(), TRACED)
    trace = traced.read_text()
    called = set(re.findall(r"^\d+ +(\w+)\(", trace, re.M))
    assert {"accept4", "linkat", "sendto"} <= called
    # SQLite gives its files to the owner of the database, where it is root.
    as_root = {"fchown"} if os.geteuid() == 0 else set()
    assert called - allowed_calls() - as_root == set()
    # MemoryDenyWriteExecute, RestrictAddressFamilies; looking up names can do without AF_NETLINK.
    assert not re.findall(r"mprotect\(.*PROT_EXEC|mmap\(.*PROT_WRITE\|PROT_EXEC", trace)
    families = set(re.findall(r"\bsocket\((\w+)", trace))
    assert families <= {"AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"}
    # ProtectSystem=strict, PrivateTmp: beside the archive nothing is written but temporary files.
    # The key of the log is only made where it may be.
    written = set(re.findall(r'openat\(AT_FDCWD, "(/[^"]*)", [^)]*O_(?:WRONLY|RDWR|CREAT)', trace))
    ours = (f"{home}/pypx", f"{home}/config/pypx/log.key", tempfile.gettempdir(), "/dev/null")
    assert {path for path in written if not path.startswith(ours)} == set()


# Rotation ---------------------------------------------------------------------------------


@pytest.fixture
def rotation(home: Path) -> Path:
    """Give the rules of rotation with folders and a user that are there."""
    (home / "log/audit").mkdir(parents=True, mode=0o750)
    text = (CONTRIB / "logrotate/pypx").read_text(encoding="utf-8")
    text = text.replace("/var/log/pypx", str(home / "log"))
    user, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
    path = home / "rotation"
    path.write_text(text.replace("su pypx pypx", f"su {user} {group}"))
    path.chmod(0o644)
    return path


def rotate(rules: Path) -> None:
    command = [require("logrotate"), "--force", "--state", f"{rules}.state", str(rules)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_lines_go_on_in_the_new_file(manager: Manager, home: Path, rotation: Path) -> None:
    """Of both: the lines of a listener, which keeps its file open, and the audit trail."""
    logs = home / "log"
    write_config(home, f'[audit]\nto = "file:{logs}/audit/audit.log"\n')
    manager.log = logs / "listen.log"
    sock = manager.open(socket.AF_INET, "127.0.0.1")
    code = "import os, sys; fd = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_APPEND)\n"
    code += "os.dup2(fd, 1); os.dup2(fd, 2)\n"
    code += "os.execv(sys.executable, [sys.executable, '-m', 'pypx', *sys.argv[1:]])"
    process = manager.start("--log-json", sockets=(sock,), code=code, first=str(manager.log))
    manager.wait_for("READY=1")

    def associate(title: str) -> None:
        with RawPeer(sock.getsockname()[1]) as peer:
            peer.send(request(calling=title.encode()))
            peer.receive()
            peer.send(bytes.fromhex("05000000000400000000"))
            peer.receive()
        # Written by two threads, after the association.
        eventually(lambda: title in (logs / "listen.log").read_text())

    associate("BEFORE")
    rotate(rotation)
    associate("AFTER")
    assert "BEFORE" in (logs / "listen.log.1").read_text()
    assert "BEFORE" not in (logs / "listen.log").read_text()
    assert b"\0" not in (logs / "listen.log").read_bytes()
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT) == 0
    (old,) = [path for path in (logs / "audit").iterdir() if path.name != "audit.log"]
    assert "110120" in old.read_text()  # application start
    assert "110121" in (logs / "audit/audit.log").read_text()  # application stop
