"""The embedded PACS with our own client and receiver on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.client import Client
from pypx.dimse.status import Category
from pypx.errors import StatusError
from pypx.net.connection import Timeouts
from pypx.pacs import Pacs
from pypx.pacs.samples import SAMPLE_INSTANCES, write_samples
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived
from pypx.receiver.receiver import Receiver


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with Archive(tmp_path_factory.mktemp("samples")) as archive:
        write_samples(archive)
        yield archive


@pytest.fixture
def pacs(samples: Archive) -> Iterator[Pacs]:
    with Pacs(samples) as one:
        yield one


@pytest.fixture
def client(pacs: Pacs) -> Iterator[Client]:
    timeouts = Timeouts(connect=2, association=5, response=10, release=2)
    with Client(pacs.address, calling_ae_title="PYPX", timeouts=timeouts) as one:
        yield one


def test_echo(client: Client) -> None:
    assert client.echo().peer.implementation_version_name.startswith("PYPX")


QUERIES: list[tuple[str, dict[str, str], set[str]]] = [
    ("study", {}, {"DEMO-001", "DEMO-002", "DEMO-003"}),
    ("study", {"PatientID": "DEMO-00?"}, {"DEMO-001", "DEMO-002", "DEMO-003"}),
    ("study", {"PatientName": "yamada*"}, {"DEMO-002"}),
    ("study", {"PatientName": "*山田*"}, {"DEMO-002"}),
    ("study", {"PatientName": "Muster^Änne"}, {"DEMO-001"}),
    ("study", {"StudyDate": "-20240120"}, {"DEMO-001"}),
    ("study", {"StudyDate": "20240301-"}, {"DEMO-002", "DEMO-003"}),
    ("study", {"ModalitiesInStudy": "MR"}, {"DEMO-002"}),
    ("study", {"AccessionNumber": "A1003"}, {"DEMO-003"}),
    ("study", {"PatientID": "' OR 1=1 --"}, set()),
    ("series", {"SeriesDescription": "T2 [fast] coronal"}, {"DEMO-002"}),
    ("patient", {"PatientSex": "M"}, {"DEMO-002", "DEMO-003"}),
]


@pytest.mark.parametrize(("level", "keys", "patients"), QUERIES)
def test_find(client: Client, level: str, keys: dict[str, str], patients: set[str]) -> None:
    found = client.find({"PatientID": "", **keys}, level=level, model="patient")
    assert {match["PatientID"] for match in found} == patients


def test_a_match_has_what_was_asked_for(client: Client) -> None:
    (match,) = client.find({"PatientID": "DEMO-002"})
    assert match["PatientName"] == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert match["NumberOfStudyRelatedSeries"] == "2"
    assert match["NumberOfStudyRelatedInstances"] == "14"
    assert match["ModalitiesInStudy"] == "MR"
    assert match.get("StudyID") is not None  # asked for, and known or empty
    assert match["QueryRetrieveLevel"] == "STUDY"


@pytest.mark.parametrize(
    ("level", "keys", "model"),
    [("patient", {}, "study"), ("study", {"StudyDate": "last week"}, "study")],
)
def test_what_cannot_be_answered_is_a_failure(
    client: Client, level: str, keys: dict[str, str], model: str
) -> None:
    with pytest.raises(StatusError):
        list(client.find(keys, level=level, model=model))


def study_of(samples: Archive, patient_id: str) -> str:
    (row,) = samples.find("study", {"PatientID": patient_id})
    return str(row["StudyInstanceUID"])


MOVES = [
    ("study", {"DEMO-001"}, 12),
    ("study", {"DEMO-002"}, 14),
    ("study", {"DEMO-001", "DEMO-002", "DEMO-003"}, SAMPLE_INSTANCES),
]


@pytest.mark.parametrize(("level", "patients", "count"), MOVES)
def test_move(
    pacs: Pacs,
    client: Client,
    samples: Archive,
    tmp_path: Path,
    level: str,
    patients: set[str],
    count: int,
) -> None:
    with Archive(tmp_path) as archive, Receiver(archive, port=0) as receiver:
        pacs.destinations["PYPX"] = Address("PYPX", receiver.host, receiver.port)
        completed = 0
        for patient in patients:
            keys = {"StudyInstanceUID": study_of(samples, patient)}
            result = client.move(keys, destination="PYPX", level=level).run()
            assert result.category is Category.SUCCESS
            completed += result.progress.completed or 0
        assert completed == receiver.totals.instances == count
        for row in archive.find("image"):
            located = samples.locate(str(row["SOPInstanceUID"]))
            assert located is not None
            stored = Path(str(row["path"])).read_bytes()
            assert stored.endswith(located.path.read_bytes()[located.data_set_offset :])


def test_what_arrives_names_the_request_that_it_belongs_to(
    pacs: Pacs, samples: Archive, tmp_path: Path
) -> None:
    said = []

    class Heard:
        def association_began(self, event: AssociationBegan) -> None:
            pass

        def instance_received(self, event: InstanceReceived) -> None:
            said.append((event.move_originator_ae_title, event.move_originator_message_id))

        def association_ended(self, event: AssociationSummary) -> None:
            pass

    with (
        Archive(tmp_path, durability="none") as archive,
        Receiver(archive, port=0, observer=Heard()) as receiver,
        Client(pacs.address, calling_ae_title="MOVER", first_message_id=20_001) as client,
    ):
        pacs.destinations["PYPX"] = Address("PYPX", receiver.host, receiver.port)
        keys = {"StudyInstanceUID": study_of(samples, "DEMO-001")}
        client.move(keys, destination="PYPX").run()
    assert said == [("MOVER", 20_001)] * 12


def test_move_to_where_it_may_not(client: Client, samples: Archive) -> None:
    keys = {"StudyInstanceUID": study_of(samples, "DEMO-003")}
    with pytest.raises(StatusError) as caught:
        client.move(keys, destination="NOBODY").run()
    assert caught.value.status == 0xA801


def test_move_to_where_nothing_listens(pacs: Pacs, client: Client, samples: Archive) -> None:
    pacs.destinations["GONE"] = Address("GONE", "127.0.0.1", 9)
    keys = {"StudyInstanceUID": study_of(samples, "DEMO-003")}
    with pytest.raises(StatusError) as caught:
        client.move(keys, destination="GONE").run()
    assert caught.value.status == 0xA702


def test_move_without_the_unique_key(client: Client) -> None:
    with pytest.raises(StatusError) as caught:
        client.move({"PatientName": "Doe*"}, destination="PYPX").run()
    assert caught.value.status == 0xA900


def test_a_receiver_that_refuses_is_a_failure_with_names(
    pacs: Pacs, client: Client, samples: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pypx.errors import ArchiveFullError

    def full(*_: object) -> None:
        raise ArchiveFullError("There is no room.")

    with Archive(tmp_path) as archive, Receiver(archive, port=0) as receiver:
        monkeypatch.setattr(archive, "begin", full)
        pacs.destinations["PYPX"] = Address("PYPX", receiver.host, receiver.port)
        keys = {"StudyInstanceUID": study_of(samples, "DEMO-003")}
        result = client.move(keys, destination="PYPX").run()
    assert result.category is Category.WARNING
    assert result.progress.failed == 1
    assert len(result.failed_sop_instance_uids) == 1


def test_a_cancel_stops_a_move(
    pacs: Pacs, client: Client, samples: Archive, tmp_path: Path
) -> None:
    with Archive(tmp_path) as archive, Receiver(archive, port=0) as receiver:
        pacs.destinations["PYPX"] = Address("PYPX", receiver.host, receiver.port)
        move = client.move({"StudyInstanceUID": study_of(samples, "DEMO-002")}, destination="PYPX")
        next(move)
        move.cancel()
        result = move.run()
    # The cancel may come when all is sent already.
    assert result.category in (Category.CANCEL, Category.SUCCESS)
    assert client.echo()


def test_samples_are_the_same_at_every_call(samples: Archive, tmp_path: Path) -> None:
    with Archive(tmp_path) as again:
        write_samples(again)
        write_samples(again)
        uids = [{row["SOPInstanceUID"] for row in one.find("image")} for one in (samples, again)]
    assert uids[0] == uids[1]
    assert len(uids[0]) == SAMPLE_INSTANCES
