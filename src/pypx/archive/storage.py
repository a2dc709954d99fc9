"""How an object comes into the archive: published in the tree, then indexed, or known already.

In: a whole file without a name, and what the index shall know of it. Out: where it is now. Not
here: how bytes arrive, and the single steps on the disk (``files``, ``tree``).

At each step all that was acknowledged before can be reached, whatever fails:

* *New*: sync the file, publish it under its name, commit its row.
* *The same content is known*: nothing is written.
* *Other content is known*: sync the new file; give the old one a second name in ``superseded/``
  with a note; give the new one its final name (in one step, where the old one has it); commit
  the row; where the old one has another name in the tree, take that from it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from pypx.archive.files import TempFile, archive_error
from pypx.archive.index import Entry, Index
from pypx.archive.layout import Layout, safe_uid
from pypx.archive.locks import Running, UidLocks
from pypx.archive.reading import HEADER_TAGS, iso_time, read_entry
from pypx.archive.tree import META_FOLDER, Retired, Tree
from pypx.errors import ArchiveError, DataSetError

__all__ = ["NOBODY", "Outcome", "Source", "Storage", "Stored", "time_stamp"]

_CACHED_OWNERS = 1024  # folders, of some 400 bytes each


class Outcome(StrEnum):
    """What became of an object."""

    NEW = "new"
    DUPLICATE = "duplicate"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Source:
    """Where an object came from; every field may be empty."""

    calling_ae_title: str = ""
    called_ae_title: str = ""
    host: str = ""
    association_id: str = ""

    def facts(self) -> dict[str, str]:
        """Give what is known, by name."""
        return {name: value for name in self.__slots__ if (value := getattr(self, name))}


NOBODY = Source()


class Stored(NamedTuple):
    """An object that is in the archive, durably.

    Attributes:
        sop_instance_uid: Its UID.
        path: Its file, absolute.
        bytes: The size of the file.
        outcome: ``new``; ``duplicate``: the very same content was there, nothing was written;
            ``superseded``: other content was there, and is kept in ``.pypx/superseded``.
        study_instance_uid: Of its study.
        series_instance_uid: Of its series.
        indexed: False when the index is not available now and will have the row later.
        superseded: Where the older content is kept, if there was one.
    """

    sop_instance_uid: str
    path: Path
    bytes: int
    outcome: Outcome
    study_instance_uid: str
    series_instance_uid: str
    indexed: bool = True
    superseded: Path | None = None


def time_stamp(received_at: str) -> str:
    """Write an ISO time so that a file name can have it: ``20240131T101112.123456Z``."""
    return received_at.replace("-", "").replace(":", "")


class Storage:
    """The parts of one archive, and the one way into it.

    Attributes:
        tree: Its files.
        index: Its rows.
        locks: Who works on which UID.
        running: The mark of this process.
        layout: Where a new object goes.
        header_tags: What index and layout want of a header.
        untidy: Whether a step failed so that the next start has to put files in order.
    """

    def __init__(
        self, tree: Tree, index: Index, locks: UidLocks, running: Running, layout: Layout
    ) -> None:
        self.tree = tree
        self.index = index
        self.locks = locks
        self.running = running
        self.layout = layout
        self.header_tags = HEADER_TAGS | layout.tags
        self.untidy = False
        self._owners: dict[str, str] = {}
        self._synced_ns = time.time_ns()

    def store(
        self,
        temp: TempFile,
        entry: Entry,
        shown: Mapping[str, str | None],
        source: Source = NOBODY,
    ) -> Stored:
        """Bring an object into the archive, and return when it is durable and indexed.

        Args:
            temp: The whole file; closed by the caller.
            entry: What the index shall know, without a path and a time.
            shown: Keyword to value, for the layout.
            source: For the note, if this supersedes another object.

        Raises:
            ArchiveError: It is not in the archive; what was there before still is.
        """
        folder, name = self._place(shown)
        now = time.time_ns() // 1000 * 1000
        entry = Entry(
            path=f"{folder}/{name}",
            values=entry.values,
            transfer_syntax_uid=entry.transfer_syntax_uid,
            bytes=entry.bytes,
            data_set_offset=entry.data_set_offset,
            checksum=entry.checksum,
            received_at=iso_time(now),
            calling_ae_title=entry.calling_ae_title,
            host=entry.host,
        )
        uid = entry.sop_instance_uid
        try:
            with self.locks.hold(uid):
                known = self._known(uid)
                if known is not None and known.content == entry.content:
                    return self._stored(known, Outcome.DUPLICATE)
                # The index can be made from the files alone, the times as well.
                os.utime(temp.fd, ns=(now, now))
                if known is not None:
                    return self._supersede(temp, entry, known, source)
                try:
                    self.tree.publish(temp, entry.path)
                except FileExistsError:
                    return self._settle(temp, entry, source)
                return self._index(entry, Outcome.NEW)
        except OSError as error:
            raise archive_error(error, "store the object") from error

    def _place(self, shown: Mapping[str, str | None]) -> tuple[str, str]:
        """Give folder and name; the folder with a longer hash if another series has it.

        Two series whose UIDs begin with the same hash meet once in 2^32, or by intent.
        """
        folder, name = self.layout.place(shown)
        series = shown.get("SeriesInstanceUID") or ""
        owner = self._owners.get(folder)
        if owner is None:
            owner = self.index.owner_of(folder)
            if len(self._owners) >= _CACHED_OWNERS:
                self._owners.clear()
            owner = self._owners[folder] = series if owner is None else owner
        return (folder, name) if owner == series else self.layout.place(shown, wide=True)

    def _known(self, uid: str) -> Entry | None:
        """Give what is stored under a UID, as the file is and not as the index remembers it."""
        known = self.index.get(uid)
        if known is None:
            return None
        status = self.tree.status(known.path)
        if status is None:
            return None
        if status.st_size == known.bytes and iso_time(status.st_mtime_ns) == known.received_at:
            return known
        found = self._read(known.path)
        if found is not None and found.sop_instance_uid != uid:
            return None  # somebody put another object there: this one is gone
        return found or _unreadable(known)

    def _read(self, path: str) -> Entry | None:
        try:
            return read_entry(self.tree, path)
        except DataSetError:
            return None

    def _settle(self, temp: TempFile, entry: Entry, source: Source) -> Stored:
        """Decide when a file that the index does not know has the name already."""
        status = self.tree.status(entry.path)
        if status is None:
            raise ArchiveError(
                "Something that is no file has the name of the object in the archive.",
                hint="Run 'px verify' to see what it is; links are not followed.",
            )
        if status.st_size == 0:  # what a crash leaves on a file system without hard links
            self.tree.sync(temp)
            self._replace(temp, entry)
            return self._index(entry, Outcome.NEW)
        existing = self._read(entry.path)
        if existing is None:
            return self._supersede(temp, entry, _unreadable(entry), source)
        if existing.sop_instance_uid != entry.sop_instance_uid:
            self.index.forget([entry.path])  # the row of a file that was renamed by hand
            return self._supersede(temp, entry, existing, source)
        if existing.content != entry.content:
            return self._supersede(temp, entry, existing, source)
        self.tree.sync_path(entry.path)
        return self._index(existing, Outcome.DUPLICATE)

    def _supersede(self, temp: TempFile, entry: Entry, old: Entry, source: Source) -> Stored:
        self.tree.sync(temp)
        retired = self.retire(old, entry, source)
        try:
            if old.path == entry.path:
                self._replace(temp, entry)
            else:
                self._publish_over(temp, entry, source)
        except BaseException:
            self.tree.unretire(old.path, retired)
            raise
        stored = self._index(entry, Outcome.SUPERSEDED)
        if old.path != entry.path:
            self._drop(old.path, retired)
        kept = self.tree.root / META_FOLDER / "superseded" / f"{retired.name}.dcm"
        return stored._replace(superseded=kept)

    def _publish_over(self, temp: TempFile, entry: Entry, source: Source) -> None:
        try:
            self.tree.publish(temp, entry.path)
        except FileExistsError:  # a third file, which the index does not know
            self.retire(self._read(entry.path) or _unreadable(entry), entry, source)
            self._replace(temp, entry)

    def _replace(self, temp: TempFile, entry: Entry) -> None:
        try:
            self.tree.replace(temp, entry.path)
        except OSError:
            if temp.replaced:  # but perhaps not durably: the row follows what is there now
                self.untidy = True
                self.index.add([entry])
            raise

    def _drop(self, path: str, retired: Retired) -> None:
        try:
            self.tree.drop_retired(path, retired)
        except OSError:
            self.untidy = True
            raise

    def retire(self, old: Entry, new: Entry, source: Source = NOBODY) -> Retired:
        """Give a stored file a second name in ``superseded/`` and a note that says why.

        Raises:
            OSError: As the system says; nothing has changed.
        """
        note = {
            "reason": "Another object with the same SOP Instance UID arrived.",
            "sop_instance_uid": old.sop_instance_uid,
            "superseded_at": iso_time(time.time_ns()),
            "path": old.path,
            "received_at": old.received_at,
            "calling_ae_title": old.calling_ae_title,
            "host": old.host,
            "transfer_syntax_uid": old.transfer_syntax_uid,
            "checksum": old.checksum,
            "superseded_by": {
                "path": new.path,
                "checksum": new.checksum,
                "transfer_syntax_uid": new.transfer_syntax_uid,
                **source.facts(),
            },
        }
        stamp = time_stamp(str(note["superseded_at"]))
        return self.tree.retire(old.path, f"{stamp}-{safe_uid(old.sop_instance_uid)}", note)

    def adopt(self, entry: Entry) -> Stored:
        """Index a file that is in the tree; the caller holds the lock of its UID.

        If another file has the UID and other content, the one that was received first goes to
        ``superseded/``, as if the other had just arrived.

        Raises:
            OSError: As the system says.
        """
        known = self._known(entry.sop_instance_uid)
        if known is None or known.path == entry.path:
            return self._index(entry, Outcome.NEW)
        if known.content == entry.content:
            return self._stored(known, Outcome.DUPLICATE)
        old, new = sorted((known, entry), key=lambda either: (either.received_at, either.path))
        retired = self.retire(old, new)
        stored = self._index(new, Outcome.SUPERSEDED)
        self._drop(old.path, retired)
        return stored

    def _index(self, entry: Entry, outcome: Outcome) -> Stored:
        indexed = self.index.add([entry])
        return self._stored(entry, outcome, indexed)

    def sync_index(self) -> None:
        """Make rows durable, so that little has to be looked for after a crash.

        It is called about once a minute: a file that was published before the last time has its
        row by now.

        Raises:
            OSError: The mark cannot be renewed.
        """
        last, self._synced_ns = self._synced_ns, time.time_ns()
        if self.index.sync():
            self.running.renew(last)

    def _stored(self, entry: Entry, outcome: Outcome, indexed: bool = True) -> Stored:
        path = self.tree.absolute(entry.path)
        values = entry.values
        return Stored(
            sop_instance_uid=entry.sop_instance_uid,
            path=path,
            bytes=entry.bytes,
            outcome=outcome,
            study_instance_uid=values["StudyInstanceUID"],
            series_instance_uid=values["SeriesInstanceUID"],
            indexed=indexed,
        )


def _unreadable(entry: Entry) -> Entry:
    """Describe a file that is no object any more: nothing has the same content."""
    return Entry(
        path=entry.path,
        values=entry.values,
        transfer_syntax_uid="",
        bytes=0,
        data_set_offset=0,
        checksum="",
        received_at="",
    )
