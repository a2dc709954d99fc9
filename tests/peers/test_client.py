"""Our client against real Orthanc, dcmqrscp, storescp and pynetdicom."""

from __future__ import annotations

from collections import Counter

import pytest

from pypx.errors import AssociationError, AssociationRejectedError, StatusError
from pypx.net.connection import Timeouts
from tests.names import NAMES
from tests.peers.process import free_port

TIMEOUTS = Timeouts(connect=5, association=10, response=30, release=5)


@pytest.fixture
def client(make_requestor):
    def make(peer, **options):
        return make_requestor(options.pop("address", peer.address), timeouts=TIMEOUTS, **options)

    return make


# --- C-ECHO ----------------------------------------------------------------------------------


@pytest.mark.parametrize("nodelay", [True, False])
def test_echo_to_storescp(client, storescp, nodelay):
    with client(storescp(nodelay=nodelay)) as one:
        echo = one.echo()
    assert echo.peer.implementation_version_name.startswith("OFFIS_DCMTK")
    assert echo.peer.maximum_pdu_length == 16384


def test_echo_to_orthanc(client, loaded_orthanc):
    with client(loaded_orthanc) as one:
        assert one.echo().peer.implementation_version_name


def test_echo_to_dcmqrscp(client, loaded_dcmqrscp):
    with client(loaded_dcmqrscp) as one:
        assert one.echo().peer.implementation_version_name.startswith("OFFIS_DCMTK")


def test_echo_to_pynetdicom(client, scripted_scp):
    with client(scripted_scp()) as one:
        assert one.echo().peer.implementation_version_name.startswith("PYNETDICOM")


def test_an_orthanc_that_checks_the_called_title_refuses_another(client, orthanc):
    peer = orthanc(config={"DicomCheckCalledAet": True})
    with client(peer) as one:
        one.echo()
    with pytest.raises(AssociationRejectedError) as caught:
        client(peer, address=peer.address.replace("ORTHANC", "OTHER")).echo()
    assert (caught.value.source, caught.value.reason) == (1, 7)


def test_an_orthanc_that_knows_us_not_refuses_us(client, orthanc):
    peer = orthanc(config={"DicomAlwaysAllowEcho": False, "DicomAlwaysAllowFind": False})
    with pytest.raises(AssociationError):  # Orthanc 1.10.1 accepts, then aborts
        client(peer).echo()


# --- C-FIND ----------------------------------------------------------------------------------


def expected(held, *attributes):
    """Return the set of values of these attributes over the files."""
    return {tuple(getattr(file, name) for name in attributes) for file in held}


def found(matches, *keywords):
    return [tuple((match.get(keyword) or "").strip() for keyword in keywords) for match in matches]


@pytest.mark.parametrize("model", ["study", "patient"])
def test_orthanc_gives_every_study(client, loaded_orthanc, model):
    with client(loaded_orthanc) as one:
        studies = found(one.find({}, level="study", model=model), "StudyInstanceUID")
    assert len(studies) == len(set(studies))
    assert {uid for (uid,) in studies} == {
        file.study_instance_uid.strip() for file in loaded_orthanc.held
    }


def test_orthanc_gives_every_patient(client, loaded_orthanc):
    with client(loaded_orthanc) as one:
        patients = found(one.find({}, level="patient", model="patient"), "PatientID")
    in_rest = {
        patient["MainDicomTags"].get("PatientID", "").strip()
        for patient in loaded_orthanc.rest("/patients?expand")
    }
    assert {uid for (uid,) in patients} == in_rest


@pytest.mark.parametrize("peer_name", ["loaded_orthanc", "loaded_dcmqrscp"])
def test_series_and_images_of_each_study(client, peer_name, request):
    peer = request.getfixturevalue(peer_name)
    series, images = [], []
    with client(peer) as one:
        studies = [match["StudyInstanceUID"] for match in one.find({})]
        for study in studies:
            below = found(
                one.find({"StudyInstanceUID": study}, level="series"), "SeriesInstanceUID"
            )
            series += below
            for (uid,) in below:
                keys = {"StudyInstanceUID": study, "SeriesInstanceUID": uid}
                images += found(one.find(keys, level="image"), "SOPInstanceUID")
    assert set(series) == expected(peer.held, "series_instance_uid")
    assert Counter(images) == Counter((file.sop_instance_uid,) for file in peer.held)


UNIQUE = {
    "patient": ("PatientID", "patient_id"),
    "study": ("StudyInstanceUID", "study_instance_uid"),
    "series": ("SeriesInstanceUID", "series_instance_uid"),
    "image": ("SOPInstanceUID", "sop_instance_uid"),
}
LEVELS = {"patient": ["patient", "study", "series", "image"], "study": ["study", "series", "image"]}


