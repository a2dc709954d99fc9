"""Commands in the style of the pypx before this one: its dictionaries and reports on stdout.

In: arguments in upstream's style. Out: what ``pypx.compat`` gives, printed as upstream did, words
on stderr, and an exit code. What arguments mean is in ``upstream``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pypx.cli.upstream import Parsed, parse
from pypx.compat.answers import Caller, failed
from pypx.compat.flags import FLAGS
from pypx.errors import ConfigError, PypxError

if TYPE_CHECKING:
    from pypx.cli.interrupt import Interrupts
    from pypx.cli.output import Output
    from pypx.compat.options import Request

__all__ = ["run_upstream"]

_PEERED = ("echo", "find", "move")
_USUAL = {"aet": "CHRIS-ULTRON-AET", "aec": "CHRIS-ULTRON-AEC"}
_ABOUT = {
    "echo": "Asks a PACS to answer (C-ECHO).",
    "find": "Queries a PACS for studies and series (C-FIND), and retrieves them if that is wanted.",
    "move": "Has a PACS send a series or a study (C-MOVE).",
    "report": "Shows what px-find --json found.",
    "status": "Says what of a study or series is in the archive.",
}


def _with_verbosity(arguments: Sequence[str]) -> list[str]:
    """Write ``-v N``, which upstream had, as ``--verbosity N``; ``-v`` alone is ours."""
    found = list(arguments)
    for place, argument in enumerate(found[:-1]):
        if argument == "-v" and found[place + 1].isdecimal():
            found[place] = "--verbosity"
    return found


def run_upstream(
    program: str, name: str, arguments: Sequence[str], out: Output, interrupts: Interrupts
) -> int:
    """Run a command in upstream's style.

    Args:
        program: How the program was called.
        name: Its command.
        arguments: What follows it.
        out: Where words go.
        interrupts: What Ctrl-C does.

    Returns:
        The exit code: 0, or what failed; 0 in any case where ``PYPX_LEGACY_EXIT`` is set, unless
        the arguments make no sense.

    Raises:
        PypxError: It could not be begun, and the answer is not to be JSON.
    """
    try:
        return _run(program, name, arguments, out, interrupts)
    except PypxError as error:
        if out.form != "json":
            raise
        out.discard()
        out.error(error)
        out.document(failed(error))
        return error.exit_code


def _run(
    program: str, name: str, arguments: Sequence[str], out: Output, interrupts: Interrupts
) -> int:
    parsed = parse(name, _with_verbosity(arguments))
    title = program if program != "px" else f"px {name}"
    if parsed.foreign:
        raise ConfigError(
            f"{title} has no {parsed.foreign[0]} where it is called as upstream's was.",
            hint=f"{title} -y shows what it takes then; docs/moving-from-pypx.md has the rule.",
        )
    _set_words(parsed, out)
    if any(parsed.opt.get(key) for key in ("b_version", "desc", "synopsis")):
        out.form = "text"
        _inform(title, name, parsed.opt, out)
        return int(_is_legacy())  # where upstream's were 1
    for flag in parsed.flags:
        if flag.inert:
            out.detail(f"{flag.names[0]}: {flag.effect}")
    opt, usual = _asked(title, name, parsed)
    caller = _Caller(out, interrupts)
    try:
        code = _RUN[name](opt, usual, caller)
    finally:
        interrupts.cancel = None
    return 0 if _is_legacy() else code


def _is_legacy() -> bool:
    return os.environ.get("PYPX_LEGACY_EXIT", "0") not in ("", "0")


def _set_words(parsed: Parsed, out: Output) -> None:
    """Set the form of the output, and how much is said."""
    verbosity = str(parsed.opt.get("verbosity", "1"))
    if not verbosity.isdecimal():
        raise ConfigError(f"--verbosity is a number, not {verbosity!r}.")
    out.quiet = "quiet" in parsed.ours or verbosity == "0"
    out.verbose = "verbose" in parsed.ours or int(verbosity) > 1
    out.log_json = "log_json" in parsed.ours
    out.form = "json" if parsed.opt.get("json") else "text"
    if out.quiet and out.verbose:
        raise ConfigError("-q and -v exclude each other.")
    if path := parsed.ours.get("o"):
        out.open_file(path)


def _asked(title: str, name: str, parsed: Parsed) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the dictionary, and what holds where it says nothing.

    Raises:
        ConfigError: The PACS is not named.
    """
    opt = dict(parsed.opt)
    for key in ("config", "archive"):
        if key in parsed.ours:
            opt[key] = parsed.ours[key]
    if "timeout" in parsed.ours:
        opt["timeout"] = _seconds(parsed.ours["timeout"])
    if len(parsed.nodes) > 1 or (parsed.nodes and name not in _PEERED):
        raise ConfigError(f"{title} does not take {parsed.nodes[-1]!r}.")
    if parsed.nodes:
        opt["node"] = parsed.nodes[0]
    return opt, _USUAL if name in _PEERED else {}


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 1e6:
        raise ConfigError(f"--timeout is a number of seconds above 0, not {text!r}.")
    return seconds


