"""TLS under the upper layer: PS3.15 Annex B, after BCP 195 (RFC 9325).

In: a connected socket and where certificates are. Out: what a channel takes for a socket, or one
sentence that says why there is no secure connection. Who may associate is not decided here.

The TLS machine works on memory, and the bytes between go through the socket as those of a plain
channel do: so the kernel keeps the time here as well, and a write is one system call.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from pypx.address import Address
from pypx.errors import ConfigError, PeerTimeoutError, TlsError
from pypx.net.connection import Secure
from pypx.net.tls_settings import ClientTls, ServerTls
from pypx.secret import resolve

__all__ = ["TlsSocket", "client_context", "securing", "server_context"]

# TLS 1.2: those of the DICOM BCP 195 profiles, which have forward secrecy and authenticate what
# they encrypt (PS3.15 §B.12). TLS 1.3 has no others.
_SUITES = "ECDHE+AESGCM:DHE+AESGCM:ECDHE+CHACHA20"
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_READ_SIZE = 256 * 1024
_RECORD = 16 * 1024  # bytes: the most that one record has

# X509_V_ERR_…, as OpenSSL numbers them.
_EXPIRED, _NOT_YET, _HOST_MISMATCH, _IP_MISMATCH = 10, 9, 62, 64
_SELF_SIGNED = frozenset({18, 19, 20, 21, 2})


def securing(settings: ClientTls) -> Secure:
    """Give what makes connections to peers secure.

    Raises:
        ConfigError: A file cannot be read, or has not what it should.
    """
    context = client_context(settings)

    def secure(sock: socket.socket, address: Address, timeout: float) -> TlsSocket:
        name = settings.name or address.host
        made = TlsSocket(sock, context, peer=str(address), name=name)
        try:
            made.handshake(timeout)
        except BaseException:
            made.close()
            raise
        return made

    return secure


def client_context(settings: ClientTls) -> ssl.SSLContext:
    """Make the context of a requestor.

    Raises:
        ConfigError: A file cannot be read, or has not what it should.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _restrict(context, settings.minimum)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.ca is None:
        context.load_default_certs()
    else:
        _load_ca(context, settings.ca)
    if settings.certificate is not None:
        _load_own(context, settings.certificate, settings.key, settings.passphrase)
    return context


