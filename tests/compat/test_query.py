"""``pypx.find``: upstream's shape, also awaited, and the truth in it."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import pypx
from pypx.address import Address
from pypx.archive import Archive
from pypx.compat.query import RETURN_TAGS
from pypx.dicom.uids import PATIENT_ROOT_FIND, PATIENT_ROOT_MOVE
from pypx.pacs import Pacs
from pypx.receiver.receiver import Receiver
from tests.cli.conftest import write_config
from tests.compat.conftest import Opt, opt_for
from tests.peers.process import free_port
from tests.scripted import Exchange, Scripted

TOP = {"status", "data", "command", "args", "returncode"}
YAMADA = "Yamada^Tarou=山田^太郎=やまだ^たろう"
# What pfdcm gives to find: the service, and the keys of its query.
PFDCM = {
    "aet_listener": "PYPX",
    "AccessionNumber": "",
    "PatientID": "DEMO-002",
    "PatientName": "",
    "PatientBirthDate": "",
    "PatientAge": "",
    "PatientSex": "",
    "StudyDate": "",
    "StudyDescription": "",
    "StudyInstanceUID": "",
    "Modality": "",
    "ModalitiesInStudy": "",
    "PerformedStationAETitle": "",
    "NumberOfSeriesRelatedInstances": "",
    "InstanceNumber": "",
    "SeriesDate": "",
    "SeriesDescription": "",
    "SeriesInstanceUID": "",
    "ProtocolName": "",
    "AcquisitionProtocolDescription": "",
    "AcquisitionProtocolName": "",
    "QueryReturnTags": "",
    "StudyOnly": False,
    "withFeedBack": False,
    "then": "",
    "thenArgs": "",
    "dblogbasepath": "/home/dicom/log",
    "json_response": True,
    "json": True,
}


def values(entry: dict[str, Any], *keywords: str) -> list[str]:
    return [entry[keyword]["value"] for keyword in keywords]


def test_a_study_and_its_series_in_upstreams_shape(opt: Callable[..., Opt]) -> None:
    found = pypx.find(opt(PatientID="DEMO-002"))
    assert set(found) == TOP
    assert (found["status"], found["returncode"]) == ("success", 0)
    (study,) = found["data"]
    assert study["PatientID"] == {"tag": "0010,0020", "value": "DEMO-002", "label": "PatientID"}
    assert study["PatientName"]["value"] == YAMADA
    absent = "NumberOfPatientRelatedInstances"
    assert study[absent] == {
        "tag": "0020,1204",
        "value": "no value provided for 0020,1204",
        "label": absent,
    }
    assert study["uid"] == {"tag": 0, "value": 0, "label": "uid"}
    assert study["RetrieveAETitle"]["value"] == "DEMO"
    assert list(study)[: len(RETURN_TAGS)] == list(RETURN_TAGS)
    descriptions = {values(one, "SeriesDescription")[0] for one in study["series"]}
    assert descriptions == {"T1 axial", "T2 [fast] coronal"}
    for number, series in enumerate(study["series"]):
        assert set(RETURN_TAGS) <= set(series)
        assert series["uid"] == {"tag": 0, "value": number, "label": "uid"}
        assert series["label"] == {"tag": 0, "value": "SERIES", "label": "RetrieveLevel"}
        assert series["status"] == {"tag": 0, "value": "success", "label": "status"}
        assert series["command"]["tag"] == 0
        assert "QueryRetrieveLevel=SERIES" in shlex.split(series["command"]["value"])
        assert values(series, "PatientName", "Modality") == [YAMADA, "MR"]
    assert json.loads(json.dumps(found)) == found


def test_the_arguments_are_given_back_with_all_that_was_left_out(opt: Callable[..., Opt]) -> None:
    args = pypx.find(opt(PatientID="none"))["args"]
    assert len(args) == 40
    assert (args["PatientID"], args["StudyOnly"], args["serverPort"]) == (
        "none",
        False,
        opt()["serverPort"],
    )


def test_awaited_it_is_a_plain_dictionary(opt: Callable[..., Opt]) -> None:
    async def ask() -> tuple[Any, ...]:
        asked = pypx.find(opt(PatientID="DEMO-001"))
        task = asyncio.create_task(pypx.find(opt(PatientID="DEMO-001")))
        both = await asyncio.gather(pypx.find(opt()), pypx.status({}))
        return asked, await asked, await task, *both

    plain, awaited, of_task, everything, status = asyncio.run(ask())
    assert plain == awaited == of_task
    assert type(awaited) is dict
    assert len(everything["data"]) == 3
    assert status["returncode"] == 2
    assert asyncio.run(pypx.find(opt(PatientID="DEMO-001"))) == plain


def test_as_pfdcm_calls_it(opt: Callable[..., Opt]) -> None:
    async def sync() -> Any:
        return await pypx.find({**opt(), **PFDCM})

    found = asyncio.run(sync())
    assert found["status"] == "success"
    assert len(found["data"][0]["series"]) == 2
    assert found["args"]["dblogbasepath"] == "/home/dicom/log"


def test_only_studies(opt: Callable[..., Opt]) -> None:
    found = pypx.find(opt(StudyOnly=True))
    assert set(found) == {"status", "data", "command", "returncode"}
    assert len(found["data"]) == 3
    assert not any("series" in study for study in found["data"])


def test_other_tags(opt: Callable[..., Opt]) -> None:
    found = pypx.find(opt(PatientID="DEMO-003", QueryReturnTags="StudyTime,SeriesNumber"))
    (study,) = found["data"]
    assert values(study, "StudyTime", "PatientID") == ["174510", "DEMO-003"]
    assert "ProtocolName" not in study
    assert values(study["series"][0], "SeriesNumber", "StudyTime") == ["1", "174510"]
    assert pypx.find(opt(QueryReturnTags="StudyTimee"))["returncode"] == 2


@pytest.mark.parametrize(
    ("keys", "patients", "series"),
    [
        ({"Modality": "MR"}, ["DEMO-002"], 2),
        ({"PatientID": "DEMO-00*", "SeriesDescription": "T1*"}, ["DEMO-002"], 1),
        ({"StudyDate": "2024/01/15"}, ["DEMO-001"], 1),
        ({"StudyDate": "20240101-20240331"}, ["DEMO-001", "DEMO-002"], 3),
        ({"PatientName": "Muster^Ä*"}, ["DEMO-001"], 1),
        ({"PatientID": "$(touch /tmp/pypx-was-here)"}, [], 0),
    ],
)
def test_keys(opt: Callable[..., Opt], keys: Opt, patients: list[str], series: int) -> None:
    found = pypx.find(opt(**keys))
    assert found["status"] == "success"
    assert sorted(values(study, "PatientID")[0] for study in found["data"]) == patients
    assert sum(len(study["series"]) for study in found["data"]) == series
    (name, value), *_ = keys.items()
    if name == "PatientID":
        assert f"PatientID={value}" in shlex.split(found["command"])
    assert not Path("/tmp/pypx-was-here").exists()


def test_a_rejection_is_an_error_with_a_sentence(serve: Callable[..., Address]) -> None:
    found = pypx.find(opt_for(serve("reject-aet")))
    assert (found["status"], found["returncode"]) == ("error", 3)
    assert isinstance(found["data"], str)
    assert set(found) == TOP | {"error"}


def test_what_makes_no_sense_is_an_answer(opt: Callable[..., Opt]) -> None:
    assert pypx.find(opt(then="retreive"))["returncode"] == 2
    found = pypx.find(opt(then="retrieve"))
    assert found["returncode"] == 2
    assert "all that the PACS has" in found["data"]


def test_a700_in_the_middle_is_partial(serve: Callable[..., Address]) -> None:
    found = pypx.find(opt_for(serve("cap-with-a700=1")))
    assert (found["status"], found["returncode"]) == ("partial", 4)
    assert found["error"]["status"] == "A700"
    assert len(found["data"]) == 1
    assert found["data"][0]["series"]


def test_a_failure_at_once_is_an_error() -> None:
    with Scripted(find=lambda one: one.end_find(0xC000, "no such key")) as scripted:
        found = pypx.find(opt_for(scripted.address))
    assert (found["status"], found["returncode"]) == ("error", 4)
    assert "no such key" in found["data"]


def test_a_truncated_answer_is_partial() -> None:
    def answer(one: Exchange) -> None:
        one.match(StudyInstanceUID="1.2")
        one.end_find(0xFE00)

    with Scripted(find=answer) as scripted:
        found = pypx.find(opt_for(scripted.address, StudyOnly=True))
    assert (found["status"], found["error"]["kind"], found["returncode"]) == (
        "partial",
        "truncated",
        1,
    )


def test_a_pacs_that_gives_no_series(serve: Callable[..., Address]) -> None:
    found = pypx.find(opt_for(serve("refuse-series-level")))
    assert (found["status"], found["returncode"]) == ("partial", 1)
    assert [study["series"] for study in found["data"]] == [[], [], []]
    assert all(study["error"]["tag"] == 0 for study in found["data"])


def test_a_pacs_that_goes_away_is_not_asked_for_every_study() -> None:
    asked: list[str] = []

    def answer(one: Exchange) -> None:
        if one.identifier["QueryRetrieveLevel"] == "SERIES":
            asked.append(one.identifier["StudyInstanceUID"])
            one.cut()
            return
        for number in range(5):
            one.match(StudyInstanceUID=f"1.2.{number}")
        one.end_find()

    with Scripted(find=answer) as scripted:
        found = pypx.find(opt_for(scripted.address))
    assert len(asked) == 2
    assert "Of 5 studies" in found["error"]["message"]


def test_a_pacs_that_gives_no_uids() -> None:
    def answer(one: Exchange) -> None:
        if one.identifier["QueryRetrieveLevel"] == "STUDY":
            one.match(PatientID="A")
            one.match(PatientID="B", StudyInstanceUID="1.2")
        else:
            one.match(Modality="MR")
        one.end_find()

    with Scripted(find=answer) as scripted:
        opt = opt_for(scripted.address, PatientID="*", then="retrieve", QueryReturnTags="PatientID")
        found = pypx.find(opt)
    assert (found["status"], found["returncode"]) == ("partial", 1)
    assert "does not tell the UID of a study" in found["error"]["message"]
    said = [one["data"] for one in steps(found, "00-retrieve")]
    assert ["UID of a study" in said[0], "UID of this series" in said[1]] == [True, True]


def test_each_match_is_there_once(serve: Callable[..., Address]) -> None:
    found = pypx.find(opt_for(serve("answer-twice")))
    assert [len(study["series"]) for study in found["data"]] == [1, 2, 1]


def test_keys_of_series_alone_name_their_studies() -> None:
    asked: list[dict[str, str]] = []

    def answer(one: Exchange) -> None:
        keys = {name: value for name, value in one.identifier.to_dict().items() if value}
        asked.append(keys)
        one.match(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3")
        one.end_find()

    with Scripted(find=answer) as scripted:
        found = pypx.find(opt_for(scripted.address, Modality="MR"))
    assert found["status"] == "success"
    series = {"QueryRetrieveLevel": "SERIES", "Modality": "MR"}
    assert asked == [
        series,
        {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2"},
        {**series, "StudyInstanceUID": "1.2"},
    ]


def test_where_they_may_not_stand_alone_all_studies_are_looked_through() -> None:
    asked: list[set[str]] = []

    def answer(one: Exchange) -> None:
        keys = {name for name, value in one.identifier.to_dict().items() if value}
        asked.append(keys)
        if {"Modality", "QueryRetrieveLevel"} == keys:
            one.end_find(0xA900)
            return
        one.match(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3")
        one.end_find()

    with Scripted(find=answer) as scripted:
        found = pypx.find(opt_for(scripted.address, Modality="MR"))
    assert found["status"] == "success"
    assert asked[1:] == [
        {"QueryRetrieveLevel"},
        {"QueryRetrieveLevel", "Modality", "StudyInstanceUID"},
    ]


def test_many_studies_of_series_are_asked_for_by_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pypx.compat.query._AT_ONCE", 2)
    uids = ["1.2.1", "1.2.2", "1.2.3"]

    def answer(one: Exchange) -> None:
        asked = one.identifier.get("StudyInstanceUID")
        for uid in asked.split("\\") if asked else uids:
            one.match(StudyInstanceUID=uid, SeriesInstanceUID=f"{uid}.1")
        one.end_find()

    with Scripted(find=answer) as scripted:
        found = pypx.find(opt_for(scripted.address, Modality="MR"))
    assert [values(study, "StudyInstanceUID")[0] for study in found["data"]] == uids
    assert all(len(study["series"]) == 1 for study in found["data"])


def node_of(home: Path, address: Address, setting: str) -> None:
    """Configure a node."""
    write_config(home, f'[nodes.hospital]\naddress = "{address}"\n{setting}\n')


def test_a_node_that_ends_its_answers_at_a_limit(pacs: Pacs, home: Path) -> None:
    node_of(home, pacs.address, "match_limit = 3")
    found = pypx.find({"node": "hospital", "StudyOnly": True})
    assert (found["status"], found["error"]["kind"]) == ("partial", "truncated")
    assert "may have more matches than the 3" in found["error"]["message"]


def test_a_node_of_the_patient_root_model(home: Path) -> None:
    asked = []

    def find(one: Exchange) -> None:
        asked.append((one.request.affected_sop_class_uid, one.identifier.get("PatientID")))
        one.match(PatientID="P", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3")
        one.end_find()

    def move(one: Exchange) -> None:
        asked.append((one.request.affected_sop_class_uid, one.identifier.get("PatientID")))
        one.progress(0x0000, None, 1, 0, 0)

    with Scripted(find=find, move=move) as scripted:
        node_of(home, scripted.address, 'model = "patient"')
        found = pypx.find({"node": "hospital", "PatientID": "P", "then": "retrieve"})
        uids = {"StudyInstanceUID": "1.2", "PatientID": "P"}
        moved = pypx.move({"node": "hospital", **uids})
    assert found["status"] == moved["status"] == "success"
    assert asked == [(PATIENT_ROOT_FIND, "P")] * 2 + [(PATIENT_ROOT_MOVE, "P")] * 2
    assert " -P " in found["command"]
    assert " -P " in moved["command"]


@pytest.mark.parametrize("wrong", [{"printReport": "pdf"}, {"reportTags": "{"}])
def test_a_report_that_cannot_be_is_told_before_anything_is_asked(wrong: Opt) -> None:
    found = pypx.find({"PatientID": "X", "then": "retrieve", **wrong})
    assert found["returncode"] == 2, "nobody listens where it would have been asked"


# What follows --------------------------------------------------------------------------------


@pytest.fixture
def receiving(pacs: Pacs, home: Path):
    """Receive what the PACS sends to PYPX, into the user's archive."""
    with ExitStack() as stack:
        archive = stack.enter_context(Archive(home / "pypx", durability="none"))
        receiver = stack.enter_context(Receiver(archive, port=0))
        pacs.destinations["PYPX"] = Address("PYPX", "127.0.0.1", receiver.port)
        yield archive


