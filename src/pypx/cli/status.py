"""``px status``: what the archive holds, how it is, and how the jobs of px retrieve stand.

In: the archive. Out: counts, jobs, what was set aside, what waits, who receives; exit code 1 where
somebody has to do something. Nothing is changed, not even what a crash left is put in order, unless
jobs are to be forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from pypx.cli.command import PxCommand
from pypx.cli.job import in_full, job_document, show_job
from pypx.cli.jobs import Job, job_object, jobs_of, resolve, show_jobs, unsettled_jobs, why
from pypx.cli.options import Invocation, common_options
from pypx.cli.output import Output, error_object, visible
from pypx.cli.show import count, size
from pypx.cli.table import Column, draw
from pypx.cli.watch import watch
from pypx.errors import ConfigError, IndexUnavailableError

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.archive.condition import Condition

__all__ = ["command"]

_LATEST = 5
_LOW_SPACE = 1 << 30  # bytes; with less, px listen refuses by default
_COUNTS = {
    "studies": "NumberOfPatientRelatedStudies",
    "series": "NumberOfPatientRelatedSeries",
    "instances": "instances",
    "bytes": "bytes",
}


class _Status(NamedTuple):
    """What was found.

    Attributes:
        root: The archive.
        counts: By ``_COUNTS``; None where the index cannot be read.
        error: Why it cannot.
        jobs: The latest of px retrieve, and one more if there are more.
        unsettled: Those that need attention.
        condition: How the archive is.
        queued: How many deliveries wait for hooks.
        failed: How many were given up.
        failures: Some of these, the newest first.
    """

    root: Path
    counts: dict[str, int] | None
    error: IndexUnavailableError | None
    jobs: list[Job]
    unsettled: list[Job]
    condition: Condition
    queued: int
    failed: int
    failures: list[dict[str, str]]


class _Attention(NamedTuple):
    """What somebody has to do something about, and what."""

    sentence: str
    hint: str


@click.command("status", cls=PxCommand, short_help="What the archive holds, and how it is.")
@click.argument("job", required=False, metavar="[ID]")
@click.option("--all", "show_all", is_flag=True, help="Not only the latest of each kind.")
@click.option("--missing", is_flag=True, help="Name the images that a job lacks.")
@click.option("--watch", "watching", is_flag=True, help="Go on showing how jobs get on.")
@click.option(
    "--forget", "names", multiple=True, metavar="ID", help="Forget a job; its images stay."
)
@click.option(
    "--forget-older",
    "older",
    type=click.FloatRange(0, 36_500),
    metavar="DAYS",
    help="Forget all jobs that ended so long ago.",
)
@common_options(timeout=False)
def command(
    invocation: Invocation,
    *,
    job: str | None,
    show_all: bool,
    missing: bool,
    watching: bool,
    names: tuple[str, ...],
    older: float | None,
) -> int:
    """Show what the archive holds and how it is, or the job ID of px retrieve.

    Told are studies, series, images, their size and the free space; processes that receive;
    jobs; objects in quarantine, superseded ones, and objects that broke off while they
    arrived; what waits for hooks, and what they did not take. Of a job: what was asked for
    against what is here now, series by series. How ID begins is enough.

    \b
    px status
    px status --all
    px status --json | jq .attention
    px status 20240131-5f0c2a --missing
    px status --watch
    px status --forget-older 365

    The exit code is 1 when somebody has to do something: the index cannot be read or may lack
    objects, less than 1 GiB is free, a hook has not taken what it was to be told, the process
    of a job has died, or a job of the last seven days has failed or is incomplete, unless the
    same command was run again since. Objects in quarantine and objects that broke off do not
    count: their senders know. Of a job it is 0 when all of it is here, else 1.

    --watch ends with Ctrl-C (exit code 0) and, where ID is given, when the job ends.

    A job that is forgotten cannot be resumed, and px ls does not know from it any more whether
    series are complete; --forget and --forget-older leave jobs alone that a process runs.
    """
    out, shown = invocation.out, None if show_all else _LATEST
    if names or older is not None:
        if job is not None or show_all or missing or watching:
            raise ConfigError("--forget and --forget-older only forget: give them alone.")
        from pypx.cli.forgetting import forget

        return forget(invocation, names, older)
    if missing and job is None:
        raise ConfigError("--missing is of one job.", hint="Give its ID: px status lists them.")
    if watching and out.form == "json":
        raise ConfigError("--watch has no --json.", hint="Into a pipe it writes a line a change.")
    if watching and (job := watch(invocation, job, shown)) is None:
        return 0
    if job is not None:
        return _tell_job(invocation, job, missing)
    return _tell_archive(invocation, shown)


def _tell_job(invocation: Invocation, name: str, missing: bool) -> int:
    out = invocation.out
    with invocation.open_archive(create=False, read_only=True) as archive:
        found = in_full(archive, resolve(archive.ledger, name))
    if out.form == "json":
        out.document(job_document(found))
    else:
        show_job(out, found, missing=missing)
    return int(found.job.state != "complete")


def _tell_archive(invocation: Invocation, shown: int | None) -> int:
    out = invocation.out
    status = _look(invocation, shown)
    attention = list(_attention(status, shown))
    if out.form == "json":
        out.document(_document(status, attention, shown))
    else:
        _show(out, status, shown)
    out.flush()
    for one in attention:
        out.warn(one.sentence, one.hint)
    return int(bool(attention))


def _look(invocation: Invocation, shown: int | None) -> _Status:
    from pypx.archive.condition import condition_of
    from pypx.archive.files import archive_error
    from pypx.archive.tree import META_FOLDER
    from pypx.receiver.hook_queue import HookQueue

    counts, error = None, None
    jobs: list[Job] = []
    unsettled: list[Job] = []
    try:
        with invocation.open_archive(create=False, read_only=True) as archive:
            jobs = jobs_of(archive, None if shown is None else shown + 1)
            unsettled = list(unsettled_jobs(archive, time.time()))
            counts = _count(archive)
    except IndexUnavailableError as raised:
        error = raised
    root = Path(invocation.config.archive).absolute()
    condition = condition_of(root, shown)
    queue = HookQueue(root / META_FOLDER / "hooks")
    try:
        queued, failed = queue.queued, queue.failed
        failures = queue.failures(failed if shown is None else shown)
    except OSError as raised:
        raise archive_error(raised, "be looked at") from raised
    described = [_failure(document) for document in failures]
    return _Status(root, counts, error, jobs, unsettled, condition, queued, failed, described)


def _count(archive: Archive) -> dict[str, int]:
    counts = dict.fromkeys(_COUNTS, 0)
    for row in archive.find("patient"):
        for name, key in _COUNTS.items():
            counts[name] += int(str(row[key]))
    return counts


def _failure(document: dict[str, Any]) -> dict[str, str]:
    """Give a delivery that was given up, of its file, which anybody may have changed."""
    series = document.get("series")
    uid = series.get("series_instance_uid", "") if isinstance(series, dict) else ""
    return {
        "at": str(document.get("failed_at", "")),
        "hook": str(document.get("hook", "")),
        "series_instance_uid": str(uid),
        "reason": str(document.get("reason", "")),
    }


def _attention(status: _Status, shown: int | None) -> Iterator[_Attention]:
    condition = status.condition
    if status.error is not None:
        yield _Attention(status.error.message, status.error.hint)
    if condition.incomplete_since is not None:
        since = _when(condition.incomplete_since)
        yield _Attention(
            f"A process ended too soon: the index may lack objects since {since} UTC.",
            "The next px listen, px move or px index puts it in order.",
        )
    if condition.free_bytes < _LOW_SPACE:
        yield _Attention(
            f"The disk has only {size(condition.free_bytes)} left.",
            "Make room: px listen refuses images below --min-free (1 GiB).",
        )
    if status.failed:
        yield _Attention(
            f"Hooks have not taken {count(status.failed, 'delivery', 'deliveries')}.",
            f"Move the files from {status.root}/.pypx/hooks/failed to queue to have them tried "
            "again, or remove them.",
        )
    named = status.unsettled[:shown]
    for job in named:
        yield _Attention(why(job), f"px retrieve --resume {job.transfer.id}")
    if more := len(status.unsettled) - len(named):
        yield _Attention(
            f"{count(more, 'more job')} did not get all of it.", "px status --all names them."
        )


def _document(status: _Status, attention: list[_Attention], shown: int | None) -> dict[str, Any]:
    condition = status.condition
    return {
        "status": "attention" if attention else "ok",
        "attention": [one.sentence for one in attention],
        "archive": str(status.root),
        **(status.counts or dict.fromkeys(_COUNTS)),
        "free_bytes": condition.free_bytes,
        "index": {
            "incomplete_since": condition.incomplete_since,
            "error": error_object(status.error) if status.error else None,
        },
        "processes": _dicts(condition.processes),
        "transfers": None if status.error else [job_object(one) for one in status.jobs[:shown]],
        "quarantine": _described(condition.quarantine.total, condition.quarantine.latest),
        "superseded": _described(condition.superseded.total, condition.superseded.latest),
        "interrupted": _described(len(condition.interrupted), condition.interrupted[:shown]),
        "hooks": {
            "queued": status.queued,
            "failed": {"count": status.failed, "latest": status.failures},
        },
    }


def _described(number: int, latest: Sequence[Any]) -> dict[str, Any]:
    return {"count": number, "latest": _dicts(latest)}


def _dicts(values: Sequence[Any]) -> list[dict[str, Any]]:
    return [value._asdict() for value in values]


def _when(iso_time: str) -> str:
    return iso_time[:19].replace("T", " ")


def _show(out: Output, status: _Status, shown: int | None) -> None:
    condition = status.condition
    lines = _lines(status)
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        out.write(f"{name:{width}}  {visible(text)}\n")
    jobs = status.jobs[:shown]
    show_jobs(out, jobs, are_all=len(jobs) == len(status.jobs))
    for title, aside in (
        ("Quarantine", condition.quarantine),
        ("Superseded", condition.superseded),
    ):
        rows = [
            (one.at, _peer(one.calling_ae_title, one.host), one.reason, one.sop_instance_uid)
            for one in aside.latest
        ]
        _show_table(out, title, aside.total, rows)
    rows = [
        (
            one.at,
            _peer(one.calling_ae_title, one.host),
            f"{size(one.bytes)} had come. {one.reason}",
            one.sop_instance_uid,
        )
        for one in condition.interrupted[:shown]
    ]
    _show_table(out, "Interrupted", len(condition.interrupted), rows)
    rows = [
        (one["at"], one["hook"], one["reason"], one["series_instance_uid"])
        for one in status.failures
    ]
    _show_table(out, "Not taken by hooks", status.failed, rows, "Hook", "Series")


def _lines(status: _Status) -> list[tuple[str, str]]:
    condition, counts = status.condition, status.counts
    holds = "unknown: the index cannot be read"
    if counts is not None:
        holds = ", ".join(
            [
                count(counts["studies"], "study", "studies"),
                f"{counts['series']:,} series",
                count(counts["instances"], "image"),
                size(counts["bytes"]),
            ]
        )
    receiving = [f"process {one.pid} since {_when(one.since)} UTC" for one in condition.processes]
    return [
        ("Archive", str(status.root)),
        ("Holds", holds),
        ("Free", size(condition.free_bytes)),
        ("Receiving", ", ".join(receiving) or "nobody"),
        ("Quarantine", count(condition.quarantine.total, "object")),
        ("Superseded", count(condition.superseded.total, "object")),
        ("Interrupted", count(len(condition.interrupted), "object")),
        ("Hooks", f"{status.queued:,} waiting, {status.failed:,} failed"),
    ]


def _peer(calling_ae_title: str, host: str) -> str:
    return f"{calling_ae_title}@{host}" if host else calling_ae_title


def _show_table(
    out: Output,
    title: str,
    number: int,
    rows: list[tuple[str, str, str, str]],
    who: str = "From",
    uid: str = "SOP",
) -> None:
    if not rows:
        return
    which = "" if len(rows) == number else f", the latest {len(rows)} of {number:,}"
    columns = [
        Column("When (UTC)", [_when(visible(row[0])) for row in rows]),
        Column(who, [visible(row[1]) for row in rows], rank=1),
        Column("Reason", [visible(row[2]) for row in rows]),
        Column(f"{uid} Instance UID", [visible(row[3]) for row in rows], long=True),
    ]
    text, _ = draw(columns, width=out.terminal_width, colour=out.colour)
    out.write(f"\n{title}{which}\n{text}\n")
