"""A record of the objects whose association broke off before all of them was there.

In: what was announced, and how much had come. Out: the same, the oldest first. Nothing of such an
object is kept in the archive, and the sender knows that it was not acknowledged; the record is for
who asks later why something is missing.

::

    .pypx/log/interrupted.jsonl     one JSON object a line; not synced, it may lack the last ones
              interrupted.1.jsonl   the lines before: at 1 MiB the file gets this name
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pypx.archive.files import write_all
from pypx.archive.reading import iso_time
from pypx.archive.storage import Source
from pypx.dicom.part10 import FileMeta
from pypx.modes import file_mode

__all__ = ["Interrupted", "note", "read"]

_NAME, _OLD = "interrupted.jsonl", "interrupted.1.jsonl"
_LARGEST = 1 << 20  # bytes


class Interrupted(NamedTuple):
    """An object that did not arrive.

    Attributes:
        at: When its association ended, UTC, ISO 8601.
        calling_ae_title: Who sent it.
        called_ae_title: What it called us.
        host: From where.
        sop_class_uid: As announced.
        sop_instance_uid: As announced.
        bytes: How many of its data set had come.
        reason: Why it ended, one sentence.
    """

    at: str
    calling_ae_title: str
    called_ae_title: str
    host: str
    sop_class_uid: str
    sop_instance_uid: str
    bytes: int
    reason: str


def note(folder: int, meta: FileMeta, source: Source, size: int, reason: str) -> None:
    """Write a line.

    Args:
        folder: The open folder of the log.
        meta: What was announced.
        source: Who sent it.
        size: Bytes of the data set that had come.
        reason: Why the association ended.

    Raises:
        OSError: As the system says.
    """
    import json  # rare, and it takes a while to load

    record = Interrupted(
        iso_time(time.time_ns()),
        source.calling_ae_title,
        source.called_ae_title,
        source.host,
        meta.sop_class_uid,
        meta.sop_instance_uid,
        size,
        reason,
    )
    line = json.dumps(record._asdict()).encode() + b"\n"
    flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_NOFOLLOW
    fd = os.open(_NAME, flags, file_mode(), dir_fd=folder)
    try:
        with suppress(OSError):  # it is another user's, who has set its mode
            os.fchmod(fd, file_mode())
        if os.fstat(fd).st_size + len(line) > _LARGEST:
            _rotate(folder, fd)
        write_all(fd, [line])
    finally:
        os.close(fd)


def _rotate(folder: int, fd: int) -> None:
    """Give the file its second name, unless another process is at it; it takes one more line."""
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.stat(_NAME, dir_fd=folder)):
            os.rename(_NAME, _OLD, src_dir_fd=folder, dst_dir_fd=folder)


def read(folder: Path) -> Iterator[Interrupted]:
    """Give the records of a log, the oldest first; a line that is torn is left out.

    Raises:
        OSError: As the system says.
    """
    import json

    for name in (_OLD, _NAME):
        with suppress(FileNotFoundError), (folder / name).open("rb") as file:
            for line in file:
                with suppress(ValueError, TypeError):
                    yield Interrupted(**json.loads(line))
