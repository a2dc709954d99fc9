"""Several observers of one receiver."""

from __future__ import annotations

import pytest

from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived, Totals
from pypx.receiver.observers import Observers

BEGAN = AssociationBegan("1-1", "host", "A", "B")
RECEIVED = InstanceReceived("1-1", 0, 0.1)
ENDED = AssociationSummary("1-1", "host", "A", "B", Totals(), 1.0, None)


class Heard:
    def __init__(self) -> None:
        self.events: list[object] = []
        self.association_began = self.events.append
        self.instance_received = self.events.append
        self.association_ended = self.events.append


class Failing:
    def association_began(self, event: AssociationBegan) -> None:
        raise ValueError("began")

    def instance_received(self, event: InstanceReceived) -> None:
        raise ValueError("received")

    def association_ended(self, event: AssociationSummary) -> None:
        raise ValueError("ended")


def test_one_that_fails_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    first, last = Heard(), Heard()
    observers = Observers(first, Failing())
    observers.add(last)
    observers.association_began(BEGAN)
    observers.instance_received(RECEIVED)
    observers.association_ended(ENDED)
    assert first.events == last.events == [BEGAN, RECEIVED, ENDED]
    assert len(caplog.records) == 3
