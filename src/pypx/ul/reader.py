"""A stream of bytes cut into PDUs as it arrives (PS3.8 §9.3).

In: the bytes of one transport connection, in pieces of any size. Out: whole PDUs,
except that a P-DATA-TF is never collected: its data comes out as views of what came
in. Whether a PDU is allowed now belongs to ``association``.

At most one header (6 bytes) or one PDU other than P-DATA-TF is held, the latter in as
much memory as bytes of it have come, whatever its length field says.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from struct import Struct

from pypx.errors import RemoteProtocolError
from pypx.ul.codec import PDU_NAMES, decode_pdu
from pypx.ul.items import LONGEST_ITEM, malformed
from pypx.ul.pdu import DEFAULT_MAXIMUM_LENGTH, PDU, PDV

__all__ = ["DEFAULT_LIMITS", "Limits", "PDUHeader", "PDUReader", "PDVFragment", "ReaderItem"]

_PDU_HEADER = Struct(">BxL")
_PDV_HEADER = Struct(">LBB")
_HEADER_SIZE = 6  # of a PDU and of a PDV alike
_P_DATA_TF = 0x04
_ASSOCIATE_TYPES = (0x01, 0x02)
_ASSOCIATE_MINIMUM = 68  # the fixed fields
_FIXED_LENGTH = 4  # of every other PDU
_EMPTY = memoryview(b"")

# What speaks first on a port, by its first bytes. None of them is the type of a PDU.
_STRANGERS = (
    (b"\x16\x03", "a TLS handshake"),
    (b"\x15\x03", "a TLS alert, so it expects TLS"),
    (b"SSH-", "SSH"),
    (b"GET ", "an HTTP request"),
    (b"POST", "an HTTP request"),
    (b"HEAD", "an HTTP request"),
    (b"PUT ", "an HTTP request"),
    (b"OPTI", "an HTTP request"),
    (b"PRI ", "an HTTP request"),
    (b"HTTP", "an HTTP response"),
)


class Limits:
    """How long PDUs from the peer may be, in bytes of the body.

    Not a dataclass: nobody compares it, and it would add to the start-up time.

    Attributes:
        associate: A-ASSOCIATE-RQ and -AC, which are held until they are whole.
        p_data: P-DATA-TF, where we announced a maximum length below that: some peers
            take no notice of it, and nothing is held.
        user_information: The user information in an A-ASSOCIATE-RQ or -AC.
    """

    __slots__ = ("associate", "p_data", "user_information")

    def __init__(
        self,
        associate: int = 1024 * 1024,
        p_data: int = 1024 * 1024,
        user_information: int = LONGEST_ITEM,
    ) -> None:
        self.associate = associate
        self.p_data = p_data
        self.user_information = user_information


DEFAULT_LIMITS = Limits()


class PDUHeader(Enum):
    """The item that stands for the header of a P-DATA-TF; its fragments follow."""

    P_DATA_TF = _P_DATA_TF


class PDVFragment(PDV):
    """A piece of a PDV, as much of it as came in one go; it could be sent on as a PDV.

    Attributes:
        context_id: The presentation context, not checked.
        is_command: Whether it is of the command set; else of the data set.
        is_last: Whether the command set or data set ends with this piece.
        data: A view of the buffer that was fed; valid until its owner overwrites it.
            Empty only where the whole PDV is.
    """

    __slots__ = ()
    data: memoryview


ReaderItem = PDU | PDUHeader | PDVFragment | RemoteProtocolError


class PDUReader:
    """Cut a stream into PDUs.

    Args:
        limits: How long PDUs may be.
        maximum_length: What we announced to receive, in bytes; 0 for any length.

    Attributes:
        maximum_length: May be changed between two calls of :meth:`feed`.
        oversized: How many P-DATA-TF were longer than announced, and tolerated.
        odd: How many PDVs had an odd length, which PS3.8 Annex E forbids.
    """

    __slots__ = (
        "_begun",
        "_body",
        "_body_length",
        "_body_type",
        "_broken",
        "_context_id",
        "_head",
        "_is_command",
        "_is_last",
        "_limits",
        "_pdu_left",
        "_pdv_left",
        "maximum_length",
        "odd",
        "oversized",
    )

    def __init__(
        self, limits: Limits = DEFAULT_LIMITS, maximum_length: int = DEFAULT_MAXIMUM_LENGTH
    ) -> None:
        self.maximum_length = maximum_length
        self.oversized = 0
        self.odd = 0
        self._limits = limits
        self._broken = False
        self._begun = 0  # PDUs of which the header was whole
        self._head = bytearray()  # a header that is not whole
        self._body = bytearray()  # of a PDU other than P-DATA-TF that is not whole
        self._body_type = 0  # 0 where none is being collected
        self._body_length = 0
        self._pdu_left = 0  # bytes of the P-DATA-TF behind the PDV in progress
        self._pdv_left = 0  # bytes of the PDV in progress that have not come
        self._context_id = 0
        self._is_command = False
        self._is_last = False

    @property
    def pdu_in_progress(self) -> int:
        """The number of the PDU that has begun and is not whole, from 1 on; 0 between two."""
        if self._pdu_left or self._pdv_left or self._body_type:
            return self._begun
        return self._begun + 1 if self._head else 0

    def feed(self, data: bytes | memoryview) -> list[ReaderItem]:
        """Take the next bytes.

        Never raises. How the bytes are split over calls changes nothing but the
        pieces of the PDVs.

        Args:
            data: Bytes, or a view with a format of unsigned bytes.

        Returns:
            What they make, in order. Where the stream breaks a rule the last item is
            the error, and from then on nothing can be told apart any more: all that
            follows is dropped.
        """
        items: list[ReaderItem] = []
        if not self._broken:
            try:
                self._read(data if type(data) is memoryview else memoryview(data), items.append)
            except RemoteProtocolError as error:
                self._broken = True
                items.append(error)
        return items

    def _read(self, view: memoryview, append: Callable[[ReaderItem], None]) -> None:
        position, end = 0, len(view)
        while position < end:
            if self._pdv_left:
                # The data of a receiver at the speed of the wire goes through here.
                stop = position + self._pdv_left
                is_last = self._is_last
                if stop > end:
                    stop = end
                    is_last = False
                self._pdv_left -= stop - position
                append(
                    PDVFragment(self._context_id, self._is_command, is_last, view[position:stop])
                )
                position = stop
            elif self._body_type:
                position = self._collect_body(view, position, append)
            elif self._head or end - position < _HEADER_SIZE:
                position = self._collect_header(view, position)
                if len(self._head) == _HEADER_SIZE:
                    head, self._head = self._head, bytearray()
                    self._begin(head, 0, append)
            else:
                self._begin(view, position, append)
                position += _HEADER_SIZE

    def _begin(
        self, data: bytearray | memoryview, position: int, append: Callable[[ReaderItem], None]
    ) -> None:
        """Take the header of a PDV within a P-DATA-TF, or else of a PDU."""
        if self._pdu_left:
            length, self._context_id, control = _PDV_HEADER.unpack_from(data, position)
            left = self._pdu_left - 4 - length
            if length < 2 or left < 0 or 0 < left < _HEADER_SIZE:
                raise _bad_pdv(length, left)
            self._pdu_left = left
            self._pdv_left = length - 2
            self._is_command = control & 1 == 1
            self._is_last = control & 2 == 2
            self.odd += length & 1
            if length == 2:
                append(PDVFragment(self._context_id, self._is_command, self._is_last, _EMPTY))
            return
        pdu_type, length = _PDU_HEADER.unpack_from(data, position)
        self._begun += 1
        if pdu_type == _P_DATA_TF:
            if not _HEADER_SIZE <= length <= self.maximum_length:
                self._check_p_data(length)
            self._pdu_left = length
            append(PDUHeader.P_DATA_TF)
        else:
            self._check_length(pdu_type, length, bytes(data[position : position + _HEADER_SIZE]))
            self._body_type, self._body_length = pdu_type, length

    def _collect_header(self, view: memoryview, position: int) -> int:
        stop = min(position + _HEADER_SIZE - len(self._head), len(view))
        self._head += view[position:stop]
        return stop

    def _collect_body(
        self, view: memoryview, position: int, append: Callable[[ReaderItem], None]
    ) -> int:
        stop = min(position + self._body_length - len(self._body), len(view))
        self._body += view[position:stop]
        if len(self._body) == self._body_length:
            pdu_type, body = self._body_type, bytes(self._body)
            self._body_type, self._body = 0, bytearray()
            append(decode_pdu(pdu_type, body, self._limits.user_information))
        return stop

    def _check_p_data(self, length: int) -> None:
        """Judge a length that is not within what we announced."""
        if length < _HEADER_SIZE:
            raise malformed(f"The peer sent a P-DATA-TF of {length} bytes, in which no PDV fits.")
        announced = self.maximum_length
        if announced:
            limit = max(announced, self._limits.p_data)
            if length > limit:
                raise malformed(
                    f"The peer sent a P-DATA-TF of {length} bytes; we announced {announced} "
                    f"and tolerate {limit}."
                )
            self.oversized += 1

    def _check_length(self, pdu_type: int, length: int, header: bytes) -> None:
        name = PDU_NAMES.get(pdu_type)
        if name is None:
            for first_bytes, what in _STRANGERS:
                if header.startswith(first_bytes):
                    raise RemoteProtocolError(
                        f"The peer sent {what} instead of DICOM.", abort_reason=1
                    )
            raise RemoteProtocolError(
                f"The peer sent a PDU of type {pdu_type:02X}H, which does not exist.",
                abort_reason=1,
            )
        if pdu_type not in _ASSOCIATE_TYPES:
            if length != _FIXED_LENGTH:
                raise malformed(f"The peer sent {name} with a length of {length}, not 4.")
        elif not _ASSOCIATE_MINIMUM <= length <= self._limits.associate:
            raise malformed(
                f"The peer sent {name} with a length of {length}; "
                f"{_ASSOCIATE_MINIMUM} to {self._limits.associate} are possible."
            )


def _bad_pdv(length: int, left: int) -> RemoteProtocolError:
    if length < 2:
        return malformed(f"The peer sent a PDV of {length} bytes; 2 are the least.")
    if left < 0:
        return malformed(
            f"The peer sent a PDV of {length} bytes, {-left} more than its P-DATA-TF has."
        )
    return malformed(
        f"The peer sent a P-DATA-TF that leaves {left} bytes behind a PDV, in which no other fits."
    )
