"""What else answers on a port that should be one of DICOM.

In: an address. Out: a name for it, if it is one of those that are met. Nothing is decided here.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import closing

from pypx.address import Address
from pypx.errors import PypxError
from pypx.net.connection import connect
from pypx.net.tls import TlsSocket, client_context
from pypx.net.tls_settings import ClientTls

__all__ = ["speaks_http", "speaks_tls"]

_REQUEST = b"GET / HTTP/1.0\r\n\r\n"
_ANSWER = b"HTTP/"


def speaks_http(address: Address, timeout: float) -> bool:
    """Say whether a web server answers there.

    Args:
        address: Where.
        timeout: Seconds for each wait.
    """
    try:
        with closing(connect(address, timeout)) as sock:
            sock.settimeout(timeout)
            sock.sendall(_REQUEST)
            return sock.recv(len(_ANSWER), socket.MSG_WAITALL) == _ANSWER
    except (OSError, PypxError):
        return False


def speaks_tls(address: Address, timeout: float) -> bool:
    """Say whether TLS is spoken there, whatever its certificate is.

    Args:
        address: Where.
        timeout: Seconds for each wait.
    """
    context = client_context(ClientTls(verify=False))
    try:
        plain = connect(address, timeout)
        with closing(TlsSocket(plain, context, peer=str(address))) as sock:
            sock.handshake(timeout)
    except PypxError as error:
        cause = error.__cause__  # an alert is TLS as well: it wants a certificate of ours
        return isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or "")
    return True
