"""Series that arrive now, on the disk, so that a killed process leaves a list of them.

In: the first event of a series, and that it was reported. Out: what processes that are dead had
not reported. Not here: when a series is whole.

::

    .pypx/hooks/pending/PID-xxxx/owner     locked while the process lives
                                 ID.json   a series of which something arrived

The files are not synced to the disk: they are for a process that is killed. After a power cut
the series of the last seconds may not be reported, though all of their instances are there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pypx.archive.files import unique
from pypx.modes import file_mode
from pypx.receiver.completion import SeriesComplete
from pypx.receiver.hook_queue import make_private, try_lock, write_file

__all__ = ["PendingSeries"]

_OWNER = "owner"


class PendingSeries:
    """The series of this process; the folder is made when the first one begins."""

    def __init__(self, hooks: Path) -> None:
        self._parent = hooks / "pending"
        self._folder = self._parent
        self._owner = -1

    def add(self, event: SeriesComplete) -> None:
        """Note down a series.

        Args:
            event: What is known of it; it has an ``id``.

        Raises:
            OSError: As the system says.
        """
        name, document = f"{event.id}.json", event.document()
        if self._owner < 0:
            self._make_folder()
        try:
            write_file(self._folder / name, document, durable=False)
        except FileNotFoundError:  # somebody took it for one that was left
            self.close()
            self._make_folder()
            write_file(self._folder / name, document, durable=False)

    def _make_folder(self) -> None:
        self._folder = self._parent / f"{os.getpid()}-{unique()}"
        make_private(self._folder)
        flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW
        self._owner = os.open(self._folder / _OWNER, flags, file_mode())
        os.fchmod(self._owner, file_mode())
        try_lock(self._owner)

    def remove(self, event_id: str) -> None:
        """Forget a series: it was reported."""
        with suppress(OSError):  # a later start then reports it twice
            (self._folder / f"{event_id}.json").unlink()

    def close(self) -> None:
        """End; what was not reported is left for the next start."""
        if self._owner < 0:
            return
        _remove(self._folder)
        os.close(self._owner)
        self._owner = -1

    def recover(self, report: Callable[[SeriesComplete], bool]) -> None:
        """Report what dead processes had not.

        Args:
            report: Gets each series once; False where it could not be told now.

        Raises:
            OSError: As the system says.
        """
        if not self._parent.is_dir():
            return
        for folder in sorted(self._parent.iterdir()):
            if folder != self._folder:
                _recover(folder, report)


def _recover(folder: Path, report: Callable[[SeriesComplete], bool]) -> None:
    try:
        owner = os.open(folder / _OWNER, os.O_RDWR | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return  # it is being made or removed at this moment
    try:
        if not try_lock(owner):
            return
        for path in sorted(folder.glob("[!.]*.json")):
            with suppress(FileNotFoundError):
                event = _read(path)
                if event is None or report(event):
                    path.unlink()
        _remove(folder)
    finally:
        os.close(owner)


def _read(path: Path) -> SeriesComplete | None:
    try:
        return SeriesComplete.from_document(json.loads(path.read_bytes()))
    except (ValueError, KeyError, TypeError):
        return None


def _remove(folder: Path) -> None:
    """Remove a folder in which no series is left."""
    with suppress(OSError):
        if not any(folder.glob("[!.]*.json")):
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
