"""Orthanc as a fixture."""

from __future__ import annotations

import urllib.request

import pytest

from tests.corpus import CorpusFile
from tests.peers import dcmtk


def test_starts_and_answers(orthanc):
    peer = orthanc()
    assert peer.rest("/system")["DicomAet"] == "ORTHANC"
    assert dcmtk.echoscu(peer.address).returncode == 0


def test_holds_every_good_file(loaded_orthanc, corpus):
    assert loaded_orthanc.held == corpus.good
    assert loaded_orthanc.sop_instance_uids() == {file.sop_instance_uid for file in corpus.good}


def test_keeps_what_it_has_over_a_restart(orthanc, corpus):
    peer = orthanc()
    peer.load(corpus.good[:3])
    peer.restart()
    assert len(peer.sop_instance_uids()) == 3
    peer.clear()
    assert peer.sop_instance_uids() == set()


def test_refused_files_are_told(orthanc, tmp_path):
    peer = orthanc()
    bad = CorpusFile(tmp_path / "bad", source="here")
    bad.path.write_bytes(b"not DICOM")
    assert list(peer.load([bad])) == [bad]
    assert peer.held == []


@pytest.mark.parametrize("known_from_the_start", [True, False])
def test_moves_to_a_destination(orthanc, storescp, corpus, known_from_the_start):
    receiver = storescp(ae_title="RECEIVER")
    destinations = {"RECEIVER": receiver.port} if known_from_the_start else {}
    peer = orthanc(destinations=destinations)
    if not known_from_the_start:
        peer.add_modality("RECEIVER", receiver.port)
    file = corpus.good[0]
    peer.load([file])
    study = f"StudyInstanceUID={file.study_instance_uid}"
    outcome = dcmtk.movescu(
        peer.address, "RECEIVER", *("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", study)
    )
    assert outcome.returncode == 0, outcome.output
    assert len(receiver.files) == 1


def test_dicom_web_answers_where_the_plugin_is(loaded_orthanc):
    if not loaded_orthanc.dicom_web:
        pytest.skip("the DICOMweb plugin is not installed")
    with urllib.request.urlopen(f"{loaded_orthanc.url}/dicom-web/studies?limit=1") as answer:
        assert answer.status == 200
