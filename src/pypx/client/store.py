"""C-STORE: send instances as they are (PS3.4 Annex B, PS3.7 §9.1.1).

In: Part 10 files and an association on which their SOP class and transfer
syntax were accepted. Out: the responses. A data set is read and sent in pieces,
bit for bit; nothing is converted.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from pypx.dicom.elements import decode_elements, encoding_of
from pypx.dicom.part10 import FileMeta, decode_preamble_and_meta
from pypx.dicom.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    uid_name,
)
from pypx.dimse.messages import CStoreRQ, CStoreRSP, Message
from pypx.errors import ArchiveError, DataSetError, NoPresentationContextError, NotDicomError
from pypx.net.connection import Connection
from pypx.values import frozen

__all__ = [
    "Buffer",
    "Instance",
    "Originator",
    "Store",
    "StoreEndpoint",
    "read_head",
    "send_instance",
]

_PIECE = 128 * 1024
_HEAD = 64 * 1024  # bytes: file meta information and the first elements of the data set
_TRANSCODE_HINT = "With --transcode it is sent uncompressed, if the PACS takes that."
_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018


@frozen
class Originator:
    """The C-MOVE for which an instance is sent (PS3.7 §9.1.1.1.8)."""

    ae_title: str
    message_id: int


class Buffer:
    """Room for two pieces of a data set; for one instance after another, of one thread."""

    __slots__ = ("halves",)

    def __init__(self) -> None:
        both = memoryview(bytearray(2 * _PIECE))
        self.halves = both[:_PIECE], both[_PIECE:]


@frozen
class Instance:
    """A Part 10 file to send.

    Attributes:
        path: The file.
        sop_class_uid: Of the data set.
        sop_instance_uid: Of the data set.
        transfer_syntax_uid: In which the data set is stored.
        data_set_offset: Where it begins in the file.
        data_set: All of it, where it is at hand; None where it is to be read.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set_offset: int
    data_set: bytes | memoryview | None = None

    def __repr__(self) -> str:  # without what may identify a patient
        return f"Instance({str(self.path)!r}, {self.sop_instance_uid!r})"

    @classmethod
    def from_file(cls, path: Path, *, keep_small: bool = False) -> Instance:
        """Read what is needed to send a file.

        Class and instance are those of the data set, which a receiver compares with the
        command; the file meta information of some files names others.

        Args:
            path: The file.
            keep_small: Keep the data set of a file of up to 64 KiB, which is at hand with its
                head, for who sends it soon.

        Raises:
            NotDicomError: It is no DICOM file.
            DataSetError: It is torn, or has no SOP class, instance or transfer syntax.
            ArchiveError: It cannot be read.
        """
        head, size = read_head(path)
        try:
            meta, offset = decode_preamble_and_meta(head)
        except NotDicomError:
            raise NotDicomError(f"{path} is no DICOM file.") from None
        except DataSetError as error:
            raise DataSetError(f"{path} is torn: {error.message}") from None
        if size <= offset:
            raise DataSetError(f"{path} is torn: nothing follows the file meta information.")
        data_set = memoryview(head)[offset:]
        own = _identity(data_set, meta.transfer_syntax_uid)
        instance = cls(
            path,
            own.get(_SOP_CLASS_UID) or meta.sop_class_uid,
            own.get(_SOP_INSTANCE_UID) or meta.sop_instance_uid,
            meta.transfer_syntax_uid,
            offset,
            data_set if keep_small and size == len(head) else None,
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

    def pieces(self, buffer: Buffer | None = None) -> Iterator[tuple[bytes | memoryview, bool]]:
        """Give the data set piece by piece, each with whether it is the last.

        A piece is valid until the next one is asked for.

        The zero byte that makes a deflated stream even (PS3.5 §A.5) is added where the file
        lacks it: Orthanc 1.10.1 would wait for it, and abort.

        Args:
            buffer: Where the pieces go; who sends many has one for all of them.

        Raises:
            ArchiveError: The file cannot be read.
        """
        if self.data_set is not None:
            yield self._even(self.data_set), True
            return
        try:
            with self.path.open("rb") as file:
                file.seek(self.data_set_offset)
                one, other = (buffer or Buffer()).halves
                piece = one[: file.readinto(one)]
                while size := file.readinto(other):
                    yield piece, False
                    one, other, piece = other, one, other[:size]
                yield self._even(piece), True
        except OSError as error:
            raise _unreadable(self.path, error) from None

    def _even(self, last: bytes | memoryview) -> bytes | memoryview:
        deflated = self.transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
        return bytes(last) + b"\0" if deflated and len(last) % 2 else last


def read_head(path: Path) -> tuple[bytes, int]:
    """Give the beginning of a file, and the size of all of it.

    Raises:
        ArchiveError: It cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            head = os.read(descriptor, min(size, _HEAD))
            while len(head) < min(size, _HEAD) and (more := os.read(descriptor, _HEAD - len(head))):
                head += more
            return head, size
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> ArchiveError:
    return ArchiveError(f"{path} cannot be read: {error.strerror or error}.")


def _identity(data: memoryview, transfer_syntax_uid: str) -> dict[int, str]:
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
    buffer: Buffer | None = None,
) -> int:
    """Send one C-STORE-RQ with its data set; the response is the caller's to read.

    Args:
        endpoint: Where it goes.
        context_id: Its presentation context.
        message_id: Of the request.
        instance: What is sent.
        originator: The C-MOVE for which it is sent.
        buffer: For the pieces; who sends many has one for all of them.

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
    pieces = instance.pieces(buffer)
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
        self._buffer: Buffer | None = None  # for those that are sent in pieces
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
            NoPresentationContextError, ArchiveError: As :meth:`begin`.
            NetworkError, AssociationError, ProtocolError: The association ended; whether the
                peer has stored the instance is then unknown.
        """
        self.begin(instance, originator)
        return self.response()

    def begin(self, instance: Instance, originator: Originator | None = None) -> None:
        """Send one instance; :meth:`response` is next.

        Raises:
            NoPresentationContextError: The peer did not accept its class and syntax.
            ArchiveError: The file cannot be read.
            NetworkError, AssociationError, ProtocolError: The association ended.
        """
        context = self._connection.context_for(instance.sop_class_uid, instance.transfer_syntax_uid)
        if context is None:
            raise NoPresentationContextError(
                f"{self._connection.address} does not accept {uid_name(instance.sop_class_uid)} "
                f"in {uid_name(instance.transfer_syntax_uid)}.",
                hint=_TRANSCODE_HINT
                if instance.transfer_syntax_uid != IMPLICIT_VR_LITTLE_ENDIAN
                else "",
            )
        self._message_id = self._message_id % 0xFFFF + 1
        if instance.data_set is None and self._buffer is None:
            self._buffer = Buffer()
        self.size = send_instance(
            self._connection,
            context.context_id,
            self._message_id,
            instance,
            originator,
            self._buffer,
        )

    def response(self) -> CStoreRSP:
        """Wait for the response to what was sent last; raises as :meth:`send`."""
        received = self._connection.receive()
        return self._connection.response_to(self._message_id, CStoreRSP, received)
