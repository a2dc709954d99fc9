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
from pypx.dicom.part10 import decode_preamble_and_meta
from pypx.dimse.messages import CStoreRQ, CStoreRSP, Message
from pypx.errors import ArchiveError, DataSetError, NoPresentationContextError
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
            DataSetError: It is no Part 10 file, or has no SOP class, instance or syntax.
            ArchiveError: It cannot be read.
        """
        try:
            with path.open("rb") as file:
                head = file.read(_HEAD)
        except OSError as error:
            raise ArchiveError(f"{path} cannot be read: {error.strerror or error}.") from None
        try:
            meta, offset = decode_preamble_and_meta(head)
        except DataSetError as error:
            raise DataSetError(f"{path} is no DICOM file: {error.message}") from None
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

    def pieces(self) -> Iterator[tuple[bytes, bool]]:
        """Give the data set piece by piece, each with whether it is the last.

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
                yield piece, True
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

    def send(self, context_id: int, message: Message) -> None:
        """Send a message."""
        ...

    def send_data_set(self, context_id: int, data: bytes | memoryview, *, is_last: bool) -> None:
        """Send a piece of its data set."""
        ...


def send_instance(
    endpoint: StoreEndpoint,
    context_id: int,
    message_id: int,
    instance: Instance,
    originator: Originator | None = None,
) -> None:
    """Send one C-STORE-RQ with its data set; the response is the caller's to read."""
    request = CStoreRQ(
        message_id,
        instance.sop_class_uid,
        instance.sop_instance_uid,
        move_originator_application_entity_title=originator.ae_title if originator else None,
        move_originator_message_id=originator.message_id if originator else None,
    )
    endpoint.send(context_id, request)
    for piece, is_last in instance.pieces():
        endpoint.send_data_set(context_id, piece, is_last=is_last)


class Store:
    """C-STORE over one connection.

    Args:
        connection: Opened with contexts from :meth:`contexts`.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._message_id = 0

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
            NetworkError, AssociationError, ProtocolError: The association ended; whether the
                peer has stored the instance is then unknown.
        """
        context = self._connection.context_for(instance.sop_class_uid, instance.transfer_syntax_uid)
        if context is None:
            raise NoPresentationContextError(
                f"{self._connection.address} does not accept SOP class {instance.sop_class_uid} "
                f"in transfer syntax {instance.transfer_syntax_uid}."
            )
        self._message_id = self._message_id % 0xFFFF + 1
        send_instance(self._connection, context.context_id, self._message_id, instance, originator)
        received = self._connection.receive()
        return self._connection.response_to(self._message_id, CStoreRSP, received)
