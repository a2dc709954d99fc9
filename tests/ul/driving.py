"""Associations brought into each state, by primitives and PDUs only."""

from __future__ import annotations

from collections.abc import Callable

from pypx.ul.association import Association, Role
from pypx.ul.pdu import AAssociateAC, AAssociateRJ, PresentationContextAC
from pypx.ul.states import State
from tests.ul.vectors import ECHO_RQ, ECHO_RQ_OCTETS, IMPLICIT, INFORMATION, VECTORS, octets

AC = AAssociateAC("ANY-SCP", "ECHOSCU", (PresentationContextAC(1, 0, IMPLICIT),), INFORMATION)
RJ = AAssociateRJ(1, 1, 7)

RQ_OCTETS = ECHO_RQ_OCTETS
AC_OCTETS = VECTORS[2].octets
ACCEPT_OCTETS = octets(  # AC above: 68 + 25 + 29 + 41 = 163 = A3H
    *("02 00 000000A3", AC_OCTETS[6:99]),
    *("21 00 0019", "01 00 00 00", "40 00 0011", b"1.2.840.10008.1.2"),
    AC_OCTETS[-41:],
)
RJ_OCTETS = octets("03 00 00000004 00 01 01 07")
DATA_OCTETS = octets("04 00 0000000A 00000006 01 02 41424344")
RELEASE_RQ_OCTETS = octets("05 00 00000004 00000000")
RELEASE_RP_OCTETS = octets("06 00 00000004 00000000")
ABORT_OCTETS = octets("07 00 00000004 00 00 02 06")
USER_ABORT_OCTETS = octets("07 00 00000004 00 00 00 00")

REQUESTOR, ACCEPTOR = Role.REQUESTOR, Role.ACCEPTOR


def requestor(state: State) -> Association:
    """Give a requestor that came to the state at the time 0, with nothing to send."""
    path: dict[State, list[Callable[[Association], object]]] = {State.Sta1: []}
    path[State.Sta4] = [lambda a: a.associate(ECHO_RQ, 0)]
    path[State.Sta5] = [*path[State.Sta4], lambda a: a.transport_connected(0)]
    path[State.Sta6] = [*path[State.Sta5], lambda a: a.receive_data(AC_OCTETS, 0)]
    path[State.Sta7] = [*path[State.Sta6], lambda a: a.release(0)]
    path[State.Sta8] = [*path[State.Sta6], lambda a: a.receive_data(RELEASE_RQ_OCTETS, 0)]
    path[State.Sta9] = [*path[State.Sta7], lambda a: a.receive_data(RELEASE_RQ_OCTETS, 0)]
    path[State.Sta11] = [*path[State.Sta9], lambda a: a.release_response(0)]
    path[State.Sta13] = [*path[State.Sta6], lambda a: a.abort(0)]
    return _walk(Association(REQUESTOR), path[state], state)


def acceptor(state: State) -> Association:
    """Give an acceptor that came to the state at the time 0, with nothing to send."""
    path: dict[State, list[Callable[[Association], object]]] = {State.Sta1: []}
    path[State.Sta2] = [lambda a: a.transport_connected(0)]
    path[State.Sta3] = [*path[State.Sta2], lambda a: a.receive_data(RQ_OCTETS, 0)]
    path[State.Sta6] = [*path[State.Sta3], lambda a: a.accept(AC, 0)]
    path[State.Sta7] = [*path[State.Sta6], lambda a: a.release(0)]
    path[State.Sta8] = [*path[State.Sta6], lambda a: a.receive_data(RELEASE_RQ_OCTETS, 0)]
    path[State.Sta10] = [*path[State.Sta7], lambda a: a.receive_data(RELEASE_RQ_OCTETS, 0)]
    path[State.Sta12] = [*path[State.Sta10], lambda a: a.receive_data(RELEASE_RP_OCTETS, 0)]
    path[State.Sta13] = [*path[State.Sta3], lambda a: a.reject(RJ, 0)]
    return _walk(Association(ACCEPTOR), path[state], state)


def _walk(association: Association, steps: list, state: State) -> Association:
    for step in steps:
        step(association)
    association.data_to_send()
    assert association.state is state
    return association


REQUESTOR_STATES = [State[f"Sta{n}"] for n in (1, 4, 5, 6, 7, 8, 9, 11, 13)]
ACCEPTOR_STATES = [State[f"Sta{n}"] for n in (1, 2, 3, 6, 7, 8, 10, 12, 13)]
EVERYWHERE = [(requestor, state) for state in REQUESTOR_STATES] + [
    (acceptor, state) for state in ACCEPTOR_STATES
]


def sent_by(association: Association) -> bytes:
    return b"".join(map(bytes, association.data_to_send()))
