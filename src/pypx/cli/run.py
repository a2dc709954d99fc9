"""Run one command: find it, call it, and turn whatever it raises into a sentence and a code.

In: arguments. Out: an exit code. No traceback leaves this module unless ``PYPX_DEBUG`` asks
for it.
"""

from __future__ import annotations

import os
import sys

import click

from pypx.cli.group import PxGroup, load_command
from pypx.cli.interrupt import Interrupts
from pypx.cli.output import Output, OutputError
from pypx.cli.upstream import for_listen, is_upstream
from pypx.errors import CancelledError, ConfigError, PypxError

__all__ = ["State", "run"]

_NOT_ALL_WRITTEN = 1


class _UsageError(ConfigError):
    kind = "usage"


class _DefectError(PypxError):
    kind = "defect"


class State:
    """What a command finds in its click context."""

    def __init__(self) -> None:
        self.out = Output()
        self.interrupts = Interrupts(self.out)


def run(program: str, name: str | None, arguments: list[str]) -> int:
    """Run a program with its arguments.

    Args:
        program: How it is called.
        name: Its command, or None for ``px``, where the first argument says it.
        arguments: What follows the program.

    Returns:
        The exit code.
    """
    state = State()
    state.interrupts.install()
    out = state.out
    _read_form(out, arguments)
    try:
        code = _invoke(program, name, arguments, state)
        out.close()
    except BrokenPipeError:
        # The reader has what it wanted (px find … | head -1).
        out.discard()
        out.abandon_stdout()
        return _NOT_ALL_WRITTEN
    except OutputError as error:
        out.discard()
        out.abandon_stdout()
        out.error(error)
        return error.exit_code
    return state.interrupts.exit_code(code)


def _invoke(program: str, name: str | None, arguments: list[str], state: State) -> int:
    out = state.out
    try:
        return _call(program, name, arguments, state)
    except (BrokenPipeError, OutputError):
        raise
    except PypxError as error:
        return _fail(out, error)
    except click.ClickException as error:
        return _fail(out, _usage(error))
    except KeyboardInterrupt:
        return _fail(out, CancelledError("Interrupted."))
    except Exception as error:  # noqa: BLE001
        # The edge: what arrives here is no fault of the user, and is said as such.
        if os.environ.get("PYPX_DEBUG"):
            import traceback

            out.raw(traceback.format_exc())
        return _fail(out, _defect(error))


def _call(program: str, name: str | None, arguments: list[str], state: State) -> int:
    if f"_{program.upper().replace('-', '_')}_COMPLETE" in os.environ:
        from pypx.cli.completing import answer  # the shell asks

        return answer(PxGroup("px") if name is None else load_command(name), program)
    command_name, rest = (name, arguments) if name else (next(iter(arguments), ""), arguments[1:])
    if is_upstream(program, command_name, rest):
        from pypx.cli.upstream_run import run_upstream

        return run_upstream(program, command_name, rest, state.out, state.interrupts)
    if command_name == "listen":
        arguments = [*arguments[: len(arguments) - len(rest)], *for_listen(rest)]
    command = PxGroup("px") if name is None else load_command(name)
    if name is None and not arguments:
        with command.make_context(program, [], resilient_parsing=True) as context:
            state.out.raw(f"{command.get_help(context)}\n")
        return ConfigError.exit_code
    try:
        with command.make_context(program, list(arguments), obj=state) as context:
            result = command.invoke(context)
    except click.exceptions.Exit as ended:  # --help
        return ended.exit_code
    return int(result or 0)


def _fail(out: Output, error: PypxError) -> int:
    kept = out.discard()
    out.failure(error)
    if kept:
        out.say(f"{kept} was not written.")
    out.flush()
    return error.exit_code


def _read_form(out: Output, arguments: list[str]) -> None:
    """Look for the form of the output, for errors in the arguments themselves."""
    for form in ("json", "jsonl"):
        if f"--{form}" in arguments:
            out.form = form
    out.log_json = "--log-json" in arguments
    out.identifiers.learn_arguments(arguments)

    def ask() -> None:
        """Say what errors of the arguments may show, before there is an invocation."""
        from pypx.config import config_path, load

        file = _config_file(arguments)
        try:
            out.identifiers.configure(load(file))
        except ConfigError:
            out.identifiers.folder = os.path.dirname(config_path(file))  # noqa: PTH120

    out.identifiers.ask = ask


def _config_file(arguments: list[str]) -> str | None:
    for place, argument in enumerate(arguments):
        if argument.startswith("--config="):
            return argument.partition("=")[2]
        if argument == "--config" and place + 1 < len(arguments):
            return arguments[place + 1]
    return None


def _usage(error: click.ClickException) -> _UsageError:
    message = error.format_message().strip().replace("\n", " ")
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "px"
    hint = f"{path} --help shows what it takes."
    if isinstance(error, click.NoSuchOption):
        message = f"There is no option {error.option_name}."
        if error.possibilities:
            hint = f"Did you mean {' or '.join(sorted(error.possibilities)[:3])}? {hint}"
    return _UsageError(message if message.endswith(".") else f"{message}.", hint=hint)


def _defect(error: Exception) -> _DefectError:
    again = f"PYPX_DEBUG=1 {' '.join(sys.argv[:2])} …"
    return _DefectError(
        f"This is a defect of pypx {_version()}: {type(error).__name__}: {error}.",
        hint=f"Run it again as {again} for the traceback, and report both.",
    )


def _version() -> str:
    from pypx.version import __version__

    return __version__