def steps(found: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Give what a step gave for all series."""
    return [one for study in found["then"][name]["study"] for s in study.values() for one in s]


def test_retrieve_status_push_report(
    opt: Callable[..., Opt], receiving: Archive, tmp_path: Path
) -> None:
    with Archive(tmp_path / "other", durability="none") as other, Pacs(other) as target:
        arguments = json.dumps({"node": str(target.address)})
        then = {"then": "retrieve,status,push,report", "thenArgs": arguments}
        found = pypx.find(opt(PatientID="DEMO-002", **then))
        pushed = list(other.instances())
    assert (found["status"], found["returncode"]) == ("success", 0)
    assert found["then"]["do"] is True
    uid = found["data"][0]["StudyInstanceUID"]["value"]
    assert [list(study) for study in found["then"]["00-retrieve"]["study"]] == [[uid]]
    for one in steps(found, "00-retrieve"):
        assert {"status", "data", "command", "returncode"} <= set(one)
        assert (one["status"], one["returncode"]) == ("success", 0)
    states = [one["state"]["images"] for one in steps(found, "01-status")]
    assert states == ["ImagesAllReceivedOK"] * 2
    assert sorted(one["completed"] for one in steps(found, "02-push")) == [6, 8]
    assert len(pushed) == 14
    assert {one["data"]["Modality"] for one in steps(found, "03-report")} == {"MR"}
    assert found["report"]["json"][0]["header"]["PatientID"] == "DEMO-002"


def test_a_pacs_that_goes_away_is_not_asked_for_every_series() -> None:
    asked: list[str] = []

    def find(one: Exchange) -> None:
        for number in range(5):
            one.match(StudyInstanceUID="1.2", SeriesInstanceUID=f"1.2.{number}")
        one.end_find()

    def move(one: Exchange) -> None:
        asked.append(one.identifier["SeriesInstanceUID"])
        one.cut()

    with Scripted(find=find, move=move) as scripted:
        found = pypx.find(opt_for(scripted.address, PatientID="X", then="retrieve"))
    assert asked == ["1.2.0", "1.2.1"]
    assert found["returncode"] == 3
    said = [one["data"] for one in steps(found, "00-retrieve")]
    assert [text.startswith("Not asked for") for text in said] == [False, False, True, True, True]


def test_the_retrieve_of_1_x_has_a_report_with_its_word(
    opt: Callable[..., Opt], receiving: Archive
) -> None:
    found = pypx.find(opt(PatientID="DEMO-001", retrieve=True))
    assert found["report"]["json"][0]["body"][0]["PACS_Retrieve"] == " [ OK ] "
    assert len(list(receiving.instances())) == 12


def test_a_call_with_keys_of_1_x_has_a_report(opt: Callable[..., Opt]) -> None:
    plain = pypx.find(opt(PatientID="DEMO-001"))
    old = pypx.find(opt(PatientID="DEMO-001", retrieve=False, printReport=""))
    assert "report" not in plain
    assert set(old["report"]) >= {"tabular", "rawText", "json"}


def test_a_destination_that_the_pacs_does_not_know(opt: Callable[..., Opt], pacs: Pacs) -> None:
    found = pypx.find(opt(PatientID="DEMO-002", then="retrieve"))
    assert (found["status"], found["returncode"]) == ("partial", 4)
    assert [one["status"] for one in steps(found, "00-retrieve")] == ["error", "error"]
    assert len(found["data"]) == 1


def test_steps_that_are_not_here_say_so(opt: Callable[..., Opt], home: Path) -> None:
    swift = '{"db": "/home/dicom/log", "swift": "megalodon", "swiftPackEachDICOM": true}'
    then = {"then": "push,register,status", "thenArgs": swift}
    found = pypx.find(opt(PatientID="DEMO-001", **then))
    assert (found["status"], found["returncode"]) == ("partial", 2)
    (pushed,) = steps(found, "00-push")
    assert "Swift storage is not" in pushed["data"]
    (registered,) = steps(found, "01-register")
    assert "no ChRIS client" in registered["data"]
    (status,) = steps(found, "02-status")
    assert status["state"]["images"] == "NoImagesReceived"
    assert status["images"]["requested"]["count"] == 12


def test_what_is_not_in_the_archive_cannot_be_pushed(
    opt: Callable[..., Opt], home: Path, receiving: Archive
) -> None:
    arguments = json.dumps({"node": str(Address("X", "127.0.0.1", free_port()))})
    found = pypx.find(opt(PatientID="DEMO-001", then="push", thenArgs=arguments))
    assert "has nothing of series" in steps(found, "00-push")[0]["data"]


def test_studies_only_are_retrieved_series_by_series(
    opt: Callable[..., Opt], receiving: Archive
) -> None:
    found = pypx.find(opt(PatientID="DEMO-002", then="retrieve", StudyOnly=True))
    assert [one["completed"] for one in steps(found, "00-retrieve")] in ([8, 6], [6, 8])
    assert "series" not in found["data"][0]


def test_series_that_are_not_known_are_not_done(serve: Callable[..., Address]) -> None:
    where = serve("refuse-series-level")
    found = pypx.find(opt_for(where, PatientID="DEMO-001", then="report"))
    (one,) = steps(found, "00-report")
    assert one["status"] == "error"
