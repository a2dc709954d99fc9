"""Which engine does the talking: our own, or DCMTK's programs. Chosen here, and nowhere else.

In: a name. Out: what asks a PACS. What an engine does is in ``pypx.client`` and ``pypx.dcmtk``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pypx.errors import ConfigError
from pypx.values import frozen

if TYPE_CHECKING:
    from pypx.address import Address
    from pypx.client.query import Model
    from pypx.client.requestor import Requestor
    from pypx.dcmtk.client import DcmtkClient
    from pypx.dcmtk.programs import Programs
    from pypx.net.connection import Timeouts
    from pypx.net.identity import UserIdentity
    from pypx.net.tls_settings import ClientTls

__all__ = ["DCMTK", "ENGINES", "NATIVE", "Engine", "check_engine"]

NATIVE, DCMTK = "native", "dcmtk"
ENGINES = (NATIVE, DCMTK)


def check_engine(name: str) -> str:
    """Give the name of an engine, or refuse it.

    Raises:
        ConfigError: There is no such engine.
    """
    if name not in ENGINES:
        raise ConfigError(f"{name!r} is no engine.", hint=f"Take {' or '.join(ENGINES)}.")
    return name


@frozen
class Engine:
    """An engine, and what it needs to know.

    Attributes:
        name: ``native`` or ``dcmtk``.
        programs: Program of DCMTK to its path, where it is not to be looked for.
    """

    name: str = NATIVE
    programs: Mapping[str, str] = {}

    @property
    def is_native(self) -> bool:
        """Whether it is our own."""
        return self.name == NATIVE

    def installed(self) -> Programs:
        """Give DCMTK's programs, as they are looked for."""
        from pypx.dcmtk.programs import Programs

        return Programs(self.programs)

    def client(
        self,
        address: Address,
        *,
        calling_ae_title: str,
        timeouts: Timeouts,
        model: Model | str = "study",
        first_message_id: int = 1,
        tls: ClientTls | None = None,
        character_set: str | None = None,
        identity: UserIdentity | None = None,
    ) -> Requestor:
        """Make a client of this engine; what the arguments are is said at :class:`pypx.Client`.

        Args:
            address: Where the peer is.
            calling_ae_title: What we call ourselves.
            timeouts: How long each phase may take.
            model: The query/retrieve model where an operation does not name one.
            first_message_id: Of our own engine; each of DCMTK's programs begins at 1.
            tls: How the peer speaks TLS.
            character_set: In which the text of its matches is.
            identity: Which user we are, for a peer that asks for it; our own engine tells it.

        Raises:
            ConfigError: Something is wrong with these, or a certificate cannot be read.
        """
        if self.is_native:
            from pypx.client.client import Client

            return Client(
                address,
                calling_ae_title=calling_ae_title,
                timeouts=timeouts,
                model=model,
                first_message_id=first_message_id,
                tls=tls,
                character_set=character_set,
                identity=identity,
            )
        if identity is not None:
            raise ConfigError(
                f"DCMTK's programs cannot tell {address} which user we are.",
                hint="Take --engine native: storescu alone could, with the password among its "
                "arguments, where all of this machine read it.",
            )
        from pypx.dcmtk.client import DcmtkClient

        dcmtk: DcmtkClient = DcmtkClient(
            address,
            programs=self.installed(),
            calling_ae_title=calling_ae_title,
            timeouts=timeouts,
            model=model,
            tls=tls,
            character_set=character_set,
        )
        return dcmtk
