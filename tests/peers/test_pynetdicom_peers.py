"""pynetdicom's servers as fixtures."""

from __future__ import annotations

import threading

from pydicom import Dataset

from tests.peers import dcmtk


def test_storescp_stores(pynetdicom_storescp, corpus, association_profile):
    receiver = pynetdicom_storescp()
    files = [corpus.named("CT_small.dcm"), corpus.named("/MR_small.dcm")]
    outcome = dcmtk.storescu(files, receiver.address, profile=association_profile)
    assert outcome.returncode == 0, outcome.output
    assert len(receiver.files) == 2


def test_qrscp_stores_and_moves(pynetdicom_qrscp, storescp, corpus, association_profile):
    receiver = storescp()
    peer = pynetdicom_qrscp(destinations={"STORESCP": receiver.port})
    file = corpus.named("CT_small.dcm")
    assert dcmtk.storescu([file], peer.address, profile=association_profile).returncode == 0
    keys = ("-S", "-k", "QueryRetrieveLevel=STUDY")
    study = f"StudyInstanceUID={file.study_instance_uid}"
    outcome = dcmtk.movescu(peer.address, "STORESCP", *keys, "-k", study)
    assert outcome.returncode == 0, outcome.output
    assert len(receiver.files) == 1


def test_scripted_answers_are_the_tests_own(scripted_scp):
    def on_find(event):
        for name in ("Anna", "Otto"):
            match = Dataset()
            match.QueryRetrieveLevel = "STUDY"
            match.PatientName = name
            yield 0xFF00, match

    peer = scripted_scp(on_echo=lambda event: 0x0122, on_find=on_find)
    assert "0x122" in dcmtk.echoscu(peer.address, "-v").output
    found = dcmtk.findscu(peer.address, "-v", "-S", "-k", "QueryRetrieveLevel=STUDY")
    assert "[Anna]" in found.output
    assert "[Otto]" in found.output


def test_scripted_receives(scripted_scp, corpus, association_profile):
    received = []

    def on_store(event):
        received.append(event.request.AffectedSOPInstanceUID)
        return 0x0000

    peer = scripted_scp(on_store=on_store)
    file = corpus.named("CT_small.dcm")
    outcome = dcmtk.storescu([file], peer.address, profile=association_profile)
    assert outcome.returncode == 0, outcome.output
    assert received == [file.sop_instance_uid]


def test_no_thread_is_left_of_a_scripted_server(scripted_scp):
    before = set(threading.enumerate())
    peer = scripted_scp()
    assert dcmtk.echoscu(peer.address).returncode == 0
    peer.stop()
    assert set(threading.enumerate()) <= before
