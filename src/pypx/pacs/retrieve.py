"""C-MOVE and C-GET as a service class provider (PS3.4 §C.4.2, §C.4.3).

In: a request whose identifier is still on the wire, an archive and, for C-MOVE,
the destinations that are known. Out: C-STORE sub-operations, a pending response
after each, then the final one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.client import Client
from pypx.client.store import Instance, Originator, Store, send_instance
from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import encoding_of
from pypx.dimse.messages import CGetRQ, CGetRSP, CMoveRQ, CMoveRSP, CStoreRSP
from pypx.dimse.status import CANCELLED, PENDING, SUCCESS, Category, category
from pypx.errors import (
    AssociationError,
    ConfigError,
    DataSetError,
    NetworkError,
    PypxError,
    RemoteProtocolError,
    StatusError,
)
from pypx.net.served import ServedAssociation
from pypx.pacs.find import UNIQUE_KEYS, level_of, matching_keys, read_identifier
from pypx.ul.negotiation import MAXIMUM_CONTEXTS
from pypx.values import frozen

__all__ = ["serve_get", "serve_move"]

_DESTINATION_UNKNOWN = 0xA801
_CANNOT_PERFORM = 0xA702
_DOES_NOT_MATCH = 0xA900
_SOME_FAILED = 0xB000

Send = Callable[[Instance], int]
"""Perform one sub-operation and give the status of its C-STORE response."""


@dataclass(slots=True)
class _Count:
    """The sub-operations of one request."""

    remaining: int
    completed: int = 0
    warning: int = 0
    failed: list[str] = field(default_factory=list)

    def add(self, instance: Instance, status: int) -> None:
        self.remaining -= 1
        match category(status):
            case Category.SUCCESS:
                self.completed += 1
            case Category.WARNING:
                self.warning += 1
            case _:
                self.failed.append(instance.sop_instance_uid)


def _wanted(archive: Archive, identifier: DataSet, sop_class_uid: str) -> list[Instance]:
    """Resolve an identifier to the instances that it names.

    Raises:
        DataSetError: The identifier lacks the unique key of its level.
    """
    level = level_of(identifier, sop_class_uid)
    keys = matching_keys(identifier)
    if UNIQUE_KEYS[level] not in keys:
        raise DataSetError(
            f"The identifier has no {UNIQUE_KEYS[level]}, the unique key of its level."
        )
    unique = {keyword: keys[keyword] for keyword in UNIQUE_KEYS.values() if keyword in keys}
    return [
        Instance.stored(located.path, located.meta, located.data_set_offset)
        for located in archive.instances(unique)
    ]


@frozen
class _Request:
    """What both services have in common: the request and how it is answered."""

    association: ServedAssociation
    context_id: int
    message: CMoveRQ | CGetRQ

    def read(self, archive: Archive) -> list[Instance] | None:
        """Give what the identifier names; None where it names nothing, and that is answered."""
        try:
            identifier = read_identifier(self.association, self.context_id)
            return _wanted(archive, identifier, self.message.affected_sop_class_uid)
        except (DataSetError, ConfigError) as error:
            self.answer(_DOES_NOT_MATCH, comment=error.message)
            return None

    def answer(self, status: int, count: _Count | None = None, comment: str = "") -> None:
        """Send a response; a final one names the failed instances (0008,0058)."""
        response = CMoveRSP if isinstance(self.message, CMoveRQ) else CGetRSP
        is_final = category(status) is not Category.PENDING
        data_set = self._failed(count) if is_final and count and count.failed else None
        with_remaining = count is not None and (not is_final or status == CANCELLED)
        self.association.send(
            self.context_id,
            response(
                self.message.message_id,
                status,
                self.message.affected_sop_class_uid,
                count.remaining if count and with_remaining else None,
                count.completed if count else None,
                len(count.failed) if count else None,
                count.warning if count else None,
                error_comment=comment[:64] or None,
                has_data_set=data_set is not None,
            ),
            data_set,
        )

    def _failed(self, count: _Count) -> bytes:
        syntax = self.association.contexts[self.context_id].transfer_syntax
        failed = DataSet.from_keywords({"FailedSOPInstanceUIDList": count.failed})
        return failed.to_bytes(encoding_of(syntax))

    def perform(self, instances: list[Instance], send: Send) -> None:
        """Do the sub-operations one after another and answer."""
        count = _Count(len(instances))
        for instance in instances:
            if self.association.cancelled(self.message.message_id):
                self.answer(CANCELLED, count)
                return
            count.add(instance, send(instance))
            if count.remaining:
                self.answer(PENDING, count)
        self.answer(_SOME_FAILED if count.failed or count.warning else SUCCESS, count)


def serve_move(
    association: ServedAssociation,
    context_id: int,
    message: CMoveRQ,
    archive: Archive,
    destinations: Mapping[str, Address],
    ae_title: str,
) -> None:
    """Answer one C-MOVE."""
    request = _Request(association, context_id, message)
    instances = request.read(archive)
    if instances is None:
        return
    destination = destinations.get(message.move_destination)
    if destination is None:
        request.answer(_DESTINATION_UNKNOWN, comment="Unknown move destination.")
        return
    originator = Originator(association.calling_ae_title, message.message_id)
    with ExitStack() as stack:
        try:
            sender = _Sender(destination, ae_title, instances, originator, stack)
        except (NetworkError, AssociationError) as error:
            request.answer(_CANNOT_PERFORM, comment=error.message)
            return
        request.perform(instances, sender.send)


class _Sender:
    """Associations with a move destination, as many as the presentation contexts need."""

    def __init__(
        self,
        destination: Address,
        ae_title: str,
        instances: list[Instance],
        originator: Originator,
        stack: ExitStack,
    ) -> None:
        self._originator = originator
        self._stores: dict[tuple[str, str], Store] = {}
        pairs = [(cls, syntaxes[0]) for cls, syntaxes in Store.contexts(instances)]
        for start in range(0, len(pairs), MAXIMUM_CONTEXTS):
            batch = pairs[start : start + MAXIMUM_CONTEXTS]
            client = stack.enter_context(Client(destination, calling_ae_title=ae_title))
            some = [one for one in instances if _pair(one) in batch]
            store = client.store(some)
            self._stores.update(dict.fromkeys(batch, store))

    def send(self, instance: Instance) -> int:
        """Send one instance; a failure of its association fails it, with a status for it."""
        try:
            return self._stores[_pair(instance)].send(instance, self._originator).status
        except StatusError as error:
            return error.status
        except PypxError as error:
            return error.dimse_status


def _pair(instance: Instance) -> tuple[str, str]:
    return instance.sop_class_uid, instance.transfer_syntax_uid


def serve_get(
    association: ServedAssociation, context_id: int, message: CGetRQ, archive: Archive
) -> None:
    """Answer one C-GET: the sub-operations come back over the same association."""
    request = _Request(association, context_id, message)
    instances = request.read(archive)
    if instances is None:
        return
    message_ids = _message_ids()

    def send(instance: Instance) -> int:
        for context in association.contexts.values():
            accepted = (context.abstract_syntax, context.transfer_syntax)
            if context.requestor_is_scp and accepted == _pair(instance):
                return _send_back(association, context.context_id, next(message_ids), instance)
        return 0x0122  # SOP class not supported: no context in which it could be sent

    request.perform(instances, send)


def _message_ids() -> Iterator[int]:
    while True:
        yield from range(1, 0x10000)


def _send_back(
    association: ServedAssociation, context_id: int, message_id: int, instance: Instance
) -> int:
    send_instance(association, context_id, message_id, instance)
    response = association.next_message().message
    if not isinstance(response, CStoreRSP) or response.message_id_being_responded_to != message_id:
        raise RemoteProtocolError("The peer did not answer the C-STORE sub-operation.")
    return response.status
