"""One association in which we are the acceptor: negotiate, serve, end.

In: a channel, and a :class:`Provider` that says what is accepted and which
function serves which request. Out: calls of those functions. What a request
means does not belong here, and neither does the port: that is ``server.py``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from pypx.dimse.assembler import DataSetReceived, MessageReceived
from pypx.dimse.messages import CCancelRQ, Message
from pypx.dimse.session import SessionEvent
from pypx.errors import (
    AssociationAbortedError,
    ConnectionLostError,
    NetworkError,
    PeerLimitError,
    PeerTimeoutError,
    PypxError,
    RemoteProtocolError,
    StoppingError,
)
from pypx.net.channel import Channel
from pypx.net.limits import DEFAULT_LIMITS, AcceptorLimits
from pypx.ul.association import (
    AbortIndication,
    AssociateIndication,
    ProviderAbortIndication,
    ReleaseIndication,
)
from pypx.ul.negotiation import AcceptedContext, accepted_contexts, check_request
from pypx.ul.pdu import AAssociateAC, AAssociateRJ, AAssociateRQ, abort_sentence
from pypx.values import frozen

if TYPE_CHECKING:
    from pypx.net.tls import TlsSocket

__all__ = ["Caller", "Provider", "Refusal", "ServedAssociation", "Service"]

_CLOSE_WAIT = 1.0  # seconds that a peer has to close after our last PDU
_POLL = 0.25  # seconds after which a silent association looks whether the server is stopping
_STOPPING = "The listener is stopping."

Service = Callable[["ServedAssociation", MessageReceived], None]
Negotiate = Callable[[AAssociateRQ, "Caller"], "AAssociateAC | AAssociateRJ | Refusal"]


@frozen
class Caller:
    """Who asks for an association, as far as the transport knows.

    Attributes:
        host: Its numeric address.
        names: Those of its TLS certificate, which was checked; none where it showed none.
        max_pdu: Bytes of a P-DATA-TF that are taken over this connection.
    """

    host: str
    names: tuple[str, ...] = ()
    max_pdu: int = DEFAULT_LIMITS.max_pdu


@frozen
class Refusal:
    """A rejection with its reason, which the peer does not get to know.

    Attributes:
        answer: What is sent.
        reason: For our log, without a full stop.
        kind: The error that the failure of the association becomes.
    """

    answer: AAssociateRJ
    reason: str
    kind: type[PypxError] = NetworkError


class Provider(Protocol):
    """What an acceptor offers.

    Attributes:
        services: The function for each request message; it reads the data set, if
            there is one, and sends the responses.
    """

    services: Mapping[type[Message], Service]

    def negotiate(
        self, request: AAssociateRQ, caller: Caller
    ) -> AAssociateAC | AAssociateRJ | Refusal:
        """Answer an association request; it may take its time, in the association's thread."""
        ...

    def began(self, association: ServedAssociation) -> None:
        """Hear that an association was accepted, before anything is served over it."""
        ...

    def ended(self, association: ServedAssociation) -> None:
        """Hear that an association is over; ``association.failure`` says how."""
        ...


class _Ended(Exception):
    """The peer released: not an error, but nothing more can be read."""


