"""``px listen``: receive into the archive until told to stop.

In: where to listen and who may send. Out: a line for each association at its end.
"""

from __future__ import annotations

from typing import Any

import click

from pypx.cli.command import PxCommand
from pypx.cli.options import Invocation, common_options, engine_option
from pypx.config.amounts import parse_endpoint, parse_size
from pypx.errors import ConfigError

__all__ = ["command"]

_GRACE = 10.0


def _read_with(parse: Any) -> Any:
    """Give a callback that lets a function read the text of an option."""

    def read(context: click.Context, parameter: click.Parameter, text: str | None) -> object:
        if text is None:
            return None
        try:
            return parse(text)
        except ConfigError as error:
            raise click.BadParameter(error.message, context, parameter) from None

    return read


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
    "--no-create",
    is_flag=True,
    help="Do not make an archive where there is none: its disk may not be mounted.",
)
@click.option(
    "--min-free",
    callback=_read_with(parse_size),
    metavar="SIZE",
    help="With less space left on the disk, images are refused instead of filling it up.  "
    "[default: as configured, or 1GiB]",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    metavar="N",
    help="How many processes receive, on one port (Linux).  [default: as configured, or 1]",
)
@click.option(
    "--metrics",
    callback=_read_with(parse_endpoint),
    metavar="[HOST:]PORT",
    help="Serve Prometheus metrics and /healthz over HTTP; to this machine only, unless HOST "
    "says otherwise.",
)
@engine_option(what="What receives")
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
    no_create: bool,
    min_free: int | None,
    workers: int | None,
    metrics: tuple[str, int] | None,
) -> int:
    """Receive what peers send (C-STORE) into the archive, and answer C-ECHO.

    An instance is acknowledged when it is on disk and indexed. SIGTERM and Ctrl-C stop it
    when the instances under way are stored. --timeout is the silence after which an
    association is closed. SIGHUP reads the configuration again: who may send, and min_free;
    what else has changed there is named and needs a new start.

    With --engine dcmtk, DCMTK's storescp receives, and what it writes is taken in from there. It
    acknowledges an instance when its file is written, before that is in the archive; it binds all
    addresses and takes from anybody, so --allow-any has to be given with it.

    \b
    px listen
    px listen --host 0.0.0.0 --allow ORTHANC@10.1.2.0/24
    px listen --workers 4 --metrics 9104 --log-json
    px listen --jsonl | while read -r association; do …; done

    The exit code is 0 after a stop.
    """
    from pypx.cli.listening import listen
    from pypx.cli.terms import Flags

    if allow_any and rules:
        raise ConfigError("--allow and --allow-any exclude each other.")
    flags = Flags(
        host=host,
        port=port,
        rules=rules,
        allow_any=allow_any,
        durability=durability,
        create=not no_create,
        grace=grace,
        min_free=min_free,
        workers=workers,
        metrics=metrics,
        engine=invocation.engine,
    )
    return listen(invocation, flags)
