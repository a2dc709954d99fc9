"""What C-MOVE and C-GET have in common: progress as the PACS tells it, then a result (PS3.7 §9.1).

In: a connection on which a request is made. Out: an iterator of progress, with a result at its end.
Not here: what is asked for, and what comes meanwhile.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator

from pypx.client.patience import Patience
from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import encoding_of
from pypx.dicom.encoding import Encoding
from pypx.dimse import status as status_codes
from pypx.dimse.messages import CRetrieveRSP, Message
from pypx.dimse.status import Category, category
from pypx.errors import DataSetError, PypxError, StatusError
from pypx.net.connection import Connection
from pypx.ul.negotiation import AcceptedContext
from pypx.values import frozen

__all__ = ["Operation", "Progress", "RetrieveResult", "Told", "failed_uids"]


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


class Told(Iterator[Progress], ABC):
    """One C-MOVE or C-GET of which somebody tells: a connection of ours, or a program.

    Args:
        service: ``C-MOVE`` or ``C-GET``.
        patience: How long nothing may be told.

    Attributes:
        result: How it ended; None while it runs. It is set before an error is raised.
        progress: The last numbers that the PACS gave.
    """

    def __init__(self, service: str, patience: Patience) -> None:
        self.result: RetrieveResult | None = None
        self.progress = Progress()
        self._service = service
        self._patience = patience

    def cancel(self) -> None:
        """Have it cancelled; go on iterating for its end.

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
            raise PypxError(f"The {self._service} was given up before it ended.")
        return self.result


class Operation(Told):
    """One C-MOVE or C-GET, read from the wire as it is iterated.

    Args:
        connection: On which it is made; it is busy until the end.
        context: That of the request.
        message_id: Of the request.
        service: ``C-MOVE`` or ``C-GET``.
        hint: What to try, besides more time, where the PACS is given up.

    Attributes:
        result: How it ended; None while it runs. It is set before an error is raised.
        progress: The last numbers that the PACS gave.
        message_id: Of the request.
    """

    def __init__(
        self,
        connection: Connection,
        context: AcceptedContext,
        message_id: int,
        service: str,
        *,
        hint: str = "",
    ) -> None:
        started = time.monotonic()
        patience = Patience(connection.address, service, connection.timeouts, started, hint=hint)
        super().__init__(service, patience)
        self.message_id = message_id
        self._connection = connection
        self._context = context
        self._encoding = encoding_of(context.transfer_syntax)
        self._started = started
        self._over = False

    def _request(self, request: Message, identifier: DataSet) -> None:
        """Send the request; what comes over the connection belongs to it from then on."""
        self._connection.busy = True
        self._connection.send(
            self._context.context_id, request, identifier.to_bytes(self._encoding)
        )

    def __next__(self) -> Progress:
        """Wait for the next word of the PACS.

        Raises:
            StatusError: The operation failed; :attr:`result` has the numbers.
            PeerTimeoutError: The PACS showed no sign of life, or nothing but that it is busy.
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

    @abstractmethod
    def _next(self) -> Progress:
        """Give the next progress; StopIteration and a StatusError leave the association usable."""

    def _take(self, response: CRetrieveRSP, data_set: bytes | None) -> bool:
        """Merge a response; say whether it changed a number of an operation that goes on.

        Raises:
            StopIteration: It was the last one.
            StatusError: It was, and is a failure.
        """
        before, self.progress = self.progress, self.progress.updated(response)
        if category(response.status) is Category.PENDING:
            return self.progress != before
        self.result = RetrieveResult(
            response.status,
            self.progress,
            failed_uids(data_set, self._encoding),
            response.error_comment or "",
            time.monotonic() - self._started,
        )
        if self.result.category is Category.FAILURE:
            raise self._failure(self.result)
        raise StopIteration

    @abstractmethod
    def _failure(self, result: RetrieveResult) -> StatusError:
        """Make the error of a final status that is a failure."""
