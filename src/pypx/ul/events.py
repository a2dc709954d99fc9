"""What an association tells its user (PS3.8 §7).

In: nothing. Out: types. The indication of P-DATA is
:class:`~pypx.ul.reader.PDVFragment`.
"""

from __future__ import annotations

from pypx.ul.pdu import AAbort, AAssociateAC, AAssociateRJ, AAssociateRQ, Bare
from pypx.ul.reader import PDVFragment
from pypx.values import frozen

__all__ = [
    "AbortIndication",
    "AssociateConfirmation",
    "AssociateIndication",
    "AssociateRejected",
    "ProviderAbortIndication",
    "ReleaseConfirmation",
    "ReleaseIndication",
    "UlEvent",
]


@frozen
class AssociateIndication:
    """The peer requests an association; accept or reject it."""

    request: AAssociateRQ


@frozen
class AssociateConfirmation:
    """The peer accepted our request: the association is established."""

    accepted: AAssociateAC


@frozen
class AssociateRejected:
    """The peer rejected our request."""

    rejected: AAssociateRJ


class ReleaseIndication(Bare):
    """The peer wants to release; answer with ``release_response``."""

    __slots__ = ()


class ReleaseConfirmation(Bare):
    """The peer agreed to our release."""

    __slots__ = ()


class AbortIndication(AAbort):
    """The peer sent A-ABORT, whichever source it names (PS3.8 Table 9-26)."""

    __slots__ = ()


@frozen
class ProviderAbortIndication:
    """Our side found the association broken (A-P-ABORT).

    Attributes:
        reason: The reason of our A-ABORT (PS3.8 Table 9-26); 0 where the connection is lost.
        message: What happened, one sentence.
        lost: The transport connection ended under us; else the peer broke the
            protocol, and our A-ABORT waits to be sent.
    """

    reason: int
    message: str
    lost: bool


UlEvent = (
    AssociateIndication
    | AssociateConfirmation
    | AssociateRejected
    | PDVFragment
    | ReleaseIndication
    | ReleaseConfirmation
    | AbortIndication
    | ProviderAbortIndication
)
