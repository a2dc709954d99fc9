"""An archive on this machine: a readable tree of Part 10 files, and an index of it.

In: objects piece by piece, Part 10 files, queries. Out: where objects are stored, matches, and
what is wrong. Not here: the network, and how any of it is done; this is the face of the package.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NamedTuple

from pypx.archive import ingest, log
from pypx.archive.attributes import Level
from pypx.archive.files import archive_error, sync_folder, unique
from pypx.archive.incoming import Incoming
from pypx.archive.index import Entry, Row
from pypx.archive.index_sqlite import SqliteIndex
from pypx.archive.keeper import Keeper
from pypx.archive.layout import DEFAULT_LAYOUT, Layout
from pypx.archive.locks import OPENING, Running, UidLocks
from pypx.archive.log import Interrupted
from pypx.archive.reading import identity, iso_time
from pypx.archive.storage import NOBODY, Source, Storage, Stored, time_stamp
from pypx.archive.tree import META_FOLDER, Tree
from pypx.dicom.part10 import FileMeta
from pypx.errors import ArchiveError, ConfigError, IndexUnavailableError

if TYPE_CHECKING:
    from pypx.archive.account import Account
    from pypx.archive.companions import Companions
    from pypx.archive.ledger import Ledger
    from pypx.archive.transfers import Transfer

__all__ = ["Archive", "Located"]

_STARTED_NS = time.time_ns()


class Located(NamedTuple):
    """Where the data set of a stored instance is, for who wants to send it.

    Attributes:
        path: The file, absolute.
        meta: SOP class, SOP instance and transfer syntax, and who sent it.
        data_set_offset: Where the data set starts in the file.
        size: Bytes of the data set.
    """

    path: Path
    meta: FileMeta
    data_set_offset: int
    size: int


class Archive:
    """A tree of Part 10 files and its index. Threads and processes may share one.

    Open it after ``fork``, not before.

    Attributes:
        root: The absolute path of the tree.
        layout: Where new objects go.
        header_tags: What a ``HeaderScan`` has to look for, for ``Incoming.commit``.
        notes: Sentences for the user about what happened to the archive beside what was asked:
            an index that was rebuilt, objects taken in after a crash.

    While objects are stored, a thread looks after the index: one that is damaged or deleted then is
    made again, and ``notes`` says so.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        layout: str = DEFAULT_LAYOUT,
        durability: Literal["full", "none"] = "full",
        index_wait: float = 2.0,
        create: bool = True,
        read_only: bool = False,
    ) -> None:
        """Open an archive.

        What a crash left behind is put in order: ``.part`` files are taken in or quarantined,
        objects without a row are indexed, a damaged or missing index is made again from the
        files; ``notes`` says so.

        Args:
            root: The folder of the archive.
            layout: The name of a layout or a template; see ``pypx.archive.layout``.
            durability: ``full``: an object that is stored survives a power cut. ``none``: it
                survives the end of the process only.
            index_wait: Seconds that storing an object waits for an index that another program has
                locked; then the object is stored, and its row follows.
            create: Make the archive if it is missing.
            read_only: Change nothing, for users without the right to.

        Raises:
            ConfigError: The layout or the durability is none.
            ArchiveError: There is no archive and ``create`` is false, or no right to write.
            IndexUnavailableError: The index is locked, or a newer pypx has written it.
        """
        if durability not in ("full", "none"):
            raise ConfigError(f"{durability!r} is no durability.", hint="Use 'full' or 'none'.")
        self.root = Path(root).absolute()
        self.layout = Layout.parse(layout)
        self.notes: list[str] = []
        self._keeper: Keeper | None = None
        self._durable = durability == "full"
        self._index_wait = index_wait
        self._read_only = read_only
        self._tree = Tree(self.root, durable=self._durable, create=create, read_only=read_only)
        try:
            with _translated("be opened"):
                self._open()
        except BaseException:
            self._tree.close()
            raise
        self.header_tags = self._storage.header_tags
        if not read_only:
            self._keeper = self._make_keeper()
            self._keeper.start()

    def _make_keeper(self) -> Keeper:
        return Keeper(
            defect=self._index.defect,
            mend=self._mend,
            sync=self._storage.sync_index,
            tell=self.notes.append,
        )

    def _wake_keeper(self) -> None:
        if self._keeper is not None:  # else the archive is being opened, and looks by itself
            self._keeper.wake()

    def _open(self) -> None:
        if self._read_only:
            self._index = self._open_index()
            nowhere = -1  # what only reads has no lock and leaves no mark
            locks, running = UidLocks(nowhere), Running(nowhere, durable=False)
            self._storage = Storage(self._tree, self._index, locks, running, self.layout)
            return
        locks = UidLocks(self._tree.descriptor("lock"))
        running = Running(self._tree.descriptor("running"), durable=self._durable)
        with ExitStack() as undo:
            undo.callback(running.end, complete=False)
            with locks.hold(OPENING):
                lost = self._open_or_replace_index(running)
                if self._durable:  # the names of the index and of its log
                    sync_folder(self._tree.descriptor(META_FOLDER))
            undo.callback(self._index.close)
            self._storage = Storage(self._tree, self._index, locks, running, self.layout)
            self._put_in_order(lost)
            undo.pop_all()

    def _open_or_replace_index(self, running: Running) -> bool:
        """Open the index; when there is none, or a damaged one, begin a new one and say True."""
        path = self._index_path()
        reason = ""
        if path.is_file() and path.stat().st_size:
            try:
                self._index = self._open_index()
                if self._index.was_empty:
                    running.begin(since_ns=0)
                return self._index.was_empty
            except sqlite3.DatabaseError as error:
                reason = str(error)
        elif path.exists() and not path.is_file():
            reason = "it is no file"
        # Set before there is an index: if we die now, the next start looks everywhere.
        running.begin(since_ns=0)
        self._move_index_aside(reason)
        self._index = self._open_index()
        return True

    def _index_path(self) -> Path:
        return self.root / META_FOLDER / "index.sqlite"

    def _move_index_aside(self, reason: str) -> None:
        """Take the files of the index away; also a log without its index, which would be mixed
        with the next one."""
        path = self._index_path()
        aside = f"{path.name}.damaged-{time_stamp(iso_time(time.time_ns()))}-{unique()}"
        kept = path.exists()
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(path.with_name(aside + suffix))
        if reason and kept:
            self.notes.append(f"The index was damaged ({reason}); it is kept as .pypx/{aside}.")

    def _open_index(self) -> SqliteIndex:
        if self._read_only and not self._index_path().is_file():
            raise IndexUnavailableError(
                "The archive has no index, and it cannot be made read-only.",
                hint="Run 'px index rebuild' with the right to write.",
            )
        try:
            return SqliteIndex(
                self._index_path(),
                durable=self._durable,
                read_only=self._read_only,
                longest_wait=self._index_wait,
                on_trouble=self.notes.append,
                on_defect=self._wake_keeper,
            )
        except sqlite3.DatabaseError as error:
            if not self._read_only:
                raise
            raise IndexUnavailableError(
                f"The index of the archive is damaged: {error}.", hint="Run 'px index rebuild'."
            ) from error

    def _put_in_order(self, lost: bool) -> None:
        storage = self._storage
        marks = storage.running.dead()
        if lost:
            report = ingest.rebuild(storage)
            if report.files:
                self.notes.append(f"The index was made again from {report.files} files.")
        try:
            if marks:
                # Also after a rebuild, which leaves it open which of two files with one UID is
                # the superseded one.
                count = ingest.reconcile(storage, min(marks.values()))
                self.notes.append(
                    "A process ended before it could finish; "
                    f"{count} objects were indexed after it."
                )
            for name in marks:
                storage.running.forget(name)
            self.sweep()
        except (OSError, ArchiveError) as error:
            # A disk that is full still can be read, and a later start has another chance.
            storage.untidy = True
            self.notes.append(f"What a process left behind could not be put in order: {error}")

    # Storing

    def begin(self, meta: FileMeta) -> Incoming:
        """Begin an object that arrives piece by piece.

        Args:
            meta: SOP class, SOP instance and transfer syntax as negotiated, and the AE title
                that sends.

        Raises:
            ArchiveFullError: No room for a file.
            ArchiveError: No file can be made.
            DataSetError: There is no SOP Instance UID.
        """
        self._check_writable()
        return Incoming(self._storage, meta)

    def add_file(self, path: Path | str, source: Source = NOBODY) -> Stored:
        """Bring a Part 10 file into the archive: its data set as it is, our meta information.

        The preamble becomes zero. A file inside the tree is indexed where it is, if its name ends
        in ``.dcm`` and neither that nor a folder is hidden.

        Args:
            path: The file; it is only read.
            source: Where it came from.

        Raises:
            DataSetError: It is no Part 10 file, or it is torn.
            ArchiveError: It cannot be read or stored.
        """
        self._check_writable()
        return ingest.add_file(self._storage, Path(path), source)

    def _check_writable(self) -> None:
        if self._read_only:
            raise ArchiveError("The archive was opened read-only.")

    def free_bytes(self) -> int:
        """Give how many bytes the disk has left for this user."""
        return self._tree.free_bytes()

    @property
    def waiting(self) -> int:
        """How many stored objects wait for the index to be available."""
        return self._index.waiting

    # Reading

    def find(
        self, level: Level | str = Level.STUDY, keys: Mapping[str, str] | None = None
    ) -> Iterator[Row]:
        """Search the archive as C-FIND searches a PACS (PS3.4 C.2.2.2).

        Args:
            level: ``patient``, ``study``, ``series`` or ``image``.
            keys: Keyword to value: empty, single, with ``*`` and ``?``, a range of dates or
                times, UIDs with backslashes between them. Keys of lower levels are met by
                whatever has something below that meets them.

        Returns:
            The matches, one at a time: keyword to text (a list where it is multiple, None where
            it is empty), the counts of PS3.4 C.3.4, ``ModalitiesInStudy`` of a study, and
            ``instances``, ``bytes`` and ``path``.

        Raises:
            ConfigError: There is no such level, a key is not in the index, or a value is no date.
            IndexUnavailableError: The index cannot be read.
        """
        level = _level(level)
        found = self._index.find(level, keys or {})
        depth = None if level is Level.IMAGE else self.layout.depth_of(level)
        return (self._with_path(row, depth) for row in found)

    def _with_path(self, row: Row, depth: int | None) -> Row:
        """Write the path for the user: absolute, and of a study the folder of the study."""
        if depth == 0:
            row["path"] = None
        else:
            parts = str(row["path"]).split("/")
            row["path"] = "/".join((str(self.root), *parts[:depth]))
        return row

    def instances(self, keys: Mapping[str, str] | None = None) -> Iterator[Located]:
        """Give the instances that match, one at a time, for who wants to send them.

        Args:
            keys: As for ``find`` at the level ``image``.

        Raises:
            ConfigError: A key is not in the index, or a value is no date.
            IndexUnavailableError: The index cannot be read.
        """
        return map(self._located, self._index.entries(keys or {}))

    def locate(self, sop_instance_uid: str) -> Located | None:
        """Give where an instance is, or None when the archive does not have it."""
        entry = self._index.get(identity(sop_instance_uid))
        return None if entry is None else self._located(entry)

    def _located(self, entry: Entry) -> Located:
        meta = FileMeta(
            sop_class_uid=entry.values["SOPClassUID"],
            sop_instance_uid=entry.sop_instance_uid,
            transfer_syntax_uid=entry.transfer_syntax_uid,
            source_ae_title=entry.calling_ae_title,
        )
        size = entry.bytes - entry.data_set_offset
        return Located(self._tree.absolute(entry.path), meta, entry.data_set_offset, size)

    @property
    def ledger(self) -> Ledger:
        """What was asked of PACS, and how it stands."""
        from pypx.archive.ledger import Ledger  # a listener does without it

        return Ledger(self._index)

    def companions(
        self, *, info: bool | None = None, maps: Path | None = None
    ) -> Companions | None:
        """Give who writes files for programs that watch the archive; None if nothing is wanted.

        Args:
            info: Write ``patient.info``, ``study.info`` and ``series.info`` into the folders; None
                for whatever is usual with the layout, which is yes for those of upstream.
            maps: The folder of maps from IDs to folders.
        """
        if info is None:
            info = self.layout.is_upstreams
        if self._read_only or not (info or maps):
            return None
        from pypx.archive.companions import Companions  # most archives have none

        return Companions(self._tree, self.layout, self.find, info=info, maps=maps)

    def account(self, transfer: Transfer) -> Account:
        """Give what was expected of a transfer, against what is here now."""
        from pypx.archive.account import Account  # who stores does without it

        return Account(self._index, transfer)

    # Keeping order

    def check(
        self, *, checksums: bool = False, progress: Callable[[int], None] = lambda _: None
    ) -> ingest.Report:
        """Compare the tree with the index; others may go on storing meanwhile.

        Args:
            checksums: Also read every file and compare its content with what was stored.
            progress: Called with the number of files so far.

        Raises:
            IndexUnavailableError: The index cannot be read.
        """
        with _translated("be checked"):
            return ingest.check(self._storage, checksums=checksums, progress=progress)

    def rebuild(self, progress: Callable[[int], None] = lambda _: None) -> ingest.Report:
        """Make the index again from the files; others may go on storing meanwhile.

        A damaged index is moved aside. Files are only read.

        Args:
            progress: Called with the number of files so far.

        Raises:
            ArchiveError: The tree cannot be read, or the index cannot be written.
        """
        self._check_writable()
        with _translated("make the index again"):
            self._replace_damaged_index(deep=True)
            return ingest.rebuild(self._storage, progress)

    def _replace_damaged_index(self, *, deep: bool) -> None:
        """Begin an empty index where the one that is there is none any more."""
        with self._storage.locks.hold(OPENING):
            if reason := self._index.defect(deep=deep):  # else another process has begun one
                self._storage.running.begin(since_ns=0)
                self._move_index_aside(reason)
                self._index.reset()

    def _mend(self, reason: str) -> None:
        """Make a damaged index again while objects are stored.

        Raises:
            StoppedError: The archive is being closed; the next start goes on.
            PypxError, OSError: It was not possible now.
        """
        self.notes.append(f"The index is damaged ({reason}) and is made again; receiving goes on.")
        storage, keeper = self._storage, self._keeper
        assert keeper is not None  # it is the one that calls
        untidy, storage.untidy = storage.untidy, True
        with _translated("make the index again"):
            self._replace_damaged_index(deep=False)
            report = ingest.rebuild(storage, keeper.check)
        storage.untidy = untidy
        self.notes.append(f"The index was made again from {report.files} files.")

    def sweep(self) -> ingest.Swept:
        """Take in whole ``.part`` files that dead processes left, and quarantine torn ones.

        It happens whenever an archive is opened.

        Raises:
            ArchiveError: As the system says.
        """
        self._check_writable()
        with _translated("clear what was left over"):
            swept = ingest.sweep(self._storage, _STARTED_NS)
        if swept.taken_in or swept.quarantined:
            self.notes.append(
                f"Of unfinished files, {swept.taken_in} were whole and are stored, "
                f"{swept.quarantined} were torn and are in .pypx/quarantine."
            )
        return swept

    def note_interrupted(self, meta: FileMeta, source: Source, size: int, reason: str) -> None:
        """Note that an object broke off after ``size`` bytes of its data set; never raises."""
        with suppress(OSError, KeyError):  # KeyError: the archive is closed
            log.note(self._tree.descriptor("log"), meta, source, size, reason)

    def interrupted(self) -> Iterator[Interrupted]:
        """Give the objects that broke off, the oldest first; those of long ago are forgotten.

        Raises:
            ArchiveError: The record cannot be read.
        """
        with _translated("read the record of interrupted objects"):
            yield from log.read(self.root / META_FOLDER / "log")

    def close(self) -> None:
        """Commit what waits, and close. More than once is fine."""
        if self._keeper is not None:
            self._keeper.stop()
        complete = self._index.close()
        self._storage.running.end(complete=complete and not self._storage.untidy)
        self._tree.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise archive_error(error, doing) from error


def _level(level: Level | str) -> Level:
    try:
        return Level(level)
    except ValueError:
        raise ConfigError(
            f"There is no level {level!r}.", hint=f"Use {', '.join(Level)}."
        ) from None
