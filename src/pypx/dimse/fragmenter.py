"""Messages to fragments (PS3.7 §6.3.1, PS3.8 §9.3.5, Annex D).

In: a command set or a piece of a data set and the maximum length that the peer
receives. Out: PDVs that fit, views of what came in, never copies.
"""

from __future__ import annotations

from collections.abc import Iterator

from pypx.errors import RemoteProtocolError
from pypx.ul.pdu import PDV

__all__ = ["SEND_LIMIT", "fragment", "fragment_size"]

SEND_LIMIT = 256 * 1024
"""The longest P-DATA-TF that we send to a peer that takes more or any length, in bytes."""
_PDV_HEADER = 6


def fragment_size(peer_maximum_length: int) -> int:
    """Give how many bytes of a message fit into one P-DATA-TF for this peer.

    The number is even: fragments of a data set are (PS3.8 Annex E).

    Raises:
        RemoteProtocolError: The peer announced a maximum in which nothing fits.
    """
    longest = min(peer_maximum_length or SEND_LIMIT, SEND_LIMIT)
    size = (longest - _PDV_HEADER) & ~1
    if size < 2:
        raise RemoteProtocolError(
            f"The peer receives P-DATA of at most {peer_maximum_length} bytes: no fragment fits.",
            abort_reason=6,
        )
    return size


def fragment(
    context_id: int, is_command: bool, data: bytes | memoryview, size: int, *, is_last: bool = True
) -> Iterator[PDV]:
    """Cut data into PDVs of at most ``size`` bytes.

    Args:
        context_id: The presentation context of the message.
        is_command: Whether this is a command set.
        data: All of it, or the next piece of a data set.
        size: What :func:`fragment_size` gave.
        is_last: Whether the command set or data set ends with this piece.
    """
    view = memoryview(data)
    end = len(view)
    for start in range(0, end or 1, size):
        stop = start + size
        yield PDV(context_id, is_command, is_last and stop >= end, view[start:stop])
