"""Where the configuration is, and what file, environment and flags say together.

In: a path, the environment, and what was given on the command line. Out: the configuration
in force. What the text of the file means is looked at in ``checks``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from pypx.address import DEFAULT_AE_TITLE, Address, check_ae_title
from pypx.config.settings import DEFAULT_ARCHIVE, Config, Listen, Node
from pypx.errors import ConfigError
from pypx.modes import DEFAULT_UMASK

TYPE_CHECKING = False  # as a name of our own, since importing ``typing`` takes 3 ms
if TYPE_CHECKING:
    from typing import Any

    from pypx.audit.target import AuditTarget
    from pypx.net.identity import UserIdentity
    from pypx.net.tls_settings import ServerTls
    from pypx.receiver.hook_settings import HookSettings

__all__ = ["config_path", "identity", "load", "read_text"]


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
    text = read_text(file, required=path is not None)
    table = _table(file, text)
    forced = _forced_aet(aet, environ)
    chosen = archive or environ.get("PYPX_ARCHIVE") or table.get("archive") or DEFAULT_ARCHIVE
    return Config(
        path=file,
        aet=check_ae_title(table.get("aet", DEFAULT_AE_TITLE)) if forced is None else forced,
        aet_forced=forced is not None,
        archive=_expand(chosen),
        layout=table.get("layout"),
        maps=_expand(table["maps"]) if table.get("maps") else None,
        info_files=table.get("info_files"),
        listen=_listen(table["listen"]) if "listen" in table else Listen(),
        nodes={name: _node(name, node) for name, node in table.get("nodes", {}).items()},
        hooks=_hooks(table["hooks"]) if "hooks" in table else (),
        engine=table.get("engine", "native"),
        dcmtk={name: _expand(path) for name, path in table.get("dcmtk", {}).items()},
        umask=table.get("umask", DEFAULT_UMASK),
        log_identifiers=table.get("log_identifiers", False),
        audit=_audit(table.get("audit", {})),
    )


def _table(file: str, text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    from pypx.config.checks import parse  # with no file to read, an echo pays nothing for TOML

    return parse(file, text)


def _node(name: str, table: dict[str, Any]) -> Node:
    values = {**table, "address": Address.parse(table["address"])}
    if "refused_levels" in values:
        values["refused_levels"] = tuple(values["refused_levels"])
    if "identity" in values:
        values["identity"] = identity(values["identity"])
    tls = values.pop("tls", False)
    if tls is False:
        return Node(name, **values)
    from pypx.net.tls_settings import ClientTls  # few have it

    given = {} if tls is True else dict(tls)
    return Node(name, **values, tls=ClientTls(**given | _paths(given)))


def identity(table: dict[str, Any]) -> UserIdentity:
    """Make the user identity of a table; its type follows from its keys where it is not given.

    Raises:
        ConfigError: Its keys do not go together.
    """
    from pypx.net.identity import UserIdentity  # few have it

    values = dict(table)
    usual = "password" if "secret" in values else "username"
    found = UserIdentity(values.pop("type", usual), **values)
    found.check()
    return found


def _listen(table: dict[str, Any]) -> Listen:
    from pypx.config.limits import LIMITS, read_limits  # only who has a file needs it

    others = {key: value for key, value in table.items() if key not in (*LIMITS, "allow", "tls")}
    tls = _server_tls(table["tls"]) if "tls" in table else None
    allow = tuple(table.get("allow", ()))
    if "users" in others:
        others["users"] = _expand(others["users"])
    return Listen(**others, allow=allow, limits=read_limits(table), tls=tls)


def _server_tls(table: dict[str, Any]) -> ServerTls:
    from pypx.net.tls_settings import ServerTls  # few have it

    return ServerTls(**{**table, **_paths(table)})


def _paths(table: dict[str, Any]) -> dict[str, str]:
    return {key: _expand(table[key]) for key in ("ca", "certificate", "key") if key in table}


def _audit(table: dict[str, Any]) -> AuditTarget | None:
    if "to" not in table:
        return None
    from pypx.audit.target import AuditTarget  # few have it

    ca = table.get("ca")
    return AuditTarget.parse(table["to"], ca=_expand(ca) if ca else None)


def _hooks(tables: list[dict[str, Any]]) -> tuple[HookSettings, ...]:
    from pypx.receiver.hook_settings import HookSettings  # only who has hooks needs it

    return tuple(HookSettings.from_table(table) for table in tables)


def _forced_aet(flag: str | None, environ: Mapping[str, str]) -> str | None:
    if flag is not None:
        return check_ae_title(flag)
    try:
        return check_ae_title(environ["PYPX_AET"]) if environ.get("PYPX_AET") else None
    except ConfigError as error:
        raise ConfigError(f"PYPX_AET: {error.message}", hint=error.hint) from None


def _expand(path: str) -> str:
    return os.path.expanduser(path)  # noqa: PTH111 - paths are text here, see above


def read_text(file: str, *, required: bool) -> str:
    """Read a file; one that is missing and not required is empty.

    Raises:
        ConfigError: It cannot be read.
    """
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