def server_context(settings: ServerTls) -> ssl.SSLContext:
    """Make the context of an acceptor.

    Raises:
        ConfigError: A file cannot be read, or has not what it should.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context, settings.minimum)
    _load_own(context, settings.certificate, settings.key, settings.passphrase)
    if settings.ca is not None:
        _load_ca(context, settings.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _restrict(context: ssl.SSLContext, minimum: str) -> None:
    if minimum not in _VERSIONS:
        raise ConfigError(f"{minimum!r} is no version of TLS that is taken.", hint="1.2 or 1.3")
    context.minimum_version = _VERSIONS[minimum]
    context.set_ciphers(_SUITES)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _load_own(
    context: ssl.SSLContext, certificate: str, key: str | None, passphrase: str | None
) -> None:
    secret = resolve(passphrase, "The key of TLS") if passphrase else ""
    try:
        # Without a function, the program would wait for somebody at a terminal.
        context.load_cert_chain(certificate, key, password=lambda: secret)
    except ssl.SSLError as error:
        files = certificate if key is None else f"{certificate} and {key}"
        raise ConfigError(
            f"{files} are no certificate and its key: {_openssl_reason(error)}.",
            hint='Both in PEM; a key with a passphrase needs passphrase = "file:…".',
        ) from None
    except OSError as error:
        missing = key if key is not None and not os.access(key, os.R_OK) else certificate
        raise ConfigError(f"{missing} cannot be read: {error.strerror}.") from None


def _load_ca(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ConfigError(
            f"{path} has no certificates that could be trusted: {_openssl_reason(error)}.",
            hint="It is to have one or more certificates in PEM.",
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None


def _openssl_reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")


class TlsSocket:
    """A TLS connection over a connected socket, with the methods of one that a channel uses.

    Args:
        sock: Connected; owned from now on.
        context: With certificates.
        peer: How the other side is called in sentences.
        server_side: We are the acceptor.
        name: The name that the certificate of the other side must have.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        *,
        peer: str,
        server_side: bool = False,
        name: str | None = None,
    ) -> None:
        sock.settimeout(None)  # the kernel keeps the time, see Channel
        self._socket = sock
        self._peer = peer
        self._arrived = ssl.MemoryBIO()
        self._leaving = ssl.MemoryBIO()
        checked = name if context.check_hostname else None
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_side, checked)
        self._buffer = memoryview(bytearray(_READ_SIZE))
        self._waiting = memoryview(b"")  # encrypted, and not taken by the kernel yet
        self._stuck = 0  # bytes of a call that is to be repeated
        self._failure: ssl.SSLError | None = None

    def handshake(self, timeout: float) -> None:
        """Make the connection secure.

        Args:
            timeout: Seconds that it may take.

        Raises:
            TlsError: It cannot be made, in a sentence.
            PeerTimeoutError: The peer did not answer in time.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._tls.do_handshake()
                self._flush()
                return
            except ssl.SSLWantReadError:
                self._flush()
                self._receive_before(deadline, timeout)
            except ssl.SSLError as error:
                self._say_why()
                raise handshake_error(self._peer, error) from error
            except OSError as error:
                raise _closed(self._peer, error.strerror or str(error)) from error

    def _say_why(self) -> None:
        """Send the alert that the peer is owed."""
        try:
            self._flush()
        except OSError:
            return  # it is gone already

    def _receive_before(self, deadline: float, timeout: float) -> None:
        left = deadline - time.monotonic()
        if left > 0:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(left))
            try:
                if self._receive(0):
                    return
            except BlockingIOError:
                pass
            else:
                raise _closed(self._peer, "it closed the connection")
        raise PeerTimeoutError(
            f"{self._peer} did not finish the TLS handshake within {timeout:g} s.",
            phase="association",
            hint="Does it speak TLS on this port? DICOM without TLS may be on another one.",
        )

    def _receive(self, flags: int) -> int:
        size = self._socket.recv_into(self._buffer, 0, flags)
        if size:
            self._arrived.write(self._buffer[:size])
        else:
            self._arrived.write_eof()
        return size

    def _flush(self) -> None:
        while self._waiting or self._leaving.pending:
            if not self._waiting:
                self._waiting = memoryview(self._leaving.read())
            self._waiting = self._waiting[self._socket.send(self._waiting) :]

    def refusal(self) -> TlsError:
        """Say why a peer ended the connection before it said anything.

        With TLS 1.3 our side is done before the peer has looked at our certificate.
        """
        if self._failure is not None:
            return handshake_error(self._peer, self._failure)
        return TlsError(
            f"{self._peer} closed the TLS connection as soon as it was made.",
            hint="It may want a certificate of ours, or another one: tls.certificate.",
        )

    @property
    def version(self) -> str:
        """The version that was negotiated, for example ``TLSv1.3``."""
        return self._tls.version() or ""

    @property
    def suite(self) -> str:
        """The cipher suite that was negotiated."""
        found = self._tls.cipher()
        return found[0] if found else ""

    @property
    def peer_names(self) -> tuple[str, ...]:
        """The names of the certificate of the peer; none where it showed none."""
        certificate: dict[str, Any] = self._tls.getpeercert() or {}
        subject = [value for part in certificate.get("subject", ()) for _, value in part]
        return (*subject, *(value for _, value in certificate.get("subjectAltName", ())))

    # What a channel uses of a socket

    def recv_into(self, buffer: memoryview, size: int = 0, flags: int = 0) -> int:
        """Read what the peer sent; 0 at its end.

        Raises:
            BlockingIOError: Nothing came in the time of SO_RCVTIMEO, or by now with MSG_DONTWAIT.
            OSError: The connection is broken, or what came is no TLS.
        """
        view = buffer[: size or len(buffer)]
        done = 0
        while done < len(view):
            try:
                # It gives one record at a time; what has arrived fills the buffer.
                size = self._tls.read(len(view) - done, view[done:])  # type: ignore[assignment]
                if not size:
                    break
                done += size
            except ssl.SSLWantReadError:
                self._flush()  # TLS 1.3 answers requests to change the key
                if done:
                    break
                self._receive(flags)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                break
            except ssl.SSLError as error:
                self._failure = error
                raise
        return done

    def sendmsg(self, buffers: Iterable[bytes | memoryview]) -> int:
        """Send all of the buffers; give how many bytes they have.

        Raises:
            BlockingIOError: The peer took not all of it in the time of SO_SNDTIMEO. They are
                encrypted already: call it again with the same ones.
            OSError: The connection is broken.
        """
        if not self._stuck:
            for buffer in buffers:
                view = memoryview(buffer)
                for start in range(0, len(view), _RECORD):
                    self._tls.write(view[start : start + _RECORD])
                self._stuck += len(view)
        self._flush()
        sent, self._stuck = self._stuck, 0
        return sent

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """Set an option of the socket below."""
        self._socket.setsockopt(level, option, value)

    def settimeout(self, seconds: float | None) -> None:
        """Set the time-out of the socket below."""
        self._socket.settimeout(seconds)

    def fileno(self) -> int:
        """Give the descriptor of the socket below."""
        return self._socket.fileno()

    def shutdown(self, how: int) -> None:
        """End the connection below, from any thread."""
        self._socket.shutdown(how)

    def close(self) -> None:
        """Say that nothing more comes, and close; the answer is not waited for."""
        with suppress(ssl.SSLError, ValueError):  # no answer yet, or there never was TLS
            self._tls.unwrap()
        with suppress(OSError):  # the peer is gone, and knows
            if self._leaving.pending:
                self._socket.send(self._leaving.read(), socket.MSG_DONTWAIT)
        self._socket.close()


def _timeval(seconds: float) -> bytes:
    whole, part = divmod(max(seconds, 0.001), 1)
    return struct.pack("@ll", int(whole), int(part * 1e6))


def _closed(peer: str, reason: str) -> TlsError:
    return TlsError(
        f"{peer} did not finish the TLS handshake: {reason}.",
        hint="Does it speak TLS on this port, and does it want a certificate of ours?",
    )


def handshake_error(peer: str, error: ssl.SSLError) -> TlsError:
    """Say in a sentence why there is no secure connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate_error(peer, error)
    reason = error.reason or ""
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return TlsError(
            f"{peer} does not speak TLS on this port.",
            hint="Leave tls out for this node, or take the port on which it has TLS.",
        )
    if reason in ("PEER_DID_NOT_RETURN_A_CERTIFICATE",):
        return TlsError(
            f"{peer} shows no certificate, and we take only those who do.",
            hint="Its administrator gives it one that leads to a certificate in our ca.",
        )
    if "ALERT" in reason:
        alert = reason.lower().replace("tlsv1_", "").replace("sslv3_", "").replace("_", " ")
        return TlsError(
            f"{peer} refused the TLS connection: {alert}.",
            hint="It may want another certificate of ours, or another version of TLS.",
        )
    if reason in ("NO_SHARED_CIPHER", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE"):
        return TlsError(
            f"{peer} and we have no version or cipher suite of TLS in common.",
            hint="TLS 1.2 with AES-GCM, or 1.3, is the least that is taken.",
        )
    return TlsError(f"The TLS handshake with {peer} failed: {_openssl_reason(error)}.")


def _certificate_error(peer: str, error: ssl.SSLCertVerificationError) -> TlsError:
    code = error.verify_code
    if code in (_EXPIRED, _NOT_YET):
        when = "has expired" if code == _EXPIRED else "is not valid yet"
        return TlsError(
            f"The certificate of {peer} {when}.",
            hint="Its administrator renews it; check also the clock of this machine.",
        )
    if code in (_HOST_MISMATCH, _IP_MISMATCH):
        return TlsError(
            f"The certificate of {peer} is for another name.",
            hint="Address it by the name of its certificate, or give that as tls.name.",
        )
    if code in _SELF_SIGNED:
        return TlsError(
            f"The certificate of {peer} leads to none that is trusted here.",
            hint="Get the certificate of its authority, and name the file as tls.ca.",
        )
    return TlsError(f"The certificate of {peer} is not valid: {error.verify_message}.")
