"""Configuration: what the TOML file, the environment and the flags say together.

In: a path, the environment, and what was given on the command line. Out: checked
values, or an error that names file, line and key. What is not needed is not
imported: an ``px echo`` to an address, with no file to read, pays nothing for TOML.

A path is text here, since ``pathlib`` alone would cost more than everything else.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType

from pypx.address import DEFAULT_AE_TITLE, Address, check_ae_title
from pypx.errors import ConfigError
from pypx.values import frozen

TYPE_CHECKING = False  # as a name of our own, since importing ``typing`` takes 3 ms
if TYPE_CHECKING:
    from typing import Any, NoReturn

__all__ = ["Config", "Listen", "Node", "add_node", "config_path", "load", "remove_node"]

DEFAULT_ARCHIVE = "~/pypx"
MODELS = ("study", "patient")
EDIT_TIMEOUT = 10.0
_LOCK_POLL = 0.02
_NODE_NAME = "letters, digits, '-', '_' and '.'"

# The keys of each table and the type of their values.
_TOP: dict[str, type] = {"aet": str, "archive": str, "layout": str, "listen": dict, "nodes": dict}
_LISTEN: dict[str, type] = {"host": str, "port": int, "allow": list}
_NODE: dict[str, type] = {"address": str, "aet": str, "model": str, "associations": int}
_TYPE_NAMES = {str: "text", int: "a whole number", list: "a list of texts", dict: "a table"}


@frozen
class Node:
    """A PACS, as configured or as typed.

    Attributes:
        name: Its name in the configuration; for an address that was typed, the address.
        address: Where it is.
        aet: Our AE title for this node, where it differs.
        model: Its query/retrieve model: ``study`` or ``patient``.
        associations: At most so many at once.
    """

    name: str
    address: Address
    aet: str | None = None
    model: str = "study"
    associations: int = 2


@frozen
class Listen:
    """Where our listener is, and whose associations it takes."""

    host: str = "127.0.0.1"
    port: int = 10402
    allow: tuple[str, ...] = ()


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
        listen: Our listener.
        nodes: The configured PACS, by name.
    """

    path: str
    aet: str = DEFAULT_AE_TITLE
    aet_forced: bool = False
    archive: str = DEFAULT_ARCHIVE
    layout: str | None = None
    listen: Listen = Listen()
    nodes: Mapping[str, Node] = MappingProxyType({})

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
            return f"Is it a key to look for? Write -k {text}."
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


