"""Files taken into the archive one by one, and what became of each.

In: paths as users type them. Out: rows while it goes on, and a verdict. One file that is refused
stops nothing; a disk that is full, or an index that cannot be had, ends it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pypx.cli.output import Output, error_object, visible
from pypx.cli.progress import TransferProgress
from pypx.cli.rows import Row, rows_for
from pypx.cli.show import count, size
from pypx.cli.table import Column, draw
from pypx.errors import (
    ArchiveError,
    ArchiveFullError,
    CancelledError,
    DataSetError,
    IndexUnavailableError,
    PypxError,
)

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.archive.companions import Companions

__all__ = ["Import"]

_INFO = ("patient.info", "study.info", "series.info", "receiving.series")
_BESIDE = re.compile(
    r"(patient|study|series)\.info|receiving\.series|.*\.json|(out|err)-[0-9a-f-]{36}\.txt"
    r"|listen\.run\.log|repack\.log|.*-pulse\.log|(?i:DICOMDIR)|\..*"
)
"""What stands beside images: what upstream writes there, directories of discs, hidden files."""

_COLUMNS = ("path", "outcome", "sop_instance_uid", "bytes", "stored", "reason")
_WORDS = {"duplicate": "here already", "superseded": "replaced"}


class Import:
    """The import of some files.

    Args:
        archive: Where they go.
        out: What is told of each.
        companions: Who writes the files beside each series, when all of it is taken in.
    """

    def __init__(self, archive: Archive, out: Output, companions: Companions | None = None) -> None:
        self._archive = archive
        self._companions = companions
        self._series: dict[str, str] = {}
        self._out = out
        self._rows = rows_for(out, _COLUMNS, _show)
        self._passed_over = 0
        self._counts = dict.fromkeys(("new", *_WORDS, "refused"), 0)
        self._bytes = 0
        self._refused: list[dict[str, Any]] = []
        self._error: PypxError | None = None
        self._stopped = False
        self._started = time.monotonic()

    def stop(self) -> None:
        """End after the file under way; a signal handler may call it."""
        self._stopped = True

    def take(self, paths: Iterable[str]) -> None:
        """Take files and folders in, in the order of the arguments and then of names."""
        try:
            self._take_all(paths)
        finally:
            self._write_companions()

    def _take_all(self, paths: Iterable[str]) -> None:
        with TransferProgress(self._out, "import", "looking") as progress:
            for path in self._files(paths):
                if self._stopped:
                    self._error = CancelledError("Interrupted; what was taken in stays.")
                    return
                try:
                    self._take(path)
                except (ArchiveFullError, IndexUnavailableError) as error:
                    self._error = error
                    return
                done = sum(self._counts.values()) - self._counts["refused"]
                progress.show(None, done, self._counts["refused"], 0)

    def _write_companions(self) -> None:
        """Write ``.info`` files and maps of what was taken in, also after an interruption."""
        for uid, folder in self._series.items():
            assert self._companions is not None  # else none is noted
            try:
                self._companions.write_missing(uid, folder)
            except (OSError, IndexUnavailableError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                self._out.warn(
                    f"Not all files beside the images could be written: {reason.rstrip('.')}.",
                    hint="Later px index rebuild writes what is missing.",
                )
                return

    def _take(self, path: str) -> None:
        try:
            stored = self._archive.add_file(path)
        except (ArchiveFullError, IndexUnavailableError):
            raise
        except (DataSetError, ArchiveError) as error:
            self._refuse(path, error)
            return
        if self._companions is not None:
            self._series[stored.series_instance_uid] = str(stored.path.parent)
        self._counts[stored.outcome] += 1
        self._bytes += stored.bytes if stored.outcome != "duplicate" else 0
        row = {
            "path": path,
            "outcome": str(stored.outcome),
            "sop_instance_uid": stored.sop_instance_uid,
            "bytes": stored.bytes,
            "stored": str(stored.path),
            "reason": None,
        }
        self._tell(row)

    def _refuse(self, path: str, error: PypxError) -> None:
        self._counts["refused"] += 1
        self._refused.append({"path": path, "error": error_object(error)})
        row = dict.fromkeys(_COLUMNS) | {"path": path, "outcome": "refused"}
        self._tell({**row, "reason": error.message})

    def _tell(self, row: Row) -> None:
        """Rows of all files for programs; people see those that were refused."""
        match self._out.form:
            case "jsonl" | "csv":
                self._rows.add(row)
            case "text" if row["outcome"] == "refused":
                self._rows.add(row)

    def _files(self, paths: Iterable[str]) -> Iterator[str]:
        for path in paths:
            if Path(path).is_dir():
                yield from self._below(path)
            else:
                yield path

    def _below(self, folder: str) -> Iterator[str]:
        def trouble(error: OSError) -> None:
            reason = f"The folder cannot be read: {error.strerror or error}."
            self._refuse(str(error.filename), ArchiveError(reason))

        for where, folders, files in os.walk(folder, onerror=trouble):
            folders[:] = sorted(name for name in folders if _is_entered(where, name))
            for name in sorted(files):
                path = f"{where.rstrip('/')}/{name}"
                if _BESIDE.fullmatch(name) or _is_mark(path):
                    self._passed_over += 1
                    self._out.detail(f"passed over {path}")
                else:
                    yield path

    def end(self) -> int:
        """Write the verdict; give the exit code."""
        if self._out.form == "json":
            self._out.document(self._document())
        else:
            self._rows.end(self._error)
        self._out.flush()
        self._out.say(self._sentence())
        if self._error is not None:
            self._out.error(self._error)
            return self._error.exit_code
        return 1 if self._refused else 0

    def _document(self) -> dict[str, Any]:
        failed = self._error is not None or self._refused
        result = {
            "status": "cancelled" if self._stopped else "failure" if failed else "success",
            "files": sum(self._counts.values()),
            **{outcome: self._counts[outcome] for outcome in ("new", *_WORDS)},
            "passed_over": self._passed_over,
            "bytes": self._bytes,
            "refused": self._refused,
            "seconds": round(time.monotonic() - self._started, 3),
        }
        return result | ({"error": error_object(self._error)} if self._error else {})

    def _sentence(self) -> str:
        counts = self._counts
        words = [f"{count(counts['new'], 'file')} taken in" if counts["new"] else "nothing new"]
        words += [f"{counts[key]} {word}" for key, word in _WORDS.items() if counts[key]]
        words += [size(self._bytes)] if self._bytes else []
        words += [f"{self._passed_over} passed over"] if self._passed_over else []
        words += [f"{counts['refused']} refused"] if counts["refused"] else []
        return f"{', '.join(words)}."


def _is_entered(where: str, folder: str) -> bool:
    """Say whether a folder may have images: not a hidden one, unless upstream made it.

    There a PatientID that begins with a dash begins with a dot.
    """
    return not folder.startswith(".") or any(Path(where, folder, one).exists() for one in _INFO)


def _is_mark(path: str) -> bool:
    """Say whether a file is empty and no image: upstream names one by each AE title."""
    if path.endswith(".dcm"):
        return False
    try:
        return Path(path).stat().st_size == 0
    except OSError:
        return False


def _show(out: Output, rows: list[Row]) -> None:
    if rows:
        columns = [
            Column("Refused", [visible(row["path"]) for row in rows]),
            Column("Reason", [visible(row["reason"]) for row in rows], long=True),
        ]
        text, _ = draw(columns, width=out.terminal_width, colour=out.colour)
        out.write(f"{text}\n")
