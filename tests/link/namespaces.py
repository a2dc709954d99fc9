"""Two networks of their own with a wire between them, which a test may spoil.

In: nothing; root on Linux. Out: two places where programs run, and ways to make what is between
them slow, lossy, dead. Nothing of the machine itself is touched: the wire is made between the two,
and all rules are inside. Nothing of DICOM is known here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Sequence
from types import TracebackType

import pytest

from tests.peers.process import IN_CI, require

__all__ = ["Namespace", "Wire"]

_DEVICE = "wire"


class Namespace:
    """A network namespace (``tests.peers.process.Place``).

    Args:
        host: Its address on the wire.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.name = f"pypx-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.inside = [require("ip"), "netns", "exec", self.name]

    def do(self, *words: str) -> None:
        """Run a program inside, which must succeed."""
        done = subprocess.run(
            [*self.inside, require(words[0]), *words[1:]],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)

    def filter(self, *rule: str) -> None:
        """Append a rule for what comes in over the wire."""
        self.do("iptables", "--wait", "-A", "INPUT", "-i", _DEVICE, *rule)


class Wire:
    """Two namespaces, joined; a context manager that leaves nothing behind.

    Attributes:
        near: Where pypx is, as a rule.
        far: Where its peer is.
    """

    def __init__(self) -> None:
        for program in ("ip", "tc", "iptables"):
            require(program)
        if sys.platform != "linux" or os.geteuid() != 0:
            _unable("only root on Linux makes a network namespace")
        self.near, self.far = Namespace("198.51.100.1"), Namespace("198.51.100.2")
        self.ends: Sequence[Namespace] = (self.near, self.far)
        self._made: list[Namespace] = []

    def __enter__(self) -> Wire:
        try:
            for end in self.ends:
                self._add(end)
            near, far = (end.name for end in self.ends)
            ends = (_DEVICE, "netns", near), ("name", _DEVICE, "netns", far)
            _ip("link", "add", *ends[0], "type", "veth", "peer", *ends[1])
            for end in self.ends:
                end.do("ip", "link", "set", "lo", "up")
                end.do("ip", "address", "add", f"{end.host}/24", "dev", _DEVICE)
                # Packets as on a real wire: a kernel joins them to 64 KiB, lost all at once.
                end.do("ip", "link", "set", _DEVICE, "up", "gso_max_size", "1500")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._remove()

    def _add(self, end: Namespace) -> None:
        made = subprocess.run(
            [require("ip"), "netns", "add", end.name], capture_output=True, text=True, check=False
        )
        if made.returncode:
            _unable(f"no network namespace may be made here: {made.stderr.strip()}")
        self._made.append(end)

    def _remove(self) -> None:
        while self._made:
            _ip("netns", "del", self._made.pop().name)

    # What may happen to it; all of it in both directions

    def slow(self, rate: str) -> None:
        """Let no more than this through, for example ``1mbit``."""
        shape = ("rate", rate, "burst", "4kb", "latency", "400ms")
        for end in self.ends:
            end.do("tc", "qdisc", "replace", "dev", _DEVICE, "root", "tbf", *shape)

    def lose(self, part: float) -> None:
        """Lose packets at random."""
        for end in self.ends:
            end.filter("-m", "statistic", "--mode", "random", "--probability", f"{part}", *_DROP)

    def die(self) -> None:
        """Let nothing through any more, and tell nobody."""
        for end in self.ends:
            end.filter(*_DROP)

    def die_after(self, size: int) -> None:
        """Let nothing through on any connection over which so many bytes have gone."""
        for end in self.ends:
            # The rule makes the kernel count, for connections from now on.
            among = ("-m", "connbytes", "--connbytes-dir", "both", "--connbytes-mode", "bytes")
            end.filter("-p", "tcp", *among, "--connbytes", f"{size}:", *_DROP)

    def reset(self) -> None:
        """Answer every packet with RST, as a firewall may."""
        for end in self.ends:
            end.filter("-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")

    def mend(self) -> None:
        """Undo what was done to what passes; a slow one stays slow."""
        for end in self.ends:
            end.do("iptables", "--wait", "-F", "INPUT")


_DROP = ("-j", "DROP")


def _ip(*words: str) -> None:
    done = subprocess.run([require("ip"), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)


def _unable(reason: str) -> None:
    if IN_CI:
        pytest.fail(f"CI must be able to: {reason}")
    pytest.skip(reason)
