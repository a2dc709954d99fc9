"""Who is behind an AE title: the user identity that we send (PS3.7 §D.3.3.7).

In: which kind, a user name, and where a secret is. Out: the sub-item of one association request.
Not here: what a peer sends to us, which ``receiver`` looks at.
"""

from __future__ import annotations

from pypx.errors import ConfigError
from pypx.values import frozen

TYPE_CHECKING = False  # as a name of our own, since importing ``typing`` takes 3 ms
if TYPE_CHECKING:
    from pypx.ul.user_information import UserIdentityRQ

__all__ = ["KINDS", "UserIdentity"]

KINDS = ("username", "password", "kerberos", "saml", "jwt")
"""The kinds, in the order of their numbers in PS3.7 Table D.3-14, which begin at 1."""

_LONGEST = 65_000  # bytes; a sub-item has 65,535 at most, and is not alone in its item


@frozen
class UserIdentity:
    """A user identity towards one peer. Its secret is where ``secret`` says, and never here.

    Attributes:
        kind: One of :data:`KINDS`.
        username: The name of the user; empty where a token says who it is.
        secret: Where the password or the token is: ``env:NAME``, ``file:PATH``,
            ``keyring:SERVICE/USER``. It is read again for each association. A file of a Kerberos
            ticket or of a SAML assertion is sent byte by byte; a ticket that comes from
            elsewhere is in base64.
        confirm: Ask for a positive response, and go on only with one.
    """

    kind: str
    username: str = ""
    secret: str = ""
    confirm: bool = False

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            ConfigError: It does not.
        """
        from pypx.secret import is_reference

        hint = 'username = "alice", secret = "file:/etc/pypx/alice", or a type of ' + ", ".join(
            KINDS[2:]
        )
        if self.kind not in KINDS:
            raise ConfigError(
                f"{self.kind!r} is no type of user identity.", hint=f"Take {', '.join(KINDS)}."
            )
        if bool(self.username) is not (self.kind in KINDS[:2]):
            is_missing = "needs" if not self.username else "takes no"
            raise ConfigError(
                f"A user identity of the type {self.kind} {is_missing} username.", hint=hint
            )
        if bool(self.secret) is not (self.kind != "username"):
            is_missing = "needs a" if not self.secret else "takes no"
            raise ConfigError(
                f"A user identity of the type {self.kind} {is_missing} secret.", hint=hint
            )
        if self.secret and not is_reference(self.secret):
            raise ConfigError(
                "A secret does not stand here, only where it is.",
                hint='secret = "file:/etc/pypx/alice", "env:NAME" or "keyring:SERVICE/USER"',
            )

    def request(self) -> UserIdentityRQ:
        """Read the secret, and give the sub-item.

        Raises:
            ConfigError: There is none, or it is no secret of its kind; it is not in the sentence.
        """
        from pypx.secret import resolve
        from pypx.ul.user_information import UserIdentityRQ

        purpose = "The user identity"
        primary, secondary = self.username.encode(), b""
        match self.kind:
            case "password":
                secondary = resolve(self.secret, purpose).encode()
            case "jwt":
                primary = resolve(self.secret, purpose).strip().encode()
            case "kerberos" | "saml":
                primary = self._token(purpose)
        if len(primary) + len(secondary) > _LONGEST:
            raise ConfigError(
                f"{purpose} has {len(primary) + len(secondary)} bytes; at most {_LONGEST} fit into "
                "an association request."
            )
        number = KINDS.index(self.kind) + 1
        return UserIdentityRQ(number, primary, secondary, self.confirm)

    def _token(self, purpose: str) -> bytes:
        from pypx.secret import resolve_bytes

        token = resolve_bytes(self.secret, purpose)
        if self.kind == "kerberos" and not self.secret.startswith("file:"):
            from base64 import b64decode

            try:
                return b64decode(token, validate=True)
            except ValueError:
                raise ConfigError(f"{purpose} needs a Kerberos ticket in base64.") from None
        return token
