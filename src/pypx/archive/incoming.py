"""One object on its way into the archive.

In: its meta information, its data set piece by piece as it arrives, and at the end its header.
Out: where it is stored, or a file in quarantine, or nothing. Not here: where it goes (``storage``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from xxhash import xxh3_128

from pypx.archive.files import TempFile, archive_error, read_chunks, write_all
from pypx.archive.index import Entry
from pypx.archive.layout import safe_uid
from pypx.archive.reading import clean_uid, identity, iso_time, shown_by, values_of
from pypx.archive.storage import NOBODY, Source, Storage, Stored, time_stamp
from pypx.dicom.data_set import DataSet
from pypx.dicom.part10 import FileMeta, encode_preamble_and_meta
from pypx.errors import ArchiveError, DataSetError
from pypx.values import replace

__all__ = ["Incoming"]


class Incoming:
    """A file that is being received. One thread uses it.

    It ends with ``commit``, ``quarantine`` or ``abort``; as a context manager it aborts what was
    not ended. After an ArchiveError of ``write`` or ``commit`` nothing of it is left.

    Attributes:
        meta: The meta information that the file has.
        size: Bytes of the data set so far.
    """

    def __init__(self, storage: Storage, meta: FileMeta) -> None:
        """Begin; ``Archive.begin`` is the way here.

        Raises:
            ArchiveError: No file can be made.
            DataSetError: The meta information cannot be encoded, or has no SOP Instance UID.
        """
        uid, sop_class = clean_uid(meta.sop_instance_uid), clean_uid(meta.sop_class_uid)
        if not uid:
            raise DataSetError("The object has no SOP Instance UID.")
        if (uid, sop_class) != (meta.sop_instance_uid, meta.sop_class_uid):
            meta = replace(meta, sop_instance_uid=uid, sop_class_uid=sop_class)
        self.meta = meta
        self.size = 0
        self._storage = storage
        self._digest = xxh3_128()
        self._head: bytes | None = encode_preamble_and_meta(meta)
        self._offset = len(self._head)
        try:
            storage.running.begin()
            self._temp: TempFile | None = storage.tree.temp()
        except OSError as error:
            raise archive_error(error, "begin a file") from error

    def write(self, view: bytes | memoryview) -> None:
        """Write a piece of the data set; the view may be reused afterwards.

        Raises:
            ArchiveFullError: No room; nothing of the object is left.
            ArchiveError: As the system says; nothing of the object is left.
        """
        self.writev((view,))

    def writev(self, views: Sequence[bytes | memoryview]) -> None:
        """Write pieces of the data set with one call of the system.

        Raises:
            ArchiveFullError: No room; nothing of the object is left.
            ArchiveError: As the system says; nothing of the object is left.
        """
        temp = self._open()
        try:
            if self._head is None:
                write_all(temp.fd, views)
            else:
                write_all(temp.fd, (self._head, *views))
                self._head = None
        except OSError as error:
            self.abort()
            raise archive_error(error, "write the object") from error
        for view in views:
            self._digest.update(view)
            self.size += len(view)

    def restarted(self, meta: FileMeta) -> Incoming:
        """Give the same data set with other meta information, and give this file up.

        For a sender that announces another class or instance than its data set has.

        Raises:
            ArchiveFullError: No room for a second file; nothing of the object is left.
            ArchiveError: As the system says; nothing of the object is left.
            DataSetError: As for ``Archive.begin``.
        """
        with self:
            temp = self._open()
            other = Incoming(self._storage, meta)
            try:
                os.lseek(temp.fd, self._offset, os.SEEK_SET)
                for chunk in read_chunks(temp.fd):
                    other.write(chunk)
            except OSError as error:
                other.abort()
                raise archive_error(error, "read the object again") from error
            except BaseException:
                other.abort()
                raise
            return other

    @property
    def checksum(self) -> str:
        """XXH3-128 of the data set so far, 32 hexadecimal digits."""
        return self._digest.hexdigest()

    def commit(self, header: DataSet, source: Source = NOBODY) -> Stored:
        """Store the object, and return when it is durable and indexed.

        Args:
            header: Its scanned elements, at least those of ``Archive.header_tags``.
            source: Who sent it.

        Raises:
            DataSetError: There is no data set, or it names another SOP Instance UID; the object
                can go to quarantine still.
            ArchiveFullError: No room; what is stored under the same UID is untouched.
            ArchiveError: As the system says; what is stored under the same UID is untouched.
        """
        temp = self._open()
        if not self.size:
            raise DataSetError("The object is empty.")
        self._storage.tree.start_sync(temp)
        uid = clean_uid(header.get("SOPInstanceUID") or "")
        if uid and uid != self.meta.sop_instance_uid:
            raise DataSetError("The data set has another SOP Instance UID than was announced.")
        try:
            layout = self._storage.layout
            values = values_of(header, self.meta, layout.keywords)
            shown = shown_by(layout, values, header)
            entry = self._entry(values, source)
            return self._storage.store(temp, entry, shown, source)
        finally:
            self.abort()  # closes it; what is published stays

    def _entry(self, values: dict[str, str], source: Source) -> Entry:
        return Entry(
            path="",
            values={**values, "SOPInstanceUID": identity(self.meta.sop_instance_uid)},
            transfer_syntax_uid=self.meta.transfer_syntax_uid,
            bytes=self._offset + self.size,
            data_set_offset=self._offset,
            checksum=self.checksum,
            received_at="",
            calling_ae_title=source.calling_ae_title or self.meta.source_ae_title,
            host=source.host,
        )

    def quarantine(self, reason: str, source: Source = NOBODY) -> Path:
        """Keep what arrived outside the tree, with a note that says why.

        Args:
            reason: One sentence.
            source: Who sent it.

        Returns:
            The file; a ``.json`` with the same name is beside it.

        Raises:
            ArchiveError: It could not be kept.
        """
        temp = self._open()
        now = iso_time(time.time_ns())
        note = {
            "reason": reason,
            "quarantined_at": now,
            "sop_instance_uid": self.meta.sop_instance_uid,
            "sop_class_uid": self.meta.sop_class_uid,
            "transfer_syntax_uid": self.meta.transfer_syntax_uid,
            "data_set_offset": self._offset,
            "data_set_bytes": self.size,
            "source": source.facts(),
        }
        name = f"{time_stamp(now)}-{safe_uid(self.meta.sop_instance_uid)}"
        try:
            if self._head is not None:
                write_all(temp.fd, (self._head,))
                self._head = None
            return self._storage.tree.quarantine(temp, name, note)
        except OSError as error:
            raise archive_error(error, "keep the object in quarantine") from error
        finally:
            self.abort()

    def abort(self) -> None:
        """Give the file up; nothing is left of it. More than once is fine."""
        if self._temp is not None:
            self._temp.close()
            self._temp = None

    def _open(self) -> TempFile:
        if self._temp is None:
            raise ArchiveError("This object was ended before: stored, aborted or failed.")
        return self._temp

    def __enter__(self) -> Incoming:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abort()
