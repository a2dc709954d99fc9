"""What the keys of the configuration file are, and what their values may be.

In: the text of the file. Out: its tables, or an error that names file, line and key. Nothing
here makes values of it: ``reading`` does.
"""

from __future__ import annotations

from pypx.address import Address, check_ae_title
from pypx.audit.target import AuditTarget
from pypx.config.amounts import parse_endpoint, parse_size
from pypx.config.checker import Checker, Kind, numbered
from pypx.config.limits import LIMITS, Limit
from pypx.engine import check_engine
from pypx.errors import ConfigError
from pypx.modes import check_umask
from pypx.receiver.hook_settings import HookSettings
from pypx.secret import is_reference

TYPE_CHECKING = False  # as a name of our own, since importing ``typing`` takes 3 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["NODE_NAME", "parse"]

NODE_NAME = "letters, digits, '-', '_' and '.'"
_MODELS = ("study", "patient")
_LONGEST = 86_400  # seconds
_MOST_WORKERS = 64

_TEXT: Kind = (str, "text")
_INTEGER: Kind = (int, "a whole number")
_NUMBER: Kind = ((int, float), "a number")
_TEXT_OR_INTEGER: Kind = ((str, int), "a text or a whole number")
_TEXTS: Kind = (list, "a list of texts")
_TABLE_OR_TRUTH: Kind = ((dict, bool), "a table, true or false")
_TRUTH: Kind = (bool, "true or false")
_TABLE: Kind = (dict, "a table")
_TABLES: Kind = (list, "tables, each under [[hooks]]")


def _kind_of(limit: Limit) -> Kind:
    if limit.is_size:
        return _TEXT_OR_INTEGER
    return _NUMBER if limit.is_time else _INTEGER


# The keys of each table and what their values are.
_TOP = {
    "aet": _TEXT,
    "archive": _TEXT,
    "layout": _TEXT,
    "umask": _TEXT,
    "log_identifiers": _TRUTH,
    "audit": _TABLE,
    "maps": _TEXT,
    "info_files": _TRUTH,
    "listen": _TABLE,
    "nodes": _TABLE,
    "hooks": _TABLES,
    "engine": _TEXT,
    "dcmtk": _TABLE,
}
_LISTEN = {
    "host": _TEXT,
    "port": _INTEGER,
    "allow": _TEXTS,
    "settle": _NUMBER,
    "index_wait": _NUMBER,
    "min_free": _TEXT_OR_INTEGER,
    "workers": _INTEGER,
    "metrics": _TEXT_OR_INTEGER,
    "tls": _TABLE,
    "engine": _TEXT,
    "users": _TEXT,
} | {key: _kind_of(limit) for key, limit in LIMITS.items()}
_LISTEN_TLS = {
    "certificate": _TEXT,
    "key": _TEXT,
    "ca": _TEXT,
    "minimum": _TEXT,
    "passphrase": _TEXT,
}
_AUDIT = {"to": _TEXT, "ca": _TEXT}
_NODE = {
    "address": _TEXT,
    "aet": _TEXT,
    "model": _TEXT,
    "associations": _INTEGER,
    "tls": _TABLE_OR_TRUTH,
    "method": _TEXT,
    "match_limit": _INTEGER,
    "refused_levels": _TEXTS,
    "character_set": _TEXT,
    "engine": _TEXT,
    "identity": _TABLE,
}
_NODE_IDENTITY = {"type": _TEXT, "username": _TEXT, "secret": _TEXT, "confirm": _TRUTH}
_NODE_TLS = {
    "ca": _TEXT,
    "certificate": _TEXT,
    "key": _TEXT,
    "verify": _TRUTH,
    "name": _TEXT,
    "minimum": _TEXT,
    "passphrase": _TEXT,
}
_DCMTK = dict.fromkeys(("echoscu", "findscu", "movescu", "getscu", "storescu", "storescp"), _TEXT)
_HOOK = {
    "on": _TEXT,
    "name": _TEXT,
    "command": _TEXTS,
    "webhook": _TEXT,
    "headers": _TABLE,
    "timeout": _NUMBER,
}


