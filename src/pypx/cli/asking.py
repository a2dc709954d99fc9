"""Ask a PACS for one unit after the other, with C-MOVE or C-GET, and count what it says.

In: units, and what asks for one. Out: numbers in the transfer, a bar on stderr. What is asked
for, and where it goes, does not belong here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from pypx.cli.notes import counted
from pypx.cli.options import Invocation
from pypx.cli.progress import TransferProgress
from pypx.cli.transfer import Transfer
from pypx.dimse.status import Category
from pypx.errors import PypxError

if TYPE_CHECKING:
    from pypx.client.move import Progress, RetrieveResult
    from pypx.client.requestor import Requestor

__all__ = ["Retrieval", "ask_for"]

Unit = dict[str, str]


class Retrieval(Protocol):
    """A C-MOVE or a C-GET that runs."""

    result: RetrieveResult | None
    progress: Progress

    def __iter__(self) -> Iterator[Progress]:
        """Give its progress."""
        ...

    def cancel(self) -> None:
        """Cancel it; may be called between any two instructions."""
        ...


def ask_for(
    units: list[Unit],
    ask: Callable[[Unit], Retrieval],
    invocation: Invocation,
    client: Requestor,
    level: str,
    transfer: Transfer,
) -> None:
    """Ask for the units one after the other, until the user or an error ends it.

    Args:
        units: The unique keys of each.
        ask: Begins the retrieval of one.
        invocation: For what is shown, and Ctrl-C.
        client: What asks.
        level: Of the units.
        transfer: Gets the numbers.
    """
    if len(units) > 1:
        invocation.out.say(f"The keys name {counted(len(units), level)}.")
    asker = _Asker(ask, invocation, client, transfer)
    started = time.monotonic()
    interrupts = invocation.interrupts
    interrupts.cancel = asker.cancel
    with TransferProgress(invocation.out, f"to {transfer.destination}") as bar:
        try:
            for number, unit in enumerate(units, 1):
                asker.ask(unit, bar)
                if interrupts.count and (number < len(units) or not asker.succeeded):
                    transfer.interrupt()
                if asker.ended or interrupts.count:
                    break
        finally:
            interrupts.cancel = None
            transfer.seconds = time.monotonic() - started


class _Asker:
    """Asks for one unit, and cancels it."""

    def __init__(
        self,
        ask: Callable[[Unit], Retrieval],
        invocation: Invocation,
        client: Requestor,
        transfer: Transfer,
    ) -> None:
        self.succeeded = self.ended = False
        self._ask = ask
        self._invocation = invocation
        self._client = client
        self._transfer = transfer
        self._under_way: Retrieval | None = None

    def cancel(self) -> None:
        """Do what the first Ctrl-C does; it may come between any two lines below."""
        if self._under_way is not None:
            self._under_way.cancel()
        elif self._client.peer is None:
            raise KeyboardInterrupt  # still connecting: nothing has been asked for

    def ask(self, unit: Unit, bar: TransferProgress) -> None:
        transfer, invocation = self._transfer, self._invocation
        retrieval = self._ask(unit)
        self._under_way = retrieval
        if invocation.interrupts.count:
            retrieval.cancel()  # it came after the request, when there was nothing to cancel yet
        invocation.describe(self._client)
        error = None
        try:
            for progress in retrieval:
                bar.show(
                    progress.remaining,
                    transfer.completed + (progress.completed or 0),
                    transfer.failed + (progress.failed or 0),
                    transfer.warning + (progress.warning or 0),
                )
        except PypxError as raised:
            error = raised
        self._under_way = None
        result = retrieval.result
        self.succeeded = result is not None and result.category is Category.SUCCESS
        cancelled = result is not None and result.category is Category.CANCEL
        transfer.add(retrieval.progress, result, error)
        self.ended = transfer.error is not None or cancelled
        if result is not None:
            done = result.progress.completed
            invocation.out.detail(
                f"{transfer.service} of {', '.join(unit.values())} ended with status "
                f"{result.status:04X}H after {result.seconds:.2f} s, "
                f"{'an unknown number' if done is None else done} completed"
            )
