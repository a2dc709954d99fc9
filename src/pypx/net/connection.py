"""The requestor: connect, associate, exchange whole messages, release.

In: an address, an A-ASSOCIATE-RQ and time-outs. Out: responses with their data
sets, or one error that says the phase and what to try. What the messages ask
for does not belong here.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pypx.address import Address
from pypx.dimse.assembler import DataSetReceived, MessageReceived
from pypx.dimse.messages import Message
from pypx.dimse.session import Session, SessionEvent
from pypx.errors import (
    AssociationAbortedError,
    AssociationRejectedError,
    ConnectError,
    ConnectionLostError,
    NameLookupError,
    PeerTimeoutError,
    PypxError,
    RemoteProtocolError,
    UserIdentityError,
)
from pypx.net.channel import Channel
from pypx.ul.association import (
    AbortIndication,
    AssociateConfirmation,
    AssociateRejected,
    Association,
    ProviderAbortIndication,
    ReleaseConfirmation,
    ReleaseIndication,
    Role,
)
from pypx.ul.negotiation import AcceptedContext, accepted_contexts
from pypx.ul.pdu import AAssociateAC, AAssociateRQ, abort_sentence, reject_sentence
from pypx.values import frozen

if TYPE_CHECKING:
    from pypx.net.tls import TlsSocket

R = TypeVar("R", bound=Message)

Place = tuple[socket.AddressFamily, socket.SocketKind, int, str, "tuple[Any, ...]"]
"""What ``socket.getaddrinfo`` says of one address of a host."""

Secure = Callable[[socket.socket, Address, float], "TlsSocket"]
"""Make a connected socket secure within some seconds, or close it and raise TlsError."""

__all__ = ["Connection", "Received", "Secure", "Timeouts", "connect", "look_up", "rejection"]

_LOOKS = 4  # in each time-out, at whether the peer still takes what was sent
_DATA_SET_LIMIT = 64 * 1024 * 1024  # of a response: a match or a list of failed UIDs


@frozen
class Timeouts:
    """How long each phase may take, in seconds.

    Attributes:
        connect: For the TCP connection.
        association: From the request to the answer of the peer.
        response: From one message of the peer to its next, while an operation runs; while it
            still takes what we send, that begins again.
        release: For the answer to our release request, to a C-CANCEL, and, up to a second,
            for the peer to close after our A-ABORT.
    """

    connect: float = 10.0
    association: float = 30.0
    response: float = 60.0
    release: float = 5.0


@frozen
class Received:
    """A message of the peer and its data set as bytes, or None where it has none."""

    context_id: int
    message: Message
    data_set: bytes | None = None


class Connection:
    """An established association in which we are the requestor.

    Made by :meth:`open`. Not for use by several threads.

    Attributes:
        accepted: What the peer answered, A-ASSOCIATE-AC.
        contexts: The presentation contexts that it accepted, by context ID.
        busy: Whether an operation runs; whoever runs it says so.
    """

    def __init__(
        self,
        address: Address,
        channel: Channel,
        accepted: AAssociateAC,
        contexts: dict[int, AcceptedContext],
        timeouts: Timeouts,
    ) -> None:
        self.address = address
        self.accepted = accepted
        self.contexts = contexts
        self.timeouts = timeouts
        self.busy = False
        self._channel = channel
        self._events: list[SessionEvent] = []  # the next one last
        self._message: MessageReceived | None = None
        self._data_set = bytearray()
        self._over = False

    @classmethod
    def open(
        cls,
        address: Address,
        request: AAssociateRQ,
        timeouts: Timeouts,
        secure: Secure | None = None,
    ) -> Connection:
        """Connect and associate.

        Args:
            address: Of the peer.
            request: What is sent to it.
            timeouts: How long each phase may take.
            secure: Makes a secure connection of the one below; None for none.

        Raises:
            NameLookupError, ConnectError, PeerTimeoutError: There is no connection.
            TlsError: It cannot be made secure.
            AssociationRejectedError, AssociationAbortedError: The peer does not want us.
            UserIdentityError: It does not confirm our user identity, and was to.
            ConnectionLostError, RemoteProtocolError: The peer did something else.
        """
        plain = connect(address, timeouts.connect)
        sock = plain if secure is None else secure(plain, address, timeouts.association)
        association = Association(
            Role.REQUESTOR, maximum_length=request.user_information.maximum_length
        )
        channel = Channel(sock, Session(association), send_timeout=timeouts.response)
        try:
            now = time.monotonic()
            association.associate(request, now)
            association.transport_connected(now)
            accepted, behind = _await_answer(address, channel, request, timeouts.association)
            contexts = accepted_contexts(request, accepted)
            _check_identity(address, request, accepted)
        except PypxError as error:
            if association.can_abort:
                if isinstance(error, RemoteProtocolError):
                    association.provider_abort(error, time.monotonic())
                else:
                    association.abort(time.monotonic())
            channel.finish(_abort_wait(timeouts))  # an A-ABORT of the upper layer waits too
            if isinstance(error, ConnectionLostError) and not isinstance(sock, socket.socket):
                raise sock.refusal() from error
            raise
        channel.session.accept_contexts(frozenset(contexts))
        connection = cls(address, channel, accepted, contexts, timeouts)
        connection._events = behind[::-1]
        return connection

    @property
    def is_open(self) -> bool:
        """Whether messages can still be sent."""
        return not (self._over or self._channel.closed)

    def context_for(
        self, abstract_syntax: str, transfer_syntax: str = ""
    ) -> AcceptedContext | None:
        """Give an accepted context for the abstract syntax (and transfer syntax, if given)."""
        for context in self.contexts.values():
            if context.abstract_syntax == abstract_syntax and transfer_syntax in (
                "",
                context.transfer_syntax,
            ):
                return context
        return None

    def send(
        self, context_id: int, message: Message, data_set: bytes | memoryview | None = None
    ) -> None:
        """Send a message, and its data set if it is at hand as a whole."""
        self._channel.session.send(context_id, message, data_set)
        self._flush()

    def send_data_set(self, context_id: int, data: bytes | memoryview, *, is_last: bool) -> None:
        """Send the next piece of the data set of the last message."""
        self._channel.session.send_data_set(context_id, data, is_last=is_last)
        self._flush()

    def _flush(self) -> None:
        try:
            self._channel.flush()
        except ConnectionLostError:
            # The peer may have said why, just before it closed.
            for event in self._channel.receive(0):
                self._raise_if_ended(event)
            self._over = True
            raise

    def receive(self, timeout: float | None = None) -> Received:
        """Wait for the next whole message.

        Args:
            timeout: Seconds of silence that end the wait, in which the peer took nothing of what
                was sent either; None for ``timeouts.response``.

        Raises:
            PeerTimeoutError: Nothing came; the association is aborted.
            AssociationAbortedError, ConnectionLostError, RemoteProtocolError: It is over.
        """
        wait = self.timeouts.response if timeout is None else timeout
        sign, unsent = time.monotonic(), 0
        while (received := self.poll(wait / _LOOKS)) is None:
            now, before = time.monotonic(), unsent
            unsent = self._channel.unsent()
            # Over a slow link, most of an object is on its way when we begin to wait.
            sign = now if unsent < before else max(sign, self.last_read)
            if now - sign >= wait:
                self.abort()
                raise PeerTimeoutError(
                    f"{self.address} did not answer within {wait:g} s.",
                    phase="response",
                    hint="The PACS may be busy or the network slow: try again, or allow more time.",
                )
        return received

    def response_to(self, message_id: int, kind: type[R], received: Received) -> R:
        """Give the response in ``received``, if it is one to our request.

        Raises:
            RemoteProtocolError: It belongs to something else; the association is aborted.
        """
        response = received.message
        answered = getattr(response, "message_id_being_responded_to", None)
        if not isinstance(response, kind) or answered != message_id:
            self.abort()
            raise RemoteProtocolError(
                f"{self.address} answered our request with a {type(response).__name__} "
                f"that belongs to something else: a {kind.__name__} was expected."
            )
        return response

    def poll(self, timeout: float) -> Received | None:
        """Give the next whole message, or None when there is none within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while (event := self._next_event(deadline)) is not None:
            received = self._take(event)
            if received is not None:
                return received
        return None

    def poll_part(self, timeout: float) -> MessageReceived | DataSetReceived | None:
        """Give the next message or the next piece of its data set, for who streams.

        Returns:
            None when there is none within ``timeout`` seconds. A piece is valid until
            the next call.
        """
        event = self._next_event(time.monotonic() + timeout)
        return event if isinstance(event, MessageReceived | DataSetReceived) else None

    @property
    def last_read(self) -> float:
        """The monotonic time at which bytes last came."""
        return self._channel.last_read

    def _next_event(self, deadline: float) -> SessionEvent | None:
        """Give the next event, reading when none is left; None when the time is up.

        The views of all earlier events are invalid once this reads again.
        """
        while not self._events:
            if self._channel.closed:
                self._over = True
                raise ConnectionLostError(
                    f"{self.address} closed the connection while an answer was expected."
                )
            self._events = self._channel.receive(max(0.0, deadline - time.monotonic()))[::-1]
            if not (self._events or self._channel.closed) and time.monotonic() >= deadline:
                return None
        event = self._events.pop()
        self._raise_if_ended(event)
        return event

    def _take(self, event: SessionEvent) -> Received | None:
        match event:
            case MessageReceived(context_id, message) if not message.has_data_set:
                return Received(context_id, message)
            case MessageReceived():
                self._message = event
            case DataSetReceived(context_id, data, is_last):
                self._collect(data)
                if is_last and self._message is not None:
                    data_set, self._data_set = bytes(self._data_set), bytearray()
                    return Received(context_id, self._message.message, data_set)
            case _:
                pass
        return None

    def _collect(self, data: memoryview) -> None:
        if len(self._data_set) + len(data) > _DATA_SET_LIMIT:
            self.abort()
            raise RemoteProtocolError(
                f"{self.address} sent a response of more than {_DATA_SET_LIMIT >> 20} MiB."
            )
        self._data_set += data

    def _raise_if_ended(self, event: SessionEvent) -> None:
        if isinstance(event, ReleaseIndication) and not self._events:
            self._channel.session.association.release_response(time.monotonic())
            self._channel.finish(self.timeouts.release)
            self._over = True
            raise ConnectionLostError(
                f"{self.address} released the association while an answer was expected.",
                hint="The PACS may limit the time of an association, or shut down: try again.",
            )
        error = _ending(self.address, event)
        if error is not None:
            self._over = True
            self._channel.finish(_abort_wait(self.timeouts))  # our A-ABORT may wait to be sent
            raise error

    def release(self) -> None:
        """Release the association and close; a peer that does not answer is not waited for long."""
        if not self.is_open:
            self._channel.close()
            return
        self._over = True
        deadline = time.monotonic() + self.timeouts.release
        try:
            self._channel.session.association.release(time.monotonic())
            while not self._channel.closed and (left := deadline - time.monotonic()) > 0:
                for event in self._channel.receive(left):
                    if isinstance(event, ReleaseIndication):  # both asked at once
                        self._channel.session.association.release_response(time.monotonic())
                    elif isinstance(event, ReleaseConfirmation):
                        self._channel.close()
                    elif isinstance(event, ProviderAbortIndication):
                        self._channel.finish(_abort_wait(self.timeouts))
        except PypxError:
            pass  # All that was asked for is done; how the peer leaves changes nothing.
        self._channel.finish(0)

    def abort(self) -> None:
        """Send A-ABORT and close."""
        self._over = True
        if self._channel.session.association.can_abort:
            self._channel.session.association.abort(time.monotonic())
            self._channel.finish(_abort_wait(self.timeouts))
        self._channel.close()

    def cut(self) -> None:
        """Close the transport connection without a word, as a peer that dies does."""
        self._over = True
        self._channel.close()


