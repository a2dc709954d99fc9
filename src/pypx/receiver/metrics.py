"""What a receiver does, as Prometheus metrics over HTTP; and whether it can go on.

In: the events of a receiver, and functions that give the numbers of this moment. Out: ``/metrics``
and ``/healthz``. No label says who or what was sent: neither patients nor AE titles, of which
there may be any number. The only place that knows ``prometheus-client``.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from pypx.errors import ConfigError
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived
from pypx.values import frozen

try:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector
except ImportError:
    raise ConfigError(
        "Metrics need the package prometheus-client, which is not installed.",
        hint="Install it: pip install 'pypx[metrics]'",
    ) from None

__all__ = ["Metrics", "MetricsServer", "Numbers"]

# C-STOREs take from less than a millisecond (small, no fsync) to minutes (a 2 GiB object).
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_READ_TIMEOUT = 10.0  # seconds for a request to arrive
_LOOK_EVERY = 0.1  # seconds between looks at whether to stop

# How an association ended, by the kind of its error.
_OUTCOMES = {
    "association-aborted": "aborted",
    "connection-lost": "lost",
    "timeout": "timeout",
    "limit": "limit",
    "remote-protocol": "protocol_error",
}


@frozen
class Numbers:
    """Where the numbers of this moment come from; each function may be called from any thread.

    Attributes:
        free_bytes: What the disk of the archive has left.
        index_waiting: Stored instances that wait for the index.
        workers: Processes that receive.
        restarts: How often one of them was started again.
        hooks_queued: Deliveries of hooks that wait.
        hooks_failed: Deliveries of hooks that were given up.
    """

    free_bytes: Callable[[], float]
    index_waiting: Callable[[], float]
    workers: Callable[[], float]
    restarts: Callable[[], float]
    hooks_queued: Callable[[], float]
    hooks_failed: Callable[[], float]


class Metrics:
    """An observer that counts.

    Args:
        numbers: What is asked when somebody looks.
    """

    def __init__(self, numbers: Numbers) -> None:
        registry = self.registry = CollectorRegistry()
        self._open = Gauge(
            "pypx_associations_open", "Associations that are open.", registry=registry
        )
        self._associations = Counter(
            "pypx_associations",
            "Associations that ended, by how.",
            ["outcome"],
            registry=registry,
        )
        self._instances = Counter(
            "pypx_instances",
            "C-STOREs by what became of them: new, duplicate, superseded or failed.",
            ["outcome"],
            registry=registry,
        )
        self._bytes = Counter(
            "pypx_received_bytes", "Bytes of the files that were stored.", registry=registry
        )
        self._failures = Counter(
            "pypx_store_failures",
            "C-STOREs that were answered with a failure, by status.",
            ["status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "pypx_store_seconds",
            "Seconds from a C-STORE request until its answer was known.",
            buckets=_SECONDS,
            registry=registry,
        )
        for outcome in ("released", "rejected", "failed", *_OUTCOMES.values()):
            self._associations.labels(outcome)
        for outcome in ("new", "duplicate", "superseded", "failed"):
            self._instances.labels(outcome)
        registry.register(_Collector(numbers))

    def association_began(self, event: AssociationBegan) -> None:
        """Count an association that was accepted."""
        self._open.inc()

    def instance_received(self, event: InstanceReceived) -> None:
        """Count one C-STORE."""
        self._instances.labels(event.outcome or "failed").inc()
        self._bytes.inc(event.bytes)
        self._seconds.observe(event.seconds)
        if not event.is_stored:
            self._failures.labels(f"0x{event.status:04X}").inc()

    def association_ended(self, event: AssociationSummary) -> None:
        """Count an association that is over."""
        if event.association_id:
            self._open.dec()
        self._associations.labels(_outcome(event)).inc()


def _outcome(event: AssociationSummary) -> str:
    if not event.association_id:
        return "rejected"
    if event.error is None:
        return "released"
    return _OUTCOMES.get(event.error.kind, "failed")


class _Collector(Collector):
    """Asks for the numbers of the moment."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def collect(self) -> Iterator[Metric]:
        numbers = self._numbers
        for name, text, function in (
            ("pypx_archive_free_bytes", "Bytes left on the disk.", numbers.free_bytes),
            ("pypx_index_waiting", "Instances that wait for the index.", numbers.index_waiting),
            ("pypx_workers", "Processes that receive.", numbers.workers),
            ("pypx_hooks_queued", "Deliveries of hooks that wait.", numbers.hooks_queued),
            ("pypx_hooks_failed", "Deliveries that were given up.", numbers.hooks_failed),
        ):
            yield GaugeMetricFamily(name, text, value=_number(function))
        text = "Processes that died and were started again."
        yield CounterMetricFamily("pypx_worker_restarts", text, value=_number(numbers.restarts))


def _number(function: Callable[[], float]) -> float:
    """Ask for a number; a disk that cannot be asked must not cost the others."""
    try:
        return function()
    except OSError:
        return float("nan")


class MetricsServer:
    """Serve ``/metrics`` and ``/healthz`` on a thread of its own; a context manager.

    Args:
        host: The address to bind.
        port: 0 takes a free one.
        metrics: What is shown.
        trouble: Why nothing can be received; empty when all is well.

    Attributes:
        host: What is bound.
        port: The port that is bound.

    Raises:
        ConfigError: The address cannot be bound.
    """

    def __init__(self, host: str, port: int, metrics: Metrics, trouble: Callable[[], str]) -> None:
        try:
            self._server = _Server(host, port, partial(_Handler, metrics, trouble))
        except OSError as error:
            raise ConfigError(
                f"Cannot serve metrics on {host} port {port}: {error.strerror or error}.",
                hint="Take another port with --metrics PORT or --metrics HOST:PORT.",
            ) from None
        self.host = host
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_LOOK_EVERY,), name="px-metrics", daemon=True
        )

    def __enter__(self) -> MetricsServer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingMixIn, TCPServer):
    # Not HTTPServer: it looks up the name of the host, which can take seconds.
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, host: str, port: int, handler: Callable[..., _Handler]) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        super().__init__((host, port), handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: whoever asked has gone, and asks again."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _READ_TIMEOUT

    def __init__(self, metrics: Metrics, trouble: Callable[[], str], *connection: Any) -> None:
        self._metrics = metrics
        self._trouble = trouble
        super().__init__(*connection)  # answers, too

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/metrics":
                encode, kind = choose_encoder(self.headers.get("Accept", ""))
                self._answer(200, encode(self._metrics.registry), kind)
            case "/healthz":
                trouble = self._trouble()
                self._answer(503 if trouble else 200, f"{trouble or 'ok'}\n".encode())
            case _:
                self._answer(404, b"There are /metrics and /healthz.\n")

    def _answer(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a scrape every few seconds is no news."""
