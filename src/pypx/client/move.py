"""C-MOVE: progress as the PACS tells it, then a result (PS3.4 §C.4.2, PS3.7 §9.1.4).

In: an identifier, a destination and a connection. Out: an iterator of progress.
Whether the objects arrived is not known here: only what the PACS says of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import encoding_of
from pypx.dicom.encoding import Encoding
from pypx.dimse import status as status_codes
from pypx.dimse.messages import CCancelRQ, CMoveRQ, CMoveRSP, CRetrieveRSP
from pypx.dimse.status import Category, category
from pypx.errors import (
    CancelledError,
    DataSetError,
    PeerTimeoutError,
    PypxError,
    StatusError,
)
from pypx.net.connection import Connection, Received
from pypx.ul.negotiation import AcceptedContext
from pypx.values import frozen

__all__ = ["Move", "Progress", "RetrieveResult", "failed_uids"]

_POLL = 0.25  # seconds between looks at what else shows that the operation lives


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


class Move(Iterator[Progress]):
    """One C-MOVE, read from the wire as it is iterated.

    Attributes:
        result: How it ended; None while it runs. It is set before an error is raised.
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
        self._message_id = message_id
        self._destination = destination
        self._last_activity = last_activity
        self._encoding = encoding_of(context.transfer_syntax)
        self._started = self._heard = time.monotonic()
        self._cancelled_at: float | None = None
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
            PeerTimeoutError: Neither the PACS nor the receiver showed a sign of life.
            NetworkError, AssociationError, ProtocolError: The association ended.
        """
        if self._over:
            raise StopIteration
        try:
            return self._next()
        except BaseException:
            self._over = True
            self._connection.busy = False
            raise

    def _next(self) -> Progress:
        received = self._wait()
        response = self._connection.response_to(self._message_id, CMoveRSP, received)
        self.progress = self.progress.updated(response)
        if category(response.status) is Category.PENDING:
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
        """Wait for a message; what the receiver gets meanwhile counts as a sign of life."""
        timeouts = self._connection.timeouts
        while True:
            received = self._connection.poll(_POLL)
            now = time.monotonic()
            if received is not None:
                self._heard = now
                return received
            if self._last_activity is not None:
                self._heard = max(self._heard, self._last_activity())
            if self._cancelled_at is not None and now - self._cancelled_at > timeouts.release:
                self._connection.abort()
                raise CancelledError(
                    f"{self._connection.address} did not heed the C-CANCEL within "
                    f"{timeouts.release:g} s; the association was aborted."
                )
            if now - self._heard > timeouts.response:
                self._connection.abort()
                raise PeerTimeoutError(
                    f"{self._connection.address} was silent for {timeouts.response:g} s "
                    "in the middle of a C-MOVE, and nothing arrived.",
                    phase="response",
                    hint="The PACS may fetch from slow storage: allow more time with --timeout. "
                    f"Check also that it reaches {self._destination!r} from its side.",
                )

    def _failure(self, result: RetrieveResult) -> StatusError:
        hint = status_codes.hint(result.status)
        if result.status >> 12 == 0xC:
            # Orthanc and PixelMed answer so for an unknown destination and for no match.
            hint = (
                f"Check that the PACS knows the destination {self._destination!r}, and that "
                "something matches the keys: some answer so in both cases."
            )
        what = f"{self._connection.address} ended the C-MOVE to {self._destination!r}"
        return result.failure(what, "C-MOVE", hint)

    def cancel(self) -> None:
        """Send a C-CANCEL; go on iterating for the final response."""
        if not self._over and self._cancelled_at is None and self._connection.is_open:
            self._cancelled_at = time.monotonic()
            self._connection.send(self._context.context_id, CCancelRQ(self._message_id))

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
