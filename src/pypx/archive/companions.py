"""Files for programs that watch an archive: what stands beside the images, and where things are.

In: series that begin and series that are whole. Out: the files that upstream's version 1 writes.
Not here: when a series is whole.

::

    PATIENT/patient.info
            STUDY/study.info
                  SERIES/receiving.series     while it arrives; then it is renamed to
                         series.info
    MAPS/patient_map/ID.json  {"ID": "/folder/of/the/patient"}
         study_map/UID.json
         series_map/UID.json

The ``.info`` files are INI files with lower case keys. Values are sanitised as upstream does it,
so that each ID also is a safe name. A file gets its name when it is whole. What is there already
stays, as upstream has it; only a map whose folder is gone, and ``series.info``, are written anew.
Nothing here is on the way of an image: a thread that watches the receiver calls it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path

from pypx.archive.attributes import Level
from pypx.archive.files import open_file, sync_file, unique, write_all
from pypx.archive.index import Row
from pypx.archive.layout import Layout
from pypx.archive.layout_pypx import sanitised
from pypx.archive.tree import Tree
from pypx.errors import IndexUnavailableError
from pypx.modes import file_mode, folder_mode

__all__ = ["Companions"]

_RECEIVING, _SERIES = "receiving.series", "series.info"
_LONGEST_NAME = 250  # bytes; a file name has 255
_MAPS = (
    (Level.PATIENT, "patient_map", "PatientID"),
    (Level.STUDY, "study_map", "StudyInstanceUID"),
    (Level.SERIES, "series_map", "SeriesInstanceUID"),
)
_INFO = {
    Level.PATIENT: ("PATIENT", ("PatientID", "PatientName")),
    Level.STUDY: ("STUDY", ("StudyDescription", "StudyDate", "StudyInstanceUID")),
    Level.SERIES: ("SERIES", ("SeriesDescription", "SeriesDate", "SeriesInstanceUID")),
}

Find = Callable[[Level, Mapping[str, str]], Iterator[Row]]


class Companions:
    """Writes the files of one archive; ``Archive.companions`` is the way here.

    One thread uses it; several processes may, on one archive and one folder of maps.
    """

    def __init__(
        self, tree: Tree, layout: Layout, find: Find, *, info: bool, maps: Path | None
    ) -> None:
        self._tree = tree
        self._layout = layout
        self._find = find
        self._info = info
        self._maps = None if maps is None else maps.absolute()

    def begin(self, series_instance_uid: str, path: str) -> None:
        """Note that a series arrives.

        Args:
            series_instance_uid: The series.
            path: The folder of an instance of it, absolute.

        Raises:
            OSError: A file cannot be written.
            IndexUnavailableError: The index cannot be asked, or does not have the series yet.
        """
        row = self._row(series_instance_uid)
        self._write_maps(row, path)
        if self._info:
            self._write_above(row, path)
            with self._opened(path) as folder:
                if not _exists(folder, _RECEIVING):
                    self._write(folder, _RECEIVING, self._info_of(Level.SERIES, row, path))

    def complete(self, series_instance_uid: str, path: str) -> None:
        """Note that a series is whole; more than once is fine.

        Raises:
            OSError: A file cannot be written.
            IndexUnavailableError: The index cannot be asked, or does not have the series yet.
        """
        row = self._row(series_instance_uid)
        self._write_maps(row, path)
        if self._info:
            self._write_above(row, path)
            with self._opened(path) as folder:
                try:
                    os.rename(_RECEIVING, _SERIES, src_dir_fd=folder, dst_dir_fd=folder)
                except FileNotFoundError:  # it came with its first image, or in another process
                    self._write(folder, _SERIES, self._info_of(Level.SERIES, row, path))

    def write_all(self, progress: Callable[[int], None] = lambda _: None) -> int:
        """Write what is missing for all series of the index; give how many there are.

        A series that has ``receiving.series`` is left to who receives it.

        Raises:
            OSError: A file cannot be written.
            IndexUnavailableError: The index cannot be asked.
        """
        count = 0
        for row in self._find(Level.SERIES, {}):
            self._write_missing(row, str(row["path"]))
            count += 1
            progress(count)
        return count

    def write_missing(self, series_instance_uid: str, path: str) -> None:
        """Do for one series what ``write_all`` does for all; the arguments are those of ``begin``.

        Raises:
            OSError: A file cannot be written.
            IndexUnavailableError: The index cannot be asked, or does not have the series yet.
        """
        self._write_missing(self._row(series_instance_uid), path)

    def _write_missing(self, row: Row, path: str) -> None:
        self._write_maps(row, path)
        if self._info:
            self._write_above(row, path)
            with self._opened(path) as folder:
                if not (_exists(folder, _RECEIVING) or _exists(folder, _SERIES)):
                    self._write(folder, _SERIES, self._info_of(Level.SERIES, row, path))

    def _row(self, series_instance_uid: str) -> Row:
        for row in self._find(Level.SERIES, {"SeriesInstanceUID": series_instance_uid}):
            return row
        raise IndexUnavailableError("The index does not have the series yet.")

    # Beside the images

    def _write_above(self, row: Row, path: str) -> None:
        for level, name in ((Level.PATIENT, "patient.info"), (Level.STUDY, "study.info")):
            above = self._folder_of(level, path)
            if above is None:
                continue
            with self._opened(above) as folder:
                if not _exists(folder, name):
                    self._write(folder, name, self._info_of(level, row, above))

    def _folder_of(self, level: Level, path: str) -> str | None:
        """Give the folder of a level, above that of a series; None where the layout has none."""
        if level is Level.SERIES:
            return path
        depth = self._layout.depth_of(level)
        parts = self._inside(path).split("/")
        # A tree that was taken over may have been made by another layout.
        return str(self._tree.absolute("/".join(parts[:depth]))) if 0 < depth < len(parts) else None

    def _inside(self, path: str) -> str:
        return Path(path).relative_to(self._tree.root).as_posix()

    @staticmethod
    def _info_of(level: Level, row: Row, path: str) -> bytes:
        from configparser import ConfigParser

        section, keywords = _INFO[level]
        values = {keyword: _value(row, keyword) for keyword in keywords}
        info = ConfigParser()
        # Its readers take %% for %, which only the place of the archive could have.
        info[section] = {**values, "location": path.replace("%", "%%")}
        text = StringIO()
        info.write(text)
        return text.getvalue().encode("utf-8", "surrogateescape")

    @contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        inside = self._inside(path)
        folder = self._tree.descend("" if inside == "." else inside)
        try:
            yield folder
        finally:
            os.close(folder)

    # Maps

    def _write_maps(self, row: Row, path: str) -> None:
        if self._maps is None:
            return
        for level, name, keyword in _MAPS:
            folder = self._folder_of(level, path)
            if folder is not None:
                self._write_map(name, _value(row, keyword), folder)

    def _write_map(self, name: str, identity: str, folder: str) -> None:
        assert self._maps is not None  # whoever calls has looked
        where = self._maps / name
        try:
            parent = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            self._make_maps(where)
            parent = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
        short = identity.encode("utf-8")[:_LONGEST_NAME].decode("utf-8", "ignore")
        try:
            if not _points_somewhere(parent, f"{short}.json", identity):
                document = json.dumps({identity: folder}, ensure_ascii=False)
                self._write(parent, f"{short}.json", document.encode("utf-8", "surrogateescape"))
        finally:
            os.close(parent)

    def _make_maps(self, where: Path) -> None:
        """Make a folder of maps, whose names are IDs of patients."""
        missing = [path for path in (where, *where.parents) if not path.exists()]
        where.mkdir(parents=True, exist_ok=True)
        for path in missing:
            path.chmod(folder_mode())

    def _write(self, folder: int, name: str, data: bytes) -> None:
        """Write a file that has its name when it is whole; one by that name is replaced."""
        part = f".{unique()}.part"
        fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, file_mode(), dir_fd=folder)
        try:
            try:
                os.fchmod(fd, file_mode())
                write_all(fd, (data,))
                if self._tree.durable:
                    sync_file(fd)
            finally:
                os.close(fd)
            os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            with suppress(OSError):
                os.unlink(part, dir_fd=folder)
            raise


def _value(row: Row, keyword: str) -> str:
    value = row.get(keyword)
    return sanitised("\\".join(value) if isinstance(value, list) else str(value or ""))


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _points_somewhere(folder: int, name: str, identity: str) -> bool:
    """Say whether there is a map, and its folder as well."""
    try:
        fd = open_file(folder, name)
    except FileNotFoundError:
        return False
    with os.fdopen(fd, "rb") as stream:
        try:
            return Path(json.loads(stream.read())[identity]).is_dir()
        except (ValueError, KeyError, TypeError):
            return False
