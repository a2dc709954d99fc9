"""One observer that tells several: lines, totals, metrics and hooks hear of the same events.

In: the events of a receiver. Out: calls of each observer. What they make of them is theirs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived, Observer

__all__ = ["Observers"]

_log = logging.getLogger(__name__)


class Observers:
    """Tell all of several observers; one that fails costs neither the others nor the receiver.

    Args:
        observers: Who hears, in this order.
    """

    def __init__(self, *observers: Observer) -> None:
        self._observers = list(observers)

    def add(self, observer: Observer) -> None:
        """Let another one hear, before the receiver starts."""
        self._observers.append(observer)

    def association_began(self, event: AssociationBegan) -> None:
        """Tell that an association was accepted."""
        for observer in self._observers:
            _tell(observer.association_began, event)

    def instance_received(self, event: InstanceReceived) -> None:
        """Tell of one C-STORE."""
        for observer in self._observers:
            _tell(observer.instance_received, event)

    def association_ended(self, event: AssociationSummary) -> None:
        """Tell that an association is over."""
        for observer in self._observers:
            _tell(observer.association_ended, event)


def _tell(method: Callable[[Any], None], event: object) -> None:
    try:
        method(event)
    except Exception:  # noqa: BLE001
        # What an observer does wrong must not end an association: images come first.
        _log.exception("an event of the receiver could not be told to all")
