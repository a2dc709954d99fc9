"""Who may read the files that pypx makes.

In: a umask. Out: the modes of files and folders. Not here: who makes them.

The modes are those of the process, as its umask is, but they do not come from there: a service
manager or a login shell often has 022, and what is kept here names patients.
"""

from __future__ import annotations

from pypx.errors import ConfigError

__all__ = ["DEFAULT_UMASK", "check_umask", "file_mode", "folder_mode", "set_umask"]

DEFAULT_UMASK = "027"
_OWNER = 0o700

_in_force = [int(DEFAULT_UMASK, 8)]


def check_umask(text: str) -> int:
    """Read a umask: three octal digits, which leave the owner all rights.

    Raises:
        ConfigError: It is none.
    """
    digits = text.removeprefix("0o")
    if not 1 <= len(digits) <= 4 or set(digits) - set("01234567") or int(digits, 8) > 0o777:
        raise ConfigError(
            f"{text!r} is no umask.", hint='umask = "027" lets the group read, "077" nobody.'
        )
    mask = int(digits, 8)
    if mask & _OWNER:
        raise ConfigError(f"The umask {text!r} would keep pypx from its own files.")
    return mask


def set_umask(text: str) -> None:
    """Set who may read what this process makes from now on.

    Raises:
        ConfigError: It is no umask.
    """
    _in_force[0] = check_umask(text)


def file_mode() -> int:
    """Give the mode of a file, 0640 by default."""
    return 0o666 & ~_in_force[0]


def folder_mode() -> int:
    """Give the mode of a folder, 0750 by default."""
    return 0o777 & ~_in_force[0]
