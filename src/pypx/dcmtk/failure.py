"""What went wrong with one of DCMTK's programs, as one of our errors.

In: what it said. Out: an error. The texts are those of the conditions in dcmnet (``cond.h`` and
``asccond.h``) of DCMTK 3.6.4 to 3.6.9.
"""

from __future__ import annotations

import re

from pypx.address import Address
from pypx.dcmtk.said import Said
from pypx.errors import (
    AssociationAbortedError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    NameLookupError,
    NoPresentationContextError,
    PeerTimeoutError,
    PypxError,
    RemoteProtocolError,
    TlsError,
)
from pypx.net.connection import Timeouts, rejection

__all__ = ["failure"]

_CODE = re.compile(r"\b[0-9a-f]{4}:[0-9a-f]{4} ")
_TLS = re.compile(r"TLS error|certificate|Secure Transport|\bSSL\b", re.IGNORECASE)
_HINT = "px echo NODE --engine both shows whether pypx itself gets further."


def failure(
    program: str, said: Said, address: Address, calling_ae_title: str, timeouts: Timeouts
) -> PypxError:
    """Give the error of a program that ended without the answer it was to bring.

    Args:
        program: Its name.
        said: What it said.
        address: Of the peer.
        calling_ae_title: What we called ourselves.
        timeouts: What the program was given.
    """
    if said.rejected is not None:
        return rejection(address, calling_ae_title, address.ae_title, said.rejected)
    errors = [_CODE.sub("", error) for error in said.errors]
    words = " ".join(errors)
    reason = _reason(errors)
    if "unknown host" in words:
        return NameLookupError(
            f"The host name {address.host} has no address: {program} says: {reason}",
            hint="Check the name, and the name server of this machine.",
        )
    if "TCP Initialization Error" in words:
        if "timed out" in words or "in progress" in words:
            return PeerTimeoutError(
                f"{address} did not accept a connection within {timeouts.connect:g} s: "
                f"{program} says: {reason}",
                phase="connect",
                hint="Check host and port; a firewall that drops packets looks like this.",
            )
        return ConnectError(
            f"No connection to {address} could be made: {program} says: {reason}",
            hint="Check host and port, and that the PACS runs.",
        )
    if _TLS.search(words):
        return TlsError(
            f"No secure connection to {address} could be made: {program} says: {reason}",
            hint="Check the certificates of the node, and that its port speaks TLS.",
        )
    if "Presentation Context" in words or "presentation context" in words:
        return NoPresentationContextError(
            f"{address} accepts the association, but not what {program} asks for: {reason}",
            hint="The PACS does not offer this service to our AE title: ask its administrator.",
        )
    if "timeout" in words or "No data available" in words:
        waited = timeouts.response if said.accepted else timeouts.association
        return PeerTimeoutError(
            f"{address} did not answer within {waited:g} s: {program} says: {reason}",
            phase="response" if said.accepted else "association",
            hint="Is this a DICOM port? The PACS may also be overloaded: allow more time with "
            "--timeout.",
        )
    return _broken(program, said, address, words, reason)


def _broken(program: str, said: Said, address: Address, words: str, reason: str) -> PypxError:
    if "abort" in words.lower() or "Peer aborted" in words:
        return AssociationAbortedError(
            f"{address} aborted the association, or closed the connection: {program} says: "
            f"{reason}",
            source=0,
            reason=0,
            hint="The log of the peer says why.",
        )
    if "TCP I/O Error" in words or "closed" in words or "Failed to send" in words:
        return ConnectionLostError(
            f"{address} closed the connection in the middle: {program} says: {reason}",
            hint="The peer may have crashed or a firewall cut the connection: try again.",
        )
    if not said.errors and not said.accepted:
        return ConfigError(f"DCMTK's {program} ended without a word.", hint=_HINT)
    return RemoteProtocolError(
        f"DCMTK's {program} got no answer from {address}: {reason}", hint=_HINT
    )


def _reason(errors: list[str]) -> str:
    """Give the last words that say something, as a sentence."""
    found = next((one for one in reversed(errors) if not one.endswith(":")), "")
    found = found.rpartition("Failed: ")[2] or found
    return f"{found.rstrip('. ')}." if found else "nothing."
