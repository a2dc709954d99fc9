"""The PACS that upstream knows: its ``pacs.json``, and the ``institution_set`` of a PACS_QR.sh.

In: the text of a file. Out: a node, or what is wrong, for each name in it. A script is only read:
nothing of it is run, and what the shell would have to compute is not taken over.

``pacs.json`` has two shapes, ``{"services": {NAME: {"info": {…}}}}`` and ``{NAME: {…}}``; in both
``aec`` is what the PACS is called, and ``aet`` what it calls us. In a script there is one block a
name, with a variable for each of the four::

    NAME) G_AETITLE=…  G_QUERYHOST=…  G_QUERYPORT=…  G_CALLTITLE=…  ;;
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pypx.address import Address, check_ae_title
from pypx.config.settings import Node
from pypx.errors import ConfigError
from pypx.values import frozen

__all__ = ["Found", "parse_upstream"]

_KEYS = {
    "aec": ("aec",),
    "host": ("serverIP", "server_ip", "ip"),
    "port": ("serverPort", "server_port", "port"),
    "aet": ("aet",),
}
_VARIABLES = {
    "aec": ("G_CALLTITLE", "CALLTITLE", "AEC"),
    "host": ("G_QUERYHOST", "QUERYHOST", "PACSIP"),
    "port": ("G_QUERYPORT", "QUERYPORT", "PACSPORT"),
    "aet": ("G_AETITLE", "AETITLE", "AET"),
}
_FUNCTION = re.compile(r"^[ \t]*(?:function\s+)?institution_set\b[\s(){]*$", re.MULTILINE)
_END = re.compile(r"^\}", re.MULTILINE)
_BLOCK = re.compile(r"^[ \t]*\(?[ \t]*([^\s()#;=$`]+)[ \t]*\)(.*?);;", re.MULTILINE | re.DOTALL)
_ASSIGNMENT = re.compile(
    r"""(?:^|[\s;])([A-Za-z_]\w*)=("(?:[^"\\]|\\.)*"|'[^']*'|[^\s;]*)""", re.MULTILINE
)
_COMMENT = re.compile(r"(^|\s)#.*$", re.MULTILINE)


@frozen
class Found:
    """One PACS of a file.

    Attributes:
        name: What it is called there.
        node: It; None where that says too little.
        reason: What is wrong; empty where nothing is.
    """

    name: str
    node: Node | None
    reason: str = ""


def parse_upstream(text: str) -> list[Found]:
    """Find the PACS in a file of upstream.

    Raises:
        ConfigError: It is neither of the two, or names none.
    """
    try:
        document = json.loads(text)
    except ValueError:
        found = _of_script(text)
    else:
        found = _of_json(document)
    if not found:
        raise ConfigError(
            "No PACS is named in this file.",
            hint="It should be a pacs.json, or a PACS_QR.sh with institution_set.",
        )
    return found


def _of_json(document: Any) -> list[Found]:
    services = document.get("services", document) if isinstance(document, dict) else None
    if not isinstance(services, dict):
        raise ConfigError("The file is JSON, but has no object of PACS by their names.")
    return [_of_entry(str(name), entry) for name, entry in services.items()]


def _of_entry(name: str, entry: Any) -> Found:
    info = entry.get("info", entry) if isinstance(entry, dict) else None
    if not isinstance(info, dict):
        return Found(name, None, "It is no object.")
    texts = {key: str(value) for key, value in info.items() if isinstance(value, str | int)}
    return _found(name, {part: _first(texts, keys) for part, keys in _KEYS.items()})


def _of_script(text: str) -> list[Found]:
    function = _FUNCTION.search(text)
    if function is None:
        return []
    end = _END.search(text, function.end())
    body = _COMMENT.sub(r"\1", text[function.end() : end.start() if end else len(text)])
    usual = _assignments(_COMMENT.sub(r"\1", text[: function.start()]))
    found = []
    for names, block in _BLOCK.findall(body):
        values = usual | _assignments(block)
        parts = {part: _first(values, keys) for part, keys in _VARIABLES.items()}
        for name in names.split("|"):
            bare = name.strip("\"'")
            if bare and not set(bare) & set("*?["):  # what stands for any other
                found.append(_found(bare, parts))
    return found


def _assignments(text: str) -> dict[str, str]:
    return {name: _unquoted(value) for name, value in _ASSIGNMENT.findall(text)}


def _unquoted(value: str) -> str:
    if value[:1] == "'":
        return value[1:-1]
    if re.search(r"[$`]", value):
        return "$"  # no value that any of the four could have
    return re.sub(r"\\(.)", r"\1", value[1:-1] if value[:1] == '"' else value)


def _first(values: Mapping[str, str], keys: tuple[str, ...]) -> str:
    return next((values[key] for key in keys if values.get(key)), "")


def _found(name: str, parts: Mapping[str, str]) -> Found:
    computed = [part for part, value in parts.items() if value == "$"]
    if computed:
        return Found(name, None, f"Its {computed[0]} is computed by the script.")
    missing = [part for part in ("aec", "host") if not parts[part]]
    if missing:
        return Found(name, None, f"It has no {missing[0]}.")
    port = parts["port"]
    if port and not (port.isascii() and port.isdigit()):
        return Found(name, None, f"{port!r} is no port.")
    try:
        where = (parts["aec"], parts["host"], *((int(port),) if port else ()))
        aet = check_ae_title(parts["aet"]) if parts["aet"] else None
        return Found(name, Node(name, Address(*where), aet))
    except ConfigError as error:
        return Found(name, None, error.message)
