"""What the commands say of themselves, as values: for man pages and for the docs.

In: the commands as they are. Out: pages without any markup.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import cleandoc

import click

from pypx.cli.command import SHARED
from pypx.cli.completion import PROGRAMS
from pypx.cli.group import COMMANDS, PxGroup, load_command

__all__ = ["Option", "Page", "Text", "overview", "pages"]


@dataclass(frozen=True)
class Text:
    """A paragraph, or lines to be shown as they are."""

    lines: tuple[str, ...]
    verbatim: bool

    @property
    def flowing(self) -> str:
        return " ".join(line.strip() for line in self.lines)


@dataclass(frozen=True)
class Option:
    """An option: how it is written, and what it does."""

    usage: str
    text: str


@dataclass(frozen=True)
class Page:
    """A command.

    Attributes:
        name: ``px find``.
        summary: One sentence.
        usage: What follows the name.
        texts: The description.
        options: Its own.
        shared: Those that every command has.
        commands: Those below it.
    """

    name: str
    summary: str
    usage: str
    texts: tuple[Text, ...]
    options: tuple[Option, ...]
    shared: tuple[Option, ...]
    commands: tuple[Page, ...]

    @property
    def slug(self) -> str:
        return self.name.replace(" ", "-")

    @property
    def is_program(self) -> bool:
        return self.slug in PROGRAMS and self.slug != "px"


def overview() -> Page:
    """Give the page of ``px`` itself, without the commands below it."""
    return _page(PxGroup("px"), "px", "")


def pages() -> list[Page]:
    """Give the pages of all commands, in the order of use."""
    return [_page(load_command(name), f"px {name}", text) for name, text in COMMANDS.items()]


def _page(command: click.Command, name: str, summary: str) -> Page:
    context = click.Context(command, info_name=name)
    options, shared = [], []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or not isinstance(parameter, click.Option):
            continue
        option = Option(record[0], " ".join(record[1].split()))
        (shared if parameter.name in SHARED else options).append(option)
    below = []
    if isinstance(command, click.Group) and name != "px":
        below = [
            _page(child, f"{name} {key}", child.get_short_help_str(limit=200))
            for key, child in command.commands.items()
        ]
    return Page(
        name=name,
        summary=summary,
        usage=" ".join(command.collect_usage_pieces(context)),
        texts=tuple(_texts(command.help or "")),
        options=tuple(options),
        shared=tuple(shared),
        commands=tuple(below),
    )


def _texts(text: str) -> Iterator[Text]:
    r"""Split help at its empty lines; a block behind ``\b`` is one to be left as it is."""
    for block in cleandoc(text).split("\n\n"):
        lines = [line.rstrip() for line in block.splitlines()]
        verbatim = bool(lines) and lines[0] == "\b"
        if lines := lines[verbatim:]:
            yield Text(tuple(lines), verbatim)
