"""Changing the configuration file: nodes are added and removed.

In: a path, and a node or a name. Out: a new file in the place of the old one, when it is whole.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from pypx.config.checks import NODE_NAME, parse
from pypx.config.reading import read_text
from pypx.config.settings import Node
from pypx.errors import ConfigError
from pypx.values import fields

TYPE_CHECKING = False  # as a name of our own, since importing ``typing`` takes 3 ms
if TYPE_CHECKING:
    from typing import Any

    from pypx.net.identity import UserIdentity
    from pypx.net.tls_settings import ClientTls

__all__ = [
    "EDIT_TIMEOUT",
    "add_node",
    "change_node",
    "import_nodes",
    "is_node_name",
    "remove_node",
]

EDIT_TIMEOUT = 10.0
_LOCK_POLL = 0.02


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

    if not is_node_name(node.name):
        raise ConfigError(f"{node.name!r} is no name for a node.", hint=f"Take {NODE_NAME}.")
    return _edit(path, edit, timeout)


def is_node_name(name: str) -> bool:
    """Say whether a node may be called so."""
    return bool(name) and all(c.isalnum() or c in "-_." for c in name)


def import_nodes(path: str, nodes: Iterable[Node], *, timeout: float = EDIT_TIMEOUT) -> bool:
    """Write nodes into the file, also over others; arguments and result as :func:`add_node`.

    Of a node that is there only the address and our AE title change.

    Raises:
        ConfigError: The file cannot be read or written.
    """

    def edit(table: dict[str, Any]) -> None:
        known = table.setdefault("nodes", {})
        for node in nodes:
            row = known.setdefault(node.name, {})
            row.pop("aet", None)
            row.update(_row(node))

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


def change_node(
    path: str, name: str, values: Mapping[str, Any], *, timeout: float = EDIT_TIMEOUT
) -> bool:
    """Change keys of a node; other arguments and the result are those of :func:`add_node`.

    Args:
        path: The file.
        name: The node.
        values: What the keys are to be; None takes one out.
        timeout: As there.

    Raises:
        ConfigError: There is no such node, or the file cannot be read or written.
    """

    def edit(table: dict[str, Any]) -> None:
        row = table.get("nodes", {}).get(name)
        if row is None:
            raise ConfigError(
                f"There is no node {name!r} in {path}.", hint="px nodes list shows them."
            )
        for key, value in values.items():
            row.pop(key, None)
            if value is not None:
                row[key] = value

    def rewrite(text: str) -> str:
        return _with_keys(text, name, values)

    return _edit(path, edit, timeout, rewrite)


def _with_keys(text: str, name: str, values: Mapping[str, Any]) -> str:
    """Write keys below the header of a node, in the place of those that are there."""
    import json  # writes texts, numbers and lists of texts as TOML has them, on one line

    lines = text.splitlines()
    headers = (f"[nodes.{name}]", f'[nodes."{name}"]')
    found = (at for at, line in enumerate(lines) if line.partition("#")[0].strip() in headers)
    start = next(found, len(lines)) + 1
    tables = (at for at in range(start, len(lines)) if lines[at].lstrip().startswith("["))
    end = next(tables, len(lines))
    kept = [line for line in lines[start:end] if line.partition("=")[0].strip() not in values]
    new = [f"{key} = {json.dumps(value)}" for key, value in values.items() if value is not None]
    return "\n".join([*lines[:start], *new, *kept, *lines[end:], ""])


def _row(node: Node) -> dict[str, Any]:
    row: dict[str, Any] = {"address": str(node.address)}
    if node.aet is not None:
        row["aet"] = node.aet
    if node.model != "study":
        row["model"] = node.model
    if node.associations != 2:
        row["associations"] = node.associations
    if node.tls is not None:
        row["tls"] = _tls(node.tls)
    if node.identity is not None:
        row["identity"] = _identity(node.identity)
    for key in ("method", "match_limit", "refused_levels", "character_set", "engine"):
        if value := getattr(node, key):
            row[key] = list(value) if isinstance(value, tuple) else value
    return row


def _tls(tls: ClientTls) -> bool | dict[str, str | bool]:
    given = {name: getattr(tls, name) for name in fields(tls)}
    usual = type(tls)()
    said = {name: value for name, value in given.items() if value != getattr(usual, name)}
    return said or True


def _identity(identity: UserIdentity) -> dict[str, str | bool]:
    given: dict[str, str | bool] = {
        "type": identity.kind,
        "username": identity.username,
        "secret": identity.secret,
        "confirm": identity.confirm,
    }
    return {key: value for key, value in given.items() if value}


def _edit(
    path: str,
    edit: Callable[[dict[str, Any]], None],
    timeout: float,
    rewrite: Callable[[str], str] | None = None,
) -> bool:
    """Change the table of a file under a lock, and replace the file when the new one is whole.

    Args:
        path: The file.
        edit: Changes the table.
        timeout: Seconds to wait for another process that edits the file.
        rewrite: Changes the text to the same effect, comments and all; where it does not, or
            there is none, the file is written anew.

    Returns:
        Whether comments were lost; the old file is then kept with the ending ``.bak``.
    """

    import tomli_w

    file = os.path.realpath(path)  # a link to the file stays a link
    folder = os.path.dirname(file)  # noqa: PTH120
    try:
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        with _locked(folder, timeout):
            old = read_text(file, required=False)
            table = parse(file, old) if old.strip() else {}
            before = set(table.get("nodes", {}))
            edit(table)
            added = {
                name: row for name, row in table.get("nodes", {}).items() if name not in before
            }
            new = f"{old.rstrip()}\n\n{tomli_w.dumps({'nodes': added})}".lstrip()
            if rewrite is not None:
                new = rewrite(old)
            is_edited = bool(added or rewrite) and _means(new, table)
            if not is_edited:
                new = tomli_w.dumps(table)
            lost = "#" in old and not is_edited
            if lost:
                _replace(f"{file}.bak", old, file)
            _replace(file, new, file)
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


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _replace(file: str, text: str, original: str) -> None:
    """Write a file so that it is the old one or the new one, whatever happens.

    It may have secrets: a new one is for its owner only, others keep the mode of the original.
    """
    temporary = f"{file}.{os.getpid()}.part"
    try:
        with open(temporary, "w", encoding="utf-8", opener=_open_private) as stream:
            with suppress(OSError):  # there is none yet, or it is another user's
                os.fchmod(stream.fileno(), stat.S_IMODE(os.stat(original).st_mode))  # noqa: PTH116
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)  # noqa: PTH105
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
        raise
