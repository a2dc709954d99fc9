"""Commands in the style of the pypx before this one: its dictionaries and reports on stdout.

In: arguments in upstream's style. Out: what ``pypx.compat`` gives, printed as upstream did, words
on stderr, and an exit code. What arguments mean is in ``upstream``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from pypx.cli.auditing import audited, heard
from pypx.cli.options import Invocation
from pypx.cli.upstream import Parsed, parse, with_verbosity
from pypx.compat.answers import Account, Caller, failed
from pypx.compat.flags import FLAGS
from pypx.compat.options import Request, read, with_json
from pypx.errors import ConfigError, PypxError

if TYPE_CHECKING:
    from pypx.audit.trail import AuditTrail
    from pypx.cli.interrupt import Interrupts
    from pypx.cli.output import Output
    from pypx.client.requestor import Requestor
    from pypx.config import Node

__all__ = ["run_upstream"]

_PEERED = ("echo", "find", "move")
_USUAL = {"aet": "CHRIS-ULTRON-AET", "aec": "CHRIS-ULTRON-AEC"}
_ABOUT = {
    "echo": "Asks a PACS to answer (C-ECHO).",
    "find": "Queries a PACS for studies and series (C-FIND), and retrieves them if that is wanted.",
    "listen": "Receives what peers send (C-STORE) into an archive.",
    "move": "Has a PACS send a series or a study (C-MOVE).",
    "report": "Shows what px-find --json found.",
    "status": "Says what of a study or series is in the archive.",
}


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
    parsed = parse(name, with_verbosity(arguments))
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
    opt = _asked(title, name, parsed)
    if name not in _PEERED:
        _tell_inert(name, opt, out)
    caller = _Caller(_invocation(opt, out, interrupts))
    with audited(caller.invocation) if name in _PEERED else nullcontext() as caller.trail:
        try:
            code = _RUN[name](opt, caller)
        finally:
            interrupts.cancel = None
    return 0 if _is_legacy() else code


def _invocation(opt: dict[str, Any], out: Output, interrupts: Interrupts) -> Invocation:
    """Give the run of the command, as our own commands have it."""
    for key, value in opt.items():
        out.identifiers.learn(key, str(value))
    return Invocation(
        out,
        interrupts,
        config_file=opt.get("config"),
        archive=opt.get("archive"),
        timeout=None,
        aet=None,
    )


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


def _asked(title: str, name: str, parsed: Parsed) -> dict[str, Any]:
    """Give the dictionary.

    Raises:
        ConfigError: A value makes no sense.
    """
    opt = with_json(parsed.opt)
    for key in ("config", "archive", "timeout", "engine"):
        if key in parsed.ours:
            opt[key] = parsed.ours[key]
    if len(parsed.nodes) > 1 or (parsed.nodes and name not in _PEERED):
        raise ConfigError(f"{title} does not take {parsed.nodes[-1]!r}.")
    if parsed.nodes:
        opt["node"] = parsed.nodes[0]
    return opt


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
    if name == "listen":
        out.line("px listen --help has ours, which go with these.")
        return
    out.line("Flags of ours that go with these: -o FILE, -q, -v, --log-json, --config FILE,")
    peer = ", --engine; a NODE instead of --aec, --serverIP, --serverPort"
    out.line(f"--archive DIR, --timeout SECONDS{peer if name in _PEERED else ''}.")


class _Caller(Caller):
    """The user: hears of steps, and ends the work with Ctrl-C."""

    def __init__(self, invocation: Invocation) -> None:
        self.invocation = invocation
        self.out = invocation.out
        self.trail: AuditTrail | None = None
        self._cancel: Callable[[], None] | None = None
        invocation.interrupts.cancel = self._interrupt

    def tell(self, sentence: str) -> None:
        """Say it on stderr."""
        self.out.say(sentence)

    def reaching(self, node: Node, client: Requestor) -> None:
        """Warn where a password would go over a network as it is; note what is asked."""
        self.invocation.warn_of_secrets(node)
        heard(self.trail, client)

    def sending(self, client: Requestor) -> Account | None:
        """Note what is sent."""
        if self.trail is None:
            return None
        from pypx.audit.sending import SendingAudit

        return SendingAudit(self.trail, client)

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


def _echo(opt: dict[str, Any], caller: _Caller) -> int:
    from pypx.compat.peer import run_echo

    return _tell(run_echo(_peered("echo", opt, caller), caller), caller)


def _move(opt: dict[str, Any], caller: _Caller) -> int:
    from pypx.compat.peer import run_move

    return _tell(run_move(_peered("move", opt, caller), caller), caller)


def _peered(name: str, opt: dict[str, Any], caller: _Caller) -> Request:
    """Read the dictionary of a command that asks a PACS.

    Raises:
        ConfigError: It makes no sense, or there is no host: upstream's default was an address of
            one network.
    """
    request = read(name, opt, usual=_USUAL, config=caller.invocation.config)
    if caller.out.verbose and request.text("serverIP"):
        _tell_inert(name, opt, caller.out, engine=request.engine)
    if not request.text("serverIP"):
        raise ConfigError(
            "The PACS is not named in full: --serverIP is missing.",
            hint="Give --serverIP HOST, or a NODE: a configured name or AET@host:port.",
        )
    return request


def _tell_inert(name: str, opt: dict[str, Any], out: Output, *, engine: str = "native") -> None:
    """Say which flags have no effect; a program of DCMTK has one where that is the engine."""
    for flag in FLAGS:
        runs = flag.key.endswith("scu") and engine == "dcmtk"
        if flag.inert and name in flag.programs and flag.key in opt and not runs:
            out.detail(f"{flag.names[0]}: {flag.effect}")


def _tell(found: dict[str, Any], caller: _Caller) -> int:
    """Print the dictionary as upstream did, or as JSON."""
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


def _find(opt: dict[str, Any], caller: _Caller) -> int:
    from pypx.compat.query import run_find
    from pypx.compat.reports import form_of, make_report

    request = _peered("find", opt, caller)
    out = caller.out
    if request.text("PACS") and request.named is None:
        out.detail(f"--PACS: No effect: {request.text('PACS')} is no node of the configuration.")
    found = run_find(request, caller)
    if request.is_on("json"):
        out.form = "json"  # --JSONargs may have said it
        out.document(found)
    elif isinstance(found["data"], list):
        made = found.get("report") or make_report(request, found["data"])
        out.write(form_of(request, made))
        out.flush()
    else:
        out.discard()  # there is nothing to put into the file of -o
    return _complain(found, out)


def _report(opt: dict[str, Any], caller: _Caller) -> int:
    from pypx.compat.reports import form_of, run_report

    request = read("report", opt, usual={}, config=caller.invocation.config)
    made = run_report(request)["report"]
    if caller.out.form == "json":
        caller.out.document(made["json"])
    else:
        caller.out.write(form_of(request, made))
    return 0


def _status(opt: dict[str, Any], caller: _Caller) -> int:
    from pypx.compat.state import run_status

    found = run_status(read("status", opt, usual={}, config=caller.invocation.config))
    if caller.out.form == "json":
        caller.out.document(found)
    else:
        words = ", ".join(found["state"].values())
        caller.out.line(f"{words}. {found['data']}")
    return int(found["returncode"])


_RUN = {"echo": _echo, "find": _find, "move": _move, "report": _report, "status": _status}
