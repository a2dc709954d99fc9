"""The embedded PACS: its port, what it accepts, which function serves which request.

In: an archive and the destinations that it may send to. Out: a running service
class provider. It stores what is sent to it as the receiver does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pypx.address import Address, check_ae_title
from pypx.archive import Archive
from pypx.dicom import uids
from pypx.dimse.assembler import MessageReceived
from pypx.dimse.messages import CEchoRQ, CFindRQ, CGetRQ, CMoveRQ, CStoreRQ, Message
from pypx.net.acceptor import acceptance, choose_uncompressed, serve_echo
from pypx.net.limits import AcceptorLimits
from pypx.net.served import Caller, ServedAssociation, Service
from pypx.net.server import Server
from pypx.pacs.faults import misbehaving
from pypx.pacs.find import serve_find
from pypx.pacs.retrieve import Request, serve_get, serve_move
from pypx.receiver.receiver import choose_transfer_syntax
from pypx.receiver.store import answer_store, receive_instance
from pypx.ul.pdu import AAssociateAC, AAssociateRJ, AAssociateRQ, ContextResult

__all__ = ["Pacs"]

_SERVICES = frozenset(
    {
        uids.VERIFICATION,
        uids.PATIENT_ROOT_FIND,
        uids.PATIENT_ROOT_MOVE,
        uids.PATIENT_ROOT_GET,
        uids.STUDY_ROOT_FIND,
        uids.STUDY_ROOT_MOVE,
        uids.STUDY_ROOT_GET,
    }
)


class Pacs:
    """A PACS in this process; a context manager that starts and stops.

    Args:
        archive: What it serves; the caller closes it.
        ae_title: What it is called.
        host: The address to bind.
        port: 0 takes a free one.
        destinations: Where C-MOVE may send, by AE title.
        faults: How it misbehaves, each ``NAME`` or ``NAME=VALUE`` of
            :data:`pypx.pacs.FAULTS`; none for an honest one.

    Attributes:
        address: Where it listens.
        destinations: As given; may be changed while it runs.

    Raises:
        ConfigError: The address cannot be bound, or there is no such fault.
    """

    def __init__(
        self,
        archive: Archive,
        *,
        ae_title: str = "DEMO",
        host: str = "127.0.0.1",
        port: int = 0,
        destinations: Mapping[str, Address] | None = None,
        faults: Iterable[str] = (),
    ) -> None:
        self.destinations = dict(destinations or {})
        self.services: Mapping[type[Message], Service] = {
            CEchoRQ: serve_echo,
            CStoreRQ: self._store,
            CFindRQ: self._find,
            CMoveRQ: self._move,
            CGetRQ: self._get,
        }
        self._archive = archive
        self._ae_title = check_ae_title(ae_title)
        self._behaviour = misbehaving(faults)
        self._server = Server(
            host,
            port,
            self,
            limits=AcceptorLimits(
                max_associations=self._behaviour.max_associations,
                max_associations_per_host=0,
                idle_timeout=self._behaviour.idle_timeout,
            ),
        )
        self.address = Address(self._ae_title, self._server.host, self._server.port)

    def __enter__(self) -> Pacs:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to accept associations."""
        self._server.start()

    def stop(self, grace: float = 1.0) -> None:
        """Stop; messages under way have ``grace`` seconds to end."""
        self._behaviour.stop()
        self._server.stop(grace)

    def negotiate(self, request: AAssociateRQ, caller: Caller) -> AAssociateAC | AAssociateRJ:
        """Accept every association, and each context for which there is a service."""
        # Both roles, because C-GET sends on the association of the requestor.
        return self._behaviour.negotiate(request) or acceptance(
            request, self._choose, roles=lambda _: (True, True)
        )

    def _choose(self, abstract_syntax: str, proposed: tuple[str, ...]) -> str | ContextResult:
        if abstract_syntax in _SERVICES:
            return choose_uncompressed(proposed)
        if uids.is_storage(abstract_syntax):
            return choose_transfer_syntax(proposed)
        return ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED

    def began(self, association: ServedAssociation) -> None:
        """Hear that an association was accepted; nobody asks for it here."""

    def ended(self, association: ServedAssociation) -> None:
        """Hear that an association is over; nobody asks for it here."""

    def _store(self, association: ServedAssociation, received: MessageReceived) -> None:
        request = received.message
        assert isinstance(request, CStoreRQ)  # the table of services says so
        result = receive_instance(association, received.context_id, request, self._archive)
        answer_store(association, received.context_id, request, result)

    def _find(self, association: ServedAssociation, received: MessageReceived) -> None:
        request = received.message
        assert isinstance(request, CFindRQ)  # the table of services says so
        serve_find(
            association,
            received.context_id,
            request,
            self._archive,
            self._ae_title,
            self._behaviour,
        )

    def _move(self, association: ServedAssociation, received: MessageReceived) -> None:
        request = self._request(association, received)
        serve_move(request, self._archive, self.destinations, self._ae_title)

    def _get(self, association: ServedAssociation, received: MessageReceived) -> None:
        serve_get(self._request(association, received), self._archive)

    def _request(self, association: ServedAssociation, received: MessageReceived) -> Request:
        message = received.message
        assert isinstance(message, CMoveRQ | CGetRQ)  # the table of services says so
        return Request(association, received.context_id, message, self._behaviour)
