"""``px get``: have a PACS send images over our own association, into the archive.

In: a node and keys. Out: what the PACS says that it sent, compared with what is stored here.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from pypx.cli.asking import ask_for
from pypx.cli.auditing import audited, heard, knowing
from pypx.cli.keys import KeyCommand, key_option, level_option, model_option, parse_keys
from pypx.cli.options import (
    Invocation,
    PeerFlags,
    common_options,
    engine_option,
    maps_option,
    peer_options,
)
from pypx.cli.plan import Wish, identifiers, read_wish
from pypx.cli.transfer import Transfer

if TYPE_CHECKING:
    from pypx.audit.trail import AuditTrail
    from pypx.client.requestor import Requestor, Retrieving
    from pypx.config import Node
    from pypx.receiver.events import InstanceReceived

__all__ = ["command"]


@click.command("get", cls=KeyCommand, short_help="Fetch images from a PACS.")
@click.argument("node", required=False)
@key_option
@level_option("What is fetched.  [default: the lowest level that a key belongs to]")
@model_option
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
    level: str | None,
    model: str | None,
) -> int:
    """Fetch from NODE what matches the keys (C-GET), into the archive.

    The images come over the association that we make, so the PACS needs no entry for us, and
    no port of ours is open. Not every PACS offers this; px move is the other way.

    \b
    px get hospital -k StudyInstanceUID=1.2.3
    px get hospital -k AccessionNumber=A1001
    px get hospital -k StudyInstanceUID=1.2.3 -k Modality=MR

    Keys that are not unique are looked up first (C-FIND), and each study or series that
    they name is fetched by itself. One PatientID as the only key fetches at the patient level.
    The PACS is also asked which SOP classes there are, to negotiate just those.

    The exit code is 1 if not all was sent, or less arrived here than the PACS says.
    """
    wanted = parse_keys(keys)
    chosen = peer.node(invocation, node)
    wish = read_wish(wanted, level, model, chosen.model)
    transfer = Transfer(invocation.config.calling_ae_title(chosen), "C-GET")
    with (
        audited(invocation) as trail,
        closing(heard(trail, invocation.client(chosen))) as client,
        transfer.noting_failures(),
    ):
        units = identifiers(client, wish, invocation.out)
        client.associate(wish.model, service="C-GET")  # without it there is no archive to make
        _get(invocation, client, chosen, wish, transfer, units, trail)
    return transfer.tell(invocation.out)


def _get(
    invocation: Invocation,
    client: Requestor,
    node: Node,
    wish: Wish,
    transfer: Transfer,
    units: list[dict[str, str]],
    trail: AuditTrail | None,
) -> None:
    """Fetch the units into the archive."""
    from pypx.cli.reception import log_to, tell_notes, watching
    from pypx.config.amounts import parse_size
    from pypx.receiver.observers import Observers
    from pypx.receiver.retrieved import Retrieved

    config, out = invocation.config, invocation.out
    transfer.unexpected = unexpected = []
    now: dict[str, str] = {}  # the unit that is asked for

    def look_at(event: InstanceReceived) -> None:
        if event.is_stored and not _is_of(event, now):
            unexpected.append(event.sop_instance_uid)

    log_to(out)
    with invocation.open_archive(create=True, index_wait=config.listen.index_wait) as archive:
        tell_notes(out, archive.notes)
        with (
            knowing(trail, archive),
            watching(invocation, archive) as watch,
            Retrieved(
                archive,
                host=node.address.host,
                calling_ae_title=node.address.ae_title,
                called_ae_title=transfer.destination,
                min_free=parse_size(config.listen.min_free),
                observer=watch if trail is None else Observers(watch, trail),
                on_instance=look_at,
            ) as retrieved,
        ):

            def ask(unit: dict[str, str]) -> Retrieving:
                now.clear()
                now.update(unit)
                return client.get(unit, retrieved.store, level=wish.level, model=wish.model)

            transfer.received = retrieved.totals
            ask_for(units, ask, invocation, client, wish.level, transfer)


def _is_of(event: InstanceReceived, unit: dict[str, str]) -> bool:
    """Whether an instance is of what was asked for, as far as its UIDs say."""
    own = {
        "StudyInstanceUID": event.study_instance_uid,
        "SeriesInstanceUID": event.series_instance_uid,
        "SOPInstanceUID": event.sop_instance_uid,
    }
    return all(own.get(keyword, value) == value for keyword, value in unit.items())
