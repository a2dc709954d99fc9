"""A storage SCU that costs next to nothing: every byte is made before the clock starts.

In: instances and a port. Out: how long it took from the first C-STORE-RQ to the last response.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks.objects import CT_IMAGE, SYNTAX, Instance
from pypx.dicom import uids
from pypx.dimse.command import encode_command
from pypx.dimse.messages import CStoreRQ
from pypx.ul.codec import decode_pdu, encode_p_data_header, encode_pdu
from pypx.ul.negotiation import propose
from pypx.ul.pdu import AAssociateAC, AAssociateRQ, AReleaseRQ, UserInformation

__all__ = ["Sent", "send", "send_raw"]

_HOST = "127.0.0.1"
_LONGEST_PDU = 1 << 20  # for a peer that takes any length
_CONTEXT = 1
_STATUS = struct.pack("<HHI", 0x0000, 0x0900, 2)
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
_TIMEOUT = 120.0


class Sent(NamedTuple):
    """How it went: seconds from the first to the last association's end, and of each of them."""

    seconds: float
    each: tuple[float, ...]


class _Association:
    """One association; ``prepare`` and ``run`` send the instances of it."""

    def __init__(self, port: int, called_ae_title: str) -> None:
        self._socket = _connect(port)
        request = AAssociateRQ(
            called_ae_title,
            "BENCH",
            propose([(CT_IMAGE, (SYNTAX,))]),
            UserInformation(
                implementation_class_uid=uids.IMPLEMENTATION_CLASS_UID,
                implementation_version_name=uids.IMPLEMENTATION_VERSION_NAME,
            ),
        )
        self._socket.sendall(encode_pdu(request))
        answer = decode_pdu(*self._read_pdu())
        if not isinstance(answer, AAssociateAC) or answer.presentation_contexts[0].result:
            raise RuntimeError(f"the peer does not take CT images: {answer}")
        self._maximum = answer.user_information.maximum_length or _LONGEST_PDU
        self._messages: list[bytes] = []
        self._left: Iterator[bytes] = iter(())
        self._started = 0.0
        self.seconds = 0.0

    def prepare(self, instances: Sequence[Instance]) -> None:
        """Make the bytes of all messages, in PDUs as long as the peer takes."""
        for number, instance in enumerate(instances):
            request = CStoreRQ(number % 0xFFFF + 1, CT_IMAGE, instance.sop_instance_uid)
            command = encode_command(request)
            parts = [encode_p_data_header(_CONTEXT, True, True, len(command)), command]
            parts += _fragments(instance.data_set, self._maximum)
            self._messages.append(b"".join(parts))

    def run(self) -> None:
        """Send each message when the one before was answered.

        Raises:
            RuntimeError: An instance was not stored.
        """
        self.begin(time.perf_counter())
        while self.go_on():
            pass

    def begin(self, started: float) -> None:
        """Send the first message."""
        self._started = started
        self._left = iter(self._messages)
        self._socket.sendall(next(self._left))

    def go_on(self) -> bool:
        """Take an answer and send the next message; say whether there was one.

        Raises:
            RuntimeError: An instance was not stored.
        """
        kind, body = self._read_pdu()
        at = body.rfind(_STATUS) + len(_STATUS)  # a message ID may look like its beginning
        status = body[at : at + 2]
        if kind != 4 or status != b"\0\0":
            raise RuntimeError(f"the peer answered PDU type {kind}, status {status.hex()}")
        message = next(self._left, None)
        if message is None:
            self.seconds = time.perf_counter() - self._started
            return False
        self._socket.sendall(message)
        return True

    def fileno(self) -> int:
        """Give the descriptor, for a selector."""
        return self._socket.fileno()

    def release(self) -> None:
        """Release, whatever the peer makes of it, and close."""
        with self._socket:
            self._socket.sendall(encode_pdu(AReleaseRQ()))
            self._socket.settimeout(5.0)
            try:
                self._socket.recv(64)
            except OSError:
                return

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _read_pdu(self) -> tuple[int, bytes]:
        head = self._read(6)
        return head[0], self._read(int.from_bytes(head[2:]))

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise RuntimeError("the peer closed the connection")
            data += more
        # Else a peer that writes its answer in two pieces would wait 40 ms for our ACK.
        if _QUICKACK is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        return data


def _connect(port: int) -> socket.socket:
    sock = socket.create_connection((_HOST, port), timeout=_TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _fragments(data: bytes, maximum: int) -> list[bytes]:
    longest = (min(maximum, _LONGEST_PDU) - 6) & ~1
    parts = []
    for start in range(0, len(data), longest):
        piece = data[start : start + longest]
        is_last = start + longest >= len(data)
        parts += [encode_p_data_header(_CONTEXT, False, is_last, len(piece)), piece]
    return parts


def send(
    port: int, instances: Sequence[Instance], *, called_ae_title: str, associations: int = 1
) -> Sent:
    """Send instances over one or more associations at once.

    Raises:
        RuntimeError: The peer did not take all of them.
    """
    senders: list[_Association] = []
    try:
        for number in range(associations):
            senders.append(_Association(port, called_ae_title))
            senders[-1].prepare(instances[number::associations])
        seconds = _run_all(senders)
        for sender in senders:
            sender.release()
        return Sent(seconds, tuple(sender.seconds for sender in senders))
    finally:
        for sender in senders:
            sender.close()


def _run_all(senders: Sequence[_Association]) -> float:
    """Run them side by side in this one thread, which costs less than one for each."""
    if len(senders) == 1:
        senders[0].run()
        return senders[0].seconds
    started = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for sender in senders:
            sender.begin(started)
            selector.register(sender, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select(_TIMEOUT):
                sender = key.fileobj  # type: ignore[assignment]
                if not sender.go_on():
                    selector.unregister(sender)
    return time.perf_counter() - started


def send_raw(port: int, instances: Sequence[Instance]) -> Sent:
    """Send the bytes of the data sets as they are to ``rawcopy``, one byte of answer each."""
    with _connect(port) as sock:
        messages = [struct.pack(">I", len(one.data_set)) + one.data_set for one in instances]
        started = time.perf_counter()
        for message in messages:
            sock.sendall(message)
            if not sock.recv(1):
                raise RuntimeError("the raw copy closed the connection")
        seconds = time.perf_counter() - started
    return Sent(seconds, (seconds,))
