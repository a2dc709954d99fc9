"""One C-STORE: fragments, file, index, status (PS3.4 Annex B).

In: a C-STORE-RQ whose data set is still on the wire. Out: what became of it, when
the file is durable and indexed, or when it is known why not; then the response.
The data set is always read to its end, so that the sender sees the status.
"""

from __future__ import annotations

from pypx.archive import Archive, Incoming, Source, Stored
from pypx.dicom.data_set import DataSet
from pypx.dicom.encoding import MAX_DEPTH
from pypx.dicom.header import MAX_ELEMENTS, HeaderScan
from pypx.dicom.part10 import FileMeta, is_meta
from pypx.dicom.uids import is_valid_uid
from pypx.dimse.messages import CStoreRQ, CStoreRSP
from pypx.dimse.status import SUCCESS
from pypx.errors import ArchiveError, ArchiveFullError, DataSetError, PypxError
from pypx.net.storing import StoreAssociation
from pypx.receiver.events import InstanceReceived
from pypx.values import frozen, replace

__all__ = ["StoreResult", "answer_store", "event_of", "receive_instance"]

_DOES_NOT_MATCH = 0xA900
_STORED_BUT_DIFFERS = 0xB007
_COMMENT_LENGTH = 64
_LOOK_AT = 6  # bytes: a tag and its VR


@frozen
class StoreResult:
    """What became of one C-STORE.

    Attributes:
        status: The status to answer (PS3.4 Table B.2-1).
        stored: Where the instance is; None where it is not in the tree.
        comment: Why, if the status is not success.
    """

    status: int
    stored: Stored | None = None
    comment: str = ""


class _MismatchError(DataSetError):
    """The data set is not the object that the command announced."""

    dimse_status = _DOES_NOT_MATCH


def receive_instance(
    association: StoreAssociation,
    context_id: int,
    request: CStoreRQ,
    archive: Archive,
    *,
    min_free: int = 0,
    max_elements: int = MAX_ELEMENTS,
    max_depth: int = MAX_DEPTH,
) -> StoreResult:
    """Take one instance into the archive; :func:`answer_store` is the caller's to call.

    Args:
        association: Its data set comes over this one.
        context_id: The presentation context of the request.
        request: What was asked.
        archive: Where it goes.
        min_free: Bytes that the disk must have left; with less nothing is stored.
        max_elements: An object with more data elements is refused; 0 for no limit.
        max_depth: So is one with more sequences inside each other.

    Returns:
        What became of it. A data set that cannot be placed is in quarantine.

    Raises:
        PypxError: The association ended before the data set did; nothing is kept of it.
    """
    if not request.has_data_set:
        return _failure(DataSetError("The C-STORE came without a data set."))
    transfer_syntax = association.contexts[context_id].transfer_syntax
    source = Source(
        calling_ae_title=association.calling_ae_title,
        called_ae_title=association.called_ae_title,
        host=association.host,
    )
    meta = FileMeta(
        sop_class_uid=request.affected_sop_class_uid,
        sop_instance_uid=request.affected_sop_instance_uid,
        transfer_syntax_uid=transfer_syntax,
        source_ae_title=_as_title(association.calling_ae_title),
    )
    scan = HeaderScan(
        transfer_syntax,
        wanted=archive.header_tags,
        max_elements=max_elements,
        max_depth=max_depth,
    )
    try:
        _check_space(archive, min_free)
        incoming = archive.begin(meta)
    except (ArchiveError, DataSetError) as error:
        for _ in association.data_set():
            pass
        return _failure(error)
    with incoming:  # leaves nothing behind unless it is committed or put into quarantine
        try:
            _write(association, incoming, scan)
            header = scan.finish()
            meta = _identify(header, meta)
            if meta == incoming.meta:
                return StoreResult(SUCCESS, incoming.commit(header, source))
            with incoming.restarted(meta) as corrected:
                stored = corrected.commit(header, source)
            comment = "Stored; the command named another class or instance."
            return StoreResult(_STORED_BUT_DIFFERS, stored, comment)
        except DataSetError as error:
            return _quarantine(incoming, error, source)
        except ArchiveError as error:
            return _failure(error)
        except PypxError as error:  # the association ended in the middle of the object
            archive.note_interrupted(incoming.meta, source, incoming.size, error.message)
            raise


