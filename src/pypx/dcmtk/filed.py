"""A file that one of DCMTK's programs received, seen as an association over which it comes.

In: a Part 10 file. Out: a C-STORE-RQ and its data set, for what keeps instances: it goes into the
archive as what comes over the wire does, byte for byte, with the same checks. Not here: the
archive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pypx.dicom.part10 import FileMeta, decode_preamble_and_meta
from pypx.dimse.messages import CStoreRQ, Message
from pypx.errors import ArchiveError
from pypx.ul.negotiation import AcceptedContext

__all__ = ["FiledInstance"]

_HEAD = 64 * 1024  # bytes
_PIECE = 256 * 1024


class FiledInstance:
    """One instance; for what takes it as from :class:`pypx.net.storing.StoreAssociation`.

    Args:
        path: The file.
        host: Who sent it.
        calling_ae_title: What the sender calls itself; that of the file where it is empty.
        called_ae_title: What it calls us.

    Attributes:
        meta: The meta information of the file.
        request: As the sender made it, as far as the file shows.
        response: What was answered; None before that.

    Raises:
        DataSetError: It is no Part 10 file.
        ArchiveError: It cannot be read.
    """

    CONTEXT_ID = 1

    def __init__(
        self, path: Path, *, host: str, calling_ae_title: str, called_ae_title: str
    ) -> None:
        try:
            with path.open("rb") as file:
                head = file.read(_HEAD)
        except OSError as error:
            raise _unreadable(path, error) from None
        self.meta: FileMeta
        self.meta, self._offset = decode_preamble_and_meta(head)
        self._path = path
        self.host = host
        self.calling_ae_title = calling_ae_title or self.meta.source_ae_title
        self.called_ae_title = called_ae_title
        self.request = CStoreRQ(1, self.meta.sop_class_uid, self.meta.sop_instance_uid)
        self.response: Message | None = None

    @property
    def contexts(self) -> Mapping[int, AcceptedContext]:
        """The presentation context in which it came."""
        meta = self.meta
        context = AcceptedContext(self.CONTEXT_ID, meta.sop_class_uid, meta.transfer_syntax_uid)
        return {self.CONTEXT_ID: context}

    def data_set(self) -> Iterator[memoryview]:
        """Give the data set, piece by piece; each is valid until the next.

        Raises:
            ArchiveError: The file cannot be read.
        """
        buffer = memoryview(bytearray(_PIECE))
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                while size := file.readinto(buffer):
                    yield buffer[:size]
        except OSError as error:
            raise _unreadable(self._path, error) from None

    def send(
        self, context_id: int, message: Message, data_set: bytes | memoryview | None = None
    ) -> None:
        """Note what would be answered; the program has answered by itself."""
        self.response = message


def _unreadable(path: Path, error: OSError) -> ArchiveError:
    return ArchiveError(f"{path} cannot be read: {error.strerror or error}.")
