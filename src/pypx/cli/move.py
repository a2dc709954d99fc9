"""``px move``: have a PACS send images to a destination that it knows.

In: a node, keys and a destination. Out: what the PACS says that it sent, compared with what
arrived where we receive it ourselves.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

import click

from pypx.address import check_ae_title
from pypx.cli.asking import ask_for
from pypx.cli.auditing import audited, heard
from pypx.cli.keys import KeyCommand, key_option, level_option, model_option, parse_keys
from pypx.cli.options import (
    Invocation,
    PeerFlags,
    common_options,
    engine_option,
    listener_options,
    peer_options,
)
from pypx.cli.plan import Wish, identifiers, read_wish
from pypx.cli.transfer import Transfer
from pypx.errors import ConfigError

if TYPE_CHECKING:
    from pypx.client.requestor import Moving, Requestor
    from pypx.receiver.receiver import Receiver

__all__ = ["command"]

_QUIET = 1.0  # seconds without bytes after which nothing more is expected
_POLL = 0.02
_LATEST = 60.0  # seconds, unless --timeout says otherwise


@click.command("move", cls=KeyCommand, short_help="Have a PACS send images.")
@click.argument("node", required=False)
@key_option
@level_option("What is moved.  [default: the lowest level that a key belongs to]")
@model_option
@click.option("--to", metavar="AET", help="Destination, as the PACS knows it.  [default: us]")
@listener_options()
@engine_option()
@common_options()
@peer_options
def command(
    invocation: Invocation,
    *,
    peer: PeerFlags,
    node: str | None,
    keys: tuple[str, ...],
    level: str | None,
    model: str | None,
    to: str | None,
    host: str | None,
    port: int | None,
) -> int:
    """Have NODE send what matches the keys (C-MOVE), to us or to another destination.

    A PACS sends only to destinations that its administrator has entered: AE title, host and
    port. When the destination is our own AE title, the listener that runs here receives
    (px listen); when none runs, this command receives by itself, into the archive.

    \b
    px move hospital -k StudyInstanceUID=1.2.3
    px move hospital -k AccessionNumber=A1001
    px move hospital -k StudyInstanceUID=1.2.3 -k Modality=MR
    px move hospital --PatientID PID1 --to WORKSTATION

    Keys that are not unique are looked up first (C-FIND), and each study or series that
    they name is moved by itself. One PatientID as the only key moves at the patient level.

    Flags of pypx 1.x and 3.x work as well, and are answered as they were: px move -y.

    The exit code is 1 if not all was sent, or less arrived here than the PACS says.
    """
    wanted = parse_keys(keys)
    chosen = peer.node(invocation, node)
    wish = read_wish(wanted, level, model, chosen.model)
    aet = invocation.config.calling_ae_title(chosen)
    transfer = Transfer(check_ae_title(aet if to is None else to))
    if transfer.destination != aet and (host is not None or port is not None):
        raise ConfigError(f"--host and --port are of our listener, and {to} is not us.")
    with (
        audited(invocation) as trail,
        closing(heard(trail, invocation.client(chosen))) as client,
        transfer.noting_failures(),
    ):
        units = identifiers(client, wish, invocation.out)
        if transfer.destination == aet:
            from pypx.cli.reception import receiving, warn_of_loopback

            warn_of_loopback(invocation, chosen, host)
            client.associate(wish.model)  # a dead PACS is no reason to make an archive
            with receiving(invocation, chosen, host, port, aet, trail) as receiver:
                _move(invocation, client, wish, transfer, units, receiver)
        else:
            _move(invocation, client, wish, transfer, units, None)
    return transfer.tell(invocation.out)


def _move(
    invocation: Invocation,
    client: Requestor,
    wish: Wish,
    transfer: Transfer,
    units: list[dict[str, str]],
    receiver: Receiver | None,
) -> None:
    """Move the units, and wait for what comes late."""

    def ask(unit: dict[str, str]) -> Moving:
        return client.move(
            unit,
            destination=transfer.destination,
            level=wish.level,
            model=wish.model,
            last_activity=receiver.last_activity if receiver else None,
        )

    if receiver is not None:
        transfer.received = receiver.totals
    ask_for(units, ask, invocation, client, wish.level, transfer)
    if receiver is not None:
        _settle(transfer, receiver, invocation.timeout)


def _settle(transfer: Transfer, receiver: Receiver, timeout: float | None) -> None:
    """Wait for instances that come after the last word of the PACS, as some do."""
    totals = receiver.totals
    ended = time.monotonic()
    latest = ended + (timeout or _LATEST)
    while (now := time.monotonic()) < latest:
        arrived = totals.instances + totals.failures
        if transfer.sent and arrived >= transfer.sent:
            return
        if now - max(receiver.last_activity(), ended) >= _QUIET:
            return
        time.sleep(_POLL)
