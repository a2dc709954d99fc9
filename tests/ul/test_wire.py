"""The wires of the tests are themselves tested: they do what they say, again and again."""

from __future__ import annotations

from collections import Counter

import pytest

from pypx.ul.association import Association, PDVFragment, ProviderAbortIndication
from pypx.ul.pdu import PDV
from pypx.ul.states import State
from tests.ul.driving import AC, ACCEPTOR, REQUESTOR
from tests.ul.vectors import ECHO_RQ
from tests.wire import LEFT, RIGHT, FaultyWire, Wire


def transfer(wire: Wire) -> Wire:
    """Associate, send 20 fragments, release; as far as it goes."""
    left, right = wire.ends
    left.associate(ECHO_RQ, wire.now)
    wire.connect()
    if right.state is State.Sta3:
        right.accept(AC, wire.now)
        wire.run()
    if left.state is State.Sta6:
        left.send_p_data(PDV(1, False, n == 19, bytes([n]) * 2000) for n in range(20))
        wire.run()
    if left.state is State.Sta6:
        left.release(wire.now)
        wire.run()
    if right.state is State.Sta8:
        right.release_response(wire.now)
        wire.run()
    return wire.elapse(100.0)


def ends(**options) -> tuple[Association, Association]:
    return Association(REQUESTOR, **options), Association(ACCEPTOR, **options)


def data_of(wire: Wire) -> bytes:
    return b"".join(e.data for e in wire.events[RIGHT] if isinstance(e, PDVFragment))


WHOLE = b"".join(bytes([n]) * 2000 for n in range(20))


def test_a_good_wire() -> None:
    wire = transfer(Wire(*ends()))
    assert data_of(wire) == WHOLE
    assert not any(wire.open)


@pytest.mark.parametrize("seed", range(10))
def test_a_wire_that_splits_and_delays_loses_nothing(seed: int) -> None:
    wire = transfer(FaultyWire(*ends(), seed=seed, split=0.9, delay=0.3))
    assert data_of(wire) == WHOLE
    assert set(wire.faults) <= {"split", "delay"}
    assert len(wire.faults) > 10
    assert [end.state for end in wire.ends] == [State.Sta1, State.Sta1]


@pytest.mark.parametrize("seed", range(40))
def test_a_wire_that_flips_and_cuts_ends_both_sides(seed: int) -> None:
    wire = transfer(FaultyWire(*ends(), seed=seed, flip=0.03, cut=0.01, delay=0.1))
    # A flip in a length field may leave both waiting, as on a real wire: then the
    # driver's own idle timer ends it.
    for side in (LEFT, RIGHT):
        if wire.open[side] and wire.ends[side].can_abort:
            wire.ends[side].abort(wire.now)
    wire.elapse(100.0)
    for side in (LEFT, RIGHT):
        assert wire.ends[side].state is State.Sta1
        assert not wire.open[side]
        told = Counter(map(type, wire.events[side]))
        assert told[ProviderAbortIndication] <= 1


def test_the_same_seed_does_the_same_harm() -> None:
    def run(seed: int) -> tuple:
        wire = transfer(FaultyWire(*ends(), seed=seed, flip=0.05, cut=0.02, delay=0.2))
        return wire.faults, bytes(wire.sent[LEFT]), wire.events, wire.now

    assert run(7) == run(7)
    assert run(7) != run(8)


def test_a_view_that_is_kept_is_found_out() -> None:
    class Keeper(Association):
        def receive_data(self, data, now):
            self.kept = data
            return super().receive_data(data, now)

    wire = Wire(Association(REQUESTOR), Keeper(ACCEPTOR))
    wire.ends[LEFT].associate(ECHO_RQ, 0)
    wire.connect()
    assert set(wire.ends[RIGHT].kept) == {0xDD}
