"""``px completion``: let a shell complete commands, options, nodes and keywords.

In: the name of a shell. Out: a script for it.
"""

from __future__ import annotations

import click

from pypx.cli.command import PxCommand
from pypx.cli.options import Invocation, common_options

__all__ = ["PROGRAMS", "command"]

_SHELLS = ("bash", "zsh", "fish")
PROGRAMS = ("px", "px-echo", "px-find", "px-move", "px-listen", "px-status")
"""``px``, and the programs that are one of its commands."""


@click.command("completion", cls=PxCommand, short_help="Let your shell complete commands.")
@click.argument("shell", type=click.Choice(_SHELLS))
@common_options(archive=False, timeout=False)
def command(invocation: Invocation, *, shell: str) -> int:
    """Print a script that lets SHELL complete commands, options, nodes and keywords.

    For bash, in ~/.bashrc; for zsh, in ~/.zshrc behind compinit; for fish, in
    ~/.config/fish/config.fish:

    \b
    eval "$(px completion bash)"
    eval "$(px completion zsh)"
    px completion fish | source
    """
    from pypx.cli.completing import script

    out = invocation.out
    text = script(shell, PROGRAMS)
    if out.form == "json":
        out.document({"shell": shell, "script": text})
    else:
        out.write(text)
    return 0
