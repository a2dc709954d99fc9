"""DCMTK's programs: where they are, and which version that is.

In: paths of the configuration. Out: a path for each program, or an error that names the package.
Not here: running them for what they are made for.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pypx.errors import ConfigError

__all__ = ["PROGRAMS", "Programs"]

PROGRAMS = ("echoscu", "findscu", "movescu", "getscu", "storescu", "storescp")
"""What may be named in ``[dcmtk]`` of the configuration."""

_OLDEST = (3, 6, 4)
_ASK = 20.0  # seconds for a program to say its version
_VERSION = re.compile(r"\$dcmtk: (\w+) v(\d+)\.(\d+)\.(\d+)")
_BESIDE = ("dcmdump", "dcmqridx")


class Programs:
    """The programs of one installation.

    Args:
        paths: Program to path, where it is not to be looked for.
    """

    def __init__(self, paths: Mapping[str, str] | None = None) -> None:
        self._paths = dict(paths or {})
        self._found: dict[str, str] = {}

    def path(self, program: str) -> str:
        """Give the path of a program, once it was seen to be DCMTK's.

        Raises:
            ConfigError: It is missing, is another program, or is too old.
        """
        if program not in self._found:
            path = self._find(program)
            said = _run(path, "--version")
            self._check(program, path, said)
            self._found[program] = path
        return self._found[program]

    def version(self, program: str) -> str:
        """Give the version of a program, for example ``3.6.7``.

        Raises:
            ConfigError: As :meth:`path`.
        """
        found = _VERSION.search(_run(self.path(program), "--version"))
        assert found is not None  # path() has looked
        return ".".join(found.groups()[1:])

    def speaks_tls(self, program: str) -> bool:
        """Say whether a program can speak TLS, as it is built.

        Raises:
            ConfigError: As :meth:`path`.
        """
        return "--enable-tls" in _run(self.path(program), "--help")

    def _find(self, program: str) -> str:
        named = self._paths.get(program)
        if named is not None:
            if os.access(named, os.X_OK) and Path(named).is_file():
                return named
            raise ConfigError(
                f"There is no program {named}, which [dcmtk] of the configuration names.",
                hint=f"Correct {program} there, or take it out: it is looked for then.",
            )
        # pynetdicom installs programs of the same names; those beside dcmdump are DCMTK's.
        for neighbour in _BESIDE:
            if beside := shutil.which(neighbour):
                path = Path(beside).with_name(program)
                if path.is_file():
                    return str(path)
        found = shutil.which(program)
        if found is None:
            raise ConfigError(
                f"DCMTK's {program} is not installed, and --engine dcmtk needs it.",
                hint="Install the package dcmtk (Debian and Ubuntu: apt install dcmtk; macOS: brew "
                f'install dcmtk), or say where it is: {program} = "/path" under [dcmtk].',
            )
        return found

    @staticmethod
    def _check(program: str, path: str, said: str) -> None:
        found = _VERSION.search(said)
        if found is None or found[1] != program:
            raise ConfigError(
                f"{path} is not DCMTK's {program}.",
                hint="Other packages have programs of that name, pynetdicom for one: say where "
                f'DCMTK\'s is, with {program} = "/path" under [dcmtk] of the configuration.',
            )
        version = tuple(map(int, found.groups()[1:]))
        if version < _OLDEST:
            raise ConfigError(
                f"{path} is DCMTK {'.'.join(found.groups()[1:])}, which is too old.",
                hint=f"--engine dcmtk needs {'.'.join(map(str, _OLDEST))} or newer.",
            )


@functools.lru_cache(32)
def _run(path: str, option: str) -> str:
    """Ask a program about itself.

    Raises:
        ConfigError: It does not run.
    """
    try:
        done = subprocess.run(
            [path, option],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_ASK,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or "it does not end"
        raise ConfigError(f"{path} cannot be run: {reason}.") from None
    return done.stdout.decode("utf-8", "replace")
