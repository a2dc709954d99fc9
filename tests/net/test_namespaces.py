"""A link that dies or is slow, in a network of its own: rows A16 and A21 of the table.

The listener and its peer run in a network namespace whose only device is loopback, so that
nothing else is touched. That needs root on Linux.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.listening import at_home, compared, eventually
from tests.objects import write_file
from tests.peers.process import IN_CI, require

PORT = 10402
PEER = """
import sys, time
sys.path[:0] = sys.argv[1].split(":")
from tests.hostile import RawPeer
peer = RawPeer(10402)
peer.associate()
print("associated", flush=True)
time.sleep(60)
"""


class Network:
    """A namespace, and processes in it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.root = folder / "archive"
        self.inside = [require("ip"), "netns", "exec", name]
        self.started: list[subprocess.Popen[str]] = []

    def px(self, *arguments: object) -> list[str]:
        return [
            *self.inside,
            *at_home(self.folder / "home"),
            *(sys.executable, "-m", "pypx", *map(str, arguments)),
        ]

    def start(self, command: list[str], log: str) -> subprocess.Popen[str]:
        stream = (self.folder / log).open("w")
        with stream:
            process = subprocess.Popen(command, stdout=stream, stderr=stream, text=True)
        self.started.append(process)
        return process

    def said(self, log: str) -> str:
        return (self.folder / log).read_text()

    def device(self, *words: str) -> None:
        subprocess.run([*self.inside, *words], check=True)

    def listen(self, config: str) -> None:
        (self.folder / "config.toml").write_text(config)
        options = ("--config", self.folder / "config.toml", "--archive", self.root)
        self.start(self.px("listen", *options, "--durability", "none"), "listener.log")
        eventually(lambda: "Listening on" in self.said("listener.log"))


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    if sys.platform != "linux" or os.geteuid() != 0:
        if IN_CI:
            pytest.fail("CI must be root on Linux for this")
        pytest.skip("only root on Linux makes a network namespace")
    name = f"pypx-{os.getpid()}"
    made = subprocess.run(
        [require("ip"), "netns", "add", name], capture_output=True, text=True, check=False
    )
    if made.returncode:
        if IN_CI:
            pytest.fail(made.stderr)
        pytest.skip(f"no network namespace may be made here: {made.stderr.strip()}")
    one = Network(name, tmp_path)
    try:
        one.device("ip", "link", "set", "lo", "up")
        yield one
    finally:
        for process in one.started:
            process.kill()
            process.wait()
        subprocess.run([require("ip"), "netns", "del", name], check=True)


def test_a16_a_peer_that_vanishes(network: Network) -> None:
    """No FIN, no RST: the association ends by silence, and its place is free."""
    network.listen("[listen]\nidle_timeout = 1\nmax_associations = 1\n")
    paths = ":".join(path for path in sys.path if path)
    network.start([*network.inside, sys.executable, "-c", PEER, paths], "peer.log")
    eventually(lambda: "associated" in network.said("peer.log"))
    network.device("ip", "link", "set", "lo", "down")
    eventually(lambda: "was silent for 1 s" in network.said("listener.log"))
    network.device("ip", "link", "set", "lo", "up")
    eventually(lambda: echo(network) == 0)
    assert network.said("listener.log").count("was silent for 1 s") == 1


def echo(network: Network) -> int:
    command = network.px("echo", f"PYPX@127.0.0.1:{PORT}", "--timeout", "2")
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_a21_a_slow_link(network: Network) -> None:
    """8 Mbit/s: slower, and byte by byte the same."""
    network.listen("[listen]\npdu_timeout = 30\n")
    shape = "tc qdisc add dev lo root tbf rate 8mbit burst 32kbit latency 400ms"
    network.device("ip", "link", "set", "lo", "mtu", "1500")  # a whole packet fits the burst
    network.device(*shape.split())
    send_three(network)


def test_a21_a_link_that_loses_packets(network: Network) -> None:
    """Of each hundred packets two are lost, either way; TCP sends them again."""
    network.listen("")
    # Loopback would carry all in a few large packets.
    network.device(*["ip", "link", "set", "lo", "mtu", "1500", "gso_max_segs", "1"])
    rule = "-A INPUT -m statistic --mode random --probability 0.02 -j DROP"
    iptables = require("iptables")
    network.device(iptables, *rule.split())
    send_three(network)
    counted = subprocess.run(
        [*network.inside, iptables, "-nvxL", "INPUT"], capture_output=True, text=True, check=True
    ).stdout
    lost = re.search(r"^ *(\d+) +\d+ +DROP", counted, re.M)
    assert lost and int(lost[1]) > 0, counted


def send_three(network: Network) -> None:
    """Send objects that are whole only if each byte arrives."""
    paths = [
        write_file(network.folder, number, PixelData=os.urandom(300_000)) for number in range(3)
    ]
    sent = subprocess.run(
        network.px("store", f"PYPX@127.0.0.1:{PORT}", *paths),
        capture_output=True,
        text=True,
        check=False,
    )
    assert sent.returncode == 0, sent.stderr
    assert compared(network.root).ok
    tree = [path for path in network.root.rglob("*.dcm") if ".pypx" not in path.parts]
    stored = {path.read_bytes()[-300_000:] for path in tree}
    assert stored == {path.read_bytes()[-300_000:] for path in paths}