def _abort_wait(timeouts: Timeouts) -> float:
    """How long a peer has to close after our A-ABORT; a proper one does so at once."""
    return min(timeouts.release, 1.0)


def look_up(address: Address) -> Sequence[Place]:
    """Give the places that the host name of an address stands for.

    Raises:
        NameLookupError: It stands for none.
    """
    # As bytes, an ASCII name does not pass through the IDNA codec, whose import takes 2 ms.
    host = address.host.encode("ascii") if address.host.isascii() else address.host
    try:
        return socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no valid name"
        raise NameLookupError(
            f"The host name {address.host!r} cannot be resolved: {reason}.",
            hint="Check the spelling, the network, or use the IP address.",
        ) from None


def connect(address: Address, timeout: float) -> socket.socket:
    """Try each place of the host until one answers, within ``timeout`` seconds in all.

    Raises:
        NetworkError: None does.
    """
    found = look_up(address)
    deadline = time.monotonic() + timeout
    failure: OSError = TimeoutError()
    for family, kind, protocol, _, where in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            sock.connect(where)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise _connect_error(address, failure, timeout)


def _connect_error(address: Address, failure: OSError, timeout: float) -> PypxError:
    if isinstance(failure, TimeoutError):
        return PeerTimeoutError(
            f"{address.host} port {address.port} did not answer within {timeout:g} s.",
            phase="connect",
            hint="A firewall may drop the packets, or the host is off: ask its administrator "
            "whether this machine may reach the port.",
        )
    if isinstance(failure, ConnectionRefusedError):
        return ConnectError(
            f"{address.host} refused the connection to port {address.port}.",
            hint="Nothing listens there: check the port, and that the PACS is running.",
        )
    return ConnectError(
        f"No connection to {address.host} port {address.port}: {failure.strerror or failure}.",
        hint="Check the address and the route to it.",
    )


