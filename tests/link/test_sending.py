"""Receiving and sending over links that are bad: ``px listen``, and who sends to it.

Whatever happens, what was acknowledged is stored once and whole, and what was not is sent again
or named.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pypx.archive import Archive
from tests.archive.helpers import content
from tests.link.conftest import Cohort
from tests.link.namespaces import Wire
from tests.listening import Listener, compared, eventually
from tests.objects import write_file
from tests.peers.dcmtk import _path as dcmtk
from tests.peers.process import require
from tests.peers.retrieving import PxRetrieve, Retrieved, ended

TIMEOUT = 1.0
LONG_AGO = 20.0  # seconds: with the time-outs that px has by itself it would be 30 or 60

pytestmark = pytest.mark.timeout(90)

SLOW: dict[str, Callable[[Wire], None]] = {
    "2 % lost": lambda wire: wire.lose(0.02),
    "1 Mbit/s": lambda wire: wire.slow("1mbit"),
}


@pytest.fixture
def sender(tmp_path: Path, wire: Wire) -> PxRetrieve:
    """Runs px at the far end."""
    home = tmp_path / "sender"
    home.mkdir()
    return PxRetrieve(home, place=wire.far)


@pytest.fixture
def listener(tmp_path: Path, wire: Wire) -> Iterator[Listener]:
    """A px listen at the near end that puts up with 2 s of silence."""
    options = ("--timeout", 2, "--durability", "none")
    with Listener(tmp_path / "archive", tmp_path, *options, place=wire.near) as one:
        yield one


def has_all(listener: Listener, cohort: Cohort) -> None:
    """See that all of it is there, once, byte for byte, and nothing else."""
    eventually(lambda: not list((listener.root / ".pypx/incoming").iterdir()))
    eventually(lambda: compared(listener.root).ok)
    with Archive(listener.root, read_only=True) as archive:
        stored = {one.meta.sop_instance_uid: content(one.path) for one in archive.instances()}
    assert stored == cohort.held
    assert compared(listener.root).files == len(cohort.held)
    assert "Traceback" not in listener.log


def count(listener: Listener) -> int:
    return len([*listener.root.glob("[!.]*/**/*.dcm")])


def storing(
    sender: PxRetrieve, listener: Listener, cohort: Cohort, timeout: float = TIMEOUT
) -> subprocess.Popen[str]:
    options = ("--associations", 1, "--timeout", timeout)
    return sender.start(listener.address, cohort.folder, *options, command="store")


def stored(found: Retrieved) -> None:
    assert found.code == 0, found


@pytest.mark.parametrize("how", SLOW)
def test_px_store_over_a_slow_link(
    sender: PxRetrieve, listener: Listener, wire: Wire, cohort: Cohort, how: str
) -> None:
    SLOW[how](wire)
    stored(ended(storing(sender, listener, cohort, 20)))
    has_all(listener, cohort)


@pytest.mark.peers
@pytest.mark.parametrize("how", SLOW)
def test_storescu_over_a_slow_link(
    listener: Listener, wire: Wire, cohort: Cohort, how: str
) -> None:
    SLOW[how](wire)
    program = [*wire.far.inside, require(dcmtk("storescu")), "-aec", "PYPX"]
    where = (listener.address.partition("@")[2]).split(":")
    files = [str(file.path) for file in cohort.files]
    done = subprocess.run(
        [*program, *where, *files], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    has_all(listener, cohort)


def test_what_the_kernel_holds_is_on_its_way(
    sender: PxRetrieve, listener: Listener, wire: Wire, tmp_path: Path
) -> None:
    """An object takes 4 s, and a kernel takes all of it at once: that is no silence of the peer."""
    path = write_file(tmp_path, PixelData=bytes(500_000))
    wire.slow("1mbit")
    found = sender(listener.address, path, "--timeout", 1.5, "--json", command="store")
    stored(found)
    assert count(listener) == 1
    assert "silent" not in listener.log and "abort" not in listener.log.lower()


def test_a_link_that_dies_while_much_is_sent(
    sender: PxRetrieve, listener: Listener, wire: Wire, tmp_path: Path
) -> None:
    """Our kernel takes no more then; what was not stored is named, and both sides are free."""
    path = write_file(tmp_path, PixelData=bytes(8_000_000))
    wire.die_after(300_000)
    began = time.monotonic()
    found = sender(listener.address, path, "--timeout", TIMEOUT, command="store")
    assert time.monotonic() - began < LONG_AGO
    assert found.code == 1, found
    assert found.document["failed_sop_instance_uids"] == ["1.2.3.4.1"]
    eventually(lambda: "was silent for 2 s" in listener.log)
    assert count(listener) == 0
    wire.mend()
    stored(sender(listener.address, path, command="store"))
    assert count(listener) == 1


@pytest.mark.parametrize("how", ["dead", "reset"])
def test_px_store_goes_on_when_the_link_is_back(
    sender: PxRetrieve, listener: Listener, wire: Wire, cohort: Cohort, how: str
) -> None:
    """What was not acknowledged is sent again over a new association."""
    wire.slow("1mbit")
    process = storing(sender, listener, cohort)
    eventually(lambda: count(listener) >= 4)
    (wire.die if how == "dead" else wire.reset)()
    time.sleep(1.2)
    wire.mend()
    stored(ended(process))
    has_all(listener, cohort)


def test_px_store_names_what_it_could_not_send(
    sender: PxRetrieve, listener: Listener, wire: Wire, cohort: Cohort
) -> None:
    wire.slow("1mbit")
    process = storing(sender, listener, cohort)
    eventually(lambda: count(listener) >= 4)
    wire.die()
    began = time.monotonic()
    found = ended(process)
    assert time.monotonic() - began < LONG_AGO
    assert found.code == 3, found
    document = found.document
    here = count(listener)
    # The answer to one may have been lost, and this one may be named though it is there.
    assert here - 1 <= document["completed"] <= here
    assert document["completed"] + document["failed"] + document["remaining"] == len(cohort.held)
    wire.mend()
    stored(sender(listener.address, cohort.folder, command="store"))
    has_all(listener, cohort)


def test_a_sender_that_is_stopped(
    sender: PxRetrieve, listener: Listener, wire: Wire, cohort: Cohort
) -> None:
    """For longer than the listener waits: it is cut off, and sends the rest over a new one."""
    wire.slow("1mbit")
    process = storing(sender, listener, cohort, 20)
    eventually(lambda: count(listener) >= 4)
    process.send_signal(signal.SIGSTOP)
    eventually(lambda: "was silent for 2 s" in listener.log)
    process.send_signal(signal.SIGCONT)
    stored(ended(process))
    has_all(listener, cohort)


def test_a_listener_that_is_stopped(
    sender: PxRetrieve, listener: Listener, wire: Wire, cohort: Cohort
) -> None:
    """For longer than the sender waits: nothing is lost, and nothing there twice."""
    wire.slow("1mbit")
    process = storing(sender, listener, cohort)
    eventually(lambda: count(listener) >= 4)
    listener.signal(signal.SIGSTOP)
    time.sleep(2 * TIMEOUT)
    listener.signal(signal.SIGCONT)
    stored(ended(process))
    has_all(listener, cohort)


PEER = """
import sys, time
sys.path[:0] = sys.argv[1].split(":")
from tests.hostile import RawPeer
peer = RawPeer(int(sys.argv[3]), host=sys.argv[2])
peer.associate()
print("associated", flush=True)
time.sleep(60)
"""


def test_a16_a_peer_that_vanishes(sender: PxRetrieve, tmp_path: Path, wire: Wire) -> None:
    """No FIN, no RST: the association ends by silence, and its place is free."""
    config = tmp_path / "one.toml"
    config.write_text("[listen]\nidle_timeout = 1\nmax_associations = 1\n")
    options = ("--config", config)
    with Listener(tmp_path / "archive", tmp_path, *options, place=wire.near) as listener:
        paths = ":".join(path for path in sys.path if path)
        where = (listener.address.partition("@")[2]).split(":")
        command = [*wire.far.inside, sys.executable, "-c", PEER, paths, *where]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as peer:
            assert peer.stdout
            assert peer.stdout.readline() == "associated\n"
            wire.die()
            eventually(lambda: "was silent for 1 s" in listener.log)
            wire.mend()
            assert sender(listener.address, "--timeout", 5, command="echo").code == 0
            peer.kill()
        assert listener.log.count("was silent for 1 s") == 1
