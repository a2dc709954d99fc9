"""px retrieve from real PACS: all that they have, by UID, or what is missing and why."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path

import pytest
from pydicom import Dataset

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.client import Client
from pypx.dicom.uids import storage_sop_classes
from tests.objects import CT_IMAGE, write_file
from tests.peers.dcmtk import UNCOMPRESSED
from tests.peers.engines import not_for_want_of_a_syntax
from tests.peers.process import HOST
from tests.peers.retrieving import PxRetrieve, store, write_cohort

EVERYTHING = ("-k", "PatientID=*")
MISREAD = {"native": 2, "dcmtk": 0}  # they are compressed, what getscu does not propose
"""Files whose SOP Class UID is "31" to Orthanc 1.10.1: it has VR UN. No C-GET brings them."""


@pytest.fixture
def retrieve(tmp_path: Path, engine: str) -> PxRetrieve:
    return PxRetrieve(tmp_path, engine=engine)


def uids(files):
    return {file.sop_instance_uid.strip() for file in files}


# Orthanc -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "by"),
    [("auto", "series"), ("auto", "image"), ("move", "study"), ("move", "series")],
)
def test_all_that_orthanc_has(retrieve, loaded_orthanc, method, by):
    """Ten kinds of transfer syntax, fourteen SOP classes, patients without an ID."""
    loaded_orthanc.add_modality("PYPX", retrieve.port)
    found = retrieve(loaded_orthanc.address, *EVERYTHING, "--method", method, "--by", by)
    assert found.code == 0, found
    assert retrieve.stored() == loaded_orthanc.sop_instance_uids()
    document = found.document
    assert document["status"] == "success"
    assert document["requested"] == document["received"] == len(loaded_orthanc.held)
    assert document["missing"] == []
    again = retrieve(loaded_orthanc.address, *EVERYTHING, "--method", method, "--by", by)
    assert again.code == 0, again
    assert again.document["completed"] == 0, "it is here"


@pytest.mark.parametrize("by", ["study", "series"])
def test_a_get_of_all_that_orthanc_has(retrieve, engine, loaded_orthanc, by):
    arguments = (*EVERYTHING, "--method", "get", "--by", by, "--retries", "1")
    found = retrieve(loaded_orthanc.address, *arguments)
    stored, theirs = retrieve.stored(), loaded_orthanc.sop_instance_uids()
    assert found.code == 1, found
    missing = not_for_want_of_a_syntax(engine, loaded_orthanc.held, theirs - stored)
    assert stored < theirs and len(missing) == MISREAD[engine]
    assert set(found.document["missing"]) == theirs - stored


def test_the_bytes_are_those_that_orthanc_was_given(retrieve, orthanc, tmp_path):
    held = write_cohort(tmp_path, 3, 4)
    peer = orthanc(destinations={"PYPX": retrieve.port})
    store(peer, tmp_path / "cohort")
    assert retrieve(peer.address, *EVERYTHING).code == 0
    assert retrieve.contents() == held


def test_one_patient_one_study_and_one_modality(retrieve, loaded_orthanc):
    loaded_orthanc.add_modality("PYPX", retrieve.port)
    wanted = set()
    for key, attribute in (("PatientID", "patient_id"), ("StudyInstanceUID", "study_instance_uid")):
        value = next(v for f in loaded_orthanc.held if (v := getattr(f, attribute)).strip())
        found = retrieve(loaded_orthanc.address, "-k", f"{key}={value.strip()}")
        assert found.code == 0, found
        wanted |= uids(f for f in loaded_orthanc.held if getattr(f, attribute) == value)
        assert retrieve.stored() == wanted
    found = retrieve(loaded_orthanc.address, *EVERYTHING, "-k", "Modality=US")
    assert found.code == 0, found
    wanted |= uids(file for file in loaded_orthanc.held if file.modality == "US")
    assert retrieve.stored() == wanted


def test_one_series_and_one_image(retrieve, loaded_orthanc):
    """Orthanc answers a query without the study; what is here then needs none."""
    loaded_orthanc.add_modality("PYPX", retrieve.port)
    file = next(file for file in loaded_orthanc.held if file.modality == "US")
    for key, attribute in (
        ("SOPInstanceUID", "sop_instance_uid"),
        ("SeriesInstanceUID", "series_instance_uid"),
    ):
        value = getattr(file, attribute)
        found = retrieve(loaded_orthanc.address, "-k", f"{key}={value}")
        assert found.code == 0, found
        wanted = uids(one for one in loaded_orthanc.held if getattr(one, attribute) == value)
        assert retrieve.stored() == wanted


def test_names_in_all_character_sets(retrieve, loaded_orthanc):
    """Found by a name that is not Latin, told as it is written, stored as it was."""
    loaded_orthanc.add_modality("PYPX", retrieve.port)
    found = retrieve(loaded_orthanc.address, "-k", "PatientName=*山田*")
    assert found.code == 0, found
    query = {"Level": "Instance", "Query": {"PatientName": "*山田*"}, "Expand": True}
    theirs = loaded_orthanc.rest("/tools/find", method="POST", body=query)
    wanted = {instance["MainDicomTags"]["SOPInstanceUID"] for instance in theirs}
    assert wanted and wanted == retrieve.stored()
    with Archive(retrieve.root) as archive:
        names = {str(row["PatientName"]) for row in archive.find("study")}
        [transfer] = archive.ledger.transfers()
        told = {study.patient_name for study in archive.ledger.studies(transfer)}
    assert all("山田" in name for name in names | told), (names, told)


def test_orthanc_that_does_not_know_us_and_then_does(retrieve, engine, orthanc, corpus):
    """Its C-MOVE ends with C000H. What is printed for its administrator is what it needs."""
    peer = orthanc()
    peer.load(corpus.good)
    found = retrieve(peer.address, *EVERYTHING, "--method", "move", "--retries", "0")
    assert found.code == 4, "without the other method there is no way"
    assert not retrieve.count()
    found = retrieve(peer.address, *EVERYTHING, "--retries", "1")
    theirs = peer.sop_instance_uids()
    assert found.code == 1, found
    missing = not_for_want_of_a_syntax(engine, peer.held, theirs - retrieve.stored())
    assert len(missing) == MISREAD[engine]
    assert "The PACS sends by C-GET and not the other way" in found.stderr
    assert found.stderr.count("orthanc.json") == 1
    [entry] = re.findall(r"Orthanc \(orthanc.json\): (.*)", found.stderr)
    reborn = orthanc(config=json.loads(f"{{{entry}}}"))
    reborn.load(peer.held)
    retrieve.root = retrieve.root.with_name("another")
    arguments = ("--method", "move", "--archive", retrieve.root)
    found = retrieve(reborn.address, *EVERYTHING, *arguments)
    assert found.code == 0, found
    assert retrieve.stored() == theirs


@pytest.mark.parametrize("retries", [0, 3])
def test_the_other_method_does_not_need_a_retry(retrieve, orthanc, tmp_path, retries):
    held = write_cohort(tmp_path, 30, 1)
    peer = orthanc()
    store(peer, tmp_path / "cohort")
    found = retrieve(peer.address, *EVERYTHING, "--retries", retries, "--associations", 4)
    assert found.code == 0, found
    assert retrieve.stored() == set(held)


def test_a_limit_of_matches(retrieve, orthanc, tmp_path):
    held = write_cohort(tmp_path, 60, 1)
    peer = orthanc(
        destinations={"PYPX": retrieve.port},
        config={"LimitFindResults": 10, "LimitFindInstances": 10},
    )
    store(peer, tmp_path / "cohort")
    found = retrieve(peer.address, "-k", "StudyDate=20240101-")
    assert found.code == 0, found
    assert retrieve.stored() == set(held)
    found = retrieve(peer.address, *EVERYTHING)
    assert found.code == 1, "studies without a date could be behind the limit"
    assert found.document["status"] == "warning"


@pytest.mark.parametrize("method", ["move", "get"])
def test_more_images_than_the_limit(retrieve, orthanc, tmp_path, method):
    """Their number is known, and only some of the UIDs: all come, and are counted."""
    held = write_cohort(tmp_path, 2, 35)
    peer = orthanc(destinations={"PYPX": retrieve.port}, config={"LimitFindInstances": 10})
    store(peer, tmp_path / "cohort")
    found = retrieve(peer.address, *EVERYTHING, "--method", method)
    assert found.code == 0, found
    assert retrieve.stored() == set(held)


def test_a_called_title_that_orthanc_minds(retrieve, orthanc):
    peer = orthanc(config={"DicomCheckCalledAet": True})
    found = retrieve(peer.address.replace("ORTHANC", "OTHER"), *EVERYTHING)
    assert found.code == 3
    assert found.document["error"]["kind"] == "association-rejected"
    assert found.document["status"] == "failure"


def test_a_calling_title_that_orthanc_does_not_know(retrieve, orthanc, tmp_path):
    """Unknown modalities may do nothing there, and known ones all, if they come from there."""
    held = write_cohort(tmp_path, 2, 2)
    never = {f"DicomAlwaysAllow{what}": False for what in ("Find", "Get", "Move", "Echo")}
    peer = orthanc(config=never)
    store(peer, tmp_path / "cohort")
    found = retrieve(peer.address, *EVERYTHING)
    assert found.code in (3, 4), found
    assert found.document["error"]["hint"]
    assert not retrieve.count()
    peer.add_modality("PYPX", retrieve.port)
    assert retrieve(peer.address, *EVERYTHING).code == 0
    assert retrieve.stored() == set(held)


@pytest.mark.parametrize("by", ["study", "series", "image"])
def test_more_sop_classes_than_an_association_has_contexts(retrieve, orthanc, tmp_path, by):
    """140 of them; each study has one C-GET, by study, and 140 contexts are too many for one."""
    classes = storage_sop_classes()[:140]
    folder = tmp_path / "classes"
    folder.mkdir()
    for number, sop_class in enumerate(classes):
        write_file(folder, number, SOPClassUID=sop_class, PixelData=None, Modality="OT")
    peer = orthanc()
    store(peer, folder)
    assert len(classes) > 128
    found = retrieve(peer.address, *EVERYTHING, "--method", "get", "--by", by)
    assert found.code == 0, found
    assert retrieve.stored() == peer.sop_instance_uids()
    assert len(retrieve.stored()) == len(classes)


# dcmqrscp ------------------------------------------------------------------------------------


@pytest.fixture
def plain(loaded_dcmqrscp):
    """The studies of which dcmqrscp can send everything, as one key."""
    held = loaded_dcmqrscp.held
    compressed = {f.study_instance_uid for f in held if f.transfer_syntax_uid not in UNCOMPRESSED}
    return {file.study_instance_uid for file in held} - compressed


@pytest.mark.parametrize(
    ("method", "by"), [("auto", "series"), ("move", "study"), ("get", "series"), ("move", "image")]
)
def test_the_plain_studies_of_dcmqrscp(retrieve, loaded_dcmqrscp, plain, method, by):
    port = loaded_dcmqrscp.destinations["PYPX"]
    arguments = ("--port", port, "--method", method, "--by", by)
    key = "\\".join(sorted(plain))
    found = retrieve(loaded_dcmqrscp.address, "-k", f"StudyInstanceUID={key}", *arguments)
    assert found.code == 0, found
    held = loaded_dcmqrscp.held
    assert retrieve.stored() == uids(file for file in held if file.study_instance_uid in plain)


def test_a_series_alone_of_dcmqrscp(retrieve, loaded_dcmqrscp, plain):
    port = loaded_dcmqrscp.destinations["PYPX"]
    file = next(one for one in loaded_dcmqrscp.held if one.study_instance_uid in plain)
    key = f"SeriesInstanceUID={file.series_instance_uid}"
    found = retrieve(loaded_dcmqrscp.address, "-k", key, "--port", port)
    assert found.code == 0, found
    held = loaded_dcmqrscp.held
    series = file.series_instance_uid
    assert retrieve.stored() == uids(one for one in held if one.series_instance_uid == series)


@pytest.mark.parametrize("method", ["auto", "get"])
def test_what_dcmqrscp_cannot_send_is_named(retrieve, loaded_dcmqrscp, method):
    """And nothing that is here is fetched again for its sake."""
    port = loaded_dcmqrscp.destinations["PYPX"]
    arguments = (*EVERYTHING, "--port", port, "--method", method, "--retries", 1)
    found = retrieve(loaded_dcmqrscp.address, *arguments)
    held, stored = loaded_dcmqrscp.held, retrieve.stored()
    compressed = uids(f for f in held if f.transfer_syntax_uid not in UNCOMPRESSED)
    assert found.code == 1, found
    missing = set(found.document["missing"])
    assert missing and missing <= compressed
    assert stored | missing == uids(held) and not stored & missing
    with Archive(retrieve.root) as archive:
        [transfer] = archive.ledger.transfers()
        requests = [
            r for one in archive.ledger.series(transfer) for r in archive.ledger.requests(one)
        ]
    sent = sum((request.completed or 0) + (request.warning or 0) for request in requests)
    assert sent == len(stored)


def test_the_patients_of_dcmqrscp(retrieve, loaded_dcmqrscp):
    held = loaded_dcmqrscp.held
    compressed = {f.patient_id for f in held if f.transfer_syntax_uid not in UNCOMPRESSED}
    patient = next(f.patient_id for f in held if f.patient_id.strip() not in ("", *compressed))
    port = loaded_dcmqrscp.destinations["PYPX"]
    arguments = ("-k", f"PatientID={patient.strip()}", "--model", "patient", "--port", port)
    found = retrieve(loaded_dcmqrscp.address, *arguments)
    assert found.code == 0, found
    assert retrieve.stored() == uids(file for file in held if file.patient_id == patient)


def test_dcmqrscp_that_does_not_know_us_and_then_does(retrieve, dcmqrscp, corpus):
    """It says A801H. What is printed for its administrator is what it needs."""
    files = [f for f in corpus.good if f.transfer_syntax_uid in UNCOMPRESSED][:20]
    peer = dcmqrscp(files)
    peer.load(files)
    found = retrieve(peer.address, *EVERYTHING)
    assert found.code == 0, found
    assert retrieve.stored() == uids(peer.held)
    [line] = re.findall(r"DCMTK \(dcmqrscp.cfg, HostTable\): (.*)", found.stderr)
    reborn = dcmqrscp(files, hosts=[line])
    reborn.load(files)
    retrieve.root = retrieve.root.with_name("another")
    arguments = ("--method", "move", "--archive", retrieve.root)
    found = retrieve(reborn.address, *EVERYTHING, *arguments)
    assert found.code == 0, found
    assert retrieve.stored() == uids(peer.held)


# pynetdicom ----------------------------------------------------------------------------------


def test_success_first_then_objects_that_name_nobody_and_some_nobody_asked_for(
    retrieve, scripted_scp, tmp_path
):
    """Late, without Move Originator, with others between them: credited, stored, listed apart."""
    wanted = [f"1.2.3.4.{number}" for number in range(1, 6)]
    others = ["1.2.3.4.8", "1.2.3.4.9"]
    objects = [write_file(tmp_path, number) for number in range(1, 6)]
    stray = {"StudyInstanceUID": "1.2.9", "SeriesInstanceUID": "1.2.9.3"}
    objects[2:2] = [write_file(tmp_path, 8, **stray), write_file(tmp_path, 9, **stray)]
    senders = []

    def find(event):
        level = event.identifier.QueryRetrieveLevel
        for uid in wanted if level == "IMAGE" else wanted[:1]:
            answer = Dataset()
            answer.QueryRetrieveLevel = level
            answer.PatientID, answer.StudyInstanceUID = "4711", "1.2.3"
            if level != "STUDY":
                answer.SeriesInstanceUID = "1.2.3.4"
            if level == "IMAGE":
                answer.SOPInstanceUID, answer.SOPClassUID = uid, CT_IMAGE
            yield 0xFF00, answer

    def send():
        time.sleep(0.3)
        address = f"PYPX@{HOST}:{retrieve.port}"
        with Client(Address.parse(address), calling_ae_title="SCRIPTED") as client:
            for path in objects:
                assert {one.status for one in client.store_files([path])} == {0}
                time.sleep(0.05)

    def move(event):
        senders.append(threading.Thread(target=send))
        senders[-1].start()
        yield HOST, retrieve.port
        yield 0

    peer = scripted_scp(on_find=find, on_move=move)
    found = retrieve(peer.address, "-k", "PatientID=4711")
    for sender in senders:
        sender.join()
    assert len(senders) == 1, "it is not asked twice"
    assert found.code == 0, found
    assert retrieve.stored() == {*wanted, *others}
    assert found.document["received"] == len(wanted)
    assert found.document["unexpected_sop_instance_uids"] == others
