"""``px retrieve``: the whole job, complete, or told exactly what is missing and why.

In: a node and keys, a list, or a job that is resumed. Out: the images in the archive, and a
verdict that compares by UID. How a job works is in ``pypx.retrieve``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pypx.cli.keys import KeyCommand, check_values, key_option, model_option, parse_keys
from pypx.cli.options import (
    Invocation,
    PeerFlags,
    common_options,
    engine_option,
    listener_options,
    maps_option,
    peer_options,
)
from pypx.errors import ConfigError

if TYPE_CHECKING:
    from pypx.cli.job_options import Options

__all__ = ["command"]


@click.command("retrieve", cls=KeyCommand, short_help="Get images, all of them.")
@click.argument("node", required=False)
@key_option
@click.option(
    "--from", "list_file", metavar="FILE", help="A list (CSV, TSV, Excel): each row is a query."
)
@click.option("--resume", metavar="ID", help="Go on with a job (px status lists them).")
@click.option("--dry-run", is_flag=True, help="Only say what there is, and what of it is here.")
@click.option(
    "--method",
    type=click.Choice(["auto", "move", "get"]),
    help="C-MOVE or C-GET.  [default: C-MOVE, and C-GET where that brings nothing]",
)
@click.option(
    "--by",
    type=click.Choice(["study", "series", "image"]),
    help="What is asked for at once.  [default: series]",
)
@model_option
@click.option(
    "--associations",
    type=click.IntRange(1, 64),
    metavar="N",
    help="At most so many with the PACS at once.  [default: as configured, or 2]",
)
@click.option(
    "--retries",
    type=click.IntRange(0, 100),
    metavar="N",
    help="How often to ask again for what does not come.  [default: 3]",
)
@click.option(
    "--wait",
    type=click.FloatRange(0, 86_400),
    metavar="SECONDS",
    help="How long to wait for a PACS that goes away.  [default: 300]",
)
@click.option("--between", metavar="HH:MM-HH:MM", help="Ask only at this time of day.")
@click.option("--max-rate", metavar="SIZE", help="Bytes a second that may come, e.g. 10M.")
@click.option(
    "--max-studies-per-row",
    type=click.IntRange(1),
    metavar="N",
    help="Do not retrieve a query that matches more studies.",
)
@click.option("--manifest", metavar="FILE", help="Write what came, as .csv or .json.")
@click.option("--report", metavar="FILE", help="Write a report, as .html.")
@listener_options()
@engine_option()
@common_options()
@maps_option
@peer_options
def command(
    invocation: Invocation,
    *,
    peer: PeerFlags,
    node: str | None,
    keys: tuple[str, ...],
    model: str | None,
    **values: Any,
) -> int:
    """Get all that matches from NODE into the archive: find, ask, receive, compare, ask again.

    What is there is asked for first (C-FIND), series by series and image by image. What arrives
    is compared with that by UID, and what is missing is asked for again. What is here already is
    not fetched. A job that was interrupted goes on when the same command is given again.

    \b
    px retrieve hospital -k StudyInstanceUID=1.2.3
    px retrieve hospital -k PatientID=PID1 -k Modality=MR --dry-run
    px retrieve hospital --from cohort.xlsx --between 19:00-06:00
    px retrieve hospital -k StudyDate=2024-01-01..2024-06-30 --report june.html
    px retrieve --resume 20260131-3fa2c1

    A list has DICOM keywords as headings; what became of each row is written to
    FILE.result.csv as it goes.

    The exit code is 0 only when all that matches is here.
    """
    from pypx.cli.job_options import Options
    from pypx.cli.retrieving import Retrieving

    options = Options(**values)
    wanted = parse_keys(keys)
    _check(options, node, wanted, bool(peer or model))
    chosen = None if options.resume else peer.node(invocation, node)
    return Retrieving(invocation, chosen, wanted, model, options).run()


def _check(options: Options, node: str | None, keys: dict[str, str], has_peer: bool) -> None:
    """Refuse what says nothing, or two things at once.

    Raises:
        ConfigError: The arguments do so.
    """
    if options.resume:
        if node or keys or options.list_file or has_peer:
            raise ConfigError(
                "--resume goes on with a job as it was begun.",
                hint=f"px retrieve --resume {options.resume}, without NODE, keys and list.",
            )
        if options.dry_run:
            raise ConfigError("A job that is resumed has its plan: see px status ID.")
        return
    if options.dry_run and (options.manifest or options.report):
        given = "--manifest" if options.manifest else "--report"
        raise ConfigError(f"--dry-run gets nothing, and {given} tells what came.")
    empty = [key for key, value in keys.items() if not value]
    if empty:
        raise ConfigError(
            f"{empty[0]} has no value: it does not say what is to be retrieved.",
            hint=f"-k {empty[0]}=VALUE; if really everything is meant, -k '{empty[0]}=*'.",
        )
    if not keys and not options.list_file:
        raise ConfigError(
            "Nothing says what is to be retrieved.",
            hint="Give a key, for example -k StudyInstanceUID=…, or a list with --from.",
        )
    check_values(keys)
    options.check_by(keys)
