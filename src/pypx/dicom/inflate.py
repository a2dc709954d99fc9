"""Deflated data sets: RFC 1951 without a zlib head (PS3.5 §A.5), inflated in small pieces.

In: compressed bytes in any pieces. Out: data set bytes, never more than 64 KiB at once,
and never more in total than a limit: a bomb of 1 MiB would otherwise become 1 GiB.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from pypx.errors import DataSetError

__all__ = ["Inflater"]

_INPUT = 16 << 10  # zlib copies the rest of its input for each piece of output
_OUTPUT = 64 << 10


class Inflater:
    """Inflates one stream.

    Args:
        limit: Bytes to inflate to at most, give or take a piece.

    Attributes:
        is_whole: The end of the stream has come; what follows it is ignored, as the
            padding byte that PS3.5 §A.5 wants.
        is_capped: The limit was reached, and nothing comes any more.
    """

    def __init__(self, limit: int) -> None:
        self.is_whole = False
        self.is_capped = False
        self._left = limit
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Give what the bytes inflate to, piece by piece.

        Raises:
            DataSetError: They are no deflated stream.
        """
        for start in range(0, len(data), _INPUT):
            pending = bytes(data[start : start + _INPUT])
            while not (self.is_whole or self.is_capped):
                try:
                    piece = self._stream.decompress(pending, _OUTPUT)
                except zlib.error:
                    raise DataSetError("The data set is no valid deflated stream.") from None
                self.is_whole = self._stream.eof
                self._left -= len(piece)
                self.is_capped = self._left < 0 and not self.is_whole
                yield piece
                pending = self._stream.unconsumed_tail
                if len(piece) < _OUTPUT:
                    break
