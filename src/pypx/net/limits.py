"""What a peer may ask of an acceptor: how many, how much, how long.

In: nothing. Out: values, named as in ``[listen]`` of the configuration. What happens when a
peer goes beyond one stands where it is noticed: ``ul`` and ``dimse`` for the protocol, ``server``
and ``served`` for the rest.
"""

from __future__ import annotations

from pypx.values import frozen

__all__ = ["DEFAULT_LIMITS", "AcceptorLimits"]


@frozen
class AcceptorLimits:
    """The limits of one acceptor; where it says so, 0 is no limit.

    Attributes:
        max_associations: At once. More are rejected: transient, local limit exceeded.
        max_associations_per_host: At once from one address (of IPv6: one /64 network), likewise;
            0 for no limit.
        max_waiting: Connections that have not asked for an association yet. With one more,
            that which has waited longest is closed, so that who does ask is served.
        max_pdu: Bytes of a P-DATA-TF. It is what we announce; a longer one is refused at
            its header: A-ABORT by the provider, invalid parameter.
        max_request: Bytes of an A-ASSOCIATE-RQ; a longer one is refused at its header: A-ABORT.
        max_user_information: Bytes of the user information in it; with more: A-ABORT.
        max_contexts: Presentation contexts in it; with more it is rejected: permanent, local
            limit exceeded. More than 128 cannot be told apart and are a protocol error.
        max_command: Bytes of a command set; with more: A-ABORT by DIMSE, which has no reasons.
        max_elements: Data elements that are looked at in an object; one with more is refused
            with C000H and kept in quarantine; 0 for no limit.
        max_depth: Sequences inside each other, likewise.
        max_objects: Over one association; then it is aborted; 0 for no limit.
        max_bytes: Over one association, likewise.
        artim_timeout: Seconds from the connection to the whole association request.
        pdu_timeout: Seconds from the first byte of a PDU to its last, then A-ABORT; 0 for no
            limit.
        idle_timeout: Seconds of silence that end an association.
        send_timeout: Seconds that a peer has to take what we send.
        association_timeout: Seconds that an association may last in all; 0 for no limit.
    """

    max_associations: int = 200
    max_associations_per_host: int = 100
    max_waiting: int = 256
    max_pdu: int = 1 << 20
    max_request: int = 1 << 20
    max_user_information: int = 1 << 16
    max_contexts: int = 128
    max_command: int = 1 << 16
    max_elements: int = 10_000_000
    max_depth: int = 64
    max_objects: int = 1_000_000
    max_bytes: int = 1 << 40
    artim_timeout: float = 30.0
    pdu_timeout: float = 120.0
    idle_timeout: float = 300.0
    send_timeout: float = 30.0
    association_timeout: float = 86_400.0


DEFAULT_LIMITS = AcceptorLimits()
