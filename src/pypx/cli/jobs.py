"""The jobs of px retrieve, as one table of all.

In: the ledger of an archive, which another process may be writing. Out: how each job stands now,
which of them somebody has to do something about, JSON, a table. Not here: what one job is made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pypx.cli.output import Output, visible
from pypx.cli.show import count
from pypx.cli.table import Column, draw
from pypx.errors import ConfigError
from pypx.values import replace

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.archive.ledger import Ledger
    from pypx.archive.transfers import Totals, Transfer

__all__ = [
    "INTERRUPTED",
    "Job",
    "job_object",
    "job_of",
    "jobs_of",
    "jobs_table",
    "progress_of",
    "queries_and_studies",
    "resolve",
    "show_jobs",
    "unsettled_jobs",
    "when",
    "why",
]

INTERRUPTED = "interrupted"
"""The state of a job that the ledger calls running, and that no process runs."""

_ATTENTION_FOR = 7 * 86_400  # seconds
_NEAREST = 3


class Job(NamedTuple):
    """A job as it stands now.

    Attributes:
        transfer: As the ledger has it.
        totals: Its numbers.
        state: That of the transfer; ``interrupted``; or ``complete``, where the rest came later,
            which the reason of the transfer then says.
    """

    transfer: Transfer
    totals: Totals
    state: str


def job_of(archive: Archive, transfer: Transfer) -> Job:
    """Look how a job stands.

    Raises:
        IndexUnavailableError: The index cannot be read.
    """
    from pypx.archive.locks import TransferLock

    ledger, state = archive.ledger, transfer.state
    if state == "running" and not TransferLock.is_held(archive.root, transfer.id):
        transfer = ledger.find(transfer.id) or transfer  # it may have ended a moment ago
        state = INTERRUPTED if transfer.state == "running" else transfer.state
    totals = ledger.totals(transfer)
    if state == "incomplete" and (since := ledger.complete_since(transfer, totals)):
        state = "complete"
        transfer = replace(
            transfer, reason=f"What was missing came: complete since {when(since)} UTC."
        )
    return Job(transfer, totals, state)


def jobs_of(archive: Archive, latest: int | None) -> list[Job]:
    """Give the latest jobs, the newest first; all where ``latest`` is None."""
    limit = -1 if latest is None else latest
    return [job_of(archive, transfer) for transfer in archive.ledger.transfers(limit)]


def unsettled_jobs(archive: Archive, now: float) -> Iterator[Job]:
    """Give the jobs that somebody has to do something about.

    These are the newest job of each command, if its process died, or if it ended incomplete or
    failed in the last seven days.

    Args:
        archive: Of which archive.
        now: Seconds since 1970.
    """
    from pypx.archive.reading import iso_time

    since = iso_time(int((now - _ATTENTION_FOR) * 1e9))
    for transfer in archive.ledger.unsettled(since):
        job = job_of(archive, transfer)
        if job.state in (INTERRUPTED, "incomplete", "failed"):
            yield job


def why(job: Job) -> str:
    """Say in a sentence why a job needs attention."""
    name = f"Job {job.transfer.id} ({job.transfer.node})"
    if job.state == INTERRUPTED:
        return f"{name} was interrupted: its process ended before it was done."
    ended = "failed" if job.state == "failed" else "is incomplete"
    return f"{name} {ended}. {job.transfer.reason}".rstrip()


def resolve(ledger: Ledger, text: str) -> Transfer:
    """Give the transfer that a user names by its ID, or by how only this one begins.

    Raises:
        ConfigError: There is none, or more than one.
        IndexUnavailableError: The index cannot be read.
    """
    exact = ledger.find(text)
    if exact is not None:
        return exact
    transfers = ledger.transfers()
    found = [one for one in transfers if one.id.startswith(text)] if text else []
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(one.id for one in found[:_NEAREST])
        more = ", …" if len(found) > _NEAREST else ""
        raise ConfigError(
            f"{len(found)} jobs begin with {text}.", hint=f"Take one of {names}{more}."
        )
    raise ConfigError(
        f"There is no job {text}.", hint=_nearest(text, [one.id for one in transfers])
    )


def _nearest(text: str, names: list[str]) -> str:
    from difflib import get_close_matches

    if not names:
        return "px retrieve makes jobs; this archive has none yet."
    nearest = get_close_matches(text, names, n=_NEAREST)
    if nearest:
        return f"Did you mean {' or '.join(nearest)}?"
    return f"The latest are {', '.join(names[:_NEAREST])}; px status --all shows all."


def job_object(job: Job) -> dict[str, Any]:
    """Give a job as programs read it."""
    transfer, totals = job.transfer, job.totals
    return {
        "id": transfer.id,
        "state": job.state,
        "node": transfer.node,
        "reason": transfer.reason,
        "began_at": transfer.began_at,
        "ended_at": transfer.ended_at or None,
        "seconds": round(transfer.seconds, 3),
        "series": totals.series,
        "series_complete": totals.complete,
        "series_uncounted": totals.uncounted,
        "requested": totals.expected,
        "received": totals.received + totals.received_uncounted,
        "to_plan": totals.to_plan,
    }


def jobs_table(jobs: Sequence[Job], *, width: int | None, colour: bool = False) -> str:
    """Give the table of some jobs."""
    progress = [progress_of(job.totals) for job in jobs]
    columns = [
        Column("Job", [visible(job.transfer.id) for job in jobs]),
        Column("State", [visible(job.state) for job in jobs]),
        Column("PACS", [visible(job.transfer.node) for job in jobs], rank=3),
        Column("Series", [series for series, _ in progress], rank=2),
        Column("Images", [images for _, images in progress]),
        Column("Began (UTC)", [when(visible(job.transfer.began_at)) for job in jobs], rank=1),
        Column("Reason", [visible(job.transfer.reason) for job in jobs], rank=4),
    ]
    return draw(columns, width=width, colour=colour)[0]


def show_jobs(out: Output, jobs: Sequence[Job], *, are_all: bool) -> None:
    """Write the table of jobs, where there is one."""
    if jobs:
        which = "" if are_all else f", the latest {len(jobs)}"
        table = jobs_table(jobs, width=out.terminal_width, colour=out.colour)
        out.write(f"\nJobs{which}\n{table}\n")


def progress_of(totals: Totals) -> tuple[str, str]:
    """Give how many series are complete, and how many images are here."""
    series = f"{totals.complete:,} of {totals.series:,}"
    if totals.uncounted and not totals.expected:
        return series, f"{totals.received_uncounted:,} of ?"
    more = f" and {totals.received_uncounted:,} more" if totals.received_uncounted else ""
    return series, f"{totals.received:,} of {totals.expected:,}{more}"


def queries_and_studies(number: int) -> str:
    """Give how much is still to be planned."""
    return count(number, "query or study", "queries and studies")


def when(iso_time: str) -> str:
    """Give a time of the ledger as people write it."""
    return iso_time[:19].replace("T", " ")
