from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from pypx.ul.codec import encode_pdu
from pypx.ul.pdu import PDV, AAssociateRJ, UserInformation
from pypx.ul.states import State
from pypx.values import replace
from tests.ul.driving import (
    ABORT_OCTETS,
    AC,
    AC_OCTETS,
    ACCEPTOR,
    DATA_OCTETS,
    EVERYWHERE,
    RELEASE_RP_OCTETS,
    RELEASE_RQ_OCTETS,
    REQUESTOR,
    RJ,
    RQ_OCTETS,
    USER_ABORT_OCTETS,
    acceptor,
    requestor,
    sent_by,
)
from tests.ul.strategies import other_pdus, p_data
from tests.ul.vectors import ECHO_RQ, octets
from tests.wire import LEFT, RIGHT, Wire


def established() -> Wire:
    """Join a requestor (left) and an acceptor (right) in an association."""
    wire = Wire(Association(REQUESTOR), Association(ACCEPTOR))
    wire.ends[LEFT].associate(ECHO_RQ, wire.now)
    wire.connect()
    wire.ends[RIGHT].accept(AC, wire.now)
    wire.run()
    for events in wire.events:
        events.clear()
    return wire


class TestTwoEnds:
    """Whole associations over a wire."""

    def test_establish_transfer_release(self) -> None:
        wire = Wire(Association(REQUESTOR), Association(ACCEPTOR))
        left, right = wire.ends
        left.associate(ECHO_RQ, wire.now)
        wire.connect()
        assert wire.events == ([], [AssociateIndication(ECHO_RQ)])
        right.accept(AC, wire.now)
        wire.run()
        assert wire.events[LEFT] == [AssociateConfirmation(AC)]
        left.send_p_data([PDV(1, True, True, b"ab"), PDV(1, False, True, bytes(5000))])
        wire.run()
        assert wire.events[RIGHT][1:] == [
            PDVFragment(1, True, True, b"ab"),
            PDVFragment(1, False, True, bytes(5000)),
        ]
        left.release(wire.now)
        wire.run()
        assert wire.events[RIGHT][-1] == ReleaseIndication()
        right.release_response(wire.now)
        wire.run()
        assert wire.events[LEFT][-1] == ReleaseConfirmation()
        assert left.state is right.state is State.Sta1
        assert left.should_close
        assert right.should_close
        assert len(wire.events[RIGHT]) == 4

    def test_rejection(self) -> None:
        wire = Wire(Association(REQUESTOR), Association(ACCEPTOR))
        wire.ends[LEFT].associate(ECHO_RQ, wire.now)
        wire.connect()
        wire.ends[RIGHT].reject(RJ, wire.now)
        wire.run()
        assert wire.events == ([AssociateRejected(RJ)], [AssociateIndication(ECHO_RQ)])
        assert [end.state for end in wire.ends] == [State.Sta1, State.Sta1]

    @pytest.mark.parametrize("side", [LEFT, RIGHT])
    def test_abort_by_either_side(self, side: int) -> None:
        wire = established()
        wire.ends[side].abort(wire.now)
        wire.run()
        assert wire.events[1 - side] == [AbortIndication(0, 0)]
        assert [end.state for end in wire.ends] == [State.Sta1, State.Sta1]

    def test_release_collision(self) -> None:
        wire = established()
        left, right = wire.ends
        left.release(wire.now)
        right.release(wire.now)
        wire.run()
        assert wire.events == ([ReleaseIndication()], [ReleaseIndication()])
        assert (left.state, right.state) == (State.Sta9, State.Sta10)
        with pytest.raises(LocalProtocolError):
            right.release_response(wire.now)
        left.release_response(wire.now)
        wire.run()
        assert (left.state, right.state) == (State.Sta11, State.Sta12)
        assert wire.events[RIGHT][-1] == ReleaseConfirmation()
        right.release_response(wire.now)
        wire.run()
        assert wire.events[LEFT][-1] == ReleaseConfirmation()
        assert left.state is right.state is State.Sta1

    def test_release_by_the_acceptor(self) -> None:
        wire = established()
        wire.ends[RIGHT].release(wire.now)
        wire.run()
        wire.ends[LEFT].release_response(wire.now)
        wire.run()
        assert wire.events == ([ReleaseIndication()], [ReleaseConfirmation()])

    def test_data_crosses_our_release_request(self) -> None:
        wire = established()
        left, right = wire.ends
        left.release(wire.now)
        right.send_p_data([PDV(1, False, True, b"late")])
        wire.run()
        assert wire.events[LEFT] == [PDVFragment(1, False, True, b"late")]
        right.send_p_data([PDV(1, False, True, b"later")])
        right.release_response(wire.now)
        wire.run()
        assert wire.events[LEFT][1:] == [
            PDVFragment(1, False, True, b"later"),
            ReleaseConfirmation(),
        ]

    def test_the_connection_is_lost(self) -> None:
        wire = established()
        wire.cut()
        for events in wire.events:
            (event,) = events
            assert event.lost
        assert [end.state for end in wire.ends] == [State.Sta1, State.Sta1]

    def test_a_peer_that_never_closes_is_left_when_artim_ends(self) -> None:
        association = requestor(State.Sta6)
        association.abort(100.0)
        assert association.next_timeout() == 130.0
        assert not association.should_close
        assert association.handle_timeout(129.9) == []
        assert not association.should_close
        association.handle_timeout(130.0)
        assert association.should_close
        assert association.state is State.Sta1


