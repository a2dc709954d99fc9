"""Files that storescp writes into a folder, taken into the archive when they are whole.

In: a folder, an archive. Out: files and index rows, and word of each. A file is removed when what
is in it is durable and indexed, or in quarantine; one that the archive cannot take stays.

Storescp writes under the final name from the first byte on, and says nothing at the last. So a
file is whole when nobody has it open for writing any more: the system gives a lease for reading
(``fcntl`` with ``F_SETLEASE``, on Linux) only then.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from pypx.archive import Archive
from pypx.dcmtk.filed import FiledInstance
from pypx.dimse.status import is_out_of_resources
from pypx.errors import ArchiveError, ConfigError, DataSetError
from pypx.receiver.events import InstanceReceived
from pypx.receiver.store import event_of, receive_instance
from pypx.values import frozen

__all__ = ["Intake", "Sender", "check_leases"]

_AGAIN = 2.0  # seconds until what the archive could not take is tried once more
_PROCESSING_FAILURE = 0x0110


@frozen
class Sender:
    """Who sent a file, as far as that is known.

    Attributes:
        association_id: Tells its association from all others; empty where it is not known.
        host: Its address.
        calling_ae_title: What it calls itself.
        called_ae_title: What it calls us.
    """

    association_id: str = ""
    host: str = ""
    calling_ae_title: str = ""
    called_ae_title: str = ""


def check_leases(folder: Path) -> None:
    """See whether the system can say that a file is whole.

    Raises:
        ConfigError: It cannot.
        ArchiveError: Nothing can be written there.
    """
    probe = folder / f".probe-{os.getpid()}"
    try:
        with probe.open("wb"):
            is_refused = not _may_lease(probe)
        can_tell = is_refused and _may_lease(probe)
    except OSError as error:
        raise ArchiveError(f"{probe} cannot be written: {error.strerror or error}.") from None
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    if not can_tell:
        raise ConfigError(
            f"The system cannot say when a file in {folder} is whole: it has no leases there.",
            hint="px listen --engine dcmtk needs Linux and a local file system; --engine native "
            "does not.",
        )


def _may_lease(path: Path) -> bool:
    """Whether nobody has a file open for writing."""
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


class Intake:
    """Takes in what is in one folder; for one thread.

    Args:
        archive: Where it goes.
        folder: Of storescp.
        sender_of: Says who sent a file, by its name.
        on_instance: Hears what became of each.
        on_trouble: Hears, once, of what the archive cannot take now.
        ae_title: Ours.

    Attributes:
        min_free: Bytes that the disk must have left; with less, files wait.
    """

    def __init__(
        self,
        archive: Archive,
        folder: Path,
        *,
        sender_of: Callable[[str], Sender],
        on_instance: Callable[[InstanceReceived], None],
        on_trouble: Callable[[str], None],
        ae_title: str,
        min_free: int = 0,
    ) -> None:
        self.min_free = min_free
        self._archive = archive
        self._folder = folder
        self._sender_of = sender_of
        self._on_instance = on_instance
        self._on_trouble = on_trouble
        self._ae_title = ae_title
        self._closed: set[str] = set()  # when last looked at
        self._again_at = 0.0
        self._told: set[str] = set()

    def waiting(self) -> list[str]:
        """Give the names of the files that are there, whole or not, the oldest first."""
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            found = [
                (entry.stat(follow_symlinks=False).st_mtime_ns, entry.name)
                for entry in entries
                if entry.is_file(follow_symlinks=False) and not entry.name.startswith(".")
            ]
            return [name for _, name in sorted(found)]
        return []

    def look(self, *, at_once: bool = False) -> bool:
        """Take in what is whole; say whether there was anything.

        A file whose association broke is closed, and then removed by storescp: so each has to be
        closed at two looks.

        Args:
            at_once: One look is enough: storescp has ended.
        """
        now = time.monotonic()
        if now < self._again_at and not at_once:
            return False
        names = self.waiting()
        closed = {name for name in names if _may_lease(self._folder / name)}
        ready = [name for name in names if name in closed and (at_once or name in self._closed)]
        self._closed = closed
        for name in ready:
            if not self._take(name):
                self._again_at = time.monotonic() + _AGAIN
                break
        return bool(ready)

    def _take(self, name: str) -> bool:
        """Take one in; False where the archive takes nothing now."""
        path, sender = self._folder / name, self._sender_of(name)
        started = time.monotonic()
        try:
            filed = FiledInstance(
                path,
                host=sender.host,
                calling_ae_title=sender.calling_ae_title,
                called_ae_title=sender.called_ae_title or self._ae_title,
            )
        except ArchiveError:
            return True  # storescp has removed it
        except DataSetError as error:
            self._tell_once(f"{path} was left by storescp, and is no DICOM file: {error.message}")
            return True
        result = receive_instance(
            filed, FiledInstance.CONTEXT_ID, filed.request, self._archive, min_free=self.min_free
        )
        is_kept = is_out_of_resources(result.status) or result.status == _PROCESSING_FAILURE
        if result.stored is None and is_kept:
            self._tell_once(
                f"The archive cannot take in what storescp has received and acknowledged: "
                f"{result.comment} It waits in {self._folder}."
            )
            return False
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self._told.clear()
        seconds = time.monotonic() - started
        self._on_instance(event_of(sender.association_id, filed.request, result, seconds))
        return True

    def _tell_once(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            self._on_trouble(sentence)
