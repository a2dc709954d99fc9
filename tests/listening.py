"""``px listen`` as a process, what peers sent to it, and what must hold whatever happened.

In: an archive to listen for, and objects to send. Out: what was acknowledged, and a check of the
six invariants that every row of ``docs/reliability.md`` ends with. No row belongs here.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from xxhash import xxh3_128_hexdigest

from pypx.address import Address
from pypx.archive import Archive
from pypx.archive.ingest import Report
from pypx.client.client import Client
from pypx.dicom import uids
from pypx.dimse.messages import CEchoRQ, CEchoRSP, CStoreRQ, CStoreRSP
from pypx.net.connection import Connection, Timeouts
from tests.archive.helpers import content
from tests.objects import CT_IMAGE, data_set
from tests.peers.process import Outcome, Peer, Place, free_port, run

__all__ = [
    "OUT_OF_RESOURCES",
    "Footprint",
    "Ledger",
    "Listener",
    "all_from_here",
    "associated",
    "at_home",
    "check",
    "compared",
    "echo",
    "eventually",
    "instance",
    "px",
    "send",
]

OUT_OF_RESOURCES = 0xA700
PLANTED = {"PatientName": "Planted^Name", "PatientID": "planted-id"}
"""What no log may tell."""

_CONTEXTS = [
    (CT_IMAGE, (uids.EXPLICIT_VR_LITTLE_ENDIAN,)),
    (uids.VERIFICATION, (uids.IMPLICIT_VR_LITTLE_ENDIAN,)),
    (CT_IMAGE, (uids.IMPLICIT_VR_LITTLE_ENDIAN,)),
]
_PATIENCE = Timeouts(connect=20, association=30, response=90, release=5)
_FOLDERS_KEPT_OPEN = 40  # descriptors that an archive may keep besides those it opens with


def eventually(true: Callable[[], object], timeout: float = 30.0) -> None:
    """Return when it is true of another process, which nobody can be told of."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.02)


def at_home(home: Path) -> list[str]:
    """Give the beginning of a command line that runs where the user has nothing."""
    home.mkdir(exist_ok=True)
    here = (f"{name}={home}" for name in ("HOME", "XDG_CONFIG_HOME", "TMPDIR"))
    return ["env", f"--chdir={home}", *here, f"PYTHONPATH={os.pathsep.join(sys.path)}"]


def px(home: Path, *arguments: object) -> Outcome:
    """Run px to its end."""
    program, *beginning = at_home(home)
    return run(program, *beginning, sys.executable, "-m", "pypx", *map(str, arguments))


class Footprint(NamedTuple):
    """What a process holds."""

    sockets: int
    files: int
    threads: int
    resident: int  # bytes

    def is_back_to(self, before: Footprint) -> bool:
        return (
            self.sockets <= before.sockets
            and self.files <= before.files + _FOLDERS_KEPT_OPEN
            and self.threads <= before.threads
        )


