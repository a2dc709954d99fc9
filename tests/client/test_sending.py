"""Sending over several associations: what breaks, what is refused, and what goes on."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pypx.archive import Archive
from pypx.client import sending as sending_module
from pypx.client.client import Client
from pypx.client.sending import Sent
from pypx.client.sources import in_files
from pypx.client.window import Job, Window
from pypx.dicom.part10 import decode_preamble_and_meta
from pypx.dimse.assembler import MessageReceived
from pypx.dimse.messages import CStoreRQ, CStoreRSP
from pypx.errors import (
    ArchiveError,
    CancelledError,
    ConnectError,
    DataSetError,
    NetworkError,
    NoPresentationContextError,
    StatusError,
)
from pypx.net.connection import Timeouts
from pypx.net.served import Caller, ServedAssociation
from pypx.receiver.receiver import Receiver
from pypx.ul.pdu import AAssociateAC, AAssociateRJ, AAssociateRQ, RejectResult, RejectSource
from tests.listening import eventually
from tests.objects import write_file
from tests.peers.process import free_port
from tests.scripted import Scripted

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
TIMEOUTS = Timeouts(connect=5, association=10, response=10, release=2)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending_module, "_PAUSE", 0.0)


Decide = Callable[[ServedAssociation, str], int | None]


class StoreScp(Scripted):
    """Answers each C-STORE with what ``decide`` gives for its UID; None says nothing."""

    def __init__(self, decide: Decide = lambda association, uid: 0, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.seen: list[str] = []
        self._decide = decide
        self.services[CStoreRQ] = self._store

    def _store(self, association: ServedAssociation, received: MessageReceived) -> None:
        request = received.message
        assert isinstance(request, CStoreRQ)
        for _ in association.data_set():
            pass
        uid = request.affected_sop_instance_uid
        self.seen.append(uid)
        status = self._decide(association, uid)
        if status is not None:
            association.send(received.context_id, CStoreRSP(request.message_id, status))


def uid(number: int) -> str:
    return f"1.2.3.4.{number}"


def store(scp: Scripted, *paths: Path, associations: int = 1) -> list[Sent]:
    with Client(scp.address, timeouts=TIMEOUTS) as client:
        return list(client.store_files(paths, associations=associations))


def outcomes(results: list[Sent]) -> dict[str, int]:
    return dict(Counter(one.outcome for one in results))


def write(folder: Path, count: int, **changes: str) -> Path:
    for number in range(1, count + 1):
        write_file(folder, number, **changes)
    return folder


def ended() -> bool:
    """Say whether no thread sends any more."""
    return all(one.name != "px store" for one in threading.enumerate())


@pytest.fixture
def threads() -> Iterator[None]:
    """Wait for the threads that send."""
    yield
    eventually(ended)


@pytest.mark.parametrize("associations", [1, 3])
def test_all_arrives_bit_for_bit(tmp_path: Path, associations: int) -> None:
    files = tmp_path / "files"
    files.mkdir()
    write(files, 150)
    big = write_file(files, 999, PixelData=bytes(range(256)) * 4096)  # several pieces
    (files / "notes.txt").write_text("no image")
    with (
        Archive(tmp_path / "archive", durability="none") as archive,
        Receiver(archive, port=0) as receiver,
    ):
        with Client(f"PYPX@127.0.0.1:{receiver.port}", timeouts=TIMEOUTS) as client:
            sending = client.store_files([files], associations=associations)
            results = list(sending)
        assert outcomes(results) == {"completed": 151, "skipped": 1}
        assert 1 <= sending.connections <= associations
        for one in results:
            if one.outcome == "completed":
                located = archive.locate(one.sop_instance_uid)
                assert located is not None
                data = one.path.read_bytes()
                sent = data[decode_preamble_and_meta(data)[1] :]
                assert located.path.read_bytes()[located.data_set_offset :] == sent
                assert one.bytes == len(sent)
    assert big in [one.path for one in results]


def test_a_class_that_is_refused_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    write(tmp_path, 3)
    write_file(tmp_path, 4, SOPClassUID=MR_IMAGE)
    with StoreScp(refuse=[MR_IMAGE]) as scp:
        results = store(scp, tmp_path)
    assert outcomes(results) == {"completed": 3, "failed": 1}
    (failed,) = (one for one in results if one.outcome == "failed")
    assert failed.sop_instance_uid == uid(4)
    assert isinstance(failed.error, NoPresentationContextError)
    assert "does not accept MR Image Storage in" in failed.error.message
    assert len(scp.requests) == 1


def test_every_status_is_counted_as_what_it_is(tmp_path: Path) -> None:
    statuses = {uid(1): 0x0000, uid(2): 0xB000, uid(3): 0xA700, uid(4): 0xC000, uid(5): 0xB007}
    with StoreScp(lambda _, one: statuses[one]) as scp:
        results = store(scp, write(tmp_path, 5))
    assert [(one.status, one.outcome) for one in results] == [
        (0x0000, "completed"),
        (0xB000, "warning"),
        (0xA700, "failed"),
        (0xC000, "failed"),
        (0xB007, "warning"),
    ]
    full = results[2].error
    assert isinstance(full, StatusError)
    assert "out of resources" in full.message
    assert results[2].bytes == 0 < results[1].bytes


@pytest.mark.parametrize("end", ["close", "abort"])
def test_what_was_under_way_when_an_association_broke_is_sent_again(
    tmp_path: Path, end: str
) -> None:
    broken: list[str] = []

    def decide(association: ServedAssociation, one: str) -> int | None:
        if one in (uid(3), uid(7)) and one not in broken:
            broken.append(one)
            getattr(association, end)()
            return None
        return 0

    with StoreScp(decide) as scp:
        results = store(scp, write(tmp_path, 9))
    assert outcomes(results) == {"completed": 9}
    assert len(scp.requests) == 3
    again = {uid(3): 2, uid(7): 2}
    assert Counter(scp.seen) == {uid(n): again.get(uid(n), 1) for n in range(1, 10)}


def test_an_instance_that_breaks_every_association_is_given_up(tmp_path: Path) -> None:
    def decide(association: ServedAssociation, one: str) -> int | None:
        if one == uid(2):
            association.close()
            return None
        return 0

    with StoreScp(decide) as scp:
        results = store(scp, write(tmp_path, 4))
    assert outcomes(results) == {"completed": 3, "failed": 1}
    assert Counter(scp.seen)[uid(2)] == 3
    (failed,) = (one for one in results if one.outcome == "failed")
    assert isinstance(failed.error, NetworkError)


def test_a_peer_that_breaks_every_association_is_given_up(tmp_path: Path) -> None:
    with StoreScp(lambda association, _: association.close()) as scp:
        results: list[Sent] = []
        with (
            Client(scp.address, timeouts=TIMEOUTS) as client,
            pytest.raises(NetworkError),
        ):
            results.extend(client.store_files([write(tmp_path, 50)]))
    assert len(scp.requests) == 5


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("associations", [1, 4])
def test_nobody_there(tmp_path: Path, associations: int) -> None:
    client = Client(f"GONE@127.0.0.1:{free_port()}", timeouts=TIMEOUTS)
    sending = client.store_files([write(tmp_path, 5)], associations=associations)
    with pytest.raises(ConnectError):
        list(sending)
    assert sending.connections == 0


def test_a_peer_that_goes_away_in_the_middle(tmp_path: Path) -> None:
    scp = StoreScp()
    with scp, Client(scp.address, timeouts=TIMEOUTS) as client:
        results = iter(client.store_files([write(tmp_path, 2000)]))
        first = next(results)
        assert first.outcome == "completed"
        scp.__exit__()
        stored = 1
        with pytest.raises(NetworkError):
            for one in results:
                stored += one.outcome == "completed"
    assert stored == len(set(scp.seen)) or stored == len(set(scp.seen)) - 1  # one in flight


class OneAtOnce(StoreScp):
    """Rejects an association while there is another one."""

    def __init__(self) -> None:
        super().__init__(self._slowly)
        self._open = itertools.count()
        self.rejected = threading.Event()

    def _slowly(self, association: ServedAssociation, one: str) -> int:
        self.rejected.wait(10)  # the first association lasts until the second was tried
        return 0

    def negotiate(self, request: AAssociateRQ, caller: Caller) -> AAssociateAC | AAssociateRJ:
        if next(self._open) == 0:
            return super().negotiate(request, caller)
        self.rejected.set()
        return AAssociateRJ(RejectResult.TRANSIENT, RejectSource.SERVICE_PROVIDER_PRESENTATION, 2)


@pytest.mark.usefixtures("threads")
def test_a_peer_that_takes_one_association_gets_all_over_that(tmp_path: Path) -> None:
    with OneAtOnce() as scp:
        results = store(scp, write(tmp_path, 40), associations=2)
    assert scp.rejected.is_set()
    assert outcomes(results) == {"completed": 40}
    assert sorted(scp.seen) == sorted(uid(n) for n in range(1, 41))


@pytest.mark.usefixtures("threads")
def test_a_peer_that_takes_its_time_gets_more_associations(tmp_path: Path) -> None:
    three = threading.Barrier(3)

    def decide(association: ServedAssociation, one: str) -> int:
        if not three.broken and len(scp.seen) <= 3:
            three.wait(10)  # for two others that are sent at the same time
        return 0

    with StoreScp(decide) as scp:
        results = store(scp, write(tmp_path, 6), associations=3)
    assert outcomes(results) == {"completed": 6}
    assert not three.broken
    assert len(scp.requests) == 3


def test_more_pairs_than_an_association_can_have(tmp_path: Path) -> None:
    for number in range(1, 301):
        write_file(tmp_path, number, SOPClassUID=f"1.2.3.{number}")
    with StoreScp() as scp:
        results = store(scp, tmp_path)
    assert outcomes(results) == {"completed": 300}
    assert all(len(request.presentation_contexts) <= 128 for request in scp.requests)
    assert len(scp.requests) == 3


def test_a_kind_that_shows_late_needs_one_more_association(tmp_path: Path) -> None:
    write(tmp_path, 400)
    late = tmp_path / "late"
    late.mkdir()
    write_file(late, 1000, SOPClassUID=MR_IMAGE)
    write_file(late, 1001)
    with StoreScp() as scp:
        results = store(scp, tmp_path)
    assert outcomes(results) == {"completed": 402}
    assert [len(request.presentation_contexts) for request in scp.requests] == [1, 2]


def test_a_file_that_goes_away_before_its_turn(tmp_path: Path) -> None:
    def decide(association: ServedAssociation, one: str) -> int:
        (tmp_path / "3.dcm").unlink(missing_ok=True)
        return 0

    write(tmp_path, 5)
    write_file(tmp_path, 3, PixelData=bytes(100_000))  # too long to be read with its head
    with StoreScp(decide) as scp:
        results = store(scp, tmp_path)
    assert outcomes(results) == {"completed": 4, "failed": 1}
    (failed,) = (one for one in results if one.outcome == "failed")
    assert isinstance(failed.error, ArchiveError)
    assert len(scp.requests) == 1  # nothing had been sent of it: the association goes on


@pytest.mark.usefixtures("threads")
def test_stop_ends_after_what_is_under_way(tmp_path: Path) -> None:
    results = []
    with StoreScp() as scp, Client(scp.address, timeouts=TIMEOUTS) as client:
        sending = client.store_files([write(tmp_path, 2000)], associations=2)
        with pytest.raises(CancelledError):
            for one in sending:
                results.append(one)
                if len(results) == 10:
                    sending.stop()
        eventually(lambda: len(scp.failures) == len(scp.requests))
    assert len(results) < 2000
    assert sorted(scp.seen) == sorted(one.sop_instance_uid for one in results)
    assert set(scp.failures) == {None}  # released


def test_who_asks_for_no_more_results_ends_it(tmp_path: Path) -> None:
    with StoreScp() as scp, Client(scp.address, timeouts=TIMEOUTS) as client:
        results = iter(client.store_files([write(tmp_path, 3000)], associations=2))
        next(results)
        results.close()  # type: ignore[attr-defined]
        eventually(ended)
    assert len(scp.seen) < 3000


def test_an_error_of_the_source_is_raised(tmp_path: Path) -> None:
    def source() -> Iterator[object]:
        yield from in_files([str(write(tmp_path, 3))])
        raise DataSetError("broken")

    with StoreScp() as scp:
        sending = sending_module.Sending(Client(scp.address).connect, source())  # type: ignore[arg-type]
        with pytest.raises(DataSetError, match="broken"):
            list(sending)


def test_the_answer_under_way_is_told_when_the_source_breaks(tmp_path: Path) -> None:
    told = threading.Event()

    def source() -> Iterator[object]:
        yield from in_files([str(write(tmp_path, 128))])  # as far as is looked ahead
        told.set()
        raise DataSetError("broken")

    def decide(association: ServedAssociation, one: str) -> int:
        assert one != uid(1) or told.wait(10)
        return 0

    results: list[Sent] = []
    with StoreScp(decide) as scp:
        sending = sending_module.Sending(Client(scp.address).connect, source())  # type: ignore[arg-type]
        with pytest.raises(DataSetError, match="broken"):
            results += sending
    assert outcomes(results) == {"completed": 128}


def test_the_archive_can_be_sent(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive", durability="none") as archive, StoreScp() as scp:
        for number in range(1, 6):
            archive.add_file(write_file(tmp_path, number))
        with Client(scp.address, timeouts=TIMEOUTS) as client:
            keys = {"SOPInstanceUID": f"{uid(2)}\\{uid(4)}"}
            results = list(client.store_archived(archive, keys))
    assert outcomes(results) == {"completed": 2}
    assert sorted(scp.seen) == [uid(2), uid(4)]


def test_the_source_is_read_only_a_little_ahead(tmp_path: Path) -> None:
    write_file(tmp_path, 1)
    (instance,) = in_files([str(tmp_path)])
    read = itertools.count()
    window = Window(instance for _ in read)
    for _ in range(1000):
        assert isinstance(window.take(frozenset()), Job)
    assert next(read) < 1200
