"""``px listen``: receive into the archive until told to stop.

In: where to listen and who may send. Out: a line for each association at its end.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from pypx.cli.command import PxCommand
from pypx.cli.options import Invocation, common_options
from pypx.cli.output import Output, error_object, json_text, visible
from pypx.errors import ConfigError, PypxError

if TYPE_CHECKING:
    from pypx.receiver.events import (
        AssociationBegan,
        AssociationSummary,
        InstanceReceived,
        Totals,
    )
    from pypx.receiver.receiver import Receiver

__all__ = ["command"]

_GRACE = 10.0
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_IDLE_TIMEOUT = 300.0


def _read_size(context: click.Context, parameter: click.Parameter, text: str) -> int:
    """Read a number of bytes: ``500M``, ``1GiB``, ``0``; the units are powers of 1024."""
    shape = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?", text, re.IGNORECASE)
    if shape is None:
        raise click.BadParameter(f"{text!r} is no size; write 500M or 1GiB.", context, parameter)
    return int(float(shape[1]) * _UNITS[shape[2].upper()])


@click.command("listen", cls=PxCommand, short_help="Receive images into the archive.")
@click.option("--aet", metavar="AET", help="Our AE title.  [default: as configured, or PYPX]")
@click.option(
    "--host", metavar="HOST", help="Address to bind.  [default: as configured, or 127.0.0.1]"
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Port; 0 takes a free one.  [default: as configured, or 10402]",
)
@click.option(
    "--allow",
    "rules",
    multiple=True,
    metavar="RULE",
    help="Who may send: AET@HOST, AET@NETWORK/BITS or AET@*; AET may be *. Several times. "
    "Configured nodes may.",
)
@click.option("--allow-any", is_flag=True, help="Whoever reaches the port may send.")
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=_GRACE,
    show_default=True,
    metavar="SECONDS",
    help="How long, when stopping, associations have to end.",
)
@click.option(
    "--durability",
    type=click.Choice(["full", "none"]),
    default="full",
    show_default=True,
    help="full: what was acknowledged survives a power cut. none: faster, and it may not.",
)
@click.option(
    "--min-free",
    callback=_read_size,
    default="1GiB",
    show_default=True,
    metavar="SIZE",
    help="With less space left on the disk, images are refused instead of filling it up.",
)
@common_options(jsonl=True)
def command(
    invocation: Invocation,
    *,
    host: str | None,
    port: int | None,
    rules: tuple[str, ...],
    allow_any: bool,
    grace: float,
    durability: str,
    min_free: int,
) -> int:
    """Receive what peers send (C-STORE) into the archive, and answer C-ECHO.

    An instance is acknowledged when it is on disk and indexed. SIGTERM and Ctrl-C stop it
    when the instances under way are stored. --timeout is the silence after which an
    association is closed.

    \b
    px listen
    px listen --host 0.0.0.0 --allow ORTHANC@10.1.2.0/24
    px listen --jsonl | while read -r association; do …; done

    The exit code is 0 after a stop.
    """
    from pypx.cli.reception import allow_rules, log_to, tell_notes
    from pypx.receiver.receiver import Receiver

    if allow_any and rules:
        raise ConfigError("--allow and --allow-any exclude each other.")
    config, out = invocation.config, invocation.out
    bound = config.listen.host if host is None else host
    texts = (*config.listen.allow, *rules)
    allowed = [] if allow_any else allow_rules(texts, config.nodes.values(), bound, out)
    log_to(out)
    log = _Log(out)
    with invocation.open_archive(create=True, durability=durability) as archive:
        tell_notes(out, archive.notes)
        receiver = Receiver(
            archive,
            host=bound,
            port=config.listen.port if port is None else port,
            ae_title=config.aet,
            allow=allowed,
            allow_any=allow_any,
            idle_timeout=invocation.timeout or _IDLE_TIMEOUT,
            min_free=min_free,
            observer=log,
        )
        wait_for_stop = _stop_on_signals(invocation)
        receiver.start()
        started = time.monotonic()
        try:
            _announce(out, receiver, config.archive, len(allowed), allow_any)
            wait_for_stop()
        finally:
            receiver.stop(grace)
    _tell_totals(out, receiver.totals, log.associations, time.monotonic() - started)
    return int(log.broken)


def _stop_on_signals(invocation: Invocation) -> Callable[[], None]:
    """Stop politely on SIGTERM and on the first Ctrl-C; gives what waits for one of them.

    The kernel may give a signal to any thread, and Python runs its handler in the main one,
    which would sleep on: so the signal itself writes to the pipe that the main thread reads.
    A handler must not wait for a lock that the main thread may hold, so it only sets a flag.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    stopping = False

    def stop() -> None:
        nonlocal stopping
        stopping = True
        os.write(writing, b"x")

    def wait() -> None:
        while not stopping:
            os.read(reading, 1)

    invocation.interrupts.cancel = stop
    signal.signal(signal.SIGTERM, lambda *_: stop())
    return wait


