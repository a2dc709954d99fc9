"""``px store``: send files to a PACS.

In: a node, and paths or keys of the archive. Out: what the PACS took, and by name what it did not.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from pypx.cli.auditing import audited
from pypx.cli.keys import KeyCommand, key_option, parse_keys
from pypx.cli.options import Invocation, common_options, engine_option, listener_options
from pypx.cli.progress import TransferProgress
from pypx.cli.sent import Delivery
from pypx.errors import ConfigError, PypxError

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.audit.sending import SendingAudit
    from pypx.audit.trail import AuditTrail
    from pypx.client.requestor import Requestor, SendingFiles

__all__ = ["command"]

_MOST_ASSOCIATIONS = 64


@click.command("store", cls=KeyCommand, short_help="Send images to a PACS.")
@click.argument("node")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@key_option
@click.option(
    "--associations",
    type=click.IntRange(1, _MOST_ASSOCIATIONS),
    metavar="N",
    help="At most so many at once.  [default: the node's, or 2]",
)
@click.option(
    "--transcode", is_flag=True, help="Send uncompressed what the PACS takes in no other way."
)
@click.option("--commit", is_flag=True, help="Have the PACS confirm that it keeps the images.")
@click.option(
    "--commit-timeout",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    metavar="SECONDS",
    help="So long without a report ends the wait.  [default: 60]",
)
@listener_options("Where we hear reports.", "Port for reports.")
@click.option("--aet", metavar="AET", help="Our AE title.")
@engine_option()
@common_options()
def command(
    invocation: Invocation,
    *,
    node: str,
    paths: tuple[str, ...],
    keys: tuple[str, ...],
    associations: int | None,
    transcode: bool,
    commit: bool,
    commit_timeout: float,
    host: str | None,
    port: int | None,
) -> int:
    """Send files, and folders with all below them, to NODE (C-STORE), exactly as they are.

    Without a PATH, what the keys select is sent out of the archive.

    \b
    px store hospital scan.dcm
    px store hospital ~/export --associations 4
    px store hospital -k StudyInstanceUID=1.2.3

    Files that are no DICOM, names that begin with a dot and DICOMDIR are passed over; -v names
    them. What the PACS refuses is named, and the rest goes on. When an association breaks,
    what was not answered is sent again over a new one.

    With --transcode, images in a transfer syntax that the PACS refuses are sent uncompressed,
    if it takes that; it needs pip install 'pypx[transcode]'.

    With --commit the PACS is asked to take over responsibility for what it stored (storage
    commitment). Many report over an association of their own, to where they know our AE
    title: that is heard on --host and --port, if no other program listens there.

    The exit code is 1 if not all was stored, or committed where that was asked for.
    """
    wanted = parse_keys(keys)
    _check(paths, wanted)
    if not commit and (host is not None or port is not None):
        raise ConfigError("--host and --port are for the reports that --commit waits for.")
    if transcode:
        _prepare_transcoding()
    chosen = invocation.config.node(node)
    number = associations or chosen.associations
    delivery = Delivery(chosen.name, invocation.out, commit=commit)
    with ExitStack() as stack:
        trail = stack.enter_context(audited(invocation))
        client = stack.enter_context(invocation.client(chosen))
        account = None if trail is None else _account(trail, client)
        options: dict[str, Any] = {
            "associations": number,
            "transcode": transcode,
            "on_instance": None if account is None else account.begin,
        }
        if paths:
            delivery.expected = _count(invocation, paths)
            sending = client.store_files(paths, **options)
        else:
            archive = stack.enter_context(_archive(invocation))
            delivery.expected = sum(1 for _ in archive.instances(wanted))
            sending = client.store_archived(archive, wanted, **options)
        _send(invocation, sending, delivery, account)
        if delivery.references and delivery.error is None:
            from pypx.cli.committing import commit_all

            delivery.committed = commit_all(
                invocation, chosen, client, delivery.references.values(), host, port, commit_timeout
            )
    return delivery.tell()


def _check(paths: tuple[str, ...], wanted: dict[str, str]) -> None:
    """Refuse what cannot be meant, before anything is sent."""
    if paths and wanted:
        raise ConfigError(
            "Keys select from the archive, and cannot be used together with a PATH.",
            hint="Give either files and folders, or -k KEY=VALUE.",
        )
    if not paths and not any(wanted.values()):
        raise ConfigError(
            "It is not said what is to be sent.",
            hint="Give files or folders, or -k KEY=VALUE for what is in the archive.",
        )
    for path in paths:
        if not os.path.lexists(path):
            keyword = path.partition("=")[0]
            hint = (
                f"Is it a key? Write -k {keyword}=VALUE."
                if "=" in path and keyword.isalnum()
                else ""
            )
            raise ConfigError(f"There is no file or folder {path}.", hint=hint)


def _prepare_transcoding() -> None:
    """See that it is possible; what pydicom says besides helps nobody here."""
    import warnings

    from pypx.client.transcode import check_installed

    check_installed()
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")


def _count(invocation: Invocation, paths: tuple[str, ...]) -> int:
    """Count the files by their names, so that the progress has an end."""
    from pypx.client.sources import walk

    out = invocation.out
    return sum(1 for _ in walk(paths, lambda path: out.detail(f"passed over {path}")))


def _archive(invocation: Invocation) -> Archive:
    """Open the archive for reading; what may not be written can be sent as well."""
    writable = os.access(invocation.config.archive, os.W_OK)
    archive = invocation.open_archive(create=False, read_only=not writable)
    for note in archive.notes:
        invocation.out.say(note)
    return archive


def _account(trail: AuditTrail, client: Requestor) -> SendingAudit:
    from pypx.audit.sending import SendingAudit

    return SendingAudit(trail, client)


def _send(
    invocation: Invocation, sending: SendingFiles, delivery: Delivery, account: SendingAudit | None
) -> None:
    started = time.monotonic()
    invocation.interrupts.cancel = sending.stop
    try:
        with TransferProgress(invocation.out, f"to {delivery.node}", "connecting") as bar:
            for sent in sending:
                delivery.add(sent)
                if account is not None:
                    account.sent(sent)
                bar.show(delivery.remaining, delivery.completed, delivery.failed, delivery.warning)
    except PypxError as error:
        delivery.error = error
    finally:
        invocation.interrupts.cancel = None
        delivery.seconds = time.monotonic() - started
        if account is not None:
            account.end(delivery.error.message if delivery.error else "")
    made = sending.connections
    invocation.out.detail(f"{made} {'association was' if made == 1 else 'associations were'} made")
