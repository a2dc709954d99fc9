"""A web server in this process that answers as it is told, and keeps what it got."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["HookServer", "hook_server"]


class HookServer:
    """What was posted, and what is answered: the answers in turn, then 204.

    Attributes:
        answers: A status each, or a status with headers.
        got: Path, headers and document of each request.
        changed: Notified with each request.
    """

    def __init__(self, port: int) -> None:
        self.answers: list[Any] = []
        self.got: list[tuple[str, dict[str, str], Any]] = []
        self.changed = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer.changed:
                    outer.got.append((self.path, dict(self.headers), json.loads(body)))
                    answer = outer.answers.pop(0) if outer.answers else 204
                    outer.changed.notify_all()
                status, headers = answer if isinstance(answer, tuple) else (answer, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_for(self, number: int) -> None:
        """Wait until so many requests came."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.got) >= number, 20), self.got

    def __enter__(self) -> HookServer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def hook_server(port: int = 0) -> Iterator[HookServer]:
    with HookServer(port) as server:
        yield server
