"""Values of every PDU for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from pypx.ul.pdu import (
    PDV,
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AReleaseRP,
    AReleaseRQ,
    PDataTF,
    PresentationContextAC,
    PresentationContextRQ,
    UserInformation,
)
from pypx.ul.user_information import (
    AsynchronousOperationsWindow,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
    UserIdentityRQ,
)

_u8 = st.integers(0, 0xFF)
_u16 = st.integers(0, 0xFFFF)
_u32 = st.integers(0, 0xFFFFFFFF)
_characters = st.characters(max_codepoint=0xFF)
# Padding is no part of a value: at the end of a UID, at both ends of an AE title.
_texts = st.text(_characters, max_size=70).map(lambda text: text.rstrip("\0 "))
_uids = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,5}){1,6}", fullmatch=True) | _texts
_ae_titles = st.text(_characters, max_size=16).map(lambda text: text.strip("\0 "))
_binaries = st.binary(max_size=40)


def tuples_of(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(values, max_size=3).map(tuple)


_identities = st.builds(UserIdentityRQ, _u8, _binaries, _binaries, st.booleans()) | st.builds(
    UserIdentityAC, _binaries
)
_information = st.builds(
    UserInformation,
    _u32,
    _uids,
    _texts,
    st.none() | st.builds(AsynchronousOperationsWindow, _u16, _u16),
    tuples_of(st.builds(RoleSelection, _uids, st.booleans(), st.booleans())),
    tuples_of(st.builds(SOPClassExtendedNegotiation, _uids, _binaries)),
    tuples_of(st.builds(SOPClassCommonExtendedNegotiation, _uids, _uids, tuples_of(_uids))),
    st.none() | _identities,
)
_contexts_rq = st.builds(PresentationContextRQ, _u8, _uids, tuples_of(_uids))
_contexts_ac = st.builds(PresentationContextAC, _u8, _u8, _uids)


def _associates(kind: type, contexts: st.SearchStrategy) -> st.SearchStrategy:
    return st.builds(kind, _ae_titles, _ae_titles, tuples_of(contexts), _information, _uids, _u16)


pdvs = st.builds(PDV, _u8, st.booleans(), st.booleans(), _binaries)
p_data = st.builds(PDataTF, st.lists(pdvs, min_size=1, max_size=4).map(tuple))
associate_rq = _associates(AAssociateRQ, _contexts_rq)
other_pdus = (
    associate_rq
    | _associates(AAssociateAC, _contexts_ac)
    | st.builds(AAssociateRJ, _u8, _u8, _u8)
    | st.builds(AReleaseRQ)
    | st.builds(AReleaseRP)
    | st.builds(AAbort, _u8, _u8)
)
pdus = other_pdus | p_data