def _inform(title: str, name: str, opt: dict[str, Any], out: Output) -> None:
    """Say what the program is, what it takes, or its version."""
    from pypx.version import __version__

    if opt.get("b_version"):
        out.line(f"pypx {__version__}")
        return
    out.line(f"{title}: {_ABOUT[name]}")
    if not opt.get("synopsis"):
        return
    for flag in FLAGS:
        if name in flag.programs:
            names = ", ".join(flag.names)
            out.line(f"  {names}{' VALUE' if flag.takes_value else ''}\n      {flag.effect}")
    out.line("Flags of ours that go with these: -o FILE, -q, -v, --log-json, --config FILE,")
    out.line("--archive DIR, --timeout SECONDS; a NODE instead of --aec, --serverIP, --serverPort.")


class _Caller(Caller):
    """The user: hears of steps, and ends the work with Ctrl-C."""

    def __init__(self, out: Output, interrupts: Interrupts) -> None:
        self.out = out
        self._cancel: Callable[[], None] | None = None
        interrupts.cancel = self._interrupt

    def tell(self, sentence: str) -> None:
        """Say it on stderr."""
        self.out.say(sentence)

    def doing(self, cancel: Callable[[], None] | None) -> None:
        """Let Ctrl-C cancel an operation."""
        self._cancel = cancel
        if cancel is not None and self.cancelled:
            cancel()

    def _interrupt(self) -> None:
        self.cancelled = True
        if self._cancel is not None:
            self._cancel()
        elif not self.polite:
            raise KeyboardInterrupt


def _echo(opt: dict[str, Any], usual: dict[str, Any], caller: _Caller) -> int:
    from pypx.compat.options import read
    from pypx.compat.peer import run_echo

    return _tell(_checked(read("echo", opt, usual=usual)), run_echo, caller)


def _move(opt: dict[str, Any], usual: dict[str, Any], caller: _Caller) -> int:
    from pypx.compat.options import read
    from pypx.compat.peer import run_move

    request = _checked(read("move", opt, usual=usual))
    return _tell(request, lambda one: run_move(one, caller), caller)


def _checked(request: Request) -> Request:
    """Refuse to ask where nobody says whom: upstream's default was an address of one network.

    Raises:
        ConfigError: There is no host.
    """
    if not (request.text("serverIP") or request.is_named):
        raise ConfigError(
            "The PACS is not named in full: --serverIP is missing.",
            hint="Give --serverIP HOST, or a NODE: a configured name or AET@host:port.",
        )
    return request


def _tell(request: Request, do: Callable[[Request], dict[str, Any]], caller: _Caller) -> int:
    """Ask, and print the dictionary as upstream did, or as JSON."""
    found = do(request)
    if caller.out.form == "json":
        caller.out.document(found)
    else:
        caller.out.line(repr(found))
    return _complain(found, caller.out)


def _complain(found: dict[str, Any], out: Output) -> int:
    """Say what went wrong in words, and give the exit code."""
    error = found.get("error")
    if error is not None:
        spoken = PypxError(error["message"], hint=error["hint"])
        spoken.kind = error["kind"]
        out.error(spoken)
    return int(found.get("returncode", 0))


def _find(opt: dict[str, Any], usual: dict[str, Any], caller: _Caller) -> int:
    from pypx.compat.options import read
    from pypx.compat.query import run_find
    from pypx.compat.reports import form_of, make_report

    request = _checked(read("find", opt, usual=usual))
    out = caller.out
    if request.text("PACS") and not request.is_named:
        out.detail(f"--PACS: No effect: {request.text('PACS')} is no node of the configuration.")
    found = run_find(request, caller)
    if request.is_on("json"):
        out.form = "json"  # --JSONargs may have said it
        out.document(found)
    elif isinstance(found["data"], list):
        made = found.get("report") or make_report(request, found["data"])
        out.write(form_of(request, made))
        out.flush()
    return _complain(found, out)


def _report(opt: dict[str, Any], usual: dict[str, Any], caller: _Caller) -> int:
    from pypx.compat.options import read
    from pypx.compat.reports import form_of, run_report

    request = read("report", opt, usual=usual)
    made = run_report(request)["report"]
    if caller.out.form == "json":
        caller.out.document(made["json"])
    else:
        caller.out.write(form_of(request, made))
    return 0


def _status(opt: dict[str, Any], usual: dict[str, Any], caller: _Caller) -> int:
    from pypx.compat.options import read
    from pypx.compat.state import run_status

    found = run_status(read("status", opt, usual=usual))
    if caller.out.form == "json":
        caller.out.document(found)
    else:
        words = ", ".join(found["state"].values())
        caller.out.line(f"{words}. {found['data']}")
    return int(found["returncode"])


_RUN = {"echo": _echo, "find": _find, "move": _move, "report": _report, "status": _status}
