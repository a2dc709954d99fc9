"""What the shell is told when somebody presses Tab.

In: what was typed so far. Out: what it may go on with: commands and options, which click
knows by itself, and names of nodes, DICOM keywords, files and folders, which it does not.
Nothing here complains: a configuration that is wrong completes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    shell_complete,
)

from pypx.errors import ConfigError

__all__ = ["SHELLS", "answer", "keyword_options", "script", "teach", "variable_of"]

_SHORTEST = 2  # letters of a keyword; there are 5,000 of them
_USUAL = [
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "StudyDate",
    "StudyInstanceUID",
    "StudyDescription",
    "AccessionNumber",
    "ModalitiesInStudy",
    "Modality",
    "SeriesInstanceUID",
    "SeriesDescription",
    "SOPInstanceUID",
]

Items = list[CompletionItem[str]]


class _Bash(BashComplete):
    """bash, which takes ``=`` and ``:`` for words of their own."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Give the words before the one that is completed, and that one."""
        args, incomplete = super().get_completion_args()
        words: list[str] = []
        for word in (*args, incomplete):
            if words and (word in ("=", ":") or words[-1].endswith(("=", ":"))):
                words[-1] += word
            else:
                words.append(word)
        return words[:-1], words[-1] if words else ""


SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": ZshComplete, "fish": FishComplete}
"""The shells that can be taught, by name."""


def variable_of(program: str) -> str:
    """Give the variable by which a shell asks a program for completions."""
    return f"_{program.upper().replace('-', '_')}_COMPLETE"


def script(shell: str, programs: Iterable[str]) -> str:
    """Give what a shell has to run, so that it asks.

    Args:
        shell: A key of :data:`SHELLS`.
        programs: Which are to be completed.
    """
    kind = SHELLS[shell]
    none = click.Command("px")
    # Of the base class: bash would be started to see its version, also where it is not wanted.
    return "\n".join(
        ShellComplete.source(kind(none, {}, program, variable_of(program))) for program in programs
    )


def answer(command: click.Command, program: str) -> int:
    """Answer the shell on stdout.

    Returns:
        The exit code.
    """
    add_completion_class(_Bash, "bash")
    variable = variable_of(program)
    return shell_complete(command, {}, program, variable, os.environ[variable])


def teach(parameters: Iterable[click.Parameter]) -> None:
    """Let parameters of a command complete what only pypx knows."""
    for parameter in parameters:
        complete = _completion_of(parameter)
        if complete is not None:
            # click asks the parameter itself; a decorator for each would load this module.
            setattr(parameter, "shell_complete", complete)  # noqa: B010


def _completion_of(parameter: click.Parameter) -> Callable[[click.Context, str], Items] | None:
    name, metavar = parameter.name, str(parameter.metavar or "")
    if name in ("node", "nodes"):
        return _nodes
    if name == "name" and isinstance(parameter, click.Argument):
        return _names
    if name == "keys":
        return lambda _, incomplete: _keywords(incomplete)
    if name == "faults":
        return _faults
    if metavar == "DIR":
        return lambda _, incomplete: [CompletionItem(incomplete, type="dir")]
    if metavar.startswith("FILE") or name == "paths":
        return lambda _, incomplete: [CompletionItem(incomplete, type="file")]
    return None


def _nodes(context: click.Context, incomplete: str) -> Items:
    from pypx.config import load

    try:
        config = load(_config_file(context))
    except ConfigError:
        return []
    return [
        CompletionItem(name, help=str(node.address))
        for name, node in config.nodes.items()
        if name.startswith(incomplete)
    ]


def _names(context: click.Context, incomplete: str) -> Items:
    """Complete the NAME of px nodes, unless it is a new one."""
    return [] if context.info_name == "add" else _nodes(context, incomplete)


def _config_file(context: click.Context) -> str | None:
    found: Any = context.params.get("config_file")
    return found if isinstance(found, str) else None


def _keywords(incomplete: str) -> Items:
    if len(incomplete) < _SHORTEST:
        return [CompletionItem(one) for one in _USUAL if one.startswith(incomplete)]
    from pypx.dicom.dictionary import keywords, name_of, tag_of, vr_of

    found = ((one, tag_of(one) or 0) for one in sorted(keywords()) if one.startswith(incomplete))
    return [
        CompletionItem(keyword, help=name_of(tag))
        for keyword, tag in found
        if tag >> 16 and vr_of(tag) != "SQ"  # of messages, and sequences: no keys
    ]


def keyword_options(incomplete: str) -> Items:
    """Give ``--PatientID`` and the like, when enough of one was typed."""
    if not incomplete.startswith("--") or not incomplete[2:3].isupper():
        return []
    return [CompletionItem(f"--{item.value}", help=item.help) for item in _keywords(incomplete[2:])]


def _faults(context: click.Context, incomplete: str) -> Items:
    from pypx.pacs import FAULTS

    return [
        CompletionItem(kind.name, help=kind.sentence)
        for kind in FAULTS
        if kind.name.startswith(incomplete)
    ]
