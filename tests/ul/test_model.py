"""Two associations back to back, driven by any sequence of primitives (RELIABILITY J2).

The model is small: which data each side has sent, and Table 9-10 for what is possible.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pypx.errors import LocalProtocolError, RemoteProtocolError
from pypx.ul.association import (
    AbortIndication,
    AssociateConfirmation,
    AssociateIndication,
    AssociateRejected,
    Association,
    PDVFragment,
    ProviderAbortIndication,
    ReleaseConfirmation,
    ReleaseIndication,
)
from pypx.ul.pdu import PDV
from pypx.ul.states import State
from tests.ul.driving import AC, ACCEPTOR, REQUESTOR, RJ
from tests.ul.test_states import transcribed
from tests.ul.vectors import ECHO_RQ
from tests.wire import LEFT, RIGHT, FaultyWire, Wire

TABLE = transcribed()
ENDINGS = (AssociateRejected, ReleaseConfirmation, AbortIndication, ProviderAbortIndication)
sides = st.sampled_from([LEFT, RIGHT])
rare = st.integers(0, 7).map(lambda number: number == 7)  # else nothing gets far


class TwoEnds(RuleBasedStateMachine):
    """A requestor, an acceptor and a good wire that delivers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.wire = self.make_wire()
        self.sent = [b"", b""]

    def make_wire(self) -> Wire:
        return Wire(Association(REQUESTOR), Association(ACCEPTOR))

    @initialize(accepted=st.sampled_from([True, True, True, False]))
    def connect(self, accepted: bool) -> None:
        left, right = self.wire.ends
        left.associate(ECHO_RQ, self.wire.now)
        left.transport_connected(self.wire.now)
        right.transport_connected(self.wire.now)
        if accepted:
            self.wire.run()
            right.accept(AC, self.wire.now)

    def attempt(self, side: int, event: str, primitive, *args) -> bool:
        """Call a primitive, which is possible exactly where the table has a cell for it."""
        end: Association = self.wire.ends[side]
        if (event, end.state.name) in TABLE:
            primitive(end, *args)
            return True
        with pytest.raises(LocalProtocolError):
            primitive(end, *args)
        return False

    @rule()
    def accept(self) -> None:
        self.attempt(RIGHT, "Evt7", Association.accept, AC, self.wire.now)

    @rule()
    def reject(self) -> None:
        self.attempt(RIGHT, "Evt8", Association.reject, RJ, self.wire.now)

    @rule(side=sides, size=st.sampled_from([0, 1, 100, 3000]), is_last=st.booleans())
    def send(self, side: int, size: int, is_last: bool) -> None:
        data = bytes([len(self.sent[side]) % 251]) * size
        pdv = PDV(1, False, is_last, data)
        if self.attempt(side, "Evt9", Association.send_p_data, [pdv]):
            self.sent[side] += data

    @rule(side=sides)
    def release(self, side: int) -> None:
        self.attempt(side, "Evt11", Association.release, self.wire.now)

    @rule(side=sides)
    def release_response(self, side: int) -> None:
        self.attempt(side, "Evt14", Association.release_response, self.wire.now)

    @rule(side=sides, kind=st.sampled_from(["abort", "provider", "cut"]), chance=rare)
    def end_it(self, side: int, kind: str, chance: bool) -> None:
        if not chance:
            return
        match kind:
            case "abort":
                self.attempt(side, "Evt15", Association.abort, self.wire.now)
            case "provider":
                error = RemoteProtocolError("nonsense")
                self.wire.ends[side].provider_abort(error, self.wire.now)
            case "cut":
                self.wire.cut()

    @rule(most=st.sampled_from([None, 1, 7, 1000]))
    def deliver(self, most: int | None) -> None:
        self.wire.collect()
        self.wire.deliver(most)

    @rule()
    def run_wire(self) -> None:
        self.wire.run()

    @rule(chance=rare)
    def elapse(self, chance: bool) -> None:
        self.wire.elapse(31.0 if chance else 1.0)

    @invariant()
    def data_arrives_in_order_and_unchanged(self) -> None:
        for side in (LEFT, RIGHT):
            assert self.sent[1 - side].startswith(self.received(side))

    @invariant()
    def each_side_hears_of_one_beginning_and_one_end(self) -> None:
        for side in (LEFT, RIGHT):
            kinds = [type(event) for event in self.wire.events[side]]
            assert kinds.count(AssociateIndication) + kinds.count(AssociateConfirmation) <= 1
            endings = [index for index, kind in enumerate(kinds) if kind in ENDINGS]
            # In a collision the acceptor hears the confirmation, and may lose the peer before
            # it has answered itself: two ends, and nothing but that between them.
            assert len(endings) <= 2
            if len(endings) == 2:
                assert side == RIGHT
                assert kinds[endings[0]] is ReleaseConfirmation
                assert ReleaseIndication in kinds
            if endings:
                assert PDVFragment not in kinds[endings[0] :]

    @invariant()
    def timers_run_in_two_states_only(self) -> None:
        for end in self.wire.ends:
            assert (end.next_timeout() is not None) == (end.state in (State.Sta2, State.Sta13))

    def received(self, side: int) -> bytes:
        fragments = [e for e in self.wire.events[side] if isinstance(e, PDVFragment)]
        return b"".join(fragment.data for fragment in fragments)

    def teardown(self) -> None:
        """End what is left: both sides come to rest, closed."""
        for side in (LEFT, RIGHT):
            end: Association = self.wire.ends[side]
            if end.can_abort:
                end.abort(self.wire.now)
        self.wire.elapse(100.0)
        for side in (LEFT, RIGHT):
            assert self.wire.ends[side].state is State.Sta1
            assert self.wire.ends[side].should_close
            assert not self.wire.open[side]
            assert self.wire.ends[side].next_timeout() is None


class TwoEndsOverASplittingWire(TwoEnds):
    """The same over a wire that splits and delays, which has to change nothing."""

    def make_wire(self) -> Wire:
        ends = (Association(REQUESTOR), Association(ACCEPTOR))
        return FaultyWire(*ends, seed=1, split=0.8, delay=0.3, longest_delay=0.1)


class_settings = settings(stateful_step_count=25, deadline=None)
TestTwoEnds = TwoEnds.TestCase
TestTwoEnds.settings = class_settings
TestTwoEndsOverASplittingWire = TwoEndsOverASplittingWire.TestCase
TestTwoEndsOverASplittingWire.settings = class_settings
