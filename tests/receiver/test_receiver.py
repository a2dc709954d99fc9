"""The receiver over real sockets: what is acknowledged is there, and nothing else is."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.client import Client
from pypx.client.store import Instance
from pypx.dicom import uids
from pypx.dicom.part10 import decode_preamble_and_meta
from pypx.dimse.messages import CStoreRQ, CStoreRSP
from pypx.errors import (
    ArchiveFullError,
    AssociationRejectedError,
    ConfigError,
    PeerTimeoutError,
    PypxError,
)
from pypx.net.connection import Connection, Timeouts
from pypx.receiver.allow import AllowRule
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived
from pypx.receiver.receiver import Receiver, choose_transfer_syntax
from tests.listening import eventually
from tests.objects import CT_IMAGE, data_set, write_file

EXPLICIT = uids.EXPLICIT_VR_LITTLE_ENDIAN
IMPLICIT = uids.IMPLICIT_VR_LITTLE_ENDIAN
BIG = uids.EXPLICIT_VR_BIG_ENDIAN
JPEG = "1.2.840.10008.1.2.4.50"


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "archive") as one:
        yield one


class Heard:
    """Notes down what a receiver tells."""

    def __init__(self) -> None:
        self.began: list[AssociationBegan] = []
        self.received: list[InstanceReceived] = []
        self.summaries: list[AssociationSummary] = []

    def association_began(self, event: AssociationBegan) -> None:
        self.began.append(event)

    def instance_received(self, event: InstanceReceived) -> None:
        self.received.append(event)

    def association_ended(self, event: AssociationSummary) -> None:
        self.summaries.append(event)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def receiver(archive: Archive, heard: Heard) -> Iterator[Receiver]:
    with Receiver(archive, port=0, observer=heard) as one:
        yield one


def client(receiver: Receiver, title: str = "TESTS") -> Client:
    return Client(
        Address("PYPX", receiver.host, receiver.port),
        calling_ae_title=title,
        timeouts=Timeouts(connect=2, association=5, response=5, release=2),
    )


@pytest.fixture
def connection(receiver: Receiver) -> Iterator[Connection]:
    one = client(receiver).connect([(CT_IMAGE, (EXPLICIT,)), (uids.VERIFICATION, (IMPLICIT,))])
    yield one
    one.release()


def store(
    connection: Connection,
    data: bytes,
    uid: str = "1.2.3.4.1",
    *,
    sop_class: str = CT_IMAGE,
    context_id: int = 1,
) -> CStoreRSP:
    connection.send(context_id, CStoreRQ(77, sop_class, uid), data)
    response = connection.receive().message
    assert isinstance(response, CStoreRSP)
    assert response.message_id_being_responded_to == 77
    assert response.affected_sop_instance_uid == uid
    return response


def tree(archive: Archive) -> list[Path]:
    return sorted(path for path in archive.root.rglob("*.dcm") if ".pypx" not in path.parts)


def quarantined(archive: Archive) -> list[Path]:
    return sorted((archive.root / ".pypx" / "quarantine").glob("*.dcm"))


def stored_data_set(path: Path) -> bytes:
    data = path.read_bytes()
    return data[decode_preamble_and_meta(data)[1] :]


def test_bytes_of_an_instance_under_way_are_told_to_whom_they_belong(
    receiver: Receiver, connection: Connection
) -> None:
    data, mine, other = data_set(), ("ME", 7), ("ME", 8)
    assert receiver.last_activity_for(mine) == 0.0, "nothing is under way"
    for title, number, is_of_other in [("ME", 7, False), (None, None, True)]:
        connection.send(1, CStoreRQ(1, CT_IMAGE, "1.2.3.4.1", 0, title, number))
        connection.send_data_set(1, data[:500], is_last=False)
        eventually(lambda: receiver.last_activity_for(mine))
        assert bool(receiver.last_activity_for(other)) == is_of_other
        connection.send_data_set(1, data[500:], is_last=True)
        assert connection.receive().message.status == 0
        assert receiver.last_activity_for(mine) == 0.0


def test_an_instance_that_never_ends_holds_no_stop_up_for_longer_than_was_said(
    archive: Archive,
) -> None:
    with Receiver(archive, port=0, grace=0.2) as receiver:
        connection = client(receiver).connect([(CT_IMAGE, (EXPLICIT,))])
        connection.send(1, CStoreRQ(1, CT_IMAGE, "1.2.3.4.1"))
        connection.send_data_set(1, data_set()[:500], is_last=False)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert not tree(archive)
    connection.abort()


def test_what_is_acknowledged_is_there_bit_for_bit(
    archive: Archive, connection: Connection, receiver: Receiver
) -> None:
    sent = data_set()
    assert store(connection, sent).status == 0
    (path,) = tree(archive)
    assert stored_data_set(path) == sent
    meta, _ = decode_preamble_and_meta(path.read_bytes())
    assert (meta.sop_class_uid, meta.sop_instance_uid) == (CT_IMAGE, "1.2.3.4.1")
    assert (meta.transfer_syntax_uid, meta.source_ae_title) == (EXPLICIT, "TESTS")
    (row,) = archive.find("image", {})
    assert row["SOPInstanceUID"] == "1.2.3.4.1"
    assert archive.root / str(row["path"]) == path
    assert (receiver.totals.instances, receiver.totals.bytes) == (1, path.stat().st_size)


def test_the_same_again_is_acknowledged_and_not_written(
    archive: Archive, connection: Connection, receiver: Receiver
) -> None:
    sent = data_set()
    assert store(connection, sent).status == 0
    before = tree(archive)[0].stat()
    assert store(connection, sent).status == 0
    after = tree(archive)[0].stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert receiver.totals.duplicates == 1


def test_another_content_under_the_same_uid_keeps_both(
    archive: Archive, connection: Connection, receiver: Receiver
) -> None:
    first, second = data_set(), data_set(PixelData=b"other pixels")
    assert store(connection, first).status == 0
    assert store(connection, second).status == 0
    (path,) = tree(archive)
    assert stored_data_set(path) == second
    (old,) = (archive.root / ".pypx" / "superseded").rglob("*.dcm")
    assert stored_data_set(old) == first
    assert receiver.totals.superseded == 1


NOT_PLACED: dict[str, tuple[bytes | Callable[[], bytes], str, int]] = {
    "no study": (lambda: data_set(StudyInstanceUID=None), "1.2.3.4.1", 0xC000),
    "an empty series": (lambda: data_set(SeriesInstanceUID=""), "1.2.3.4.1", 0xC000),
    "cut in the pixels": (lambda: data_set()[:-1], "1.2.3.4.1", 0xC000),
    "cut in a header": (lambda: data_set() + b"\xe0\x7f", "1.2.3.4.1", 0xC000),
    "garbage": (b"this is no data set at all", "1.2.3.4.1", 0xC000),
    "nothing": (b"", "1.2.3.4.1", 0xC000),
    "another instance": (data_set, "9.9.9", 0xA900),
}


@pytest.mark.parametrize(("data", "uid", "status"), NOT_PLACED.values(), ids=NOT_PLACED)
def test_what_cannot_be_placed_is_kept_in_quarantine_and_the_association_lives(
    archive: Archive,
    connection: Connection,
    receiver: Receiver,
    data: bytes | Callable[[], bytes],
    uid: str,
    status: int,
) -> None:
    sent = data() if callable(data) else data
    response = store(connection, sent, uid)
    assert response.status == status
    assert response.error_comment
    assert tree(archive) == []
    (kept,) = quarantined(archive)
    assert stored_data_set(kept) == sent
    assert kept.with_suffix(".json").exists() or list(kept.parent.glob("*.json"))
    assert store(connection, data_set(2), "1.2.3.4.2").status == 0
    assert (receiver.totals.instances, receiver.totals.failures) == (1, 1)


@pytest.mark.parametrize(
    ("announced_class", "announced_uid"),
    [("1.2.840.10008.5.1.4.1.1.4", "1.2.3.4.1"), ("31", "31"), (CT_IMAGE, "31")],
)
def test_an_object_that_knows_itself_better_than_its_sender_is_stored_with_a_warning(
    archive: Archive, connection: Connection, announced_class: str, announced_uid: str
) -> None:
    sent = data_set()
    response = store(connection, sent, announced_uid, sop_class=announced_class)
    assert response.status == 0xB007
    assert response.error_comment
    (path,) = tree(archive)
    assert stored_data_set(path) == sent
    meta, _ = decode_preamble_and_meta(path.read_bytes())
    assert (meta.sop_class_uid, meta.sop_instance_uid) == (CT_IMAGE, "1.2.3.4.1")
    (row,) = archive.find("image", {})
    assert (row["SOPClassUID"], row["SOPInstanceUID"]) == (CT_IMAGE, "1.2.3.4.1")
    assert archive.check(checksums=True).ok


@pytest.mark.parametrize(
    "uid",
    ["../../evil", "/etc/evil", "..", ".", "1.2.3/../../x", "a" * 300, "1.2\x1b[31m", "1" * 65],
)
def test_a_hostile_uid_has_no_effect_on_paths(
    archive: Archive, connection: Connection, tmp_path: Path, uid: str
) -> None:
    outside = {path for path in tmp_path.iterdir() if path != archive.root}
    response = store(connection, data_set(SOPInstanceUID=uid), uid)
    assert response.status in (0, 0xA900, 0xC000)
    assert {path for path in tmp_path.iterdir() if path != archive.root} == outside
    assert len(tree(archive)) + len(quarantined(archive)) == 1
    assert store(connection, data_set(2), "1.2.3.4.2").status == 0


def test_a_store_without_a_data_set_is_answered(connection: Connection) -> None:
    connection.send(1, CStoreRQ(5, CT_IMAGE, "1.2.3.4.1", has_data_set=False))
    response = connection.receive().message
    assert isinstance(response, CStoreRSP)
    assert response.status == 0xC000
    assert store(connection, data_set()).status == 0


def test_a_full_disk_is_answered_when_the_data_set_was_read(
    archive: Archive, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise ArchiveFullError("There is no room.")

    with monkeypatch.context() as patch:
        patch.setattr(archive, "begin", full)
        response = store(connection, data_set())
        assert response.status == 0xA700
        assert response.error_comment == "There is no room."
    assert store(connection, data_set()).status == 0


def test_low_space_is_refused_before_the_disk_is_full(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Receiver(archive, port=0, min_free=1000) as receiver:
        connection = client(receiver).connect([(CT_IMAGE, (EXPLICIT,))])
        monkeypatch.setattr(archive, "free_bytes", lambda: 999)
        response = store(connection, data_set())
        assert response.status == 0xA700
        assert response.error_comment == "The disk has less than 1000 bytes left."
        assert tree(archive) == []
        monkeypatch.setattr(archive, "free_bytes", lambda: 1000)
        assert store(connection, data_set()).status == 0
        connection.release()


@pytest.mark.parametrize("data", [data_set(), b"no data set"])
def test_an_event_says_for_which_c_move_the_sender_sends(
    connection: Connection, receiver: Receiver, heard: Heard, data: bytes
) -> None:
    for title, number in (("MOVER", 20_001), ("", None), (None, 7), (None, None)):
        request = CStoreRQ(
            *(77, CT_IMAGE, "1.2.3.4.1"),
            move_originator_application_entity_title=title,
            move_originator_message_id=number,
        )
        connection.send(1, request, data)
        connection.receive()
    connection.release()
    receiver.stop()
    said = [
        (one.move_originator_ae_title, one.move_originator_message_id) for one in heard.received
    ]
    assert said == [("MOVER", 20_001), ("", 0), ("", 7), ("", 0)]


@pytest.mark.parametrize("way", ["abort", "close"])
def test_an_object_that_breaks_off_leaves_nothing(
    archive: Archive, receiver: Receiver, heard: Heard, way: str
) -> None:
    connection = client(receiver).connect([(CT_IMAGE, (EXPLICIT,))])
    connection.send(1, CStoreRQ(1, CT_IMAGE, "1.2.3.4.1"))
    connection.send_data_set(1, data_set()[:200], is_last=False)
    if way == "abort":
        connection.abort()
    else:
        connection._channel.close()
    receiver.stop()
    assert tree(archive) == quarantined(archive) == []
    assert list((archive.root / ".pypx" / "incoming").iterdir()) == []
    assert heard.summaries[0].error is not None
    assert heard.received == []
    (record,) = archive.interrupted()
    assert (record.calling_ae_title, record.host) == ("TESTS", "127.0.0.1")
    assert (record.sop_class_uid, record.sop_instance_uid) == (CT_IMAGE, "1.2.3.4.1")
    assert record.bytes == 200
    assert record.reason == heard.summaries[0].error.message


def test_a_resend_that_breaks_off_leaves_the_stored_one_as_it_was(
    archive: Archive, receiver: Receiver
) -> None:
    sent = data_set()
    connection = client(receiver).connect([(CT_IMAGE, (EXPLICIT,))])
    assert store(connection, sent).status == 0
    connection.send(1, CStoreRQ(2, CT_IMAGE, "1.2.3.4.1"))
    connection.send_data_set(1, data_set(PixelData=b"x" * 500)[:300], is_last=False)
    connection.abort()
    receiver.stop()
    (path,) = tree(archive)
    assert stored_data_set(path) == sent


SYNTAXES = [
    ((EXPLICIT,), EXPLICIT),
    ((IMPLICIT, EXPLICIT), EXPLICIT),
    ((BIG, EXPLICIT), EXPLICIT),
    ((BIG, IMPLICIT), BIG),
    ((IMPLICIT,), IMPLICIT),
    ((JPEG, EXPLICIT), JPEG),
    (("1.2.826.0.1.9999.1", IMPLICIT), "1.2.826.0.1.9999.1"),
]


@pytest.mark.parametrize(("proposed", "chosen"), SYNTAXES)
def test_the_transfer_syntax_is_the_peers_first_or_explicit(
    proposed: tuple[str, ...], chosen: str
) -> None:
    assert choose_transfer_syntax(proposed) == chosen


def test_every_storage_class_is_accepted_and_no_other_service(receiver: Receiver) -> None:
    wanted = [
        CT_IMAGE,
        "1.2.840.10008.5.1.4.1.1.999.1",  # a storage class of a future edition
        "1.2.826.0.1.3680043.9999.1",  # a private one
        uids.VERIFICATION,
    ]
    unwanted = [uids.STUDY_ROOT_FIND, uids.PATIENT_ROOT_MOVE, "1.2.840.10008.1.20.1"]
    connection = client(receiver).connect((uid, (IMPLICIT,)) for uid in wanted + unwanted)
    assert {context.abstract_syntax for context in connection.contexts.values()} == set(wanted)
    connection.release()


def test_files_are_sent_and_arrive(archive: Archive, receiver: Receiver, tmp_path: Path) -> None:
    paths = [write_file(tmp_path, number, PixelData=b"p" * 700_000) for number in range(3)]
    paths.append(write_file(tmp_path, 3, syntax=IMPLICIT))
    instances = [Instance.from_file(path) for path in paths]
    with client(receiver) as one:
        sender = one.store(instances)
        assert [sender.send(instance).status for instance in instances] == [0] * 4
    assert [stored_data_set(path) for path in tree(archive)] == [
        stored_data_set(path) for path in paths
    ]


def test_many_associations_at_once(archive: Archive, receiver: Receiver) -> None:
    statuses: list[int] = []

    def send(first: int) -> None:
        one = client(receiver).connect([(CT_IMAGE, (EXPLICIT,))])
        for number in range(first, first + 10):
            response = store(one, data_set(number), f"1.2.3.4.{number}")
            statuses.append(response.status)
        one.release()

    threads = [threading.Thread(target=send, args=(100 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0] * 80
    assert len(tree(archive)) == 80
    assert len(list(archive.find("image", {}))) == 80


def test_the_same_object_over_many_associations_is_one_file(
    archive: Archive, receiver: Receiver
) -> None:
    sent = data_set(PixelData=b"q" * 300_000)
    barrier = threading.Barrier(6)
    statuses: list[int] = []

    def send() -> None:
        one = client(receiver).connect([(CT_IMAGE, (EXPLICIT,))])
        barrier.wait()
        statuses.append(store(one, sent).status)
        one.release()

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0] * 6
    assert len(tree(archive)) == 1
    assert list((archive.root / ".pypx" / "superseded").rglob("*.dcm")) == []


def test_an_observer_hears_what_an_association_brought(receiver: Receiver, heard: Heard) -> None:
    one = client(receiver).connect([(CT_IMAGE, (EXPLICIT,))])
    store(one, data_set())
    store(one, data_set())
    store(one, b"garbage")
    one.release()
    receiver.stop()
    (summary,) = pickle.loads(pickle.dumps(heard.summaries))
    (began,) = pickle.loads(pickle.dumps(heard.began))
    assert summary.association_id == began.association_id != ""
    assert (began.calling_ae_title, began.host) == ("TESTS", "127.0.0.1")
    assert (summary.calling_ae_title, summary.called_ae_title) == ("TESTS", "PYPX")
    assert (summary.totals.instances, summary.totals.duplicates) == (2, 1)
    assert (summary.totals.failures, summary.error) == (1, None)
    first, second, third = pickle.loads(pickle.dumps(heard.received))
    assert {one.association_id for one in (first, second, third)} == {began.association_id}
    assert (first.status, first.outcome, first.is_stored) == (0, "new", True)
    assert Path(first.path).stat().st_size == first.bytes == summary.totals.bytes // 2
    assert (first.study_instance_uid, first.series_instance_uid) == ("1.2.3", "1.2.3.4")
    assert (second.outcome, second.path) == ("duplicate", first.path)
    assert (third.status, third.is_stored, third.path) == (0xC000, False, "")
    assert third.sop_instance_uid == "1.2.3.4.1"
    assert third.comment


@pytest.mark.parametrize(
    "error",
    [
        AssociationRejectedError("No.", result=1, source=1, reason=3),
        PeerTimeoutError("Silence.", phase="send", hint="Wait."),
        ConfigError("Wrong."),
    ],
)
def test_errors_cross_processes(error: PypxError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (again.__dict__, str(again)) == (error.__dict__, str(error))


def test_who_is_not_allowed_is_rejected(archive: Archive) -> None:
    rules = [AllowRule.parse("FRIEND@127.0.0.0/8")]
    with Receiver(archive, port=0, allow=rules) as receiver:
        with pytest.raises(AssociationRejectedError) as caught:
            client(receiver, "STRANGER").echo()
        assert (caught.value.source, caught.value.reason) == (1, 3)
        with client(receiver, "FRIEND") as friend:
            friend.echo()


def test_an_open_door_must_be_asked_for(archive: Archive) -> None:
    everywhere = "0.0.0.0"
    with pytest.raises(ConfigError, match="anybody") as caught:
        Receiver(archive, host=everywhere, port=0)
    assert "--allow-any" in caught.value.hint
    Receiver(archive, host=everywhere, port=0, allow_any=True).stop()
    Receiver(archive, host=everywhere, port=0, allow=[AllowRule.parse("A@*")]).stop()
