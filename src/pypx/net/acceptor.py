"""What every acceptor of ours does alike: say who we are, and answer C-ECHO.

In: an association request with a policy, or a C-ECHO-RQ. Out: A-ASSOCIATE-AC, or
the response. Which services there are is decided by the provider.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pypx.dicom import uids
from pypx.dimse.assembler import MessageReceived
from pypx.dimse.messages import CEchoRQ, CEchoRSP
from pypx.dimse.status import SUCCESS
from pypx.net.channel import MAXIMUM_LENGTH
from pypx.net.served import ServedAssociation
from pypx.ul.negotiation import Support, answer
from pypx.ul.pdu import AAssociateAC, AAssociateRQ, ContextResult

if TYPE_CHECKING:
    from pypx.ul.user_information import UserIdentityAC

__all__ = ["acceptance", "choose_uncompressed", "serve_echo"]

_UNCOMPRESSED = (uids.EXPLICIT_VR_LITTLE_ENDIAN, uids.IMPLICIT_VR_LITTLE_ENDIAN)


def acceptance(
    request: AAssociateRQ,
    support: Support,
    *,
    maximum_length: int = MAXIMUM_LENGTH,
    roles: Callable[[str], tuple[bool, bool] | None] | None = None,
    user_identity: UserIdentityAC | None = None,
) -> AAssociateAC:
    """Accept a request under our implementation identification (PS3.7 §D.3.3.2)."""
    return answer(
        request,
        support,
        maximum_length=maximum_length,
        implementation_class_uid=uids.IMPLEMENTATION_CLASS_UID,
        implementation_version_name=uids.IMPLEMENTATION_VERSION_NAME,
        roles=roles,
        user_identity=user_identity,
    )


def choose_uncompressed(proposed: tuple[str, ...]) -> str | ContextResult:
    """Choose the transfer syntax of a service without pixel data."""
    for syntax in _UNCOMPRESSED:
        if syntax in proposed:
            return syntax
    return ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED


def serve_echo(association: ServedAssociation, received: MessageReceived) -> None:
    """Answer one C-ECHO (PS3.4 Annex A)."""
    request = received.message
    assert isinstance(request, CEchoRQ)  # the table of services says so
    association.send(received.context_id, CEchoRSP(request.message_id, SUCCESS))
