"""From a Part 10 file, or the header of an object, to what the index keeps.

In: an open file, or a scanned header. Out: entries. Not here: where an object goes, and whether
it is in the index.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache

from xxhash import xxh3_128

from pypx.archive.attributes import ATTRIBUTES, clean
from pypx.archive.files import read_chunks
from pypx.archive.index import Entry
from pypx.archive.layout import Layout, safe_uid
from pypx.archive.naming import tag_and_vr
from pypx.archive.tree import Tree
from pypx.dicom.data_set import DataSet
from pypx.dicom.header import HeaderScan
from pypx.dicom.part10 import FileMeta, decode_preamble_and_meta
from pypx.errors import DataSetError

__all__ = [
    "HEADER_TAGS",
    "Scanned",
    "clean_uid",
    "identity",
    "iso_time",
    "read_entry",
    "scan",
    "shown_by",
    "values_of",
]

HEADER_TAGS = frozenset({0x00080005, *(attribute.tag for attribute in ATTRIBUTES)})
"""What the scan of a header has to look for: the attributes of the index, and the character set."""


_SHOWN = tuple((attribute.keyword, attribute.tag) for attribute in ATTRIBUTES)


def iso_time(ns: int) -> str:
    """Write a time in ns since 1970 as UTC, ISO 8601, with microseconds."""
    return f"{_iso_second(ns // 1_000_000_000)}.{ns // 1000 % 1_000_000:06d}Z"


@lru_cache(64)
def _iso_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def clean_uid(uid: str) -> str:
    """Give a UID without its padding (PS3.5 §9.4: one NUL; some senders use spaces)."""
    return uid.strip(" \0")


def identity(uid: str) -> str:
    """Give the key of the index for a SOP Instance UID: itself, or a digest of a monster."""
    return uid if clean(uid) == uid else safe_uid(uid)


def values_of(header: DataSet, meta: FileMeta, more: Iterable[str] = ()) -> dict[str, str]:
    """Give the values of an object by keyword, as the index keeps them.

    The SOP Instance UID is the one of the meta information, whole: it is what the object is
    known by on the network.

    Args:
        header: The scanned elements.
        meta: Of the same object.
        more: Keywords beside those of the index.
    """
    values = {keyword: clean(header.get(tag) or "") for keyword, tag in _SHOWN}
    for keyword in more:
        if keyword not in values:
            values[keyword] = clean(header.get(keyword) or "")
    values["SOPInstanceUID"] = clean_uid(meta.sop_instance_uid)
    values["SOPClassUID"] = values["SOPClassUID"] or clean(meta.sop_class_uid)
    return values


def shown_by(layout: Layout, values: dict[str, str], header: DataSet) -> Mapping[str, str | None]:
    """Give the values as a layout wants them: without those that the object does not have, where
    that makes a difference."""
    if not layout.tells_absence:
        return values
    present: dict[str, str | None] = {**values}
    for keyword in layout.keywords:
        if not values[keyword] and header.get(tag_and_vr(keyword)[0]) is None:
            present[keyword] = None
    return present


class Scanned:
    """What one pass over a Part 10 file has found.

    Attributes:
        meta: Its file meta information; the UIDs are those of the data set, where it has them.
        header: The elements of the index.
        offset: Where the data set starts.
        size: Bytes of the data set.
        checksum: XXH3-128 of the data set.
    """

    __slots__ = ("checksum", "header", "meta", "offset", "size")

    def __init__(
        self, meta: FileMeta, header: DataSet, offset: int, size: int, checksum: str
    ) -> None:
        self.meta = meta
        self.header = header
        self.offset = offset
        self.size = size
        self.checksum = checksum


def scan(fd: int, tags: frozenset[int] = HEADER_TAGS) -> Scanned:
    """Read a Part 10 file once, from its start to its end.

    Raises:
        DataSetError: It is no Part 10 file, or it is torn.
        OSError: As the system says.
    """
    os.lseek(fd, 0, os.SEEK_SET)
    chunks = read_chunks(fd)
    first = next(chunks, memoryview(b""))
    meta, offset = decode_preamble_and_meta(first)
    walk = HeaderScan(meta.transfer_syntax_uid, wanted=tags)
    digest = xxh3_128()
    size = 0
    piece = first[offset:]
    while True:
        walk.feed(piece)
        digest.update(piece)
        size += len(piece)
        if (following := next(chunks, None)) is None:
            break
        piece = following
    header = walk.finish()
    return Scanned(_settled(meta, header), header, offset, size, digest.hexdigest())


def _settled(meta: FileMeta, header: DataSet) -> FileMeta:
    """Take the UIDs of the data set, which other programs read, where the two disagree."""
    uid = clean_uid(header.get("SOPInstanceUID") or meta.sop_instance_uid)
    if not uid:
        raise DataSetError("The object has no SOP Instance UID.")
    sop_class = clean_uid(header.get("SOPClassUID") or meta.sop_class_uid)
    if (uid, sop_class) == (meta.sop_instance_uid, meta.sop_class_uid):
        return meta
    return FileMeta(
        sop_class_uid=sop_class,
        sop_instance_uid=uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        implementation_class_uid=meta.implementation_class_uid,
        implementation_version_name=meta.implementation_version_name,
        source_ae_title=meta.source_ae_title,
    )


def read_entry(tree: Tree, path: str, folder: int | None = None) -> Entry:
    """Make the entry of a file that is in the tree.

    Args:
        tree: The tree.
        path: Relative to its root.
        folder: The descriptor of its folder, where the caller has that open.

    Raises:
        DataSetError: It is no Part 10 file, or it is torn.
        OSError: As the system says.
    """
    with tree.opened(path, folder) as fd:
        status = os.fstat(fd)
        scanned = scan(fd)
    values = values_of(scanned.header, scanned.meta)
    values["SOPInstanceUID"] = identity(scanned.meta.sop_instance_uid)
    return Entry(
        path=path,
        values=values,
        transfer_syntax_uid=scanned.meta.transfer_syntax_uid,
        bytes=scanned.offset + scanned.size,
        data_set_offset=scanned.offset,
        checksum=scanned.checksum,
        received_at=iso_time(status.st_mtime_ns),
        calling_ae_title=scanned.meta.source_ae_title,
    )
