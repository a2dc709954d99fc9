"""A small inetd: it accepts connections, and starts a program for each with it as 0, 1 and 2."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

__all__ = ["SmallInetd", "px_listen"]

_WAIT = 60.0


def px_listen(folder: Path, home: Path) -> Path:
    """Write ``px-listen`` as a program with a name of its own, as an installation has it."""
    path = folder / "px-listen"
    code = "import sys; from pypx.cli.main import listen; sys.exit(listen())"
    lines = [
        "#!/bin/sh",
        f"export HOME='{home}' PYTHONPATH='{os.pathsep.join(sys.path)}'",
        "unset XDG_CONFIG_HOME PYPX_CONFIG PYPX_ARCHIVE PYPX_AET",
        f"""exec '{sys.executable}' -c '{code}' "$@" """,
    ]
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)
    return path


class SmallInetd:
    """Serves one port until it is closed; a context manager.

    Args:
        program: What is started for each connection, with its arguments.
        stderr: Where its stderr goes; into the connection, as with inetd, if there is none.

    Attributes:
        port: Of 127.0.0.1.
        started: The processes, in their order.
    """

    def __init__(self, *program: object, stderr: Path | None = None) -> None:
        self._program = [str(word) for word in program]
        self._stderr = stderr
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.started: list[subprocess.Popen[bytes]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> SmallInetd:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(_WAIT)
        for process in self.started:
            process.kill()
            process.wait()

    def ended(self) -> list[int]:
        """Wait for all processes; give their exit codes."""
        return [process.wait(_WAIT) for process in self.started]

    def _run(self) -> None:
        while True:
            try:
                taken, _ = self._socket.accept()
            except OSError:
                return
            with taken:
                stderr = taken if self._stderr is None else self._stderr.open("ab")
                self.started.append(
                    subprocess.Popen(self._program, stdin=taken, stdout=taken, stderr=stderr)
                )
                stderr.close()
