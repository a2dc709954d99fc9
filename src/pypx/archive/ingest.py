"""Files that are there already: imported, indexed again, checked, or left over from a crash.

In: paths of Part 10 files, or the tree of an archive. Out: stored objects and reports. Not here:
objects that arrive from the network.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pypx.archive.files import TempFile, archive_error, open_file, read_chunks
from pypx.archive.incoming import Incoming
from pypx.archive.index import Entry
from pypx.archive.reading import (
    Scanned,
    identity,
    iso_time,
    read_entry,
    scan,
    shown_by,
    values_of,
)
from pypx.archive.storage import NOBODY, Source, Storage, Stored, time_stamp
from pypx.archive.walk import Found, is_shown, walk
from pypx.errors import ArchiveError, DataSetError

__all__ = ["Report", "Swept", "add_file", "check", "rebuild", "reconcile", "sweep"]

_BATCH = 256
_SLACK_NS = 2_000_000_000  # file systems keep times by up to 2 s


class Report(NamedTuple):
    """What ``check`` or ``rebuild`` found; all paths are relative to the root.

    Attributes:
        files: Files in the tree that were looked at.
        missing: Rows whose file is gone (``rebuild`` has removed them).
        unindexed: Files without a row (after ``rebuild``: none).
        damaged: Files that are no object, or not the one that was stored.
        copies: Files whose SOP Instance UID is indexed under another path.
        strange: Links, pipes and the like, which are never followed.
    """

    files: int
    missing: tuple[str, ...] = ()
    unindexed: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    strange: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether tree and index are the same, and every file is what was stored."""
        return not (self.missing or self.unindexed or self.damaged or self.strange)


class Swept(NamedTuple):
    """What ``sweep`` did with the ``.part`` files of processes that ended."""

    taken_in: int
    quarantined: int


