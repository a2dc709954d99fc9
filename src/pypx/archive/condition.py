"""How an archive is, beside what it holds: what was set aside, who writes, what waits for repair.

In: the root of an archive. Out: values. Files are only read, and no lock is kept; the index is
not needed. Not here: the index and the tree.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pypx.archive import log
from pypx.archive.files import archive_error
from pypx.archive.log import Interrupted
from pypx.archive.reading import iso_time
from pypx.archive.tree import META_FOLDER

__all__ = ["Aside", "Condition", "Process", "SetAside", "condition_of"]

_UNFINISHED = ".new"


class SetAside(NamedTuple):
    """A file that was set aside, as its note says; what the note does not say is empty.

    Attributes:
        path: The file, absolute.
        at: When, UTC, ISO 8601.
        reason: Why, one sentence.
        sop_instance_uid: The object.
        calling_ae_title: Who had sent it.
        host: From where.
    """

    path: str
    at: str = ""
    reason: str = ""
    sop_instance_uid: str = ""
    calling_ae_title: str = ""
    host: str = ""


class Aside(NamedTuple):
    """The files of one such folder.

    Attributes:
        total: How many.
        latest: Some of them, the newest first.
    """

    total: int
    latest: list[SetAside]


class Process(NamedTuple):
    """A process that has stored something and has not ended yet.

    Attributes:
        pid: Its number, on the machine where it runs.
        since: When it stored for the first time, UTC, ISO 8601.
    """

    pid: int
    since: str


class Condition(NamedTuple):
    """How an archive is.

    Attributes:
        free_bytes: What the disk has left for this user.
        processes: Who writes now.
        incomplete_since: Since when objects in the tree may be missing in the index, as a process
            ended without putting it in order; None where that is not so. The next process that
            opens the archive for writing does it.
        quarantine: What could not be placed.
        superseded: What other content with the same SOP Instance UID took the place of.
        interrupted: Objects whose association broke off, the newest first; those of long ago are
            forgotten.
    """

    free_bytes: int
    processes: list[Process]
    incomplete_since: str | None
    quarantine: Aside
    superseded: Aside
    interrupted: list[Interrupted]


def condition_of(root: Path, latest: int | None = None) -> Condition:
    """Look at an archive.

    Args:
        root: Its folder.
        latest: Describe so many of the files that were set aside; None for all.

    Raises:
        ArchiveError: It cannot be read.
    """
    meta = root / META_FOLDER
    try:
        disk = os.statvfs(root)
        processes, died = _marks(meta / "running")
        return Condition(
            free_bytes=disk.f_bavail * disk.f_frsize,
            processes=processes,
            incomplete_since=iso_time(min(died)) if died else None,
            quarantine=_aside(meta / "quarantine", latest),
            superseded=_aside(meta / "superseded", latest),
            interrupted=list(log.read(meta / "log"))[::-1],
        )
    except OSError as error:
        raise archive_error(error, "be looked at") from error


def _marks(folder: Path) -> tuple[list[Process], list[int]]:
    """Give the processes that live, and the times (ns) of those that died."""
    processes, died = [], []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.endswith(_UNFINISHED):
            continue
        with suppress(FileNotFoundError):
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                changed = os.fstat(fd).st_mtime_ns
                if _is_locked(fd):
                    pid = path.name.partition("-")[0]
                    processes.append(Process(int(pid) if pid.isdigit() else 0, iso_time(changed)))
                else:
                    died.append(changed)
            finally:
                os.close(fd)
    return processes, died


def _is_locked(fd: int) -> bool:
    """Say whether a process holds a mark; where there are no locks, all count as held."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def _aside(folder: Path, latest: int | None) -> Aside:
    if not folder.is_dir():
        return Aside(0, [])
    names = sorted(
        (path.name for path in folder.iterdir() if path.suffix == ".dcm"), reverse=True
    )  # they begin with the time
    return Aside(len(names), [_described(folder / name) for name in names[:latest]])


def _described(path: Path) -> SetAside:
    note: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        read = json.loads(path.with_suffix(".json").read_bytes())
        note = read if isinstance(read, dict) else {}
    source = note.get("source") or {}
    return SetAside(
        str(path),
        *(str(note.get(key, "")) for key in (_time_key(note), "reason", "sop_instance_uid")),
        *(str(note.get(key) or source.get(key, "")) for key in ("calling_ae_title", "host")),
    )


def _time_key(note: dict[str, Any]) -> str:
    return next((key for key in ("quarantined_at", "superseded_at") if key in note), "")
