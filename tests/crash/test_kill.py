"""SIGKILL at any moment under load: what was acknowledged is there, whole and indexed."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from tests.crash.load import Child, Senders, check_senders, lost
from tests.peers.process import free_port

SENDERS = 4
LARGEST = 200_000  # bytes of pixels: some objects are more than one read and one PDU
LONGEST_LIFE = 0.2  # seconds; also before the receiver accepts anything


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("way", "kills"), [("TMPFILE", 200), ("LINK", 40)])
def test_d9_killed_at_random_moments(tmp_path: Path, child: Child, way: str, kills: int) -> None:
    chance = random.Random(way)
    port = free_port()
    root = tmp_path / "archive"
    clock = threading.Event()
    with Senders(port, SENDERS, seed=kills, largest=LARGEST) as senders:
        for _ in range(kills):
            child.start(root, port, way=way)
            clock.wait(chance.uniform(0, LONGEST_LIFE))
            child.kill()
    check_senders(senders)
    assert lost(root, senders) == []
    assert sum(sender.count for sender in senders) > kills, "the receiver lived to do something"
    assert sum(sender.broken for sender in senders) > kills // 4, "it was killed while it did"
