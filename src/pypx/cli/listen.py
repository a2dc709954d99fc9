"""``px listen``: receive into the archive until told to stop.

In: where to listen and who may send. Out: a line for each association at its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pypx.cli.command import PxCommand
from pypx.cli.options import Invocation, common_options, engine_option, maps_option
from pypx.config.amounts import parse_endpoint, parse_size
from pypx.errors import ConfigError

if TYPE_CHECKING:
    from pypx.cli.terms import Inetd

__all__ = ["command"]

_GRACE = 10.0
_UPSTREAM = "As upstream's xinetd calls px-listen; implies --inetd and its layout."


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
    help="Who may send: AET@HOST, AET@NETWORK/BITS or AET@*; AET may be *. Behind it may stand "
    "to CALLED, as USER and tls NAME. Several times. Configured nodes may.",
)
@click.option(
    "--users",
    metavar="FILE",
    help="Users and their hashed passwords, for rules with as USER (px users).  "
    "[default: as configured]",
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
@click.option(
    "--inetd",
    is_flag=True,
    help="Serve the one association that standard input is, and end: for inetd and systemd.",
)
@click.option("-l", "--logdir", metavar="DIR", help="With --inetd: log to DIR/listen.run.log.")
@click.option("-d", "--datadir", metavar="DIR", help=f"{_UPSTREAM} The archive.")
@click.option("-t", "--tmpdir", metavar="DIR", help=f"{_UPSTREAM} Not needed.")
@click.option("-e", "--executable", metavar="FILE", help=f"{_UPSTREAM} Not run.")
@click.option("--debug", is_flag=True, help="With --inetd: -v.")
@common_options(jsonl=True)
@maps_option
def command(
    invocation: Invocation,
    *,
    host: str | None,
    port: int | None,
    rules: tuple[str, ...],
    users: str | None,
    allow_any: bool,
    grace: float,
    durability: str,
    no_create: bool,
    min_free: int | None,
    workers: int | None,
    metrics: tuple[str, int] | None,
    **inetd: Any,
) -> int:
    """Receive what peers send (C-STORE) into the archive, and answer C-ECHO.

    An instance is acknowledged when it is on disk and indexed. SIGTERM and Ctrl-C stop it
    when the instances under way are stored. --timeout is the silence after which an
    association is closed. SIGHUP reads the configuration again: who may send, the limits,
    min_free, and the files of TLS; what else has changed there is named and needs a new start.
    Sockets of a service manager (LISTEN_FDS) take the place of host and port.

    With --engine dcmtk, DCMTK's storescp receives, and what it writes is taken in from there. It
    acknowledges an instance when its file is written, before that is in the archive; it binds all
    addresses and takes from anybody, so --allow-any has to be given with it.

    With --inetd the connection comes from inetd, xinetd or systemd, on standard input, and the
    process ends with its association; nothing is said over it. px-listen -t -l -d -e, as
    upstream's xinetd has it, is that with the layout pypx-1, open to whom xinetd lets in.

    \b
    px listen
    px listen --host 0.0.0.0 --allow ORTHANC@10.1.2.0/24
    px listen --workers 4 --metrics 9104 --log-json
    px listen --inetd --logdir /dicom/log --allow ORTHANC@10.1.2.0/24
    px listen --jsonl | while read -r association; do …; done

    The exit code is 0 after a stop.
    """
    from pypx.cli.listening import listen
    from pypx.cli.terms import Flags

    if allow_any and rules:
        raise ConfigError("--allow and --allow-any exclude each other.")
    handed = _read_inetd(invocation, **inetd)
    if handed is not None:
        for name, given in (("host", host), ("port", port), ("workers", workers)):
            if given is not None:
                raise ConfigError(f"With --inetd there is no port of ours: --{name} means nothing.")
        if metrics is not None:
            raise ConfigError("With --inetd each process ends too soon to serve --metrics.")
        allow_any = allow_any or (handed.as_upstream and not rules)
    flags = Flags(
        host=host,
        port=port,
        rules=rules,
        allow_any=allow_any,
        durability=durability,
        create=not no_create,
        grace=grace,
        min_free=min_free,
        users=users,
        workers=workers,
        metrics=metrics,
        engine=invocation.engine,
        inetd=handed,
    )
    return listen(invocation, flags)


def _read_inetd(
    invocation: Invocation,
    *,
    inetd: bool,
    logdir: str | None,
    datadir: str | None,
    tmpdir: str | None,
    executable: str | None,
    debug: bool,
) -> Inetd | None:
    """Put together what is asked of one connection; None where we listen ourselves.

    Raises:
        ConfigError: The options do not go together.
    """
    from pypx.cli.terms import Inetd

    as_upstream = any(one is not None for one in (datadir, tmpdir, executable))
    if not (inetd or as_upstream):
        if logdir is not None or debug:
            raise ConfigError(f"{'--debug' if debug else '--logdir'} needs --inetd.")
        return None
    out = invocation.out
    out.verbose = out.verbose or (debug and not out.quiet)
    if as_upstream:
        if datadir is not None and invocation.archive is not None:
            raise ConfigError("--datadir and --archive exclude each other.")
        invocation.archive = datadir or invocation.archive
        invocation.maps = invocation.maps or logdir
        invocation.layout = "pypx-1"
    if tmpdir or executable:
        out.detail("--tmpdir and --executable are not needed: we receive, and in the archive.")
    return Inetd(logdir, as_upstream)
