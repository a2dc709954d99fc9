"""Three small studies for the demo and for tests: drawn here, of nobody.

In: an archive, or a folder. Out: the same instances in it at every call: a CT of one series,
an MR of two, and a digital radiograph, with names in three scripts.
"""

from __future__ import annotations

import uuid
from array import array
from collections.abc import Iterator
from pathlib import Path

from pypx.archive import Archive, Source
from pypx.dicom import uids
from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import encoding_of
from pypx.dicom.header import HeaderScan
from pypx.dicom.part10 import FileMeta, encode_preamble_and_meta
from pypx.errors import ArchiveError
from pypx.values import frozen

__all__ = ["SAMPLE_INSTANCES", "write_sample_files", "write_samples"]

_SIZE = 64  # rows and columns
_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
_DX_IMAGE = "1.2.840.10008.5.1.4.1.1.1.1"


@frozen
class _Series:
    """A series of drawn slices."""

    sop_class_uid: str
    modality: str
    description: str
    instances: int


@frozen
class _Study:
    """A study: keyword to value for what its instances share, and its series."""

    attributes: dict[str, str]
    series: tuple[_Series, ...]


_STUDIES = (
    _Study(
        {
            "PatientName": "Muster^Änne",
            "PatientID": "DEMO-001",
            "PatientBirthDate": "19600229",
            "PatientSex": "F",
            "StudyDate": "20240115",
            "StudyTime": "101500",
            "StudyDescription": "CT Thorax",
            "AccessionNumber": "A1001",
            "StudyID": "1",
        },
        (_Series(_CT_IMAGE, "CT", "Thorax 5.0 B30f", 12),),
    ),
    _Study(
        {
            "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
            "PatientID": "DEMO-002",
            "PatientBirthDate": "19751103",
            "PatientSex": "M",
            "StudyDate": "20240302",
            "StudyTime": "083000",
            "StudyDescription": "MR Brain",
            "AccessionNumber": "A1002",
            "StudyID": "2",
        },
        (
            _Series(_MR_IMAGE, "MR", "T1 axial", 8),
            _Series(_MR_IMAGE, "MR", "T2 [fast] coronal", 6),
        ),
    ),
    _Study(
        {
            "PatientName": "Doe^John",
            "PatientID": "DEMO-003",
            "PatientBirthDate": "19880717",
            "PatientSex": "M",
            "StudyDate": "20240621",
            "StudyTime": "174510",
            "StudyDescription": "Chest PA",
            "AccessionNumber": "A1003",
            "StudyID": "3",
        },
        (_Series(_DX_IMAGE, "DX", "Chest PA", 1),),
    ),
)
SAMPLE_INSTANCES = sum(series.instances for study in _STUDIES for series in study.series)


def write_samples(archive: Archive) -> None:
    """Put the samples into an archive.

    Raises:
        ArchiveError: There is no room or no right to write.
    """
    for meta, data_set in _instances():
        scan = HeaderScan(meta.transfer_syntax_uid)
        scan.feed(data_set)
        with archive.begin(meta) as incoming:
            incoming.write(data_set)
            incoming.commit(scan.finish(), Source(calling_ae_title="SAMPLES"))


def write_sample_files(folder: Path) -> None:
    """Write the samples as files of their own: ``DEMO-001-1-001.dcm``, with patient and series.

    Args:
        folder: Made if it is not there; files of these names are replaced.

    Raises:
        ArchiveError: There is no room or no right to write.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, (meta, data_set) in zip(_names(), _instances(), strict=True):
            (folder / name).write_bytes(encode_preamble_and_meta(meta) + data_set)
    except OSError as error:
        raise ArchiveError(
            f"The samples cannot be written to {folder}: {error.strerror or error}."
        ) from None


def _names() -> Iterator[str]:
    for study in _STUDIES:
        for series_number, series in enumerate(study.series, start=1):
            for number in range(1, series.instances + 1):
                yield f"{study.attributes['PatientID']}-{series_number}-{number:03}.dcm"


def _uid(*path: object) -> str:
    """Give the UID of a sample: the same at every call (PS3.5 §B.2)."""
    name = "/".join(map(str, ("pypx samples", *path)))
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}"


def _instances() -> Iterator[tuple[FileMeta, bytes]]:
    """Give file meta and data set bytes of each instance."""
    syntax = uids.EXPLICIT_VR_LITTLE_ENDIAN
    for study_number, study in enumerate(_STUDIES, start=1):
        for series_number, series in enumerate(study.series, start=1):
            for number in range(1, series.instances + 1):
                sop_instance_uid = _uid(study_number, series_number, number)
                attributes: dict[str, object] = {
                    **study.attributes,
                    "SOPClassUID": series.sop_class_uid,
                    "SOPInstanceUID": sop_instance_uid,
                    "StudyInstanceUID": _uid(study_number),
                    "SeriesInstanceUID": _uid(study_number, series_number),
                    "Modality": series.modality,
                    "SeriesDescription": series.description,
                    "SeriesNumber": series_number,
                    "InstanceNumber": number,
                    **_image(number / (series.instances + 1)),
                }
                data_set = DataSet.from_keywords(attributes, charsets=("ISO_IR 192",))
                meta = FileMeta(series.sop_class_uid, sop_instance_uid, syntax)
                yield meta, data_set.to_bytes(encoding_of(syntax))


def _image(depth: float) -> dict[str, object]:
    """Draw a slice of a ball that holds a smaller ball, ``depth`` from 0 to 1 through it."""
    pixels = array("H")
    for row in range(_SIZE):
        y = 2 * row / (_SIZE - 1) - 1
        for column in range(_SIZE):
            x = 2 * column / (_SIZE - 1) - 1
            z = 2 * depth - 1
            outer = x * x + y * y + z * z
            inner = (x - 0.3) ** 2 + y * y + z * z
            pixels.append(2200 if inner < 0.08 else 1000 if outer < 0.8 else 0)
    return {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": _SIZE,
        "Columns": _SIZE,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PixelData": pixels.tobytes(),
    }
