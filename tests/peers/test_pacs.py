"""DCMTK's tools and pynetdicom against our embedded PACS."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import CTImageStorage, StudyRootQueryRetrieveInformationModelGet

from pypx.address import Address
from pypx.archive import Archive
from pypx.pacs import Pacs
from pypx.pacs.samples import SAMPLE_INSTANCES, write_samples
from pypx.receiver.receiver import Receiver
from tests.peers import dcmtk


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    with Archive(tmp_path_factory.mktemp("samples")) as archive:
        write_samples(archive)
        yield archive


@pytest.fixture
def pacs(samples):
    with Pacs(samples, ae_title="DEMO") as one:
        yield one


def test_echoscu(pacs):
    assert dcmtk.echoscu(str(pacs.address)).returncode == 0


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        (["-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID"], 3),
        (["-P", "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID", "-k", "PatientName"], 3),
        (["-S", "-k", "QueryRetrieveLevel=SERIES", "-k", "SeriesInstanceUID"], 4),
        (["-S", "-k", "QueryRetrieveLevel=IMAGE", "-k", "SOPInstanceUID"], SAMPLE_INSTANCES),
        (["-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientName=doe*"], 1),
        (["-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyDate=20240101-20240401"], 2),
        (["-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "ModalitiesInStudy=MR"], 1),
        (["-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=NONE"], 0),
    ],
)
def test_findscu(pacs, keys, count):
    outcome = dcmtk.findscu(str(pacs.address), "-v", *keys)
    assert outcome.returncode == 0, outcome.output
    assert outcome.output.count("Find Response:") == count, outcome.output


def test_findscu_of_what_the_model_has_not(pacs):
    outcome = dcmtk.findscu(
        str(pacs.address), "-v", "-S", "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID"
    )
    assert "Error: DataSetDoesNotMatchSOPClass" in outcome.output, outcome.output


def study_of(samples, patient_id):
    (row,) = samples.find("study", {"PatientID": patient_id})
    return row["StudyInstanceUID"]


def test_movescu_to_storescp(pacs, samples, storescp):
    receiver = storescp()
    pacs.destinations["RX"] = Address("STORESCP", "127.0.0.1", receiver.port)
    study = study_of(samples, "DEMO-002")
    outcome = dcmtk.movescu(
        *(str(pacs.address), "RX", "-v", "-S"),
        *("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"),
    )
    assert outcome.returncode == 0, outcome.output
    assert len(receiver.files) == 14


def test_movescu_to_a_destination_that_is_not_known(pacs, samples):
    study = study_of(samples, "DEMO-003")
    outcome = dcmtk.movescu(
        *(str(pacs.address), "NOBODY", "-v", "-S"),
        *("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"),
    )
    assert outcome.returncode != 0
    assert "MoveDestinationUnknown" in outcome.output


def test_getscu(pacs, samples, tmp_path):
    study = study_of(samples, "DEMO-001")
    outcome = dcmtk.getscu(
        *(str(pacs.address), tmp_path, "-v", "-S"),
        *("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"),
    )
    assert outcome.returncode == 0, outcome.output
    assert len(list(tmp_path.iterdir())) == 12


def test_a_cancel_that_comes_before_the_response_to_a_store(samples, pacs):
    """A C-CANCEL may be sent while a sub-operation of the C-GET waits for its response."""

    def store(event):
        stored.append(event.request.AffectedSOPInstanceUID)
        event.assoc.send_c_cancel(7, query_model=StudyRootQueryRetrieveInformationModelGet)
        return 0x0000

    stored = []
    ae = AE("PYPX")
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
    ae.add_requested_context(CTImageStorage, "1.2.840.10008.1.2.1")
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.StudyInstanceUID = study_of(samples, "DEMO-001")
    association = ae.associate(
        *("127.0.0.1", pacs.address.port),
        ext_neg=[build_role(CTImageStorage, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, store)],
    )
    assert association.is_established
    model = StudyRootQueryRetrieveInformationModelGet
    *_, (status, _) = association.send_c_get(identifier, model, msg_id=7)
    association.release()
    assert status.Status == 0xFE00
    assert status.NumberOfCompletedSuboperations == len(stored) < 12


def got(samples, folder, *faults):
    """Give what getscu says of the CT of a PACS with these faults, and how much it has."""
    with Pacs(samples, ae_title="DEMO", faults=faults) as pacs:
        outcome = dcmtk.getscu(
            *(str(pacs.address), folder, "-v", "-S"),
            *("-k", "QueryRetrieveLevel=STUDY"),
            *("-k", f"StudyInstanceUID={study_of(samples, 'DEMO-001')}"),
        )
    return outcome, len(list(folder.iterdir()))


@pytest.mark.parametrize(
    ("fault", "arrived"), [("drop-objects=2", 6), ("send-twice", 12), ("empty-success=0", 0)]
)
def test_getscu_from_a_pacs_that_misbehaves(samples, tmp_path, fault, arrived):
    outcome, there = got(samples, tmp_path, fault)
    assert outcome.returncode == 0, outcome.output  # it believes the status
    assert there == arrived


def test_getscu_from_a_pacs_that_closes_the_connection(samples, tmp_path):
    outcome, there = got(samples, tmp_path, "cut-object=3")
    assert outcome.returncode != 0, outcome.output
    assert there == 2


def test_getscu_at_a_level_that_is_refused(samples, tmp_path):
    with Pacs(samples, ae_title="DEMO", faults=["refuse-series-level"]) as pacs:
        outcome = dcmtk.getscu(
            *(str(pacs.address), tmp_path, "-v", "-S"),
            *("-k", "QueryRetrieveLevel=SERIES", "-k", "SeriesInstanceUID=1.2"),
        )
    assert "Error: DataSetDoesNotMatchSOPClass" in outcome.output, outcome.output


def test_storescu_into_the_pacs_and_back(corpus, tmp_path, association_profile):
    files = [file for file in corpus.good if file.transfer_syntax_uid in dcmtk.UNCOMPRESSED][:20]
    with (
        Archive(tmp_path / "pacs") as archive,
        Pacs(archive) as pacs,
        Archive(tmp_path / "received") as received,
        Receiver(received, port=0) as receiver,
    ):
        outcome = dcmtk.storescu(files, str(pacs.address), profile=association_profile)
        assert outcome.returncode == 0, outcome.output
        pacs.destinations["RX"] = Address("RX", receiver.host, receiver.port)
        for study in {file.study_instance_uid for file in files}:
            outcome = dcmtk.movescu(
                *(str(pacs.address), "RX", "-S"),
                *("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"),
            )
            assert outcome.returncode == 0, outcome.output
        uids = [
            sorted(row["SOPInstanceUID"] for row in one.find("image", {}))
            for one in (archive, received)
        ]
        assert uids[0] == uids[1] == sorted(file.sop_instance_uid for file in files)
