"""C-STORE: send instances as they are (PS3.4 Annex B, PS3.7 §9.1.1).

In: Part 10 files and an association on which their SOP class and transfer
syntax were accepted. Out: the responses. A data set is read and sent in pieces,
bit for bit; nothing is converted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from pypx.dicom.elements import decode_elements, encoding_of
from pypx.dicom.part10 import FileMeta, decode_preamble_and_meta
from pypx.dicom.uids import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, uid_name
from pypx.dimse.messages import CStoreRQ, CStoreRSP, Message
from pypx.errors import ArchiveError, DataSetError, NoPresentationContextError, NotDicomError
from pypx.net.connection import Connection
from pypx.values import frozen

__all__ = ["Instance", "Originator", "Store", "StoreEndpoint", "send_instance"]

_PIECE = 256 * 1024
_HEAD = 64 * 1024  # bytes: file meta information and the first elements of the data set
_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018


@frozen
class Originator:
    """The C-MOVE for which an instance is sent (PS3.7 §9.1.1.1.8)."""

    ae_title: str
    message_id: int


@frozen
class Instance:
    """A Part 10 file to send; ``data_set_offset`` is where its data set begins."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set_offset: int

    @classmethod
    def from_file(cls, path: Path) -> Instance:
        """Read what is needed to send a file.

        Class and instance are those of the data set, which a receiver compares with the
        command; the file meta information of some files names others.

        Raises:
            NotDicomError: It is no DICOM file.
            DataSetError: It is torn, or has no SOP class, instance or transfer syntax.
            ArchiveError: It cannot be read.
        """
        try:
            with path.open("rb") as file:
                head = file.read(_HEAD)
        except OSError as error:
            raise ArchiveError(f"{path} cannot be read: {error.strerror or error}.") from None
        try:
            meta, offset = decode_preamble_and_meta(head)
        except NotDicomError:
            raise NotDicomError(f"{path} is no DICOM file.") from None
        except DataSetError as error:
            raise DataSetError(f"{path} is torn: {error.message}") from None
        own = _identity(head[offset:], meta.transfer_syntax_uid)
        instance = cls(
            path,
            own.get(_SOP_CLASS_UID) or meta.sop_class_uid,
            own.get(_SOP_INSTANCE_UID) or meta.sop_instance_uid,
            meta.transfer_syntax_uid,
            offset,
        )
        if not (
            instance.sop_class_uid and instance.sop_instance_uid and instance.transfer_syntax_uid
        ):
            raise DataSetError(
                f"{path} cannot be sent: it lacks a SOP class, instance or transfer syntax UID."
            )
        return instance

    @classmethod
    def stored(cls, path: Path, meta: FileMeta, data_set_offset: int) -> Instance:
        """Give what an archive has, without a look into the file."""
        return cls(
            path,
            meta.sop_class_uid,
            meta.sop_instance_uid,
            meta.transfer_syntax_uid,
            data_set_offset,
        )

    def pieces(self) -> Iterator[tuple[bytes, bool]]:
        """Give the data set piece by piece, each with whether it is the last.

        The zero byte that makes a deflated stream even (PS3.5 §A.5) is added where the file
        lacks it: Orthanc 1.10.1 would wait for it, and abort.

        Raises:
            ArchiveError: The file cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.data_set_offset)
                piece = file.read(_PIECE)
                while following := file.read(_PIECE):
                    yield piece, False
                    piece = following
                deflated = self.transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
                yield piece + b"\0" if deflated and len(piece) % 2 else piece, True
        except OSError as error:
            raise ArchiveError(f"{self.path} cannot be read: {error.strerror or error}.") from None


def _identity(data: bytes, transfer_syntax_uid: str) -> dict[int, str]:
    """Give SOP Class and SOP Instance UID as far as the beginning of a data set has them."""
    found: dict[int, str] = {}
    # A deflated or broken data set has nothing to read here; the file meta has to do then.
    with contextlib.suppress(DataSetError):
        encoding = encoding_of(transfer_syntax_uid)
        for element in decode_elements(data, encoding, stop_after=_SOP_INSTANCE_UID):
            if element.tag in (_SOP_CLASS_UID, _SOP_INSTANCE_UID):
                text = bytes(element.value).decode("ascii", "replace")
                found[element.tag] = text.strip("\0 ")
    return found


class StoreEndpoint(Protocol):
    """What sends: an association of either role, since C-GET sends back on its own."""

    def send(
        self, context_id: int, message: Message, data_set: bytes | memoryview | None = None
    ) -> None:
        """Send a message, and its data set if it is at hand as a whole."""
        ...

    def send_data_set(self, context_id: int, data: bytes | memoryview, *, is_last: bool) -> None:
        """Send a piece of its data set."""
        ...

    def abort(self) -> None:
        """Send A-ABORT and close."""
        ...


def send_instance(
    endpoint: StoreEndpoint,
    context_id: int,
    message_id: int,
    instance: Instance,
    originator: Originator | None = None,
) -> int:
    """Send one C-STORE-RQ with its data set; the response is the caller's to read.

    Returns:
        The bytes of the data set.

    Raises:
        ArchiveError: The file cannot be read. Nothing was sent if that shows at its
            beginning; else the association is aborted, since the message cannot be ended.
    """
    request = CStoreRQ(
        message_id,
        instance.sop_class_uid,
        instance.sop_instance_uid,
        move_originator_application_entity_title=originator.ae_title if originator else None,
        move_originator_message_id=originator.message_id if originator else None,
    )
    pieces = instance.pieces()
    piece, is_last = next(pieces)
    size = len(piece)
    if is_last:  # one write for all of a small object
        endpoint.send(context_id, request, piece)
        return size
    endpoint.send(context_id, request)
    endpoint.send_data_set(context_id, piece, is_last=False)
    try:
        for piece, is_last in pieces:
            size += len(piece)
            endpoint.send_data_set(context_id, piece, is_last=is_last)
    except ArchiveError:
        endpoint.abort()
        raise
    return size


class Store:
    """C-STORE over one connection.

    Args:
        connection: Opened with contexts from :meth:`contexts`.

    Attributes:
        size: The bytes of the last data set that was sent.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._message_id = 0
        self.size = 0

    @staticmethod
    def contexts(instances: Iterable[Instance]) -> list[tuple[str, tuple[str, ...]]]:
        """Give what must be proposed: each SOP class with each transfer syntax, one pair a context.

        A context of several transfer syntaxes would let the peer choose one in which
        an instance is not stored.
        """
        pairs = {(one.sop_class_uid, one.transfer_syntax_uid) for one in instances}
        return [(sop_class, (syntax,)) for sop_class, syntax in sorted(pairs)]

    def send(self, instance: Instance, originator: Originator | None = None) -> CStoreRSP:
        """Send one instance and wait for the response.

        Raises:
            NoPresentationContextError: The peer did not accept its class and syntax.
            ArchiveError: The file cannot be read.
            NetworkError, AssociationError, ProtocolError: The association ended; whether the
                peer has stored the instance is then unknown.
        """
        context = self._connection.context_for(instance.sop_class_uid, instance.transfer_syntax_uid)
        if context is None:
            raise NoPresentationContextError(
                f"{self._connection.address} does not accept {uid_name(instance.sop_class_uid)} "
                f"in {uid_name(instance.transfer_syntax_uid)}."
            )
        self._message_id = self._message_id % 0xFFFF + 1
        self.size = send_instance(
            self._connection, context.context_id, self._message_id, instance, originator
        )
        received = self._connection.receive()
        return self._connection.response_to(self._message_id, CStoreRSP, received)
