"""Each call of the system that writes fails once: no success that is not durable, nothing lost.

A process stores a new object and other content for a stored one, under strace, which lets the
nth call of one kind fail. All of it is what really happens, calls of SQLite included;
``tests/archive/test_faults.py`` does the same to the calls of Python, and kills there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from pypx.archive import Archive
from tests.archive.helpers import content, files_of, names, store, superseded
from tests.crash.storing import NEW, OTHER
from tests.objects import data_set
from tests.peers.process import require

WAYS = {
    "twice": ("fdatasync", "fsync", "linkat", "pwrite64", "writev", "write", "mkdirat", "renameat"),
    "once": ("sync_file_range", "fsync", "linkat"),
}
CASES = [(way, call) for way, calls in WAYS.items() for call in calls]
ERRORS = ("EIO", "ENOSPC")
SAMPLE = {"pwrite64": 7}  # of the index only, and there are 60 of them: each seventh
INDEX = re.compile(r"/\.pypx/index\.sqlite|^\d+ +fdatasync\(\d+<[^>]*/\.pypx>")
STARTED = re.compile(r"sync_file_range\(.*, SYNC_FILE_RANGE_WRITE\)")  # promises nothing
FIRST = data_set(1)


class Ran(NamedTuple):
    """What the process said is stored, and its calls as strace shows them."""

    stored: list[int]
    refused: list[int]
    lines: list[str]


def stored_under_strace(root: Path, way: str, *options: str) -> Ran:
    log = root.with_name("strace.log")
    done = subprocess.run(
        [
            *(require("strace"), "-f", "-y", "-qq", "-o", str(log), "-e", "signal=none"),
            *(f"--trace={','.join(WAYS[way])}", *options),
            *(sys.executable, "-m", "tests.crash.storing", str(root), way),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip(f"no process may be traced here: {done.stderr.strip()}")
    said = [line.split() for line in done.stdout.splitlines()]
    stored, refused = (
        [int(number) for word, number in said if word == wanted] for wanted in ("stored", "refused")
    )
    return Ran(stored, refused, log.read_text(errors="replace").splitlines())


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """Give an archive of instance 1."""
    if sys.platform != "linux":
        pytest.skip("there is strace on Linux only")
    root = tmp_path / "before"
    with Archive(root) as archive:
        store(archive, 1)
    return root


def copy_of(before: Path) -> Path:
    root = before.with_name("archive")
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(before, root)
    return root


def numbers_of(call: str, lines: Sequence[str], root: Path) -> list[int]:
    """Give which of the calls of one kind are about the archive, from 1."""
    calls = [line for line in lines if re.match(rf"\d+ +{call}\(", line)]
    about = [number for number, line in enumerate(calls, 1) if f"<{root}" in line]
    return about[:: SAMPLE.get(call, 1)]


def check_what_is_there(root: Path, ran: Ran) -> None:
    """See to it that the next process finds all that was acknowledged, and nothing torn."""
    with Archive(root) as archive:
        report = archive.check(checksums=True)
        assert report.ok and not report.copies, report
        assert names(root / ".pypx/incoming") == []
        current = {
            located.meta.sop_instance_uid: content(located.path) for located in archive.instances()
        }
    contents = {content(root / path) for path in files_of(root)}
    everything = contents | {content(path) for path in superseded(root)}
    assert FIRST in everything, "what was stored before is there"
    assert everything <= {FIRST, data_set(**NEW), data_set(**OTHER)}
    if 2 in ran.stored:
        assert current["1.2.3.4.2"] == data_set(**NEW)
    if 1 in ran.stored:
        assert current["1.2.3.4.1"] == data_set(**OTHER)
    assert current["1.2.3.4.1"] in (FIRST, data_set(**OTHER))


def let_each_fail(before: Path, way: str, call: str, error: str) -> None:
    root = copy_of(before)
    good = stored_under_strace(root, way)
    assert (good.stored, good.refused) == ([2, 1], [])
    numbers = numbers_of(call, good.lines, root)
    assert numbers
    for number in numbers:
        root = copy_of(before)
        ran = stored_under_strace(root, way, f"--inject={call}:error={error}:when={number}")
        (failed,) = (line for line in ran.lines if "(INJECTED)" in line)
        if not (INDEX.search(failed) or STARTED.search(failed)):
            # The step of an object: it is not acknowledged. The index may come later.
            assert len(ran.stored) < 2, failed
        check_what_is_there(root, ran)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(("way", "call"), CASES)
def test_d7_a_call_that_fails(before: Path, way: str, call: str, error: str) -> None:
    let_each_fail(before, way, call, error)


@pytest.mark.timeout(90)
def test_d4_a_quota_that_is_used_up(before: Path) -> None:
    let_each_fail(before, "twice", "writev", "EDQUOT")
