"""C-GET: the PACS sends over our own association (PS3.4 §C.4.3, PS3.7 §9.1.3).

In: an identifier, associations, and a function that keeps one instance. Out: an iterator
of progress, then a result. Where instances go is the business of that function: it reads
the data set from the wire, and nothing is collected here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from pypx.address import Address
from pypx.client.operation import Operation, Progress, RetrieveResult
from pypx.dicom.data_set import DataSet
from pypx.dimse import status as status_codes
from pypx.dimse.assembler import DataSetReceived, MessageReceived
from pypx.dimse.messages import CCancelRQ, CGetRQ, CGetRSP, CStoreRQ, CStoreRSP, Message
from pypx.dimse.status import Category
from pypx.errors import (
    NoPresentationContextError,
    PypxError,
    RemoteProtocolError,
    StatusError,
)
from pypx.net.connection import Connection, Received
from pypx.net.storing import StoreAssociation
from pypx.ul.negotiation import AcceptedContext

P = TypeVar("P", MessageReceived, DataSetReceived)

__all__ = ["Get", "GetOnce", "OnStore", "get_failure"]

_POLL = 0.25  # seconds between looks at whether to cancel
_DATA_SET_LIMIT = 64 * 1024 * 1024  # bytes of a response: a list of failed UIDs
_SOP_CLASS_NOT_SUPPORTED = 0x0122


def get_failure(address: Address, result: RetrieveResult) -> StatusError:
    """Make the error of a C-GET that the PACS ended with a failure."""
    hint = status_codes.hint(result.status)
    if result.status == 0xA702 or result.status >> 12 == 0xC:
        hint = "Check with px find that something matches the keys, or try px move."
    return result.failure(f"{address} ended the C-GET", "C-GET", hint)


class GetOnce(Operation):
    """One C-GET over one association, read from the wire as it is iterated.

    To a storage service it is the association over which instances come.

    Args:
        connection: Associated, with storage contexts in which the peer stores.
        context: That of the C-GET.
        message_id: Of the request.
        identifier: What is wanted.
        ae_title: Ours.
        on_store: See :data:`OnStore`.

    Attributes:
        result: How it ended; None while it runs. It is set before an error is raised.
        progress: The last numbers that the PACS gave.
        contexts: The presentation contexts, by context ID.
        host: The peer's address.
        calling_ae_title: Who stores: the peer.
        called_ae_title: Who keeps: us.
    """

    def __init__(
        self,
        connection: Connection,
        context: AcceptedContext,
        message_id: int,
        identifier: DataSet,
        ae_title: str,
        on_store: OnStore,
    ) -> None:
        super().__init__(connection, context, message_id, "C-GET")
        self.contexts = connection.contexts
        self.host = connection.address.host
        self.calling_ae_title = connection.address.ae_title
        self.called_ae_title = ae_title
        self._on_store = on_store
        self._in_data_set = False
        self._request(CGetRQ(message_id, context.abstract_syntax), identifier)

    def _next(self) -> Progress:
        while True:
            received = self._wait(MessageReceived)
            if not isinstance(received.message, CStoreRQ):
                break
            self._store(received.context_id, received.message)
        data = self._collect() if received.message.has_data_set else None
        whole = Received(received.context_id, received.message, data)
        response = self._connection.response_to(self.message_id, CGetRSP, whole)
        changed = self._take(response, data)
        self._patience.check_pending(time.monotonic(), changed=changed)
        return self.progress

    def _store(self, context_id: int, request: CStoreRQ) -> None:
        if self.contexts[context_id].abstract_syntax == self._context.abstract_syntax:
            self._refuse(context_id, request)
            return
        status = self._on_store(self, context_id, request)
        self._patience.advanced(time.monotonic())
        if status_codes.is_out_of_resources(status):
            self.cancel()  # the rest would be sent only to be refused

    def _refuse(self, context_id: int, request: CStoreRQ) -> None:
        """Refuse an instance in the context of the C-GET, where none can be stored."""
        if request.has_data_set:
            for _ in self.data_set():
                pass
        response = CStoreRSP(
            request.message_id,
            _SOP_CLASS_NOT_SUPPORTED,
            request.affected_sop_class_uid,
            request.affected_sop_instance_uid,
        )
        self.send(context_id, response)

    def data_set(self) -> Iterator[memoryview]:
        """Give the data set of the message, piece by piece; each is valid until the next.

        Raises:
            PypxError: The association ended in the middle.
        """
        self._in_data_set = True
        while self._in_data_set:
            piece = self._wait(DataSetReceived)
            yield piece.data
            self._in_data_set = not piece.is_last
        self._patience.object_ended(time.monotonic())

    def send(
        self, context_id: int, message: Message, data_set: bytes | memoryview | None = None
    ) -> None:
        """Send a message."""
        self._connection.send(context_id, message, data_set)

    def _collect(self) -> bytes:
        data = bytearray()
        for piece in self.data_set():
            data += piece
            if len(data) > _DATA_SET_LIMIT:
                raise RemoteProtocolError(
                    f"{self._connection.address} sent a response of more than "
                    f"{_DATA_SET_LIMIT >> 20} MiB."
                )
        return bytes(data)

    def _wait(self, kind: type[P]) -> P:
        """Wait for the next message or piece, and cancel meanwhile if that is wanted."""
        connection, patience = self._connection, self._patience
        while True:
            now = time.monotonic()
            if patience.is_cancel_due(now, in_object=self._in_data_set):
                connection.send(self._context.context_id, CCancelRQ(self.message_id))
            patience.check_cancelled(now, connection.last_read)
            part = connection.poll_part(_POLL)
            if isinstance(part, kind):
                return part
            if part is not None:
                raise RemoteProtocolError(f"{connection.address} mixed messages and data sets.")
            patience.check_silence(time.monotonic(), connection.last_read)

    def _failure(self, result: RetrieveResult) -> StatusError:
        return get_failure(self._connection.address, result)


OnStore = Callable[[StoreAssociation, int, CStoreRQ], int]
"""Keep one instance: association, context ID and request to the status that was answered.

