"""The user identities that peers send to our listener (PS3.7 §D.3.3.7): are they true?

In: the sub-item of an association request, and where it comes from. Out: the name of a user whose
password is right, or why there is none. Not here: who has to be a user, which ``allow`` says.

A password is slow to look at, on purpose: only a few are at once, one of each host, and a wrong one
keeps its host waiting. Who finds no turn soon is rejected for now. All of that happens in the
thread of the association.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeGuard

from pypx.errors import ConfigError, UserIdentityError
from pypx.net.seats import neighbourhood
from pypx.net.served import Refusal
from pypx.receiver.users import Users
from pypx.ul.pdu import AAssociateRJ
from pypx.ul.user_information import UserIdentityAC, UserIdentityRQ, UserIdentityType

__all__ = ["NOT_AUTHORIZED", "Identities", "claimed", "is_password", "unproven"]

# PS3.7 §D.3.3.7.3: permanent, by the ACSE related function; PS3.8 Table 9-21: no reason given.
NOT_AUTHORIZED = AAssociateRJ(1, 2, 1)
_CONGESTED = AAssociateRJ(2, 3, 1)  # PS3.8 Table 9-21: transient, temporary congestion

_AT_ONCE = 2  # each takes 64 MiB and some 0.1 s
_MOST_WAITING = 16  # of one host
_PATIENCE = 10.0  # seconds that a peer waits for its turn
_PENALTY = 0.5  # seconds that a host waits after a wrong password

_NAMES = {
    UserIdentityType.USERNAME: "a user name without a password",
    UserIdentityType.KERBEROS: "a Kerberos ticket",
    UserIdentityType.SAML: "a SAML assertion",
    UserIdentityType.JWT: "a JSON Web Token",
}


def claimed(identity: UserIdentityRQ | UserIdentityAC | None) -> str:
    """Give the user name that an identity says, true or not; empty where it says none."""
    if not isinstance(identity, UserIdentityRQ):
        return ""
    named = (UserIdentityType.USERNAME, UserIdentityType.USERNAME_AND_PASSCODE)
    if identity.identity_type not in named:
        return ""
    name = identity.primary_field.decode(errors="replace")
    return name if len(name) <= 64 else f"{name[:64]}…"


def is_password(
    identity: UserIdentityRQ | UserIdentityAC | None,
) -> TypeGuard[UserIdentityRQ]:
    """Whether an identity is a user name with a password."""
    return (
        isinstance(identity, UserIdentityRQ)
        and identity.identity_type == UserIdentityType.USERNAME_AND_PASSCODE
    )


def unproven(identity: UserIdentityRQ | UserIdentityAC | None) -> str:
    """Say why nobody is a user by this identity."""
    if not isinstance(identity, UserIdentityRQ):
        return "it sent no user identity"
    sent = _NAMES.get(UserIdentityType(identity.identity_type)) if _known(identity) else None
    return f"it sent {sent or 'a user identity of an unknown type'}, which we cannot verify"


def _known(identity: UserIdentityRQ) -> bool:
    return identity.identity_type in set(UserIdentityType)


class Identities:
    """Who looks at passwords; any thread may ask.

    Args:
        users: Whose passwords.
        patience: Seconds that a peer waits for its turn.
    """

    def __init__(self, users: Users, *, patience: float = _PATIENCE) -> None:
        self._users = users
        self._patience = patience
        self._changed = threading.Condition()
        self._running = 0
        self._busy: set[str] = set()
        self._waiting: Counter[str] = Counter()

    def verify(
        self, identity: UserIdentityRQ | UserIdentityAC | None, host: str
    ) -> str | Refusal | None:
        """Look at an identity.

        Args:
            identity: What a peer sent.
            host: Where it comes from.

        Returns:
            The user whose password it has; None where it has no password, which proves nothing;
            a refusal where the password is wrong or there is no time to look.
        """
        if not is_password(identity):
            return None
        who = neighbourhood(host)
        if not self._take_turn(who):
            return Refusal(_CONGESTED, "too many passwords wait to be looked at")
        with self._turn(who):
            name, is_right, problem = claimed(identity), False, ""
            try:
                is_right = self._users.verify(name, identity.secondary_field)
            except ConfigError as error:
                problem = error.message
            finally:
                self._end_run()  # others go on; only this host waits
            if not is_right:
                time.sleep(_PENALTY)
        if is_right:
            return name
        reason = problem or f"the user name or the password of {name!r} is wrong"
        return Refusal(NOT_AUTHORIZED, reason, UserIdentityError)

    def _take_turn(self, who: str) -> bool:
        with self._changed:
            if self._waiting[who] >= _MOST_WAITING:
                return False
            self._waiting[who] += 1
            found = self._changed.wait_for(
                lambda: self._running < _AT_ONCE and who not in self._busy, self._patience
            )
            self._waiting[who] -= 1
            if not self._waiting[who]:
                del self._waiting[who]
            if found:
                self._running += 1
                self._busy.add(who)
            return found

    def _end_run(self) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    @contextmanager
    def _turn(self, who: str) -> Iterator[None]:
        try:
            yield
        finally:
            with self._changed:
                self._busy.discard(who)
                self._changed.notify_all()
