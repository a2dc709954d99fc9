"""Every event in every state of a real association, against the transcribed Table 9-10."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

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
from tests.ul.driving import (
    ABORT_OCTETS,
    AC,
    AC_OCTETS,
    ACCEPT_OCTETS,
    ACCEPTOR,
    DATA_OCTETS,
    EVERYWHERE,
    RELEASE_RP_OCTETS,
    RELEASE_RQ_OCTETS,
    REQUESTOR,
    RJ,
    RJ_OCTETS,
    RQ_OCTETS,
    USER_ABORT_OCTETS,
    sent_by,
)
from tests.ul.test_states import transcribed
from tests.ul.vectors import ECHO_RQ, octets

NOW, ARTIM = 5.0, 30.0
TABLE = transcribed()


def receive(data: bytes) -> Callable[[Association], list]:
    return lambda association: association.receive_data(data, NOW)


@dataclass(frozen=True)
class Stimulus:
    """One way to make an event; ``reason`` is that of an A-ABORT which it may cause."""

    event: str
    name: str
    make: Callable[[Association], list | None]
    reason: int = 2

    def __str__(self) -> str:
        return f"{self.event} {self.name}"


LOCAL = [
    Stimulus("Evt1", "associate", lambda a: a.associate(ECHO_RQ, NOW)),
    Stimulus("Evt2", "transport connected", lambda a: a.transport_connected(NOW)),
    Stimulus("Evt5", "transport connected", lambda a: a.transport_connected(NOW)),
    Stimulus("Evt7", "accept", lambda a: a.accept(AC, NOW)),
    Stimulus("Evt8", "reject", lambda a: a.reject(RJ, NOW)),
    Stimulus("Evt9", "send P-DATA", lambda a: a.send_p_data([PDV(1, False, True, b"ABCD")])),
    Stimulus("Evt11", "release", lambda a: a.release(NOW)),
    Stimulus("Evt14", "release response", lambda a: a.release_response(NOW)),
    Stimulus("Evt15", "abort", lambda a: a.abort(NOW)),
]
REMOTE = [
    Stimulus("Evt3", "A-ASSOCIATE-AC", receive(AC_OCTETS)),
    Stimulus("Evt4", "A-ASSOCIATE-RJ", receive(RJ_OCTETS)),
    Stimulus("Evt6", "A-ASSOCIATE-RQ", receive(RQ_OCTETS)),
    Stimulus("Evt10", "P-DATA-TF", receive(DATA_OCTETS)),
    Stimulus("Evt12", "A-RELEASE-RQ", receive(RELEASE_RQ_OCTETS)),
    Stimulus("Evt13", "A-RELEASE-RP", receive(RELEASE_RP_OCTETS)),
    Stimulus("Evt16", "A-ABORT", receive(ABORT_OCTETS)),
    Stimulus("Evt19", "unknown type", receive(octets("41 00 00000004 00000000")), reason=1),
    Stimulus("Evt19", "HTTP", receive(b"GET / HTTP/1.1\r\n\r\n"), reason=1),
    Stimulus("Evt19", "P-DATA-TF of 4 GiB", receive(octets("04 00 FFFFFFFF")), reason=6),
    Stimulus("Evt19", "P-DATA-TF without PDV", receive(octets("04 00 00000000")), reason=6),
    Stimulus("Evt19", "request of 4 GiB", receive(octets("01 00 FFFFFFFF")), reason=6),
    Stimulus(
        "Evt19",
        "request with an item beyond it",
        receive(octets("01 00 00000048") + RQ_OCTETS[6:74] + octets("10 00 0001")),
        reason=6,
    ),
    Stimulus("Evt19", "release of 5 bytes", receive(octets("05 00 00000005")), reason=6),
]
TRANSPORT = [Stimulus("Evt17", "closed", lambda a: a.transport_closed(NOW))]
TIMER = [Stimulus("Evt18", "ARTIM", lambda a: a.handle_timeout(ARTIM))]


def name_of(value: object) -> str:
    return value.name if isinstance(value, State) else value.__name__


START, STOP, KEEP = "start", "stop", "keep"


@dataclass(frozen=True)
class Effect:
    """What Tables 9-6 to 9-9 say that an action does."""

    sends: bytes = b""
    tells: tuple[type, ...] = ()
    artim: str = KEEP
    closes: bool = False


def abort_of_provider(reason: int) -> bytes:
    return octets("07 00 00000004 00 00 02") + bytes([reason])


def effect_of(action: str, stimulus: Stimulus) -> Effect:
    told = (ProviderAbortIndication,)
    return {
        "AE-1": Effect(),
        "AE-2": Effect(sends=RQ_OCTETS),
        "AE-3": Effect(tells=(AssociateConfirmation,)),
        "AE-4": Effect(tells=(AssociateRejected,), closes=True),
        "AE-5": Effect(artim=START),
        "AE-6": Effect(tells=(AssociateIndication,), artim=STOP),
        "AE-7": Effect(sends=ACCEPT_OCTETS),
        "AE-8": Effect(sends=RJ_OCTETS, artim=START),
        "DT-1": Effect(sends=DATA_OCTETS),
        "DT-2": Effect(tells=(PDVFragment,)),
        "AR-1": Effect(sends=RELEASE_RQ_OCTETS),
        "AR-2": Effect(tells=(ReleaseIndication,)),
        "AR-3": Effect(tells=(ReleaseConfirmation,), closes=True),
        "AR-4": Effect(sends=RELEASE_RP_OCTETS, artim=START),
        "AR-5": Effect(artim=STOP, closes=True),
        "AR-6": Effect(tells=(PDVFragment,)),
        "AR-7": Effect(sends=DATA_OCTETS),
        "AR-8": Effect(tells=(ReleaseIndication,)),
        "AR-9": Effect(sends=RELEASE_RP_OCTETS),
        "AR-10": Effect(tells=(ReleaseConfirmation,)),
        # A-ABORT of the service-user. No user is there yet in Sta2 to be told, but the
        # driver wants to log why it was sent: more than the table asks for.
        "AA-1": Effect(USER_ABORT_OCTETS, () if stimulus in LOCAL else told, START),
        "AA-2": Effect(artim=STOP, closes=True),
        "AA-3": Effect(tells=(AbortIndication,), closes=True),
        "AA-4": Effect(tells=told, closes=True),
        "AA-5": Effect(artim=STOP, closes=True),
        "AA-6": Effect(),
        "AA-7": Effect(sends=abort_of_provider(stimulus.reason)),
        "AA-8": Effect(abort_of_provider(stimulus.reason), told, START),
    }[action]


@pytest.mark.parametrize("stimulus", LOCAL + REMOTE + TRANSPORT + TIMER, ids=str)
@pytest.mark.parametrize(("bring", "state"), EVERYWHERE, ids=name_of)
def test_cell(bring, state: State, stimulus: Stimulus) -> None:
    association: Association = bring(state)
    if not possible(association, stimulus):
        return
    cell = TABLE.get((stimulus.event, state.name))
    timer = association.next_timeout()
    assert timer == (ARTIM if state in (State.Sta2, State.Sta13) else None)
    if cell is None:
        blank(association, stimulus)
        assert association.state is state
        assert association.next_timeout() == timer
        assert association.data_to_send() == []
        return

    action, next_states = cell
    effect = effect_of(action, stimulus)
    events = stimulus.make(association) or []

    chosen = next_states[1 if action == "AR-8" and association.role is ACCEPTOR else 0]
    assert association.state.name == chosen
    assert sent_by(association) == effect.sends
    assert tuple(map(type, events)) == effect.tells
    assert association.should_close == effect.closes
    restarted = NOW + ARTIM
    assert association.next_timeout() == {START: restarted, STOP: None, KEEP: timer}[effect.artim]
    for event in events:
        check(event, stimulus, action)


def possible(association: Association, stimulus: Stimulus) -> bool:
    """Leave out what the role cannot do: who calls is the requestor, who is called the acceptor."""
    if stimulus.event in ("Evt1", "Evt2"):
        return association.role is REQUESTOR
    if stimulus.event == "Evt5":
        return association.role is ACCEPTOR
    return True


def blank(association: Association, stimulus: Stimulus) -> None:
    if stimulus in LOCAL or stimulus in REMOTE:
        with pytest.raises(LocalProtocolError) as caught:
            stimulus.make(association)
        assert caught.value.message.endswith(".")
    else:
        assert stimulus.make(association) == []


def check(event, stimulus: Stimulus, action: str) -> None:
    match event:
        case AbortIndication(source, reason):
            assert (source, reason) == (2, 6)
        case AssociateIndication(request):
            assert request == ECHO_RQ
        case AssociateConfirmation(accepted):
            assert accepted.called_ae_title == "ANY-SCP"
        case AssociateRejected(rejected):
            assert rejected == RJ
        case PDVFragment(context_id, is_command, is_last, data):
            assert (context_id, is_command, is_last, bytes(data)) == (1, False, True, b"ABCD")
        case ProviderAbortIndication(reason, message, lost):
            assert lost == (action == "AA-4")
            assert reason == (0 if lost else stimulus.reason)
            assert message.endswith(".")


@pytest.mark.parametrize(("bring", "state"), EVERYWHERE, ids=name_of)
def test_provider_abort(bring, state: State) -> None:
    """The layer above finds an error: as Evt19, but nothing where the association is over."""
    association: Association = bring(state)
    error = RemoteProtocolError("The peer sent nonsense.", abort_reason=6)
    if state is State.Sta4:
        with pytest.raises(LocalProtocolError):
            association.provider_abort(error, NOW)
        return
    association.provider_abort(error, NOW)
    match state:
        case State.Sta1 | State.Sta13:
            assert association.state is state
            assert sent_by(association) == b""
        case State.Sta2:
            assert sent_by(association) == USER_ABORT_OCTETS
        case _:
            assert sent_by(association) == abort_of_provider(6)
            assert association.state is State.Sta13
            assert association.next_timeout() == NOW + ARTIM


@pytest.mark.parametrize(("bring", "state"), EVERYWHERE, ids=name_of)
def test_can_abort(bring, state: State) -> None:
    association: Association = bring(state)
    assert association.can_abort == (("Evt15", state.name) in TABLE)
