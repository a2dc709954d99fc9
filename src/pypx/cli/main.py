"""The entry points: ``px``, and ``px-echo``, ``px-find`` and so on.

In: ``sys.argv``. Out: an exit code. The version is answered here, before anything else
is imported.
"""

from __future__ import annotations

import gc
import sys

__all__ = ["echo", "find", "listen", "main", "move", "report", "status"]

_COLLECT_AFTER = 100_000  # new objects


def main() -> int:
    """Run ``px``."""
    return _run("px", None)


def echo() -> int:
    """Run ``px-echo``, which is ``px echo``."""
    return _run("px-echo", "echo")


def find() -> int:
    """Run ``px-find``, which is ``px find``."""
    return _run("px-find", "find")


def move() -> int:
    """Run ``px-move``, which is ``px move``."""
    return _run("px-move", "move")


def listen() -> int:
    """Run ``px-listen``, which is ``px listen``."""
    return _run("px-listen", "listen")


def report() -> int:
    """Run ``px-report``, which is upstream's, and ours under that name only."""
    return _run("px-report", "report")


def status() -> int:
    """Run ``px-status``, which is ``px status``."""
    return _run("px-status", "status")


def _run(program: str, command: str | None) -> int:
    arguments = sys.argv[1:]
    if arguments == ["--version"] and _say_version():
        return 0
    if command == "listen" or (command is None and arguments[:1] == ["listen"]):
        from pypx.cli.inetd import leave_socket

        leave_socket()
    # Importing makes some 60,000 objects, none of them garbage: looking for garbage among
    # them, now and once more at the end of the process, would take 15 of our 90 ms.
    gc.set_threshold(_COLLECT_AFTER, 10, 10)
    try:
        from pypx.cli.run import run

        code = run(program, command, arguments)
    except KeyboardInterrupt:  # before there was a handler to say more
        code = 130
    gc.freeze()
    return code


def _say_version() -> bool:
    """Print the version; False where stdout does not take it, which the general way explains."""
    from pypx.version import __version__

    try:
        sys.stdout.write(f"pypx {__version__}\n")
        sys.stdout.flush()
    except (OSError, AttributeError):
        return False
    return True