class TestArtim:
    """The timer is absolute: A1, A2."""

    def test_no_byte_extends_it(self) -> None:
        association = Association(ACCEPTOR, artim_timeout=30)
        association.transport_connected(1000.0)
        for second, octet in enumerate(RQ_OCTETS[:29]):
            assert association.receive_data(bytes([octet]), 1001.0 + second) == []
            assert association.next_timeout() == 1030.0
        assert not association.should_close
        assert association.receive_data(RQ_OCTETS[29:], 1030.0) == []
        assert association.should_close
        assert association.data_to_send() == []

    def test_a_request_in_time_stops_it(self) -> None:
        association = acceptor(State.Sta3)
        assert association.next_timeout() is None
        assert association.handle_timeout(1e9) == []
        assert association.state is State.Sta3

    def test_a_pdu_that_is_ignored_does_not_restart_it(self) -> None:
        association = acceptor(State.Sta13)
        association.receive_data(DATA_OCTETS + RELEASE_RQ_OCTETS + RQ_OCTETS, 20.0)
        assert association.next_timeout() == 30.0

    def test_what_waits_at_its_end_is_dropped(self) -> None:
        association = requestor(State.Sta6)
        association.abort(0)
        association.handle_timeout(30.0)
        assert association.data_to_send() == []


class TestTimeOfOnePdu:
    """From its first byte to its last: B16."""

    @staticmethod
    def established(pdu_timeout: float = 60.0) -> Association:
        association = Association(ACCEPTOR, pdu_timeout=pdu_timeout)
        association.transport_connected(0)
        association.receive_data(RQ_OCTETS, 0)
        association.accept(AC, 0)
        association.data_to_send()
        return association

    def test_no_byte_extends_it(self) -> None:
        association = self.established()
        for second, octet in enumerate(DATA_OCTETS[:-1]):
            association.receive_data(bytes([octet]), 100.0 + second)
            assert association.next_timeout() == 160.0
        assert association.handle_timeout(159.9) == []
        (event,) = association.handle_timeout(160.0)
        assert event == ProviderAbortIndication(
            0, "The peer took more than 60 s to send one PDU.", lost=False
        )
        assert sent_by(association) == octets("07 00 00000004 00 00 02 00")
        assert (association.state, association.next_timeout()) == (State.Sta13, 190.0)

    def test_the_last_byte_ends_it(self) -> None:
        association = self.established()
        association.receive_data(DATA_OCTETS[:-1], 100.0)
        association.receive_data(DATA_OCTETS[-1:], 170.0)  # read before anybody looked
        assert association.next_timeout() is None
        assert association.handle_timeout(170.0) == []

    @pytest.mark.parametrize("behind", [1, 6, 9])
    def test_each_pdu_has_its_own(self, behind: int) -> None:
        association = self.established()
        association.receive_data(DATA_OCTETS[:-1], 100.0)
        association.receive_data(DATA_OCTETS[-1:] + DATA_OCTETS[:behind], 130.0)
        assert association.next_timeout() == 190.0

    def test_a_broken_stream_has_none(self) -> None:
        association = self.established()
        association.receive_data(DATA_OCTETS[:9], 100.0)
        association.receive_data(b"\xff" * 20, 101.0)
        assert association.next_timeout() == 131.0  # ARTIM
        association.handle_timeout(131.0)
        assert association.expired
        assert association.next_timeout() is None

    def test_it_can_be_left_out(self) -> None:
        association = self.established(pdu_timeout=0)
        association.receive_data(DATA_OCTETS[:-1], 100.0)
        assert association.next_timeout() is None


