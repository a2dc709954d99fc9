"""Ask a peer for storage commitment, and hear its reports (PS3.4 §J.3, PS3.7 §10.1.1, §10.1.4).

In: an association, and what is to be committed. Out: what the peer reports, over the same
association while that is open, or over one that it makes to our :class:`ReportListener`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from pypx.client.commitment import CommitmentResult, Reports, Transaction
from pypx.dicom import uids
from pypx.dicom.encoding import encoding_of
from pypx.dimse import status as status_codes
from pypx.dimse.assembler import MessageReceived
from pypx.dimse.messages import CEchoRQ, Message
from pypx.dimse.n_services import NActionRQ, NActionRSP, NEventReportRQ, NEventReportRSP
from pypx.dimse.status import Category, category
from pypx.errors import (
    AssociationError,
    CancelledError,
    NetworkError,
    ProtocolError,
    PypxError,
    RemoteProtocolError,
    StatusError,
)
from pypx.net.acceptor import acceptance, choose_uncompressed, serve_echo
from pypx.net.connection import Connection, Received
from pypx.net.served import Caller, ServedAssociation, Service
from pypx.net.server import Server
from pypx.ul.negotiation import AcceptedContext
from pypx.ul.pdu import AAssociateAC, AAssociateRJ, AAssociateRQ, ContextResult

__all__ = ["Commit", "ReportListener"]

_REQUEST_STORAGE_COMMITMENT = 1  # Action Type ID, PS3.4 §J.3.2
_REPORT_LIMIT = 16 * 1024 * 1024  # bytes; a reference takes some 150
_POLL = 0.1  # seconds between looks at what came over another association
_LOST = (NetworkError, AssociationError, ProtocolError)

Allowed = Callable[[AAssociateRQ, Caller], bool]
"""Say whether a peer with this calling AE title and numeric address may associate."""


class ReportListener:
    """Hear the reports of a PACS that makes an association for them; a context manager.

    Args:
        reports: Where they go.
        host: The address to bind.
        port: 0 takes a free one.
        allowed: Who may associate; what is reported of a transaction that is not ours
            is refused anyway.

    Attributes:
        port: The port that is bound.

    Raises:
        ConfigError: The address cannot be bound.
    """

    def __init__(self, reports: Reports, host: str, port: int, *, allowed: Allowed) -> None:
        self.services: Mapping[type[Message], Service] = {
            CEchoRQ: serve_echo,
            NEventReportRQ: self._serve,
        }
        self._reports = reports
        self._allowed = allowed
        self._server = Server(host, port, self)
        self.port = self._server.port

    def __enter__(self) -> ReportListener:
        self._server.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.stop(grace=2.0)

    def negotiate(self, request: AAssociateRQ, caller: Caller) -> AAssociateAC | AAssociateRJ:
        """Accept storage commitment in the roles that the peer asks for, and verification."""
        if not self._allowed(request, caller):
            # PS3.8 Table 9-21: permanent, service-user, calling AE title not recognised.
            return AAssociateRJ(1, 1, 3)
        return acceptance(request, _choose, roles=_roles)

    def began(self, association: ServedAssociation) -> None:
        """Do nothing: an association without a report says nothing."""

    def ended(self, association: ServedAssociation) -> None:
        """Do nothing, likewise."""

    def _serve(self, association: ServedAssociation, received: MessageReceived) -> None:
        request = received.message
        assert isinstance(request, NEventReportRQ)  # the table of services says so
        data = bytearray()
        for piece in association.data_set() if request.has_data_set else ():
            if len(data) + len(piece) > _REPORT_LIMIT:
                raise RemoteProtocolError(
                    f"The peer sent a report of more than {_REPORT_LIMIT >> 20} MiB.",
                    abort_reason=6,
                )
            data += piece
        syntax = association.contexts[received.context_id].transfer_syntax
        response = _answer(self._reports, request, bytes(data), syntax)
        association.send(received.context_id, response)


def _choose(abstract_syntax: str, proposed: tuple[str, ...]) -> str | ContextResult:
    if abstract_syntax in (uids.STORAGE_COMMITMENT, uids.VERIFICATION):
        return choose_uncompressed(proposed)
    return ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED


def _roles(sop_class_uid: str) -> tuple[bool, bool] | None:
    """The peer is the provider although it requests the association (PS3.4 §J.3.3)."""
    return (True, True) if sop_class_uid == uids.STORAGE_COMMITMENT else None


def _answer(
    reports: Reports, request: NEventReportRQ, data: bytes | None, transfer_syntax: str
) -> NEventReportRSP:
    """Take a report and make the response to it."""
    return NEventReportRSP(
        request.message_id,
        reports.take(data, encoding_of(transfer_syntax)),
        request.affected_sop_class_uid,
        request.affected_sop_instance_uid,
        request.event_type_id,
    )


class Commit:
    """Storage commitment over one association.

    Args:
        connection: Where the context was accepted.
        context: For the storage commitment push model.
        reports: What is to be committed.
        timeout: Seconds without a report that end the wait.
        listening: Whether a :class:`ReportListener` hears as well, so that the end of this
            association is not the end of all hope.

    Attributes:
        error: What went wrong, where something did; the reports stand nevertheless.
    """

    def __init__(
        self,
        connection: Connection,
        context: AcceptedContext,
        reports: Reports,
        *,
        timeout: float = 60.0,
        listening: bool = False,
    ) -> None:
        self.error: PypxError | None = None
        self._connection = connection
        self._context = context
        self._encoding = encoding_of(context.transfer_syntax)
        self._reports = reports
        self._timeout = timeout
        self._listening = listening
        self._stopped = False

    def stop(self) -> None:
        """End the wait; also from the handler of a signal."""
        self._stopped = True

    def run(self) -> CommitmentResult:
        """Ask for all, and wait for the reports; what goes wrong is in :attr:`error`."""
        self._connection.busy = True
        try:
            for number, transaction in enumerate(self._reports.transactions, 1):
                if not (self._stopped or self.error):
                    self._ask(number, transaction)
                else:
                    self._reports.close(transaction)
            self._wait()
            if self._stopped and self._reports.is_open:
                self.error = CancelledError("The wait for the reports was stopped.")
        finally:
            self._connection.busy = False
        return self._reports.result()

    def _ask(self, number: int, transaction: Transaction) -> None:
        """Send an N-ACTION; note the error where it is refused."""
        request = NActionRQ(
            number,
            requested_sop_class_uid=uids.STORAGE_COMMITMENT,
            requested_sop_instance_uid=uids.STORAGE_COMMITMENT_INSTANCE,
            action_type_id=_REQUEST_STORAGE_COMMITMENT,
            has_data_set=True,
        )
        data_set = transaction.action_information().to_bytes(self._encoding)
        try:
            self._connection.send(self._context.context_id, request, data_set)
            received = self._connection.receive()
            while isinstance(received.message, NEventReportRQ):  # of an earlier one
                self._take(received)
                received = self._connection.receive()
            response = self._connection.response_to(number, NActionRSP, received)
        except _LOST as error:  # the peer may have got the request all the same
            self.error = error
            return
        if category(response.status) is Category.FAILURE:
            self._reports.close(transaction)
            self.error = self._refusal(response)

    def _refusal(self, response: NActionRSP) -> StatusError:
        meaning = status_codes.sentence(response.status, "N-ACTION")
        said = f" ({response.error_comment})" if response.error_comment else ""
        return StatusError(
            f"{self._connection.address} refused storage commitment with status "
            f"{response.status:04X}H: {meaning}{said}.",
            status=response.status,
            comment=response.error_comment or "",
        )

    def _wait(self) -> None:
        """Wait for the reports; each one begins the wait anew."""
        heard, received = time.monotonic(), self._reports.received
        while self._reports.is_open and not self._stopped:
            if self._reports.received != received:
                heard, received = time.monotonic(), self._reports.received
            left = heard + self._timeout - time.monotonic()
            if left <= 0 or not (self._connection.is_open or self._listening):
                return
            self._wait_once(min(left, _POLL))

    def _wait_once(self, seconds: float) -> None:
        if not self._connection.is_open:
            time.sleep(seconds)
            return
        try:
            found = self._connection.poll(seconds)
            if found is not None:
                self._take(found)
        except _LOST as error:
            if not self._listening:
                self.error = self.error or error

    def _take(self, received: Received) -> None:
        """Take what came over this association.

        Raises:
            RemoteProtocolError: It is no report; the association is aborted.
        """
        request = received.message
        if not isinstance(request, NEventReportRQ):
            self._connection.abort()
            raise RemoteProtocolError(
                f"{self._connection.address} sent a {type(request).__name__} where a report "
                "of storage commitment was expected."
            )
        context = self._connection.contexts[received.context_id]
        response = _answer(self._reports, request, received.data_set, context.transfer_syntax)
        self._connection.send(received.context_id, response)
