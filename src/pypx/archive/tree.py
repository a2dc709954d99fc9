"""The files of one archive: its root, its folders, and how files move between them.

In: relative paths with ``/``, and files being written. Out: files in their place, durable. Not
here: what is in a file, which name it gets, and the index.

::

    ROOT/                       the tree: *.dcm in folders, as the layout says
      .pypx/index.sqlite        the index
            incoming/           files being written
            quarantine/         objects that could not be accepted, each with a .json that says why
            superseded/         objects whose UID came again with other content, each with a .json
            running/            one file for each process that writes
            log/                objects that broke off
            hooks/              what hooks have yet to be told, written by the receiver
            transfers/          one lock for each job that is run, ID.lock
            lock

Nothing follows a link below the root: each folder is opened relative to the one before, with
``O_NOFOLLOW``. No stored file is overwritten, truncated or deleted; one that is superseded gets
its name in ``superseded/`` before it loses the one in the tree.
"""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from pypx.archive.files import (
    Publication,
    TempFile,
    archive_error,
    can_write_back,
    end_writeback,
    make_folder,
    open_file,
    open_folder,
    probe,
    read_chunks,
    start_writeback,
    sync_file,
    sync_folder,
    unique,
    write_all,
)
from pypx.archive.mounts import sync_keeps_name
from pypx.errors import ArchiveError
from pypx.modes import file_mode, folder_mode

__all__ = ["META_FOLDER", "Retired", "Tree"]

META_FOLDER = ".pypx"
_FOLDERS = ("incoming", "quarantine", "superseded", "running", "log")
_KEPT_OPEN = 32
_NO_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO})
_ATTEMPTS = 3


class Retired(NamedTuple):
    """A file that has a second name: the one in ``superseded/`` without suffix, and what it is."""

    name: str
    identity: tuple[int, int]


