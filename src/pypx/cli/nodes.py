"""``px nodes``: the PACS in the configuration.

In: names and addresses. Out: what is configured, or a changed file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from pypx.address import Address, check_ae_title
from pypx.cli.command import PxCommand, help_option
from pypx.cli.options import Invocation, common_options
from pypx.cli.output import Output, visible
from pypx.cli.rows import Row, rows_for
from pypx.cli.table import Column, draw
from pypx.config import Node, config_path
from pypx.config.edit import EDIT_TIMEOUT, add_node, remove_node
from pypx.engine import ENGINES
from pypx.errors import ConfigError

if TYPE_CHECKING:
    from pypx.net.identity import UserIdentity
    from pypx.net.tls_settings import ClientTls

__all__ = ["command"]

_TITLES = {
    "name": "Name",
    "address": "Address",
    "aet": "Our AE title",
    "model": "Model",
    "associations": "Associations",
    "tls": "TLS",
}


class _NodesGroup(click.Group):
    """``px nodes`` alone is ``px nodes list``."""

    def get_help_option(self, ctx: click.Context) -> click.Option:
        """Give ``--help``."""
        return help_option()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``list`` where no command is given."""
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("nodes", cls=_NodesGroup, short_help="Name the PACS that you use.")
def command() -> None:
    """Show and change the PACS that have a name in the configuration.

    \b
    px nodes add hospital ORTHANC@10.1.2.3:4242 --aet RESEARCH
    px nodes add clinic PACS@10.4.5.6:2762 --tls --user alice --password-from file:/etc/pypx/alice
    px nodes list
    px nodes show hospital
    px nodes remove hospital
    px nodes import pacs.json
    """


@command.command("list", cls=PxCommand)
@common_options(jsonl=True, csv=True, archive=False, timeout=False)
def list_nodes(invocation: Invocation) -> int:
    """List the configured nodes."""
    nodes = list(invocation.config.nodes.values())
    columns = list(_TITLES)

    def show(out: Output, shown: list[Row]) -> None:
        if shown:
            table = [
                Column(_TITLES[key], [visible(_text(row[key])) for row in shown]) for key in columns
            ]
            out.write(draw(table, colour=out.colour)[0] + "\n")

    rows = rows_for(invocation.out, columns, show)
    for node in nodes:
        rows.add(_document(node))
    rows.end(None)
    if not nodes:
        invocation.out.say(f"There are no nodes in {invocation.config.path}.")
        invocation.out.say("px nodes add NAME AET@host:port")
    return 0


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "yes" if value is True else str(value or "")


@command.command("show", cls=PxCommand)
@click.argument("name")
@common_options(archive=False, timeout=False)
def show_node(invocation: Invocation, *, name: str) -> int:
    """Show one node."""
    node = invocation.config.node(name)
    document = _document(node) | {
        "method": node.method,
        "match_limit": node.match_limit,
        "refused_levels": list(node.refused_levels),
        "character_set": node.character_set,
        "engine": node.engine,
        "identity": _identity_row(node.identity),
    }
    if invocation.out.form == "json":
        invocation.out.document(document)
        return 0
    document["identity"] = _identity_text(node.identity)
    document["aet"] = invocation.config.calling_ae_title(node)
    lines = [f"{key:14} {_text(value) or '-'}" for key, value in document.items()]
    invocation.out.write("".join(f"{visible(line)}\n" for line in lines))
    return 0


@command.command("add", cls=PxCommand)
@click.argument("name")
@click.argument("address")
@click.option("--aet", "own_aet", metavar="AET", help="Our AE title for this node.")
@click.option(
    "--model",
    type=click.Choice(["study", "patient"]),
    default="study",
    show_default=True,
    help="Its query/retrieve model.",
)
@click.option(
    "--associations",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="At most so many at once.",
)
@click.option("--engine", "node_engine", type=click.Choice(list(ENGINES)), help="What talks to it.")
@click.option("--tls", is_flag=True, help="It speaks TLS.")
@click.option("--tls-ca", metavar="FILE", help="Certificates that are trusted, in PEM.")
@click.option("--tls-certificate", metavar="FILE", help="Our certificate for it, in PEM.")
@click.option("--tls-key", metavar="FILE", help="Its key, if it is in a file of its own.")
@click.option("--tls-name", metavar="NAME", help="The name of its certificate.")
@click.option("--user", metavar="NAME", help="Which user we are there.")
@click.option(
    "--password-from",
    metavar="PLACE",
    help="Where the password of that user is: file:PATH, env:NAME or keyring:SERVICE/USER.",
)
@click.option("--kerberos-from", metavar="PLACE", help="Instead: where a Kerberos ticket is.")
@click.option("--saml-from", metavar="PLACE", help="Instead: where a SAML assertion is.")
@click.option("--jwt-from", metavar="PLACE", help="Instead: where a JSON Web Token is.")
@click.option("--confirm-user", is_flag=True, help="Go on only if the PACS confirms the user.")
@common_options(archive=False)
def add(
    invocation: Invocation,
    *,
    name: str,
    address: str,
    own_aet: str | None,
    model: str,
    associations: int,
    node_engine: str | None,
    user: str | None,
    password_from: str | None,
    kerberos_from: str | None,
    saml_from: str | None,
    jwt_from: str | None,
    confirm_user: bool,
    **tls: Any,
) -> int:
    """Give the PACS at ADDRESS (AET@host:port) a NAME.

    The file is made if there is none. It has where a password or token is, never the thing
    itself, which is read for each association.
    """
    aet = None if own_aet is None else check_ae_title(own_aet)
    places = {
        "password": password_from,
        "kerberos": kerberos_from,
        "saml": saml_from,
        "jwt": jwt_from,
    }
    node = Node(
        name,
        Address.parse(address),
        aet,
        model,
        associations,
        _tls(**tls),
        engine=node_engine,
        identity=_identity(user, places, confirm_user),
    )
    invocation.warn_of_secrets(node)
    path = config_path(invocation.config_file)
    lost = add_node(path, node, timeout=invocation.timeout or EDIT_TIMEOUT)
    _tell(invocation, _document(node), f"{name} is {node.address}, in {path}.", path, lost)
    return 0


