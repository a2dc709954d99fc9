"""Locks that hold between threads and between processes on one archive.

In: an open lock file. Out: who may work on one SOP Instance UID, and which processes write now.
Not here: what is done under a lock.

Two processes that store the same object would each see no other object, and one of the two would
end outside the index. So storing holds a byte of the lock file, which the UID selects; different
objects practically never wait for each other.

A process that writes has a file of its own in ``.pypx/running``, locked until the process ends in
whatever way. A file there without a lock says: a process died, and since the time of the file
there may be objects in the tree that the index does not know.

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
from threading import Lock

from xxhash import xxh3_64_intdigest

from pypx.archive.files import FILE_MODE, sync_folder, unique
from pypx.errors import ArchiveError

__all__ = ["OPENING", "Running", "UidLocks"]

OPENING = "(opening the index)"
"""Held, like a UID, by who opens, migrates or replaces the index."""

_STRIPES = 256
_LONGEST_WAIT = 30.0
_POLL = 0.005
_NEW = ".new"  # a mark that is not locked yet
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
        fd = os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, FILE_MODE, dir_fd=self._folder)
        try:
            os.fchmod(fd, FILE_MODE)  # open() subtracts the umask, and others look at its lock
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
