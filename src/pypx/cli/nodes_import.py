"""``px nodes import``: the PACS of upstream's files, written into the configuration.

In: a file. Out: a changed configuration, and what became of each PACS that the file has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pypx.cli.options import Invocation
from pypx.cli.output import Output, visible
from pypx.cli.rows import Row, rows_for
from pypx.cli.table import Column, draw
from pypx.config import Node, config_path
from pypx.config.edit import EDIT_TIMEOUT, import_nodes, is_node_name
from pypx.config.upstream import Found, parse_upstream
from pypx.errors import ConfigError

__all__ = ["import_file"]

_COLUMNS = ("name", "address", "aet", "outcome", "reason")
_DONE = ("added", "replaced", "same")


def import_file(invocation: Invocation, file: str, *, replace: bool, dry_run: bool) -> int:
    """Take the PACS of a file over; give the exit code.

    Args:
        invocation: Of the command.
        file: A ``pacs.json`` or a PACS_QR.sh.
        replace: Also those whose name another PACS has in the configuration.
        dry_run: Only say what would be done.

    Raises:
        ConfigError: The file or the configuration cannot be used.
    """
    found = parse_upstream(_read(file))
    known = invocation.config.nodes
    rows = [_row(one, known.get(one.name), replace=replace) for one in found]
    _refuse_twins(rows)
    wanted = [
        one.node
        for one, row in zip(found, rows, strict=True)
        if one.node is not None and row["outcome"] in ("added", "replaced")
    ]
    out = invocation.out
    path = config_path(invocation.config_file)
    lost = False
    if wanted and not dry_run:
        lost = import_nodes(path, wanted, timeout=invocation.timeout or EDIT_TIMEOUT)
    shown = rows_for(out, _COLUMNS, _show)
    for row in rows:
        shown.add(row)
    shown.end(None)
    count = sum(row["outcome"] in ("added", "replaced") for row in rows)
    out.say(f"{count} of {len(rows)} {'would be' if dry_run else 'are'} written to {path}.")
    if any(row["outcome"] == "kept" for row in rows):
        out.say("Names that are configured stay as they are; --replace takes those of the file.")
    if lost:
        out.warn(f"The comments of {path} were lost; the file as it was is {path}.bak.")
    return 0 if all(row["outcome"] in _DONE for row in rows) else 1


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or error}.") from None


def _row(found: Found, known: Node | None, *, replace: bool) -> Row:
    node = found.node
    row: dict[str, Any] = {
        "name": found.name,
        "address": None if node is None else str(node.address),
        "aet": None if node is None else node.aet,
        "outcome": "refused",
        "reason": found.reason or None,
    }
    if node is None:
        return row
    if not is_node_name(node.name):
        row["reason"] = f"{node.name!r} is no name for a node."
    elif known is None:
        row["outcome"] = "added"
    elif (known.address, known.aet) == (node.address, node.aet):
        row["outcome"] = "same"
    else:
        row["outcome"] = "replaced" if replace else "kept"
        row["reason"] = f"It is {known.address} in the configuration."
    return row


def _refuse_twins(rows: list[Row]) -> None:
    """Of two blocks with one name a script takes the first, and so does this."""
    seen: set[str] = set()
    for row in rows:
        if row["outcome"] != "refused" and row["name"] in seen:
            row.update(outcome="refused", reason="The file has this name before.")
        seen.add(row["name"])


def _show(out: Output, rows: list[Row]) -> None:
    titles = ("Name", "Address", "Our AE title", "Outcome", "Reason")
    columns = [
        Column(title, [visible(str(row[key] or "")) for row in rows])
        for title, key in zip(titles, _COLUMNS, strict=True)
        if key != "reason" or any(row[key] for row in rows)
    ]
    out.write(draw(columns, colour=out.colour)[0] + "\n")