class ServedAssociation:
    """One association in which we are the acceptor.

    Args:
        channel: Over the connection.
        host: The peer's address.
        limits: What the peer may ask.
        tls: The secure connection that is still to be made, below the channel; None for none.

    Attributes:
        host: The peer's address.
        request: Its A-ASSOCIATE-RQ.
        contexts: The presentation contexts that we accepted, by context ID.
        failure: Why the association did not end by release; None while all is well.
        started: When it was accepted, monotonic seconds.
        record: For the provider to note what it served.
        refusal: Why the association is rejected, where more is known than the answer says.
    """

    def __init__(
        self,
        channel: Channel,
        host: str,
        limits: AcceptorLimits,
        tls: TlsSocket | None = None,
    ) -> None:
        self.host = host
        self.request: AAssociateRQ | None = None
        self.contexts: dict[int, AcceptedContext] = {}
        self.failure: PypxError | None = None
        self.started = time.monotonic()
        self.record: object = None
        self.refusal = ""
        self._tls = tls
        self._channel = channel
        self._limits = limits
        self._idle_timeout = limits.idle_timeout
        self._end = self.started + (limits.association_timeout or math.inf)
        self._most_bytes = limits.max_bytes or math.inf
        self._cut_for = ""
        self._events: list[SessionEvent] = []
        self._position = 0
        self._stopping = False

    @property
    def calling_ae_title(self) -> str:
        """The AE title by which the peer calls itself; empty before its request."""
        return self.request.calling_ae_title if self.request else ""

    @property
    def called_ae_title(self) -> str:
        """The AE title by which the peer calls us; empty before its request."""
        return self.request.called_ae_title if self.request else ""

    def _next_event(self) -> SessionEvent:
        """Give the next event, reading when none is left.

        The views of all earlier events are invalid once this reads again.
        """
        while self._position >= len(self._events):
            if self._channel.closed:
                raise self._closed()
            now = time.monotonic()
            idle = now - self._channel.last_read
            if idle >= self._idle_timeout:
                raise PeerTimeoutError(
                    f"The peer was silent for {self._idle_timeout:g} s.", phase="idle"
                )
            if now >= self._end or self._channel.received > self._most_bytes:
                raise self._too_much()
            self._events = self._channel.receive(min(self._idle_timeout - idle, _POLL))
            self._position = 0
            if self._stopping and not self._events and not self.busy:
                raise StoppingError(_STOPPING)
        event = self._events[self._position]
        self._position += 1
        self._raise_if_ended(event)
        return event

    def _closed(self) -> PypxError:
        """Say why the connection is closed."""
        if self._cut_for:
            return PeerLimitError(self._cut_for)
        if self._channel.session.association.expired:
            return PeerTimeoutError(
                f"The peer did not ask for an association within {self._limits.artim_timeout:g} s.",
                phase="association",
            )
        return ConnectionLostError("The peer closed the connection.")

    def _too_much(self) -> PypxError:
        """Say which limit of the whole association the peer has passed."""
        limits = self._limits
        if self._channel.received > self._most_bytes:
            return PeerLimitError(f"The peer sent more than {limits.max_bytes} bytes (max_bytes).")
        return PeerLimitError(
            f"The association lasted longer than {limits.association_timeout:g} s "
            "(association_timeout)."
        )

    def _raise_if_ended(self, event: SessionEvent) -> None:
        match event:
            case ReleaseIndication():
                if self._channel.session.message_in_progress:
                    raise RemoteProtocolError(
                        "The peer asked for release in the middle of a message.", abort_reason=2
                    )
                self._look_ahead()
                raise _Ended
            case AbortIndication(source, reason):
                raise AssociationAbortedError(
                    f"The peer aborted: {abort_sentence(int(source), int(reason))}",
                    source=int(source),
                    reason=int(reason),
                )
            case ProviderAbortIndication(_, message, lost=True):
                raise ConnectionLostError(f"The connection was lost: {message}")
            case ProviderAbortIndication(reason, message):
                raise RemoteProtocolError(message, abort_reason=int(reason))
            case _:
                pass

    def _look_ahead(self) -> None:
        """Raise the end of the association, if it came with the event that would be answered."""
        for event in self._events[self._position :]:
            if isinstance(event, AbortIndication | ProviderAbortIndication):
                self._raise_if_ended(event)

    @property
    def last_read(self) -> float:
        """The monotonic time at which bytes last came."""
        return self._channel.last_read

    @property
    def is_waiting(self) -> bool:
        """Whether the peer has not asked for an association yet, and may still do so."""
        return self.request is None and self.failure is None and not self._cut_for

    @property
    def is_silent(self) -> bool:
        """Whether no byte ever came."""
        return self._channel.received == 0

    @property
    def busy(self) -> bool:
        """Whether the peer has begun a message that is not whole."""
        return self._channel.session.message_in_progress

    def data_set(self) -> Iterator[memoryview]:
        """Give the data set of the message being served, piece by piece.

        A piece is valid until the next one is asked for.

        Raises:
            PypxError: The association ended in the middle.
        """
        while True:
            event = self._next_event()
            if not isinstance(event, DataSetReceived):
                raise RemoteProtocolError(
                    "The peer sent no data set where one belongs.", abort_reason=None
                )
            yield event.data
            if event.is_last:
                return

    def send(
        self, context_id: int, message: Message, data_set: bytes | memoryview | None = None
    ) -> None:
        """Send a message, and its data set if it is at hand as a whole."""
        self._channel.session.send(context_id, message, data_set)
        self._channel.flush()

    def send_data_set(self, context_id: int, data: bytes | memoryview, *, is_last: bool) -> None:
        """Send the next piece of the data set of the last message."""
        self._channel.session.send_data_set(context_id, data, is_last=is_last)
        self._channel.flush()

    def next_message(self) -> MessageReceived:
        """Wait for the next message; its data set, if any, is then to be read."""
        if self._stopping and self._position >= len(self._events) and not self.busy:
            # A peer that sends one object after the other is never silent; this is between two.
            raise StoppingError(_STOPPING)
        event = self._next_event()
        if not isinstance(event, MessageReceived):
            raise RemoteProtocolError(
                "The peer sent a data set where a message belongs.", abort_reason=None
            )
        return event

    def cancelled(self, message_id: int) -> bool:
        """Look, without waiting, whether the peer has sent a C-CANCEL for this message.

        Raises:
            PypxError: The association has ended.
        """
        if self._position >= len(self._events):
            self._events = self._channel.receive(0)
            self._position = 0
        if self._channel.closed and not self._events:
            raise ConnectionLostError("The peer closed the connection.")
        for event in self._events[self._position :]:
            self._raise_if_ended(event)
            if isinstance(event, MessageReceived) and isinstance(event.message, CCancelRQ):
                return event.message.message_id_being_responded_to == message_id
        return False

    def stop(self) -> None:
        """Ask the association to end when no message is under way."""
        self._stopping = True

    def abort(self) -> None:
        """Send A-ABORT, where that is possible, and close."""
        if self._channel.session.association.can_abort:
            self._channel.session.association.abort(time.monotonic())
        self._channel.finish(_CLOSE_WAIT)

    def close(self) -> None:
        """Close the transport; for the thread that runs the association."""
        self._channel.close()

    def cut(self, reason: str = "") -> None:
        """End the transport, whatever is under way; for another thread to call."""
        self._cut_for = reason
        self._channel.cut()

    def run(
        self,
        provider: Provider,
        negotiate: Negotiate,
        over: Callable[[], None] = lambda: None,
    ) -> None:
        """Negotiate and serve until the association is over; note why in ``failure``.

        Args:
            provider: What is offered; its ``ended`` is the caller's to call.
            negotiate: Answers the association request, for the provider.
            over: Called when the association is over, before its peer can know.
        """
        association = self._channel.session.association
        try:
            if self._tls is not None:
                self._tls.handshake(self._limits.artim_timeout)
            association.transport_connected(time.monotonic())
            if self._negotiate(negotiate):
                provider.began(self)
                while True:
                    self._serve(provider.services, self.next_message())
        except _Ended:
            over()
            association.release_response(time.monotonic())
        except RemoteProtocolError as error:
            self._fail(error)
            over()
            self._channel.session.abort_for(error, time.monotonic())
        except PypxError as error:
            self._fail(error)
            over()
            self.abort()
        self._channel.finish(_CLOSE_WAIT)

    def _fail(self, error: PypxError) -> None:
        # The traceback refers to us, so the buffer of the channel would stay until the next
        # garbage collection, which a few hundred broken associations do not cause.
        self.failure = error.with_traceback(None)

    def _negotiate(self, negotiate: Negotiate) -> bool:
        association = self._channel.session.association
        event = self._next_event()
        if not isinstance(event, AssociateIndication):
            raise RemoteProtocolError("The peer did not begin with an association request.")
        request = self.request = event.request
        self._look_ahead()
        names = self._tls.peer_names if self._tls is not None else ()
        caller = Caller(self.host, names, self._limits.max_pdu)
        answer = check_request(request) or self._check_contexts() or negotiate(request, caller)
        kind: type[PypxError] = NetworkError
        if isinstance(answer, Refusal):
            self.refusal, kind, answer = answer.reason, answer.kind, answer.answer
        if isinstance(answer, AAssociateRJ):
            association.reject(answer, time.monotonic())
            reason = f": {self.refusal}" if self.refusal else ""
            self.failure = kind(f"We rejected the association{reason}.")
            return False
        self.contexts = accepted_contexts(request, answer)
        self._channel.session.accept_contexts(frozenset(self.contexts))
        association.accept(answer, time.monotonic())
        return True

    def _check_contexts(self) -> AAssociateRJ | None:
        assert self.request is not None  # it is being negotiated
        proposed, most = len(self.request.presentation_contexts), self._limits.max_contexts
        if proposed <= most:
            return None
        self.refusal = f"{proposed} presentation contexts, and we take {most} (max_contexts)"
        # PS3.8 Table 9-21: permanent, by the presentation layer, local limit exceeded.
        return AAssociateRJ(1, 3, 2)

    def _serve(self, services: Mapping[type[Message], Service], received: MessageReceived) -> None:
        message = received.message
        service = services.get(type(message))
        if service is not None:
            service(self, received)
        elif not isinstance(message, CCancelRQ):  # A C-CANCEL that came too late asks for nothing.
            self._refuse(received)

    def _refuse(self, received: MessageReceived) -> None:
        """Answer a request that nobody serves: *unrecognised operation*, PS3.7 §C.5.24."""
        from pypx.dimse.n_services import NResponse

        message_id = getattr(received.message, "message_id", None)
        if message_id is None:
            raise RemoteProtocolError(
                f"The peer sent a {type(received.message).__name__} that we did not ask for.",
                abort_reason=None,
            )
        if received.message.has_data_set:
            for _ in self.data_set():
                pass
        field = received.message.COMMAND_FIELD | 0x8000
        response = type("Response", (NResponse,), {"__slots__": (), "COMMAND_FIELD": field})
        self.send(received.context_id, response(message_id, 0x0211))
