"""Each fault on the wire: the PACS really does what its sentence says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.client import Client
from pypx.client.move import Move, RetrieveResult
from pypx.dicom.data_set import DataSet
from pypx.dimse.status import Category
from pypx.errors import (
    AssociationAbortedError,
    AssociationRejectedError,
    CancelledError,
    ConfigError,
    ConnectionLostError,
    PeerTimeoutError,
    StatusError,
)
from pypx.net.connection import Timeouts
from pypx.pacs import FAULTS, Pacs, faults, misbehaviour
from pypx.pacs.samples import write_samples
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived
from pypx.receiver.receiver import Receiver

CT_IMAGES = 12


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with Archive(tmp_path_factory.mktemp("samples"), durability="none") as archive:
        write_samples(archive)
        yield archive


class Heard:
    """What the receiver told, in order."""

    def __init__(self) -> None:
        self.began: list[AssociationBegan] = []
        self.received: list[InstanceReceived] = []
        self.ended: list[AssociationSummary] = []
        self.all_there = threading.Event()

    def association_began(self, event: AssociationBegan) -> None:
        self.began.append(event)

    def instance_received(self, event: InstanceReceived) -> None:
        self.received.append(event)
        if len(self.received) == CT_IMAGES:
            self.all_there.set()

    def association_ended(self, event: AssociationSummary) -> None:
        self.ended.append(event)


class Field:
    """A PACS that misbehaves, a client of it, and a receiver that it knows as PYPX."""

    def __init__(self, samples: Archive, received: Archive, stack: ExitStack, *names: str) -> None:
        self.heard = Heard()
        self.receiver = Receiver(received, port=0, observer=self.heard)
        stack.enter_context(self.receiver)
        here = {"PYPX": Address("PYPX", self.receiver.host, self.receiver.port)}
        self.pacs = stack.enter_context(Pacs(samples, destinations=here, faults=names))
        self._stack = stack
        self.client = self.another()
        (row,) = samples.find("study", {"PatientID": "DEMO-001"})
        self.keys = {"StudyInstanceUID": str(row["StudyInstanceUID"])}

    def another(self, aet: str = "PYPX", response: float = 20.0) -> Client:
        timeouts = Timeouts(connect=5, association=20, response=response, release=0.1)
        client = Client(self.pacs.address, calling_ae_title=aet, timeouts=timeouts)
        self._stack.callback(client.abort)
        return client

    def begin(self, client: Client | None = None) -> Move:
        """Ask for the CT."""
        return (client or self.client).move(self.keys, destination="PYPX")

    def move(self) -> RetrieveResult:
        """Ask for the CT, and hear all that is answered."""
        return self.begin().run()

    def studies(self, **keys: str) -> list[DataSet]:
        return list(self.client.find(keys))

    def uids(self) -> list[str]:
        """End the receiver, and give the SOP Instance UIDs that arrived, each time they did."""
        self.receiver.stop()  # what it hears is told after the C-STORE-RSP: wait for all of it
        return [event.sop_instance_uid for event in self.heard.received]


Misbehave = Callable[..., Field]


@pytest.fixture
def misbehave(samples: Archive, tmp_path: Path) -> Iterator[Misbehave]:
    with ExitStack() as stack:
        received = stack.enter_context(Archive(tmp_path, durability="none"))
        yield lambda *names: Field(samples, received, stack, *names)


def numbers(result: RetrieveResult) -> tuple[int | None, int | None, int | None]:
    return result.progress.completed, result.progress.failed, result.progress.warning


def test_without_a_fault_it_is_honest(misbehave: Misbehave) -> None:
    field = misbehave()
    result = field.move()
    assert (result.status, numbers(result)) == (0, (CT_IMAGES, 0, 0))
    uids = field.uids()
    assert len(set(uids)) == len(uids) == CT_IMAGES
    assert len(field.heard.began) == 1


# Sub-operations ---------------------------------------------------------------------------


def test_late_stores(misbehave: Misbehave, monkeypatch: pytest.MonkeyPatch) -> None:
    field = misbehave("late-stores")
    may_send = threading.Event()
    send = misbehaviour.LateStores._send

    def send_when_told(*arguments: object) -> None:
        assert may_send.wait(20)
        send(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(misbehaviour.LateStores, "_send", send_when_told)
    result = field.move()
    assert (result.status, numbers(result)) == (0, (CT_IMAGES, 0, 0))
    assert field.heard.began == []  # not even an association to our receiver
    may_send.set()
    assert field.heard.all_there.wait(20)
    assert len(set(field.uids())) == CT_IMAGES


def test_late_stores_to_where_nothing_listens(misbehave: Misbehave) -> None:
    field = misbehave("late-stores")
    field.pacs.destinations["PYPX"] = Address("PYPX", "127.0.0.1", 9)
    assert field.move().category is Category.SUCCESS
    assert field.client.echo()  # and the PACS goes on


@pytest.mark.parametrize(("value", "arrive"), [("", 8), ("=2", 6), ("=12", 11), ("=1", 0)])
def test_drop_objects(misbehave: Misbehave, value: str, arrive: int) -> None:
    field = misbehave(f"drop-objects{value}")
    for _ in range(2):  # the same ones each time
        result = field.move()
        assert (result.status, numbers(result)) == (0, (CT_IMAGES, 0, 0))
    assert len(field.uids()) == 2 * arrive
    assert len(set(field.uids())) == arrive


def test_send_twice(misbehave: Misbehave) -> None:
    field = misbehave("send-twice")
    assert numbers(field.move()) == (CT_IMAGES, 0, 0)
    assert len(field.uids()) == 2 * CT_IMAGES
    assert len(set(field.uids())) == CT_IMAGES
    assert field.receiver.totals.duplicates == CT_IMAGES


def test_association_per_object(misbehave: Misbehave) -> None:
    field = misbehave("association-per-object")
    assert numbers(field.move()) == (CT_IMAGES, 0, 0)
    assert len(set(field.uids())) == CT_IMAGES
    assert len(field.heard.began) == CT_IMAGES


def test_cut_object(misbehave: Misbehave) -> None:
    field = misbehave("cut-object=2")
    result = field.move()
    assert (result.status, numbers(result)) == (0xB000, (CT_IMAGES - 1, 1, 0))
    assert len(set(field.uids()) - {*result.failed_sop_instance_uids}) == CT_IMAGES - 1
    cut = [one for one in field.heard.ended if isinstance(one.error, ConnectionLostError)]
    assert len(cut) == 1  # without an A-ABORT, which would be another error


# What a C-MOVE is answered ----------------------------------------------------------------


def test_empty_success(misbehave: Misbehave) -> None:
    field = misbehave("pending-for-ever", "empty-success")
    first = field.begin()
    assert next(first).remaining == CT_IMAGES
    result = field.begin(field.another()).run()
    assert (result.status, numbers(result)) == (0, (0, 0, 0))
    assert field.uids() == []


def test_empty_success_only_under_load(misbehave: Misbehave) -> None:
    field = misbehave("empty-success=1")
    for _ in range(2):
        assert numbers(field.move()) == (CT_IMAGES, 0, 0)


def test_no_suboperation_counts(misbehave: Misbehave) -> None:
    field = misbehave("no-suboperation-counts")
    move = field.begin()
    said = list(move)
    assert len(said) == CT_IMAGES - 1
    assert {(one.remaining, one.completed, one.failed, one.warning) for one in said} == {
        (None,) * 4
    }
    assert move.result is not None
    assert numbers(move.result) == (None,) * 3
    assert len(set(field.uids())) == CT_IMAGES


def test_stall(misbehave: Misbehave) -> None:
    field = misbehave("stall")
    assert field.another().echo()
    with pytest.raises(PeerTimeoutError):
        field.begin(field.another(response=0.1)).run()
    assert field.uids() == []


def test_a_stall_ends_when_the_server_stops(misbehave: Misbehave) -> None:
    field = misbehave("stall")
    move = field.begin()
    field.pacs.stop()
    with pytest.raises(AssociationAbortedError):
        next(move)


def test_pending_for_ever(misbehave: Misbehave, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(misbehaviour, "_PACE", 0.01)
    field = misbehave("pending-for-ever")
    move = field.begin()
    for _ in range(20):
        progress = next(move)
        assert (progress.remaining, progress.completed) == (CT_IMAGES, 0)
    move.cancel()
    assert move.run().category is Category.CANCEL
    assert field.uids() == []


def test_ignore_cancel(misbehave: Misbehave) -> None:
    field = misbehave("pending-for-ever", "ignore-cancel")
    move = field.begin()
    next(move)
    move.cancel()
    with pytest.raises(CancelledError, match="did not heed the C-CANCEL"):
        move.run()


def test_unknown_destination(misbehave: Misbehave) -> None:
    field = misbehave("unknown-destination")
    with pytest.raises(StatusError) as caught:
        field.move()
    assert caught.value.status == 0xA801
    assert field.uids() == []


# Queries ----------------------------------------------------------------------------------


def test_cap_silently(misbehave: Misbehave) -> None:
    field = misbehave("cap-silently=2")
    found = field.client.find({})
    assert len(list(found)) == 2
    assert (found.status, found.truncated) == (0, False)
    assert len(field.studies(PatientID="DEMO-003")) == 1


def test_cap_with_a700(misbehave: Misbehave) -> None:
    field = misbehave("cap-with-a700=2")
    found = field.client.find({})
    assert [next(found), next(found)]
    with pytest.raises(StatusError) as caught:
        next(found)
    assert caught.value.status == 0xA700
    assert len(field.studies(PatientID="DEMO-003")) == 1


@pytest.mark.parametrize("name", ["cap-silently=3", "cap-with-a700=3"])
def test_as_many_as_the_cap_are_all(misbehave: Misbehave, name: str) -> None:
    assert len(misbehave(name).studies()) == 3


def test_answer_twice(misbehave: Misbehave) -> None:
    found = [one["StudyInstanceUID"] for one in misbehave("answer-twice").studies()]
    assert len(found) == 6
    assert found[::2] == found[1::2]
    assert len(set(found)) == 3


def test_ignore_modalities(misbehave: Misbehave) -> None:
    field = misbehave("ignore-modalities")
    found = field.studies(ModalitiesInStudy="MR")
    assert sorted(one["ModalitiesInStudy"] for one in found) == ["CT", "DX", "MR"]
    assert len(field.studies(ModalitiesInStudy="MR", PatientID="DEMO-001")) == 1


@pytest.mark.parametrize(
    ("name", "level", "served", "status"),
    [
        ("refuse-image-level", "image", "series", 0xA900),
        ("refuse-image-level=C000", "image", "series", 0xC000),
        ("refuse-series-level", "series", "image", 0xA900),
        ("refuse-series-level=c000", "series", "image", 0xC000),
    ],
)
def test_refused_levels(
    misbehave: Misbehave, samples: Archive, name: str, level: str, served: str, status: int
) -> None:
    field = misbehave(name)
    row = next(iter(samples.find("image", field.keys)))
    unique = {key: str(row[key]) for key in ("SeriesInstanceUID", "SOPInstanceUID")}
    if level == "series":
        del unique["SOPInstanceUID"]
    keys = {**field.keys, **unique}
    with pytest.raises(StatusError) as caught:
        list(field.client.find(field.keys, level=level))
    assert caught.value.status == status
    with pytest.raises(StatusError) as caught:
        field.client.move(keys, destination="PYPX", level=level).run()
    assert caught.value.status == status
    assert list(field.client.find(field.keys, level=served))
    assert numbers(field.move()) == (CT_IMAGES, 0, 0)


def test_no_counts(misbehave: Misbehave) -> None:
    field = misbehave("no-counts")
    (study,) = field.studies(PatientID="DEMO-002")
    assert not [key for key in study.keywords() if key.startswith("NumberOf")]
    assert study["ModalitiesInStudy"] == "MR"
    for series in field.client.find(field.keys, level="series"):
        assert "NumberOfSeriesRelatedInstances" not in series.keywords()


@pytest.mark.parametrize(
    ("name", "said", "shown"),
    [
        ("wrong-character-set", "ISO_IR 100", "Muster^Ã\x84nne"),
        ("wrong-character-set=ISO_IR 192", "ISO_IR 192", "Muster^Änne"),  # then it is right
        ("no-character-set", None, None),
    ],
)
def test_character_sets(
    misbehave: Misbehave, name: str, said: str | None, shown: str | None
) -> None:
    field = misbehave(name)
    (study,) = field.studies(PatientID="DEMO-001")
    assert study.get("SpecificCharacterSet") == said
    (sent,) = [one.value for one in study.elements if one.tag == 0x00100010]
    assert bytes(sent).rstrip() == "Muster^Änne".encode()
    if shown is not None:
        assert study["PatientName"] == shown


# Associations -----------------------------------------------------------------------------


def test_reject_aet(misbehave: Misbehave) -> None:
    field = misbehave("reject-aet=NOBODY")
    assert field.client.echo()
    with pytest.raises(AssociationRejectedError) as caught:
        field.another("NOBODY").echo()
    assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 1, 3)


def test_reject_over_limit(misbehave: Misbehave) -> None:
    field = misbehave("reject-over-limit=1")
    assert field.client.echo()  # and the association stays
    with pytest.raises(AssociationRejectedError) as caught:
        field.another().echo()
    assert (caught.value.result, caught.value.source, caught.value.reason) == (2, 3, 2)
    assert field.client.echo()


# Names ------------------------------------------------------------------------------------


def test_several_faults_at_once(misbehave: Misbehave) -> None:
    field = misbehave("send-twice", "drop-objects=2", "no-suboperation-counts", "no-counts")
    assert numbers(field.move()) == (None,) * 3
    assert len(field.uids()) == CT_IMAGES
    assert len(set(field.uids())) == CT_IMAGES // 2
    assert "NumberOfStudyRelatedSeries" not in field.studies(PatientID="DEMO-001")[0].keywords()


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.name)
def test_each_fault_is_made_as_it_is_listed(kind: faults.FaultKind) -> None:
    assert faults.misbehaving([kind.usage])
    assert faults.misbehaving([kind.name])
    assert kind.sentence.endswith(".")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("drop-object", "Did you mean drop-objects"),
        ("", "--list-faults"),
        ("stall=3", "takes no value"),
        ("drop-objects=", "whole number from 1"),
        ("drop-objects=0", "whole number from 1"),
        ("drop-objects=²", "whole number from 1"),
        ("drop-objects=many", "whole number from 1"),
        ("refuse-image-level=0000", "A900 or C000"),
        ("reject-aet=A\\B", "AE title"),
        ("wrong-character-set=", "ISO_IR 100"),
    ],
)
def test_what_is_no_fault(samples: Archive, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Pacs(samples, faults=[text])
    assert said in f"{caught.value.message} {caught.value.hint}"
