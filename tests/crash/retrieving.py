"""``px retrieve`` that is killed again and again: ``python -m tests.crash.retrieving``.

In: lines on stdin, ``start`` and the arguments as JSON, then ``kill`` or ``wait``. Out: a line on
stdout when each is done: ``started``, ``killed`` or ``ended`` and the exit code. The process loads
everything once; each run is a fork of it, so that it is killed while it works and not while it
loads.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import pypx.cli.reception
import pypx.cli.retrieve
import pypx.cli.retrieving  # noqa: F401
from pypx.archive import archive as archive_module
from pypx.cli.main import main as px


def _start(arguments: list[str]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        # As in a process of its own: what is older was left by one that is dead.
        archive_module._STARTED_NS = time.time_ns()
        os.dup2(2, 1)
        sys.argv = ["px", *arguments]
        code = px()
        sys.stderr.flush()
        os._exit(code)
    finally:
        os._exit(99)  # never back into the loop of the parent


def _kill(child: int) -> str:
    found, status = os.waitpid(child, os.WNOHANG)
    if found:
        return f"ended {os.waitstatus_to_exitcode(status)}"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "killed"


def main() -> None:
    child = 0
    try:
        for line in sys.stdin:
            order, _, arguments = line.strip().partition(" ")
            if order == "start":
                child, said = _start(json.loads(arguments)), "started"
            elif order == "kill":
                said, child = _kill(child), 0
            else:
                said = f"ended {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}"
                child = 0
            sys.stdout.write(f"{said}\n")
            sys.stdout.flush()
    finally:
        if child:
            _kill(child)


if __name__ == "__main__":
    main()
