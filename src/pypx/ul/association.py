"""One association, either role: the state machine of PS3.8 §9.2 at work.

In: bytes of one transport connection, local primitives, and the time. Out: events,
bytes for the transport, and when to close it. Messages (PS3.7) do not belong here,
nor what is negotiated (``negotiation``).

A driver calls a primitive or :meth:`Association.receive_data`, then sends what
:meth:`Association.data_to_send` gives, then closes where ``should_close`` says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from pypx.errors import LocalProtocolError, RemoteProtocolError
from pypx.ul.codec import PDV_OVERHEAD, encode_p_data_header, encode_pdu
from pypx.ul.events import (
    AbortIndication,
    AssociateConfirmation,
    AssociateIndication,
    AssociateRejected,
    ProviderAbortIndication,
    ReleaseConfirmation,
    ReleaseIndication,
    UlEvent,
)
from pypx.ul.pdu import (
    DEFAULT_MAXIMUM_LENGTH,
    PDU,
    PDV,
    AAbort,
    AAssociateAC,
    AAssociateRJ,
    AAssociateRQ,
    AbortReason,
    AbortSource,
    AReleaseRP,
    AReleaseRQ,
    PDataTF,
)
from pypx.ul.reader import DEFAULT_LIMITS, Limits, PDUHeader, PDUReader, PDVFragment, ReaderItem
from pypx.ul.states import TABLE, Action, Event, State

__all__ = [
    "AbortIndication",
    "AssociateConfirmation",
    "AssociateIndication",
    "AssociateRejected",
    "Association",
    "PDVFragment",
    "ProviderAbortIndication",
    "ReleaseConfirmation",
    "ReleaseIndication",
    "Role",
    "UlEvent",
]

_JOIN_BELOW = 1024  # bytes: copying so few costs less than one more buffer for the transport
_RECEIVING = (State.Sta6, State.Sta7)  # where P-DATA is passed on: DT-2 and AR-6
_NO_TRANSPORT = (State.Sta1, State.Sta4)

_EVENT_OF_PDU: dict[type[PDU] | PDUHeader, Event] = {
    AAssociateAC: Event.Evt3,
    AAssociateRJ: Event.Evt4,
    AAssociateRQ: Event.Evt6,
    PDUHeader.P_DATA_TF: Event.Evt10,
    PDataTF: Event.Evt10,
    AReleaseRQ: Event.Evt12,
    AReleaseRP: Event.Evt13,
    AAbort: Event.Evt16,
}
_LOST = {
    State.Sta4: "The transport connection could not be made.",
    State.Sta6: "The association was open, and nothing had announced its end.",
    State.Sta5: "The peer closed the connection instead of answering the association request.",
    State.Sta7: "The peer closed the connection instead of answering the release request.",
}


class Role(Enum):
    """Which side of the association this is (PS3.8 §3.5)."""

    REQUESTOR = "requestor"
    ACCEPTOR = "acceptor"


class Association:
    """The upper layer of one association, for one transport connection and no second.

    Args:
        role: Which side this is.
        artim_timeout: Seconds for the association request to arrive, and for the
            transport to be closed at the end. No byte extends them.
        maximum_length: What we announce to receive; :meth:`associate` and
            :meth:`accept` replace it by what their PDU says.
        limits: How long PDUs of the peer may be.
        pdu_timeout: Seconds from the first byte of a PDU to its last; 0 for any time. In
            Sta2 and Sta13 it is ARTIM that ends.

    Attributes:
        role: Which side this is.
        state: Where Table 9-10 stands.
        peer_maximum_length: The longest P-DATA-TF that the peer receives, in bytes of
            its variable field; 0 for any length.
        should_close: Whether the transport is to be closed, once :meth:`data_to_send`
            has been sent. In Sta13 it is not yet: the peer closes first, or ARTIM ends.
        expired: Whether it was ARTIM that ended it.
    """

    def __init__(
        self,
        role: Role,
        *,
        artim_timeout: float = 30.0,
        maximum_length: int = DEFAULT_MAXIMUM_LENGTH,
        limits: Limits = DEFAULT_LIMITS,
        pdu_timeout: float = 0.0,
    ) -> None:
        self.role = role
        self.state = State.Sta1
        self.peer_maximum_length = 0
        self.should_close = False
        self.expired = False
        self._reader = PDUReader(limits, maximum_length)
        self._output: list[bytes | memoryview] = []
        self._artim_timeout = artim_timeout
        self._artim: float | None = None
        self._pdu_timeout = pdu_timeout
        self._pdu_due: float | None = None  # when the PDU in progress has to be whole
        self._pdu = 0  # its number, or 0
        self._request = b""

    @property
    def can_abort(self) -> bool:
        """Whether :meth:`abort` is possible: something is begun, and not over yet."""
        return (Event.Evt15, self.state) in TABLE

    @property
    def oversized_pdus(self) -> int:
        """How many P-DATA-TF of the peer were longer than we announced, and tolerated."""
        return self._reader.oversized

    @property
    def odd_fragments(self) -> int:
        """How many PDVs of the peer had an odd length, against PS3.8 Annex E."""
        return self._reader.odd

    # Local primitives. Each one raises LocalProtocolError where Table 9-10 has a blank cell.

    def associate(self, request: AAssociateRQ, now: float) -> None:
        """Request an association; the driver connects, then calls :meth:`transport_connected`.

        Raises:
            LocalProtocolError: This is an acceptor, it was called before, or a value of
                the request does not fit into its field.
        """
        if self.role is not Role.REQUESTOR:
            raise LocalProtocolError("An acceptor cannot request an association.")
        encoded = encode_pdu(request)
        self._step(Event.Evt1)
        self._request = encoded
        self._reader.maximum_length = request.user_information.maximum_length

    def transport_connected(self, now: float) -> None:
        """Hear that the transport connection is there; a requestor sends its request.

        Raises:
            LocalProtocolError: A requestor has not called :meth:`associate`, or this
                was called before.
        """
        if self.role is Role.REQUESTOR:
            self._step(Event.Evt2)
            self._output.append(self._request)
        else:
            self._step(Event.Evt5)
            self._start_artim(now)

    def transport_closed(self, now: float) -> list[UlEvent]:
        """Hear that the transport connection has ended, or could not be made.

        Returns:
            The loss of an association as :class:`ProviderAbortIndication`; nothing
            where none was at stake, also when called more than once.
        """
        if self.state is State.Sta1:
            self.should_close = True
            return []
        message = _LOST.get(self.state, f"The connection ended in the state: {self.state.value}.")
        if self._reader.pdu_in_progress:
            message += " The last PDU of the peer is not whole."
        action = self._step(Event.Evt17)
        self._end()
        if action is Action.AA_4:
            return [ProviderAbortIndication(AbortReason.NOT_SPECIFIED, message, lost=True)]
        return []

    def accept(self, ac: AAssociateAC, now: float) -> None:
        """Accept the association that the peer requested.

        Raises:
            LocalProtocolError: None was requested, or a value does not fit into its field.
        """
        encoded = encode_pdu(ac)
        self._step(Event.Evt7)
        self._output.append(encoded)
        self._reader.maximum_length = ac.user_information.maximum_length

    def reject(self, rj: AAssociateRJ, now: float) -> None:
        """Reject the association that the peer requested.

        Raises:
            LocalProtocolError: None was requested.
        """
        encoded = encode_pdu(rj)
        self._step(Event.Evt8)
        self._output.append(encoded)
        self._start_artim(now)

    def send_p_data(self, pdvs: Iterable[PDV]) -> None:
        """Queue PDVs, each as a P-DATA-TF of its own; all of them or, on an error, none.

        Their data is not copied, unless it is short: it must stay as it is until what
        :meth:`data_to_send` gives has been sent.

        Raises:
            LocalProtocolError: No data can be sent in this state, or a PDV is longer
                than the peer receives.
        """
        self._step(Event.Evt9)
        longest = self.peer_maximum_length or 0xFFFFFFFF
        queued: list[bytes | memoryview] = []
        for pdv in pdvs:
            data = pdv.data
            size = len(data)
            if size + PDV_OVERHEAD > longest:
                raise LocalProtocolError(
                    f"A fragment of {size} bytes does not fit into the {longest} bytes of "
                    "P-DATA-TF that the peer receives."
                )
            header = encode_p_data_header(pdv.context_id, pdv.is_command, pdv.is_last, size)
            if size < _JOIN_BELOW:
                queued.append(header + data)
            else:
                queued.append(header)
                queued.append(data)
        self._output += queued

    def release(self, now: float) -> None:
        """Ask for the release of the association.

        Raises:
            LocalProtocolError: It is not established.
        """
        self._step(Event.Evt11)
        self._output.append(encode_pdu(AReleaseRQ()))

    def release_response(self, now: float) -> None:
        """Agree to the release that the peer asked for.

        Raises:
            LocalProtocolError: It did not ask, or our own release has to be answered first
                (a collision in which we are the acceptor: wait for
                :class:`ReleaseConfirmation`).
        """
        action = self._step(Event.Evt14)
        self._output.append(encode_pdu(AReleaseRP()))
        if action is Action.AR_4:
            self._start_artim(now)

    def abort(self, now: float, source: int = AbortSource.SERVICE_USER, reason: int = 0) -> None:
        """Abort the association, or give up connecting.

        Raises:
            LocalProtocolError: There is nothing to abort; ``can_abort`` tells before.
        """
        encoded = encode_pdu(AAbort(source, reason))
        action = self._step(Event.Evt15)
        if action is Action.AA_2:
            self._end()
        else:
            self._output.append(encoded)
            self._start_artim(now)

    def provider_abort(self, error: RemoteProtocolError, now: float) -> None:
        """Abort because the layer above found that the peer broke the protocol.

        Does nothing where the association is over already: the peer may have ended it
        in the same bytes.

        Raises:
            LocalProtocolError: There is no transport connection yet.
        """
        if self.state is State.Sta1 or self.state is State.Sta13:
            return
        self._perform(self._step(Event.Evt19), error, error, now, [])

    # The transport.

    def receive_data(self, data: bytes | memoryview, now: float) -> list[UlEvent]:
        """Take bytes from the transport.

        Whatever they are, this does not raise: where they break the protocol, A-ABORT
        is queued and :class:`ProviderAbortIndication` is the last event. Bytes behind
        the end of the association are dropped.

        Args:
            data: Whatever was read, a ``memoryview`` of unsigned bytes or ``bytes``.
                Views in the events point into it: they are valid until it changes.
            now: Monotonic seconds.

        Returns:
            The events in order.

        Raises:
            LocalProtocolError: There is no transport connection yet.
        """
        if self.state in _NO_TRANSPORT:
            if self.should_close:
                return []
            raise LocalProtocolError("Bytes came without a transport connection.")
        if self._artim is not None and now >= self._artim:
            return self.handle_timeout(now)
        events: list[UlEvent] = []
        receiving = self.state in _RECEIVING
        for item in self._reader.feed(data):
            if isinstance(item, PDVFragment):
                if receiving:
                    events.append(item)
            elif item is not PDUHeader.P_DATA_TF or not receiving:
                self._receive_item(item, now, events)
                if self.should_close:
                    break
                receiving = self.state in _RECEIVING
        if self._pdu_timeout:
            self._watch_pdu(now)
        return events

    def _watch_pdu(self, now: float) -> None:
        """Give the PDU in progress its time: from its first byte on, no other extends it."""
        number = self._reader.pdu_in_progress
        if number != self._pdu:
            self._pdu = number
            self._pdu_due = now + self._pdu_timeout if number else None

    def data_to_send(self) -> list[bytes | memoryview]:
        """Give what waits for the transport, whole PDUs in order, and forget it."""
        output, self._output = self._output, []
        return output

    def next_timeout(self) -> float | None:
        """Give when :meth:`handle_timeout` is due, as a value of ``now``; None for never."""
        if self._artim is not None or self.should_close:
            return self._artim
        return self._pdu_due

    def handle_timeout(self, now: float) -> list[UlEvent]:
        """End what should have ended by now.

        Where it is the ARTIM timer, the transport is to be closed; where a PDU takes too
        long to arrive, the association is aborted by the service-provider.
        """
        events: list[UlEvent] = []
        if self._artim is not None:
            if now >= self._artim:
                self.expired = True
                self._step(Event.Evt18)
                self._end()
        elif self._pdu_due is not None and now >= self._pdu_due and not self.should_close:
            error = RemoteProtocolError(
                f"The peer took more than {self._pdu_timeout:g} s to send one PDU."
            )
            self._pdu_due = None
            self._perform(self._step(Event.Evt19), error, error, now, events)
        return events

    # Table 9-10.

    def _step(self, event: Event) -> Action:
        """Look the event up, go to the next state, and give the action to perform."""
        cell = TABLE.get((event, self.state))
        if cell is None or (self.should_close and self.state is State.Sta1):
            where = "the association is over" if self.should_close else self.state.value
            raise LocalProtocolError(f"{event.value}: not possible in {self.state.name} ({where}).")
        action, next_states = cell
        second = action is Action.AR_8 and self.role is Role.ACCEPTOR
        self.state = next_states[1 if second else 0]
        return action

    def _receive_item(
        self, item: PDU | PDUHeader | RemoteProtocolError, now: float, events: list[UlEvent]
    ) -> None:
        if isinstance(item, RemoteProtocolError):
            self._perform(self._step(Event.Evt19), item, item, now, events)
            return
        event = _EVENT_OF_PDU[item if isinstance(item, PDUHeader) else type(item)]
        unexpected = RemoteProtocolError(
            f"The peer sent an unexpected {event.value} ({self.state.name}, {self.state.value}).",
            abort_reason=AbortReason.UNEXPECTED_PDU,
        )
        self._perform(self._step(event), item, unexpected, now, events)

    def _perform(
        self,
        action: Action,
        item: ReaderItem,
        error: RemoteProtocolError,
        now: float,
        events: list[UlEvent],
    ) -> None:
        """Perform the action of a PDU; ``error`` is what is wrong with it if the action says so."""
        reason = error.abort_reason or 0
        match action, item:
            case Action.AE_3, AAssociateAC():
                self.peer_maximum_length = item.user_information.maximum_length
                events.append(AssociateConfirmation(item))
            case Action.AE_4, AAssociateRJ():
                events.append(AssociateRejected(item))
                self._end()
            case Action.AE_6, AAssociateRQ():
                self._artim = None
                self.peer_maximum_length = item.user_information.maximum_length
                events.append(AssociateIndication(item))
            case ((Action.AR_2 | Action.AR_8), _):
                events.append(ReleaseIndication())
            case Action.AR_3, _:
                events.append(ReleaseConfirmation())
                self._end(flush=True)
            case Action.AR_10, _:
                events.append(ReleaseConfirmation())
            case Action.AA_1, _:
                self._send_abort(AbortSource.SERVICE_USER, 0)
                events.append(ProviderAbortIndication(reason, error.message, lost=False))
                self._start_artim(now)
            case Action.AA_2, _:
                self._end()
            case Action.AA_3, AAbort(source, peer_reason):
                events.append(AbortIndication(source, peer_reason))
                self._end()
            case Action.AA_7, _:
                self._send_abort(AbortSource.SERVICE_PROVIDER, reason)
            case Action.AA_8, _:
                self._send_abort(AbortSource.SERVICE_PROVIDER, reason)
                events.append(ProviderAbortIndication(reason, error.message, lost=False))
                self._start_artim(now)

    def _send_abort(self, source: int, reason: int) -> None:
        self._output.append(encode_pdu(AAbort(source, reason)))

    def _start_artim(self, now: float) -> None:
        self._artim = now + self._artim_timeout

    def _end(self, *, flush: bool = False) -> None:
        """Have the transport closed; what waits is of no use to a peer that is gone."""
        self._artim = None
        self.should_close = True
        if not flush:
            self._output.clear()
