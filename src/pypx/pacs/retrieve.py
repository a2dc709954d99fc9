"""C-MOVE and C-GET as a service class provider (PS3.4 §C.4.2, §C.4.3).

In: a request whose identifier is still on the wire, an archive and, for C-MOVE,
the destinations that are known. Out: C-STORE sub-operations, a pending response
after each, then the final one.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.client import Client
from pypx.client.store import Instance, Originator, Store, send_instance
from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import encoding_of
from pypx.dicom.levels import UNIQUE_KEYS
from pypx.dimse.messages import CCancelRQ, CGetRQ, CGetRSP, CMoveRQ, CMoveRSP, CStoreRSP
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
from pypx.pacs.behaviour import Behaviour, Refusal, Send
from pypx.pacs.find import level_of, matching_keys, read_identifier
from pypx.ul.negotiation import MAXIMUM_CONTEXTS
from pypx.values import frozen

__all__ = [
    "DESTINATION_UNKNOWN",
    "Count",
    "Request",
    "Route",
    "context_for",
    "serve_get",
    "serve_move",
]

DESTINATION_UNKNOWN = 0xA801
_CANNOT_PERFORM = 0xA702
_DOES_NOT_MATCH = 0xA900
_SOME_FAILED = 0xB000
_SOP_CLASS_NOT_SUPPORTED = 0x0122  # no context in which an instance could be sent


@dataclass(slots=True)
class Count:
    """The sub-operations of one request."""

    remaining: int
    completed: int = 0
    warning: int = 0
    failed: list[str] = field(default_factory=list)

    def add(self, instance: Instance, status: int) -> None:
        """Take the status of one."""
        self.remaining -= 1
        match category(status):
            case Category.SUCCESS:
                self.completed += 1
            case Category.WARNING:
                self.warning += 1
            case _:
                self.failed.append(instance.sop_instance_uid)


def _wanted(archive: Archive, identifier: DataSet, level: str) -> list[Instance]:
    """Resolve an identifier to the instances that it names.

    Raises:
        DataSetError: The identifier lacks the unique key of its level.
    """
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


@dataclass(slots=True)
class Request:
    """What both services have in common: the request and how it is answered."""

    association: ServedAssociation
    context_id: int
    message: CMoveRQ | CGetRQ
    behaviour: Behaviour
    cancel_seen: bool = False

    def read(self, archive: Archive) -> list[Instance] | None:
        """Give what the identifier names; None where it names nothing, and that is answered."""
        try:
            identifier = read_identifier(self.association, self.context_id)
            level = level_of(identifier, self.message.affected_sop_class_uid)
            self.behaviour.check_level(level)
            return _wanted(archive, identifier, level)
        except Refusal as refusal:
            self.answer(refusal.status, comment=refusal.message)
            return None
        except (DataSetError, ConfigError) as error:
            self.answer(_DOES_NOT_MATCH, comment=error.message)
            return None

    def cancelled(self) -> bool:
        """Look whether the peer has asked for the end."""
        self.cancel_seen |= self.association.cancelled(self.message.message_id)
        return self.behaviour.cancelled(self.cancel_seen)

    def answer(self, status: int, count: Count | None = None, comment: str = "") -> None:
        """Send a response; a final one names the failed instances (0008,0058)."""
        response = CMoveRSP if isinstance(self.message, CMoveRQ) else CGetRSP
        is_final = category(status) is not Category.PENDING
        data_set = self._failed(count) if is_final and count and count.failed else None
        with_remaining = count is not None and (not is_final or status == CANCELLED)
        message = response(
            self.message.message_id,
            status,
            self.message.affected_sop_class_uid,
            count.remaining if count and with_remaining else None,
            count.completed if count else None,
            len(count.failed) if count else None,
            count.warning if count else None,
            error_comment=comment[:64] or None,
            has_data_set=data_set is not None,
        )
        self.association.send(self.context_id, self.behaviour.response(message), data_set)

    def _failed(self, count: Count) -> bytes:
        syntax = self.association.contexts[self.context_id].transfer_syntax
        failed = DataSet.from_keywords({"FailedSOPInstanceUIDList": count.failed})
        return failed.to_bytes(encoding_of(syntax))

    def perform(self, instances: list[Instance], send: Send) -> None:
        """Do the sub-operations one after another and answer."""
        count = Count(len(instances))
        for instance in instances:
            if self.cancelled():
                self.answer(CANCELLED, count)
                return
            count.add(instance, send(instance))
            if count.remaining:
                self.answer(PENDING, count)
        self.answer(_SOME_FAILED if count.failed or count.warning else SUCCESS, count)


@frozen
class Route:
    """Where the instances of one C-MOVE go, and for whom."""

    destination: Address
    ae_title: str
    originator: Originator

    def open(self, instances: list[Instance], stack: ExitStack) -> Send:
        """Make the associations for these instances; the stack closes them.

        Raises:
            NetworkError, AssociationError: There is none.
        """
        return _Sender(self, instances, stack).send


def serve_move(
    request: Request, archive: Archive, destinations: Mapping[str, Address], ae_title: str
) -> None:
    """Answer one C-MOVE."""
    message, behaviour = request.message, request.behaviour
    assert isinstance(message, CMoveRQ)  # the table of services says so

    instances = request.read(archive)
    if instances is None:
        return

    def move() -> None:
        destination = destinations.get(message.move_destination)
        if destination is None:
            request.answer(DESTINATION_UNKNOWN, comment="Unknown move destination.")
            return
        originator = Originator(request.association.calling_ae_title, message.message_id)
        route = Route(destination, ae_title, originator)
        with ExitStack() as stack:
            try:
                send = behaviour.open(route, instances, stack)
            except (NetworkError, AssociationError) as error:
                request.answer(_CANNOT_PERFORM, comment=error.message)
                return
            request.perform(instances, behaviour.sending(send))

    behaviour.retrieve(request, instances, move)


class _Sender:
    """Associations with a move destination, as many as the presentation contexts need."""

    def __init__(self, route: Route, instances: list[Instance], stack: ExitStack) -> None:
        self._originator = route.originator
        self._stores: dict[tuple[str, str], Store] = {}
        pairs = [(cls, syntaxes[0]) for cls, syntaxes in Store.contexts(instances)]
        for start in range(0, len(pairs), MAXIMUM_CONTEXTS):
            batch = pairs[start : start + MAXIMUM_CONTEXTS]
            client = stack.enter_context(Client(route.destination, calling_ae_title=route.ae_title))
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


def serve_get(request: Request, archive: Archive) -> None:
    """Answer one C-GET: the sub-operations come back over the same association."""
    behaviour = request.behaviour
    instances = request.read(archive)
    if instances is None:
        return
    message_ids = cycle(range(1, 0x10000))

    def send(instance: Instance) -> int:
        context_id = context_for(request.association, instance)
        if context_id is None:
            return _SOP_CLASS_NOT_SUPPORTED
        return _send_back(request, context_id, next(message_ids), instance)

    def get() -> None:
        request.perform(instances, behaviour.sending(behaviour.sending_back(request, send)))

    behaviour.retrieve(request, instances, get)


def context_for(association: ServedAssociation, instance: Instance) -> int | None:
    """Give the presentation context in which an instance can be sent back, if there is one."""
    for context in association.contexts.values():
        accepted = (context.abstract_syntax, context.transfer_syntax)
        if context.requestor_is_scp and accepted == _pair(instance):
            return context.context_id
    return None


def _send_back(request: Request, context_id: int, message_id: int, instance: Instance) -> int:
    association = request.association
    send_instance(association, context_id, message_id, instance)
    response = association.next_message().message
    while isinstance(response, CCancelRQ):  # it may be on its way when the C-STORE-RQ arrives
        request.cancel_seen |= response.message_id_being_responded_to == request.message.message_id
        response = association.next_message().message
    if not isinstance(response, CStoreRSP) or response.message_id_being_responded_to != message_id:
        raise RemoteProtocolError("The peer did not answer the C-STORE sub-operation.")
    return response.status
