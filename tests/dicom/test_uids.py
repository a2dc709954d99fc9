from __future__ import annotations

import pytest

from pypx.dicom import uids
from pypx.version import __version__


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("1.2.840.10008.1.1", True),
        ("0", True),
        ("1", True),
        ("0.0", True),
        ("2.25." + "9" * 59, True),
        ("2.25." + "9" * 60, False),
        ("", False),
        (".", False),
        ("..", False),
        ("1.", False),
        (".1", False),
        ("1..2", False),
        ("1.02", False),
        ("1.00", False),
        ("01.2", False),
        ("1.2 ", False),
        ("1.2\0", False),
        ("1.2\n", False),
        ("1.2a", False),
        ("-1.2", False),
        ("1.٢", False),
        ("../../x", False),
        ("1.2/3", False),
    ],
)
def test_valid_uids(text: str, valid: bool) -> None:
    assert uids.is_valid_uid(text) is valid


def test_new_uids_are_valid_and_differ() -> None:
    made = {uids.new_uid() for _ in range(100)}
    assert len(made) == 100
    assert all(uids.is_valid_uid(uid) and uid.startswith("2.25.") for uid in made)


def test_implementation_names_this_version() -> None:
    assert uids.is_valid_uid(uids.IMPLEMENTATION_CLASS_UID)
    assert f"PYPX_{__version__}"[:16] == uids.IMPLEMENTATION_VERSION_NAME
    assert 1 <= len(uids.IMPLEMENTATION_VERSION_NAME) <= 16


@pytest.mark.parametrize(
    ("uid", "name"),
    [
        (uids.VERIFICATION, "Verification SOP Class"),
        (uids.IMPLICIT_VR_LITTLE_ENDIAN, "Implicit VR Little Endian"),
        (uids.EXPLICIT_VR_LITTLE_ENDIAN, "Explicit VR Little Endian"),
        (uids.EXPLICIT_VR_BIG_ENDIAN, "Explicit VR Big Endian"),
        (uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, "Deflated Explicit VR Little Endian"),
        (uids.APPLICATION_CONTEXT, "DICOM Application Context Name"),
        (uids.STUDY_ROOT_FIND, "Study Root Query/Retrieve Information Model - FIND"),
        (uids.STUDY_ROOT_MOVE, "Study Root Query/Retrieve Information Model - MOVE"),
        (uids.STUDY_ROOT_GET, "Study Root Query/Retrieve Information Model - GET"),
        (uids.PATIENT_ROOT_FIND, "Patient Root Query/Retrieve Information Model - FIND"),
        (uids.PATIENT_ROOT_MOVE, "Patient Root Query/Retrieve Information Model - MOVE"),
        (uids.PATIENT_ROOT_GET, "Patient Root Query/Retrieve Information Model - GET"),
        ("1.2.840.10008.5.1.4.1.1.2", "CT Image Storage"),
        ("1.2.3.4", "1.2.3.4"),
        ("", ""),
    ],
)
def test_names(uid: str, name: str) -> None:
    assert uids.uid_name(uid) == name


@pytest.mark.parametrize(
    ("uid", "storage"),
    [
        ("1.2.840.10008.5.1.4.1.1.2", True),
        ("1.2.840.10008.5.1.4.1.1.6", True),  # Ultrasound Image, retired
        ("1.2.840.10008.5.1.4.1.1.77.2", True),  # VL Multi-frame Trial, retired
        ("1.2.840.10008.5.1.4.34.7", True),  # RT Beams Delivery Instruction
        ("1.2.840.10008.1.3.10", False),  # DICOMDIR
        ("1.2.840.10008.1.20.1", False),  # Storage Commitment
        (uids.VERIFICATION, False),
        (uids.STUDY_ROOT_FIND, False),
        ("1.2.3.4", False),
    ],
)
def test_storage_sop_classes(uid: str, storage: bool) -> None:
    assert uids.is_storage(uid) is storage
    assert (uid in uids.storage_sop_classes()) is storage


def test_storage_sop_classes_are_more_than_pynetdicom_has() -> None:
    from pynetdicom import AllStoragePresentationContexts

    theirs = {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
    ours = set(uids.storage_sop_classes())
    assert len(ours) > len(theirs)
    # Some of theirs are of Supplements that never became part of PS3.6.
    assert len(theirs - ours) <= 5


def test_transfer_syntaxes() -> None:
    syntaxes = uids.transfer_syntaxes()
    assert uids.IMPLICIT_VR_LITTLE_ENDIAN in syntaxes
    assert "1.2.840.10008.1.2.4.50" in syntaxes
    assert len(syntaxes) > 40
    assert not set(syntaxes) & set(uids.storage_sop_classes())
