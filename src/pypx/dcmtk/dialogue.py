"""One run of one of DCMTK's requestors, from its start to its end.

In: a command. Out: what it says, or an error where it ends without its answer. What is asked, and
what the answers mean, is the business of ``query``, ``retrieval`` and ``store``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from pypx.address import Address
from pypx.dcmtk.child import Child
from pypx.dcmtk.failure import failure
from pypx.dcmtk.said import Dimse, Said
from pypx.errors import PeerTimeoutError, PypxError
from pypx.net.connection import Timeouts

__all__ = ["Dialogue"]

_POLL = 0.25  # seconds
_SLACK = 5.0  # seconds more than the program's own time-outs, which then speak for themselves


class Dialogue:
    """A program that talks to a peer, in one association.

    Args:
        program: Its name.
        command: Its path and arguments.
        address: Of the peer.
        calling_ae_title: What we call ourselves.
        timeouts: How long each phase may take.

    Attributes:
        said: What it said.
        last: When it last said something (monotonic).

    Raises:
        ConfigError: It cannot be run.
    """

    def __init__(
        self,
        program: str,
        command: Sequence[str],
        address: Address,
        calling_ae_title: str,
        timeouts: Timeouts,
    ) -> None:
        self.said = Said()
        self.last = time.monotonic()
        self._program = program
        self._address = address
        self._calling_ae_title = calling_ae_title
        self._timeouts = timeouts
        self._child = Child(command)

    @property
    def over(self) -> bool:
        """Whether it has ended, and all that it said was heard."""
        return self._child.over

    def associate(self) -> None:
        """Wait until the peer has accepted its association.

        Raises:
            NetworkError, AssociationError, ProtocolError: There is none.
        """
        allowed = self._timeouts.connect + self._timeouts.association + _SLACK
        deadline = time.monotonic() + allowed
        try:
            while not self.said.accepted:
                self.hear(_POLL)
                if self.over:
                    raise self.failure()
                if time.monotonic() > deadline:
                    raise PeerTimeoutError(
                        f"{self._program} had no association with {self._address} after "
                        f"{allowed:g} s.",
                        phase="association",
                        hint="Is this a DICOM port? The PACS may also be overloaded.",
                    )
        except BaseException:
            self.close()
            raise

    def hear(self, timeout: float = _POLL) -> Dimse | str | None:
        """Give the next that it says: a message, or a line; None where nothing came in time."""
        line = self._child.line(timeout)
        if line is None:
            return None
        self.last = time.monotonic()
        return self.said.hear(line)

    def check_silence(self) -> None:
        """Look whether it is silent for too long.

        Raises:
            PeerTimeoutError: It is.
        """
        if time.monotonic() - self.last > self._timeouts.response:
            raise PeerTimeoutError(
                f"{self._address} was silent for {self._timeouts.response:g} s, {self._program} "
                "heard nothing.",
                phase="response",
                hint="The PACS may be overloaded: allow more time with --timeout.",
            )

    def failure(self) -> PypxError:
        """Give the error of a program that ended without its answer."""
        return failure(
            self._program, self.said, self._address, self._calling_ae_title, self._timeouts
        )

    def terminate(self) -> None:
        """Ask it to end; what it still says can be heard."""
        self._child.terminate()

    def close(self, grace: float | None = None) -> None:
        """End it; more than once is fine."""
        self._child.close(self._timeouts.release if grace is None else grace)