def _await_answer(
    address: Address, channel: Channel, request: AAssociateRQ, timeout: float
) -> tuple[AAssociateAC, list[SessionEvent]]:
    """Give the acceptance, and what came behind it in the same bytes."""
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0 and not channel.closed:
        events = channel.receive(left)
        for number, event in enumerate(events, 1):
            match event:
                case AssociateConfirmation(accepted):
                    return accepted, events[number:]
                case AssociateRejected(rejected):
                    raise rejection(
                        address,
                        request.calling_ae_title,
                        request.called_ae_title,
                        (int(rejected.result), int(rejected.source), int(rejected.reason)),
                        has_identity=request.user_information.user_identity is not None,
                    )
                case _:
                    error = _ending(address, event)
                    if error is not None:
                        raise error
    if channel.closed:
        raise ConnectionLostError(
            f"{address} closed the connection instead of answering the association request.",
            hint="Is this a DICOM port? Some peers close without a word on an AE title or "
            "address that they do not know.",
        )
    raise PeerTimeoutError(
        f"{address} accepted the connection but did not answer the association request "
        f"within {timeout:g} s.",
        phase="association",
        hint="Is this a DICOM port, or one that expects TLS? The PACS may also be overloaded.",
    )


def _check_identity(address: Address, request: AAssociateRQ, accepted: AAssociateAC) -> None:
    """Refuse a peer that does not confirm our user identity, where it was asked to.

    A peer may ignore what it does not know of (PS3.7 §D.3.3.7), so silence is no confirmation.
    """
    sent = request.user_information.user_identity
    if sent is None or not getattr(sent, "positive_response_requested", False):
        return
    answer = accepted.user_information.user_identity
    kerberos = getattr(sent, "identity_type", 0) == 3
    if answer is None or (kerberos and not getattr(answer, "server_response", b"")):
        missing = "sent no ticket of its own" if answer else "did not confirm our user identity"
        raise UserIdentityError(
            f"{address} accepted the association, but {missing}.",
            hint="It may ignore user identities: without confirm = true in its configuration "
            "that is taken.",
        )


