"""Fragments to messages (PS3.7 §6.3, PS3.8 Annex E).

In: the PDV fragments of one association in their order. Out: each message when
its command set is whole, then the pieces of its data set as they come. A data
set is never collected here.
"""

from __future__ import annotations

from pypx.dimse.command import COMMAND_SET_LIMIT, decode_command
from pypx.dimse.messages import Message
from pypx.errors import RemoteProtocolError
from pypx.ul.reader import PDVFragment
from pypx.values import frozen

__all__ = ["Assembler", "DataSetReceived", "MessageReceived"]

_COMMAND_FRAGMENT_LIMIT = 1024


@frozen
class MessageReceived:
    """A command set is whole; where ``message.has_data_set``, its data set follows."""

    context_id: int
    message: Message


@frozen
class DataSetReceived:
    """A piece of the data set of the last message.

    Attributes:
        context_id: The presentation context of the message.
        data: A view into the driver's buffer, valid until its next read.
        is_last: No piece follows.
    """

    context_id: int
    data: memoryview
    is_last: bool


class Assembler:
    """Put the fragments of one direction of an association together.

    Args:
        command_limit: Bytes of a command set at most.
    """

    __slots__ = ("_command", "_command_limit", "_context_id", "_fragments", "_in_data_set")

    def __init__(self, command_limit: int = COMMAND_SET_LIMIT) -> None:
        self._command = bytearray()
        self._command_limit = command_limit
        self._fragments = 0
        self._context_id = 0  # of the message in progress; 0 between messages
        self._in_data_set = False

    @property
    def in_progress(self) -> bool:
        """Whether a message has begun and is not whole."""
        return self._context_id != 0

    def feed(self, fragment: PDVFragment) -> MessageReceived | DataSetReceived | None:
        """Take the next fragment.

        Raises:
            RemoteProtocolError: It does not belong there.
        """
        if self._in_data_set and not fragment.is_command:
            if fragment.context_id != self._context_id:
                raise self._interleaved(fragment)
            if fragment.is_last:
                self._in_data_set = False
                self._context_id = 0
            return DataSetReceived(fragment.context_id, fragment.data, fragment.is_last)
        if not fragment.is_command:
            raise RemoteProtocolError(
                "The peer sent a data set that no command set announced.", abort_reason=None
            )
        if self._in_data_set:
            raise RemoteProtocolError(
                "The peer sent a command set before the data set of the last one ended.",
                abort_reason=None,
            )
        return self._feed_command(fragment)

    def _feed_command(self, fragment: PDVFragment) -> MessageReceived | None:
        if self._context_id not in (0, fragment.context_id):
            raise self._interleaved(fragment)
        self._context_id = fragment.context_id
        self._fragments += 1
        if (
            self._fragments > _COMMAND_FRAGMENT_LIMIT
            or len(self._command) + len(fragment.data) > self._command_limit
        ):
            raise RemoteProtocolError(
                f"The peer sent a command set of more than {self._command_limit} bytes "
                f"or {_COMMAND_FRAGMENT_LIMIT} fragments.",
                abort_reason=None,
            )
        self._command += fragment.data
        if not fragment.is_last:
            return None
        message = decode_command(bytes(self._command))
        self._command = bytearray()
        self._fragments = 0
        self._in_data_set = message.has_data_set
        if not message.has_data_set:
            self._context_id = 0
        return MessageReceived(fragment.context_id, message)

    def _interleaved(self, fragment: PDVFragment) -> RemoteProtocolError:
        return RemoteProtocolError(
            f"The peer mixed presentation contexts {self._context_id} and {fragment.context_id} "
            "in one message.",
            abort_reason=None,
        )
