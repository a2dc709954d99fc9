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

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Lock, Timer
from typing import Any

from pypx.archive import rows
from pypx.archive.attributes import COUNTS, Level
from pypx.archive.connections import Connections, is_damaged
from pypx.archive.index import Entry, Row
from pypx.archive.matching import PATIENT_KEY, where
from pypx.batches import batches
from pypx.errors import IndexUnavailableError

__all__ = ["SqliteIndex"]

_MOST_WAITING = 10_000
_RETRY_AFTER = 1.0
_SHORT_WAIT = 0.02
_OPENING_WAIT = 2.0
_POLL = 0.0003
_CACHED_KEYS = 1024  # of studies, series and folders: a study has 2 kB
_BATCH = 256
_REBUILD = "Run 'px index rebuild': it makes the index again from the files."


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
        was_empty: Whether there were no tables in it when it was opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        durable: bool = True,
        read_only: bool = False,
        longest_wait: float = 2.0,
        on_trouble: Callable[[str], None] = lambda _: None,
        on_defect: Callable[[], None] = lambda: None,
    ) -> None:
        """Open or create the index.

        Args:
            path: Where the file is, or shall be.
            durable: Whether ``sync`` and ``close`` bring commits to the disk.
            read_only: Never write, not even the write-ahead log.
            longest_wait: Seconds that a commit waits for another program's lock.
            on_trouble: Gets a sentence when the index stops or starts being available.
            on_defect: Called when the index turns out to be damaged or gone, in the thread that
                writes: it must not wait for the index.

        Raises:
            IndexUnavailableError: Newer schema, or the file cannot be opened.
            sqlite3.DatabaseError: The file is damaged; see ``is_damaged``.
        """
        self.path = path
        self._read_only = read_only
        self._longest_wait = longest_wait
        self._on_trouble = on_trouble
        self._on_defect = on_defect
        self._write_lock = Lock()
        self._queue_lock = Lock()
        self._queue: list[_Waiting] = []
        self._waiting: dict[str, tuple[Entry, bool]] = {}
        self._timer: Timer | None = None
        self._keys: dict[tuple[object, ...], tuple[int, tuple[str, ...]]] = {}
        self._closed = False
        self._connections = Connections(
            path,
            durable=durable,
            read_only=read_only,
            longest_wait=max(longest_wait, _OPENING_WAIT),
        )
        try:
            self._connections.open()
        except sqlite3.Error as error:
            self._connections.close()
            if is_damaged(error):
                raise
            raise _unavailable(error) from error
        except BaseException:
            self._connections.close()
            raise
        self.was_empty = self._connections.found == 0

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

    def _ready_writer(self) -> sqlite3.Connection:
        """Give the writing connection; keys of another file than before are forgotten."""
        connection, is_new = self._connections.writer()
        if is_new:
            self._keys.clear()
        return connection

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
        if is_damaged(error):
            self._on_defect()
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
        for batch in batches(paths, _BATCH):  # short transactions: others are writing
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
        """Lend the connection that writes, for a change after which no key is known any more."""
        with self.transaction() as connection:
            self._keys.clear()
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection that writes, to change other rows than those of instances.

        What is done is committed at the end, or not at all after an error.

        Raises:
            IndexUnavailableError: It cannot be written now.
        """
        with self._write_lock, self._translated():
            connection = self._ready_writer()
            self._begin(connection)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection that reads, for a moment.

        Raises:
            IndexUnavailableError: It cannot be read.
        """
        with self._translated(), self._connections.reading() as connection:
            yield connection

    def defect(self, *, deep: bool = False) -> str:
        """Say why the index has to be made again; empty where it need not, or nobody can tell."""
        try:
            with self._write_lock:
                if not self._read_only:
                    self._ready_writer()
                self._connections.inspect(deep=deep)
        except sqlite3.Error as error:
            return str(error) if is_damaged(error) else ""
        return ""

    def reset(self) -> None:
        """Begin an empty index where the file is gone.

        Raises:
            IndexUnavailableError: It cannot be created.
        """
        with self._write_lock, self._translated():
            self._keys.clear()
            self._connections.reset()

    def sync(self) -> bool:
        """Bring all that is committed to the disk.

        Returns:
            False when rows wait, or the disk fails: then a crash may still take rows.
        """
        try:
            self._connections.sync()
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
            complete = self._read_only or self._closed or self.sync()
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
            self._connections.close()
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
        row: tuple[Any, ...] | None
        if not self._read_only and self._write_lock.acquire(blocking=False):
            try:
                row = self._ready_writer().execute(query, (key,)).fetchone()
                return row
            except sqlite3.Error:
                pass  # what cannot be written can perhaps be read
            finally:
                self._write_lock.release()
        with self._connections.reading() as connection:
            row = connection.execute(query, (key,)).fetchone()
        return row

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
        found = self.stream(query, parameters)
        return (rows.row_of(level, COUNTS[level], row) for row in found)

    def entries(self, keys: Mapping[str, str]) -> Iterator[Entry]:
        """Give the instances that match, one at a time.

        Raises:
            ConfigError: A key is unknown or its value is no such thing.
            IndexUnavailableError: The index cannot be read.
        """
        condition, parameters = where(Level.IMAGE, keys)
        found = self.stream(rows.ENTRIES.format(condition), parameters)
        return (rows.entry_of(row) for row in found)

    def folders(self) -> Iterator[str]:
        """Give every folder that has instances."""
        return (row[0] for row in self.stream(rows.FOLDERS, ()))

    def in_folder(self, folder: str) -> dict[str, Entry]:
        """Give the instances of a folder by file name.

        Raises:
            IndexUnavailableError: The index cannot be read.
        """
        with self.reading() as connection:
            found = map(rows.entry_of, connection.execute(rows.IN_FOLDER, (folder,)))
            return {entry.path.rpartition("/")[2]: entry for entry in found}

    def stream(
        self, query: str, parameters: Sequence[str | int] | Mapping[str, str | int]
    ) -> Iterator[tuple[Any, ...]]:
        """Give rows one at a time, from a connection of their own.

        Raises:
            IndexUnavailableError: It cannot be read.
        """
        with self._translated(), closing(self._connections.connect()) as connection:
            yield from connection.execute(query, parameters)