class Tree:
    """The files below one root.

    Attributes:
        root: Its absolute path.
        durable: Whether data and names are synced to the disk.
    """

    def __init__(
        self, root: Path, *, durable: bool = True, create: bool = True, read_only: bool = False
    ) -> None:
        """Open the tree, and make its folders.

        Raises:
            ArchiveError: There is none and ``create`` is false, or it cannot be made or written.
        """
        self.root = root
        self.durable = durable
        self._way: Publication | None = None
        self._one_sync: bool | None = None
        self._lock = Lock()
        self._open: OrderedDict[str, tuple[int, tuple[int, int]]] = OrderedDict()
        self._fds: dict[str, int] = {}
        try:
            self._open_root(create, read_only)
        except OSError as error:
            self.close()
            raise archive_error(error, "be opened") from error
        except ArchiveError:
            self.close()
            raise

    def _open_root(self, create: bool, read_only: bool) -> None:
        if create and not read_only:
            self._make_root()
        elif not (self.root / META_FOLDER).is_dir():
            raise ArchiveError(
                "There is no archive at the given place.",
                hint="Check --archive; on a mounted disk, check that it is mounted.",
            )
        self._fds[""] = root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        if read_only:
            return
        self._fds[META_FOLDER] = meta = make_folder(root, META_FOLDER)
        for name in _FOLDERS:
            self._fds[name] = make_folder(meta, name)
        flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW
        self._fds["lock"] = lock = os.open("lock", flags, file_mode(), dir_fd=meta)
        with suppress(OSError):  # it is another user's, who has set its mode
            os.fchmod(lock, file_mode())
        if self.durable:
            sync_folder(meta)
            sync_folder(root)

    def _make_root(self) -> None:
        missing = [path for path in (self.root, *self.root.parents) if not path.exists()]
        self.root.mkdir(parents=True, exist_ok=True)
        if missing:
            self.root.chmod(folder_mode())
        for path in missing if self.durable else ():
            fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                sync_folder(fd)
            finally:
                os.close(fd)

    def close(self) -> None:
        """Close every descriptor."""
        self.forget_folders()
        while self._fds:
            os.close(self._fds.popitem()[1])

    def descriptor(self, name: str) -> int:
        """Give the descriptor of a folder in ``.pypx``, of ``lock``, or of the root (``""``)."""
        return self._fds[name]

    def absolute(self, path: str) -> Path:
        """Give the absolute path of a file of the tree."""
        return self.root / path

    # Folders

    @contextmanager
    def folder(self, folder: str) -> Iterator[int]:
        """Open a folder of the tree, and make it durably where it is missing.

        Folders stay open for a while. That the one that is open still is the one under that
        name is checked each time, so that a tree which is moved away, or a disk which is
        unmounted, does not go on receiving files.

        Raises:
            OSError: As the system says; ENOTDIR or ELOOP when a link stands in the way.
            ArchiveError: Somebody else keeps moving the folder.
        """
        for _ in range(_ATTEMPTS):
            fd, identity = self._checkout(folder)
            try:
                if self._is_in_place(folder, identity):
                    yield fd
                    return
            finally:
                os.close(fd)
            self.forget_folders()
        raise ArchiveError(
            "A folder of the archive is not where it was when it was opened.",
            hint="Was the archive moved, or its disk unmounted? Start again when it is back.",
        )

    def _checkout(self, folder: str) -> tuple[int, tuple[int, int]]:
        with self._lock:
            if folder in self._open:
                self._open.move_to_end(folder)
                fd, identity = self._open[folder]
                return os.dup(fd), identity
        fd = self._make(folder)
        try:
            status = os.fstat(fd)
            entry = os.dup(fd), (status.st_dev, status.st_ino)
        except OSError:
            os.close(fd)
            raise
        with self._lock:
            if folder in self._open:
                os.close(entry[0])
            else:
                self._open[folder] = entry
            while len(self._open) > _KEPT_OPEN:
                os.close(self._open.popitem(last=False)[1][0])
        return fd, entry[1]

    def _make(self, folder: str) -> int:
        """Open a folder part by part. Each parent is synced, as we cannot know who made the part
        and whether that one has synced it already."""
        fd = os.dup(self._fds[""])
        for part in folder.split("/") if folder else ():
            parent = fd
            try:
                fd = make_folder(parent, part)
                if self.durable:
                    sync_folder(parent)
            finally:
                os.close(parent)
        return fd

    def _is_in_place(self, folder: str, identity: tuple[int, int]) -> bool:
        try:
            status = os.stat(f"{self.root}/{folder}")  # noqa: PTH116  (3 us less, once an object)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == identity

    def forget_folders(self) -> None:
        """Close the folders that were kept open."""
        with self._lock:
            while self._open:
                os.close(self._open.popitem()[1][0])

    # Files being written

    def temp(self) -> TempFile:
        """Begin a file.

        Raises:
            OSError: As the system says.
        """
        return TempFile.create(self._fds["incoming"], self._publication())

    def adopt(self, fd: int, part: str) -> TempFile:
        """Take over a ``.part`` file of ``incoming/`` that is open for reading and writing."""
        return TempFile.adopt(fd, self._fds["incoming"], part, self._publication())

    def _publication(self) -> Publication:
        if self._way is None:
            self._way = probe(self._fds["incoming"])
        return self._way

    def start_sync(self, temp: TempFile) -> None:
        """Let the disk begin with the data of a whole file, while other things are done."""
        if self.durable:
            start_writeback(temp.fd)

    def sync(self, temp: TempFile) -> None:
        """Bring the data of a file to the disk.

        Raises:
            OSError: It is not there, and never will be: give the file up.
        """
        if self.durable:
            sync_file(temp.fd)

    def publish(self, temp: TempFile, path: str) -> None:
        """Bring a file to the disk and give it its name in the tree, durably.

        Raises:
            FileExistsError: The name is taken, by a file or whatever; nothing has changed, and
                the file is not synced.
            OSError: As the system says; the file is not in the tree.
        """
        if self._sync_keeps_name():
            end_writeback(temp.fd)
        else:
            self.sync(temp)
        folder, _, name = path.rpartition("/")
        for attempt in range(_ATTEMPTS):
            try:
                with self.folder(folder) as fd:
                    temp.publish(fd, name)
                    self._sync_name(temp, fd, name)
                return
            except FileNotFoundError:  # the folder was removed under us: make it again
                if attempt + 1 == _ATTEMPTS:
                    raise
                self.forget_folders()

    def _sync_keeps_name(self) -> bool:
        """Say whether a sync of the file after ``link`` serves for both (Linux, ext4 and XFS)."""
        if self._one_sync is None:
            self._one_sync = (
                self.durable
                and self._publication() is Publication.TMPFILE
                and can_write_back()
                and sync_keeps_name(self._fds["incoming"])
            )
        return self._one_sync

    def _sync_name(self, temp: TempFile, folder: int, name: str) -> None:
        if not self.durable:
            return
        try:
            if self._sync_keeps_name():
                os.fsync(temp.fd)
            else:
                sync_folder(folder)
        except OSError:
            os.unlink(name, dir_fd=folder)  # nobody was told of it, and it may vanish by itself
            raise

    def replace(self, temp: TempFile, path: str) -> None:
        """Give a synced file a name in the tree that a retired file still has, in one step.

        Raises:
            OSError: As the system says; the retired file then still has the name.
        """
        folder, _, name = path.rpartition("/")
        with self.folder(folder) as fd:
            temp.replace(fd, name)
            if self.durable:
                sync_folder(fd)

    # Files in the tree

    def descend(self, folder: str) -> int:
        """Open a folder of the tree for reading; the caller closes it.

        Raises:
            OSError: It is missing, or a link stands in the way.
        """
        fd = os.dup(self._fds[""])
        for part in folder.split("/") if folder else ():
            parent = fd
            try:
                fd = open_folder(parent, part)
            finally:
                os.close(parent)
        return fd

    @contextmanager
    def opened(self, path: str, parent: int | None = None) -> Iterator[int]:
        """Open a regular file of the tree for reading.

        Args:
            path: Relative to the root.
            parent: Its folder, where the caller has that open (``descend``).

        Raises:
            OSError: It is missing, or something else (a link, a pipe, a folder) stands there.
        """
        folder, _, name = path.rpartition("/")
        if parent is not None:
            fd = open_file(parent, name)
        else:
            parent = self.descend(folder)
            try:
                fd = open_file(parent, name)
            finally:
                os.close(parent)
        try:
            yield fd
        finally:
            os.close(fd)

    def status(self, path: str) -> os.stat_result | None:
        """Give the status of a regular file of the tree, or None when there is none.

        Raises:
            OSError: It cannot be known: the disk failed, or too many files are open.
        """
        try:
            with self.opened(path) as fd:
                return os.fstat(fd)
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            return None

    def sync_path(self, path: str) -> None:
        """Bring a file that somebody else wrote, and its name, to the disk."""
        if self.durable:
            with self.opened(path) as fd:
                sync_file(fd)
            with self.folder(path.rpartition("/")[0]) as fd:
                sync_folder(fd)

    def retire(self, path: str, name: str, note: Mapping[str, object]) -> Retired:
        """Give a stored file a second name in ``superseded/``, durably, with a note beside it.

        Without hard links it gets a copy there.

        Args:
            path: The file in the tree; it keeps its name.
            name: What it is called there, without ``.dcm``; random digits are added.
            note: What the ``.json`` says.

        Raises:
            OSError: As the system says; nothing has changed.
        """
        kept = self._fds["superseded"]
        name = f"{name}-{unique()}"
        folder, _, old = path.rpartition("/")
        with self.opened(path) as fd, self.folder(folder) as parent:
            status = os.fstat(fd)
            self._write_note(kept, f"{name}.json", note)
            try:
                if self._publication() is Publication.RENAME:
                    self._copy(fd, kept, f"{name}.dcm")
                else:
                    target = f"{name}.dcm"
                    os.link(old, target, src_dir_fd=parent, dst_dir_fd=kept, follow_symlinks=False)
                if self.durable:
                    sync_folder(kept)
            except OSError:
                self.unretire(path, Retired(name, (status.st_dev, status.st_ino)))
                raise
        return Retired(name, (status.st_dev, status.st_ino))

    def _copy(self, fd: int, folder: int, name: str) -> None:
        temp = self.temp()
        try:
            status = os.fstat(fd)
            for chunk in read_chunks(fd):
                write_all(temp.fd, (chunk,))
            os.utime(temp.fd, ns=(status.st_atime_ns, status.st_mtime_ns))
            self.sync(temp)
            temp.publish(folder, name)
        finally:
            temp.close()

    def unretire(self, path: str, retired: Retired) -> None:
        """Take back a second name: the file was not superseded after all.

        If the file in the tree is not for certain the same, the second name stays.
        """
        with suppress(OSError):  # it does no harm there
            status = self.status(path)
            if status and (status.st_dev, status.st_ino) == retired.identity:
                for suffix in (".json", ".dcm"):
                    os.unlink(retired.name + suffix, dir_fd=self._fds["superseded"])

    def drop_retired(self, path: str, retired: Retired) -> None:
        """Take the name in the tree from a file that is in ``superseded/``.

        Raises:
            OSError: As the system says.
        """
        folder, _, name = path.rpartition("/")
        with self.folder(folder) as fd:
            with suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if (status.st_dev, status.st_ino) == retired.identity:
                    os.unlink(name, dir_fd=fd)
            if self.durable:
                sync_folder(fd)

    def quarantine(self, temp: TempFile, name: str, note: Mapping[str, object]) -> Path:
        """Keep a file in ``quarantine/``, durably, with a note beside it.

        Raises:
            OSError: As the system says.
        """
        target = f"{name}.dcm"
        folder = self._fds["quarantine"]
        self.sync(temp)
        try:
            temp.publish(folder, target)
        except FileExistsError:
            name = f"{name}-{unique()}"
            target = f"{name}.dcm"
            temp.publish(folder, target)
        self._write_note(folder, f"{name}.json", note)
        if self.durable:
            sync_folder(folder)
        return self.root / META_FOLDER / "quarantine" / target

    def _write_note(self, folder: int, name: str, note: Mapping[str, object]) -> None:
        # Notes are rare, and json takes a while to load.
        import json

        text = json.dumps(note, ensure_ascii=False, indent=2) + "\n"
        fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, file_mode(), dir_fd=folder)
        try:
            os.fchmod(fd, file_mode())
            write_all(fd, [text.encode("utf-8", "replace")])
            if self.durable:
                sync_file(fd)
        except OSError:
            os.unlink(name, dir_fd=folder)
            raise
        finally:
            os.close(fd)

    def parts(self) -> list[tuple[str, int]]:
        """Give the ``.part`` files of ``incoming/``, with their modification times in ns."""
        parts = []
        with os.scandir(self._fds["incoming"]) as entries:
            for entry in entries:
                if entry.name.endswith(".part") and entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        parts.append((entry.name, entry.stat(follow_symlinks=False).st_mtime_ns))
        return parts

    def free_bytes(self) -> int:
        """Give how many bytes the disk of the archive has left for this user."""
        status = os.fstatvfs(self._fds[""])
        return status.f_bavail * status.f_frsize