def config_path(explicit: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Say where the configuration file is: the flag, ``PYPX_CONFIG``, or the user's folder."""
    path = environ.get("PYPX_CONFIG") if explicit is None else explicit
    if path or explicit is not None:
        return _expand(path or "")
    if sys.platform == "linux":
        # What platformdirs says, without the 10 ms that importing it takes.
        base = environ.get("XDG_CONFIG_HOME", "").strip() or _expand("~/.config")
        return f"{base}/pypx/config.toml"
    from platformdirs import user_config_dir

    return f"{user_config_dir('pypx', appauthor=False)}/config.toml"


def load(
    path: str | None = None,
    *,
    aet: str | None = None,
    archive: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Config:
    """Read the configuration: the file, over it the environment, over it the arguments.

    Args:
        path: The file; it must exist then. None for ``PYPX_CONFIG`` or the user's own.
        aet: Our AE title, as a flag gave it.
        archive: The folder of the archive, as a flag gave it.
        environ: The environment.

    Raises:
        ConfigError: The file is missing, not readable, no TOML, or says something wrong.
    """
    file = config_path(path, environ)
    # PYPX_CONFIG also says where the file is to be made, so it may be missing.
    text = _read(file, required=path is not None)
    table = _parse(file, text) if text.strip() else {}
    forced = _forced_aet(aet, environ)
    chosen = archive or environ.get("PYPX_ARCHIVE") or table.get("archive") or DEFAULT_ARCHIVE
    return Config(
        path=file,
        aet=check_ae_title(table.get("aet", DEFAULT_AE_TITLE)) if forced is None else forced,
        aet_forced=forced is not None,
        archive=_expand(chosen),
        layout=table.get("layout"),
        listen=Listen(**{**table.get("listen", {}), "allow": _allow(table)}),
        nodes={
            name: Node(name, **{**node, "address": Address.parse(node["address"])})
            for name, node in table.get("nodes", {}).items()
        },
    )


def _forced_aet(flag: str | None, environ: Mapping[str, str]) -> str | None:
    if flag is not None:
        return check_ae_title(flag)
    try:
        return check_ae_title(environ["PYPX_AET"]) if environ.get("PYPX_AET") else None
    except ConfigError as error:
        raise ConfigError(f"PYPX_AET: {error.message}", hint=error.hint) from None


def add_node(path: str, node: Node, *, timeout: float = EDIT_TIMEOUT) -> bool:
    """Write a node into the file, which is made if there is none.

    Args:
        path: The file.
        node: Its name must be new there.
        timeout: Seconds to wait for another process that edits the file.

    Returns:
        Whether comments of the file were lost; the old file is then kept as ``FILE.bak``.

    Raises:
        ConfigError: The name is taken or is none, or the file cannot be read or written.
    """

    def edit(table: dict[str, Any]) -> None:
        nodes = table.setdefault("nodes", {})
        if node.name in nodes:
            raise ConfigError(
                f"There is already a node {node.name!r} in {path}.",
                hint=f"Remove it first: px nodes remove {node.name}",
            )
        nodes[node.name] = _row(node)

    if not node.name or not all(c.isalnum() or c in "-_." for c in node.name):
        raise ConfigError(f"{node.name!r} is no name for a node.", hint=f"Take {_NODE_NAME}.")
    return _edit(path, edit, timeout)


def remove_node(path: str, name: str, *, timeout: float = EDIT_TIMEOUT) -> bool:
    """Take a node out of the file; arguments and result are those of :func:`add_node`.

    Raises:
        ConfigError: There is no such node, or the file cannot be read or written.
    """

    def edit(table: dict[str, Any]) -> None:
        if name not in table.get("nodes", {}):
            raise ConfigError(
                f"There is no node {name!r} in {path}.", hint="px nodes list shows them."
            )
        del table["nodes"][name]
        if not table["nodes"]:
            del table["nodes"]

    return _edit(path, edit, timeout)


def _row(node: Node) -> dict[str, str | int]:
    row: dict[str, str | int] = {"address": str(node.address)}
    if node.aet is not None:
        row["aet"] = node.aet
    if node.model != "study":
        row["model"] = node.model
    if node.associations != 2:
        row["associations"] = node.associations
    return row


def _expand(path: str) -> str:
    return os.path.expanduser(path)  # noqa: PTH111 - paths are text here, see above


def _read(file: str, *, required: bool) -> str:
    try:
        with open(file, encoding="utf-8") as stream:  # noqa: PTH123
            return stream.read()
    except FileNotFoundError:
        if required:
            raise ConfigError(
                f"There is no configuration file {file or '(the name is empty)'}.",
                hint="Check --config and PYPX_CONFIG; px nodes add makes the file.",
            ) from None
        return ""
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"{file} cannot be read: {reason}.") from None


def _parse(file: str, text: str) -> dict[str, Any]:
    """Read and check the text of a configuration file."""
    import tomllib

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{file} is no TOML: {error}.", hint='Texts need quotes: aet = "PYPX".'
        ) from None
    check = _Checker(file, text)
    check.table(table, _TOP, ())
    check.value(table, ("aet",), check_ae_title)
    listen = table.get("listen", {})
    check.table(listen, _LISTEN, ("listen",))
    check.value(listen, ("listen", "port"), _check_port)
    check.value(listen, ("listen", "allow"), _check_allow)
    for name, node in table.get("nodes", {}).items():
        where = ("nodes", name)
        if not isinstance(node, dict):
            check.fail(where, f"the node {name!r} must be a table", "Write [nodes.NAME].")
        check.table(node, _NODE, where)
        if "address" not in node:
            check.fail(where, f"the node {name!r} has no address", 'address = "AET@host:port"')
        if "@" in name:
            check.fail(where, f"{name!r} is no name for a node", f"Take {_NODE_NAME}.")
        check.value(node, (*where, "address"), Address.parse)
        check.value(node, (*where, "aet"), check_ae_title)
        check.value(node, (*where, "model"), _check_model)
        check.value(node, (*where, "associations"), _check_associations)
    return table


def _check_port(port: int) -> None:
    if not 1 <= port <= 65535:
        raise ConfigError(f"The port {port} is not between 1 and 65535.")


def _check_allow(rules: list[object]) -> None:
    if not all(isinstance(rule, str) for rule in rules):
        raise ConfigError("Each rule must be a text.", hint='allow = ["ORTHANC@10.1.2.0/24"]')
    if rules:
        from pypx.receiver.allow import AllowRule  # only a listener's file has rules

        for rule in rules:
            AllowRule.parse(str(rule))


def _check_model(model: str) -> None:
    if model not in MODELS:
        raise ConfigError(f"{model!r} is no query/retrieve model.", hint="Take study or patient.")


def _check_associations(number: int) -> None:
    if number < 1:
        raise ConfigError("A node needs at least 1 association.")


