"""Several receiver processes on one port: nothing acknowledged is lost, whichever of them dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.archive.layout import DEFAULT_LAYOUT
from pypx.client.client import Client
from pypx.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from pypx.dimse.messages import CStoreRQ, CStoreRSP
from pypx.errors import (
    ArchiveError,
    AssociationRejectedError,
    ConfigError,
    PypxError,
)
from pypx.net.connection import Connection, Timeouts
from pypx.net.limits import AcceptorLimits
from pypx.net.server import can_share_port
from pypx.receiver.allow import AllowRule
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived
from pypx.receiver.receiver import Receiver
from pypx.receiver.relay import Task
from pypx.receiver.workers import Workers
from tests.objects import CT_IMAGE, data_set

pytestmark = pytest.mark.skipif(not can_share_port(), reason="no port is shared here")

WAIT = 30.0
CONTEXTS = [(CT_IMAGE, (EXPLICIT_VR_LITTLE_ENDIAN,))]
TIMEOUTS = Timeouts(connect=5, association=10, response=10, release=2)


class Heard:
    """Notes down what the workers tell, and waits for it."""

    def __init__(self) -> None:
        self.began: list[AssociationBegan] = []
        self.received: list[InstanceReceived] = []
        self.summaries: list[AssociationSummary] = []
        self.notes: list[str] = []
        self.changed = threading.Condition()

    def association_began(self, event: AssociationBegan) -> None:
        with self.changed:
            self.began.append(event)
            self.changed.notify_all()

    def instance_received(self, event: InstanceReceived) -> None:
        with self.changed:
            self.received.append(event)
            self.changed.notify_all()

    def association_ended(self, event: AssociationSummary) -> None:
        with self.changed:
            self.summaries.append(event)
            self.changed.notify_all()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, WAIT)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Archive(tmp_path / "archive").close()
    return tmp_path / "archive"


def make(root: Path, heard: Heard, number: int = 2, **changes: Any) -> Workers:
    """Make workers, which are not started yet; the changes are those of their task."""
    return Workers(
        Task(**{"root": str(root), "layout": DEFAULT_LAYOUT, **changes}),
        number,
        observer=heard,
        on_note=heard.notes.append,
        pause=0.05,
    )


Start = Callable[..., Workers]


@pytest.fixture
def start(root: Path, heard: Heard) -> Iterator[Start]:
    started = []

    def call(number: int = 2, **changes: Any) -> Workers:
        workers = make(root, heard, number, **changes)
        started.append(workers)
        workers.start()
        return workers

    yield call
    for workers in started:
        if not workers.stopping.is_set():
            workers.stop(0)


def connect(workers: Workers, title: str = "TESTS") -> Connection:
    address = Address("PYPX", workers.host, workers.port)
    return Client(address, calling_ae_title=title, timeouts=TIMEOUTS).connect(CONTEXTS)


def store(connection: Connection, uid: str, mover: str | None = None, **changes: object) -> int:
    sent = data_set(SOPInstanceUID=uid, **changes)  # type: ignore[arg-type]
    connection.send(1, CStoreRQ(1, CT_IMAGE, uid, 0, mover, 20_001 if mover else None), sent)
    response = connection.receive().message
    assert isinstance(response, CStoreRSP)
    return response.status


def connect_to_each(workers: Workers, heard: Heard) -> dict[int, Connection]:
    """Associate until every worker has an association; give one of each, by process ID."""
    found: dict[int, Connection] = {}
    spare = []
    for _ in range(200):
        before = len(heard.began)
        connection = connect(workers)
        heard.wait_for(lambda before=before: len(heard.began) > before)  # type: ignore[misc]
        pid = int(heard.began[-1].association_id.partition("-")[0])
        if pid in found:
            spare.append(connection)
        found.setdefault(pid, connection)
        if set(found) == set(workers.processes):
            break
    for connection in spare:
        connection.release()
    assert set(found) == set(workers.processes)
    return found


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.dcm") if ".pypx" not in path.parts)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def has_begun(processes: list[int]) -> bool:
    """Whether one of the processes has begun a file: it has read the request for it."""
    links = (link for pid in processes for link in Path(f"/proc/{pid}/fd").iterdir())
    return any("/.pypx/incoming/" in str(link.readlink()) for link in links if link.is_symlink())


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what no event tells: the end of a process that is not our child."""
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_all_workers_receive_into_one_archive(start: Start, heard: Heard, root: Path) -> None:
    workers = start(2)
    assert len(workers.processes) == 2
    connections = connect_to_each(workers, heard)
    for number, connection in enumerate(connections.values(), 1):
        assert store(connection, f"1.2.3.{number}", f"MOVER{number}") == 0
        connection.release()
    heard.wait_for(lambda: len(heard.summaries) == len(heard.began))
    workers.stop()
    assert workers.totals.instances == 2
    assert {event.sop_instance_uid for event in heard.received} == {"1.2.3.1", "1.2.3.2"}
    assert len({event.association_id for event in heard.received}) == 2
    assert {event.move_originator_ae_title for event in heard.received} == {"MOVER1", "MOVER2"}
    assert {event.move_originator_message_id for event in heard.received} == {20_001}
    assert sum(summary.totals.instances for summary in heard.summaries) == 2
    assert len(files(root)) == 2
    assert [path for path in map(Path, (event.path for event in heard.received)) if path.is_file()]
    with Archive(root) as archive:
        assert archive.notes == []  # every worker took its mark away
        assert archive.check(checksums=True).ok


