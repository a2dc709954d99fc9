"""A bare acceptor: it reads, answers each C-STORE with success, and keeps nothing.

In: port and maximum length, as arguments. Out: responses of the same bytes but for the message ID.
No data set is looked at and nothing is checked, so that a sender never waits for more than the
kernel; each association is a process of its own.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress

from pypx.dicom import uids
from pypx.dimse.command import encode_command
from pypx.dimse.messages import CStoreRSP
from pypx.ul.codec import decode_pdu, encode_p_data_header, encode_pdu
from pypx.ul.negotiation import answer
from pypx.ul.pdu import AAssociateRQ, AReleaseRP

__all__ = ["main"]

_BUFFER = 1 << 20
_PDU_HEADER = 6
_HEADER = 12  # bytes, of a P-DATA-TF and its only PDV
_P_DATA_TF, _RELEASE_RQ = 4, 5
_COMMAND, _LAST = 1, 2
# Group, number and length of (0000,0110) and (0000,0120); the value is two bytes.
_MESSAGE_ID = bytes.fromhex("0000 1001 02000000")
_RESPONDED_TO = bytes.fromhex("0000 2001 02000000")
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


def _response(context_id: int) -> tuple[bytes, bytes]:
    """Give what stands before and behind the message ID of a response."""
    command = encode_command(CStoreRSP(0, 0))
    response = encode_p_data_header(context_id, True, True, len(command)) + command
    found = response.index(_RESPONDED_TO) + len(_RESPONDED_TO)
    return response[:found], response[found + 2 :]


class _Reader:
    """Bytes of a socket, where the wanted ones come together, in a buffer that is used again."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.view = memoryview(bytearray(_BUFFER))
        self.start = self.end = 0

    def need(self, size: int) -> int:
        """Have so many bytes at hand, and give where they begin.

        Raises:
            EOFError: The peer has closed.
        """
        if self.start + size > _BUFFER:
            rest = bytes(self.view[self.start : self.end])
            self.start, self.end = 0, len(rest)
            self.view[: self.end] = rest
        while self.end - self.start < size:
            self._read()
        return self.start

    def skip(self, size: int) -> None:
        """Drop so many bytes, whether they are here or come yet."""
        while size > self.end - self.start:
            size -= self.end - self.start
            self.start = self.end = 0
            self._read()
        self.start += size

    def _read(self) -> None:
        if self.start == self.end:
            self.start = self.end = 0
        size = self._socket.recv_into(self.view[self.end :])
        if not size:
            raise EOFError
        if _QUICKACK is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        self.end += size


def _associate(sock: socket.socket, reader: _Reader, maximum_length: int) -> None:
    at = reader.need(_PDU_HEADER)
    kind, size = reader.view[at], int.from_bytes(reader.view[at + 2 : at + _PDU_HEADER])
    at = reader.need(_PDU_HEADER + size) + _PDU_HEADER
    request = decode_pdu(kind, bytes(reader.view[at : at + size]))
    reader.skip(_PDU_HEADER + size)
    assert isinstance(request, AAssociateRQ)  # from our own senders
    accepted = answer(
        request,
        lambda _, proposed: proposed[0],
        implementation_class_uid=uids.IMPLEMENTATION_CLASS_UID,
        maximum_length=maximum_length,
    )
    sock.sendall(encode_pdu(accepted))


def _serve(sock: socket.socket, maximum_length: int) -> None:
    """Serve one association.

    Raises:
        EOFError: The peer has closed.
    """
    reader = _Reader(sock)
    _associate(sock, reader, maximum_length)
    message_id = b""
    responses: dict[int, tuple[bytes, bytes]] = {}  # by context, around the message ID
    while True:
        at = reader.need(_PDU_HEADER)
        view = reader.view
        if view[at] != _P_DATA_TF:
            if view[at] == _RELEASE_RQ:
                sock.sendall(encode_pdu(AReleaseRP()))
            return
        at = reader.need(_HEADER)
        size = int.from_bytes(view[at + 2 : at + _PDU_HEADER]) + _PDU_HEADER
        context_id, control = view[at + 10], view[at + 11]
        if control & _COMMAND:
            at = reader.need(size)
            command = bytes(view[at : at + size])
            found = command.index(_MESSAGE_ID) + len(_MESSAGE_ID)
            message_id = command[found : found + 2]
            reader.skip(size)
            continue
        reader.skip(size)
        if control & _LAST:
            if context_id not in responses:
                responses[context_id] = _response(context_id)
            before, behind = responses[context_id]
            sock.sendall(before + message_id + behind)


def main() -> None:
    """Accept until ended."""
    port, maximum_length = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            sock, _ = server.accept()
            with sock:
                if os.fork():
                    continue
                server.close()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with suppress(EOFError, ConnectionError):
                    _serve(sock, maximum_length)
            os._exit(0)


if __name__ == "__main__":
    main()
