"""What all commands have in common as commands: their help.

In: a command. Out: its help, with the shared options apart, printed where all else is.
"""

from __future__ import annotations

import click

__all__ = ["SHARED", "PxCommand", "help_option"]

SHARED = frozenset(
    {"json", "jsonl", "csv", "output_file", "quiet", "verbose", "log_json", "config_file"}
    | {"archive", "timeout", "help"}
)
"""The names of the options that every command has, where they mean something."""


def _show_help(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        context.obj.out.write(f"{context.get_help()}\n")
        context.exit()


def help_option() -> click.Option:
    """Give ``--help``, which prints where all else prints."""
    return click.Option(
        ["-h", "--help"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_show_help,
        help="Show this message and exit.",
    )


class PxCommand(click.Command):
    """A command whose help shows the shared options apart from its own."""

    def get_help_option(self, ctx: click.Context) -> click.Option:
        """Give ``--help``."""
        return help_option()

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Give the parameters; when a shell asks, they know what they may go on with."""
        parameters = super().get_params(ctx)
        if ctx.resilient_parsing:
            from pypx.cli.completing import teach  # only then

            teach(parameters)
        return parameters

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in sections."""
        own: list[tuple[str, str]] = []
        shared: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                (shared if parameter.name in SHARED else own).append(record)
        for title, records in (("Options", own), ("Options of every command", shared)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
