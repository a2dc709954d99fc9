"""The write protocol: a file gets its name when it is whole and on the disk.

In: bytes, and folders as file descriptors. Out: files that are whole under their final names, or
no files. Not here: which name an object gets, and what to do when that name is taken.

The steps of one file, and what a crash leaves after each:

1. ``TempFile.create``: a file without a name (``O_TMPFILE``): nothing. Where the file system has
   none, ``incoming/*.part``, which the next start takes in or puts into quarantine.
2. ``write``, ``sync`` (fdatasync): the same.
3. ``publish``: ``link`` gives the final name and fails when it is taken: the whole file, or none.
4. ``sync_folder`` (fsync): the name itself is durable.

Where the sync of a file keeps a name that is new with it (``mounts``), the data is only waited for
before step 3 (``end_writeback``), and step 4 is an fsync of the file.

On file systems without hard links (exFAT, some network shares) step 3 creates the final name
empty with ``O_EXCL``, so that it still overwrites nobody, and renames the ``.part`` onto it. A
crash between these two leaves an empty file, which counts as a free name ever after.

A failed fsync is final: the kernel may have dropped the pages, so the file is given up, never
synced again (the sender gets a failure status and sends again).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from enum import Enum
from functools import cache

from pypx.errors import ArchiveError, ArchiveFullError
from pypx.modes import file_mode, folder_mode

__all__ = [
    "Publication",
    "TempFile",
    "archive_error",
    "can_write_back",
    "end_writeback",
    "make_folder",
    "open_file",
    "open_folder",
    "probe",
    "read_chunks",
    "start_writeback",
    "sync_file",
    "sync_folder",
    "unique",
    "write_all",
]

_CHUNK = 1 << 20
_WAIT_BEFORE, _WRITE, _WAIT_AFTER = 1, 2, 4  # SYNC_FILE_RANGE_… of linux/fs.h
_SHORTEST_CHUNK = 4096

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_TMPFILE = getattr(os, "O_TMPFILE", 0)
_F_FULLFSYNC = getattr(fcntl, "F_FULLFSYNC", 0)
_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT, errno.ENOSYS})
_NO_LINK = frozenset(
    {errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS, errno.EXDEV, errno.ENOENT, errno.EMLINK}
)


class Publication(Enum):
    """How a whole file gets its final name on this file system."""

    TMPFILE = "an unnamed file is linked"
    LINK = "a .part file is linked, then loses its first name"
    RENAME = "a .part file is renamed onto an empty file"


_HINTS = {
    errno.ENOSPC: "Free space or inodes on the disk of the archive; what is stored is untouched.",
    errno.EDQUOT: "Raise the quota of the user that runs pypx; what is stored is untouched.",
    errno.EFBIG: "Raise the file size limit (ulimit -f) of the process.",
    errno.EROFS: "The file system of the archive is mounted read-only.",
    errno.EACCES: "Check the owner and the rights of the archive's folders.",
    errno.EPERM: "Check the owner, the rights and the attributes (lsattr) of the archive.",
    errno.EIO: "The disk failed: look at the system log before anything else.",
    errno.ELOOP: "A link stands in the tree of the archive; links are not followed.",
    errno.ENOTDIR: "A link or a file stands where a folder belongs; links are not followed.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.ENFILE: "The system has too many open files.",
    errno.ENOENT: "A folder of the archive was removed while it was written to.",
}


def archive_error(error: OSError, doing: str) -> ArchiveError:
    """Give the error of the tree for a failure of the operating system.

    The message has no path: names of folders may identify a patient.

    Args:
        error: What the system said.
        doing: What failed, after "could not": ``store the object``.
    """
    kind = ArchiveFullError if error.errno in _FULL else ArchiveError
    reason = error.strerror or type(error).__name__
    hint = _HINTS.get(error.errno or 0, "")
    return kind(f"The archive could not {doing}: {reason}.", hint=hint)


def unique() -> str:
    """Give 16 random hexadecimal digits, for a name that nobody else has."""
    return os.urandom(8).hex()


def write_all(fd: int, views: Sequence[bytes | memoryview]) -> int:
    """Write all the bytes, with as few calls as the system allows.

    Returns:
        How many bytes that were.

    Raises:
        OSError: As the system says, e.g. no space; some bytes may then be written.
    """
    total = sum(len(view) for view in views)
    written = os.write(fd, views[0]) if len(views) == 1 else os.writev(fd, views[:1024])
    if written == total:
        return total
    rest = memoryview(b"".join(views))  # rare: a signal, a limit, or a disk that is nearly full
    while written < total:
        written += os.write(fd, rest[written:])
    return total


def read_chunks(fd: int) -> Iterator[memoryview]:
    """Give the rest of a file piece by piece; a piece is valid until the next one."""
    longest = min(max(os.fstat(fd).st_size, _SHORTEST_CHUNK), _CHUNK)
    buffer = memoryview(bytearray(longest))
    while count := os.readv(fd, [buffer]):
        yield buffer[:count]


@cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    """Give the call of Linux that Python has no name for; None where there is none."""
    import ctypes  # some ms, for who writes durably only

    call = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return call


def start_writeback(fd: int) -> None:
    """Let the disk begin with what was written, so that a sync soon after waits less.

    It promises nothing, and its failure means nothing: the sync will tell.
    """
    call = _sync_file_range()
    if call is not None:
        call(fd, 0, 0, _WRITE)


def end_writeback(fd: int) -> None:
    """Wait until the disk has the data: before its size and place are safe, which a sync adds.

    Raises:
        OSError: The disk failed; or (ENOSYS) the system cannot do this.
    """
    import ctypes

    call = _sync_file_range()
    if call is None:
        raise OSError(errno.ENOSYS, "There is no sync_file_range here")
    if call(fd, 0, 0, _WAIT_BEFORE | _WRITE | _WAIT_AFTER):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def can_write_back() -> bool:
    """Say whether the system has ``start_writeback`` and ``end_writeback``."""
    return _sync_file_range() is not None


def sync_file(fd: int) -> None:
    """Bring the data of a file to the disk (on macOS past the cache of the drive)."""
    if _F_FULLFSYNC:
        try:
            fcntl.fcntl(fd, _F_FULLFSYNC)
            return
        except OSError as error:  # not every file system of macOS has it
            if error.errno not in (errno.ENOTSUP, errno.ENOTTY, errno.EINVAL):
                raise
    getattr(os, "fdatasync", os.fsync)(fd)


def sync_folder(fd: int) -> None:
    """Bring the names in a folder to the disk."""
    try:
        os.fsync(fd)
    except OSError as error:  # some network file systems have no fsync of folders
        if error.errno != errno.EINVAL:
            raise


def open_folder(parent: int, name: str) -> int:
    """Open a folder in ``parent``; a link in its place is refused (ENOTDIR, ELOOP)."""
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)


def make_folder(parent: int, name: str) -> int:
    """Open a folder in ``parent``, and create it before when it is missing.

    The caller syncs ``parent``. The mode does not depend on the umask.
    """
    with suppress(FileNotFoundError):
        return open_folder(parent, name)
    try:
        os.mkdir(name, folder_mode(), dir_fd=parent)
    except FileExistsError:
        return open_folder(parent, name)
    fd = open_folder(parent, name)
    try:
        os.fchmod(fd, folder_mode())
    except OSError:
        os.close(fd)
        raise
    return fd


def open_file(parent: int, name: str, flags: int = os.O_RDONLY) -> int:
    """Open a regular file in ``parent`` without waiting for one that is a pipe.

    Raises:
        OSError: ELOOP for a link, EINVAL for a folder, a pipe or a device.
    """
    fd = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "Not a regular file")
    return fd


def probe(incoming: int) -> Publication:
    """Find out, by doing it once, how files can be published on this file system.

    Raises:
        OSError: Nothing can be written there at all (read-only, no rights, no room).
    """
    name = f"probe-{unique()}.part"  # so that the next start clears it, if we die on the way
    if _TMPFILE and _links(incoming, name, Publication.TMPFILE, _NO_TMPFILE | _NO_LINK):
        return Publication.TMPFILE
    if _links(incoming, name, Publication.LINK, _NO_LINK):
        return Publication.LINK
    return Publication.RENAME


def _links(incoming: int, name: str, way: Publication, unsupported: frozenset[int]) -> bool:
    temp = None
    try:
        temp = TempFile.create(incoming, way)
        temp.publish(incoming, name)
    except OSError as error:
        if error.errno not in unsupported:
            raise
        return False
    finally:
        if temp is not None:
            temp.close()
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=incoming)
    return True


def _mark_used(fd: int) -> None:
    """Tell other processes that a ``.part`` file is in use, where there are locks."""
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


class TempFile:
    """A file that is being written and has no final name yet.

    Attributes:
        fd: Its descriptor; closed by ``close``.
        replaced: Whether ``replace`` has given it the name of another file.
    """

    __slots__ = ("_incoming", "_part", "_way", "fd", "replaced")

    def __init__(self, fd: int, incoming: int, part: str, way: Publication) -> None:
        self.fd = fd
        self.replaced = False
        self._incoming = incoming
        self._part = part
        self._way = way

    @classmethod
    def create(cls, incoming: int, way: Publication) -> TempFile:
        """Create one; ``incoming`` is an open folder that outlives it.

        Raises:
            OSError: No rights, no inode, too many open files.
        """
        if way is Publication.TMPFILE:
            part = ""
            fd = os.open(".", _TMPFILE | os.O_RDWR, file_mode(), dir_fd=incoming)
        else:
            part = f"{unique()}.part"
            fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, file_mode(), dir_fd=incoming)
            _mark_used(fd)
        temp = cls(fd, incoming, part, way)
        try:
            os.fchmod(fd, file_mode())  # open() subtracts the umask
        except OSError:
            temp.close()
            raise
        return temp

    @classmethod
    def adopt(cls, fd: int, incoming: int, part: str, way: Publication) -> TempFile:
        """Take over a ``.part`` file that a process left behind; it has a name already."""
        return cls(fd, incoming, part, Publication.LINK if way is Publication.TMPFILE else way)

    def publish(self, folder: int, name: str) -> None:
        """Give the file its final name, if nobody has it.

        Raises:
            FileExistsError: The name is taken; nothing has changed.
            OSError: As the system says; nothing has changed.
        """
        match self._way:
            case Publication.TMPFILE:
                # Only with dst_dir_fd does link() follow /proc/self/fd to the file behind it.
                os.link(f"/proc/self/fd/{self.fd}", name, dst_dir_fd=folder)
            case Publication.LINK:
                os.link(
                    self._part,
                    name,
                    src_dir_fd=self._incoming,
                    dst_dir_fd=folder,
                    follow_symlinks=False,
                )
            case Publication.RENAME:
                os.close(os.open(name, os.O_CREAT | os.O_EXCL, file_mode(), dir_fd=folder))
                try:
                    self._rename(folder, name)
                except OSError:
                    os.unlink(name, dir_fd=folder)
                    raise

    def replace(self, folder: int, name: str) -> None:
        """Give the file a final name that another file has, in one step.

        The caller has given the other file a second name before.

        Raises:
            OSError: As the system says; the other file then still has the name.
        """
        if self._way is Publication.TMPFILE:
            _mark_used(self.fd)
            self._part = f"{unique()}.part"
            try:
                os.link(f"/proc/self/fd/{self.fd}", self._part, dst_dir_fd=self._incoming)
            except OSError:
                self._part = ""
                raise
        self._rename(folder, name)
        self.replaced = True

    def _rename(self, folder: int, name: str) -> None:
        os.rename(self._part, name, src_dir_fd=self._incoming, dst_dir_fd=folder)
        self._part = ""

    def leave(self) -> None:
        """Close the file, and leave its ``.part`` for the next start."""
        self._part = ""
        self.close()

    def close(self) -> None:
        """Close the file; what was not published is gone. More than once is fine."""
        if self._part:
            with suppress(OSError):  # the next start sweeps it up
                os.unlink(self._part, dir_fd=self._incoming)
            self._part = ""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            with suppress(OSError):  # an error of close comes after the sync and changes nothing
                os.close(fd)