def rejection(
    address: Address,
    calling_ae_title: str,
    called_ae_title: str,
    rejected: tuple[int, int, int],
    *,
    has_identity: bool = False,
) -> AssociationRejectedError:
    """Make the error of an association request that was rejected.

    Args:
        address: By whom.
        calling_ae_title: What we called ourselves.
        called_ae_title: What we called the peer.
        rejected: Result, source and reason (PS3.8 Table 9-21).
        has_identity: Whether we said which user we are.
    """
    result, source, reason = rejected
    match source, reason:
        case 1, 3:
            hint = (
                f"The PACS does not know our AE title {calling_ae_title!r}: have it added "
                "there, or use one that it knows with --aet."
            )
        case 1, 7:
            hint = (
                f"The peer does not go by the AE title {called_ae_title!r}: "
                "check its spelling, capitals included."
            )
        case 2, 1 if has_identity:
            # PS3.7 §D.3.3.7.3; pynetdicom 3.0 calls it transient.
            hint = "It may refuse our user identity: check the user name and the secret."
        case 2, 1:
            hint = "It may want to know who the user is: px nodes add has --user and others."
        case _ if result == 2:
            hint = "The PACS is busy: try again later, with fewer associations at once."
        case _:
            hint = "Ask the administrator of the PACS what its log says about our request."
    return AssociationRejectedError(
        f"{address} rejected the association: {reject_sentence(result, source, reason)}",
        result=result,
        source=source,
        reason=reason,
        hint=hint,
    )


def _ending(address: Address, event: SessionEvent) -> PypxError | None:
    """Give the error for an event that ends the association, None for any other event."""
    match event:
        case AbortIndication(source, reason):
            return AssociationAbortedError(
                f"{address} aborted the association: {abort_sentence(int(source), int(reason))}",
                source=int(source),
                reason=int(reason),
                hint="The log of the peer says why.",
            )
        case ProviderAbortIndication(_, message, lost=True):
            return ConnectionLostError(
                f"{address} closed the connection in the middle: {message}",
                hint="The peer may have crashed or a firewall cut the connection: try again.",
            )
        case ProviderAbortIndication(reason, message):
            return RemoteProtocolError(
                f"{address} broke the protocol: {message}",
                abort_reason=int(reason),
                hint="Check that this is a DICOM port; if it is, the peer has a defect that "
                "its vendor should hear of.",
            )
        case _:
            return None