def _as_title(text: str) -> str:
    """Give an AE title as a file may have it (PS3.5 §6.2): some peers use letters of their own."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(one if " " <= one <= "~" and one != "\\" else "?" for one in text)


def _failure(error: PypxError) -> StoreResult:
    return StoreResult(error.dimse_status, comment=error.message)


def _check_space(archive: Archive, min_free: int) -> None:
    """Refuse before the disk is full: a full disk stops more than the receiver."""
    if min_free and archive.free_bytes() < min_free:
        raise ArchiveFullError(f"The disk has less than {min_free} bytes left.")


def _write(association: StoreAssociation, incoming: Incoming, scan: HeaderScan) -> None:
    """Read the data set to its end; raise what the disk said only then."""
    failure: ArchiveError | None = None
    head = b""
    for piece in association.data_set():
        if len(head) < _LOOK_AT:
            head += bytes(piece[:_LOOK_AT])
        if failure is None:
            scan.feed(piece)
            try:
                incoming.write(piece)
            except ArchiveError as error:
                failure = error
    if failure is not None:
        raise failure
    if len(head) >= _LOOK_AT and is_meta(head):
        # Whoever reads the file would take it for ours: for the transfer syntax first of all.
        raise DataSetError("The data set begins with file meta information.")


def _identify(header: DataSet, announced: FileMeta) -> FileMeta:
    """Give the file meta information that the data set deserves, or refuse it.

    Another SOP class than announced, or an announced instance that is no UID at all, is no
    reason to lose an object that knows its own: Orthanc 1.10.1 and DCMTK 3.6.7 misread UIDs
    that a file has as VR UN, and announce both as "31". Two UIDs that could both be right
    are two different instances, though.
    """
    sop_class_uid = header.get("SOPClassUID") or announced.sop_class_uid
    sop_instance_uid = header.get("SOPInstanceUID") or ""
    if sop_instance_uid != announced.sop_instance_uid and (
        _is_registrable(announced.sop_instance_uid) or not is_valid_uid(sop_instance_uid)
    ):
        raise _MismatchError("The data set is another instance than the command says.")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        if not header.get(keyword):
            raise DataSetError(f"The data set has no {keyword}.")
    if (sop_class_uid, sop_instance_uid) == (announced.sop_class_uid, announced.sop_instance_uid):
        return announced
    return replace(announced, sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid)


def _is_registrable(uid: str) -> bool:
    """Whether a UID could stand for something: it has the form, and more than its root."""
    return is_valid_uid(uid) and "." in uid


def _quarantine(incoming: Incoming, error: DataSetError, source: Source) -> StoreResult:
    try:
        incoming.quarantine(error.message, source)
    except ArchiveError as trouble:
        return _failure(trouble)
    return _failure(error)


def answer_store(
    association: StoreAssociation, context_id: int, request: CStoreRQ, result: StoreResult
) -> None:
    """Send the response that says what became of an instance."""
    response = CStoreRSP(
        request.message_id,
        result.status,
        request.affected_sop_class_uid,
        request.affected_sop_instance_uid,
        error_comment=result.comment[:_COMMENT_LENGTH] or None,
    )
    association.send(context_id, response)


def event_of(
    association_id: str, request: CStoreRQ, result: StoreResult, seconds: float
) -> InstanceReceived:
    """Put into an event what became of one C-STORE."""
    stored = result.stored
    originator_ae_title = request.move_originator_application_entity_title or ""
    originator_message_id = request.move_originator_message_id or 0
    if stored is None:
        return InstanceReceived(
            association_id,
            result.status,
            seconds,
            sop_instance_uid=request.affected_sop_instance_uid,
            comment=result.comment,
            move_originator_ae_title=originator_ae_title,
            move_originator_message_id=originator_message_id,
            sop_class_uid=request.affected_sop_class_uid,
        )
    return InstanceReceived(
        association_id,
        result.status,
        seconds,
        stored.bytes,
        stored.outcome.value,
        stored.study_instance_uid,
        stored.series_instance_uid,
        stored.sop_instance_uid,
        str(stored.path),
        result.comment,
        originator_ae_title,
        originator_message_id,
        request.affected_sop_class_uid,
    )
