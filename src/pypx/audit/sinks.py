"""Where audit messages end: a file, or a syslog server over UDP, TCP or TLS.

In: messages. Out: lines of a file; RFC 5424 in datagrams (RFC 5426) or in a stream with octet
counting (RFC 5425 §4.3). Not here: who waits for whom.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

from pypx.audit.target import AuditTarget
from pypx.modes import file_mode

__all__ = ["Sink", "sink_for", "syslog_frame"]

_TIMEOUT = 5.0
_PRIORITY = 10 * 8 + 5  # security/authorization, notice (PS3.15 A.6.2)
_MESSAGE_ID = "DICOM+RFC3881"


class Sink(Protocol):
    """Takes messages, and raises OSError where it cannot."""

    def write(self, at: float, message: str) -> None:
        """Write one."""

    def close(self) -> None:
        """Let go; the next write begins anew."""


def sink_for(target: AuditTarget) -> Sink:
    """Give what writes to a target."""
    match target.scheme:
        case "file":
            return _File(target.path)
        case "udp":
            return _Datagrams(target)
        case _:
            return _Stream(target)


def syslog_frame(at: float, message: str) -> bytes:
    """Give a message with the header of RFC 5424 §6."""
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    host = "".join(c for c in socket.gethostname() if "!" <= c <= "~")[:255] or "-"
    header = f"<{_PRIORITY}>1 {moment[:-6]}Z {host} pypx {os.getpid()} {_MESSAGE_ID} - "
    return header.encode() + b"\xef\xbb\xbf" + message.encode()


class _File:
    """One message a line; the file is opened for each, so that it may be rotated at any time."""

    def __init__(self, path: str) -> None:
        self._path = path

    def write(self, at: float, message: str) -> None:
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._path, flags, file_mode())
        try:
            os.write(fd, message.encode() + b"\n")
        finally:
            os.close(fd)

    def close(self) -> None:
        """Nothing is open."""


class _Datagrams:
    def __init__(self, target: AuditTarget) -> None:
        self._target = target
        self._socket: socket.socket | None = None

    def write(self, at: float, message: str) -> None:
        if self._socket is None:
            found = socket.getaddrinfo(self._target.host, self._target.port, type=socket.SOCK_DGRAM)
            family, kind, protocol, _, address = found[0]
            self._socket = socket.socket(family, kind, protocol)
            self._socket.connect(address)
        self._socket.send(syslog_frame(at, message))

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Stream:
    def __init__(self, target: AuditTarget) -> None:
        self._target = target
        self._socket: socket.socket | None = None

    def write(self, at: float, message: str) -> None:
        frame = syslog_frame(at, message)
        stream = self._connected()
        stream.sendall(f"{len(frame)} ".encode() + frame)

    def _connected(self) -> socket.socket:
        if self._socket is not None and _has_gone(self._socket):
            self.close()
        if self._socket is None:
            target = self._target
            plain = socket.create_connection((target.host, target.port), _TIMEOUT)
            try:
                self._socket = _secured(plain, target) if target.scheme == "tls" else plain
            except OSError:
                plain.close()
                raise
        return self._socket

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _secured(plain: socket.socket, target: AuditTarget) -> socket.socket:
    import ssl

    context = ssl.create_default_context(cafile=target.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context.wrap_socket(plain, server_hostname=target.host)


def _has_gone(stream: socket.socket) -> bool:
    """Say whether the server has closed: it never speaks, so what can be read is the end."""
    stream.settimeout(0)
    try:
        return not stream.recv(1)
    except (BlockingIOError, InterruptedError):
        return False
    except OSError as error:
        import ssl

        return not isinstance(error, ssl.SSLWantReadError)
    finally:
        with suppress(OSError):
            stream.settimeout(_TIMEOUT)
