"""The state machine of the upper layer as its table (PS3.8 §9.2).

In: nothing. Out: the 13 states, 19 events and 28 actions, and Table 9-10. What an
action does to an association belongs to ``association``.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["TABLE", "Action", "Event", "State"]


class State(Enum):
    """The states of PS3.8 Tables 9-1 to 9-5, with what they wait for."""

    Sta1 = "idle"
    Sta2 = "transport connection open, awaiting A-ASSOCIATE-RQ"
    Sta3 = "awaiting the local answer to the association request"
    Sta4 = "awaiting the transport connection"
    Sta5 = "awaiting A-ASSOCIATE-AC or A-ASSOCIATE-RJ"
    Sta6 = "association established"
    Sta7 = "awaiting A-RELEASE-RP"
    Sta8 = "awaiting the local answer to the release request"
    Sta9 = "release collision, requestor, awaiting the local answer"
    Sta10 = "release collision, acceptor, awaiting A-RELEASE-RP"
    Sta11 = "release collision, requestor, awaiting A-RELEASE-RP"
    Sta12 = "release collision, acceptor, awaiting the local answer"
    Sta13 = "awaiting the close of the transport connection"


class Event(Enum):
    """The events of PS3.8 Table 9-10."""

    Evt1 = "A-ASSOCIATE request primitive"
    Evt2 = "transport connection confirmation"
    Evt3 = "A-ASSOCIATE-AC PDU"
    Evt4 = "A-ASSOCIATE-RJ PDU"
    Evt5 = "transport connection indication"
    Evt6 = "A-ASSOCIATE-RQ PDU"
    Evt7 = "A-ASSOCIATE response primitive (accept)"
    Evt8 = "A-ASSOCIATE response primitive (reject)"
    Evt9 = "P-DATA request primitive"
    Evt10 = "P-DATA-TF PDU"
    Evt11 = "A-RELEASE request primitive"
    Evt12 = "A-RELEASE-RQ PDU"
    Evt13 = "A-RELEASE-RP PDU"
    Evt14 = "A-RELEASE response primitive"
    Evt15 = "A-ABORT request primitive"
    Evt16 = "A-ABORT PDU"
    Evt17 = "transport connection closed"
    Evt18 = "ARTIM timer expired"
    Evt19 = "unrecognised or invalid PDU"


class Action(Enum):
    """The actions of PS3.8 Tables 9-6 to 9-9."""

    AE_1 = "issue the transport connect request"
    AE_2 = "send A-ASSOCIATE-RQ"
    AE_3 = "issue the A-ASSOCIATE confirmation (accept)"
    AE_4 = "issue the A-ASSOCIATE confirmation (reject), close"
    AE_5 = "issue the transport connection response, start ARTIM"
    AE_6 = "stop ARTIM, issue the A-ASSOCIATE indication, or reject and start ARTIM"
    AE_7 = "send A-ASSOCIATE-AC"
    AE_8 = "send A-ASSOCIATE-RJ, start ARTIM"
    DT_1 = "send P-DATA-TF"
    DT_2 = "issue the P-DATA indication"
    AR_1 = "send A-RELEASE-RQ"
    AR_2 = "issue the A-RELEASE indication"
    AR_3 = "issue the A-RELEASE confirmation, close"
    AR_4 = "send A-RELEASE-RP, start ARTIM"
    AR_5 = "stop ARTIM"
    AR_6 = "issue the P-DATA indication before the release is confirmed"
    AR_7 = "send P-DATA-TF before the release is answered"
    AR_8 = "issue the A-RELEASE indication (collision)"
    AR_9 = "send A-RELEASE-RP (collision)"
    AR_10 = "issue the A-RELEASE confirmation (collision)"
    AA_1 = "send A-ABORT (service-user), start ARTIM"
    AA_2 = "stop ARTIM, close"
    AA_3 = "issue the indication of the peer's A-ABORT, close"
    AA_4 = "issue the A-P-ABORT indication"
    AA_5 = "stop ARTIM before any request"
    AA_6 = "ignore the PDU"
    AA_7 = "send A-ABORT"
    AA_8 = "send A-ABORT (service-provider), issue the A-P-ABORT indication, start ARTIM"


_S = State
_A = Action

# Tables 9-6 to 9-9: where an action leads. Two states mean a choice: AE-6 takes the first
# for a request that the service-provider finds acceptable, AR-8 the first as requestor.
_NEXT_STATES: dict[Action, tuple[State, ...]] = {
    _A.AE_1: (_S.Sta4,),
    _A.AE_2: (_S.Sta5,),
    _A.AE_3: (_S.Sta6,),
    _A.AE_4: (_S.Sta1,),
    _A.AE_5: (_S.Sta2,),
    _A.AE_6: (_S.Sta3, _S.Sta13),
    _A.AE_7: (_S.Sta6,),
    _A.AE_8: (_S.Sta13,),
    _A.DT_1: (_S.Sta6,),
    _A.DT_2: (_S.Sta6,),
    _A.AR_1: (_S.Sta7,),
    _A.AR_2: (_S.Sta8,),
    _A.AR_3: (_S.Sta1,),
    _A.AR_4: (_S.Sta13,),
    _A.AR_5: (_S.Sta1,),
    _A.AR_6: (_S.Sta7,),
    _A.AR_7: (_S.Sta8,),
    _A.AR_8: (_S.Sta9, _S.Sta10),
    _A.AR_9: (_S.Sta11,),
    _A.AR_10: (_S.Sta12,),
    _A.AA_1: (_S.Sta13,),
    _A.AA_2: (_S.Sta1,),
    _A.AA_3: (_S.Sta1,),
    _A.AA_4: (_S.Sta1,),
    _A.AA_5: (_S.Sta1,),
    _A.AA_6: (_S.Sta13,),
    _A.AA_7: (_S.Sta13,),
    _A.AA_8: (_S.Sta13,),
}

_STATES = tuple(State)
_PDU_STATES = _STATES[2:3] + _STATES[4:12]  # Sta3 and Sta5 to Sta12: an association is at stake

# Table 9-10, a row an event: what happens in Sta2, what in Sta13, what in every state in which
# an association is at stake, and then the cells that differ. A state not named is a blank cell.
_UNEXPECTED = {_S.Sta2: _A.AA_1} | dict.fromkeys(_PDU_STATES, _A.AA_8)
_IGNORED_AT_END = _UNEXPECTED | {_S.Sta13: _A.AA_6}
_ABORTED_AT_END = _UNEXPECTED | {_S.Sta13: _A.AA_7}

_ROWS: dict[Event, dict[State, Action]] = {
    Event.Evt1: {_S.Sta1: _A.AE_1},
    Event.Evt2: {_S.Sta4: _A.AE_2},
    Event.Evt3: _IGNORED_AT_END | {_S.Sta5: _A.AE_3},
    Event.Evt4: _IGNORED_AT_END | {_S.Sta5: _A.AE_4},
    Event.Evt5: {_S.Sta1: _A.AE_5},
    Event.Evt6: _ABORTED_AT_END | {_S.Sta2: _A.AE_6},
    Event.Evt7: {_S.Sta3: _A.AE_7},
    Event.Evt8: {_S.Sta3: _A.AE_8},
    Event.Evt9: {_S.Sta6: _A.DT_1, _S.Sta8: _A.AR_7},
    Event.Evt10: _IGNORED_AT_END | {_S.Sta6: _A.DT_2, _S.Sta7: _A.AR_6},
    Event.Evt11: {_S.Sta6: _A.AR_1},
    Event.Evt12: _IGNORED_AT_END | {_S.Sta6: _A.AR_2, _S.Sta7: _A.AR_8},
    Event.Evt13: _IGNORED_AT_END | {_S.Sta7: _A.AR_3, _S.Sta10: _A.AR_10, _S.Sta11: _A.AR_3},
    Event.Evt14: {_S.Sta8: _A.AR_4, _S.Sta9: _A.AR_9, _S.Sta12: _A.AR_4},
    Event.Evt15: dict.fromkeys(_PDU_STATES, _A.AA_1) | {_S.Sta4: _A.AA_2},
    Event.Evt16: dict.fromkeys(_PDU_STATES, _A.AA_3) | {_S.Sta2: _A.AA_2, _S.Sta13: _A.AA_2},
    Event.Evt17: dict.fromkeys(_STATES[2:12], _A.AA_4) | {_S.Sta2: _A.AA_5, _S.Sta13: _A.AR_5},
    Event.Evt18: {_S.Sta2: _A.AA_2, _S.Sta13: _A.AA_2},
    Event.Evt19: _ABORTED_AT_END,
}

TABLE: dict[tuple[Event, State], tuple[Action, tuple[State, ...]]] = {
    (event, state): (action, _NEXT_STATES[action])
    for event, row in _ROWS.items()
    for state, action in row.items()
}
"""PS3.8 Table 9-10: the action of an event in a state, and the state or states it leads to.

A cell that is blank in the standard is absent.
"""
