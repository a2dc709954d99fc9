"""One association with its messages: what a driver feeds and drains.

A driver needs five methods: ``receive_data``, ``send`` (with ``send_data_set``
for what is streamed), ``data_to_send``, ``next_timeout`` and ``handle_timeout``.
No socket, clock or thread here; time is the argument ``now`` in seconds.
"""

from __future__ import annotations

from pypx.dimse.assembler import Assembler, DataSetReceived, MessageReceived
from pypx.dimse.command import COMMAND_SET_LIMIT, encode_command
from pypx.dimse.fragmenter import fragment, fragment_size
from pypx.dimse.messages import Message
from pypx.errors import RemoteProtocolError
from pypx.ul.association import Association, ProviderAbortIndication, UlEvent
from pypx.ul.reader import PDVFragment

__all__ = ["Session", "SessionEvent"]

SessionEvent = UlEvent | MessageReceived | DataSetReceived


class Session:
    """The DIMSE protocol machine over one :class:`~pypx.ul.association.Association`.

    Args:
        association: The upper layer of either role; its primitives for making and
            ending the association are called on it directly.
        command_limit: Bytes of a command set at most.
    """

    def __init__(self, association: Association, *, command_limit: int = COMMAND_SET_LIMIT) -> None:
        self.association = association
        self._assembler = Assembler(command_limit)
        self._context_ids: frozenset[int] | None = None

    def accept_contexts(self, context_ids: frozenset[int]) -> None:
        """Say which presentation contexts were accepted; another one is a protocol error."""
        self._context_ids = context_ids

    @property
    def message_in_progress(self) -> bool:
        """Whether the peer has begun a message and not ended it."""
        return self._assembler.in_progress

    def receive_data(self, data: bytes | memoryview, now: float) -> list[SessionEvent]:
        """Take bytes from the transport.

        Args:
            data: Whatever was read. Views in the events point into it, so they are
                valid until the caller overwrites it.
            now: Monotonic seconds.

        Returns:
            Events in order. A breach of the protocol by the peer is no exception but
            a last event, with the A-ABORT waiting in :meth:`data_to_send`.
        """
        events: list[SessionEvent] = []
        for event in self.association.receive_data(data, now):
            if type(event) is not PDVFragment:
                events.append(event)
                continue
            try:
                received = self._receive_fragment(event)
            except RemoteProtocolError as error:
                self.abort_for(error, now)
                reason = error.abort_reason or 0
                events.append(ProviderAbortIndication(reason, error.message, lost=False))
                break
            if received is not None:
                events.append(received)
        return events

    def abort_for(self, error: RemoteProtocolError, now: float) -> None:
        """Abort for what the peer did wrong, unless the association is over already.

        The A-ABORT says who found it: the upper layer, or DIMSE, which is its user.
        """
        if not self.association.can_abort:
            return
        if error.abort_reason is None:
            self.association.abort(now)
        else:
            self.association.provider_abort(error, now)

    def _receive_fragment(self, event: PDVFragment) -> MessageReceived | DataSetReceived | None:
        if self._context_ids is not None and event.context_id not in self._context_ids:
            raise RemoteProtocolError(
                f"The peer sent a message in presentation context {event.context_id}, "
                "which was not accepted.",
                abort_reason=6,
            )
        return self._assembler.feed(event)

    def send(
        self, context_id: int, message: Message, data_set: bytes | memoryview | None = None
    ) -> None:
        """Queue a message, and its data set if that is at hand as a whole.

        A data set that is not at hand follows by :meth:`send_data_set`.

        Raises:
            RemoteProtocolError: Nothing fits into what the peer receives.
            LocalProtocolError: The association is not established.
        """
        size = fragment_size(self.association.peer_maximum_length)
        self.association.send_p_data(fragment(context_id, True, encode_command(message), size))
        if data_set is not None:
            self.association.send_p_data(fragment(context_id, False, data_set, size))

    def send_data_set(self, context_id: int, data: bytes | memoryview, *, is_last: bool) -> None:
        """Queue the next piece of the data set of the last message sent.

        Pieces before the last one need an even number of bytes (PS3.8 Annex E).
        """
        size = fragment_size(self.association.peer_maximum_length)
        self.association.send_p_data(fragment(context_id, False, data, size, is_last=is_last))

    def data_to_send(self) -> list[bytes | memoryview]:
        """Drain what waits for the transport."""
        return self.association.data_to_send()

    def next_timeout(self) -> float | None:
        """Give when :meth:`handle_timeout` wants to be called, in monotonic seconds."""
        return self.association.next_timeout()

    def handle_timeout(self, now: float) -> list[SessionEvent]:
        """Let a timer of the upper layer end."""
        return list(self.association.handle_timeout(now))