def add_file(storage: Storage, path: Path, source: Source = NOBODY) -> Stored:
    """Bring a Part 10 file into the archive: its data set as it is, with our meta information.

    The preamble becomes zero (it could hold a program, CVE-2019-11687). The meta information
    takes the UIDs of the data set, where the file's disagrees. A file inside the tree is indexed
    where it is, unless the tree would not show it there: its name does not end in ``.dcm``, or a
    folder begins with a dot.

    Raises:
        DataSetError: It is no Part 10 file, or it is torn.
        ArchiveError: It cannot be read or stored.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise archive_error(error, "read the file to import") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise DataSetError("This is no file.", hint="Only regular files can be imported.")
        inside = _path_inside(storage, path)
        if inside is not None:
            return _index_in_place(storage, inside)
        return _copy(storage, fd, source)
    except OSError as error:
        raise archive_error(error, "read the file to import") from error
    finally:
        os.close(fd)


def _path_inside(storage: Storage, path: Path) -> str | None:
    try:
        inside = path.resolve().relative_to(storage.tree.root.resolve())
    except ValueError:
        return None
    path_inside = inside.as_posix()
    return path_inside if is_shown(path_inside) else None


def _copy(storage: Storage, fd: int, source: Source) -> Stored:
    """Scan first, so that a torn file never becomes one of ours; then copy."""
    scanned = scan(fd, storage.header_tags)
    os.lseek(fd, scanned.offset, os.SEEK_SET)
    with Incoming(storage, scanned.meta) as incoming:
        for chunk in read_chunks(fd):
            incoming.write(chunk)
        if incoming.checksum != scanned.checksum:
            raise ArchiveError("The file changed while it was imported.", hint="Import it again.")
        return incoming.commit(scanned.header, source)


def _index_in_place(storage: Storage, path: str) -> Stored:
    storage.running.begin()
    entry = read_entry(storage.tree, path)
    with storage.locks.hold(entry.sop_instance_uid):
        storage.tree.sync_path(path)
        return storage.adopt(entry)


def check(
    storage: Storage,
    *,
    checksums: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Report:
    """Compare the tree with the index, while others may go on storing.

    Args:
        storage: The archive.
        checksums: Also read every file, and compare its content with what was stored (bit rot).
        progress: Called with the number of files so far.

    Raises:
        IndexUnavailableError: The index cannot be read.
    """
    count = 0
    seen: set[str] = set()
    missing, unindexed, damaged, copies, strange = _lists()
    for found in walk(storage.tree.root):
        rows = storage.index.in_folder(found.folder)
        seen.add(found.folder)
        strange += found.strange
        for name, (size, _) in found.files.items():
            count += 1
            progress(count)
            path = _join(found.folder, name)
            row = rows.pop(name, None)
            if row is None:
                _sort_unknown(storage, path, unindexed, damaged, copies)
            elif _is_suspect(storage, row, size, checksums) and _is_damaged(storage, row):
                damaged.append(path)
        missing += _missing(storage, rows.values())
    for folder in set(storage.index.folders()) - seen:
        missing += _missing(storage, storage.index.in_folder(folder).values())
    return _report(count, missing, unindexed, damaged, copies, strange)


def _lists() -> tuple[list[str], list[str], list[str], list[str], list[str]]:
    return [], [], [], [], []


def _report(count: int, *lists: Iterable[str]) -> Report:
    return Report(count, *(tuple(sorted(set(paths))) for paths in lists))


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _gone(storage: Storage, rows: Iterable[Entry]) -> list[str]:
    """Give the paths without a file; the look is later than the row, so none is only new."""
    return [row.path for row in rows if storage.tree.status(row.path) is None]


def _gone_from(storage: Storage, folder: str) -> list[str]:
    """Give the paths in a folder without a file; only names that it does not list cost a look."""
    rows = storage.index.in_folder(folder)
    with suppress(OSError):
        fd = storage.tree.descend(folder)
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        rows.pop(entry.name, None)
        finally:
            os.close(fd)
    return _gone(storage, rows.values())


def _missing(storage: Storage, rows: Iterable[Entry]) -> list[str]:
    """Give the paths without a file, but none of an object that was moved by what superseded it
    meanwhile."""
    by_path = {row.path: row for row in rows}
    gone = []
    for path in _gone(storage, by_path.values()):
        known = storage.index.get(by_path[path].sop_instance_uid)
        if known is None or known.path == path:
            gone.append(path)
    return gone


def _is_suspect(storage: Storage, row: Entry, size: int, checksums: bool) -> bool:
    return size != row.bytes or (checksums and not _is_as_stored(storage, row))


def _is_damaged(storage: Storage, row: Entry) -> bool:
    """Look again while nobody can supersede the object: its row may be another one by now."""
    with storage.locks.hold(row.sop_instance_uid):
        known = storage.index.get(row.sop_instance_uid) or row
        return known.path == row.path and not _is_as_stored(storage, known)


def _sort_unknown(
    storage: Storage, path: str, unindexed: list[str], damaged: list[str], copies: list[str]
) -> None:
    entry = _read(storage, path)
    if entry is None:
        if storage.tree.status(path) is not None:
            damaged.append(path)
        return
    with storage.locks.hold(entry.sop_instance_uid):  # whoever stores it now, ends first
        known = storage.index.get(entry.sop_instance_uid)
        if storage.tree.status(path) is None:  # superseded, and elsewhere
            return
        is_there = known is not None and storage.tree.status(known.path) is not None
    if known is None or not is_there:
        unindexed.append(path)
    elif known.path != path:  # the same one: it was indexed a moment ago
        copies.append(path)


def _read(storage: Storage, path: str, folder: int | None = None) -> Entry | None:
    try:
        return read_entry(storage.tree, path, folder)
    except (DataSetError, OSError):  # what cannot be read is reported, not raised
        return None


def _is_as_stored(storage: Storage, row: Entry) -> bool:
    entry = _read(storage, row.path)
    return entry is not None and entry.content == row.content


def rebuild(storage: Storage, progress: Callable[[int], None] = lambda _: None) -> Report:
    """Make the index again from the files, while others may go on storing.

    Args:
        storage: The archive; its index can be written.
        progress: Called with the number of files so far.

    Raises:
        IndexUnavailableError: The index cannot be written.
        ArchiveError: The tree cannot be read.
    """
    began = time.time_ns()
    storage.running.begin(since_ns=0)  # if we die on the way, the next start looks everywhere
    missing, unindexed, damaged, copies, strange = _lists()
    for folder in list(storage.index.folders()):
        missing += _gone_from(storage, folder)
    storage.index.forget(missing)
    storage.index.undescribe()
    count = 0
    batch: dict[str, Entry] = {}
    contested: set[str] = set()  # UIDs of more than one file
    for found in walk(storage.tree.root):
        strange += found.strange
        rows = storage.index.in_folder(found.folder)
        for name, entry in _entries(storage, found):
            count += 1
            progress(count)
            if entry is None:
                path = _join(found.folder, name)
                if storage.tree.status(path) is not None:  # else superseded meanwhile
                    damaged.append(path)
                continue
            uid = entry.sop_instance_uid
            if uid in batch or len(batch) == _BATCH:
                storage.index.add(batch.values(), newest_wins=True)
                batch.clear()
            row = rows.get(name)
            if uid in contested or row is None or row.sop_instance_uid != uid:
                if loser := _loser(storage, entry):
                    copies += loser
                    contested.add(uid)
                if entry.path in loser:
                    continue
            batch[uid] = entry
    storage.index.add(batch.values(), newest_wins=True)
    storage.index.forget(())
    storage.running.begin(since_ns=began)
    return _report(count, missing, unindexed, damaged, copies, strange)


def _entries(storage: Storage, found: Found) -> Iterator[tuple[str, Entry | None]]:
    """Read the files of a folder, which is opened once; None for what cannot be read."""
    try:
        folder = storage.tree.descend(found.folder)
    except OSError:
        yield from ((name, None) for name in found.files)
        return
    try:
        for name in found.files:
            yield name, _read(storage, _join(found.folder, name), folder)
    finally:
        os.close(folder)


def _loser(storage: Storage, entry: Entry) -> list[str]:
    """Give which of two files with one UID is not indexed: the one that was received first."""
    known = storage.index.get(entry.sop_instance_uid)
    if known is None or known.path == entry.path:
        return []
    return [min((known, entry), key=lambda either: (either.received_at, either.path)).path]


def reconcile(storage: Storage, since_ns: int) -> int:
    """Index what a process stored and could not index before it died.

    Only folders that changed since then are compared with the index.

    Args:
        storage: The archive.
        since_ns: Since when that process was writing, ns since 1970.

    Returns:
        How many files were indexed.

    Raises:
        ArchiveError: The index cannot be written, or the tree cannot be read.
    """
    count = 0
    storage.running.begin(since_ns=since_ns)
    for found in walk(storage.tree.root):
        if found.mtime_ns < since_ns - _SLACK_NS:
            continue
        rows = storage.index.in_folder(found.folder)
        for name, (size, mtime_ns) in found.files.items():
            row = rows.pop(name, None)
            if row and (row.bytes, row.received_at) == (size, iso_time(mtime_ns)):
                continue
            entry = _read(storage, _join(found.folder, name))
            if entry is not None:
                with storage.locks.hold(entry.sop_instance_uid):
                    storage.adopt(entry)
                count += 1
        if gone := _gone(storage, rows.values()):
            storage.index.forget(gone)
    return count


def sweep(storage: Storage, before_ns: int) -> Swept:
    """Clear ``incoming/`` of what processes that ended have left there.

    A whole object is stored like any other; a torn one goes to quarantine.

    Args:
        storage: The archive.
        before_ns: Younger files are left alone: their process may be about to lock them.

    Raises:
        ArchiveError: A whole object could not be stored; it is left where it is.
        OSError: As the system says; the file is left where it is.
    """
    taken_in = quarantined = 0
    for name, mtime_ns in storage.tree.parts():
        temp = _take_over(storage, name) if mtime_ns < before_ns else None
        if temp is None:
            continue
        try:
            try:
                scanned = scan(temp.fd, storage.header_tags)
            except DataSetError as error:
                quarantined += _keep_torn(storage, temp, name, error.message)
            else:
                _take_in(storage, temp, scanned)
                taken_in += 1
        except BaseException:
            temp.leave()  # for another start, when there is room
            raise
        temp.close()
    return Swept(taken_in, quarantined)


def _take_over(storage: Storage, name: str) -> TempFile | None:
    """Open a ``.part`` file that nobody uses; none when that cannot be told for certain."""
    try:
        fd = open_file(storage.tree.descriptor("incoming"), name, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return storage.tree.adopt(fd, name)
    except OSError:  # somebody has it, or there are no locks here
        os.close(fd)
        return None


def _keep_torn(storage: Storage, temp: TempFile, name: str, reason: str) -> int:
    if os.fstat(temp.fd).st_size == 0:
        return 0
    now = iso_time(time.time_ns())
    note = {"reason": f"The process that received it ended. {reason}", "quarantined_at": now}
    part = f"{time_stamp(now)}-{name.removesuffix('.part')}"
    storage.tree.quarantine(temp, part, note)
    return 1


def _take_in(storage: Storage, temp: TempFile, scanned: Scanned) -> Stored:
    storage.running.begin()
    values = values_of(scanned.header, scanned.meta, storage.layout.keywords)
    entry = Entry(
        path="",
        values={**values, "SOPInstanceUID": identity(scanned.meta.sop_instance_uid)},
        transfer_syntax_uid=scanned.meta.transfer_syntax_uid,
        bytes=scanned.offset + scanned.size,
        data_set_offset=scanned.offset,
        checksum=scanned.checksum,
        received_at="",
        calling_ae_title=scanned.meta.source_ae_title,
    )
    return storage.store(temp, entry, shown_by(storage.layout, values, scanned.header))
