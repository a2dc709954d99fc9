"""``px retrieve`` as users run it, against a peer: a process, and what it left in its archive.

In: arguments. Out: its exit code, what it wrote, and what is stored. What should be there is for
the tests to say.
"""

from __future__ import annotations

__all__ = ["PxRetrieve", "Retrieved", "ended", "store", "write_cohort"]

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.client import Client
from tests.archive.helpers import content
from tests.objects import write_file
from tests.peers.process import Peer, free_port


class Retrieved(NamedTuple):
    """How a run ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document."""
        document: dict[str, Any] = json.loads(self.stdout)
        return document


class PxRetrieve:
    """Runs ``px retrieve`` in processes of their own, all with one archive and one port.

    Args:
        home: For the archive and the configuration.
        config: The configuration file, besides the archive and the port.
        engine: What asks the PACS.
    """

    def __init__(self, home: Path, config: str = "", engine: str = "native") -> None:
        self.root = home / "archive"
        self.port = free_port()
        self.config = home / "config.toml"
        self.config.write_text(
            f'archive = "{self.root}"\nengine = "{engine}"\n'
            f'[listen]\nport = {self.port}\nmin_free = "0"\n{config}'
        )
        self._environment = {**os.environ, "PYPX_CONFIG": str(self.config), "NO_COLOR": "1"}

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start it with these arguments and ``--json``."""
        return subprocess.Popen(
            [sys.executable, "-m", "pypx", "retrieve", *map(str, arguments), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env=self._environment,
        )

    def __call__(self, *arguments: object, timeout: float = 100.0) -> Retrieved:
        """Run it to its end."""
        return ended(self.start(*arguments), timeout)

    @contextlib.contextmanager
    def running(self, *arguments: object) -> Iterator[subprocess.Popen[str]]:
        """Have it run; kill it if it still does at the end."""
        process = self.start(*arguments)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def stored(self) -> set[str]:
        """The SOP Instance UIDs of what is stored, all of it whole and in its place."""
        with Archive(self.root, durability="none") as archive:
            report = archive.check(checksums=True)
            assert report.ok, report
            return {str(row["SOPInstanceUID"]) for row in archive.find("image")}

    def contents(self) -> Mapping[str, bytes]:
        """The data sets of what is stored, by SOP Instance UID."""
        with Archive(self.root, durability="none") as archive:
            return {one.meta.sop_instance_uid: content(one.path) for one in archive.instances()}

    def files(self) -> list[Path]:
        """The files that are stored, while somebody stores more."""
        return [*self.root.glob("[!.]*/**/*.dcm")]

    def count(self) -> int:
        """How many files are stored, while somebody stores more."""
        return len(self.files())

    def wait_for(self, files: int, timeout: float = 30.0) -> None:
        """Return when there are so many files."""
        deadline = time.monotonic() + timeout
        while self.count() < files:
            assert time.monotonic() < deadline, f"{self.count()} of {files} files came"
            time.sleep(0.02)


def ended(process: subprocess.Popen[str], timeout: float = 100.0) -> Retrieved:
    """Wait for the end of a run."""
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        stdout, stderr = process.communicate()
        raise AssertionError(f"it did not end: {stderr[-3000:]}") from None
    assert "Traceback" not in stderr, stderr
    return Retrieved(process.returncode, stdout, stderr)


def write_cohort(folder: Path, studies: int, images: int, pixels: int = 2000) -> dict[str, bytes]:
    """Write studies of one series each into a folder of a folder; give their data sets by UID.

    Args:
        folder: Where ``cohort`` is made.
        studies: How many, one a day, of a patient each.
        images: How many each has.
        pixels: Bytes of each.
    """
    where = folder / "cohort"
    where.mkdir()
    made = {}
    for number in range(studies * images):
        study = number // images
        path = write_file(
            where,
            number,
            StudyInstanceUID=f"1.2.3.{study}",
            SeriesInstanceUID=f"1.2.3.{study}.1",
            StudyDate=f"20240{study // 28 + 1}{study % 28 + 1:02}",
            PatientID=f"P{study}",
            PixelData=random.Random(number).randbytes(pixels),
        )
        made[f"1.2.3.4.{number}"] = content(path)
    return made


def store(peer: Peer, folder: Path) -> None:
    """Send all files of a folder to a peer."""
    with Client(Address.parse(peer.address), calling_ae_title="SENDER") as client:
        assert {one.status for one in client.store_files([folder])} == {0}