@command.command("remove", cls=PxCommand)
@click.argument("name")
@common_options(archive=False)
def remove(invocation: Invocation, *, name: str) -> int:
    """Take a node out of the configuration."""
    path = config_path(invocation.config_file)
    lost = remove_node(path, name, timeout=invocation.timeout or EDIT_TIMEOUT)
    _tell(invocation, {"removed": name}, f"{name} is no longer in {path}.", path, lost)
    return 0


@command.command("import", cls=PxCommand)
@click.argument("file")
@click.option("--replace", is_flag=True, help="Also where the name stands for another PACS here.")
@click.option("--dry-run", is_flag=True, help="Only say what would be written.")
@common_options(jsonl=True, csv=True, archive=False)
def import_upstream(invocation: Invocation, *, file: str, replace: bool, dry_run: bool) -> int:
    """Take over the PACS of upstream's pacs.json, or of the institution_set of its PACS_QR.sh.

    A script is only read, never run. Names that are configured already stay as they are.

    \b
    px nodes import /home/dicom/services/pacs.json
    px nodes import PACS_QR.sh --dry-run

    The exit code is 1 when the file has a PACS that was not taken over.
    """
    from pypx.cli.nodes_import import import_file

    return import_file(invocation, file, replace=replace, dry_run=dry_run)


def _tls(tls: bool, **files: str | None) -> ClientTls | None:
    """Read the options that begin with ``--tls``; files are looked at, to know early."""
    given: dict[str, Any] = {
        name.removeprefix("tls_"): value for name, value in files.items() if value
    }
    if not (tls or given):
        return None
    from pypx.net.tls import client_context
    from pypx.net.tls_settings import ClientTls

    paths = {
        name: os.path.abspath(given[name])  # noqa: PTH100
        for name in ("ca", "certificate", "key")
        if name in given
    }
    settings = ClientTls(**given | paths)
    if settings.key is not None and settings.certificate is None:
        raise ConfigError("--tls-key needs --tls-certificate.")
    client_context(settings)
    return settings


def _identity(
    user: str | None, places: Mapping[str, str | None], confirm: bool
) -> UserIdentity | None:
    """Read the options of a user identity; a file is looked at, to know early.

    Raises:
        ConfigError: They do not go together, or there is no such file.
    """
    given = {kind: place for kind, place in places.items() if place}
    if not (user or given or confirm):
        return None
    from pypx.net.identity import UserIdentity

    if len(given) > 1:
        names = " and ".join(f"--{kind}-from" for kind in given)
        raise ConfigError(f"{names} exclude each other.")
    kind, place = next(iter(given.items()), ("username", ""))
    if place.startswith("file:"):
        path = os.path.expanduser(place.removeprefix("file:"))  # noqa: PTH111
        place = f"file:{os.path.abspath(path)}"  # noqa: PTH100
    identity = UserIdentity(kind, user or "", place, confirm)
    identity.check()
    if place.startswith("file:"):
        identity.request()
    return identity


def _identity_row(identity: UserIdentity | None) -> dict[str, Any] | None:
    """Give a user identity with the place of its secret, which is not read."""
    if identity is None:
        return None
    return {
        "type": identity.kind,
        "username": identity.username or None,
        "secret": identity.secret or None,
        "confirm": identity.confirm,
    }


def _identity_text(identity: UserIdentity | None) -> str:
    if identity is None:
        return ""
    words = [identity.kind, identity.username]
    words += [f"({identity.secret})"] if identity.secret else []
    return " ".join(filter(None, [*words, "to be confirmed" if identity.confirm else ""]))


def _tell(
    invocation: Invocation, document: dict[str, Any], sentence: str, path: str, lost: bool
) -> None:
    if invocation.out.form == "json":
        invocation.out.document(document)
    else:
        invocation.out.say(sentence)
    if lost:
        invocation.out.warn(f"The comments of {path} were lost; the file as it was is {path}.bak.")


def _document(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "address": str(node.address),
        "aet": node.aet,
        "model": node.model,
        "associations": node.associations,
        "tls": node.tls is not None,
    }
