"""C-MOVE: progress as the PACS tells it, then a result (PS3.4 §C.4.2, PS3.7 §9.1.4).

In: an identifier, a destination and a connection. Out: an iterator of progress.
Whether the objects arrived is not known here: only what the PACS says of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from pypx.address import Address
from pypx.client.patience import Patience
from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import encoding_of
from pypx.dicom.encoding import Encoding
from pypx.dimse import status as status_codes
from pypx.dimse.messages import CCancelRQ, CMoveRQ, CMoveRSP, CRetrieveRSP
from pypx.dimse.status import Category, category
from pypx.errors import DataSetError, PypxError, StatusError
from pypx.net.connection import Connection, Received
from pypx.ul.negotiation import AcceptedContext
from pypx.values import frozen

__all__ = ["Move", "Progress", "RetrieveResult", "failed_uids", "move_failure"]

_POLL = 0.25  # seconds between looks at whether to cancel, and what else shows that it lives


@frozen
class Progress:
    """Numbers of sub-operations as the peer counts them; None where it does not say."""

    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None

    def updated(self, response: CRetrieveRSP) -> Progress:
        """Merge the numbers that a response has with these, which are of the one before."""

        def known(new: int | None, old: int | None) -> int | None:
            return old if new is None else new

        final = category(response.status) is not Category.PENDING
        return Progress(
            # A final response leaves the remaining ones out unless it was cancelled.
            known(response.number_of_remaining_suboperations, None if final else self.remaining),
            known(response.number_of_completed_suboperations, self.completed),
            known(response.number_of_failed_suboperations, self.failed),
            known(response.number_of_warning_suboperations, self.warning),
        )


@frozen
class RetrieveResult:
    """How a C-MOVE or C-GET ended, in the words of the PACS.

    Attributes:
        status: The final status.
        progress: The last numbers that the PACS gave.
        failed_sop_instance_uids: What it names as failed (0008,0058); it may leave
            this out, and 64 KiB is all that some put there.
        comment: Its Error Comment (0000,0902), or empty.
        seconds: From the request to the final response.
    """

    status: int
    progress: Progress
    failed_sop_instance_uids: tuple[str, ...] = ()
    comment: str = ""
    seconds: float = 0.0

    @property
    def category(self) -> Category:
        """The category of the final status."""
        return category(self.status)

    def failure(self, what: str, operation: str, hint: str) -> StatusError:
        """Make the error of a final status that is a failure.

        Args:
            what: Who ended what.
            operation: ``C-MOVE`` or ``C-GET``; the same status means different things.
            hint: What to try.
        """
        meaning = status_codes.sentence(self.status, operation)
        comment = self.comment.rstrip(". ")
        said = f" ({comment})" if comment else ""
        return StatusError(
            f"{what} with status {self.status:04X}H: {meaning}{said}.",
            status=self.status,
            comment=self.comment,
            hint=hint,
        )


def failed_uids(data_set: bytes | None, encoding: Encoding) -> tuple[str, ...]:
    """Read the Failed SOP Instance UID List (0008,0058) of a final response."""
    if not data_set:
        return ()
    try:
        found = DataSet.from_bytes(data_set, encoding)
    except DataSetError:
        return ()  # The numbers stand without the names.
    return tuple(str(uid) for uid in found.values_of("FailedSOPInstanceUIDList"))


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


class Move(Iterator[Progress]):
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
        self.result: RetrieveResult | None = None
        self.progress = Progress()
        self._connection = connection
        self._context = context
        self.message_id = message_id
        self._destination = destination
        self._last_activity = last_activity
        self._encoding = encoding_of(context.transfer_syntax)
        self._started = time.monotonic()
        reaches = f"Check also that it reaches {destination!r} from its side."
        self._patience = Patience(
            connection.address, "C-MOVE", connection.timeouts, self._started, hint=reaches
        )
        self._over = False
        connection.busy = True
        request = CMoveRQ(message_id, context.abstract_syntax, destination)
        connection.send(context.context_id, request, identifier.to_bytes(self._encoding))

    def __iter__(self) -> Move:
        return self

    def __next__(self) -> Progress:
        """Wait for the next word of the PACS.

        Raises:
            StatusError: The operation failed; :attr:`result` has the numbers.
            PeerTimeoutError: Neither the PACS nor the receiver showed a sign of life, or
                nothing but that the PACS is busy.
            CancelledError: It did not heed a C-CANCEL.
            NetworkError, AssociationError, ProtocolError: The association ended.
        """
        if self._over:
            raise StopIteration
        try:
            return self._next()
        except (StopIteration, StatusError):
            self._end()
            raise
        except BaseException:
            self._end()
            self._connection.abort()  # more may come, and belongs to nothing
            raise

    def _end(self) -> None:
        self._over = True
        self._connection.busy = False

    def _next(self) -> Progress:
        received = self._wait()
        response = self._connection.response_to(self.message_id, CMoveRSP, received)
        before, self.progress = self.progress, self.progress.updated(response)
        if category(response.status) is Category.PENDING:
            self._check_pending(before)
            return self.progress
        self.result = RetrieveResult(
            response.status,
            self.progress,
            failed_uids(received.data_set, self._encoding),
            response.error_comment or "",
            time.monotonic() - self._started,
        )
        if self.result.category is Category.FAILURE:
            raise self._failure(self.result)
        raise StopIteration

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

    def _check_pending(self, before: Progress) -> None:
        """Give up a PACS that only says that it is busy, or does not heed a C-CANCEL."""
        now = time.monotonic()
        self._patience.check_cancelled(now, self._connection.last_read)
        # Where it counts nothing and we receive nothing, there is no progress to be seen.
        is_blind = self.progress == Progress() and self._last_activity is None
        changed = is_blind or self.progress != before
        self._patience.check_pending(now, changed=changed, arrived=self._arrived())

    def _arrived(self) -> float:
        """When the receiver last got something."""
        return 0.0 if self._last_activity is None else self._last_activity()

    def _failure(self, result: RetrieveResult) -> StatusError:
        return move_failure(self._connection.address, self._destination, result)

    def cancel(self) -> None:
        """Have a C-CANCEL sent; go on iterating for the final response.

        May be called between any two instructions, as signals are.
        """
        self._patience.cancel()

    def run(self) -> RetrieveResult:
        """Iterate to the end and give the result.

        Raises:
            PypxError: As :meth:`__next__`.
        """
        for _ in self:
            pass
        if self.result is None:
            raise PypxError("The C-MOVE was given up before it ended.")
        return self.result
