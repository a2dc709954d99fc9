"""A power cut at any moment: what was acknowledged is there after the journal was replayed.

The disk is a file with ext4 on it; EXT4_IOC_SHUTDOWN without a flush of the log makes it forget
what has not reached it, as a power cut does.
"""

from __future__ import annotations

import fcntl
import os
import random
import struct
import subprocess
from pathlib import Path

import pytest

from tests.crash.conftest import mounted
from tests.crash.load import Child, Sender, Senders, check_senders, lost
from tests.peers.process import free_port, require

ROUNDS = 50
SENDERS = 2
LARGEST = 60_000
MOST_ACKNOWLEDGED = 10  # before a cut

_EXT4_IOC_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2

pytestmark = pytest.mark.usefixtures("may_mount")


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Give a file with an empty ext4 in it, made with the flags of the test's parameter."""
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(256 << 20)
    flags = getattr(request, "param", ())
    subprocess.run([require("mkfs.ext4"), "-q", "-F", *flags, str(path)], check=True)
    return path


def cut_power(where: Path) -> None:
    fd = os.open(where, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
    finally:
        os.close(fd)


def repair(disk: Path) -> None:
    """Make the file system usable again: as a starting system does, else as its keeper would.

    Without a log a cut may leave what -p does not mend by itself (exit code 4).
    """
    for answer in ("-p", "-y"):
        command = [require("e2fsck"), answer, str(disk)]
        checked = subprocess.run(command, capture_output=True, text=True, check=False)
        if checked.returncode in (0, 1):
            return
    pytest.fail(f"not mended: {checked.stdout}")


def round_of(
    child: Child,
    disk: Path,
    before: list[Sender],
    durability: str,
    acknowledged: int,
    *,
    fsck: bool = False,
    honest: bool = True,
) -> list[str]:
    """Receive until so much is acknowledged, cut the power, and give what is lost.

    Args:
        child: Runs the receiver.
        disk: What loses power.
        before: The senders of earlier rounds, whose objects are to be there still; those of
            this one are added.
        durability: Of the receiver.
        acknowledged: How much of one sender.
        honest: Whether a sync that the cut meets fails; where it may seem to succeed, what is
            acknowledged in that moment does not count.
        fsck: Whether the disk is checked first; without a log that makes it usable again.
    """
    mountpoint = disk.with_name("mnt")
    port = free_port()
    with mounted(mountpoint, "-o", "loop", str(disk)):
        child.start(mountpoint / "archive", port, durability=durability)
        try:
            with Senders(port, SENDERS, seed=len(before), largest=LARGEST) as senders:
                before += senders
                senders[0].wait_for(acknowledged)
                for sender in senders:
                    sender.counting = honest
                cut_power(mountpoint)
        finally:
            child.kill()
    check_senders(senders, refusals=frozenset({0xA700}))  # the disk was gone
    if fsck:
        repair(disk)
    with mounted(mountpoint, "-o", "loop", str(disk)):
        return lost(mountpoint / "archive", before)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("disk", "rounds"),
    [((), ROUNDS), (("-O", "^has_journal"), ROUNDS // 2)],
    ids=["ext4", "ext4 without a log"],
    indirect=["disk"],
)
def test_d11_cut_after_random_acknowledgements(disk: Path, rounds: int, child: Child) -> None:
    chance = random.Random(50)
    before: list[Sender] = []
    for _ in range(rounds):
        acknowledged = chance.randint(1, MOST_ACKNOWLEDGED)
        assert round_of(child, disk, before, "full", acknowledged, fsck=True) == []


@pytest.mark.timeout(60)
def test_d11_without_durability_a_cut_does_lose(disk: Path, child: Child) -> None:
    """The cut is one: who does not ask for durability sees it."""
    assert round_of(child, disk, [], "none", 20)
