"""What TLS is to be like, towards a peer and at our listener (PS3.15 Annex B).

In: nothing. Out: values, without the weight of TLS itself. Not here: what they lead to.
"""

from __future__ import annotations

from pypx.values import frozen

__all__ = ["ClientTls", "ServerTls"]


@frozen
class ClientTls:
    """TLS towards a peer.

    Attributes:
        ca: A file of certificates that are trusted; None for those of the system.
        certificate: A file with our certificate and those that lead to its root, for peers that
            want one.
        key: The file of its key; None where the certificate's file has it.
        verify: Whether the certificate of the peer is checked.
        name: The name that its certificate must have, where that is not the host.
        minimum: The oldest version that is taken, ``1.2`` or ``1.3``.
        passphrase: Where that of the key is: ``env:NAME``, ``file:PATH``,
            ``keyring:SERVICE/USER``; never the passphrase itself.
    """

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    verify: bool = True
    name: str | None = None
    minimum: str = "1.2"
    passphrase: str | None = None


@frozen
class ServerTls:
    """TLS of our listener.

    Attributes:
        certificate: As above.
        key: As above.
        ca: A file of certificates: who associates must have one that leads to one of them. None
            takes anybody.
        minimum: As above.
        passphrase: As above.
    """

    certificate: str
    key: str | None = None
    ca: str | None = None
    minimum: str = "1.2"
    passphrase: str | None = None