def test_a_stop_tells_of_all_and_ends_all(start: Start, heard: Heard) -> None:
    workers = start(2)
    processes = workers.processes
    connection = connect(workers)
    assert store(connection, "1.2.3.1") == 0
    stopper = threading.Thread(target=workers.stop, args=(5,))
    stopper.start()
    with pytest.raises(PypxError, match="abort"):
        connection.receive()  # and then the connection is closed: nobody waits for that
    stopper.join(WAIT)
    assert not any(map(is_alive, processes))
    assert [summary.totals.instances for summary in heard.summaries] == [1]
    assert heard.summaries[0].error is not None
    assert "stopping" in heard.summaries[0].error.message
    with pytest.raises(PypxError):
        connect(workers)


def test_an_instance_under_way_is_finished_within_the_grace(
    start: Start, heard: Heard, root: Path
) -> None:
    workers = start(2)
    connection = connect(workers)
    sent = data_set(SOPInstanceUID="1.2.3.1")
    connection.send(1, CStoreRQ(1, CT_IMAGE, "1.2.3.1"))
    connection.send_data_set(1, sent[:100], is_last=False)
    wait_until(lambda: has_begun(workers.processes))
    stopper = threading.Thread(target=workers.stop, args=(WAIT,))
    stopper.start()
    assert workers.stopping.wait(WAIT)
    connection.send_data_set(1, sent[100:], is_last=True)
    response = connection.receive().message
    assert isinstance(response, CStoreRSP)
    assert response.status == 0
    with pytest.raises(PypxError, match="abort"):
        connection.receive()
    stopper.join(WAIT)
    assert not stopper.is_alive()
    assert len(files(root)) == 1


def test_the_port_is_ours_alone(start: Start, root: Path, tmp_path: Path) -> None:
    workers = start(2)
    for shared in (False, True):
        with (
            Archive(tmp_path / "other") as other,
            pytest.raises(ConfigError, match="in use"),
        ):
            if shared:
                task = Task(root=str(root), layout=DEFAULT_LAYOUT, port=workers.port)
                Workers(task, 2, observer=Heard(), on_note=print)
            else:
                Receiver(other, port=workers.port)


def test_a_port_that_another_program_has_is_an_error(start: Start) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        with pytest.raises(ConfigError, match="in use"):
            start(2, port=sock.getsockname()[1])


def test_workers_that_cannot_receive_say_why(start: Start, root: Path) -> None:
    (root / ".pypx" / "incoming").rmdir()
    (root / ".pypx" / "incoming").write_text("a file in the place of the folder")
    with pytest.raises(ArchiveError):
        start(2)


def test_others_reach_it_only_by_a_rule(start: Start) -> None:
    with pytest.raises(ConfigError, match="from anybody"):
        start(2, host="0.0.0.0")


def test_rules_change_in_all_workers(start: Start, heard: Heard) -> None:
    workers = start(2, allow=(AllowRule.parse("OLD@127.0.0.1"),))
    for title, other in (("OLD", "NEW"), ("NEW", "OLD")):
        if title == "NEW":
            workers.configure(allow=[AllowRule.parse("NEW@127.0.0.1")], min_free=0)
            # Each worker reads its orders in its own time.
            wait_until(lambda: not any(_is_accepted(workers, "OLD") for _ in range(8)))
        for _ in range(8):
            connect(workers, title).release()
            with pytest.raises(AssociationRejectedError):
                connect(workers, other)


def _is_accepted(workers: Workers, title: str) -> bool:
    try:
        connect(workers, title).release()
    except AssociationRejectedError:
        return False
    return True


def test_less_space_is_refused_when_that_is_configured(start: Start) -> None:
    workers = start(1)
    connection = connect(workers)
    assert store(connection, "1.2.3.1") == 0
    workers.configure(allow=(), min_free=1 << 60)
    wait_until(lambda: store(connection, "1.2.3.2") == 0xA700)


def test_the_limit_of_associations_holds_over_all_workers(start: Start, heard: Heard) -> None:
    workers = start(2, limits=AcceptorLimits(max_associations=6))
    connections = [connect(workers) for _ in range(6)]
    with pytest.raises(AssociationRejectedError) as caught:
        connect(workers)
    assert (caught.value.result, caught.value.source, caught.value.reason) == (2, 3, 2)
    connections.pop().release()
    heard.wait_for(lambda: sum(bool(one.association_id) for one in heard.summaries) == 1)
    connections.append(connect(workers))  # a seat that was given back is free for every worker
    for connection in connections:
        connection.release()


