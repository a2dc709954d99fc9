"""Where the instances that are to be sent come from: files and folders, or an archive.

In: paths as users give them. Out: instances one at a time, with whatever cannot be one.
Nothing is gathered: a folder may have millions of files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pypx.client.store import Instance
from pypx.errors import ArchiveError, DataSetError, NotDicomError, PypxError
from pypx.values import replace

if TYPE_CHECKING:
    from pypx.archive import Archive

__all__ = ["Subject", "Unsendable", "heard", "in_archive", "in_files", "subject_of", "walk"]

_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"  # a DICOMDIR under whatever name (PS3.3 Annex F)

_CHARACTER_SET, _PATIENT_NAME, _PATIENT_ID = 0x00080005, 0x00100010, 0x00100020
_STUDY_INSTANCE_UID = 0x0020000D
_SUBJECT = {_CHARACTER_SET, _PATIENT_NAME, _PATIENT_ID, _STUDY_INSTANCE_UID}


class Unsendable(NamedTuple):
    """A path that is no instance.

    Attributes:
        path: The file or folder.
        error: Why; a NotDicomError where nothing was to be expected of it.
    """

    path: Path
    error: PypxError


class Subject(NamedTuple):
    """Of whom and what an instance is; each empty where the head of its file does not say it."""

    study: str = ""
    patient_id: str = ""
    patient_name: str = ""


def subject_of(instance: Instance) -> Subject:
    """Read study and patient of an instance; a deflated or broken one has them nowhere."""
    from pypx.client.store import read_head
    from pypx.dicom.data_set import DataSet
    from pypx.dicom.elements import decode_elements, encoding_of

    found = []
    with suppress(ArchiveError, DataSetError):
        head, _ = read_head(instance.path)
        encoding = encoding_of(instance.transfer_syntax_uid)
        data = memoryview(head)[instance.data_set_offset :]
        for element in decode_elements(data, encoding, stop_after=_STUDY_INSTANCE_UID):
            if element.tag in _SUBJECT:
                found.append(replace(element, value=bytes(element.value)))
    if not found:
        return Subject()
    header = DataSet(found, encoding)
    texts = (header.get(tag) or "" for tag in (_STUDY_INSTANCE_UID, _PATIENT_ID, _PATIENT_NAME))
    return Subject(*(text.strip("\0 ") for text in texts))


def heard(
    source: Iterator[Instance | Unsendable] | Iterator[Instance],
    on_instance: Callable[[Instance], None] | None,
) -> Iterator[Instance | Unsendable]:
    """Give what a source gives, and tell of each instance before."""
    for one in source:
        if on_instance is not None and isinstance(one, Instance):
            on_instance(one)
        yield one


def in_archive(archive: Archive, keys: Mapping[str, str]) -> Iterator[Instance]:
    """Give the instances of an archive that match; raises as :meth:`pypx.Archive.instances`."""
    for located in archive.instances(keys):
        yield Instance.stored(located.path, located.meta, located.data_set_offset)


def in_files(paths: Iterable[str]) -> Iterator[Instance | Unsendable]:
    """Give the instances of files and folders, in the order of the arguments and of names."""
    for found in walk(paths):
        if isinstance(found, Unsendable):
            yield found
            continue
        path = Path(found)
        try:
            yield _instance(path)
        except (ArchiveError, DataSetError) as error:
            yield Unsendable(path, error)


def _instance(path: Path) -> Instance:
    """Read the head of a file.

    Raises:
        NotDicomError: It is none, or a directory of others.
        DataSetError: It is torn.
        ArchiveError: It cannot be read.
    """
    instance = Instance.from_file(path, keep_small=True)
    if instance.sop_class_uid == _MEDIA_DIRECTORY:
        raise NotDicomError(f"{path} is a DICOMDIR, which is not sent.")
    return instance


def walk(
    paths: Iterable[str], passed_over: Callable[[str], None] = lambda _: None
) -> Iterator[str | Unsendable]:
    """Give the regular files of the paths, and the folders that cannot be read.

    In folders, names that begin with a dot and DICOMDIR are passed over. A folder that two
    links or two arguments lead to is entered once. A pipe is not opened: that would wait.

    Args:
        paths: Files and folders.
        passed_over: Told of each path that is.
    """
    entered: set[tuple[int, int]] = set()
    for path in paths:
        waiting = [(path, False)]
        while waiting:
            one, is_regular = waiting.pop()
            if is_regular:
                yield one
            elif not os.path.isdir(one):  # noqa: PTH112
                regular = os.path.isfile(one) or not os.path.lexists(one)  # noqa: PTH113
                yield one if regular else Unsendable(Path(one), _irregular(one))
            else:
                try:
                    waiting += reversed(_below(one, entered, passed_over))
                except OSError as error:
                    reason = f"The folder {one} cannot be read: {error.strerror or error}."
                    yield Unsendable(Path(one), ArchiveError(reason))


def _irregular(path: str) -> PypxError:
    if Path(path).is_symlink():
        return ArchiveError(f"{path} is a link that leads nowhere.")
    return NotDicomError(f"{path} is no regular file.")


def _below(
    folder: str, entered: set[tuple[int, int]], passed_over: Callable[[str], None]
) -> list[tuple[str, bool]]:
    """Give what is in a folder, sorted, each with whether it is a regular file for certain.

    Nothing is given where the folder was entered before.

    Raises:
        OSError: It cannot be read.
    """
    status = os.stat(folder)  # noqa: PTH116 - of what a link leads to
    key = (status.st_dev, status.st_ino)
    if key in entered:
        passed_over(folder)
        return []
    entered.add(key)
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name.upper() == "DICOMDIR":
                passed_over(entry.path)
            else:  # mostly known without a call of the system for each
                found.append((entry.path, entry.is_file(follow_symlinks=False)))
    found.sort()
    return found
