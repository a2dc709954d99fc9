"""How long a C-MOVE or C-GET waits for its PACS: silence, standstill, a C-CANCEL.

In: what the peer does, and when. Out: nothing, or the error with which it is given up.
Not here: a clock, a connection; who drives one looks at the clock, and aborts.
"""

from __future__ import annotations

from pypx.address import Address
from pypx.errors import CancelledError, PeerTimeoutError
from pypx.net.connection import Timeouts

__all__ = ["Patience"]

_SLOW_STORAGE = "The PACS may fetch from slow storage: allow more time with --timeout."


class Patience:
    """What one operation puts up with; all times are those of one monotonic clock.

    Args:
        peer: Whom it waits for.
        service: ``C-MOVE`` or ``C-GET``.
        timeouts: ``response`` for silence and for standstill, ``release`` for a C-CANCEL.
        now: When the request went out.
        hint: What to try besides more time.
    """

    def __init__(
        self, peer: Address, service: str, timeouts: Timeouts, now: float, *, hint: str = ""
    ) -> None:
        self._peer = peer
        self._service = service
        self._timeouts = timeouts
        self._hint = f"{_SLOW_STORAGE} {hint}".rstrip()
        self._heard = self._advanced = now
        self._cancel_wanted = False
        self._cancelled_at: float | None = None
        self._may_end_object = False  # the C-CANCEL went out in the middle of one

    def cancel(self) -> None:
        """Want a C-CANCEL; may be called between any two instructions, as signals are."""
        self._cancel_wanted = True

    def is_cancel_due(self, now: float, *, in_object: bool = False) -> bool:
        """Say, once, that the C-CANCEL is to be sent now.

        Args:
            now: When it is asked.
            in_object: Whether the peer is in the middle of an object, which it may end.
        """
        if not self._cancel_wanted or self._cancelled_at is not None:
            return False
        self._cancelled_at = now
        self._may_end_object = in_object
        return True

    def advanced(self, now: float) -> None:
        """Note that an object is kept; the peer waited for us meanwhile, not we for it."""
        self._heard = self._advanced = now

    def object_ended(self, now: float) -> None:
        """Note the end of an object; if it was under way at the C-CANCEL, the time for that begins.

        Args:
            now: When its last byte came.
        """
        if self._may_end_object:
            self._may_end_object = False
            self._cancelled_at = now

    def check_cancelled(self, now: float, last_read: float) -> None:
        """Look whether a C-CANCEL was not heeded; whatever else the peer said is no excuse.

        Args:
            now: When it is asked.
            last_read: When bytes last came over the association.

        Raises:
            CancelledError: It was not.
        """
        if self._cancelled_at is None:
            return
        begun = max(self._cancelled_at, last_read if self._may_end_object else self._cancelled_at)
        if now - begun > self._timeouts.release:
            raise CancelledError(
                f"{self._peer} did not heed the C-CANCEL within {self._timeouts.release:g} s; "
                "the association was aborted."
            )

    def check_silence(self, now: float, last_sign: float) -> None:
        """Look whether the peer is silent; to be asked when nothing came.

        Args:
            now: When it is asked.
            last_sign: When something last showed that the peer lives.

        Raises:
            PeerTimeoutError: It was silent for too long.
        """
        if now - max(self._heard, last_sign) > self._timeouts.response:
            raise self._given_up(
                f"{self._peer} was silent for {self._timeouts.response:g} s "
                f"in the middle of a {self._service}."
            )

    def check_pending(self, now: float, *, changed: bool, arrived: float = 0.0) -> None:
        """Look whether a peer says nothing but that it is busy; to be asked when it says so.

        Args:
            now: When it said so.
            changed: Whether its numbers are others than before.
            arrived: When bytes of an object last arrived by another way.

        Raises:
            PeerTimeoutError: Nothing has changed for too long.
        """
        self._advanced = now if changed else max(self._advanced, arrived)
        if now - self._advanced > self._timeouts.response:
            raise self._given_up(
                f"{self._peer} said for {self._timeouts.response:g} s that the {self._service} "
                "is pending, and sent nothing."
            )

    def _given_up(self, message: str) -> PeerTimeoutError:
        return PeerTimeoutError(message, phase="response", hint=self._hint)
