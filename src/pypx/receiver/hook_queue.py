"""What waits for hooks, on the disk, so that the end of a process loses nothing.

In: deliveries. Out: the same ones, each to one process at a time, until it is taken out. Not
here: threads, and when something is tried again.

::

    .pypx/hooks/queue/ID.HOOK.json    waits, or is being handed over: then it is locked
                failed/ID.HOOK.json   was given up, with the reason; whoever moves the file back
                                      to queue/ has it tried again

A file gets its name when it is whole and on the disk. It loses it when it was handed over; a
process that is killed between these two hands it over once more.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pypx.archive.files import sync_folder, write_all
from pypx.modes import file_mode, folder_mode
from pypx.receiver.completion import SeriesComplete
from pypx.receiver.hook_delivery import Delivery

__all__ = ["HookQueue", "make_private", "try_lock", "write_file"]

_SUFFIX = ".json"
_PART = ".part"
_ABANDONED = 3600.0  # seconds after which an unfinished file is no one's
_BUSY = frozenset({errno.EACCES, errno.EAGAIN})


def try_lock(fd: int) -> bool:
    """Lock an open file, if no other process has; it lasts until the file is closed.

    On a file system without locks everybody gets it: then an event may be told twice.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _BUSY
    return True


def make_private(folder: Path) -> None:
    """Make a folder that others may not read, and those above it."""
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=folder_mode(), exist_ok=True)
        folder.chmod(folder_mode())  # mkdir() subtracts the umask


def write_file(path: Path, document: Mapping[str, Any], *, durable: bool) -> None:
    """Write JSON into a new file, which has its name when it is whole."""
    # Names of files may be no UTF-8: escapes can say all of them.
    data = json.dumps(document, ensure_ascii=True, indent=2).encode() + b"\n"
    part = path.with_name(f".{path.name}{_PART}")
    try:
        fd = os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW, file_mode())
        try:
            os.fchmod(fd, file_mode())
            write_all(fd, [data])
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise
    if durable:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            sync_folder(folder)
        finally:
            os.close(folder)


class HookQueue:
    """Deliveries in a folder, which several processes may share."""

    def __init__(self, folder: Path) -> None:
        self._queue = folder / "queue"
        self._failed = folder / "failed"

    @property
    def queued(self) -> int:
        """How many wait, or are being handed over."""
        return len(_names(self._queue))

    @property
    def failed(self) -> int:
        """How many were given up."""
        return len(_names(self._failed))

    def put(self, delivery: Delivery) -> str:
        """Keep a delivery, durably; give its name in the queue.

        Raises:
            OSError: As the system says.
        """
        make_private(self._queue)
        name = f"{delivery.id}{_SUFFIX}"
        write_file(self._queue / name, _document(delivery), durable=True)
        return name

    def names(self, hook: str) -> list[str]:
        """Give what waits for a hook, the oldest first."""
        return [name for name in _by_age(self._queue) if _hook_of(name) == hook]

    def hooks(self) -> dict[str, int]:
        """Give the names of the hooks for which something waits, and how much."""
        counts: dict[str, int] = {}
        for name in _names(self._queue):
            counts[_hook_of(name)] = counts.get(_hook_of(name), 0) + 1
        return counts

    @contextmanager
    def claimed(self, name: str) -> Iterator[Delivery | None]:
        """Have a delivery to oneself; None when it is gone, or another process has it.

        What cannot be read is given up at once.

        Raises:
            OSError: As the system says.
        """
        try:
            fd = os.open(self._queue / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            yield None
            return
        try:
            mine = try_lock(fd) and os.fstat(fd).st_nlink > 0
            yield self._read(name, fd) if mine else None
        finally:
            os.close(fd)

    def _read(self, name: str, fd: int) -> Delivery | None:
        with open(fd, "rb", closefd=False) as file:
            data = file.read()
        try:
            return _delivery(json.loads(data))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._give_up(name, {"damaged": repr(data[:1000])}, f"the file is damaged: {error}")
            return None

    def done(self, name: str) -> None:
        """Take out what was handed over."""
        with suppress(FileNotFoundError):
            (self._queue / name).unlink()

    def give_up(self, name: str, delivery: Delivery, reason: str) -> None:
        """Move what will never be taken to ``failed/``.

        Raises:
            OSError: As the system says; it is still in the queue.
        """
        self._give_up(name, _document(delivery), reason)

    def _give_up(self, name: str, document: Mapping[str, Any], reason: str) -> None:
        make_private(self._failed)
        failed_at = _iso_now()
        note = {"reason": reason, "failed_at": failed_at, **document}
        write_file(self._failed / name, note, durable=True)
        self.done(name)

    def failures(self, latest: int) -> list[dict[str, Any]]:
        """Give what was given up last, the newest first, as the files say it."""
        found = []
        for name in reversed(_by_age(self._failed)[-latest:] if latest else []):
            with suppress(OSError, ValueError):
                found.append(dict(json.loads((self._failed / name).read_bytes())))
        return found

    def tidy(self) -> None:
        """Remove what processes that were killed had begun to write."""
        for folder in (self._queue, self._failed):
            with suppress(OSError):
                for path in folder.glob(f".*{_PART}"):
                    if path.lstat().st_mtime < time.time() - _ABANDONED:
                        path.unlink()


def _names(folder: Path) -> list[str]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - only the names, of many
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [name for name in names if name.endswith(_SUFFIX) and not name.startswith(".")]


def _by_age(folder: Path) -> list[str]:
    aged = []
    for name in _names(folder):
        with suppress(FileNotFoundError):
            aged.append(((folder / name).lstat().st_mtime_ns, name))
    return [name for _, name in sorted(aged)]


def _hook_of(name: str) -> str:
    return name.removesuffix(_SUFFIX).partition(".")[2]


def _iso_now() -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime())}Z"


def _document(delivery: Delivery) -> dict[str, Any]:
    return {
        "hook": delivery.hook,
        "queued_at": delivery.queued_at,
        "series": delivery.event.document(),
    }


def _delivery(document: Mapping[str, Any]) -> Delivery:
    event = SeriesComplete.from_document(document["series"])
    return Delivery(str(document["hook"]), event, float(document["queued_at"]))
