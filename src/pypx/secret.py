"""Secrets that a configuration names instead of having them.

In: ``env:NAME``, ``file:PATH`` or ``keyring:SERVICE/USER``. Out: the secret, when it is needed.
Not here: what it is for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from pypx.errors import ConfigError

__all__ = ["is_reference", "resolve"]

_LONGEST = 1 << 16  # bytes


def is_reference(text: str) -> bool:
    """Whether a text names a secret, and is none itself."""
    return text.startswith(("env:", "file:", "keyring:"))


def resolve(text: str, purpose: str, environ: Mapping[str, str] = os.environ) -> str:
    """Give the secret that a text names; a text that names none is the secret.

    Args:
        text: ``env:NAME``, ``file:PATH``, ``keyring:SERVICE/USER``, or the secret itself.
        purpose: What it is for, for sentences: ``The hook report``.
        environ: The environment.

    Raises:
        ConfigError: It is not to be had, or is no text of one line; the sentence does not have it.
    """
    kind, _, name = text.partition(":")
    if not is_reference(text):
        return text
    match kind:
        case "env":
            found = environ.get(name)
            where = f"the environment variable {name}"
        case "file":
            found = _file(name, purpose)
            where = f"the file {name}"
        case _:
            found = _keyring(name, purpose)
            where = f"the keyring entry {name}"
    if found is None:
        raise ConfigError(f"{purpose} needs {where}, which is not set.")
    if not found or not found.isprintable():
        raise ConfigError(f"{purpose} needs {where}, which is empty or no text of one line.")
    return found


def _file(path: str, purpose: str) -> str:
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:  # noqa: PTH111, PTH123
            return file.read(_LONGEST).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(
            f"{purpose} needs the file {path}, which cannot be read: {reason}."
        ) from None


def _keyring(name: str, purpose: str) -> str | None:
    service, slash, user = name.rpartition("/")
    if not slash or not service or not user:
        raise ConfigError(f"{purpose} needs a keyring entry.", hint="keyring:SERVICE/USER")
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        raise ConfigError(
            f"{purpose} needs the keyring, which is not installed.",
            hint="pip install 'pypx[keyring]'",
        ) from None
    try:
        found: str | None = keyring.get_password(service, user)
    except KeyringError as error:
        raise ConfigError(
            f"{purpose} needs the keyring, which cannot be opened: {type(error).__name__}."
        ) from None
    return found
