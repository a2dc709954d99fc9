"""Metrics: what a scrape says is what was received."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.client import Client
from pypx.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from pypx.dimse.messages import CStoreRQ
from pypx.errors import (
    AssociationAbortedError,
    AssociationRejectedError,
    ConfigError,
    ConnectionLostError,
    NetworkError,
    PeerTimeoutError,
    PypxError,
    RemoteProtocolError,
)
from pypx.receiver.allow import AllowRule
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived, Totals
from pypx.receiver.metrics import Metrics, MetricsServer, Numbers
from pypx.receiver.receiver import Receiver
from tests.objects import CT_IMAGE, data_set

CONTEXTS = [(CT_IMAGE, (EXPLICIT_VR_LITTLE_ENDIAN,))]
Scrape = dict[tuple[str, str], float]


class State:
    """What the functions of ``Numbers`` give."""

    free = 5e9
    waiting = 0
    workers = 1
    restarts = 0
    queued = 0
    failed = 0
    trouble = ""

    def numbers(self) -> Numbers:
        return Numbers(
            free_bytes=lambda: self.free,
            index_waiting=lambda: self.waiting,
            workers=lambda: self.workers,
            restarts=lambda: self.restarts,
            hooks_queued=lambda: self.queued,
            hooks_failed=lambda: self.failed,
        )


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def metrics(state: State) -> Metrics:
    return Metrics(state.numbers())


@pytest.fixture
def server(metrics: Metrics, state: State) -> Iterator[MetricsServer]:
    with MetricsServer("127.0.0.1", 0, metrics, lambda: state.trouble) as one:
        yield one


def get(server: MetricsServer, path: str, accept: str = "") -> tuple[int, str, str]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}{path}", headers={"Accept": accept} if accept else {}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode(), response.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers["Content-Type"]


def scrape(server: MetricsServer) -> Scrape:
    """Give each sample by its name and the value of its label, if it has one."""
    status, text, _ = get(server, "/metrics")
    assert status == 200
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_scrape_equals_what_was_sent(
    tmp_path: Path, metrics: Metrics, server: MetricsServer
) -> None:
    rules = [AllowRule.parse("GOOD@127.0.0.1")]
    with Archive(tmp_path, durability="none") as archive:
        with Receiver(archive, port=0, observer=metrics, allow=rules) as receiver:
            address = Address("PYPX", "127.0.0.1", receiver.port)
            sizes = 0
            with Client(address, calling_ae_title="GOOD") as client:
                connection = client.connect(CONTEXTS)
                for uid in ("1.2.3.1", "1.2.3.2", "1.2.3.1"):
                    connection.send(1, CStoreRQ(1, CT_IMAGE, uid), data_set(SOPInstanceUID=uid))
                    assert connection.receive().message.status == 0
                connection.send(1, CStoreRQ(1, CT_IMAGE, "1.2.3.9"), b"no data set")
                assert connection.receive().message.status == 0xC000
                assert scrape(server)["pypx_associations_open", ""] == 1
                connection.release()
            with pytest.raises(AssociationRejectedError):
                Client(address, calling_ae_title="BAD").connect(CONTEXTS)
        sizes = sum(located.path.stat().st_size for located in archive.instances())
    found = scrape(server)
    assert found["pypx_instances_total", "new"] == 2
    assert found["pypx_instances_total", "duplicate"] == 1
    assert found["pypx_instances_total", "superseded"] == 0
    assert found["pypx_instances_total", "failed"] == 1
    assert found["pypx_store_failures_total", "0xC000"] == 1
    assert found["pypx_received_bytes_total", ""] == sizes + sizes / 2
    assert found["pypx_associations_total", "released"] == 1
    assert found["pypx_associations_total", "rejected"] == 1
    assert found["pypx_associations_open", ""] == 0
    assert found["pypx_store_seconds_count", ""] == 4
    assert found["pypx_store_seconds_sum", ""] > 0


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "released"),
        (AssociationAbortedError("…", source=0, reason=0), "aborted"),
        (ConnectionLostError("…"), "lost"),
        (PeerTimeoutError("…", phase="idle"), "timeout"),
        (RemoteProtocolError("…"), "protocol_error"),
        (NetworkError("The listener is stopping."), "failed"),
    ],
)
def test_how_an_association_ended(
    metrics: Metrics, server: MetricsServer, error: PypxError | None, outcome: str
) -> None:
    metrics.association_began(AssociationBegan("1-1", "host", "A", "B"))
    metrics.association_ended(AssociationSummary("1-1", "host", "A", "B", Totals(), 1.0, error))
    found = scrape(server)
    outcomes = {label: n for (name, label), n in found.items() if name == "pypx_associations_total"}
    assert {label for label, number in outcomes.items() if number} == {outcome}
    assert found["pypx_associations_open", ""] == 0


def test_no_label_tells_whom_it_was_about(metrics: Metrics, server: MetricsServer) -> None:
    metrics.association_began(AssociationBegan("77-1", "192.0.2.7", "SECRET", "SECRET"))
    metrics.instance_received(
        InstanceReceived("77-1", 0, 0.1, 10, "new", "9.9.1", "9.9.2", "9.9.3", "/SECRET/x.dcm")
    )
    _, text, _ = get(server, "/metrics")
    assert not [word for word in ("SECRET", "192.0.2", "9.9.", "77-1") if word in text]


def test_the_numbers_of_the_moment(state: State, server: MetricsServer) -> None:
    state.free, state.waiting, state.workers, state.restarts = 1e6, 3, 2, 4
    state.queued, state.failed = 5, 6
    found = scrape(server)
    assert found["pypx_archive_free_bytes", ""] == 1e6
    assert found["pypx_index_waiting", ""] == 3
    assert found["pypx_workers", ""] == 2
    assert found["pypx_worker_restarts_total", ""] == 4
    assert found["pypx_hooks_queued", ""] == 5
    assert found["pypx_hooks_failed", ""] == 6


def test_a_disk_that_cannot_be_asked_costs_only_its_number(metrics: Metrics) -> None:
    def fail() -> float:
        raise OSError(5, "Input/output error")

    numbers = State().numbers()
    broken = Metrics(Numbers(fail, *(getattr(numbers, name) for name in NAMES)))
    with MetricsServer("127.0.0.1", 0, broken, str) as server:
        found = scrape(server)
    assert found["pypx_archive_free_bytes", ""] != found["pypx_archive_free_bytes", ""]  # NaN
    assert found["pypx_workers", ""] == 1


NAMES = ("index_waiting", "workers", "restarts", "hooks_queued", "hooks_failed")


def test_health(state: State, server: MetricsServer) -> None:
    assert get(server, "/healthz")[:2] == (200, "ok\n")
    state.trouble = "The disk is full."
    assert get(server, "/healthz")[:2] == (503, "The disk is full.\n")


def test_other_paths_and_formats(server: MetricsServer) -> None:
    assert get(server, "/")[0] == 404
    assert get(server, "/metrics?name=x")[0] == 200
    _, text, kind = get(server, "/metrics", "application/openmetrics-text; version=1.0.0")
    assert "openmetrics" in kind
    assert text.endswith("# EOF\n")


def test_a_port_in_use_is_an_error(server: MetricsServer, metrics: Metrics) -> None:
    with pytest.raises(ConfigError, match="Cannot serve metrics") as caught:
        MetricsServer("127.0.0.1", server.port, metrics, str)
    assert "--metrics" in caught.value.hint


def test_without_the_package_it_is_said_how_to_get_it() -> None:
    code = (
        "import sys\nsys.modules['prometheus_client'] = None\n"
        "from pypx.errors import ConfigError\n"
        "try:\n    import pypx.receiver.metrics\n"
        "except ConfigError as error:\n    print(error.hint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'pypx[metrics]'" in done.stdout


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("kind", ["length", "gzip", "chunked"])
def test_no_body_is_read(server: MetricsServer, method: str, kind: str) -> None:
    """Neither one that is announced with 4 GiB, nor one that would grow."""
    headers = {
        "length": "Content-Length: 4294967295",
        "gzip": "Content-Encoding: gzip\r\nContent-Length: 100",
        "chunked": "Transfer-Encoding: chunked",
    }[kind]
    with socket.create_connection(("127.0.0.1", server.port), 10) as peer:
        peer.sendall(f"{method} /healthz HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n\x1f".encode())
        assert peer.recv(12) == (b"HTTP/1.0 200" if method == "GET" else b"HTTP/1.0 501")
    assert get(server, "/healthz")[0] == 200


def test_paths_name_no_files(server: MetricsServer) -> None:
    for path in ("/../../etc/passwd", "/%2e%2e/etc/passwd", "//etc/passwd", "/metrics/../x"):
        assert get(server, path)[0] == 404