class Listener(Peer):
    """A ``px listen`` in a process of its own, at home in an empty folder.

    Args:
        root: Its archive.
        folder: For its log and its home.
        options: More of the command line.
        prefix: What runs it: ``prlimit``, ``strace -D``; it must become the process itself.
        place: Where it runs; there it listens to everybody.
    """

    def __init__(
        self,
        root: Path,
        folder: Path,
        *options: object,
        prefix: Sequence[str] = (),
        place: Place | None = None,
    ) -> None:
        self.root = root
        self.home = folder / "home"
        port = free_port()
        super().__init__(
            *at_home(self.home),
            *prefix,
            *(sys.executable, "-m", "pypx", "listen", "--archive", str(root), "--port", str(port)),
            *(() if "--min-free" in options else ("--min-free", "0")),
            *(() if place is None else ("--host", place.host, "--allow-any")),
            *map(str, options),
            ae_title="PYPX",
            port=port,
            log=folder / "listener.log",
            place=place,
        )

    def __enter__(self) -> Listener:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def status(self, field: str) -> int:
        """Give a number of ``/proc/PID/status``; sizes in bytes."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        value, *unit = next(
            line for line in text.splitlines() if line.startswith(f"{field}:")
        ).split()[1:]
        return int(value) << (10 if unit else 0)

    @property
    def peak(self) -> int:
        """The most memory that was ever resident, in bytes."""
        return self.status("VmHWM")

    def calls(self) -> int:
        """Give how many calls have read or written something so far (``/proc/PID/io``)."""
        lines = Path(f"/proc/{self.pid}/io").read_text().splitlines()
        numbers = {name: int(value) for name, value in (line.split(": ") for line in lines)}
        return numbers["syscr"] + numbers["syscw"]

    def footprint(self) -> Footprint:
        links = []
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                links.append(str(descriptor.readlink()))
        sockets = sum(link.startswith("socket:") for link in links)
        threads, resident = self.status("Threads"), self.status("VmRSS")
        return Footprint(sockets, len(links) - sockets, threads, resident)


def all_from_here(folder: Path) -> tuple[str, str]:
    """Give the options of a listener that takes all its associations from this machine."""
    config = folder / "config.toml"
    config.write_text("[listen]\nmax_associations_per_host = 0\n")
    return "--config", str(config)


class Ledger:
    """What was acknowledged: of each SOP Instance UID the contents, as checksums."""

    def __init__(self) -> None:
        self.contents: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def note(self, uid: str, data: bytes) -> None:
        with self._lock:
            self.contents.setdefault(uid, set()).add(xxh3_128_hexdigest(data))

    def lost(self, root: Path) -> list[str]:
        """Give the UIDs of which a content is nowhere on the disk."""
        tree = [path for path in root.glob("[!.]*/**/*.dcm") if path.is_file()]
        tree += (root / ".pypx/superseded").glob("*.dcm")
        there = {xxh3_128_hexdigest(content(path)) for path in tree if path.stat().st_size}
        return [uid for uid, sent in self.contents.items() if sent - there]


def instance(number: int, **changes: Any) -> tuple[str, bytes]:
    """Give the UID and the data set of an instance with the planted name."""
    changes = {**PLANTED, **changes}
    return changes.get("SOPInstanceUID", f"1.2.3.4.{number}"), data_set(number, **changes)


@contextmanager
def associated(
    peer: Peer | int, title: str = "TESTS", timeouts: Timeouts = _PATIENCE
) -> Iterator[Connection]:
    """Associate; CT in explicit VR is context 1, verification 3, CT in implicit VR 5."""
    port = peer if isinstance(peer, int) else peer.port
    address = Address("PYPX", "127.0.0.1", port)
    connection = Client(address, calling_ae_title=title, timeouts=timeouts).connect(_CONTEXTS)
    try:
        yield connection
        connection.release()
    finally:
        connection.abort()


def echo(connection: Connection) -> bool:
    connection.send(3, CEchoRQ(8))
    response = connection.receive().message
    return isinstance(response, CEchoRSP) and response.status == 0


def send(
    connection: Connection,
    ledger: Ledger,
    number: int,
    *,
    context: int = 1,
    data: bytes | None = None,
    **changes: Any,
) -> CStoreRSP:
    """Send an instance, and note it down if it is acknowledged."""
    if data is None:
        uid, data = instance(number, **changes)
    else:
        uid = changes.get("SOPInstanceUID", f"1.2.3.4.{number}")
    connection.send(context, CStoreRQ(7, CT_IMAGE, uid), data)
    response = connection.receive().message
    assert isinstance(response, CStoreRSP)
    assert response.affected_sop_instance_uid == uid
    if response.status == 0:
        ledger.note(uid, data)
    return response


def compared(root: Path) -> Report:
    """Compare tree and index of an archive that a listener may have open."""
    with Archive(root, read_only=True) as archive:
        return archive.check(checksums=True)


def check(
    listener: Listener,
    ledger: Ledger,
    before: Footprint | None = None,
    *,
    root: Path | None = None,
) -> Report:
    """See to it that all is as it has to be after whatever happened.

    I1: another peer is served. I2: what was acknowledged is there. I3: nothing else is, and
    nothing half. I4: the index is the tree. I5: nothing is held that was not held before.
    I6: no log tells who the patient is.
    """
    root = listener.root if root is None else root
    with associated(listener, "OTHER") as connection:
        assert echo(connection)
        number = time.time_ns()
        response = send(connection, ledger, number, SOPInstanceUID=f"1.2.9.{number}")
        assert response.status == 0, response
    assert ledger.lost(root) == []
    eventually(lambda: not list((root / ".pypx/incoming").iterdir()))
    eventually(lambda: compared(root).ok)
    assert list(listener.home.iterdir()) == []
    if before is not None:
        # An association that never asks for anything is ended after 30 s.
        eventually(lambda: listener.footprint().is_back_to(before), timeout=45)
    for planted in PLANTED.values():
        assert planted not in listener.log
    assert "Traceback" not in listener.log
    return compared(root)
