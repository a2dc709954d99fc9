"""What PACS in the field were seen to do, each as a behaviour around another one.

In: a behaviour and a parameter. Out: a behaviour that does one thing otherwise. How it is
named and what it takes is in ``faults.py``. Nothing here is random: the same requests get
the same answers.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import count, islice
from typing import Any

from pypx.client.client import Client
from pypx.client.store import Instance, Store, StoreEndpoint
from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import Element
from pypx.dimse.messages import CMoveRQ, CRetrieveRSP, CStoreRQ
from pypx.dimse.status import CANCELLED, PENDING, SUCCESS
from pypx.errors import NetworkError, PypxError
from pypx.pacs.behaviour import Behaviour, Refusal, Send
from pypx.pacs.retrieve import DESTINATION_UNKNOWN, Count, Request, Route, context_for
from pypx.ul.pdu import AAssociateRJ, AAssociateRQ
from pypx.values import replace

__all__ = [
    "AnswerTwice",
    "AssociationPerObject",
    "CapSilently",
    "CapWithStatus",
    "CutObject",
    "DropObjects",
    "EmptySuccess",
    "IgnoreCancel",
    "IgnoreModalities",
    "LateStores",
    "NoCounts",
    "NoSubOperations",
    "PendingForEver",
    "RefuseImageLevel",
    "RefuseSeriesLevel",
    "RejectAeTitle",
    "RejectOverLimit",
    "SendTwice",
    "Stall",
    "UnknownDestination",
    "WrongCharacterSet",
]

_SPECIFIC_CHARACTER_SET = 0x00080005
_OUT_OF_RESOURCES = 0xA700
_CANNOT_UNDERSTAND = 0xC000  # the status of the one sub-operation that was cut off
_PACE = 1.0  # seconds between the responses of a PACS that is pending for ever


class Fault(Behaviour):
    """Behave as ``inner`` does, but for what a subclass overrides.

    Args:
        inner: What it is wrapped around.
        value: The parameter of the fault; None where it has none.
    """

    def __init__(self, inner: Behaviour, value: Any) -> None:
        self.inner = inner
        self.value = value
        self.max_associations = inner.max_associations
        self.idle_timeout = inner.idle_timeout

    def negotiate(self, request: AAssociateRQ) -> AAssociateRJ | None:
        return self.inner.negotiate(request)

    def check_level(self, level: str) -> None:
        self.inner.check_level(level)

    def keys(self, keys: dict[str, str]) -> dict[str, str]:
        return self.inner.keys(keys)

    def matches(self, matches: Iterator[DataSet]) -> Iterator[DataSet]:
        return self.inner.matches(matches)

    def identifier(self, found: dict[str, Any]) -> DataSet:
        return self.inner.identifier(found)

    def cancelled(self, seen: bool) -> bool:
        return self.inner.cancelled(seen)

    def retrieve(
        self, request: Request, instances: list[Instance], honest: Callable[[], None]
    ) -> None:
        self.inner.retrieve(request, instances, honest)

    def open(self, route: Route, instances: list[Instance], stack: ExitStack) -> Send:
        return self.inner.open(route, instances, stack)

    def sending(self, send: Send) -> Send:
        return self.inner.sending(send)

    def sending_back(self, request: Request, send: Send) -> Send:
        return self.inner.sending_back(request, send)

    def response(self, message: CRetrieveRSP) -> CRetrieveRSP:
        return self.inner.response(message)

    def stop(self) -> None:
        self.inner.stop()


# Associations -----------------------------------------------------------------------------


class RejectAeTitle(Fault):
    def negotiate(self, request: AAssociateRQ) -> AAssociateRJ | None:
        if request.calling_ae_title == self.value:
            return AAssociateRJ(1, 1, 3)  # permanent, by the user, calling AE title not recognised
        return self.inner.negotiate(request)


class RejectOverLimit(Fault):
    def __init__(self, inner: Behaviour, value: Any) -> None:
        super().__init__(inner, value)
        self.max_associations = value


# Queries ----------------------------------------------------------------------------------


class CapSilently(Fault):
    def matches(self, matches: Iterator[DataSet]) -> Iterator[DataSet]:
        return islice(self.inner.matches(matches), self.value)


class CapWithStatus(Fault):
    def matches(self, matches: Iterator[DataSet]) -> Iterator[DataSet]:
        found = self.inner.matches(matches)
        yield from islice(found, self.value)
        if next(found, None) is not None:
            raise Refusal("Too many matches.", status=_OUT_OF_RESOURCES)


class AnswerTwice(Fault):
    def matches(self, matches: Iterator[DataSet]) -> Iterator[DataSet]:
        for match in self.inner.matches(matches):
            yield from (match, match)


class IgnoreModalities(Fault):
    def keys(self, keys: dict[str, str]) -> dict[str, str]:
        heeded = self.inner.keys(keys)
        return {key: value for key, value in heeded.items() if key != "ModalitiesInStudy"}


class RefuseLevel(Fault):
    level = ""

    def check_level(self, level: str) -> None:
        if level == self.level:
            raise Refusal(f"The {level} level is not supported.", status=self.value)
        self.inner.check_level(level)


class RefuseImageLevel(RefuseLevel):
    level = "image"


class RefuseSeriesLevel(RefuseLevel):
    level = "series"


class NoCounts(Fault):
    def identifier(self, found: dict[str, Any]) -> DataSet:
        counts = {key for key in found if key.startswith("NumberOf") and "Related" in key}
        return self.inner.identifier({key: found[key] for key in found if key not in counts})


class WrongCharacterSet(Fault):
    """Send UTF-8, and call it otherwise or not at all."""

    def identifier(self, found: dict[str, Any]) -> DataSet:
        true = self.inner.identifier({**found, "SpecificCharacterSet": "ISO_IR 192"})
        elements = [one for one in true.elements if one.tag != _SPECIFIC_CHARACTER_SET]
        if self.value is not None:
            said = self.value.encode("ascii")
            said += b" " * (len(said) % 2)
            elements.append(Element(_SPECIFIC_CHARACTER_SET, "CS", said))
        return DataSet(elements, true.encoding)


# What a C-MOVE or C-GET is answered -------------------------------------------------------


class UnknownDestination(Fault):
    def retrieve(
        self, request: Request, instances: list[Instance], honest: Callable[[], None]
    ) -> None:
        if isinstance(request.message, CMoveRQ):
            request.answer(DESTINATION_UNKNOWN, comment="Unknown move destination.")
        else:
            self.inner.retrieve(request, instances, honest)


class Stall(Fault):
    def __init__(self, inner: Behaviour, value: Any) -> None:
        super().__init__(inner, value)
        self.idle_timeout = math.inf

    def retrieve(
        self, request: Request, instances: list[Instance], honest: Callable[[], None]
    ) -> None:
        while True:  # until the association is over, or the server stops
            request.association.next_message()


class PendingForEver(Fault):
    def __init__(self, inner: Behaviour, value: Any) -> None:
        super().__init__(inner, value)
        self.idle_timeout = math.inf
        self._stopped = threading.Event()

    def retrieve(
        self, request: Request, instances: list[Instance], honest: Callable[[], None]
    ) -> None:
        nothing_done = Count(len(instances))
        while not self._stopped.is_set():
            if request.cancelled():
                request.answer(CANCELLED, nothing_done)
                return
            request.answer(PENDING, nothing_done)
            self._stopped.wait(_PACE)
        raise NetworkError("The PACS is stopping.")

    def stop(self) -> None:
        self._stopped.set()
        self.inner.stop()


class EmptySuccess(Fault):
    def __init__(self, inner: Behaviour, value: Any) -> None:
        super().__init__(inner, value)
        self._under_way = 0
        self._lock = threading.Lock()

    def retrieve(
        self, request: Request, instances: list[Instance], honest: Callable[[], None]
    ) -> None:
        with self._lock:
            self._under_way += 1
            too_many = self._under_way > self.value
        try:
            if too_many:
                request.answer(SUCCESS, Count(0))
            else:
                self.inner.retrieve(request, instances, honest)
        finally:
            with self._lock:
                self._under_way -= 1


class NoSubOperations(Fault):
    def response(self, message: CRetrieveRSP) -> CRetrieveRSP:
        return replace(
            self.inner.response(message),
            number_of_remaining_suboperations=None,
            number_of_completed_suboperations=None,
            number_of_failed_suboperations=None,
            number_of_warning_suboperations=None,
        )


class IgnoreCancel(Fault):
    def cancelled(self, seen: bool) -> bool:
        return False


# Sub-operations ---------------------------------------------------------------------------


class DropObjects(Fault):
    def sending(self, send: Send) -> Send:
        honest = self.inner.sending(send)
        numbers = count(1)

        def some(instance: Instance) -> int:
            return SUCCESS if next(numbers) % self.value == 0 else honest(instance)

        return some


class SendTwice(Fault):
    def sending(self, send: Send) -> Send:
        honest = self.inner.sending(send)

        def twice(instance: Instance) -> int:
            honest(instance)
            return honest(instance)

        return twice


class LateStores(Fault):
    def open(self, route: Route, instances: list[Instance], stack: ExitStack) -> Send:
        promised: list[Instance] = []
        stack.callback(self._send, route, promised)  # the stack is left after the last response

        def promise(instance: Instance) -> int:
            promised.append(instance)
            return SUCCESS

        return promise

    def _send(self, route: Route, promised: list[Instance]) -> None:
        with suppress(PypxError), ExitStack() as stack:
            send = self.inner.open(route, promised, stack)
            for instance in promised:
                send(instance)


class AssociationPerObject(Fault):
    def open(self, route: Route, instances: list[Instance], stack: ExitStack) -> Send:
        def send(instance: Instance) -> int:
            try:
                with ExitStack() as own:
                    return self.inner.open(route, [instance], own)(instance)
            except PypxError as error:
                return error.dimse_status

        return send


class CutObject(Fault):
    def open(self, route: Route, instances: list[Instance], stack: ExitStack) -> Send:
        def cut(instance: Instance) -> int:
            with suppress(PypxError):
                _cut(route, instance)
            return _CANNOT_UNDERSTAND

        return self._at_the_nth(cut, self.inner.open(route, instances, stack))

    def sending_back(self, request: Request, send: Send) -> Send:
        def cut(instance: Instance) -> int:
            context_id = context_for(request.association, instance)
            if context_id is not None:
                _send_half(request.association, context_id, instance)
            request.association.close()
            raise NetworkError("The PACS closes the connection in the middle of an object.")

        return self._at_the_nth(cut, self.inner.sending_back(request, send))

    def _at_the_nth(self, cut: Send, honest: Send) -> Send:
        numbers = count(1)

        def send(instance: Instance) -> int:
            return cut(instance) if next(numbers) == self.value else honest(instance)

        return send


def _cut(route: Route, instance: Instance) -> None:
    client = Client(route.destination, calling_ae_title=route.ae_title)
    connection = client.connect(Store.contexts([instance]))
    context = connection.context_for(instance.sop_class_uid, instance.transfer_syntax_uid)
    if context is not None:
        _send_half(connection, context.context_id, instance)
    connection.cut()


def _send_half(endpoint: StoreEndpoint, context_id: int, instance: Instance) -> None:
    endpoint.send(context_id, CStoreRQ(0xFFFF, instance.sop_class_uid, instance.sop_instance_uid))
    piece, _ = next(instance.pieces())
    half = len(piece) // 2 & ~1  # an odd fragment (PS3.8 Annex E) would be another fault
    endpoint.send_data_set(context_id, piece[:half], is_last=False)
