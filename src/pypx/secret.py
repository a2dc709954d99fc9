"""Secrets that a configuration names instead of having them.

In: ``env:NAME``, ``file:PATH`` or ``keyring:SERVICE/USER``. Out: the secret, when it is needed.
Not here: what it is for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from pypx.errors import ConfigError

__all__ = ["is_reference", "resolve", "resolve_bytes"]

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
    if not is_reference(text):
        return text
    data, where = _found(text, purpose, environ)
    try:
        found = data.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{purpose} needs {where}, which is not UTF-8.") from None
    found = found.rstrip("\r\n")
    if not found or not found.isprintable():
        raise ConfigError(f"{purpose} needs {where}, which is empty or no text of one line.")
    return found


def resolve_bytes(text: str, purpose: str, environ: Mapping[str, str] = os.environ) -> bytes:
    """Give the secret that a text names as bytes: a file as it is, others in UTF-8.

    Args:
        text: ``env:NAME``, ``file:PATH`` or ``keyring:SERVICE/USER``.
        purpose: What it is for, for sentences.
        environ: The environment.

    Raises:
        ConfigError: It is not to be had; the sentence does not have it.
    """
    data, where = _found(text, purpose, environ)
    if not data:
        raise ConfigError(f"{purpose} needs {where}, which is empty.")
    return data


def _found(text: str, purpose: str, environ: Mapping[str, str]) -> tuple[bytes, str]:
    """Give a secret, and the words for where it is."""
    kind, _, name = text.partition(":")
    found: bytes | str | None
    match kind:
        case "env":
            found, where = environ.get(name), f"the environment variable {name}"
        case "file":
            found, where = _file(name, purpose), f"the file {name}"
        case _:
            found, where = _keyring(name, purpose), f"the keyring entry {name}"
    if found is None:
        raise ConfigError(f"{purpose} needs {where}, which is not set.")
    # What is no text in the environment came as surrogates, and becomes what it was.
    return (found.encode(errors="surrogateescape") if isinstance(found, str) else found), where


def _file(path: str, purpose: str) -> bytes:
    try:
        with open(os.path.expanduser(path), "rb") as file:  # noqa: PTH111, PTH123
            data = file.read(_LONGEST + 1)
    except OSError as error:
        raise ConfigError(
            f"{purpose} needs the file {path}, which cannot be read: {error.strerror or error}."
        ) from None
    if len(data) > _LONGEST:
        raise ConfigError(f"{purpose} needs the file {path}, which is longer than a secret is.")
    return data


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
