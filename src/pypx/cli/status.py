"""``px status``: what the archive holds, and how it is.

In: the archive. Out: counts, what was set aside, what waits, who receives; exit code 1 where
somebody has to do something. Nothing is changed, not even what a crash left is put in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from pypx.cli.command import PxCommand
from pypx.cli.options import Invocation, common_options
from pypx.cli.output import Output, error_object, visible
from pypx.cli.show import count, size
from pypx.cli.table import Column, draw
from pypx.errors import IndexUnavailableError

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
        condition: How the archive is.
        queued: How many deliveries wait for hooks.
        failed: How many were given up.
        failures: Some of these, the newest first.
    """

    root: Path
    counts: dict[str, int] | None
    error: IndexUnavailableError | None
    condition: Condition
    queued: int
    failed: int
    failures: list[dict[str, str]]


class _Attention(NamedTuple):
    """What somebody has to do something about, and what."""

    sentence: str
    hint: str


@click.command("status", cls=PxCommand, short_help="What the archive holds, and how it is.")
@click.option("--all", "show_all", is_flag=True, help="Not only the latest of each kind.")
@common_options(timeout=False)
def command(invocation: Invocation, *, show_all: bool) -> int:
    """Show what the archive holds and how it is; a listener may be using it.

    Told are studies, series, images, their size and the free space; processes that receive;
    objects in quarantine, superseded ones, and objects that broke off while they arrived;
    what waits for hooks, and what they did not take.

    \b
    px status
    px status --all
    px status --json | jq .attention

    The exit code is 1 when somebody has to do something: the index cannot be read or may lack
    objects, less than 1 GiB is free, or a hook has not taken what it was to be told. Objects in
    quarantine and objects that broke off do not count: their senders know.
    """
    out = invocation.out
    status = _look(invocation, None if show_all else _LATEST)
    attention = list(_attention(status))
    shown = None if show_all else _LATEST
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
    try:
        with invocation.open_archive(create=False, read_only=True) as archive:
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
    return _Status(root, counts, error, condition, queued, failed, list(map(_failure, failures)))


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


def _attention(status: _Status) -> Iterator[_Attention]:
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
