"""``px doctor``: what works with a PACS, step by step, and what to do about the rest.

In: a node. Out: a line for each step as it ends, or JSON; with ``--save`` a profile in the
configuration. What the steps are is in ``pypx.doctor``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from pypx.cli.auditing import audited, heard
from pypx.cli.command import PxCommand
from pypx.cli.options import (
    Invocation,
    PeerFlags,
    common_options,
    engine_option,
    listener_options,
    peer_options,
)
from pypx.cli.output import Output, json_text, visible
from pypx.errors import ConfigError

if TYPE_CHECKING:
    from pypx.audit.trail import AuditTrail
    from pypx.client.requestor import Requestor
    from pypx.config import Node
    from pypx.doctor.case import Learnt, Target
    from pypx.doctor.steps import Step

__all__ = ["command"]

_COLOURS = {"ok": "\x1b[32m", "warning": "\x1b[33m", "failed": "\x1b[1;31m", "skipped": "\x1b[2m"}
_PLAIN = "\x1b[0m"
_CONFIGURATION = "configuration"


@click.command("doctor", cls=PxCommand, short_help="What works with a PACS?")
@click.argument("node", required=False)
@click.option("--no-get", is_flag=True, help="Do not try C-GET.")
@click.option("--no-move", is_flag=True, help="Do not try C-MOVE, which has a PACS send to us.")
@click.option("--save", is_flag=True, help="Write what was learnt into the configuration.")
@listener_options()
@engine_option(what="What examines it besides pypx")
@common_options(jsonl=True, archive=False)
@peer_options
def command(
    invocation: Invocation,
    *,
    peer: PeerFlags,
    node: str | None,
    no_get: bool,
    no_move: bool,
    save: bool,
    host: str | None,
    port: int | None,
) -> int:
    """Examine NODE step by step, and say of each step how it went and what to try.

    From the configuration over the network, TLS and the association to queries of all kinds,
    C-GET, and C-MOVE to a listener that is started for it. A step that depends on one that failed
    is skipped. At most 25 queries are made, of at most 1,000 matches each, and one image is
    fetched each way; nothing of it is kept.

    \b
    px doctor hospital
    px doctor hospital --save
    px doctor ORTHANC@10.1.2.3:4242 --no-move --json
    px doctor hospital --engine dcmtk

    With --save, what the PACS takes and where it ends its answers is noted down for the node, and
    px find and px retrieve go by it.

    With --engine dcmtk, DCMTK's programs do the same after pypx, each step beside ours: where one
    of the two gets an answer and the other does not, it says whose fault that is.

    The exit code is 0 if all is well, 1 if something should be known, else that of the first step
    that failed: 2 the configuration, 3 the network or the association, 4 a failure status.
    """
    out = invocation.out
    code = 0
    documents = []
    doctor = _Examination(invocation, peer, node, save=save)
    steps = doctor.steps(get=not no_get, move=not no_move, host=host, port=port)
    for step in steps:
        code = step.exit_code if not code or (code == 1 < step.exit_code) else code
        if out.form == "text":
            _show(out, step)
        elif out.form == "jsonl":
            out.line(json_text(step.document()))
        else:
            documents.append(step.document())
    if out.form == "json":
        out.document(documents)
    doctor.save()
    return code


class _Examination:
    """One run: from what was typed to what is saved."""

    def __init__(
        self, invocation: Invocation, peer: PeerFlags, node: str | None, *, save: bool
    ) -> None:
        self._invocation = invocation
        self._peer = peer
        self._text = node
        self._save = save
        self._node: Node | None = None
        self._learnt: Learnt | None = None
        self._trail: AuditTrail | None = None

    def heard(self, client: Requestor) -> Requestor:
        """Let the audit trail, if there is one, hear what a client asks."""
        return heard(self._trail, client)

    def steps(self, *, get: bool, move: bool, host: str | None, port: int | None) -> Iterator[Step]:
        """Do the steps, that of the configuration first."""
        from datetime import date

        from pypx.cli.reception import log_to
        from pypx.doctor.beside import NAMES as BESIDE
        from pypx.doctor.doctor import NAMES, Doctor
        from pypx.doctor.steps import Status, Step
        from pypx.engine import DCMTK

        log_to(self._invocation.out)
        started = time.monotonic()
        try:
            target, message, facts = self._configure(host, port)
        except ConfigError as error:
            seconds = time.monotonic() - started
            yield Step(
                _CONFIGURATION,
                Status.FAILED,
                seconds,
                error.message,
                error.hint,
                exit_code=error.exit_code,
            )
            others = BESIDE if self._invocation.engine == DCMTK else ()
            for name in (*NAMES, *others):
                yield Step(name, Status.SKIPPED, 0.0, f"It needs the step {_CONFIGURATION!r}.")
            return
        yield Step(_CONFIGURATION, Status.OK, time.monotonic() - started, message, facts=facts)
        doctor = Doctor(target, date.today(), get=get, move=move)
        with audited(self._invocation) as self._trail:
            yield from doctor.steps()
        self._learnt = doctor.learnt

    def _configure(self, host: str | None, port: int | None) -> tuple[Target, str, dict[str, Any]]:
        """Read the configuration, and see whether all that it names is there.

        Raises:
            ConfigError: It is wrong, or there is no such node.
        """
        from pypx.cli.reception import allow_rules, own_address
        from pypx.client.query import Model
        from pypx.doctor.case import Target
        from pypx.retrieve.landing import Listening

        invocation = self._invocation
        config = invocation.config
        node = self._node = self._peer.node(invocation, self._text)
        if self._save and node.name not in config.nodes:
            raise ConfigError(
                f"--save needs a node of the configuration, and {node.name} is none.",
                hint=f"px nodes add NAME {node.address}",
            )
        aet = config.calling_ae_title(node)
        bind = config.listen.host if host is None else host
        nodes = [*config.nodes.values(), node]
        rules = allow_rules(config.listen.allow, nodes, bind, invocation.out)
        own = own_address(invocation, host, port, aet)
        listen = config.listen
        target = Target(
            node.address,
            aet,
            invocation.timeouts(),
            Model.parse(node.model),
            node.tls,
            Listening(own, bind, tuple(rules), listen.limits, listen.tls, listen.users),
            node.match_limit,
            node.refused_levels,
            node.character_set,
            invocation.engine_for(node),
            node.identity,
            self.heard,
        )
        invocation.warn_of_secrets(node)
        target.client().close()  # reads the certificates
        facts = {
            "path": config.path,
            "node": node.name,
            "address": str(node.address),
            "calling_ae_title": aet,
            "model": node.model,
            "tls": node.tls is not None,
            "identity": node.identity.kind if node.identity else None,
            "listener": f"{bind}:{own.port}",
        }
        name = "The PACS" if node.name == str(node.address) else node.name
        said = f"{name} is {node.address}; we are {aet}, and listen on {bind}:{own.port}."
        return target, said, facts

    def save(self) -> None:
        """Write what was learnt into the profile of the node, if that is wanted.

        Raises:
            ConfigError: The file cannot be written.
        """
        node, learnt, out = self._node, self._learnt, self._invocation.out
        if not self._save or node is None or learnt is None:
            return
        if not learnt.model:
            out.warn("Nothing was saved: the PACS answered no queries.")
            return
        from pypx.config.edit import EDIT_TIMEOUT, change_node

        path = self._invocation.config.path
        values = _profile(learnt, node)
        timeout = self._invocation.timeout or EDIT_TIMEOUT
        lost = change_node(path, node.name, values, timeout=timeout)
        said = ", ".join(f"{key} {_text(value)}" for key, value in values.items() if value)
        out.say(f"Saved for {node.name} in {path}: {said}.")
        if lost:
            out.warn(f"The comments of {path} were lost; the file as it was is {path}.bak.")


def _profile(learnt: Learnt, node: Node) -> dict[str, Any]:
    """Give the keys of the node; None takes out what was found to be so no longer.

    What could not be seen this time stays: few matches show no limit, and ASCII no character set.
    """
    limit, text = node.match_limit, node.character_set
    return {
        "model": learnt.model,
        "method": learnt.method or node.method,
        "match_limit": learnt.match_limit
        or (limit if limit is not None and limit >= learnt.most_matches else None),
        "refused_levels": learnt.refused_levels or None,
        "character_set": learnt.character_set or (None if learnt.text_fits else text),
    }


def _text(value: object) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _show(out: Output, step: Step) -> None:
    word = f"{step.status.value:8}"
    if out.colour:
        word = f"{_COLOURS[step.status.value]}{word}{_PLAIN}"
    took = f"{step.seconds:6.2f} s" if step.seconds >= 0.005 else f"{'':8}"
    lines = [f"{word} {step.name:21} {took}  {visible(step.message)}"]
    for number, line in enumerate(step.hint.splitlines()):
        lines.append(f"{'':40}  {'try: ' if not number else '     '}{visible(line)}")
    out.line("\n".join(lines))
    for name, fact in step.facts.items():
        out.detail(f"{step.name}: {name} = {fact}")
