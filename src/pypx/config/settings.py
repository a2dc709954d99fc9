"""The configuration as values, and what follows from them.

In: checked values. Out: a node for what a user typed, our AE title for it. Files and the
environment do not belong here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pypx.address import DEFAULT_AE_TITLE, Address
from pypx.errors import ConfigError
from pypx.modes import DEFAULT_UMASK
from pypx.net.limits import DEFAULT_LIMITS, AcceptorLimits
from pypx.values import frozen

TYPE_CHECKING = False  # as a name of our own, since importing ``typing`` takes 3 ms
if TYPE_CHECKING:
    from pypx.audit.target import AuditTarget
    from pypx.net.identity import UserIdentity
    from pypx.net.tls_settings import ClientTls, ServerTls
    from pypx.receiver.hook_settings import HookSettings

__all__ = ["DEFAULT_ARCHIVE", "Config", "Listen", "Node"]

DEFAULT_ARCHIVE = "~/pypx"


@frozen
class Node:
    """A PACS, as configured or as typed.

    Attributes:
        name: Its name in the configuration; for an address that was typed, the address.
        address: Where it is.
        aet: Our AE title for this node, where it differs.
        model: Its query/retrieve model: ``study`` or ``patient``.
        associations: At most so many at once.
        tls: How it speaks TLS; None if it does not.
        method: Which way images are asked for first: ``move`` or ``get``; None for the usual.
        match_limit: After how many matches it ends an answer; None where that is not known.
        refused_levels: Levels below the study at which it refuses queries.
        character_set: In which its text really is, where it declares another one or none.
        engine: What asks it: ``native`` or ``dcmtk``; None for what is so for all.
        identity: Which user we are there; None where it does not ask.
    """

    name: str
    address: Address
    aet: str | None = None
    model: str = "study"
    associations: int = 2
    tls: ClientTls | None = None
    method: str | None = None
    match_limit: int | None = None
    refused_levels: tuple[str, ...] = ()
    character_set: str | None = None
    engine: str | None = None
    identity: UserIdentity | None = None


@frozen
class Listen:
    """Where our listener is, and whose associations it takes.

    Attributes:
        host: The address to bind.
        port: The port to bind.
        allow: Rules of who may send.
        settle: Seconds without new instances after which a series counts as whole.
        index_wait: Seconds that an instance waits for an index that another program has locked.
        min_free: What the disk must have left, as ``pypx.config.amounts.parse_size`` reads it.
        workers: How many processes receive.
        metrics: Where Prometheus metrics are served, as ``parse_endpoint`` reads it, or None.
        limits: What a peer may ask; in the file each is a key of ``[listen]``.
        tls: Certificates, where only TLS is spoken.
        engine: What receives: ``native``, or ``dcmtk`` for storescp.
        users: A file of users and their hashed passwords; None where nobody is asked for one.
    """

    host: str = "127.0.0.1"
    port: int = 10402
    allow: tuple[str, ...] = ()
    settle: float = 5.0
    index_wait: float = 2.0
    min_free: str | int = "1GiB"
    workers: int = 1
    metrics: str | int | None = None
    limits: AcceptorLimits = DEFAULT_LIMITS
    tls: ServerTls | None = None
    engine: str = "native"
    users: str | None = None


@frozen
class Config:
    """The configuration in force.

    Attributes:
        path: The file, whether it exists or not.
        aet: Our AE title.
        aet_forced: Whether it comes from the environment or a flag, and so goes before
            the AE title that a node asks for.
        archive: The folder of the archive.
        layout: The layout of its tree, or None for the archive's own default.
        maps: The folder of JSON maps from IDs to folders, if they are wanted.
        info_files: Whether ``.info`` files are written beside the images; None where that depends
            on the layout.
        listen: Our listener.
        nodes: The configured PACS, by name.
        hooks: What is to happen when a series is whole.
        engine: What asks a node that names none.
        dcmtk: Programs of DCMTK and their paths, where they are not to be looked for.
        umask: Who may not read what is kept, in octal digits.
        log_identifiers: Whether lines on stderr may name patients.
        audit: Where the audit trail goes; None where there is none.
    """

    path: str
    aet: str = DEFAULT_AE_TITLE
    aet_forced: bool = False
    archive: str = DEFAULT_ARCHIVE
    layout: str | None = None
    maps: str | None = None
    info_files: bool | None = None
    listen: Listen = Listen()
    nodes: Mapping[str, Node] = MappingProxyType({})
    hooks: tuple[HookSettings, ...] = ()
    engine: str = "native"
    dcmtk: Mapping[str, str] = MappingProxyType({})
    umask: str = DEFAULT_UMASK
    log_identifiers: bool = False
    audit: AuditTarget | None = None

    def node(self, text: str) -> Node:
        """Find a node by its name, or read an address.

        Raises:
            ConfigError: It is neither; the hint has the names that look most like it.
        """
        if text in self.nodes:
            return self.nodes[text]
        if "@" in text:
            address = Address.parse(text)
            return Node(str(address), address)
        raise ConfigError(f"There is no node {text!r} in {self.path}.", hint=self._hint(text))

    def _hint(self, text: str) -> str:
        if "=" in text:
            return f"Is it a key to look for? Write -k {text.partition('=')[0]}=VALUE."
        if ":" in text:
            return f"An address needs the AE title of the PACS: AET@{text}."
        from difflib import get_close_matches  # only a wrong name needs it

        near = get_close_matches(text, self.nodes, n=3)
        if near:
            return f"Did you mean {' or '.join(near)}?"
        known = f"Configured are {', '.join(self.nodes)}. " if self.nodes else ""
        return f"{known}Give an address AET@host:port, or: px nodes add {text} AET@host:port"

    def calling_ae_title(self, node: Node) -> str:
        """What we call ourselves towards this node."""
        return self.aet if self.aet_forced else node.aet or self.aet
