"""How the embedded PACS misbehaves, by name.

In: texts ``NAME`` or ``NAME=VALUE``. Out: one behaviour, in which each fault is wrapped
around the ones before. What each does is in ``misbehaviour.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pypx.address import DEFAULT_AE_TITLE, check_ae_title
from pypx.errors import ConfigError
from pypx.pacs.behaviour import Behaviour
from pypx.pacs.misbehaviour import (
    AnswerTwice,
    AssociationPerObject,
    CapSilently,
    CapWithStatus,
    CutObject,
    DropObjects,
    EmptySuccess,
    IgnoreCancel,
    IgnoreModalities,
    LateStores,
    NoCounts,
    NoSubOperations,
    PendingForEver,
    RefuseImageLevel,
    RefuseSeriesLevel,
    RejectAeTitle,
    RejectOverLimit,
    SendTwice,
    Stall,
    UnknownDestination,
    WrongCharacterSet,
)
from pypx.values import frozen

__all__ = ["FAULTS", "FaultKind", "misbehaving"]


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
        LateStores,
    ),
    FaultKind(
        "drop-objects",
        "Leaves out every N-th object of a request, and counts it as completed.",
        DropObjects,
        "3",
        _at_least(1),
    ),
    FaultKind("send-twice", "Sends each object twice, and counts it once.", SendTwice),
    FaultKind(
        "association-per-object",
        "Makes an association of its own for each object of a C-MOVE.",
        AssociationPerObject,
    ),
    FaultKind(
        "cut-object",
        "Closes the connection in the middle of the N-th object of a C-MOVE or C-GET.",
        CutObject,
        "2",
        _at_least(1),
    ),
    FaultKind(
        "empty-success",
        "Answers success without sub-operations while more than N requests are under way.",
        EmptySuccess,
        "1",
        _at_least(0),
    ),
    FaultKind(
        "no-suboperation-counts",
        "Leaves the numbers of sub-operations out of its responses.",
        NoSubOperations,
    ),
    FaultKind("stall", "Accepts a C-MOVE or C-GET and says nothing more, for ever.", Stall),
    FaultKind(
        "pending-for-ever",
        "Answers a C-MOVE or C-GET with pending every second, and sends nothing.",
        PendingForEver,
    ),
    FaultKind("ignore-cancel", "Goes on after a C-CANCEL.", IgnoreCancel),
    FaultKind(
        "unknown-destination",
        "Answers each C-MOVE with A801: move destination unknown.",
        UnknownDestination,
    ),
    FaultKind(
        "cap-silently",
        "Ends a query with success after N matches, though there are more.",
        CapSilently,
        "10",
        _at_least(1),
    ),
    FaultKind(
        "cap-with-a700",
        "Ends a query with A700, out of resources, where there are more than N matches.",
        CapWithStatus,
        "10",
        _at_least(1),
    ),
    FaultKind("answer-twice", "Gives each match of a query twice.", AnswerTwice),
    FaultKind(
        "ignore-modalities",
        "Ignores the key ModalitiesInStudy, so that all studies match.",
        IgnoreModalities,
    ),
    FaultKind(
        "refuse-image-level",
        "Refuses queries and retrievals at the IMAGE level with this status.",
        RefuseImageLevel,
        "A900",
        _status,
    ),
    FaultKind(
        "refuse-series-level",
        "Refuses queries and retrievals at the SERIES level with this status.",
        RefuseSeriesLevel,
        "A900",
        _status,
    ),
    FaultKind(
        "no-counts",
        "Leaves the keys NumberOf…Related… out of its matches.",
        NoCounts,
    ),
    FaultKind(
        "wrong-character-set",
        "Sends text of matches in UTF-8, and calls it by this Specific Character Set.",
        WrongCharacterSet,
        "ISO_IR 100",
        _character_set,
    ),
    FaultKind(
        "no-character-set",
        "Sends text of matches in UTF-8 without a Specific Character Set.",
        WrongCharacterSet,
    ),
    FaultKind(
        "reject-aet",
        "Rejects associations of this calling AE title as not recognised.",
        RejectAeTitle,
        DEFAULT_AE_TITLE,
        check_ae_title,
    ),
    FaultKind(
        "reject-over-limit",
        "Rejects associations beyond N at once as a transient limit exceeded.",
        RejectOverLimit,
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
