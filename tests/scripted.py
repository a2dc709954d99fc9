"""A service class provider whose answers a test writes down, on a real port."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pypx.address import Address
from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import encoding_of
from pypx.dimse.assembler import MessageReceived
from pypx.dimse.messages import (
    CCancelRQ,
    CFindRQ,
    CFindRSP,
    CGetRQ,
    CGetRSP,
    CMoveRQ,
    CMoveRSP,
    CStoreRQ,
    CStoreRSP,
    Message,
)
from pypx.net.served import Caller, ServedAssociation
from pypx.net.server import Server
from pypx.ul.negotiation import answer
from pypx.ul.pdu import AAssociateAC, AAssociateRJ, AAssociateRQ
from tests.objects import CT_IMAGE, data_set

Answer = Callable[["Exchange"], None]


class Exchange:
    """One request as the test sees it, and the ways to answer it."""

    def __init__(self, association: ServedAssociation, received: MessageReceived) -> None:
        self.association = association
        self.context_id = received.context_id
        self.request: Any = received.message
        syntax = association.contexts[received.context_id].transfer_syntax
        self.encoding = encoding_of(syntax)
        data = b"".join(bytes(piece) for piece in association.data_set())
        self.cancelled = False
        self.identifier = DataSet.from_bytes(data, self.encoding)

    def send(self, message: Message, data_set: bytes | None = None) -> None:
        self.association.send(self.context_id, message, data_set)

    def match(self, status: int = 0xFF00, **keys: str) -> None:
        """Send a pending C-FIND-RSP."""
        response = CFindRSP(self.request.message_id, status, has_data_set=True)
        self.send(response, DataSet.from_keywords(keys).to_bytes(self.encoding))

    def end_find(self, status: int = 0x0000, comment: str | None = None) -> None:
        """Send a final C-FIND-RSP."""
        self.send(CFindRSP(self.request.message_id, status, error_comment=comment))

    def progress(self, status: int, *numbers: int | None, failed: Iterable[str] = ()) -> None:
        """Send a C-MOVE-RSP or C-GET-RSP: remaining, completed, failed, warning sub-operations."""
        names = list(failed)
        data_set = None
        if names:
            identifier = DataSet.from_keywords({"FailedSOPInstanceUIDList": names})
            data_set = identifier.to_bytes(self.encoding)
        message_id = self.request.message_id
        kind = CGetRSP if isinstance(self.request, CGetRQ) else CMoveRSP
        self.send(kind(message_id, status, None, *numbers, has_data_set=bool(names)), data_set)

    def begin_store(self, number: int = 1, *, uid: str = "", sop_class: str = CT_IMAGE) -> int:
        """Send the C-STORE-RQ of a sub-operation; give the context its data set belongs to."""
        context_id = next(
            context.context_id
            for context in self.association.contexts.values()
            if context.abstract_syntax == sop_class
        )
        request = CStoreRQ(number, sop_class, uid or f"1.2.3.4.{number}")
        self.association.send(context_id, request)
        return context_id

    def store(self, number: int = 1, *, uid: str = "", **changes: Any) -> int:
        """Perform a sub-operation with an object of the tests; give the status of its answer."""
        context_id = self.begin_store(number, uid=uid)
        data = data_set(number, **({"SOPInstanceUID": uid} if uid else {}), **changes)
        self.association.send_data_set(context_id, data, is_last=True)
        return self.stored()

    def stored(self) -> int:
        """Wait for the answer to a sub-operation; give its status."""
        response = self.association.next_message().message
        while isinstance(response, CCancelRQ):
            self.cancelled = True
            response = self.association.next_message().message
        assert isinstance(response, CStoreRSP), response
        return response.status

    def cut(self) -> None:
        """Close the connection without a word."""
        self.association.close()

    def wait_for_cancel(self) -> bool:
        """Wait until the peer cancels this request."""
        message = self.association.next_message().message
        return getattr(message, "message_id_being_responded_to", None) == self.request.message_id


class Scripted:
    """Answer C-FIND, C-MOVE and C-GET as told; a context manager.

    Args:
        find: Answers a C-FIND.
        move: Answers a C-MOVE.
        get: Answers a C-GET.
        refuse: Abstract syntaxes that are not accepted.
    """

    def __init__(
        self,
        *,
        find: Answer | None = None,
        move: Answer | None = None,
        get: Answer | None = None,
        refuse: Iterable[str] = (),
    ) -> None:
        self._refuse = frozenset(refuse)
        self.services: dict[type[Message], Any] = {}
        self.requests: list[AAssociateRQ] = []
        self.failures: list[Exception | None] = []
        for kind, function in ((CFindRQ, find), (CMoveRQ, move), (CGetRQ, get)):
            if function is not None:
                self.services[kind] = self._service(function)
        self._server = Server("127.0.0.1", 0, self)
        self.address = Address("SCRIPTED", self._server.host, self._server.port)

    @staticmethod
    def _service(function: Answer) -> Callable[[ServedAssociation, MessageReceived], None]:
        return lambda association, received: function(Exchange(association, received))

    def negotiate(self, request: AAssociateRQ, caller: Caller) -> AAssociateAC | AAssociateRJ:
        self.requests.append(request)
        return answer(
            request,
            lambda abstract, syntaxes: None if abstract in self._refuse else syntaxes[0],
            implementation_class_uid="1.2.3",
        )

    def began(self, association: ServedAssociation) -> None:
        pass

    def ended(self, association: ServedAssociation) -> None:
        self.failures.append(association.failure)

    def __enter__(self) -> Scripted:
        self._server.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.stop()
