"""``px qr``: the calls of upstream's PACS_QR.sh, by ``px find`` and ``px retrieve``.

In: an institution, and the arguments of upstream's px-find as one text. Out: what the command that
does it gives; nothing is done here.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

import click

from pypx.cli.command import PxCommand, help_option
from pypx.cli.options import forwarded_options
from pypx.dicom.dictionary import keyword_of, tag_of
from pypx.errors import ConfigError
from pypx.values import frozen

__all__ = ["command", "read_query"]

_FORMS = {"tabular": [], "rawText": [], "": [], "json": ["--json"], "csv": ["--csv"]}
_PEER = frozenset(("aec", "aet", "serverIP", "serverPort"))
_SILENT = frozenset(("colorize", "findscu", "movescu", "echoscu", "verbosity", "db"))
_SILENT_FLAGS = frozenset(("withFeedBack", "waitForUserTerminate"))
_NOT_THERE = frozenset(("PACS", "CUBE", "swift", "JSONargs", "reportTags"))
_RETRIEVES = frozenset(("retrieve", "status", "report"))
_SETTABLE = ("aec", "aet", "serverIP", "serverPort")


@frozen
class Asked:
    """What the arguments of a px-find of upstream ask for.

    Attributes:
        keys: ``KEY=VALUE``, and ``KEY`` for what is only to be returned.
        peer: ``--aec`` and the like, with their values.
        form: The options for the form of the result.
        retrieve: Whether the images are to come.
        study_only: Whether series are of no interest.
    """

    keys: tuple[str, ...]
    peer: tuple[str, ...]
    form: tuple[str, ...]
    retrieve: bool
    study_only: bool


def read_query(words: Sequence[str]) -> Asked:
    """Read the arguments of upstream's px-find.

    Raises:
        ConfigError: One is none of them, or has no counterpart here.
    """
    keys: list[str] = []
    peer: list[str] = []
    form: list[str] = []
    retrieve = study_only = False
    rest = iter(words)
    for word in rest:
        name, equals, given = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            # The word itself may be somebody's ID.
            raise ConfigError(
                "-Q has a word that is no option of px-find, and no value of one.",
                hint="Write -Q '--PatientID 1234567'.",
            )
        value = given if equals else None
        match name:
            case "StudyOnly":
                study_only = True
            case "retrieve" | "move":
                retrieve = True
            case "json":
                form = ["--json"]
            case "then":
                retrieve = _then(_value(name, value, rest)) or retrieve
            case "thenArgs" | "intraSeriesRetrieveDelay":
                _value(name, value, rest)  # px retrieve needs no telling how
            case "printReport":
                form = _form(_value(name, value, rest)) or form
            case "QueryReturnTags":
                tags = _value(name, value, rest).split(",")
                keys += [tag.strip() for tag in tags if tag.strip()]
            case _ if name in _PEER:
                peer += [f"--{name}", _value(name, value, rest)]
            case _ if name in _SILENT:
                _value(name, value, rest)
            case _ if name in _SILENT_FLAGS:
                pass
            case _:
                keys.append(_key(name, value, rest))
    return Asked(tuple(keys), tuple(peer), tuple(form), retrieve, study_only)


def _value(name: str, value: str | None, rest: Iterator[str]) -> str:
    if value is None:
        value = next(rest, None)
    if value is None:
        raise ConfigError(f"--{name} needs a value.")
    return value


def _key(name: str, value: str | None, rest: Iterator[str]) -> str:
    if name in _NOT_THERE:
        raise ConfigError(f"--{name} of upstream's px-find has no counterpart in px qr.")
    if tag_of(name) is None or keyword_of(tag_of(name) or 0) != name:
        raise ConfigError(
            f"There is no option --{name} in -Q, and no DICOM keyword.",
            hint="Keys are written as --PatientID 1234567.",
        )
    value = _value(name, value, rest)
    return f"{name}={value}" if value else name


def _form(kind: str) -> list[str]:
    if kind not in _FORMS:
        raise ConfigError(f"There is no report {kind!r}.", hint=f"There are {', '.join(_FORMS)}.")
    return _FORMS[kind]


def _then(steps: str) -> bool:
    """Say whether the steps retrieve."""
    names = [name.strip() for name in steps.split(",") if name.strip()]
    for name in names:
        if name not in _RETRIEVES:
            raise ConfigError(
                f"--then {name} has no counterpart in px qr.",
                hint="px store sends to another PACS what is here.",
            )
    return "retrieve" in names


class _QrCommand(PxCommand):
    """A command whose ``-h`` is the institution."""

    def get_help_option(self, ctx: click.Context) -> click.Option:
        """Give ``--help`` only."""
        option = help_option()
        option.opts = ["--help"]
        return option


@click.command("qr", cls=_QrCommand, short_help="Query and retrieve as PACS_QR.sh does.")
@click.option("-h", "--env", "institution", metavar="INSTITUTION", help="A node.")
@click.option("-Q", "query", metavar="ARGS", default="", help="Arguments of upstream's px-find.")
@click.option("-P", "--PACSIP", "serverIP", metavar="HOST", help="Host of the PACS.")
@click.option("-p", "--PACSport", "serverPort", metavar="PORT", help="Its port.")
@click.option("-a", "--AET", "aet", metavar="AET", help="Our AE title.")
@click.option("-c", "--AEC", "aec", metavar="AET", help="AE title of the PACS.")
@click.option("-d", "base", metavar="DIR", help="The archive is DIR/data, the maps are in DIR/log.")
@click.option("-H", "machine", metavar="HOST", help="Retrieve only on the machine of this name.")
@click.option("-C", "clear", is_flag=True, help="Refused: nothing is deleted here.")
@click.option("-D", "mount", is_flag=True, help="Of no meaning: there is no container.")
@click.option("-r", "registry", metavar="ORG", help="Of no meaning: there is no container.")
@click.argument("words", nargs=-1, metavar="[-- ARGS...]")
@forwarded_options
def command(
    *,
    shared: list[str],
    institution: str | None,
    query: str,
    base: str | None,
    machine: str | None,
    clear: bool,
    words: tuple[str, ...],
    mount: bool,
    registry: str | None,
    **peer: str | None,
) -> int:
    """Query a PACS, or get what matches, with the arguments of upstream's PACS_QR.sh.

    It is px find --tree, or px retrieve where the arguments have --retrieve or --then retrieve.
    An institution is a node of the configuration: px nodes import PACS_QR.sh makes them.

    \b
    px qr -h BCH-chris -Q '--PatientID 1234567'
    px qr -h BCH-chris -Q "--PatientID 1234567 --retrieve --printReport ''"

    The exit code is that of the command.
    """
    if clear:
        raise ConfigError(
            "-C would delete and make the folder again; px qr deletes nothing.",
            hint="Remove it yourself, if that is what you want.",
        )
    try:
        wanted = [*shlex.split(query), *words]
    except ValueError:
        raise ConfigError("The quotes of -Q do not close.") from None
    click.get_current_context().obj.out.identifiers.learn_arguments(wanted)
    asked = read_query(wanted)
    if asked.retrieve and machine is not None:
        _check_machine(machine)
    name, arguments = _command_line(asked, institution, peer, base)
    return _run(name, [*arguments, *shared])


def _check_machine(wanted: str) -> None:
    import socket

    here = socket.gethostname()
    if here != wanted:
        raise ConfigError(f"This is {here}, and -H {wanted} says where to retrieve.")


def _command_line(
    asked: Asked, institution: str | None, peer: dict[str, str | None], base: str | None
) -> tuple[str, list[str]]:
    """Give the command that does it, and its arguments."""
    arguments = [] if institution is None else [institution]
    for flag in _SETTABLE:
        if peer[flag] is not None:
            arguments += [f"--{flag}", str(peer[flag])]
    arguments += asked.peer  # the last word, as there
    if asked.retrieve:
        # What is only to be returned says nothing of what is to come.
        arguments += [word for key in asked.keys if "=" in key for word in ("-k", key)]
        if "--csv" in asked.form:
            raise ConfigError("--printReport csv is for queries: px retrieve has --manifest FILE.")
        folders = ["--archive", f"{base}/data", "--maps", f"{base}/log"] if base else []
        return "retrieve", [*arguments, *asked.form, *folders]
    arguments += [word for key in asked.keys for word in ("-k", key)]
    tree = [] if asked.study_only or "--csv" in asked.form else ["--tree"]
    return "find", [*arguments, *asked.form, *tree]


def _run(name: str, arguments: list[str]) -> int:
    from pypx.cli.group import load_command

    context = click.get_current_context()
    out = context.obj.out
    out.verbose = "--verbose" in arguments or "-v" in arguments
    out.detail(f"px {shlex.join([name, *arguments])}")
    if "--json" in arguments:
        out.form = "json"  # also of errors in the arguments
    target = load_command(name)
    with target.make_context(f"px {name}", arguments, obj=context.obj) as inner:
        return int(target.invoke(inner) or 0)