It reads the data set to its end and sends the response, when the instance is durable. After
a status *out of resources* the C-GET is cancelled.
"""

Begin = Callable[[], GetOnce]


class Get(Iterator[Progress]):
    """A C-GET over as many associations, one after the other, as its SOP classes need.

    Args:
        begins: Each sends the request for a part of the SOP classes.
        until_whole: Stop when an association has brought something and nothing failed, since
            the SOP classes of the next ones are only possible.

    Attributes:
        result: How all of it ended; None while it runs.
        progress: The numbers of all of it.
    """

    def __init__(self, begins: Sequence[Begin], *, until_whole: bool = False) -> None:
        self.result: RetrieveResult | None = None
        self.progress = Progress()
        self._begins = list(begins)
        self._until_whole = until_whole
        self._many = len(self._begins) > 1
        self._now: GetOnce | None = None
        self._cancelled = False
        self._results: list[RetrieveResult] = []
        self._started = time.monotonic()
        self._begin()  # so that what cannot be asked is known before anything is iterated

    def _begin(self) -> None:
        self._now = self._begins.pop(0)()
        if self._cancelled:
            self._now.cancel()

    def _begin_another(self) -> bool:
        """Go on with the next SOP classes that the PACS knows; say whether there are any."""
        while self._begins:
            try:
                self._begin()
            except NoPresentationContextError:
                continue  # it has none of these, and said so
            return True
        return False

    def __next__(self) -> Progress:
        """Keep what comes until the next word of the PACS.

        Raises:
            PypxError: As :meth:`GetOnce.__next__`.
        """
        while self._now is not None:
            now, failure = self._now, None
            try:
                progress = next(now)
            except StopIteration:
                pass
            except StatusError as error:
                failure = error
            except PypxError:
                self._now = None
                self.progress = self._merged(now.progress)
                raise
            else:
                self.progress = self._merged(progress)
                return self.progress
            self._take(now, failure)
        raise StopIteration

    def _take(self, ended: GetOnce, failure: StatusError | None) -> None:
        self._now = None
        assert ended.result is not None  # it is set before the iteration ends
        self._results.append(ended.result)
        if not self._is_enough(ended.result) and self._begin_another():
            return
        if not self._many:
            self.result, self.progress = ended.result, ended.result.progress
            if failure is not None:
                raise failure
            return
        self.result = self._sum()
        self.progress = self.result.progress
        if failure is not None and not (self.progress.completed or self.progress.warning):
            raise failure

    def _is_enough(self, result: RetrieveResult) -> bool:
        if result.category is Category.CANCEL:
            return True
        brought = bool(result.progress.completed) and not result.progress.failed
        return self._until_whole and result.category is Category.SUCCESS and brought

    def _merged(self, current: Progress) -> Progress:
        """Add what earlier associations brought; what failed there may still come."""
        if not self._results:
            return current
        before = [one.progress for one in self._results]
        done = sum(one.completed or 0 for one in before)
        warned = sum(one.warning or 0 for one in before)
        return Progress(
            current.remaining,
            done + (current.completed or 0),
            current.failed,
            warned + (current.warning or 0),
        )

    def _sum(self) -> RetrieveResult:
        """Say how all of it ended: an instance failed that came over none of the associations."""
        last, all_ = self._results[-1], [one.progress for one in self._results]
        completed = sum(one.completed or 0 for one in all_)
        warning = sum(one.warning or 0 for one in all_)
        wanted = max((one.completed or 0) + (one.failed or 0) + (one.warning or 0) for one in all_)
        failed = max(0, wanted - completed - warning)
        lists = [set(one.failed_sop_instance_uids) for one in self._results]
        status = status_codes.SUCCESS
        if last.category is Category.CANCEL:
            status = last.status
        elif failed or warning:
            status = next((r.status for r in self._results if r.status), 0xB000)
        return RetrieveResult(
            status,
            Progress(last.progress.remaining, completed, failed, warning),
            tuple(sorted(set.intersection(*lists))) if failed else (),
            next((one.comment for one in self._results if one.comment), ""),
            time.monotonic() - self._started,
        )

    def cancel(self) -> None:
        """Have a C-CANCEL sent; go on iterating for the final response."""
        self._cancelled = True
        if self._now is not None:
            self._now.cancel()

    def run(self) -> RetrieveResult:
        """Iterate to the end and give the result.

        Raises:
            PypxError: As :meth:`__next__`.
        """
        for _ in self:
            pass
        if self.result is None:
            raise PypxError("The C-GET was given up before it ended.")
        return self.result
