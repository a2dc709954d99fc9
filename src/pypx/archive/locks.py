"""Locks that hold between threads and between processes on one archive.

In: an open lock file. Out: who may work on one SOP Instance UID, and which processes write now.
Not here: what is done under a lock.

Two processes that store the same object would each see no other object, and one of the two would
end outside the index. So storing holds a byte of the lock file, which the UID selects; different
objects practically never wait for each other.

A process that writes has a file of its own in ``.pypx/running``, locked until the process ends in
whatever way. A file there without a lock says: a process died, and since the time of the file
there may be objects in the tree that the index does not know.

A process that runs a transfer holds the lock of ``.pypx/transfers/ID.lock`` meanwhile: two never
run the same one, and a transfer whose lock nobody holds has no process any more.

Open the archive after ``fork``, not before: a child shares its parent's locks.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from threading import Lock

from xxhash import xxh3_64_intdigest

from pypx.archive.files import archive_error, make_folder, sync_folder, unique
from pypx.archive.tree import META_FOLDER
from pypx.errors import ArchiveError, ConfigError
from pypx.modes import file_mode

__all__ = ["OPENING", "Running", "TransferLock", "UidLocks"]

OPENING = "(opening the index)"
"""Held, like a UID, by who opens, migrates or replaces the index."""

_STRIPES = 256
_LONGEST_WAIT = 30.0
_POLL = 0.005
_NEW = ".new"  # a mark that is not locked yet
_TRANSFERS = "transfers"
_LOOK_WAIT = 0.25  # seconds; whoever looks at the lock of a transfer holds it for a moment
# Open file description locks (Linux): two archives in one process exclude each other as well.
_OFD_SETLK = getattr(fcntl, "F_OFD_SETLK", 0) if sys.maxsize > 2**32 else 0
_BUSY = frozenset({errno.EACCES, errno.EAGAIN})
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


class UidLocks:
    """Mutual exclusion by SOP Instance UID, over threads and processes."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._threads = tuple(Lock() for _ in range(_STRIPES))

    def hold(
        self, uid: str, *, longest_wait: float = _LONGEST_WAIT
    ) -> AbstractContextManager[None]:
        """Be the only one that works on this UID, as long as the context lasts.

        Args:
            uid: Any text.
            longest_wait: Seconds until another *process* that holds it is taken for stuck.

        Raises:
            ArchiveError: When entered: another process held it for all that time.
        """
        stripe = xxh3_64_intdigest(uid.encode("utf-8", "surrogatepass")) % _STRIPES
        return _Hold(self, stripe, longest_wait)

    def acquire(self, stripe: int, longest_wait: float) -> bool:
        """Lock a stripe; gives whether other processes are kept out too."""
        self._threads[stripe].acquire()
        try:
            return self._lock(stripe, longest_wait)
        except BaseException:
            self._threads[stripe].release()
            raise

    def release(self, stripe: int, locked: bool) -> None:
        """Give a stripe back; ``locked`` is what ``acquire`` gave."""
        try:
            if locked:
                self._set(stripe, fcntl.F_UNLCK)
        finally:
            self._threads[stripe].release()

    def _lock(self, stripe: int, longest_wait: float) -> bool:
        if self._fd < 0:  # an archive that is only read
            return False
        deadline = 0.0
        while True:
            try:
                self._set(stripe, fcntl.F_WRLCK)
                return True
            except OSError as error:
                if error.errno in _NO_LOCKS:  # then only threads exclude each other
                    return False
                if error.errno not in _BUSY:
                    raise
            now = time.monotonic()
            deadline = deadline or now + longest_wait
            if now >= deadline:
                raise ArchiveError(
                    f"Another process has been busy with the same object for {longest_wait:.0f} s.",
                    hint="Look for a stopped pypx process on this archive.",
                )
            time.sleep(_POLL)

    def _set(self, stripe: int, kind: int) -> None:
        if _OFD_SETLK:
            # struct flock: l_type, l_whence, l_start, l_len, l_pid (0 for these locks)
            flock = struct.pack("hhqqi4x", kind, os.SEEK_SET, stripe, 1, 0)
            fcntl.fcntl(self._fd, _OFD_SETLK, flock)
        elif kind == fcntl.F_UNLCK:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, stripe)
        else:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, stripe)


class _Hold(AbstractContextManager[None]):
    """A stripe that is held; a class, since a generator takes twice the time."""

    __slots__ = ("_locked", "_locks", "_longest_wait", "_stripe")

    def __init__(self, locks: UidLocks, stripe: int, longest_wait: float) -> None:
        self._locks = locks
        self._stripe = stripe
        self._longest_wait = longest_wait
        self._locked = False

    def __enter__(self) -> None:
        self._locked = self._locks.acquire(self._stripe, self._longest_wait)

    def __exit__(self, *error: object) -> None:
        self._locks.release(self._stripe, self._locked)


