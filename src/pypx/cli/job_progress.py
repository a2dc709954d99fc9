"""How far a job is: a bar on a terminal, elsewhere a line now and then.

In: snapshots of a job. Out: what moves on stderr. On a terminal rich draws it; it is loaded only
then. What a job is does not belong here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from pypx.archive.transfers import Transfer
from pypx.cli.live import Rate
from pypx.cli.output import Output, visible
from pypx.cli.show import count, size

if TYPE_CHECKING:
    from pypx.cli.bar import Bar
    from pypx.retrieve.run import Snapshot

__all__ = ["JobProgress", "describe", "duration"]

_LINE_EVERY = 10.0  # seconds
_DRAW_EVERY = 0.5
_SPAN = 20.0  # seconds over which the rate is taken


class JobProgress:
    """The bar of one job; a context manager.

    Args:
        out: Where it goes.
        transfer: The job.
    """

    def __init__(self, out: Output, transfer: Transfer) -> None:
        self._out = out
        self._title = visible(f"{transfer.node} {transfer.id}")
        self._rate = Rate(_SPAN)
        self._bar: Bar | None = None
        self._next = time.monotonic() + (0 if out.live else _LINE_EVERY)
        self._last = ""

    def __enter__(self) -> JobProgress:
        if self._out.live:
            from pypx.cli.bar import Bar

            self._bar = Bar(self._out, self._title, "asking what there is", width=24)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, look: Callable[[], Snapshot]) -> None:
        """Show how the job stands, if it is time to.

        Args:
            look: Looks at the job, which takes a while if it is a large one.
        """
        now = time.monotonic()
        if now < self._next:
            return
        snapshot = look()
        images, received = self._rate.at(now, snapshot.instances, snapshot.bytes)
        words = visible(describe(snapshot, images, received))
        self._next = time.monotonic() + (_LINE_EVERY if self._bar is None else _DRAW_EVERY)
        if self._bar is not None:
            done, total = _so_far(snapshot)
            self._bar.show(done, total or None, words)
        elif words != self._last:
            self._last = words
            self._out.say(f"{self._title}: {words}.")


def describe(snapshot: Snapshot, images: float, received: float) -> str:
    """Say in a line how a job stands.

    Args:
        snapshot: The job.
        images: That come in a second, by now.
        received: Bytes that come in a second, by now.
    """
    if snapshot.waits:
        return snapshot.waits.rstrip(".")
    done, total = _so_far(snapshot)
    more = "+" if snapshot.totals.to_plan else ""
    known = f" of {total:,}{more}" if total else ""
    words = [f"{done:,}{known} images, {size(snapshot.bytes)}"]
    if images:
        words.append(f"{images:,.0f}/s, {size(received)}/s")
        if not more and total > done:
            words.append(f"{duration((total - done) / images)} left")
    under_way = [
        f"C-{flight.method.upper()} of {flight.series.modality or flight.level} "
        f"{len(flight.unit.arrived):,}/{flight.series.expected or '?'}"
        for flight in snapshot.flights
    ]
    if under_way:
        words.append("; ".join(under_way[:2]) + (" …" if len(under_way) > 2 else ""))
    elif more:
        words.append(f"asking what there is, {count(snapshot.totals.series, 'series', 'series')}")
    return ", ".join(words)


def _so_far(snapshot: Snapshot) -> tuple[int, int]:
    """Give how many images are here, with those of requests under way, and how many there are."""
    totals = snapshot.totals
    return totals.received if totals.expected else totals.received_uncounted, totals.expected


def duration(seconds: float) -> str:
    """Give a length of time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