# RELIABILITY section 5, what the upper layer has to say of it: where, the bytes, the answer.
REFUSALS = {
    "a request of 4 GiB": (acceptor, State.Sta2, octets("01 00 FFFFFFFF"), (0, 0)),
    "a request whose item runs beyond it": (
        *(acceptor, State.Sta2),
        octets("01 00 00000048") + RQ_OCTETS[6:74] + octets("10 00 0001"),
        (0, 0),
    ),
    "an HTTP request": (acceptor, State.Sta2, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", (0, 0)),
    "a TLS handshake": (acceptor, State.Sta2, octets("16 03 01 0200 01 0001FC 0303"), (0, 0)),
    "SSH": (acceptor, State.Sta2, b"SSH-2.0-OpenSSH_9.2\r\n", (0, 0)),
    "P-DATA first": (acceptor, State.Sta2, DATA_OCTETS, (0, 0)),
    "the header of P-DATA first": (acceptor, State.Sta2, DATA_OCTETS[:6], (0, 0)),
    "P-DATA of 4 GiB first": (acceptor, State.Sta2, octets("04 00 FFFFFFFF"), (0, 0)),
    "P-DATA of 4 GiB": (acceptor, State.Sta6, octets("04 00 FFFFFFFF"), (2, 6)),
    "P-DATA of 2 GiB": (requestor, State.Sta6, octets("04 00 7FFFFFFF"), (2, 6)),
    "P-DATA without PDV": (acceptor, State.Sta6, octets("04 00 00000000"), (2, 6)),
    "PDV of length 0": (acceptor, State.Sta6, octets("04 00 00000006 00000000 0103"), (2, 6)),
    "PDV of length 1": (acceptor, State.Sta6, octets("04 00 00000006 00000001 0103"), (2, 6)),
    "PDV beyond its PDU": (acceptor, State.Sta6, octets("04 00 00000006 00000003 0103"), (2, 6)),
    "PDV of 4 GiB": (acceptor, State.Sta6, octets("04 00 00000008 FFFFFFFF 0103"), (2, 6)),
    "a second request": (acceptor, State.Sta6, RQ_OCTETS, (2, 2)),
    "a second request while the first waits": (acceptor, State.Sta3, RQ_OCTETS, (2, 2)),
    "an acceptance of nothing": (acceptor, State.Sta6, AC_OCTETS, (2, 2)),
    "a release response to nothing": (acceptor, State.Sta6, RELEASE_RP_OCTETS, (2, 2)),
    "an unknown PDU": (acceptor, State.Sta6, octets("41 00 00000004 00000000"), (2, 1)),
    "the header of P-DATA before the answer": (requestor, State.Sta5, DATA_OCTETS[:6], (2, 2)),
    "P-DATA while the request waits": (acceptor, State.Sta3, DATA_OCTETS, (2, 2)),
    "P-DATA behind the release request": (acceptor, State.Sta8, DATA_OCTETS, (2, 2)),
    "a TLS alert as the answer": (requestor, State.Sta5, octets("15 03 03 0002 02 28"), (2, 1)),
    "HTTP as the answer": (requestor, State.Sta5, b"HTTP/1.1 400 Bad Request\r\n", (2, 1)),
}


@pytest.mark.parametrize(
    ("bring", "state", "stream", "abort"), REFUSALS.values(), ids=REFUSALS.keys()
)
@pytest.mark.parametrize("byte_by_byte", [False, True])
def test_refusals(bring, state, stream, abort, byte_by_byte) -> None:
    association: Association = bring(state)
    pieces = [bytes([octet]) for octet in stream] if byte_by_byte else [stream]
    events = [event for piece in pieces for event in association.receive_data(piece, 1.0)]
    (event,) = events
    assert isinstance(event, ProviderAbortIndication)
    assert not event.lost
    assert event.message.endswith(".")
    assert sent_by(association) == octets("07 00 00000004 00 00") + bytes(abort)
    assert association.state is State.Sta13
    assert association.next_timeout() == 31.0
    assert not association.should_close


def test_p_data_behind_the_end_of_the_association_is_skipped() -> None:
    association = acceptor(State.Sta8)
    association.release_response(0)
    association.data_to_send()
    assert association.receive_data(DATA_OCTETS * 3, 1.0) == []
    assert association.data_to_send() == []
    assert association.state is State.Sta13


def test_four_hundred_mebibytes_behind_a_bad_header_are_dropped() -> None:
    association = acceptor(State.Sta2)
    association.receive_data(octets("01 00 FFFFFFFF"), 0)
    zeros = memoryview(bytes(1 << 20))
    for _ in range(400):
        assert association.receive_data(zeros, 1.0) == []
    assert sent_by(association) == USER_ABORT_OCTETS


class TestEnds:
    """Nothing comes behind the end."""

    def test_bytes_behind_an_abort_of_the_peer_are_dropped(self) -> None:
        association = acceptor(State.Sta6)
        events = association.receive_data(ABORT_OCTETS + DATA_OCTETS + RQ_OCTETS, 0)
        assert events == [AbortIndication(2, 6)]
        assert association.receive_data(DATA_OCTETS, 0) == []

    def test_what_came_before_the_error_is_told(self) -> None:
        association = acceptor(State.Sta6)
        first, second = association.receive_data(DATA_OCTETS + octets("41 00 00000000"), 0)
        assert bytes(first.data) == b"ABCD"
        assert second.reason == 1

    def test_what_waits_for_a_peer_that_aborted_is_dropped(self) -> None:
        association = acceptor(State.Sta6)
        association.send_p_data([PDV(1, True, True, b"ab")])
        association.receive_data(ABORT_OCTETS, 0)
        assert association.data_to_send() == []

    def test_what_waits_goes_out_before_our_abort(self) -> None:
        association = acceptor(State.Sta6)
        association.send_p_data([PDV(1, False, True, b"ABCD")])
        association.receive_data(RQ_OCTETS, 0)
        assert sent_by(association) == DATA_OCTETS + octets("07 00 00000004 00000202")

    def test_closing_is_told_once(self) -> None:
        association = acceptor(State.Sta6)
        assert len(association.transport_closed(0)) == 1
        assert association.transport_closed(0) == []
        assert association.data_to_send() == []

    def test_an_association_is_not_used_twice(self) -> None:
        association = requestor(State.Sta5)
        association.transport_closed(0)
        with pytest.raises(LocalProtocolError, match="over"):
            association.associate(ECHO_RQ, 0)
        association = acceptor(State.Sta2)
        association.transport_closed(0)
        with pytest.raises(LocalProtocolError, match="over"):
            association.transport_connected(0)

    def test_a_connection_that_was_not_made(self) -> None:
        association = requestor(State.Sta4)
        (event,) = association.transport_closed(0)
        assert event == ProviderAbortIndication(
            0, "The transport connection could not be made.", lost=True
        )

    @pytest.mark.parametrize(
        ("bring", "state", "words"),
        [
            (requestor, State.Sta5, "instead of answering the association request"),
            (requestor, State.Sta7, "instead of answering the release request"),
            (acceptor, State.Sta6, "association was open"),
        ],
    )
    def test_the_loss_says_what_was_awaited(self, bring, state, words) -> None:
        (event,) = bring(state).transport_closed(0)
        assert words in event.message
        assert "not whole" not in event.message

    def test_the_loss_in_the_middle_of_a_pdu_says_so(self) -> None:
        association = acceptor(State.Sta6)
        association.receive_data(DATA_OCTETS[:-1], 0)
        (event,) = association.transport_closed(0)
        assert "not whole" in event.message

    def test_what_waits_when_the_release_is_confirmed_still_goes_out(self) -> None:
        association = requestor(State.Sta9)
        association.release_response(0)
        association.receive_data(RELEASE_RP_OCTETS, 0)
        assert association.should_close
        assert sent_by(association) == RELEASE_RP_OCTETS

    def test_giving_up_to_connect(self) -> None:
        association = requestor(State.Sta4)
        association.abort(0)
        assert association.should_close
        assert association.data_to_send() == []


class TestSending:
    """P-DATA goes out without a copy."""

    def test_long_data_is_queued_as_it_is(self) -> None:
        association = requestor(State.Sta6)
        view = memoryview(bytearray(10_000))
        association.send_p_data([PDV(1, False, True, view)])
        header, data = association.data_to_send()
        assert header == octets("04 00 00002716 00002712 01 02")
        assert data is view

    def test_short_data_is_joined_with_its_header(self) -> None:
        association = requestor(State.Sta6)
        association.send_p_data([PDV(1, False, True, memoryview(b"ABCD")) for _ in range(2)])
        assert association.data_to_send() == [DATA_OCTETS, DATA_OCTETS]

    def test_what_is_queued_later_goes_out_later(self) -> None:
        association = requestor(State.Sta6)
        association.send_p_data([PDV(1, False, True, b"ABCD")])
        association.send_p_data([PDV(1, False, True, b"EFGH")])
        association.release(0)
        assert sent_by(association) == DATA_OCTETS + DATA_OCTETS[:-4] + b"EFGH" + RELEASE_RQ_OCTETS

    def test_the_queue_is_given_once(self) -> None:
        association = requestor(State.Sta6)
        association.send_p_data([PDV(1, False, True, b"ABCD")])
        assert association.data_to_send()
        assert association.data_to_send() == []

    @pytest.mark.parametrize("maximum", [7, 8, 16384])
    def test_the_maximum_of_the_peer_holds(self, maximum: int) -> None:
        rq = replace(ECHO_RQ, user_information=UserInformation(maximum))
        association = Association(ACCEPTOR)
        association.transport_connected(0)
        association.receive_data(encode_pdu(rq), 0)
        assert association.peer_maximum_length == maximum
        association.accept(AC, 0)
        association.data_to_send()
        association.send_p_data([PDV(1, True, True, bytes(maximum - 6))])
        waiting = association.data_to_send()
        assert int.from_bytes(waiting[0][2:6]) == maximum
        with pytest.raises(LocalProtocolError, match=str(maximum)):
            association.send_p_data(
                [PDV(1, True, True, b""), PDV(1, True, True, bytes(maximum - 5))]
            )
        assert association.data_to_send() == [], "all or none"

    def test_no_maximum_of_the_peer(self) -> None:
        ac = replace(AC, user_information=UserInformation(0))
        association = requestor(State.Sta5)
        association.receive_data(encode_pdu(ac), 0)
        assert association.peer_maximum_length == 0
        association.send_p_data([PDV(1, True, True, bytes(1 << 20))])

    @pytest.mark.parametrize("context_id", [0, 2, 256, 257, -1])
    def test_context_ids_that_are_none(self, context_id: int) -> None:
        association = requestor(State.Sta6)
        with pytest.raises(LocalProtocolError):
            association.send_p_data([PDV(context_id, True, True, b"")])
        assert association.data_to_send() == []

    def test_values_that_do_not_fit_change_nothing(self) -> None:
        association = requestor(State.Sta1)
        with pytest.raises(LocalProtocolError):
            association.associate(replace(ECHO_RQ, called_ae_title="A" * 17), 0)
        assert association.state is State.Sta1
        association = acceptor(State.Sta3)
        with pytest.raises(LocalProtocolError):
            association.accept(replace(AC, protocol_version=-1), 0)
        with pytest.raises(LocalProtocolError):
            association.reject(AAssociateRJ(1, 1, 256), 0)
        assert association.state is State.Sta3
        association = acceptor(State.Sta6)
        with pytest.raises(LocalProtocolError):
            association.abort(0, 0, -1)
        assert association.state is State.Sta6

    def test_abort_with_codes(self) -> None:
        association = acceptor(State.Sta6)
        association.abort(0, 2, 6)
        assert sent_by(association) == ABORT_OCTETS


class TestLimits:
    """What we announce is what the reader holds the peer to."""

    def test_the_acceptance_says_what_is_announced(self) -> None:
        ac = replace(AC, user_information=UserInformation(4 << 20))
        association = acceptor(State.Sta3)
        association.accept(ac, 0)
        assert association.receive_data(octets("04 00 00400000"), 0) == []
        assert association.state is State.Sta6

    def test_the_request_says_what_is_announced(self) -> None:
        rq = replace(ECHO_RQ, user_information=UserInformation(4 << 20))
        association = Association(REQUESTOR)
        association.associate(rq, 0)
        association.transport_connected(0)
        association.receive_data(AC_OCTETS, 0)
        assert association.receive_data(octets("04 00 00400000"), 0) == []
        assert association.state is State.Sta6

    def test_a_little_more_than_announced_is_tolerated_and_counted(self) -> None:
        association = acceptor(State.Sta6)  # announced 16384
        assert association.receive_data(octets("04 00 00004001"), 0) == []
        assert association.oversized_pdus == 1

    def test_odd_fragments_are_counted(self) -> None:
        association = acceptor(State.Sta6)
        association.receive_data(octets("04 00 00000007 00000003 01 03 AA"), 0)
        assert association.odd_fragments == 1

    def test_the_header_alone_decides(self) -> None:
        association = acceptor(State.Sta3)
        assert association.receive_data(DATA_OCTETS[:5], 0) == []
        (event,) = association.receive_data(DATA_OCTETS[5:6], 0)
        assert event.reason == 2

    def test_data_behind_the_acceptance_in_the_same_bytes(self) -> None:
        association = requestor(State.Sta5)
        confirmation, fragment = association.receive_data(AC_OCTETS + DATA_OCTETS, 0)
        assert isinstance(confirmation, AssociateConfirmation)
        assert bytes(fragment.data) == b"ABCD"

    def test_data_behind_the_request_in_the_same_bytes(self) -> None:
        association = acceptor(State.Sta2)
        request, abort = association.receive_data(RQ_OCTETS + DATA_OCTETS, 0)
        assert isinstance(request, AssociateIndication)
        assert abort.reason == 2

    def test_provider_abort_after_the_peer_aborted_in_the_same_bytes(self) -> None:
        association = acceptor(State.Sta6)
        association.receive_data(DATA_OCTETS + ABORT_OCTETS, 0)
        association.provider_abort(RemoteProtocolError("nonsense", abort_reason=6), 0)
        assert association.data_to_send() == []


def settled(events: list) -> list:
    """Make events independent of the pieces that their PDVs came in."""
    result: list = []
    for event in events:
        if isinstance(event, PDVFragment):
            event = replace(event, data=bytes(event.data))
            last = result[-1] if result else None
            if (
                isinstance(last, PDVFragment)
                and not last.is_last
                and (last.context_id, last.is_command) == (event.context_id, event.is_command)
            ):
                result[-1] = replace(event, data=last.data + event.data)
                continue
        result.append(event)
    return result


def outcome(bring, state: State, pieces: list[bytes]) -> tuple:
    association: Association = bring(state)
    events = []
    for piece in pieces:
        events += association.receive_data(memoryview(bytearray(piece)), 1.0)
    return (
        settled(events),
        sent_by(association),
        association.state,
        association.next_timeout(),
        association.should_close,
    )


CONNECTED = [(bring, state) for bring, state in EVERYWHERE if state not in (State.Sta1, State.Sta4)]
_streams = st.lists(
    (p_data | other_pdus).map(encode_pdu)
    | st.sampled_from([AC_OCTETS, RQ_OCTETS, DATA_OCTETS, RELEASE_RQ_OCTETS, RELEASE_RP_OCTETS])
    | st.binary(max_size=12),
    min_size=1,
    max_size=5,
).map(b"".join)


@given(st.sampled_from(CONNECTED), _streams, st.data())
def test_the_split_changes_nothing(where, stream: bytes, data) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6))
    pieces = [stream[a:b] for a, b in pairwise([0, *sorted(cuts), len(stream)])]
    whole = outcome(*where, [stream])
    assert outcome(*where, pieces) == whole
    assert outcome(*where, [bytes([octet]) for octet in stream]) == whole


@given(st.sampled_from(CONNECTED), st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_give_events(where, pieces: list[bytes]) -> None:
    outcome(*where, pieces)
