"""The index in SQLite.

In: entries. Out: their rows, committed. Not here: what a key matches (``matching``), the tables
(``schema``), and any file of the tree.

One connection writes, behind a lock. Threads that add rows queue them; whoever gets the lock
commits the rows of all that wait in one transaction, so many associations share one fsync.
Readers have connections of their own and are never held up by a writer (write-ahead log).

When the index cannot be written (locked by another program, disk full, damaged, deleted), rows
wait in memory and are committed with later ones or by a timer. Their files are durable in the
tree, and the mark in ``.pypx/running`` makes the next start look for them if this process dies.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from threading import Lock, Timer
from typing import Any

from pypx.archive import rows
from pypx.archive.attributes import COUNTS, Level
from pypx.archive.files import FILE_MODE
from pypx.archive.index import Entry, Row
from pypx.archive.matching import PATIENT_KEY, where
from pypx.archive.schema import check, migrate
from pypx.errors import IndexUnavailableError

__all__ = ["SqliteIndex", "is_damaged"]

_MOST_WAITING = 10_000
_RETRY_AFTER = 1.0
_SHORT_WAIT = 0.02
_POLL = 0.0003
_CACHED_KEYS = 4096
_BATCH = 256
_CHECKPOINT_PAGES = 2000
_REBUILD = "Run 'px index rebuild': it makes the index again from the files."


def is_damaged(error: sqlite3.Error) -> bool:
    """Say whether SQLite finds the file malformed or no database."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _is_busy(error: Exception) -> bool:
    """Say whether another program has a lock on the index."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _unavailable(error: Exception) -> IndexUnavailableError:
    if _is_busy(error):
        hint = "Another program holds index.sqlite; end it, or try again later."
    else:
        hint = _REBUILD
    return IndexUnavailableError(f"The index of the archive cannot be used: {error}.", hint=hint)


class _Waiting:
    """The rows of one call of ``add``, and how they fared."""

    __slots__ = ("committed", "done", "entries", "error", "kept", "newest_wins")

    def __init__(self, entries: Sequence[Entry], newest_wins: bool) -> None:
        self.entries = entries
        self.newest_wins = newest_wins
        self.done = False
        self.committed = False
        self.kept = False
        self.error: Exception | None = None


class SqliteIndex:
    """An index in one SQLite file.

    Attributes:
        path: The file.
    """

    def __init__(
        self,
        path: Path,
        *,
        durable: bool = True,
        read_only: bool = False,
        longest_wait: float = 2.0,
        on_trouble: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Open or create the index.

        Args:
            path: Where the file is, or shall be.
            durable: Whether ``sync`` and ``close`` bring commits to the disk.
            read_only: Never write, not even the write-ahead log.
            longest_wait: Seconds that a commit waits for another program's lock.
            on_trouble: Gets a sentence when the index stops or starts being available.

        Raises:
            IndexUnavailableError: Newer schema, or the file cannot be opened.
            sqlite3.DatabaseError: The file is damaged; see ``is_damaged``.
        """
        self.path = path
        self._durable = durable
        self._read_only = read_only
        self._longest_wait = longest_wait
        self._on_trouble = on_trouble
        self._write_lock = Lock()
        self._queue_lock = Lock()
        self._read_lock = Lock()
        self._queue: list[_Waiting] = []
        self._waiting: dict[str, tuple[Entry, bool]] = {}
        self._timer: Timer | None = None
        self._keys: dict[tuple[object, ...], tuple[int, tuple[str, ...]]] = {}
        self._identity: tuple[int, int] | None = None
        self._reader_identity: tuple[int, int] | None = None
        self._closed = False
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        try:
            if not read_only:
                self._writer = self._open_writer(create=True)
            with self._reading() as connection:
                check(connection)
        except sqlite3.Error as error:
            self._close_connections()
            if is_damaged(error):
                raise
            raise _unavailable(error) from error
        except BaseException:
            self._close_connections()
            raise

    # Connections

    def _connect(self) -> sqlite3.Connection:
        """Open a connection that reads."""
        mode = "ro" if self._read_only else "rw"
        try:
            return self._connect_as(f"mode={mode}")
        except sqlite3.OperationalError:
            if not self._read_only:
                raise
            # No log file is there and none can be made: then nobody is writing either.
            return self._connect_as("mode=ro&immutable=1")

    def _connect_as(self, mode: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?{mode}",
            uri=True,
            timeout=self._longest_wait,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _open_writer(self, *, create: bool) -> sqlite3.Connection:
        if create:
            # SQLite would subtract the umask; its log files get the mode of this one. A file
            # that is there is left alone: closing it would drop the locks that SQLite has on it.
            with suppress(FileExistsError):
                fd = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, FILE_MODE)
                try:
                    os.fchmod(fd, FILE_MODE)
                finally:
                    os.close(fd)
        connection = self._connect()
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            # NORMAL: a power cut may take the last commits, and never more than that; the mark
            # of this process brings them back. See sync().
            connection.execute(f"PRAGMA synchronous = {'NORMAL' if self._durable else 'OFF'}")
            connection.execute(f"PRAGMA fullfsync = {int(self._durable)}")  # of macOS only
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            migrate(connection)
            connection.execute("PRAGMA busy_timeout = 0")  # _begin does the waiting
            for table in ("study", "series", "folder", "instance"):
                connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()
        except BaseException:
            connection.close()
            raise
        self._identity = self._identity_on_disk()
        return connection

    def _identity_on_disk(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self.path)  # noqa: PTH116  (once a commit)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _close_connections(self) -> None:
        for connection in (self._writer, self._reader):
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.close()
        self._writer = self._reader = None

    def _ready_writer(self) -> sqlite3.Connection:
        """Give the writing connection; a new one when the file is another one by now.

        Somebody deletes the index, or another process rebuilds it: SQLite would go on writing
        into the file that no longer has a name.
        """
        identity = self._identity_on_disk()
        if self._writer is not None and identity == self._identity:
            return self._writer
        if identity is None:
            raise sqlite3.OperationalError("the file was removed")
        with self._read_lock:
            self._close_connections()
            self._keys.clear()
            self._writer = self._open_writer(create=False)
        return self._writer

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._read_lock:
            identity = self._identity_on_disk()
            if self._reader is None or identity != self._reader_identity:
                if self._reader is not None:
                    self._reader.close()
                    self._reader = None
                self._reader, self._reader_identity = self._connect(), identity
            yield self._reader

    # Writing

    def add(self, entries: Iterable[Entry], *, newest_wins: bool = False) -> bool:
        """Add or replace rows by SOP Instance UID; return when they are committed.

        Args:
            entries: The rows.
            newest_wins: Keep a row that was received later than the new one (for rebuilding).

        Returns:
            False when the index is not available now: the rows are kept and committed later.

        Raises:
            IndexUnavailableError: Too many rows wait already, or a row cannot be written at all.
        """
        mine = _Waiting(tuple(entries), newest_wins)
        with self._queue_lock:
            self._queue.append(mine)
        with self._write_lock:
            if not mine.done:
                with self._queue_lock:
                    batch, self._queue = self._queue, []
                self._commit(batch)
        if not (mine.committed or mine.kept):
            raise _unavailable(mine.error or RuntimeError("a thread failed"))
        return mine.committed

    def _commit(self, batch: Sequence[_Waiting]) -> None:
        """Commit what waits and the batch; called with the write lock."""
        try:
            try:
                self._write(batch)
            except sqlite3.IntegrityError:
                # Another process has removed an empty study or folder whose key we remembered;
                # the keys are forgotten by now.
                self._write(batch)
        except (sqlite3.Error, OSError, IndexUnavailableError) as error:
            self._put_off(batch, error)
        finally:
            for waiting in batch:
                waiting.done = True

    def _write(self, batch: Sequence[_Waiting]) -> None:
        connection = self._ready_writer()
        try:
            self._begin(connection)
            for entry, newest_wins in self._waiting.values():
                rows.put(connection, self._keys, entry, newest_wins)
            for waiting in batch:
                for entry in waiting.entries:
                    rows.put(connection, self._keys, entry, waiting.newest_wins)
            connection.execute("COMMIT")
        except BaseException:
            self._keys.clear()
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        for waiting in batch:
            waiting.committed = True
        if len(self._keys) > _CACHED_KEYS:
            self._keys.clear()
        if self._waiting:
            self._waiting.clear()
            self._on_trouble("The index is available again; all rows that waited are in it.")

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Begin to write, as soon as no other process does.

        SQLite's own way to wait sleeps longer each time, up to 100 ms; with a few receivers on
        one archive that is long after it was free.
        """
        # If it failed a moment ago, no object waits for it as long again.
        deadline = time.monotonic() + (_SHORT_WAIT if self._waiting else self._longest_wait)
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() >= deadline:
                    raise
            time.sleep(_POLL)

    def _put_off(self, batch: Sequence[_Waiting], error: Exception) -> None:
        if not self._waiting:
            self._on_trouble(
                f"The index cannot be written ({error}); objects are stored in the tree and "
                "will be indexed later."
            )
        for waiting in batch:
            if len(self._waiting) + len(waiting.entries) > _MOST_WAITING:
                waiting.error = error
                continue
            waiting.kept = True
            for entry in waiting.entries:
                self._waiting[entry.sop_instance_uid] = entry, waiting.newest_wins
        if self._waiting and self._timer is None and not self._closed:
            self._timer = Timer(_RETRY_AFTER, self._retry)
            self._timer.daemon = True
            self._timer.start()

    def _retry(self) -> None:
        with self._write_lock:
            self._timer = None
            if self._waiting and not self._closed:
                self._commit([])
                if self._waiting:
                    self._put_off([], sqlite3.OperationalError("still not available"))

    @property
    def waiting(self) -> int:
        """How many rows wait for the index to be available."""
        return len(self._waiting)

    def forget(self, paths: Iterable[str]) -> None:
        """Remove the rows of files that are gone, and what is then empty.

        Raises:
            IndexUnavailableError: It cannot be written now.
        """
        left = iter(paths)
        while batch := list(islice(left, _BATCH)):  # short transactions: others are writing
            with self._changing() as connection:
                for path in batch:
                    folder, _, name = path.rpartition("/")
                    connection.execute(rows.DELETE_PATH, (folder, name))
        with self._changing() as connection:
            for statement in rows.PRUNE:
                connection.execute(statement)

    def undescribe(self) -> None:
        """Let whatever is added next give studies and series their values.

        Raises:
            IndexUnavailableError: It cannot be written now.
        """
        with self._changing() as connection:
            for statement in rows.UNDESCRIBE:
                connection.execute(statement)

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._write_lock, self._translated():
            connection = self._ready_writer()
            self._keys.clear()
            self._begin(connection)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    def is_sound(self) -> bool:
        """Read the whole index, and say whether it is there and not damaged."""
        if self._identity_on_disk() is None:
            return False
        try:
            with closing(self._connect()) as connection:
                answer = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.Error as error:
            return not is_damaged(error)
        return bool(answer[0] == "ok")

    def reset(self) -> None:
        """Begin an empty index where the file is gone.

        Raises:
            IndexUnavailableError: It cannot be created.
        """
        with self._write_lock, self._read_lock, self._translated():
            self._close_connections()
            self._keys.clear()
            self._writer = self._open_writer(create=True)

    def sync(self) -> bool:
        """Bring all that is committed to the disk.

        Returns:
            False when rows wait, or the disk fails: then a crash may still take rows.
        """
        if not self._durable:
            return not self._waiting
        try:
            # SQLite has no locks on its log, which closing another descriptor would drop.
            fd = os.open(f"{self.path}-wal", os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._on_trouble(f"The index cannot be brought to the disk: {error}.")
            return False
        return not self._waiting

    def close(self) -> bool:
        """Commit what waits, bring it to the disk, and close.

        Returns:
            False when rows remain that are not committed.
        """
        with self._write_lock:
            if self._waiting and not self._closed:
                self._commit([])
            complete = self._writer is None or self._closed or self.sync()
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
            with self._read_lock:
                self._close_connections()
        return complete and not self._waiting

    # Reading

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise _unavailable(error) from error

    def get(self, sop_instance_uid: str) -> Entry | None:
        """Give the row of an instance; None also when the index is not available."""
        if self._waiting and (found := self._waiting.get(sop_instance_uid)):
            return found[0]
        try:
            row = self._look_up(rows.GET, sop_instance_uid)
        except sqlite3.Error:
            return None
        return rows.entry_of(row) if row else None

    def _look_up(self, query: str, key: str) -> tuple[Any, ...] | None:
        """Give one row, from the connection that writes if nobody writes now.

        That one has in memory what it wrote last; the other would read it again each time.
        """
        if self._writer is not None and self._write_lock.acquire(blocking=False):
            try:
                connection = self._writer
                if connection is not None and self._identity_on_disk() == self._identity:
                    found: tuple[Any, ...] | None = connection.execute(query, (key,)).fetchone()
                    return found
            finally:
                self._write_lock.release()
        with self._reading() as connection:
            found = connection.execute(query, (key,)).fetchone()
        return found

    def owner_of(self, folder: str) -> str | None:
        """Give the Series Instance UID of an instance in that folder, if there is one."""
        try:
            row = self._look_up(rows.OWNER, folder)
        except sqlite3.Error:
            return None
        return str(row[0]) if row else None

    def find(self, level: Level, keys: Mapping[str, str]) -> Iterator[Row]:
        """Give the matches, one at a time; ``path`` is the folder or file of one instance.

        Raises:
            ConfigError: A key is unknown or its value is no such thing.
            IndexUnavailableError: The index cannot be read.
        """
        condition, parameters = where(level, keys)
        query = rows.SELECT[level].format(condition, patient=PATIENT_KEY.format("study"))
        found = self._stream(query, parameters)
        return (rows.row_of(level, COUNTS[level], row) for row in found)

    def entries(self, keys: Mapping[str, str]) -> Iterator[Entry]:
        """Give the instances that match, one at a time.

        Raises:
            ConfigError: A key is unknown or its value is no such thing.
            IndexUnavailableError: The index cannot be read.
        """
        condition, parameters = where(Level.IMAGE, keys)
        found = self._stream(rows.ENTRIES.format(condition), parameters)
        return (rows.entry_of(row) for row in found)

    def folders(self) -> Iterator[str]:
        """Give every folder that has instances."""
        return (row[0] for row in self._stream(rows.FOLDERS, ()))

    def in_folder(self, folder: str) -> dict[str, Entry]:
        """Give the instances of a folder by file name.

        Raises:
            IndexUnavailableError: The index cannot be read.
        """
        with self._translated(), self._reading() as connection:
            found = map(rows.entry_of, connection.execute(rows.IN_FOLDER, (folder,)))
            return {entry.path.rpartition("/")[2]: entry for entry in found}

    def _stream(self, query: str, parameters: Sequence[str | int]) -> Iterator[tuple[str, ...]]:
        with self._translated(), closing(self._connect()) as connection:
            yield from connection.execute(query, parameters)
