"""Senders that note what was acknowledged, and the comparison of that with an archive.

In: a port where a receiver comes and goes. Out: for each SOP Instance UID the contents that were
sent and those that were acknowledged.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from pypx.address import Address
from pypx.archive import Archive
from pypx.archive import archive as archive_module
from pypx.client.client import Client
from pypx.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from pypx.dimse.messages import CStoreRQ, CStoreRSP
from pypx.errors import PypxError
from pypx.net.connection import Connection, Timeouts
from tests.archive.helpers import content, names, superseded
from tests.objects import CT_IMAGE, data_set

TIMEOUTS = Timeouts(connect=5, association=5, response=10, release=0.1)
CONTEXTS = [(CT_IMAGE, (EXPLICIT_VR_LITTLE_ENDIAN,))]
_RETRY_AFTER = 0.002


class Child:
    """The process of ``tests.crash.receiving``."""

    def __init__(self, log: Path) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.receiving"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def start(self, root: Path, port: int, *, durability: str = "full", way: str = "") -> None:
        assert self._ask(f"start {root} {port} {durability} {way or 'TMPFILE'}") == "started"

    def kill(self) -> None:
        said = self._ask("kill")
        assert said == "killed", f"{said}: {self._log.read_text()[-3000:]}"

    def _ask(self, line: str) -> str:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=10)  # the end of stdin is its end


class Sender(threading.Thread):
    """Sends objects of a series of its own until it is stopped; what breaks is begun anew.

    Attributes:
        sent: Contents by SOP Instance UID, in the order in which sending them began.
        acknowledged: Of these, how many there were when the last success came.
        contents: All contents that were acknowledged, by SOP Instance UID.
        broken: How often the connection broke while an object was under way.
        refused: Statuses that are no success.
        error: What nobody expected.
        counting: Whether successes are noted.
    """

    def __init__(self, number: int, port: int, seed: int, largest: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._root = f"1.2.3.{seed + 1}.{number}"
        self._random = random.Random(f"{seed}-{number}")
        self._largest = largest
        self._over = threading.Event()
        self.sent: dict[str, list[bytes]] = {}
        self.acknowledged: dict[str, int] = {}
        self.contents: dict[str, set[bytes]] = {}
        self.count = 0
        self.broken = 0
        self.refused: list[CStoreRSP] = []
        self.error: BaseException | None = None
        self.counting = True
        self.acknowledgement = threading.Condition()

    def run(self) -> None:
        try:
            while not self._over.is_set():
                self._associate()
        except BaseException as error:
            self.error = error
            raise

    def _associate(self) -> None:
        client = Client(Address("PYPX", "127.0.0.1", self._port), timeouts=TIMEOUTS)
        try:
            connection = client.connect(CONTEXTS)
        except PypxError:
            self._over.wait(_RETRY_AFTER)
            return
        try:
            while not self._over.is_set():
                self._send(connection, *self._next())
        except PypxError:
            self.broken += 1
        finally:
            connection.abort()

    def _next(self) -> tuple[str, bytes]:
        """Choose: a new object, one that was sent already, or other content for its UID."""
        chance = self._random.random()
        if self.sent and chance < 0.2:
            uid = self._random.choice([*self.sent])
            if chance < 0.1:
                return uid, self.sent[uid][-1]
        else:
            uid = f"{self._root}.4.{len(self.sent)}"
        study = f"{self._root}.{5 + len(self.sent) // 40}"
        pixels = self._random.randbytes(self._random.randint(1, self._largest) & ~1 or 2)
        changes: dict[str, Any] = {
            "SOPInstanceUID": uid,
            "StudyInstanceUID": study,
            "SeriesInstanceUID": f"{study}.1",
            "InstanceNumber": str(self._random.randint(1, 10**6)),
            "PixelData": pixels,
        }
        return uid, data_set(**changes)

    def _send(self, connection: Connection, uid: str, data: bytes) -> None:
        self.sent.setdefault(uid, []).append(data)
        number = len(self.sent[uid])
        connection.send(1, CStoreRQ(1, CT_IMAGE, uid), data)
        response = connection.receive().message
        assert isinstance(response, CStoreRSP)
        if response.status != 0:
            self.refused.append(response)
            return
        assert response.affected_sop_instance_uid == uid
        if not self.counting:
            return
        self.acknowledged[uid] = number
        self.contents.setdefault(uid, set()).add(data)
        with self.acknowledgement:
            self.count += 1
            self.acknowledgement.notify_all()

    def wait_for(self, more: int, timeout: float = 20.0) -> None:
        """Return when there are so many more acknowledgements."""
        with self.acknowledgement:
            goal = self.count + more
            assert self.acknowledgement.wait_for(lambda: self.count >= goal, timeout), "too slow"

    def stop(self) -> None:
        self._over.set()


class Senders:
    """Several at once; a context manager."""

    def __init__(self, port: int, number: int, seed: int, largest: int) -> None:
        self.all = [Sender(n, port, seed, largest) for n in range(1, number + 1)]

    def __enter__(self) -> list[Sender]:
        for sender in self.all:
            sender.start()
        return self.all

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for sender in self.all:
            sender.stop()
        for sender in self.all:
            sender.join(20)
            assert not sender.is_alive()


def lost(root: Path, senders: list[Sender], *, links: bool = True) -> list[str]:
    """Open the archive and give what was acknowledged and is not there as it should be.

    Args:
        root: The archive.
        senders: What was sent.
        links: Whether the file system has hard links; without, a crash may leave names of
            files that are empty.

    Raises:
        AssertionError: The archive is not in order: torn files, or an index that is not the tree.
    """
    missing: list[str] = []
    archive_module._STARTED_NS = time.time_ns()  # as in a process of its own
    with Archive(root, durability="none") as archive:
        report = archive.check(checksums=True)
        if not links:
            torn = [path for path in report.damaged if (root / path).stat().st_size]
            report = report._replace(damaged=tuple(torn))
        assert report.ok, report
        assert not report.copies, (report, archive.notes)
        # FUSE keeps an unlinked file that is open under another name, and a cut leaves that.
        left = [name for name in names(root / ".pypx/incoming") if ".fuse_hidden" not in name]
        assert not left, archive.notes
        kept = {content(path) for path in superseded(root) if links or path.stat().st_size}
        rows = {located.meta.sop_instance_uid: located for located in archive.instances()}
        for sender in senders:
            for uid, number in sender.acknowledged.items():
                if uid not in rows:
                    missing.append(f"{uid} is not there")
                    continue
                current = content(rows[uid].path)
                # What was sent after the last acknowledgement may have come in as well.
                if current not in sender.sent[uid][number - 1 :]:
                    missing.append(f"{uid} has an older content")
                if sender.contents[uid] - kept - {current}:
                    missing.append(f"{uid} has lost an older content")
    return missing


def check_senders(senders: list[Sender], refusals: frozenset[int] = frozenset()) -> None:
    """See to it that no sender broke, and that nothing was refused with another status."""
    for sender in senders:
        assert sender.error is None
        unexpected = [one for one in sender.refused if one.status not in refusals]
        assert not unexpected, unexpected[0]
