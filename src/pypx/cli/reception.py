"""Our listener: whose associations it takes, and whether it already runs.

In: the configuration. Out: rules, and a receiver in this process where none listens yet.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from pypx.address import Address
from pypx.cli.options import Invocation
from pypx.cli.output import Output
from pypx.receiver.allow import AllowRule, is_loopback

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.audit.trail import AuditTrail
    from pypx.cli.line_limit import LineLimit
    from pypx.config import Node
    from pypx.receiver.receiver import Receiver
    from pypx.receiver.watch import Watch

__all__ = [
    "allow_rules",
    "log_to",
    "own_address",
    "receiving",
    "tell_notes",
    "warn_of_loopback",
    "watching",
]

_HOOKS_GRACE = 60.0  # seconds, unless --timeout says otherwise
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def allow_rules(
    rules: Iterable[str], nodes: Iterable[Node], host: str, out: Output
) -> list[AllowRule]:
    """Give the rules of a listener: those that were written, and the configured nodes.

    A node may associate from its address under any AE title: many PACS send under
    another one than they are called by, and an address says more than a title. Where a rule
    that was written wants a user of it, that goes before.

    Args:
        rules: ``AET@NETWORK`` of the configuration and of ``--allow``.
        nodes: The configured nodes.
        host: The address to bind; on loopback without rules everybody here may associate.
        out: For what cannot be looked up.

    Raises:
        ConfigError: A rule is none.
    """
    written = [AllowRule.parse(rule) for rule in rules]
    parsed = list(written)
    if is_loopback(host) and not parsed:
        return []
    for node in nodes:
        try:
            found = socket.getaddrinfo(node.address.host, None, type=socket.SOCK_STREAM)
        except OSError:
            out.warn(f"The host of {node.name}, {node.address.host}, has no address: not allowed.")
            continue
        addresses = sorted({str(where[0]).partition("%")[0] for *_, where in found})
        for address in addresses:
            if any(rule.wants_user(node.address.ae_title, address) for rule in written):
                out.detail(f"{node.name} at {address} must be a user, as a rule says")
            else:
                parsed.append(AllowRule.parse(f"*@{address}"))
    return parsed


def own_address(invocation: Invocation, host: str | None, port: int | None, aet: str) -> Address:
    """Say where our listener is, as seen from this machine."""
    listen = invocation.config.listen
    host = listen.host if host is None else host
    return Address(aet, _EVERYWHERE.get(host, host), port or listen.port)


def _is_listening(invocation: Invocation, own: Address) -> bool:
    """Ask with C-ECHO whether a listener runs at our address.

    Raises:
        ConfigError: Something else has the port.
    """
    from pypx.retrieve.landing import is_listening

    complaint = is_listening(own, tls=invocation.config.listen.tls is not None)
    if complaint:
        invocation.out.warn(f"The listener on {own.host}:{own.port} runs, but: {complaint}")
    return complaint is not None


def warn_of_loopback(invocation: Invocation, node: Node, host: str | None) -> None:
    """Say so when a PACS elsewhere is to send to a listener that only this machine reaches."""
    from pypx.retrieve.entry import is_here

    bound = invocation.config.listen.host if host is None else host
    if is_loopback(bound) and not is_here(node.address.host):
        invocation.out.warn(
            f"{node.address} is another machine and cannot reach our listener on {bound}.",
            hint="Give the address of this machine with --host, or in [listen] of the "
            "configuration.",
        )


@contextmanager
def receiving(
    invocation: Invocation,
    node: Node,
    host: str | None,
    port: int | None,
    aet: str,
    trail: AuditTrail | None,
) -> Iterator[Receiver | None]:
    """Have a listener at our address: the one that runs (None), or one in this process.

    Args:
        invocation: The command.
        node: Who sends to it.
        host: The address to bind; None as configured.
        port: Likewise.
        aet: Our AE title.
        trail: Hears what it receives.

    Raises:
        ConfigError: The port cannot be had.
        ArchiveError: The archive cannot be opened.
    """
    config = invocation.config
    own = own_address(invocation, host, port, aet)
    bound = config.listen.host if host is None else host
    if _is_listening(invocation, own):
        invocation.out.detail(f"the listener on {own.host}:{own.port} receives")
        yield None
        return
    from pypx.cli.auditing import knowing
    from pypx.cli.line_limit import LineLimit
    from pypx.config.amounts import parse_size
    from pypx.receiver.observers import Observers
    from pypx.receiver.receiver import GRACE, Receiver

    nodes = [*config.nodes.values(), node]
    rules = allow_rules(config.listen.allow, nodes, bound, invocation.out)
    with (
        closing(LineLimit(invocation.out.warn)) as limit,
        invocation.open_archive(create=True, index_wait=config.listen.index_wait) as archive,
    ):
        log_to(invocation.out, limit)
        tell_notes(invocation.out, archive.notes)
        with (
            knowing(trail, archive),
            watching(invocation, archive) as watch,
            Receiver(
                archive,
                host=bound,
                port=own.port,
                ae_title=aet,
                allow=rules,
                limits=config.listen.limits,
                tls=config.listen.tls,
                users=config.listen.users,
                min_free=parse_size(config.listen.min_free),
                observer=watch if trail is None else Observers(watch, trail),
                grace=min(GRACE, invocation.timeout or GRACE),
            ) as receiver,
        ):
            invocation.out.say(
                f"No listener on {own.host}:{own.port}: receiving here, into {config.archive}."
            )
            yield receiver


@contextmanager
def watching(invocation: Invocation, archive: Archive) -> Iterator[Watch]:
    """Tell the hooks of each series; what they have not taken at the end waits on the disk."""
    from pypx.cli.show import count
    from pypx.receiver.hooks import HOOKS_FOLDER, Hooks
    from pypx.receiver.watch import Watch

    config, out = invocation.config, invocation.out
    with Hooks.from_config(config.hooks, archive.root / HOOKS_FOLDER, out.warn) as hooks:
        with Watch(
            archive,
            settle=config.listen.settle,
            hooks=hooks,
            companions=invocation.companions(archive),
            on_trouble=out.warn,
        ) as watch:
            yield watch
        hooks.close(invocation.timeout or _HOOKS_GRACE)
        if hooks.queued:
            waiting = count(hooks.queued, "delivery", "deliveries")
            out.say(f"Hooks have yet to take {waiting}: px listen hands over what waits.")


def tell_notes(out: Output, notes: Sequence[str]) -> None:
    """Say what the archive put in order when it was opened."""
    for note in notes:
        out.say(note)


def log_to(out: Output, limit: LineLimit | None = None) -> None:
    """Bring what the packages below log into the form of our own lines.

    Args:
        out: Where they go.
        limit: Of lines about one host; without one all are written.
    """
    import logging

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message = record.getMessage()
            text = f"{message[:1].upper()}{message[1:].rstrip('.')}."
            if record.exc_info and record.exc_info[1] is not None:
                cause = record.exc_info[1]
                text = f"{text[:-1]}: {type(cause).__name__}: {cause}."
            if record.levelno >= logging.WARNING:
                host, kind = getattr(record, "host", None), getattr(record, "kind", "")
                if limit is None or host is None or limit.passes(host, kind, text):
                    out.warn(text)
            else:
                out.detail(text)

    logger = logging.getLogger("pypx")
    logger.handlers[:] = [Handler()]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if out.verbose else logging.WARNING)