def test_a_killed_worker_costs_its_own_associations_only(
    start: Start, heard: Heard, root: Path
) -> None:
    workers = start(2)
    connections = connect_to_each(workers, heard)
    (killed, lost_one), (_, kept) = connections.items()
    assert store(lost_one, "1.2.3.1") == 0
    heard.wait_for(lambda: len(heard.received) == 1)
    os.kill(killed, signal.SIGKILL)
    with pytest.raises(PypxError):
        store(lost_one, "1.2.3.2")
    assert store(kept, "1.2.3.3") == 0
    heard.wait_for(
        lambda: any(one.error and "worker" in one.error.message for one in heard.summaries)
    )
    (summary,) = [one for one in heard.summaries if one.error and "worker" in one.error.message]
    assert summary.association_id.startswith(f"{killed}-")
    assert summary.totals.instances == 1
    wait_until(lambda: len(workers.processes) == 2)
    assert killed not in workers.processes
    assert workers.restarts == 1
    again = connect_to_each(workers, heard)  # also by the new one
    for number, connection in enumerate(again.values(), 4):
        assert store(connection, f"1.2.3.{number}") == 0
        connection.release()
    kept.release()
    workers.stop()
    assert len(files(root)) == 4
    with Archive(root) as archive:
        assert archive.check(checksums=True).ok


def test_the_seats_of_a_killed_worker_are_free_again(start: Start, heard: Heard) -> None:
    workers = start(1, limits=AcceptorLimits(max_associations=2))
    held = [connect(workers) for _ in range(2)]
    os.kill(workers.processes[0], signal.SIGKILL)
    heard.wait_for(lambda: len(heard.summaries) == 2)
    wait_until(lambda: len(workers.processes) == 1)
    assert store(connect(workers), "1.2.3.1") == 0
    assert len(held) == 2  # they were held until now


def test_a_worker_that_dies_is_told(
    start: Start, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    workers = start(1)
    os.kill(workers.processes[0], signal.SIGSEGV)
    wait_until(lambda: workers.restarts == 1 and len(workers.processes) == 1)
    assert any("worker 1 ended: it was killed by signal 11" in text for text in caplog.messages)


def test_duplicates_over_two_workers_are_one_file_and_one_row(
    start: Start, heard: Heard, root: Path
) -> None:
    workers = start(2)
    connections = list(connect_to_each(workers, heard).values())
    for number in range(20):
        barrier = threading.Barrier(len(connections))
        statuses: list[int] = []

        def send(connection: Connection, uid: str, barrier=barrier, statuses=statuses) -> None:
            barrier.wait(WAIT)
            statuses.append(store(connection, uid))

        threads = [
            threading.Thread(target=send, args=(connection, f"1.2.3.{number}"))
            for connection in connections
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
        assert statuses == [0, 0]
    for connection in connections:
        connection.release()
    workers.stop()
    assert workers.totals.instances == 40
    assert workers.totals.duplicates == 20
    assert len(files(root)) == 20
    with Archive(root) as archive:
        assert len(list(archive.instances())) == 20
        assert archive.check(checksums=True).ok


SUPERVISOR = """
import sys, time
from pypx.archive.layout import DEFAULT_LAYOUT
from pypx.receiver.observers import Observers
from pypx.receiver.relay import Task
from pypx.receiver.workers import Workers
task = Task(root=sys.argv[1], layout=DEFAULT_LAYOUT, grace=float(sys.argv[2]))
workers = Workers(task, 2, observer=Observers(), on_note=print)
workers.start()
print(workers.port, *workers.processes, flush=True)
time.sleep(600)
"""


def test_workers_end_with_their_supervisor_and_finish_before(root: Path) -> None:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(root), "20"], stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout is not None
    with supervisor.stdout as stdout:
        port, *processes = map(int, stdout.readline().split())
        assert len(processes) == 2
        connection = Client(Address("PYPX", "127.0.0.1", port), timeouts=TIMEOUTS).connect(CONTEXTS)
        assert store(connection, "1.2.3.1") == 0
        sent = data_set(SOPInstanceUID="1.2.3.2")
        connection.send(1, CStoreRQ(1, CT_IMAGE, "1.2.3.2"))
        connection.send_data_set(1, sent[:100], is_last=False)
        wait_until(lambda: has_begun(processes))
        supervisor.kill()
        supervisor.wait(WAIT)
        wait_until(lambda: sum(map(is_alive, processes)) == 1)  # the idle one
        connection.send_data_set(1, sent[100:], is_last=True)
        assert isinstance(connection.receive().message, CStoreRSP)
        with pytest.raises(PypxError, match="abort"):
            connection.receive()
        wait_until(lambda: not any(map(is_alive, processes)))
    with Archive(root) as archive:
        assert len(list(archive.instances())) == 2
        assert archive.check(checksums=True).ok
