"""What the tests of the archive share: objects to store, and what an archive must always keep."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pypx.archive import Archive, Incoming, Source, Stored
from pypx.dicom.header import HeaderScan
from pypx.dicom.part10 import FileMeta, decode_preamble_and_meta
from pypx.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from tests.objects import data_set, keywords

__all__ = [
    "SENDER",
    "begin",
    "content",
    "files_of",
    "header_of",
    "names",
    "other_way",
    "rows_of",
    "store",
    "superseded",
]

SENDER = Source("MODALITY", "PYPX", "10.1.2.3")


def header_of(archive: Archive, data: bytes, syntax: str = EXPLICIT_VR_LITTLE_ENDIAN) -> Any:
    scan = HeaderScan(syntax, wanted=archive.header_tags)
    scan.feed(data)
    return scan.finish()


def begin(
    archive: Archive, number: int = 1, syntax: str = EXPLICIT_VR_LITTLE_ENDIAN, **changes: Any
) -> Incoming:
    values = keywords(number, **changes)
    meta = FileMeta(
        values["SOPClassUID"], values["SOPInstanceUID"], syntax, source_ae_title="MODALITY"
    )
    return archive.begin(meta)


def store(
    archive: Archive, number: int = 1, syntax: str = EXPLICIT_VR_LITTLE_ENDIAN, **changes: Any
) -> Stored:
    """Store the instance of that number as a receiver does."""
    data = data_set(number, syntax=syntax, **changes)
    with begin(archive, number, syntax, **changes) as incoming:
        half = len(data) // 2
        incoming.write(memoryview(data)[:half])
        incoming.writev([memoryview(data)[half:-1], data[-1:]])
        return incoming.commit(header_of(archive, data, syntax), SENDER)


def content(path: Path) -> bytes:
    """Give the data set bytes of a file."""
    whole = path.read_bytes()
    return whole[decode_preamble_and_meta(whole)[1] :]


def files_of(root: Path) -> list[str]:
    """Give every file of the tree, and nothing of .pypx."""
    found = (path.relative_to(root) for path in sorted(root.rglob("*")) if not path.is_dir())
    return [str(path) for path in found if path.parts[0] != ".pypx"]


def rows_of(archive: Archive) -> list[dict[str, Any]]:
    return sorted(archive.find("image"), key=lambda row: str(row["SOPInstanceUID"]))


@contextmanager
def other_way(way: str) -> Iterator[None]:
    """Be on a file system without unnamed files, or without hard links as well."""
    with pytest.MonkeyPatch.context() as patch:
        if way in ("LINK", "RENAME"):
            patch.setattr("pypx.archive.files._TMPFILE", 0)
        if way == "RENAME":

            def link(*args: object, **kwargs: object) -> None:
                raise PermissionError(1, "Operation not permitted")

            patch.setattr(os, "link", link)
        yield


def superseded(root: Path) -> list[Path]:
    """Give the files that are kept because others took their place."""
    return sorted((root / ".pypx/superseded").glob("*.dcm"))


def names(folder: Path) -> list[str]:
    """Give what is in a folder."""
    return sorted(path.name for path in folder.iterdir())
