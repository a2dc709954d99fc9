"""One connection that was accepted: what serves it, from its first byte to its last.

In: a connected socket and a provider. Out: the association served, and word to the provider when
it is over. Where the connection comes from is not asked here: ``server`` has a port, ``single``
gets one connection from whoever has one.
"""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

from pypx.dimse.session import Session
from pypx.errors import ConnectionLostError, PypxError, TlsError
from pypx.net.channel import Channel
from pypx.net.limits import AcceptorLimits
from pypx.net.seats import Seats
from pypx.net.served import Caller, Provider, Refusal, ServedAssociation
from pypx.ul.association import Association, Role
from pypx.ul.pdu import AAssociateAC, AAssociateRJ, AAssociateRQ
from pypx.ul.reader import Limits

if TYPE_CHECKING:
    from ssl import SSLContext

    from pypx.net.tls_settings import ServerTls

__all__ = ["about", "accepted", "context_of", "plain_host", "serve"]

_log = logging.getLogger(__name__)
_MAPPED = "::ffff:"


def context_of(tls: ServerTls | None) -> SSLContext | None:
    """Give what makes connections secure, if they are to be.

    Raises:
        ConfigError: A certificate cannot be used.
    """
    if tls is None:
        return None
    from pypx.net.tls import server_context  # heavy, and most listeners have none

    return server_context(tls)


def accepted(
    sock: socket.socket, host: str, limits: AcceptorLimits, context: SSLContext | None
) -> ServedAssociation:
    """Give the association of a connection, which nobody has read from yet.

    Args:
        sock: The connection; the association owns it from now on.
        host: The peer's address.
        limits: What the peer may ask.
        context: What makes it secure; the thread that serves it shakes hands.
    """
    association = Association(
        Role.ACCEPTOR,
        artim_timeout=limits.artim_timeout,
        pdu_timeout=limits.pdu_timeout,
        limits=Limits(limits.max_request, limits.max_pdu, limits.max_user_information),
    )
    session = Session(association, command_limit=limits.max_command)
    secure = None
    if context is not None:
        from pypx.net.tls import TlsSocket

        secure = TlsSocket(sock, context, peer=host, server_side=True)
    channel = Channel(secure or sock, session, send_timeout=limits.send_timeout)
    return ServedAssociation(channel, host, limits, secure)


def serve(served: ServedAssociation, provider: Provider, seats: Seats) -> None:
    """Serve an association until it is over, and tell the provider; never raises."""
    seated = False

    def negotiate(request: AAssociateRQ, caller: Caller) -> AAssociateAC | AAssociateRJ | Refusal:
        nonlocal seated
        served.refusal = seats.take(caller.host)
        if served.refusal:
            # PS3.8 Table 9-21: transient, by the presentation layer, local limit exceeded.
            return AAssociateRJ(2, 3, 2)
        seated = True
        answer = provider.negotiate(request, caller)
        if isinstance(answer, AAssociateRJ | Refusal):
            leave()  # it waits for its end, which takes no seat
        return answer

    def leave() -> None:
        """Give the seat up, before the peer knows that it may come again."""
        nonlocal seated
        if seated:
            seated = False
            seats.leave(served.host)

    try:
        served.run(provider, negotiate, leave)
    except Exception as error:  # noqa: BLE001
        # A receiver never dies of one association: whatever went wrong in this
        # one is a defect of ours, told with its traceback, and the others go on.
        extra = about(served.host, error)
        _log.exception("an association from %s ended by a defect of pypx", served.host, extra=extra)
        served.abort()
    finally:
        served.close()
        leave()
        if served.request is not None:
            provider.ended(served)
        elif served.failure is not None:
            _tell_stranger(served, served.failure)
            if isinstance(served.failure, TlsError):  # which is more than a look
                provider.ended(served)


def _tell_stranger(served: ServedAssociation, failure: PypxError) -> None:
    """Log a connection that came to no request."""
    # Load balancers and monitors look whether the port is open, and say nothing.
    looked = served.is_silent and isinstance(failure, ConnectionLostError)
    level = logging.DEBUG if looked else logging.WARNING
    extra = about(served.host, failure)
    _log.log(level, "a connection from %s: %s", served.host, failure.message, extra=extra)


def about(host: str, error: Exception) -> dict[str, str]:
    """Say of whom and of what kind a line is, for who limits their number."""
    return {"host": host, "kind": type(error).__name__}


def plain_host(host: str) -> str:
    """Give an address as rules name it: IPv4 also where it came over a socket for IPv6."""
    plain = host.removeprefix(_MAPPED)
    return plain if "." in plain else host