def parse(file: str, text: str) -> dict[str, Any]:
    """Read and check the text of a configuration file.

    Raises:
        ConfigError: It is no TOML, or says something wrong; with file, line and key.
    """
    import tomllib

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{file} is no TOML: {error}.", hint='Texts need quotes: aet = "PYPX".'
        ) from None
    check = Checker(file, text)
    check.table(table, _TOP, ())
    check.value(table, ("aet",), check_ae_title)
    check.value(table, ("engine",), check_engine)
    check.table(table.get("dcmtk", {}), _DCMTK, ("dcmtk",))
    check.value(table, ("umask",), check_umask)
    audit = table.get("audit", {})
    check.table(audit, _AUDIT, ("audit",))
    check.value(audit, ("audit", "to"), AuditTarget.parse)
    listen = table.get("listen", {})
    check.table(listen, _LISTEN, ("listen",))
    check.value(listen, ("listen", "engine"), check_engine)
    check.value(listen, ("listen", "port"), _check_port)
    check.value(listen, ("listen", "allow"), _check_allow)
    check.value(listen, ("listen", "settle"), _check_seconds)
    check.value(listen, ("listen", "index_wait"), _check_seconds)
    check.value(listen, ("listen", "min_free"), parse_size)
    check.value(listen, ("listen", "workers"), _check_workers)
    check.value(listen, ("listen", "metrics"), parse_endpoint)
    for key, limit in LIMITS.items():
        check.value(listen, ("listen", key), limit.check)
    tls = listen.get("tls", {})
    check.table(tls, _LISTEN_TLS, ("listen", "tls"))
    check.value(tls, ("listen", "tls", "minimum"), _check_tls_version)
    check.value(tls, ("listen", "tls", "passphrase"), _check_passphrase)
    if "tls" in listen and "certificate" not in tls:
        hint = 'certificate = "FILE", with its key in the same file or as key = "FILE"'
        check.fail(("listen", "tls"), "TLS needs a certificate", hint)
    for name, node in table.get("nodes", {}).items():
        _check_node(check, name, node)
    _check_hooks(check, table.get("hooks", []))
    return table


def _check_node(check: Checker, name: str, node: Any) -> None:
    where = ("nodes", name)
    if not isinstance(node, dict):
        check.fail(where, f"the node {name!r} must be a table", "Write [nodes.NAME].")
    check.table(node, _NODE, where)
    if "address" not in node:
        check.fail(where, f"the node {name!r} has no address", 'address = "AET@host:port"')
    if "@" in name:
        check.fail(where, f"{name!r} is no name for a node", f"Take {NODE_NAME}.")
    check.value(node, (*where, "address"), Address.parse)
    check.value(node, (*where, "aet"), check_ae_title)
    check.value(node, (*where, "model"), _check_model)
    check.value(node, (*where, "associations"), _check_associations)
    check.value(node, (*where, "method"), _check_method)
    check.value(node, (*where, "match_limit"), _check_match_limit)
    check.value(node, (*where, "refused_levels"), _check_refused_levels)
    check.value(node, (*where, "character_set"), _check_character_set)
    check.value(node, (*where, "engine"), check_engine)
    if "identity" in node:
        from pypx.config.reading import identity  # few have it

        check.table(node["identity"], _NODE_IDENTITY, (*where, "identity"))
        check.value(node, (*where, "identity"), identity)
    tls = node.get("tls", {})
    if isinstance(tls, dict):
        check.table(tls, _NODE_TLS, (*where, "tls"))
        check.value(tls, (*where, "tls", "minimum"), _check_tls_version)
        check.value(tls, (*where, "tls", "passphrase"), _check_passphrase)
        if "key" in tls and "certificate" not in tls:
            check.fail((*where, "tls", "key"), "a key needs its certificate", "")


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
    if model not in _MODELS:
        raise ConfigError(f"{model!r} is no query/retrieve model.", hint="Take study or patient.")


def _check_tls_version(version: str) -> None:
    if version not in ("1.2", "1.3"):
        raise ConfigError(f"TLS {version} is not taken.", hint='Take "1.2" or "1.3".')


def _check_passphrase(text: str) -> None:
    if not is_reference(text):
        raise ConfigError(
            "A passphrase does not stand here, only where it is.",
            hint='passphrase = "file:/etc/pypx/passphrase", "env:NAME" or "keyring:SERVICE/USER"',
        )


