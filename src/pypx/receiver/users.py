"""Users of our listener: a file of names and hashed passwords.

In: a path, names, passwords. Out: a changed file, or whether a password is that of a name. A line
is ``NAME:HASH``, with a hash of Argon2id (RFC 9106); one that begins with ``#`` is a comment. The
extra ``pypx[users]`` is imported only here. Not here: who has to be a user, and how many passwords
are looked at once.
"""

from __future__ import annotations

import os
import secrets
import unicodedata
from contextlib import suppress
from typing import TYPE_CHECKING

from pypx.errors import ConfigError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

__all__ = ["Users", "add_user", "check_name", "read_users", "remove_user"]

_LONGEST_NAME = 64  # characters
_LONGEST_FILE = 16 << 20  # bytes


def check_name(name: str) -> str:
    """Give a name in the form in which names are compared.

    Raises:
        ConfigError: It is none: empty, too long, or with characters that separate.
    """
    name = unicodedata.normalize("NFC", name)
    is_fine = 0 < len(name) <= _LONGEST_NAME and name.isprintable() and name[0] not in "#*"
    if not is_fine or any(character.isspace() or character == ":" for character in name):
        raise ConfigError(
            f"{name[:_LONGEST_NAME]!r} is no name for a user.",
            hint=f"At most {_LONGEST_NAME} characters without spaces and ':', not # or * first.",
        )
    return name


def read_users(path: str) -> dict[str, str]:
    """Give the hashes by name.

    Raises:
        ConfigError: The file cannot be read, or a line is none; no hash is in the sentence.
    """
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            text = file.read(_LONGEST_FILE)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(
            f"The users in {path} cannot be read: {reason}.",
            hint="px users add NAME --file FILE makes the file.",
        ) from None
    users = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, code = line.partition(":")
        if not name or not code.startswith("$argon2id$"):
            raise ConfigError(
                f"Line {number} of {path} is no NAME:HASH.", hint="px users add writes them."
            )
        users[name] = code.strip()
    return users


def add_user(path: str, name: str, password: str, *, replace: bool = False) -> None:
    """Write a user into the file, which is made if there is none, for its owner only.

    Raises:
        ConfigError: The user is there and is not to be replaced, or the file cannot be written.
    """
    name = check_name(name)
    if not password:
        raise ConfigError("A password cannot be empty.")
    lines = _lines(path, required=False)
    others = [line for line in lines if not _is_of(line, name)]
    if len(others) < len(lines) and not replace:
        raise ConfigError(
            f"There is already a user {name!r} in {path}.",
            hint="--replace sets another password.",
        )
    _write(path, [*others, f"{name}:{_hasher().hash(password)}"])


def remove_user(path: str, name: str) -> None:
    """Take a user out of the file.

    Raises:
        ConfigError: There is none of that name, or the file cannot be written.
    """
    name = check_name(name)
    lines = _lines(path, required=True)
    others = [line for line in lines if not _is_of(line, name)]
    if len(others) == len(lines):
        raise ConfigError(f"There is no user {name!r} in {path}.", hint="px users list has them.")
    _write(path, others)


class Users:
    """The users of a file, which is read for each question: a change holds at once.

    Args:
        path: The file.

    Raises:
        ConfigError: It cannot be read, or the extra is not installed.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._nobody = ""
        self._hasher = _hasher()
        read_users(path)

    def verify(self, name: str, password: bytes) -> bool:
        """Whether it is the password of the user; as slow for a user who is not there.

        Raises:
            ConfigError: The file can no longer be read.
        """
        from argon2.exceptions import InvalidHashError, VerificationError

        users = read_users(self._path)
        code = users.get(unicodedata.normalize("NFC", name))
        try:
            is_right = self._hasher.verify(code or self._hash_of_nobody(users), password)
        except InvalidHashError:
            raise ConfigError(
                f"The hash of a user in {self._path} is none.", hint="px users add --replace"
            ) from None
        except VerificationError:
            return False
        return is_right and code is not None

    def _hash_of_nobody(self, users: dict[str, str]) -> str:
        """Give a hash that no password has, made with as much effort as those of the file."""
        from argon2 import PasswordHasher, extract_parameters
        from argon2.exceptions import InvalidHashError

        like = next(iter(users.values()), "")
        effort = like.rpartition("$")[0].rpartition("$")[0]
        if not self._nobody or (effort and not self._nobody.startswith(f"{effort}$")):
            hasher = self._hasher
            with suppress(InvalidHashError):
                hasher = PasswordHasher.from_parameters(extract_parameters(like))
            self._nobody = hasher.hash(secrets.token_bytes())
        return self._nobody


def _hasher() -> PasswordHasher:
    try:
        from argon2 import PasswordHasher
    except ImportError:
        raise ConfigError(
            "Users with passwords need Argon2, which is not installed.",
            hint="pip install 'pypx[users]'",
        ) from None
    return PasswordHasher()


def _is_of(line: str, name: str) -> bool:
    return line.partition(":")[0] == name


def _lines(path: str, *, required: bool) -> list[str]:
    if not required and not os.path.exists(path):  # noqa: PTH110
        return []
    read_users(path)  # a file of something else stays as it is
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        return file.read().splitlines()


def _write(path: str, lines: list[str]) -> None:
    """Write the file so that it is the old one or the new one, whatever happens."""
    file = os.path.realpath(path)
    temporary = f"{file}.{os.getpid()}.part"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with suppress(OSError):  # there is none yet, or it is another user's
                found = os.stat(file)  # noqa: PTH116
                os.fchmod(fd, found.st_mode & 0o777)
                os.fchown(fd, found.st_uid, found.st_gid)
            os.write(fd, "".join(f"{line}\n" for line in lines).encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, file)  # noqa: PTH105
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}.") from None
