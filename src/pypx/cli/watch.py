"""``px status --watch``: how jobs get on, as the index tells it; another process runs them.

In: a look at the jobs, once a second. Out: on a terminal a block of lines that is drawn again,
elsewhere a line for each change. Plain escape sequences do for a block of lines.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from pypx.cli.jobs import (
    Job,
    job_of,
    jobs_of,
    jobs_table,
    progress_of,
    queries_and_studies,
    resolve,
    when,
)
from pypx.cli.live import Rate
from pypx.cli.output import Output, visible
from pypx.cli.table import width_of
from pypx.errors import IndexUnavailableError

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.cli.options import Invocation

__all__ = ["watch"]

_EVERY = 1.0  # seconds
_RATE_SPAN = 10.0  # seconds
_USUAL_HEIGHT = 24
_ALL_LINES_BELOW = "\x1b[J"
_pause = time.sleep


class _View(Protocol):
    """Where a watch shows what it sees."""

    def show(self, jobs: Sequence[Job], now: float, trouble: str) -> None:
        """Show the jobs at a time, and why this is not the newest look at them."""


def watch(invocation: Invocation, name: str | None, latest: int | None) -> str | None:
    """Show jobs until Ctrl-C, or until the one that was named has ended.

    Args:
        invocation: Whose archive and output.
        name: The ID of a job, or how it begins; None for all.
        latest: Show so many of them; all where it is None.

    Returns:
        The ID of the job that has ended; None after Ctrl-C.

    Raises:
        ConfigError: There is no such job, or no archive.
        IndexUnavailableError: The index cannot be read at the start.
    """
    out = invocation.out
    on_terminal = out.terminal_width is not None and os.environ.get("TERM", "") != "dumb"
    view: _View = _Redrawn(out) if on_terminal else _Changes(out)
    jobs_in = _jobs_named(name, latest)
    jobs: list[Job] = []
    try:
        while True:
            jobs, trouble = _look(invocation, jobs_in, jobs)
            view.show(jobs, time.monotonic(), trouble)
            if name is not None and jobs[0].state != "running":
                return jobs[0].transfer.id
            _pause(_EVERY)
    except KeyboardInterrupt:
        return None


def _jobs_named(name: str | None, latest: int | None) -> Callable[[Archive], list[Job]]:
    if name is None:
        return lambda archive: jobs_of(archive, latest)
    names = [name]

    def one(archive: Archive) -> list[Job]:
        job = job_of(archive, resolve(archive.ledger, names[0]))
        names[0] = job.transfer.id  # a later job may begin like it
        return [job]

    return one


def _look(
    invocation: Invocation, jobs_in: Callable[[Archive], list[Job]], before: list[Job]
) -> tuple[list[Job], str]:
    """Give the jobs; those of before, and why, while the index cannot be read."""
    try:
        # Opened each time: the index may have been made again, or have been without a writer.
        with invocation.open_archive(create=False, read_only=True) as archive:
            return jobs_in(archive), ""
    except IndexUnavailableError as error:
        if not before:
            raise
        return before, error.message


class _Changes:
    """A line for each job that is another than before."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._said: dict[str, str] = {}
        self._trouble = ""

    def show(self, jobs: Sequence[Job], now: float, trouble: str) -> None:
        """Say what is new."""
        if trouble and trouble != self._trouble:
            self._out.warn(trouble)
        self._trouble = trouble
        for job in reversed(jobs):  # the newest last, as in a log
            text = _sentence(job)
            if self._said.get(job.transfer.id) != text:
                self._said[job.transfer.id] = text
                self._out.line(visible(text))


def _sentence(job: Job) -> str:
    series, images = progress_of(job.totals)
    reason = f" ({job.transfer.reason})" if job.transfer.reason else ""
    return (
        f"{job.transfer.id} {job.transfer.node} {job.state}: "
        f"series {series}, images {images}{reason}"
    )


class _Redrawn:
    """A block of lines at the foot of a terminal."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._rates: dict[str, Rate] = {}
        self._height = 0

    def show(self, jobs: Sequence[Job], now: float, trouble: str) -> None:
        """Draw the lines in the place of those before."""
        width = self._out.terminal_width or 80
        lines = jobs_table(jobs, width=width).splitlines() if jobs else ["No job yet."]
        for job in jobs:
            speed = self._speed(job, now)
            if job.state == "running":
                lines.append(f"{job.transfer.id}: {speed:,.1f} images/s{_plan(job)}")
        lines += [trouble] if trouble else []
        lines = [_cut(visible(line), width - 1) for line in lines[: _height() - 1]]
        back = f"\r\x1b[{self._height}A{_ALL_LINES_BELOW}" if self._height else ""
        self._out.line(back + "\n".join(lines))
        self._height = len(lines)

    def _speed(self, job: Job, now: float) -> float:
        rate = self._rates.setdefault(job.transfer.id, Rate(_RATE_SPAN))
        return rate.at(now, job.totals.received + job.totals.received_uncounted, 0)[0]


def _plan(job: Job) -> str:
    since = f", since {when(job.transfer.began_at)} UTC"
    left = job.totals.to_plan
    return since + (f", {queries_and_studies(left)} to plan" if left else "")


def _cut(text: str, width: int) -> str:
    while width_of(text) > width:
        text = text[:-1]
    return text


def _height() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).lines or _USUAL_HEIGHT
    except (OSError, ValueError, AttributeError):
        return _USUAL_HEIGHT
