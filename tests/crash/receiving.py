"""A receiver that is killed again and again: ``python -m tests.crash.receiving``.

In: lines on stdin, ``start ROOT PORT DURABILITY WAY`` and ``kill``. Out: a line on stdout when
each is done. The process loads everything once; each receiver is a fork of it that opens the
archive for itself, so that hundreds of starts take seconds. At the end of stdin all is killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from pypx.archive import Archive
from pypx.archive import archive as archive_module
from pypx.receiver.receiver import Receiver
from tests.archive.helpers import other_way


def _receive(root: str, port: int, durability: Any, way: str) -> None:
    # As in a process of its own: what is older was left by one that is dead.
    archive_module._STARTED_NS = time.time_ns()
    with (
        other_way(way),
        Archive(Path(root), durability=durability) as archive,
        Receiver(archive, port=port),
    ):
        while True:
            signal.pause()


def _start(root: str, port: str, durability: str, way: str) -> int:
    child = os.fork()
    if child:
        return child
    try:
        _receive(root, int(port), durability, way)
    finally:
        sys.stderr.flush()
        os._exit(1)  # never back into the loop of the parent


def _kill(child: int) -> bool:
    """Say whether it lived until now."""
    lived = os.waitpid(child, os.WNOHANG) == (0, 0)
    if lived:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return lived


def main() -> None:
    child = 0
    try:
        for line in sys.stdin:
            match line.split():
                case ["start", *arguments]:
                    child = _start(*arguments)
                    sys.stdout.write("started\n")
                case ["kill"]:
                    lived, child = _kill(child), 0
                    sys.stdout.write("killed\n" if lived else "had ended\n")
            sys.stdout.flush()
    finally:
        if child:
            _kill(child)


if __name__ == "__main__":
    main()
