"""Disks of their own for the tests: mounted for a test, and gone after it, whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.crash.load import Child
from tests.peers.process import IN_CI, require


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder, and skip it where nobody waits for a minute of crashes."""
    wanted = IN_CI or os.environ.get("PYPX_CRASH") == "1"
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.crash)
            if not wanted:
                item.add_marker(pytest.mark.skip(reason="make crash runs these"))


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    with Child(tmp_path / "receiver.log") as one:
        yield one


@pytest.fixture
def may_mount() -> None:
    """Skip where nothing can be mounted: elsewhere than on Linux, or without the right to."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a disk")


@contextmanager
def mounted(where: Path, *arguments: str) -> Iterator[Path]:
    """Mount something; without the right to (in a container) the test is skipped."""
    where.mkdir(exist_ok=True)
    done = subprocess.run(
        [require("mount"), *arguments, str(where)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.strip()
        if any(word in said for word in ("denied", "not permitted", "must be superuser")):
            pytest.skip(f"nothing can be mounted here: {said}")
        if "loop device" in said:
            pytest.skip(f"there are no loop devices here: {said}")
        if "unknown filesystem" in said or "fuse: device not found" in said:
            pytest.skip(f"this kernel does not know that file system: {said}")
        pytest.fail(said)
    try:
        yield where
    finally:
        unmount(where)


def unmount(where: Path) -> None:
    """Unmount, even if something there is open still."""
    if subprocess.run([require("umount"), str(where)], capture_output=True, check=False).returncode:
        subprocess.run([require("umount"), "--lazy", str(where)], check=True)
        pytest.fail(f"something had {where} open still")


@contextmanager
def limited(controller: str, file: str, limit: int) -> Iterator[list[str]]:
    """Give the beginning of a command line whose process the system limits (control groups)."""
    top = Path("/sys/fs/cgroup") / controller
    if not (top / file).exists() and not (top / "tasks").exists():
        pytest.skip(f"there is no control group of version 1 for {controller} here")
    group = top / f"pypx-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group may be made here: {error}")
    try:
        (group / file).write_text(str(limit))
        yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    finally:
        while (group / "cgroup.procs").read_text().strip():
            time.sleep(0.02)  # a process that was killed is a moment away from its end
        group.rmdir()


@contextmanager
def injected(pid: int, calls: str, what: str) -> Iterator[None]:
    """Let strace meddle with calls of a process that runs; afterwards they are as ever.

    Args:
        pid: The process.
        calls: Names with commas between them.
        what: As in ``strace --inject=CALLS:WHAT``.
    """
    command = [require("strace"), "-f", "-qq", "-o", "/dev/null", f"--trace={calls}"]
    tracer = subprocess.Popen(
        [*command, f"--inject={calls}:{what}", f"--attach={pid}"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        status = Path(f"/proc/{pid}/status")
        while f"TracerPid:\t{tracer.pid}\n" not in status.read_text():
            if tracer.poll() is not None:
                assert tracer.stderr
                pytest.skip(f"no process may be traced here: {tracer.stderr.read()}")
            time.sleep(0.01)
        yield
    finally:
        tracer.terminate()
        tracer.communicate()
