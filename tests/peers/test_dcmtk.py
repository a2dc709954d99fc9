"""DCMTK's servers and tools as fixtures."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests.peers import dcmtk

# Storable, but DCMTK's tools find no SOP class in elements of VR UN.
UNREADABLE = {"explicit_VR-UN.dcm", "rtdose_rle.dcm"}


@pytest.fixture(scope="module")
def readable(corpus):
    return [file for file in corpus.good if file.source.rpartition("/")[2] not in UNREADABLE]


@pytest.mark.parametrize("nodelay", [True, False])
def test_storescu_sends_every_readable_good_file_to_storescp(
    storescp, readable, association_profile, nodelay
):
    files = readable if nodelay else readable[:5]  # 40 ms and more each
    receiver = storescp(nodelay=nodelay)
    outcome = dcmtk.storescu(files, receiver.address, profile=association_profile, nodelay=nodelay)
    assert outcome.returncode == 0, outcome.output
    assert len(receiver.files) == len(files)


def test_storescp_writes_other_syntaxes_only_when_it_may(storescp, corpus, association_profile):
    receiver = storescp(accept_all=False)
    jpeg = [file for file in corpus.good if file.transfer_syntax_uid == "1.2.840.10008.1.2.4.50"]
    outcome = dcmtk.storescu(jpeg[:1], receiver.address, profile=association_profile)
    assert outcome.returncode != 0
    assert receiver.files == []


def test_dcmqrscp_answers(dcmqrscp, corpus):
    peer = dcmqrscp(corpus.good)
    assert dcmtk.echoscu(peer.address).returncode == 0
    assert dcmtk.echoscu(peer.address.replace("DCMQRSCP", "SOMEONE")).returncode != 0


def test_dcmqrscp_holds_what_dcmtk_can_read(loaded_dcmqrscp, readable):
    assert loaded_dcmqrscp.held == readable
    outcome = dcmtk.findscu(
        loaded_dcmqrscp.address,
        "-v",
        *("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID"),
    )
    studies = {file.study_instance_uid for file in readable}
    assert outcome.output.count("Find Response:") == len(studies), outcome.output[-2000:]


def test_dcmqrscp_takes_every_readable_good_file(dcmqrscp, readable, association_profile):
    peer = dcmqrscp(readable)
    outcome = dcmtk.storescu(readable, peer.address, "-v", profile=association_profile)
    assert outcome.returncode == 0, outcome.output
    assert outcome.output.count("(Success)") == len(readable)


@pytest.fixture(scope="module")
def study(loaded_dcmqrscp):
    """Return the files of the largest study that dcmqrscp can send, and the keys for it."""
    studies = defaultdict(list)
    for file in loaded_dcmqrscp.held:
        studies[file.study_instance_uid].append(file)
    uid, files = max(
        (item for item in studies.items() if all(is_uncompressed(file) for file in item[1])),
        key=lambda item: len(item[1]),
    )
    assert len(files) > 5
    return files, ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid}")


def is_uncompressed(file):
    return file.transfer_syntax_uid in dcmtk.UNCOMPRESSED


def test_dcmqrscp_moves_to_a_destination(loaded_dcmqrscp, storescp, study):
    receiver = storescp(port=loaded_dcmqrscp.destinations["STORESCP"])
    files, keys = study
    outcome = dcmtk.movescu(loaded_dcmqrscp.address, "STORESCP", *keys)
    assert outcome.returncode == 0, outcome.output
    assert len(receiver.files) == len(files)


def test_dcmqrscp_gives_to_getscu(loaded_dcmqrscp, tmp_path, study):
    files, keys = study
    outcome = dcmtk.getscu(loaded_dcmqrscp.address, tmp_path, *keys)
    assert outcome.returncode == 0, outcome.output
    assert len(list(tmp_path.iterdir())) == len(files)


def test_dcmdump_shows_a_file(corpus):
    assert "SOPInstanceUID" in dcmtk.dcmdump(corpus.good[0])