def _announce(out: Output, receiver: Receiver, archive: str, rules: int, allow_any: bool) -> None:
    from pypx.receiver.allow import is_loopback

    where = f"{receiver.host}:{receiver.port}"
    out.say(f"Listening on {where} as {receiver.ae_title}, into {archive}.")
    if is_loopback(receiver.host):
        out.say(
            "Only this machine reaches it; for others: "
            "px listen --host 0.0.0.0 --allow AET@NETWORK (or nodes in the configuration)."
        )
    elif allow_any:
        out.warn("Whoever reaches the port may send.")
    else:
        out.detail(f"{rules} rules say who may send")


class _Log:
    """Tells of each association; it is called in their threads.

    Attributes:
        associations: How many are over.
        broken: The results could not be written. Receiving goes on: images matter more.
    """

    def __init__(self, out: Output) -> None:
        self.associations = 0
        self.broken = False
        self._out = out
        self._lock = threading.Lock()

    def association_began(self, event: AssociationBegan) -> None:
        """Nothing is told of it before its end."""

    def instance_received(self, event: InstanceReceived) -> None:
        """Its association will tell of it."""

    def association_ended(self, summary: AssociationSummary) -> None:
        """Write a line for an association that is over."""
        with self._lock:
            self.associations += 1
            if not self.broken:
                self._write(summary)
        if summary.error is not None:
            self._out.warn(f"{_peer(summary)}: {summary.error.message}", summary.error.hint)

    def _write(self, summary: AssociationSummary) -> None:
        try:
            if self._out.form == "jsonl":
                self._out.line(json_text(_document(summary)))
            elif self._out.form == "text":
                self._out.line(_sentence(summary))
        except (OSError, PypxError) as error:
            self.broken = True
            self._out.discard()
            self._out.abandon_stdout()
            self._out.warn(f"Associations are no longer told, receiving goes on: {error}")


def _peer(summary: AssociationSummary) -> str:
    return f"{summary.calling_ae_title}@{summary.host}"


def _sentence(summary: AssociationSummary) -> str:
    from pypx.cli.show import count, size

    totals = summary.totals
    words = [count(totals.instances, "image")]
    if totals.instances:
        words.append(size(totals.bytes))
    words.append(f"{summary.seconds:.1f} s")
    words += [f"{totals.duplicates} here already"] if totals.duplicates else []
    words += [f"{totals.superseded} replaced"] if totals.superseded else []
    if totals.failures:
        failure = totals.last_failure
        reason = f" ({failure.comment})" if failure and failure.comment else ""
        words.append(f"{totals.failures} not stored{reason}")
    return visible(f"{_peer(summary)}  {', '.join(words)}")


def _document(summary: AssociationSummary) -> dict[str, Any]:
    return {
        "calling_ae_title": summary.calling_ae_title,
        "called_ae_title": summary.called_ae_title,
        "host": summary.host,
        **_numbers(summary.totals),
        "seconds": round(summary.seconds, 3),
        "error": error_object(summary.error) if summary.error else None,
    }


def _numbers(totals: Totals) -> dict[str, int]:
    return {
        "instances": totals.instances,
        "bytes": totals.bytes,
        "duplicates": totals.duplicates,
        "superseded": totals.superseded,
        "failures": totals.failures,
    }


def _tell_totals(out: Output, totals: Totals, associations: int, seconds: float) -> None:
    from pypx.cli.show import count, size

    if out.form == "json":
        numbers = {"associations": associations, **_numbers(totals)}
        out.document({**numbers, "seconds": round(seconds, 3)})
    failed = f", {totals.failures} not stored" if totals.failures else ""
    out.say(
        f"Stopped after {count(associations, 'association')}: "
        f"{count(totals.instances, 'image')}, {size(totals.bytes)}{failed}."
    )
