"""The options that all commands share, and what a command makes of them.

In: parsed options. Out: an :class:`Invocation`, which loads configuration, makes clients
and opens the archive when a command asks for it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from pypx.address import Address
from pypx.cli.command import SHARED
from pypx.cli.interrupt import Interrupts
from pypx.cli.output import Output
from pypx.config import Config, Node, load
from pypx.errors import ArchiveError, ConfigError
from pypx.modes import set_umask
from pypx.values import replace

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.archive.companions import Companions
    from pypx.client.requestor import Requestor
    from pypx.engine import Engine
    from pypx.net.connection import Timeouts

__all__ = [
    "Invocation",
    "PeerFlags",
    "common_options",
    "engine_option",
    "forwarded_options",
    "listener_options",
    "maps_option",
    "peer_options",
]

UPSTREAM_PORT = 4242
"""What ``--serverIP`` without ``--serverPort`` means, as it always has."""

_FORMS = ("json", "jsonl", "csv")
_LONGEST_TIMEOUT = 1e6


class Invocation:
    """One run of a command: its output, its configuration, its time-outs.

    Attributes:
        out: Where words go.
        interrupts: What Ctrl-C and SIGTERM do.
        timeout: Seconds of ``--timeout``; None where it was not given.
        aet: Our AE title from ``--aet``.
        config_file: The file of ``--config``.
        archive: The folder of ``--archive``.
        engine: That of ``--engine``; None where it was not given.
        maps: The folder of ``--maps``.
        layout: The layout of the archive, where a flag says it.
    """

    def __init__(
        self,
        out: Output,
        interrupts: Interrupts,
        *,
        config_file: str | None,
        archive: str | None,
        timeout: float | None,
        aet: str | None,
        engine: str | None = None,
    ) -> None:
        self.engine = engine
        self.out = out
        self.interrupts = interrupts
        self.timeout = timeout
        self.aet = aet
        self.config_file = config_file
        self.archive = archive
        self.maps: str | None = None
        self.layout: str | None = None
        self._described = False

    @functools.cached_property
    def config(self) -> Config:
        """The configuration in force.

        Raises:
            ConfigError: It is wrong.
        """
        config = load(self.config_file, aet=self.aet, archive=self.archive)
        set_umask(config.umask)
        self.out.identifiers.configure(config)
        self.out.detail(
            f"configuration {config.path}, AE title {config.aet}, archive {config.archive}"
        )
        return config

    def timeouts(self) -> Timeouts:
        """The time-outs of a client: ``--timeout`` bounds each phase."""
        from pypx.net.connection import Timeouts

        if self.timeout is None:
            return Timeouts()
        return Timeouts(self.timeout, self.timeout, self.timeout, min(self.timeout, 5.0))

    def engine_for(self, node: Node) -> Engine:
        """Give what talks to a node: the engine of ``--engine``, its own, or that of all."""
        from pypx.engine import Engine

        return Engine(self.engine or node.engine or self.config.engine, self.config.dcmtk)

    def client(self, node: Node, engine: Engine | None = None) -> Requestor:
        """Make a client for a node.

        Args:
            node: The node.
            engine: What talks to it; None for :meth:`engine_for`.
        """
        self.warn_of_secrets(node)
        return (engine or self.engine_for(node)).client(
            node.address,
            calling_ae_title=self.config.calling_ae_title(node),
            timeouts=self.timeouts(),
            model=node.model,
            tls=node.tls,
            character_set=node.character_set,
            identity=node.identity,
        )

    def warn_of_secrets(self, node: Node) -> None:
        """Say so when a password or a token would go over a network without TLS."""
        identity = node.identity
        if identity is None or not identity.secret or node.tls is not None:
            return
        from pypx.retrieve.entry import is_here

        if not is_here(node.address.host):
            what = "password" if identity.kind == "password" else "token"
            self.out.warn(
                f"The {what} of the user goes to {node.address} without TLS: who listens on the "
                "way reads it.",
                f"Set tls = true in [nodes.{node.name}], if the PACS speaks TLS.",
            )

    def describe(self, client: Requestor) -> None:
        """Say with ``-v`` what was negotiated, once."""
        if not self.out.verbose or self._described or client.peer is None:
            return
        self._described = True
        from pypx.dicom.uids import uid_name

        peer = client.peer
        name = peer.implementation_version_name or peer.implementation_class_uid
        self.out.detail(
            f"{client.address} accepted {client.calling_ae_title}: {name}, "
            f"PDU {peer.maximum_pdu_length or 'unlimited'}"
        )
        for context in client.contexts:
            service, syntax = map(uid_name, (context.abstract_syntax, context.transfer_syntax))
            self.out.detail(f"context {context.context_id}: {service}, {syntax}")

    def companions(self, archive: Archive) -> Companions | None:
        """Give who writes files for programs that watch the archive, if they are wanted."""
        from pathlib import Path

        maps = self.maps or self.config.maps
        return archive.companions(info=self.config.info_files, maps=Path(maps) if maps else None)

    def open_archive(self, *, create: bool, **options: Any) -> Archive:
        """Open the archive of the configuration.

        Args:
            create: Make it where there is none.
            options: More arguments of :class:`pypx.Archive`.

        Raises:
            ConfigError: There is none, and it is not to be made.
            ArchiveError: It cannot be opened.
        """
        from pathlib import Path

        from pypx.archive import Archive

        root = Path(self.config.archive)
        if not create and not root.is_dir():
            raise ConfigError(
                f"There is no archive at {root}.",
                hint="px listen or px retrieve makes it; --archive and PYPX_ARCHIVE name another.",
            )
        layout = self.layout or self.config.layout
        if layout is not None:
            options["layout"] = layout
        try:
            return Archive(root, create=create, **options)
        except ArchiveError as error:
            if str(root) not in error.message:
                error.message = f"{error.message.rstrip('.')} ({root})."
            raise


def maps_option(function: Callable[..., int]) -> Any:
    """Give a command ``--maps``; the invocation has it."""

    @functools.wraps(function)
    def wrapper(invocation: Invocation, *args: Any, maps: str | None, **values: Any) -> int:
        invocation.maps = maps
        return function(invocation, *args, **values)

    option = click.option(
        "--maps",
        metavar="DIR",
        help="Keep JSON maps from patient, study and series to their folders below DIR.  "
        "[default: as configured]",
    )
    return option(wrapper)


class PeerFlags:
    """The flags that name a PACS part by part, as upstream had them."""

    def __init__(self, aec: str | None, host: str | None, port: int | None) -> None:
        self.aec = aec
        self.host = host
        self.port = port

    def __bool__(self) -> bool:
        return any(flag is not None for flag in (self.aec, self.host, self.port))

    def node(self, invocation: Invocation, text: str | None) -> Node:
        """Give the node that NODE and the flags name; a flag goes before a part of NODE.

        Raises:
            ConfigError: They name none.
        """
        if text is None:
            return self._alone(invocation)
        node = invocation.config.node(text)
        if not self:
            return node
        old = node.address
        address = Address(
            self.aec if self.aec is not None else old.ae_title,
            self.host if self.host is not None else old.host,
            self.port if self.port is not None else old.port,
        )
        return replace(node, name=str(address), address=address)

    def _alone(self, invocation: Invocation) -> Node:
        if self.host is None or self.aec is None:
            missing = "--serverIP" if self.aec is not None else "--aec"
            known = ", ".join(invocation.config.nodes)
            raise ConfigError(
                f"The PACS is not named in full: {missing} is missing."
                if self
                else "Which PACS? NODE is missing.",
                hint=f"Give a name ({known}) or an address AET@host:port."
                if known
                else "Give an address AET@host:port, or name one with px nodes add.",
            )
        address = Address(self.aec, self.host, self.port or UPSTREAM_PORT)
        return Node(str(address), address)


def _seconds(context: click.Context, parameter: click.Parameter, value: float | None) -> object:
    if value is not None and not 0 < value <= _LONGEST_TIMEOUT:
        raise click.BadParameter(f"{value:g} is no number of seconds above 0.")
    return value


def _shared_options(names: frozenset[str]) -> list[Callable[[Any], Any]]:
    flag = functools.partial(click.option, is_flag=True)
    options = {
        "json": flag("--json", "json", help="One JSON document on stdout."),
        "jsonl": flag("--jsonl", "jsonl", help="One JSON object a line, as they come."),
        "csv": flag("--csv", "csv", help="Comma-separated values, with a header."),
        "output_file": click.option(
            "-o", "output_file", metavar="FILE", help="Results into FILE, when whole."
        ),
        "quiet": flag("-q", "--quiet", "quiet", help="Only errors on stderr."),
        "verbose": flag("-v", "--verbose", "verbose", help="Say what goes on underneath."),
        "log_json": flag("--log-json", "log_json", help="Lines on stderr are JSON objects."),
        "config_file": click.option(
            "--config", "config_file", metavar="FILE", help="The configuration."
        ),
        "archive": click.option(
            "--archive", metavar="DIR", help="The archive, instead of the configured one."
        ),
        "timeout": click.option(
            "--timeout",
            type=float,
            callback=_seconds,
            metavar="SECONDS",
            help="The longest silence of a peer, or wait for a lock.",
        ),
    }
    return [option for name, option in options.items() if name in names]


def common_options(
    *, jsonl: bool = False, csv: bool = False, archive: bool = True, timeout: bool = True
) -> Callable[[Any], Any]:
    """Give a command the options that all have; it gets an :class:`Invocation` first.

    Args:
        jsonl: It has rows that stream.
        csv: Its rows are flat.
        archive: An archive has a meaning for it.
        timeout: It may have to wait.
    """
    chosen = {"jsonl": jsonl, "csv": csv, "archive": archive, "timeout": timeout}
    names = SHARED - {name for name, is_there in chosen.items() if not is_there}

    def decorate(function: Callable[..., int]) -> Any:
        @functools.wraps(function)
        def wrapper(**values: Any) -> int:
            return function(_invocation(values), **values)

        decorated: Any = wrapper
        for option in reversed(_shared_options(names)):
            decorated = option(decorated)
        return decorated

    return decorate


def forwarded_options(function: Callable[..., int]) -> Any:
    """Give a command that another one does the options that all have; it gets ``shared``, the
    words of those that were given."""

    @functools.wraps(function)
    def wrapper(*args: Any, **values: Any) -> int:
        shared: list[str] = []
        for parameter in click.get_current_context().command.params:
            if parameter.name in SHARED and isinstance(parameter, click.Option):
                value = values.pop(parameter.name, None)
                if value is True:
                    shared.append(parameter.opts[0])
                elif value:
                    shared += [parameter.opts[0], str(value)]
        return function(*args, shared=shared, **values)

    decorated: Any = wrapper
    for option in reversed(_shared_options(SHARED)):
        decorated = option(decorated)
    return decorated


def _invocation(values: dict[str, Any]) -> Invocation:
    """Take the shared options out of the values."""
    state = click.get_current_context().obj
    out: Output = state.out
    chosen = [form for form in _FORMS if values.pop(form, False)]
    out.form = chosen[0] if chosen else "text"
    out.quiet = values.pop("quiet")
    out.verbose = values.pop("verbose")
    out.log_json = values.pop("log_json")
    if len(chosen) > 1:
        raise ConfigError(f"--{chosen[0]} and --{chosen[1]} exclude each other.")
    if out.quiet and out.verbose:
        raise ConfigError("-q and -v exclude each other.")
    file = values.pop("output_file")
    if file is not None:
        out.open_file(file)
    return Invocation(
        out,
        state.interrupts,
        config_file=values.pop("config_file"),
        archive=values.pop("archive", None),
        timeout=values.pop("timeout", None),
        aet=values.pop("aet", None),
        engine=values.pop("engine", None),
    )


def engine_option(*more: str, what: str = "What talks to the PACS") -> Callable[[Any], Any]:
    """Give a command ``--engine``, which its :class:`Invocation` heeds.

    Args:
        more: Choices besides the engines.
        what: What the engine does.
    """
    from pypx.engine import ENGINES

    return click.option(
        "--engine",
        type=click.Choice([*ENGINES, *more]),
        help=f"{what}: pypx itself, or DCMTK's programs.  [default: as configured, or native]",
    )


def listener_options(
    where: str = "Where our listener is.", port: str = "Port of our listener."
) -> Callable[[Any], Any]:
    """Give a command ``--host`` and ``--port``, of who listens here.

    Args:
        where: What the host is, for the help.
        port: What the port is.
    """

    def decorate(function: Any) -> Any:
        function = click.option(
            "--port",
            type=click.IntRange(1, 65535),
            metavar="PORT",
            help=f"{port}  [default: as configured, or 10402]",
        )(function)
        return click.option("--host", metavar="HOST", help=f"{where}  [default: as configured]")(
            function
        )

    return decorate


def peer_options(function: Callable[..., int]) -> Any:
    """Give a command ``--aec --aet --serverIP --serverPort``; it gets ``peer`` as PeerFlags."""

    @functools.wraps(function)
    def wrapper(*args: Any, **values: Any) -> int:
        peer = PeerFlags(values.pop("aec"), values.pop("server_ip"), values.pop("server_port"))
        return function(*args, peer=peer, **values)

    decorated: Any = wrapper
    for option in (
        click.option(
            "--serverPort",
            "server_port",
            type=click.IntRange(1, 65535),
            metavar="PORT",
            help=f"Port of the PACS, where NODE does not say it.  [default: {UPSTREAM_PORT}]",
        ),
        click.option("--serverIP", "server_ip", metavar="HOST", help="Host of the PACS."),
        click.option("--aet", metavar="AET", help="Our AE title."),
        click.option("--aec", metavar="AET", help="AE title of the PACS."),
    ):
        decorated = option(decorated)
    return decorated
