"""Where in a TOML file a mistake is.

In: the text, what was read from it, and what each key should be. Out: an error with file,
line and key. What the keys of pypx are does not belong here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pypx.errors import ConfigError

TYPE_CHECKING = False  # as a name of our own, since importing ``typing`` takes 3 ms
if TYPE_CHECKING:
    from typing import Any, NoReturn

__all__ = ["Checker", "Kind", "numbered"]

Kind = tuple["type | tuple[type, ...]", str]
"""What a value has to be, and how that is said."""

_Path = tuple[str, ...]


def numbered(key: str, number: int) -> str:
    """Give the part of a path that names one of several tables, ``[[key]]``, from 1."""
    return f"{key}[{number}]"


class Checker:
    """Check tables, and say where in the file the mistake is."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._text = text

    def table(self, table: Mapping[str, Any], keys: Mapping[str, Kind], path: _Path) -> None:
        """Refuse unknown keys and wrong types."""
        for key, value in table.items():
            where = (*path, key)
            if key not in keys:
                self.fail(where, f"the key {'.'.join(where)!r} is unknown", _known(key, keys))
            types, name = keys[key]
            # In Python true is a number, in TOML it is none.
            taken = types if isinstance(types, tuple) else (types,)
            if not isinstance(value, types) or (isinstance(value, bool) and bool not in taken):
                self.fail(where, f"{'.'.join(where)!r} must be {name}", "")

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
    numbers: dict[str, int] = {}
    whole = tuple(key.partition("[")[0] for key in path)  # hooks = [{…}] stands for hooks[1], …
    fallback = None
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            keys = _keys_of(stripped)
            if keys == path:
                return number
            if stripped.startswith("[[") and keys:
                numbers[keys[0]] = numbers.get(keys[0], 0) + 1
            if keys and keys[0] in numbers:
                keys = (numbered(keys[0], numbers[keys[0]]), *keys[1:])
            section = here = keys
        else:
            left, equals, _ = stripped.partition("=")
            if not equals:
                continue
            here = section + _keys_of(f"{left} = 0")
        if here[: len(path)] == path:
            return number
        if here and here in (path[: len(here)], whole[: len(here)]):
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
