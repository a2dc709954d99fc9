"""CT images of an exact size, with a header as scanners write it.

In: how many and how long. Out: data sets in explicit VR little endian, each with UIDs of its own.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pypx.dicom import uids
from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import Element, encode_elements
from pypx.dicom.encoding import Encoding
from pypx.dicom.part10 import FileMeta, encode_preamble_and_meta

__all__ = [
    "CT_IMAGE",
    "LARGE",
    "SMALL",
    "STUDY_DATE",
    "SYNTAX",
    "Instance",
    "cohort",
    "images",
    "studies",
    "write_files",
]

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
SYNTAX = uids.EXPLICIT_VR_LITTLE_ENDIAN
SMALL = 39_000
LARGE = 532_000
PER_SERIES = 250
STUDY_DATE = "20240131"

_ROOT = "1.2.826.0.1.3680043.10.54321"
# Of a fixed length, so that they are replaced in the encoded bytes.
_STUDY, _SERIES, _NUMBER = "100000001", "200000002", "300000003"


class Instance(NamedTuple):
    """One object to send."""

    sop_instance_uid: str
    data_set: bytes


def _keywords() -> dict[str, object]:
    code = {"CodeValue": "CTCHEST", "CodingSchemeDesignator": "99LOCAL", "CodeMeaning": "Chest"}
    reference = {
        "ReferencedSOPClassUID": CT_IMAGE,
        "ReferencedSOPInstanceUID": f"{_ROOT}.9.1",
    }
    return {
        "SpecificCharacterSet": "ISO_IR 100",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
        "InstanceCreationDate": "20240131",
        "InstanceCreationTime": "101112.345000",
        "SOPClassUID": CT_IMAGE,
        "SOPInstanceUID": f"{_ROOT}.{_STUDY}.{_SERIES}.{_NUMBER}",
        "StudyDate": STUDY_DATE,
        "SeriesDate": "20240131",
        "AcquisitionDate": "20240131",
        "ContentDate": "20240131",
        "StudyTime": "101000.000000",
        "SeriesTime": "101100.000000",
        "AcquisitionTime": "101112.345000",
        "ContentTime": "101112.345000",
        "AccessionNumber": "A" + _STUDY,
        "Modality": "CT",
        "Manufacturer": "Manufacturer",
        "InstitutionName": "Hospital",
        "InstitutionAddress": "Street 1, Town",
        "ReferringPhysicianName": "Referring^Doctor",
        "StationName": "CT01",
        "StudyDescription": "Thorax routine",
        "ProcedureCodeSequence": [code],
        "SeriesDescription": "Thorax 1.0 B31f",
        "InstitutionalDepartmentName": "Radiology",
        "PhysiciansOfRecord": "Record^Doctor",
        "PerformingPhysicianName": "Performing^Doctor",
        "OperatorsName": "Operator",
        "ManufacturerModelName": "Model 64",
        "ReferencedStudySequence": [reference],
        "ReferencedImageSequence": [reference, reference],
        "PatientName": "Doe^Jane^" + _STUDY,
        "PatientID": "P" + _STUDY,
        "PatientBirthDate": "19700101",
        "PatientSex": "F",
        "PatientAge": "054Y",
        "PatientSize": "1.70",
        "PatientWeight": "70",
        "BodyPartExamined": "CHEST",
        "ScanOptions": "SPIRAL",
        "SliceThickness": "1",
        "KVP": "120",
        "DataCollectionDiameter": "500",
        "DeviceSerialNumber": "12345",
        "SoftwareVersions": "1.2.3",
        "ProtocolName": "Thorax",
        "ReconstructionDiameter": "360",
        "DistanceSourceToDetector": "1040",
        "DistanceSourceToPatient": "570",
        "GantryDetectorTilt": "0",
        "TableHeight": "150",
        "RotationDirection": "CW",
        "ExposureTime": "500",
        "XRayTubeCurrent": "200",
        "Exposure": "100",
        "FilterType": "0",
        "GeneratorPower": "24",
        "FocalSpots": "1.2",
        "DateOfLastCalibration": "20240131",
        "TimeOfLastCalibration": "060000.000000",
        "ConvolutionKernel": "B31f",
        "PatientPosition": "HFS",
        "StudyInstanceUID": f"{_ROOT}.{_STUDY}",
        "SeriesInstanceUID": f"{_ROOT}.{_STUDY}.{_SERIES}",
        "StudyID": "1",
        "SeriesNumber": "2",
        "AcquisitionNumber": "2",
        "InstanceNumber": _NUMBER,
        "ImagePositionPatient": ["-180", "-180", "-100.5"],
        "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
        "FrameOfReferenceUID": f"{_ROOT}.7",
        "PositionReferenceIndicator": "",
        "SliceLocation": "-100.5",
        "ImageComments": "",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 512,
        "Columns": 512,
        "PixelSpacing": ["0.703125", "0.703125"],
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "SmallestImagePixelValue": 0,
        "LargestImagePixelValue": 4095,
        "WindowCenter": ["40", "-600"],
        "WindowWidth": ["400", "1200"],
        "RescaleIntercept": "-1024",
        "RescaleSlope": "1",
        "WindowCenterWidthExplanation": ["WINDOW1", "WINDOW2"],
        "RequestingPhysician": "Requesting^Doctor",
        "RequestedProcedureDescription": "CT thorax",
        "PerformedProcedureStepStartDate": "20240131",
        "PerformedProcedureStepStartTime": "101000.000000",
        "PerformedProcedureStepID": "PPS1",
    }


def _template(size: int) -> bytes:
    """Give a data set of exactly ``size`` bytes, if its header is not longer than that."""
    header = DataSet.from_keywords(_keywords())
    private = [
        Element(0x00290010, "LO", b"BENCHMARK 1.0 "),
        *(Element(0x00291000 + number, "LO", b"private value ") for number in range(8)),
        Element(0x00291010, "OB", bytes(range(256)) * 4),
    ]
    elements = sorted((*header.elements, *private), key=lambda element: element.tag)
    head = encode_elements(elements, Encoding.EXPLICIT_LITTLE)
    length = max(2, (size - len(head) - 12) & ~1)
    pixels = random.Random(1).randbytes(length)
    return head + struct.pack("<HH2s2xI", 0x7FE0, 0x0010, b"OW", length) + pixels


def _instance(head: bytes, tail: bytes, study: int, series: int, number: int) -> Instance:
    texts = tuple(f"{base}{n:08d}" for base, n in ((1, study), (2, series), (3, number)))
    for old, new in zip((_STUDY, _SERIES, _NUMBER), texts, strict=True):
        head = head.replace(old.encode(), new.encode())
    return Instance(".".join((_ROOT, *texts)), head + tail)


def images(count: int, size: int, *, first: int = 0) -> Iterator[Instance]:
    """Give the images of one study, in series of 250."""
    whole = _template(size)
    cut = whole.index(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW"))
    head, tail = whole[:cut], whole[cut:]
    for number in range(first, first + count):
        yield _instance(head, tail, 1, number // PER_SERIES, number)


def cohort(count: int, size: int) -> Iterator[Instance]:
    """Give images of studies of two series of twelve.

    A thousand are 42 studies: a round number of them would look like the limit of a PACS.
    """
    whole = _template(size)
    cut = whole.index(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW"))
    head, tail = whole[:cut], whole[cut:]
    for number in range(count):
        yield _instance(head, tail, 5000 + number // 24, number // 12, number)


def studies(count: int) -> Iterator[Instance]:
    """Give one small image of each of so many studies."""
    whole = _template(0)
    for number in range(count):
        yield _instance(whole, b"", 1000 + number, 1, 1)


def write_files(folder: Path, instances: Sequence[Instance]) -> list[Path]:
    """Write Part 10 files for a client program to send."""
    folder.mkdir(parents=True)
    paths = []
    for number, instance in enumerate(instances):
        meta = FileMeta(CT_IMAGE, instance.sop_instance_uid, SYNTAX)
        path = folder / f"{number:06d}.dcm"
        path.write_bytes(encode_preamble_and_meta(meta) + instance.data_set)
        paths.append(path)
    return paths