class Running:
    """The mark of this process that it writes, and those of processes that died writing."""

    def __init__(self, folder: int, *, durable: bool) -> None:
        self._folder = folder
        self._durable = durable
        self._lock = Lock()
        self._fd = -1
        self._name = ""
        self._since_ns = time.time_ns()

    def begin(self, *, since_ns: int | None = None) -> None:
        """Leave the mark, durably; more than once is fine.

        Args:
            since_ns: Since when the index may lack objects; from now on, when left out.

        Raises:
            OSError: It cannot be written.
        """
        if self._fd < 0:
            with self._lock:
                if self._fd < 0:
                    self._leave()
        if since_ns is not None:
            self._set_since(since_ns)

    def renew(self, since_ns: int) -> None:
        """Say that the index lacks nothing from before this time, unless it is being made again.

        Raises:
            OSError: It cannot be written.
        """
        if self._since_ns and since_ns > self._since_ns:
            self._set_since(since_ns)

    def _set_since(self, since_ns: int) -> None:
        self._since_ns = since_ns
        os.utime(self._fd, ns=(since_ns, since_ns))
        if self._durable:
            os.fsync(self._fd)

    def _leave(self) -> None:
        name = f"{os.getpid()}-{unique()}"
        new = name + _NEW
        fd = os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, file_mode(), dir_fd=self._folder)
        try:
            os.fchmod(fd, file_mode())  # open() subtracts the umask, and others look at its lock
            with suppress(OSError):  # no locks there: see dead()
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(new, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            if self._durable:
                os.fsync(fd)
                sync_folder(self._folder)
        except OSError:
            os.close(fd)
            raise
        self._name, self._fd = name, fd

    def end(self, *, complete: bool) -> None:
        """Take the mark away, or leave it for the next start when the index is not complete."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        if complete:
            with suppress(OSError):  # the next start then looks for nothing
                os.unlink(self._name, dir_fd=self._folder)
        os.close(fd)

    def dead(self) -> dict[str, int]:
        """Give the marks of processes that ended without taking theirs away.

        On a file system without locks nobody counts as dead; there a rebuild after a crash
        finds what the index lacks.

        Returns:
            The name of each, and since when (ns since 1970) the index may lack objects.
        """
        marks = {}
        with os.scandir(self._folder) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            if name == self._name or name.endswith(_NEW):
                continue
            try:
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self._folder)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                marks[name] = os.fstat(fd).st_mtime_ns
            except OSError as error:
                if error.errno not in _BUSY | _NO_LOCKS:
                    raise
            finally:
                os.close(fd)
        return marks

    def forget(self, name: str) -> None:
        """Remove the mark of a dead process: the index is complete again."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._folder)


class TransferLock:
    """The mark of this process that it runs a transfer; a context manager.

    ::

        with TransferLock.acquire(archive.root, transfer.id):
            ...  # nobody else runs it, and everybody sees that it is run
    """

    def __init__(self, folder: int, name: str, fd: int) -> None:
        self._folder = folder
        self._name = name
        self._fd = fd

    @classmethod
    def acquire(cls, root: Path, transfer_id: str) -> TransferLock:
        """Become the one that runs a transfer, until ``release`` or the end of the process.

        Take it before the transfer is resumed, and at once after it was begun. On a file system
        without locks nobody is kept out.

        Args:
            root: The folder of the archive.
            transfer_id: ``Transfer.id``.

        Raises:
            ConfigError: Another process runs it, or another thread of this one.
            ArchiveError: The lock file cannot be made.
        """
        name = f"{transfer_id}.lock"
        try:
            folder = _transfers_folder(root)
            try:
                return cls(folder, name, _locked(folder, name))
            except BaseException:
                os.close(folder)
                raise
        except BlockingIOError:
            raise ConfigError(
                f"Job {transfer_id} is run by another process.",
                hint=f"px status {transfer_id} --watch shows how it gets on.",
            ) from None
        except OSError as error:
            raise archive_error(error, "lock the job") from error

    @staticmethod
    def is_held(root: Path, transfer_id: str) -> bool:
        """Say whether a process runs a transfer; nothing is created or changed.

        On a file system without locks, or of a lock that may not be looked at, the file counts.

        Args:
            root: The folder of the archive.
            transfer_id: ``Transfer.id``.
        """
        path = root / META_FOLDER / _TRANSFERS / f"{transfer_id}.lock"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError as error:
            return error.errno in _BUSY
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except OSError:
            return True
        finally:
            os.close(fd)

    def release(self) -> None:
        """Give it back, and remove the lock file; more than once is fine."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        with suppress(OSError):  # an unlocked file that stays says the same
            os.unlink(self._name, dir_fd=self._folder)
        with suppress(OSError):  # also of children that were forked meanwhile, and have it too
            fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)
        os.close(self._folder)

    def __enter__(self) -> TransferLock:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def _transfers_folder(root: Path) -> int:
    meta = os.open(root / META_FOLDER, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return make_folder(meta, _TRANSFERS)
    finally:
        os.close(meta)


def _locked(folder: int, name: str) -> int:
    """Open and lock a file that has its name still when it is locked.

    Raises:
        BlockingIOError: Another one has locked it.
        OSError: As the system says.
    """
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW
    deadline = time.monotonic() + _LOOK_WAIT
    while True:
        fd = os.open(name, flags, file_mode(), dir_fd=folder)
        try:
            with suppress(OSError):  # it is another user's, who has set its mode
                os.fchmod(fd, file_mode())
            if _try_flock(fd, deadline) and _is_named(fd, folder, name):
                return fd
        except OSError:
            os.close(fd)
            raise
        os.close(fd)


def _try_flock(fd: int, deadline: float) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY and time.monotonic() < deadline:
            time.sleep(_POLL)
            return False
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _is_named(fd: int, folder: int, name: str) -> bool:
    """Say whether a name still is that of an open file: whoever held it before removes it."""
    with suppress(FileNotFoundError):
        named = os.stat(name, dir_fd=folder, follow_symlinks=False)
        return os.path.samestat(named, os.fstat(fd))
    return False
