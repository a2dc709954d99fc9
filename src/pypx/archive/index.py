"""The index as the archive sees it: its rows, and what can be asked of it.

In and out: values. Not here: SQL; ``index_sqlite`` is one way to keep these rows. The files are
the truth: whatever the index says can be made again from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from pypx.archive.attributes import Level

__all__ = ["Entry", "Index", "Row"]

Row: TypeAlias = dict[str, "str | int | list[str] | None"]
"""One match of a query: DICOM keywords, and ``instances``, ``bytes``, ``path``."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index knows of one stored instance.

    Attributes:
        path: Relative to the root, with ``/``.
        values: Keyword to decoded text, of the attributes in ``attributes.ATTRIBUTES``.
        transfer_syntax_uid: How the data set is encoded.
        bytes: The size of the file.
        data_set_offset: Where the data set starts in the file.
        checksum: XXH3-128 of the data set, 32 hexadecimal digits.
        received_at: UTC, ISO 8601 with microseconds; also the modification time of the file.
        calling_ae_title: Who sent it; empty when imported.
        host: From which address; empty when imported or rebuilt.
    """

    path: str
    values: Mapping[str, str]
    transfer_syntax_uid: str
    bytes: int
    data_set_offset: int
    checksum: str
    received_at: str
    calling_ae_title: str = ""
    host: str = ""

    @property
    def sop_instance_uid(self) -> str:
        """The key of the index."""
        return self.values["SOPInstanceUID"]

    @property
    def content(self) -> tuple[str, int, str]:
        """What makes two objects the same: transfer syntax, size and checksum of the data set."""
        return self.transfer_syntax_uid, self.bytes - self.data_set_offset, self.checksum


class Index(Protocol):
    """What the archive needs of an index."""

    def add(self, entries: Iterable[Entry], *, newest_wins: bool = False) -> bool:
        """Add or replace rows by SOP Instance UID; return when all readers see them.

        A power cut may take them until ``sync``.

        Args:
            entries: The rows.
            newest_wins: Keep a row that was received later than the new one (for rebuilding).

        Returns:
            False when the index is not available now: the rows are kept and committed later.

        Raises:
            ArchiveError: The index has not been available for too many rows.
        """

    def get(self, sop_instance_uid: str) -> Entry | None:
        """Give the row of an instance; None also when the index is not available."""

    def owner_of(self, folder: str) -> str | None:
        """Give the Series Instance UID of an instance in that folder, if there is one."""

    def find(self, level: Level, keys: Mapping[str, str]) -> Iterator[Row]:
        """Give the matches, one at a time; ``path`` is the folder or file of one instance."""

    def entries(self, keys: Mapping[str, str]) -> Iterator[Entry]:
        """Give the instances that match, one at a time."""

    def folders(self) -> Iterator[str]:
        """Give every folder that has instances."""

    def in_folder(self, folder: str) -> dict[str, Entry]:
        """Give the instances of a folder by file name."""

    def forget(self, paths: Iterable[str]) -> None:
        """Remove the rows of files that are gone, and what is then empty."""

    def undescribe(self) -> None:
        """Let whatever is added next give studies and series their values."""

    def defect(self, *, deep: bool = False) -> str:
        """Say why the index has to be made again; empty where it need not, or nobody can tell."""

    def reset(self) -> None:
        """Begin an empty index where there is none that can be used."""

    def sync(self) -> bool:
        """Bring all that is committed to the disk; False when rows may still be lost."""

    def close(self) -> bool:
        """Commit what waits, sync, and close; False when rows may still be lost."""
