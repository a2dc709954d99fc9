"""How the embedded PACS misbehaves, by name: what PACS in the field were seen to do.

In: texts ``NAME`` or ``NAME=VALUE``. Out: one behaviour, in which each fault is wrapped
around the ones before. Nothing here is random: the same requests get the same answers.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from itertools import count, islice
from typing import Any

from pypx.address import DEFAULT_AE_TITLE, check_ae_title
from pypx.client.client import Client
from pypx.client.store import Instance, Store
from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import Element
from pypx.dimse.messages import CMoveRQ, CRetrieveRSP, CStoreRQ
from pypx.dimse.status import CANCELLED, PENDING, SUCCESS
from pypx.errors import ConfigError, NetworkError, PypxError
from pypx.net.served import ServedAssociation
from pypx.pacs.behaviour import Behaviour, Refusal, Send
from pypx.pacs.retrieve import DESTINATION_UNKNOWN, Count, Request, Route
from pypx.ul.pdu import AAssociateRJ, AAssociateRQ
from pypx.values import frozen, replace

__all__ = ["FAULTS", "FaultKind", "misbehaving"]

_SPECIFIC_CHARACTER_SET = 0x00080005
_OUT_OF_RESOURCES = 0xA700
_CANNOT_UNDERSTAND = 0xC000  # the status of the one sub-operation that was cut off
_PACE = 1.0  # seconds between the responses of a PACS that is pending for ever


class _Fault(Behaviour):
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

    def cancelled(self, association: ServedAssociation, message_id: int) -> bool:
        return self.inner.cancelled(association, message_id)

    def retrieve(
        self, request: Request, instances: list[Instance], honest: Callable[[], None]
    ) -> None:
        self.inner.retrieve(request, instances, honest)

    def open(self, route: Route, instances: list[Instance], stack: ExitStack) -> Send:
        return self.inner.open(route, instances, stack)

    def sending(self, send: Send) -> Send:
        return self.inner.sending(send)

    def response(self, message: CRetrieveRSP) -> CRetrieveRSP:
        return self.inner.response(message)

    def stop(self) -> None:
        self.inner.stop()


# Associations -----------------------------------------------------------------------------


class _RejectAeTitle(_Fault):
    def negotiate(self, request: AAssociateRQ) -> AAssociateRJ | None:
        if request.calling_ae_title == self.value:
            return AAssociateRJ(1, 1, 3)  # permanent, by the user, calling AE title not recognised
        return self.inner.negotiate(request)


class _RejectOverLimit(_Fault):
    def __init__(self, inner: Behaviour, value: Any) -> None:
        super().__init__(inner, value)
        self.max_associations = value


# Queries ----------------------------------------------------------------------------------


class _CapSilently(_Fault):
    def matches(self, matches: Iterator[DataSet]) -> Iterator[DataSet]:
        return islice(self.inner.matches(matches), self.value)


class _CapWithStatus(_Fault):
    def matches(self, matches: Iterator[DataSet]) -> Iterator[DataSet]:
        found = self.inner.matches(matches)
        yield from islice(found, self.value)
        if next(found, None) is not None:
            raise Refusal("Too many matches.", status=_OUT_OF_RESOURCES)


class _IgnoreModalities(_Fault):
    def keys(self, keys: dict[str, str]) -> dict[str, str]:
        heeded = self.inner.keys(keys)
        return {key: value for key, value in heeded.items() if key != "ModalitiesInStudy"}


class _RefuseLevel(_Fault):
    level = ""

    def check_level(self, level: str) -> None:
        if level == self.level:
            raise Refusal(f"The {level} level is not supported.", status=self.value)
        self.inner.check_level(level)


class _RefuseImageLevel(_RefuseLevel):
    level = "image"


class _RefuseSeriesLevel(_RefuseLevel):
    level = "series"


class _NoCounts(_Fault):
    def identifier(self, found: dict[str, Any]) -> DataSet:
        counts = {key for key in found if key.startswith("NumberOf") and "Related" in key}
        return self.inner.identifier({key: found[key] for key in found if key not in counts})


class _WrongCharacterSet(_Fault):
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


class _UnknownDestination(_Fault):
    def retrieve(
        self, request: Request, instances: list[Instance], honest: Callable[[], None]
    ) -> None:
        if isinstance(request.message, CMoveRQ):
            request.answer(DESTINATION_UNKNOWN, comment="Unknown move destination.")
        else:
            self.inner.retrieve(request, instances, honest)


class _Stall(_Fault):
    def __init__(self, inner: Behaviour, value: Any) -> None:
        super().__init__(inner, value)
        self.idle_timeout = math.inf

    def retrieve(
        self, request: Request, instances: list[Instance], honest: Callable[[], None]
    ) -> None:
        while True:  # until the association is over, or the server stops
            request.association.next_message()


class _PendingForEver(_Fault):
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


class _EmptySuccess(_Fault):
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


class _NoSubOperations(_Fault):
    def response(self, message: CRetrieveRSP) -> CRetrieveRSP:
        return replace(
            self.inner.response(message),
            number_of_remaining_suboperations=None,
            number_of_completed_suboperations=None,
            number_of_failed_suboperations=None,
            number_of_warning_suboperations=None,
        )


class _IgnoreCancel(_Fault):
    def cancelled(self, association: ServedAssociation, message_id: int) -> bool:
        self.inner.cancelled(association, message_id)  # it raises when the association is over
        return False


# Sub-operations ---------------------------------------------------------------------------


class _DropObjects(_Fault):
    def sending(self, send: Send) -> Send:
        honest = self.inner.sending(send)
        numbers = count(1)

        def some(instance: Instance) -> int:
            return SUCCESS if next(numbers) % self.value == 0 else honest(instance)

        return some


class _SendTwice(_Fault):
    def sending(self, send: Send) -> Send:
        honest = self.inner.sending(send)

        def twice(instance: Instance) -> int:
            honest(instance)
            return honest(instance)

        return twice


class _LateStores(_Fault):
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


class _AssociationPerObject(_Fault):
    def open(self, route: Route, instances: list[Instance], stack: ExitStack) -> Send:
        def send(instance: Instance) -> int:
            try:
                with ExitStack() as own:
                    return self.inner.open(route, [instance], own)(instance)
            except PypxError as error:
                return error.dimse_status

        return send


class _CutObject(_Fault):
    def open(self, route: Route, instances: list[Instance], stack: ExitStack) -> Send:
        honest = self.inner.open(route, instances, stack)
        numbers = count(1)

        def send(instance: Instance) -> int:
            if next(numbers) != self.value:
                return honest(instance)
            with suppress(PypxError):
                _send_half(route, instance)
            return _CANNOT_UNDERSTAND

        return send


def _send_half(route: Route, instance: Instance) -> None:
    client = Client(route.destination, calling_ae_title=route.ae_title)
    connection = client.connect(Store.contexts([instance]))
    context = connection.context_for(instance.sop_class_uid, instance.transfer_syntax_uid)
    if context is not None:
        request = CStoreRQ(1, instance.sop_class_uid, instance.sop_instance_uid)
        connection.send(context.context_id, request)
        piece, _ = next(instance.pieces())
        connection.send_data_set(context.context_id, piece[: len(piece) // 2], is_last=False)
    connection.cut()


# The table --------------------------------------------------------------------------------


@frozen
class FaultKind:
    """One way to misbehave.

    Attributes:
        name: What it is called.
        sentence: What the PACS does, in one sentence.
        make: Wraps it around a behaviour.
        default: The parameter as text where none is given; None where there is none to give.
        read: Gives the parameter from its text, or raises ValueError.
    """

    name: str
    sentence: str
    make: Callable[[Behaviour, Any], Behaviour]
    default: str | None = None
    read: Callable[[str], Any] = str

    @property
    def usage(self) -> str:
        """How it is written: the name, and the default of its parameter if it has one."""
        return self.name if self.default is None else f"{self.name}={self.default}"


def _at_least(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise ValueError(f"a whole number from {least} is needed")
        return int(text)

    return read


def _status(text: str) -> int:
    try:
        return {"A900": 0xA900, "C000": 0xC000}[text.upper()]
    except KeyError:
        raise ValueError("A900 or C000 is needed") from None


def _character_set(text: str) -> str:
    if not text.isascii() or not 0 < len(text) <= 16:
        raise ValueError("a defined term such as ISO_IR 100 is needed")
    return text


FAULTS: tuple[FaultKind, ...] = (
    FaultKind(
        "late-stores",
        "Answers a C-MOVE with success first, and sends the objects afterwards.",
        _LateStores,
    ),
    FaultKind(
        "drop-objects",
        "Leaves out every N-th object of a request, and counts it as completed.",
        _DropObjects,
        "3",
        _at_least(1),
    ),
    FaultKind("send-twice", "Sends each object twice, and counts it once.", _SendTwice),
    FaultKind(
        "association-per-object",
        "Makes an association of its own for each object of a C-MOVE.",
        _AssociationPerObject,
    ),
    FaultKind(
        "cut-object",
        "Closes the connection in the middle of the N-th object of a C-MOVE.",
        _CutObject,
        "2",
        _at_least(1),
    ),
    FaultKind(
        "empty-success",
        "Answers success without sub-operations while more than N requests are under way.",
        _EmptySuccess,
        "1",
        _at_least(0),
    ),
    FaultKind(
        "no-suboperation-counts",
        "Leaves the numbers of sub-operations out of its responses.",
        _NoSubOperations,
    ),
    FaultKind("stall", "Accepts a C-MOVE or C-GET and says nothing more, for ever.", _Stall),
    FaultKind(
        "pending-for-ever",
        "Answers a C-MOVE or C-GET with pending every second, and sends nothing.",
        _PendingForEver,
    ),
    FaultKind("ignore-cancel", "Goes on after a C-CANCEL.", _IgnoreCancel),
    FaultKind(
        "unknown-destination",
        "Answers each C-MOVE with A801: move destination unknown.",
        _UnknownDestination,
    ),
    FaultKind(
        "cap-silently",
        "Ends a query with success after N matches, though there are more.",
        _CapSilently,
        "10",
        _at_least(1),
    ),
    FaultKind(
        "cap-with-a700",
        "Ends a query with A700, out of resources, where there are more than N matches.",
        _CapWithStatus,
        "10",
        _at_least(1),
    ),
    FaultKind(
        "ignore-modalities",
        "Ignores the key ModalitiesInStudy, so that all studies match.",
        _IgnoreModalities,
    ),
    FaultKind(
        "refuse-image-level",
        "Refuses queries and retrievals at the IMAGE level with this status.",
        _RefuseImageLevel,
        "A900",
        _status,
    ),
    FaultKind(
        "refuse-series-level",
        "Refuses queries and retrievals at the SERIES level with this status.",
        _RefuseSeriesLevel,
        "A900",
        _status,
    ),
    FaultKind(
        "no-counts",
        "Leaves the keys NumberOf…Related… out of its matches.",
        _NoCounts,
    ),
    FaultKind(
        "wrong-character-set",
        "Sends text of matches in UTF-8, and calls it by this Specific Character Set.",
        _WrongCharacterSet,
        "ISO_IR 100",
        _character_set,
    ),
    FaultKind(
        "no-character-set",
        "Sends text of matches in UTF-8 without a Specific Character Set.",
        _WrongCharacterSet,
    ),
    FaultKind(
        "reject-aet",
        "Rejects associations of this calling AE title as not recognised.",
        _RejectAeTitle,
        DEFAULT_AE_TITLE,
        check_ae_title,
    ),
    FaultKind(
        "reject-over-limit",
        "Rejects associations beyond N at once as a transient limit exceeded.",
        _RejectOverLimit,
        "1",
        _at_least(0),
    ),
)


def misbehaving(faults: Iterable[str]) -> Behaviour:
    """Give the behaviour that has these faults; the honest one where there are none.

    The order counts: ``send-twice`` and then ``drop-objects`` leaves out some and sends the
    others twice, and the other way around every second sending may be what is left out.

    Args:
        faults: Each ``NAME`` or ``NAME=VALUE``.

    Raises:
        ConfigError: There is no such fault, or its value is wrong.
    """
    behaviour = Behaviour()
    for text in faults:
        name, given, value = text.partition("=")
        kind = _kind(name)
        if given and kind.default is None:
            raise ConfigError(f"The fault {name} takes no value.", hint=f"Write {name} alone.")
        behaviour = kind.make(behaviour, _value(kind, value if given else kind.default))
    return behaviour


def _kind(name: str) -> FaultKind:
    for kind in FAULTS:
        if kind.name == name:
            return kind
    from difflib import get_close_matches  # only a wrong name needs it

    near = get_close_matches(name, [kind.name for kind in FAULTS], n=1)
    raise ConfigError(
        f"There is no fault {name!r}.",
        hint=f"Did you mean {near[0]}?" if near else "px demo --list-faults lists them.",
    )


def _value(kind: FaultKind, text: str | None) -> Any:
    if text is None:
        return None
    try:
        return kind.read(text)
    except ValueError as error:
        raise ConfigError(
            f"The fault {kind.name} cannot take {text!r}: {error}.",
            hint=f"For example {kind.usage}.",
        ) from None
