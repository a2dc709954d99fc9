"""The connections to the index: one that writes, one that reads, and whether they are good still.

In: the path of an SQLite file. Out: connections to the file that has that path now. Not here: rows,
and when what is written.

Somebody deletes the index, or another process makes it again: SQLite would go on writing into files
that have no name any more. So each use looks whether the files still are the ones that were opened.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Lock

from pypx.archive.schema import TABLES, VERSION, check, migrate, version_of
from pypx.modes import file_mode

__all__ = ["Connections", "DefectError", "is_damaged"]

_CHECKPOINT_PAGES = 2000


class DefectError(sqlite3.DatabaseError):
    """The files of the index are not what they were, or not an index: it has to be made again."""


def is_damaged(error: BaseException) -> bool:
    """Say whether the index has to be made again: SQLite finds it malformed, or we find it gone."""
    if isinstance(error, DefectError):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Connections:
    """The connections to one SQLite file.

    Attributes:
        path: The file.
        found: The version of the schema that the file had when it was opened.
    """

    def __init__(self, path: Path, *, durable: bool, read_only: bool, longest_wait: float) -> None:
        self.path = path
        self.found = VERSION
        self._durable = durable
        self._read_only = read_only
        self._longest_wait = longest_wait
        self._lock = Lock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._files: tuple[int, ...] | None = None  # of the writer
        self._read_files: tuple[int, ...] | None = None
        self._seen = (0, 0)  # inode and size

    def open(self) -> None:
        """Open the index, or create it.

        Raises:
            IndexUnavailableError: It has another schema, which cannot be changed.
            sqlite3.Error: As SQLite says.
        """
        if not self._read_only:
            self._writer = self._open_writer(create=True)
        with self.reading() as connection:
            check(connection)

    def connect(self) -> sqlite3.Connection:
        """Open another connection that reads; the caller closes it."""
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
                fd = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, file_mode())
                try:
                    os.fchmod(fd, file_mode())
                finally:
                    os.close(fd)
        connection = self.connect()
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            # NORMAL: a power cut may take the last commits, and never more than that; the mark
            # of this process brings them back. See sync().
            connection.execute(f"PRAGMA synchronous = {'NORMAL' if self._durable else 'OFF'}")
            connection.execute(f"PRAGMA fullfsync = {int(self._durable)}")  # of macOS only
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            self.found = version_of(connection)
            _migrate(connection)
            connection.execute("PRAGMA busy_timeout = 0")  # who writes does the waiting
            _read_tables(connection)
        except BaseException:
            connection.close()
            raise
        self._seen = (0, 0)
        self._files = self._look()
        return connection

    def _look(self) -> tuple[int, ...] | None:
        """Give what tells the files of today from others; None where there is no file.

        Raises:
            DefectError: The file has become shorter, which SQLite never does to it.
        """
        inode, size = self._seen  # not later: another thread may see it grow after we did
        try:
            status = os.stat(self.path)  # noqa: PTH116  (twice an object)
        except OSError:
            return None
        log = 0
        if not self._read_only:
            with suppress(OSError):
                log = os.stat(f"{self.path}-wal").st_ino  # noqa: PTH116
        if not stat.S_ISREG(status.st_mode):
            return None
        if status.st_size < size and status.st_ino == inode:
            raise DefectError("it was cut")
        self._seen = status.st_ino, status.st_size
        return status.st_dev, status.st_ino, log

    def writer(self) -> tuple[sqlite3.Connection, bool]:
        """Give the connection that writes, and whether it is another one than before.

        Raises:
            DefectError: The files were removed or cut.
            sqlite3.Error: The file that is there now cannot be opened.
        """
        files = self._look()
        if self._writer is not None and files == self._files:
            return self._writer, False
        if files is None:
            raise DefectError("it was removed")
        if self._files is not None and files[:2] == self._files[:2]:
            raise DefectError("its log was removed")
        with self._lock:
            self._close()
            self._writer = self._open_writer(create=False)
        return self._writer, True

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection that reads, to one thread at a time.

        Raises:
            sqlite3.Error: The file cannot be opened.
        """
        with self._lock:
            files = self._look()
            if self._reader is None or files != self._read_files:
                if self._reader is not None:
                    self._reader.close()
                    self._reader = None
                self._reader, self._read_files = self.connect(), files
            yield self._reader

    def inspect(self, *, deep: bool) -> None:
        """Look whether the file is a whole index.

        Args:
            deep: Read all of it.

        Raises:
            DefectError: It is not.
            IndexUnavailableError: A newer pypx has written it.
            sqlite3.Error: As SQLite says.
        """
        if self._look() is None:
            raise DefectError("it was removed")
        with closing(self.connect()) as connection:
            if version_of(connection) < VERSION:
                raise DefectError("its tables are gone")
            check(connection)
            _read_tables(connection)
            if deep:
                (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if answer != "ok":
                    raise DefectError(str(answer))

    def sync(self) -> None:
        """Bring all that is committed to the disk.

        Raises:
            OSError: As the system says.
        """
        if self._durable:
            # SQLite has no locks on its log, which closing another descriptor would drop.
            fd = os.open(f"{self.path}-wal", os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def reset(self) -> None:
        """Begin an empty index where there is no file.

        Raises:
            sqlite3.Error, OSError: It cannot be created.
        """
        with self._lock:
            self._close()
            self._writer = self._open_writer(create=True)

    def close(self) -> None:
        """Close both; more than once is fine."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        for connection in (self._writer, self._reader):
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.close()
        self._writer = self._reader = None


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables to today's schema; tables that stand in the way are none of ours.

    Raises:
        DefectError: What is there is no index.
    """
    try:
        migrate(connection)
    except sqlite3.OperationalError as error:
        if "already exists" not in str(error):
            raise
        raise DefectError(str(error)) from error


def _read_tables(connection: sqlite3.Connection) -> None:
    """Look into each table.

    Raises:
        DefectError: One is missing.
    """
    try:
        for table in TABLES:
            connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        raise DefectError(str(error)) from error