def _check_associations(number: int) -> None:
    if number < 1:
        raise ConfigError("A node needs at least 1 association.")


def _check_method(method: str) -> None:
    if method not in ("move", "get"):
        raise ConfigError(f"{method!r} is no way to retrieve.", hint="Take move or get.")


def _check_match_limit(number: int) -> None:
    if number < 1:
        raise ConfigError("A limit is at least 1 match.", hint="Leave it out for none.")


def _check_refused_levels(levels: list[object]) -> None:
    if not all(level in ("series", "image") for level in levels):
        raise ConfigError("Queries can do without two levels.", hint='["series", "image"]')


def _check_character_set(term: str) -> None:
    from pypx.dicom.charset import is_known  # few nodes have one

    if not is_known(term):
        raise ConfigError(f"{term!r} is no character set of DICOM.", hint='Write "ISO_IR 192".')


def _check_workers(number: int) -> None:
    if not 1 <= number <= _MOST_WORKERS:
        raise ConfigError(f"{number} is no number of workers from 1 to {_MOST_WORKERS}.")


def _check_seconds(seconds: float) -> None:
    if not 0 <= seconds <= _LONGEST:
        raise ConfigError(f"{seconds:g} is no number of seconds from 0 to {_LONGEST}.")


def _check_hooks(check: Checker, hooks: list[Any]) -> None:
    names = set()
    for number, hook in enumerate(hooks, 1):
        where = (numbered("hooks", number),)
        if not isinstance(hook, dict):
            check.fail(where, f"hook {number} must be a table", "Write [[hooks]].")
        check.table(hook, _HOOK, where)
        check.value(hook, (*where, "on"), _check_on)
        check.value(hook, (*where, "name"), _check_hook_name)
        check.value(hook, (*where, "timeout"), _check_timeout)
        if ("command" in hook) == ("webhook" in hook):
            hint = 'command = ["program", "argument"] or webhook = "https://host/path"'
            check.fail(where, f"hook {number} needs either a command or a webhook", hint)
        check.value(hook, (*where, "command"), _check_command)
        check.value(hook, (*where, "webhook"), _check_webhook)
        if "headers" in hook and "command" in hook:
            check.fail((*where, "headers"), "only a webhook has headers", "")
        check.value(hook, (*where, "headers"), _check_headers)
        name = HookSettings.from_table(hook).name
        if name in names:
            hint = "Give each a name: what waits for a hook is kept under it."
            check.fail(where, f"two hooks have the name {name!r}", hint)
        names.add(name)


def _check_on(event: str) -> None:
    if event != "series":
        raise ConfigError(f"There is no event {event!r}.", hint='There is on = "series".')


def _check_hook_name(name: str) -> None:
    if not name or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
        raise ConfigError(f"{name!r} is no name for a hook.", hint=f"Take {NODE_NAME}.")
    if name.startswith("python-"):
        raise ConfigError("The names from python- are those of installed packages.")


def _check_timeout(seconds: float) -> None:
    if not 0 < seconds <= _LONGEST:
        raise ConfigError(f"{seconds:g} is no number of seconds above 0, up to {_LONGEST}.")


def _check_command(arguments: list[object]) -> None:
    if not arguments or not all(isinstance(one, str) and "\0" not in one for one in arguments):
        raise ConfigError(
            "A command is a list of texts, the program first.",
            hint='No shell reads it: command = ["/usr/local/bin/convert", "--fast"]',
        )
    if not arguments[0]:
        raise ConfigError("The program of the command is empty.")


def _check_webhook(url: str) -> None:
    scheme, _, rest = url.partition("://")
    if scheme not in ("http", "https") or not rest.partition("/")[0] or not url.isprintable():
        # The address may have a secret in it, and is not repeated.
        raise ConfigError("It is no address of a webhook.", hint="https://host/path")


def _check_headers(headers: dict[str, object]) -> None:
    for name, value in headers.items():
        if not name or not all(c.isascii() and (c.isalnum() or c in "-_") for c in name):
            raise ConfigError(f"{name!r} is no name of a header.")
        if not isinstance(value, str) or not value.isprintable():
            raise ConfigError(f"The header {name} must be a text of one line.")
