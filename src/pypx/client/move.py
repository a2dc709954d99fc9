"""C-MOVE: progress as the PACS tells it, then a result (PS3.4 §C.4.2, PS3.7 §9.1.4).

In: an identifier, a destination and a connection. Out: an iterator of progress.
Whether the objects arrived is not known here: only what the PACS says of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pypx.address import Address
from pypx.client.operation import Operation, Progress, RetrieveResult, failed_uids
from pypx.dicom.data_set import DataSet
from pypx.dimse import status as status_codes
from pypx.dimse.messages import CCancelRQ, CMoveRQ, CMoveRSP
from pypx.errors import StatusError
from pypx.net.connection import Connection, Received
from pypx.ul.negotiation import AcceptedContext

__all__ = ["Move", "Progress", "RetrieveResult", "failed_uids", "move_failure"]

_POLL = 0.25  # seconds between looks at whether to cancel, and what else shows that it lives


def move_failure(address: Address, destination: str, result: RetrieveResult) -> StatusError:
    """Make the error of a C-MOVE that the PACS ended with a failure.

    Args:
        address: Of the PACS.
        destination: Where it was to send.
        result: How it ended.
    """
    hint = status_codes.hint(result.status)
    if result.status >> 12 == 0xC:
        # Orthanc and PixelMed answer so for an unknown destination and for no match.
        hint = (
            f"Check that the PACS knows the destination {destination!r}, and that "
            "something matches the keys: some answer so in both cases."
        )
    return result.failure(f"{address} ended the C-MOVE to {destination!r}", "C-MOVE", hint)


class Move(Operation):
    """One C-MOVE, read from the wire as it is iterated.

    Attributes:
        result: How it ended; None while it runs. It is set before an error is raised.
        message_id: Of the request; what comes of it may name it as Move Originator Message ID.
    """

    def __init__(
        self,
        connection: Connection,
        context: AcceptedContext,
        message_id: int,
        identifier: DataSet,
        destination: str,
        *,
        last_activity: Callable[[], float] | None = None,
    ) -> None:
        reaches = f"Check also that it reaches {destination!r} from its side."
        super().__init__(connection, context, message_id, "C-MOVE", hint=reaches)
        self._destination = destination
        self._last_activity = last_activity
        self._request(CMoveRQ(message_id, context.abstract_syntax, destination), identifier)

    def _next(self) -> Progress:
        received = self._wait()
        response = self._connection.response_to(self.message_id, CMoveRSP, received)
        changed = self._take(response, received.data_set)
        self._check_pending(changed=changed)
        return self.progress

    def _wait(self) -> Received:
        """Wait for a message, and cancel meanwhile if that is wanted."""
        connection, patience = self._connection, self._patience
        while True:
            if patience.is_cancel_due(time.monotonic()):
                connection.send(self._context.context_id, CCancelRQ(self.message_id))
            received = connection.poll(_POLL)
            if received is not None:
                return received
            now = time.monotonic()
            patience.check_cancelled(now, connection.last_read)
            patience.check_silence(now, max(connection.last_read, self._arrived()))

    def _check_pending(self, *, changed: bool) -> None:
        """Give up a PACS that only says that it is busy, or does not heed a C-CANCEL."""
        now = time.monotonic()
        self._patience.check_cancelled(now, self._connection.last_read)
        # Where it counts nothing and we receive nothing, there is no progress to be seen.
        is_blind = self.progress == Progress() and self._last_activity is None
        self._patience.check_pending(now, changed=is_blind or changed, arrived=self._arrived())

    def _arrived(self) -> float:
        """When the receiver last got something."""
        return 0.0 if self._last_activity is None else self._last_activity()

    def _failure(self, result: RetrieveResult) -> StatusError:
        return move_failure(self._connection.address, self._destination, result)
