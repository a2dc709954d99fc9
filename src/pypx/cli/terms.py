"""On which terms a listener runs: what flags and configuration say together.

In: flags and a configuration. Out: values, and which of them differ from those before. Nothing
is opened or bound here.
"""

from __future__ import annotations

from pypx.archive.layout import DEFAULT_LAYOUT
from pypx.cli.output import Output
from pypx.cli.reception import allow_rules
from pypx.config import Config
from pypx.config.amounts import parse_endpoint, parse_size
from pypx.net.limits import AcceptorLimits
from pypx.net.tls_settings import ServerTls
from pypx.receiver.allow import AllowRule
from pypx.receiver.hook_settings import HookSettings
from pypx.values import fields, frozen, replace

__all__ = ["Flags", "Inetd", "Terms", "changed", "terms"]


@frozen
class Inetd:
    """What is asked of the one connection that inetd hands over.

    Attributes:
        logdir: Where the log is; None for stderr, or the log of the system.
        as_upstream: Whether it was called as upstream's xinetd calls.
    """

    logdir: str | None
    as_upstream: bool


@frozen
class Flags:
    """What was typed; None stands for what the configuration says."""

    host: str | None
    port: int | None
    rules: tuple[str, ...]
    allow_any: bool
    durability: str
    create: bool
    grace: float
    min_free: int | None
    workers: int | None
    metrics: tuple[str, int] | None
    engine: str | None = None
    users: str | None = None
    inetd: Inetd | None = None


@frozen
class Terms:
    """What is in force.

    Attributes:
        allow: Who may associate; nobody needs to be named on loopback, or with ``--allow-any``.
        min_free: Bytes that the disk must have left.
        host: The address to bind.
        port: The port to bind.
        aet: Our AE title.
        archive: The folder of the archive.
        layout: The layout of its tree.
        maps: The folder of JSON maps, if they are wanted.
        info_files: Whether there are ``.info`` files; None where that depends on the layout.
        workers: How many processes receive.
        metrics: Where metrics are served; None where they are not.
        settle: Seconds of silence after which a series counts as whole.
        index_wait: Seconds that an instance waits for the index.
        limits: What a peer may ask.
        tls: Certificates, where only TLS is spoken.
        hooks: What is to happen then.
        engine: What receives: ``native``, or ``dcmtk`` for storescp.
        users: The file of users; None where nobody is asked for one.
    """

    allow: tuple[AllowRule, ...]
    min_free: int
    host: str
    port: int
    aet: str
    archive: str
    layout: str
    maps: str | None
    info_files: bool | None
    workers: int
    metrics: tuple[str, int] | None
    settle: float
    index_wait: float
    limits: AcceptorLimits
    tls: ServerTls | None
    hooks: tuple[HookSettings, ...]
    engine: str = "native"
    users: str | None = None


_MAY_CHANGE = ("allow", "min_free", "limits")


def terms(
    flags: Flags,
    config: Config,
    out: Output,
    *,
    idle_timeout: float | None = None,
    bound: tuple[str, int] | None = None,
) -> Terms:
    """Put together what is in force; a flag goes before the configuration.

    Args:
        flags: What was typed.
        config: The configuration.
        out: For what is worth a word.
        idle_timeout: Of the limits, if it was typed too.
        bound: Host and port, if a service manager has bound them for us.

    Raises:
        ConfigError: A rule is none.
    """
    listen = config.listen
    host = listen.host if flags.host is None else flags.host
    port = listen.port if flags.port is None else flags.port
    if bound is not None:
        host, port = bound
    allow = (
        []
        if flags.allow_any
        else allow_rules((*listen.allow, *flags.rules), config.nodes.values(), host, out)
    )
    users = listen.users if flags.users is None else flags.users
    if users is not None and not any(rule.user for rule in allow):
        out.warn(
            "A password that a peer sends is verified, but nobody has to send one.",
            "Write a rule with as USER: --allow 'AET@NETWORK as *' wants any user.",
        )
    metrics = flags.metrics
    if metrics is None and listen.metrics is not None:
        metrics = parse_endpoint(listen.metrics)
    return Terms(
        allow=tuple(allow),
        min_free=parse_size(listen.min_free) if flags.min_free is None else flags.min_free,
        host=host,
        port=port,
        aet=config.aet,
        archive=config.archive,
        layout=config.layout or DEFAULT_LAYOUT,
        maps=config.maps,
        info_files=config.info_files,
        workers=flags.workers or listen.workers,
        metrics=metrics,
        settle=listen.settle,
        index_wait=listen.index_wait,
        limits=replace(listen.limits, idle_timeout=idle_timeout) if idle_timeout else listen.limits,
        tls=listen.tls,
        hooks=config.hooks,
        engine=flags.engine or listen.engine,
        users=users,
    )


def changed(old: Terms, new: Terms) -> tuple[list[str], list[str]]:
    """Say what differs: with both values what can change while the listener runs, else its name.

    Whether files of TLS differ does not count here; only whether there is TLS cannot change.
    """
    limits = [
        f"{key} is {after:,} instead of {before:,}"
        for key in fields(old.limits)
        if (before := getattr(old.limits, key)) != (after := getattr(new.limits, key))
    ]
    taken = ["other rules"] if old.allow != new.allow else []
    if old.min_free != new.min_free:
        taken.append(f"min_free is {new.min_free:,} bytes instead of {old.min_free:,}")
    names = [name for name in fields(Terms) if name not in (*_MAY_CHANGE, "tls")]
    fixed = [name for name in names if getattr(old, name) != getattr(new, name)]
    if (old.tls is None) != (new.tls is None):
        fixed.append("tls")
    return taken + limits, fixed