def _allow(table: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(table.get("listen", {}).get("allow", ()))


class _Checker:
    """Check tables, and say where in the file the mistake is."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._text = text

    def table(self, table: Mapping[str, Any], keys: Mapping[str, type], path: _Path) -> None:
        """Refuse unknown keys and wrong types."""
        for key, value in table.items():
            where = (*path, key)
            if key not in keys:
                self.fail(where, f"the key {'.'.join(where)!r} is unknown", _known(key, keys))
            wanted = keys[key]
            if not isinstance(value, wanted) or isinstance(value, bool):
                self.fail(where, f"{'.'.join(where)!r} must be {_TYPE_NAMES[wanted]}", "")

    def value(self, table: Mapping[str, Any], path: _Path, check: Callable[[Any], object]) -> None:
        """Let a function look at a value, and add the place to what it says."""
        if path[-1] not in table:
            return
        try:
            check(table[path[-1]])
        except ConfigError as error:
            self.fail(path, f"{'.'.join(path)!r}: {error.message.rstrip('.')}", error.hint)

    def fail(self, path: _Path, message: str, hint: str) -> NoReturn:
        """Raise the error with file and line."""
        line = _line_of(self._text, path)
        place = f"{self._file} line {line}" if line else self._file
        raise ConfigError(f"{place}: {message}.", hint=hint)


_Path = tuple[str, ...]


def _known(key: str, keys: Iterable[str]) -> str:
    from difflib import get_close_matches  # only a wrong key needs it

    near = get_close_matches(key, keys, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(keys)}."


def _line_of(text: str, path: _Path) -> int | None:
    """Find the line where a key is set, or else where its table begins.

    The TOML reader of the standard library tells no places, so the headers and the
    left sides of the lines are looked at one by one.
    """
    section: _Path = ()
    fallback = None
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            section = here = _keys_of(stripped)
        else:
            left, equals, _ = stripped.partition("=")
            if not equals:
                continue
            here = section + _keys_of(f"{left} = 0")
        if here[: len(path)] == path:
            return number
        if here and here == path[: len(here)]:
            fallback = number  # the table, which may have the key within its braces
    return fallback


def _keys_of(line: str) -> _Path:
    """Give the dotted key of one line of TOML."""
    import tomllib

    try:
        value: object = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()
    keys = []
    while isinstance(value, dict) and len(value) == 1:
        ((key, value),) = value.items()
        keys.append(key)
    return tuple(keys)


def _edit(path: str, edit: Callable[[dict[str, Any]], None], timeout: float) -> bool:
    """Change the table of a file under a lock, and replace the file when the new one is whole.

    Returns:
        Whether comments were lost; the old file is then kept with the ending ``.bak``.
    """

    import tomli_w

    file = os.path.realpath(path)  # a link to the file stays a link
    folder = os.path.dirname(file)  # noqa: PTH120
    try:
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        with _locked(folder, timeout):
            old = _read(file, required=False)
            table = _parse(file, old) if old.strip() else {}
            before = set(table.get("nodes", {}))
            edit(table)
            added = {
                name: row for name, row in table.get("nodes", {}).items() if name not in before
            }
            new = f"{old.rstrip()}\n\n{tomli_w.dumps({'nodes': added})}".lstrip()
            if not added or not _means(new, table):
                new = tomli_w.dumps(table)
            lost = "#" in old and not new.startswith(old.rstrip())
            if lost:
                _replace(f"{file}.bak", old)
            _replace(file, new)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror or error}.",
            hint="Take another file with --config, or ask for the right to write there.",
        ) from None
    return lost


def _means(text: str, table: Mapping[str, Any]) -> bool:
    """Whether the text, with something appended to it, is TOML for just this table."""
    import tomllib

    try:
        return tomllib.loads(text) == table
    except tomllib.TOMLDecodeError:
        return False


@contextmanager
def _locked(folder: str, timeout: float) -> Iterator[None]:
    """Keep other ``px nodes`` out: of two that edit at once, one change would be lost."""
    import fcntl

    folder_fd = os.open(folder, os.O_RDONLY)
    deadline = time.monotonic() + timeout
    try:
        while True:
            try:
                fcntl.flock(folder_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise ConfigError(
                        f"Another process has been editing in {folder} for {timeout:g} s.",
                        hint="Try again, or allow more time with --timeout.",
                    ) from None
                time.sleep(_LOCK_POLL)
            except OSError:
                break  # NFS may not lock folders; a lock is a comfort here, not a need
        yield
    finally:
        os.close(folder_fd)


def _replace(file: str, text: str) -> None:
    """Write a file so that it is the old one or the new one, whatever happens."""
    temporary = f"{file}.{os.getpid()}.part"
    try:
        with open(temporary, "w", encoding="utf-8") as stream:  # noqa: PTH123
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)  # noqa: PTH105
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
        raise