@pytest.mark.parametrize("peer_name", ["loaded_orthanc", "loaded_dcmqrscp"])
@pytest.mark.parametrize(
    ("model", "level"), [(model, level) for model, levels in LEVELS.items() for level in levels]
)
def test_every_level_of_every_model(client, peer_name, model, level, request):
    """Each level with the unique keys of the levels above it, as the standard asks."""
    peer = request.getfixturevalue(peer_name)
    known = next(file for file in peer.held if file.patient_id.strip() == file.patient_id != "")
    keys, below = {}, list(peer.held)
    for above in LEVELS[model][: LEVELS[model].index(level)]:
        keyword, attribute = UNIQUE[above]
        keys[keyword] = getattr(known, attribute)
        below = [file for file in below if getattr(file, attribute) == keys[keyword]]
    keyword, attribute = UNIQUE[level]
    with client(peer) as one:
        matches = one.find(keys, level=level, model=model)
        values = {match.get(keyword) or "" for match in matches}
    assert values == {getattr(file, attribute).strip() for file in below}


def test_dcmqrscp_gives_every_level_of_the_patient_model(client, loaded_dcmqrscp):
    with client(loaded_dcmqrscp, model="patient") as one:
        patients = found(one.find({}, level="patient"), "PatientID")
        assert ("",) in patients or patients
        (known,) = [uid for (uid,) in patients if uid][:1]
        studies = found(one.find({"PatientID": known}, level="study"), "StudyInstanceUID")
        assert set(studies) == {
            (file.study_instance_uid,)
            for file in loaded_dcmqrscp.held
            if file.patient_id.strip() == known
        }


def test_dcmqrscp_refuses_what_is_not_in_its_model(client, loaded_dcmqrscp):
    with client(loaded_dcmqrscp) as one, pytest.raises(StatusError) as caught:
        list(one.find({}, level="patient", model="study"))
    assert caught.value.exit_code == 4
    assert caught.value.hint


def test_one_match_an_instance_is_what_pynetdicom_gives(client, pynetdicom_qrscp, corpus):
    peer = pynetdicom_qrscp()
    from tests.peers import dcmtk

    files = [file for file in corpus.good if file.transfer_syntax_uid in dcmtk.UNCOMPRESSED][:5]
    assert dcmtk.storescu(files, peer.address).returncode == 0
    with client(peer) as one:
        matches = found(one.find({}), "StudyInstanceUID")
    assert len(matches) == 5


def test_a_limit_cancels_at_a_real_peer_and_the_association_lives(client, loaded_orthanc):
    with client(loaded_orthanc) as one:
        assert len(list(one.find({}, limit=3))) == 3
        assert len(list(one.find({}, limit=4))) == 4


def test_names_of_all_scripts_come_from_orthanc(client, loaded_orthanc):
    with client(loaded_orthanc) as one:
        names = {match.get("PatientName") for match in one.find({})}
    wrong = {file_name: name for file_name, name in NAMES.items() if name not in names}
    # Orthanc 1.10.1 does not convert what follows a name in ISO 2022 IR 13.
    assert wrong.keys() <= {"chrH32.dcm"}


# --- C-MOVE ----------------------------------------------------------------------------------


def test_a_destination_that_orthanc_does_not_know(client, loaded_orthanc):
    study = loaded_orthanc.held[0].study_instance_uid
    with client(loaded_orthanc) as one, pytest.raises(StatusError) as caught:
        one.move({"StudyInstanceUID": study}, destination="NOBODY_KNOWS").run()
    assert "NOBODY_KNOWS" in caught.value.message + caught.value.hint


def test_a_destination_that_dcmqrscp_does_not_know(client, loaded_dcmqrscp):
    study = loaded_dcmqrscp.held[0].study_instance_uid
    with client(loaded_dcmqrscp) as one, pytest.raises(StatusError) as caught:
        one.move({"StudyInstanceUID": study}, destination="NOBODY_KNOWS").run()
    assert caught.value.status == 0xA801
    assert "destination" in caught.value.message


@pytest.mark.parametrize("peer_name", ["loaded_orthanc", "loaded_dcmqrscp"])
def test_a_destination_where_nothing_listens(client, peer_name, request):
    peer = request.getfixturevalue(peer_name)
    destination = "NOBODY"
    if peer_name == "loaded_orthanc":
        peer.add_modality(destination, free_port())
    study = peer.held[0].study_instance_uid
    with client(peer) as one:
        move = one.move({"StudyInstanceUID": study}, destination=destination)
        try:
            result = move.run()
        except StatusError as error:
            assert error.hint
        else:
            assert result.progress.failed
