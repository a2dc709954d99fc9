"""``px`` itself: the table of commands, each in a module that is loaded when it runs.

In: the name of a command. Out: the command. Its help is built from the table, so that
``px --help`` loads none of them.
"""

from __future__ import annotations

from importlib import import_module

import click

from pypx.cli.command import help_option
from pypx.errors import ConfigError

__all__ = ["COMMANDS", "PxGroup", "load_command"]

COMMANDS = {
    "echo": "Does the PACS answer (C-ECHO)?",
    "find": "Query a PACS (C-FIND).",
    "move": "Have a PACS send images (C-MOVE), here or elsewhere.",
    "get": "Fetch images from a PACS (C-GET) into the archive.",
    "retrieve": "Get all that matches, compared by UID, whatever it takes.",
    "qr": "Query, or get, with the arguments of a PACS_QR.sh.",
    "store": "Send files, folders or what is in the archive (C-STORE).",
    "listen": "Receive images into the archive (C-STORE).",
    "ls": "List what the archive holds.",
    "status": "How are the archive and its jobs, and what needs attention?",
    "verify": "Is everything in the archive as it was stored?",
    "index": "Make the index again from the files, or take files in.",
    "nodes": "Name the PACS that you use.",
    "users": "Who may send with a name and a password.",
    "doctor": "What works with a PACS, step by step, and what to try.",
    "support-bundle": "Collect what helps to find a fault, without patients.",
    "completion": "Let your shell complete commands, nodes and keywords.",
    "demo": "Try all of it on this machine, without a PACS.",
}

_HELP = """Query, retrieve and store DICOM images from a PACS, and lose nothing on the way.

A PACS is named by NODE: a name from the configuration (px nodes), or an address
AET@host:port such as ORTHANC@127.0.0.1:4242.
"""

_EPILOG = """px COMMAND --help has examples.  Start with: px demo

Exit codes: 0 all done, 1 done but not all of it, 2 usage or configuration, 3 network or
association, 4 the PACS answered with a failure, 5 the archive, 130 interrupted (143 by
SIGTERM, 129 by a terminal that was closed).
"""


def load_command(name: str) -> click.Command:
    """Import a command.

    Args:
        name: A key of :data:`COMMANDS`.
    """
    command = import_module(f"pypx.cli.{name.replace('-', '_')}").command
    assert isinstance(command, click.Command)  # each module has one by that name
    return command


def _print_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from pypx.version import __version__

        context.obj.out.line(f"pypx {__version__}")
        context.exit()


class PxGroup(click.Group):
    """A group that knows its commands by name only."""

    def __init__(self, name: str) -> None:
        super().__init__(name, help=_HELP, epilog=_EPILOG)
        self.params.append(
            click.Option(
                ["--version"],
                is_flag=True,
                expose_value=False,
                is_eager=True,
                callback=_print_version,
                help="Show the version and exit.",
            )
        )

    def get_help_option(self, ctx: click.Context) -> click.Option:
        """Give ``--help``."""
        return help_option()

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names in the order of the table, which is the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command when it is asked for."""
        return load_command(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which was meant."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            from difflib import get_close_matches  # only a wrong name needs it

            near = get_close_matches(name, COMMANDS, n=2)
            known = f"There are {', '.join(COMMANDS)}."
            hint = f"Did you mean {' or '.join(near)}?" if near else known
            raise ConfigError(f"px has no command {name!r}.", hint=hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
