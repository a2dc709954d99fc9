"""Small storable objects that a test makes: data set bytes, and Part 10 files of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pypx.dicom import uids
from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import encoding_of
from pypx.dicom.part10 import FileMeta, encode_preamble_and_meta

__all__ = ["CT_IMAGE", "data_set", "keywords", "write_file"]

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


def keywords(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Give the attributes of the instance of this number; None leaves one out."""
    values = {
        "SOPClassUID": CT_IMAGE,
        "SOPInstanceUID": f"1.2.3.4.{number}",
        "StudyDate": "20240131",
        "Modality": "CT",
        "StudyDescription": "Thorax",
        "PatientName": "Doe^Jane",
        "PatientID": "4711",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "SeriesNumber": "2",
        "InstanceNumber": str(number),
        "PixelData": bytes(range(256)) * 8,
    } | changes
    return {keyword: value for keyword, value in values.items() if value is not None}


def data_set(
    number: int = 1, *, syntax: str = uids.EXPLICIT_VR_LITTLE_ENDIAN, **changes: Any
) -> bytes:
    """Give the data set bytes of such an instance."""
    return DataSet.from_keywords(keywords(number, **changes)).to_bytes(encoding_of(syntax))


def write_file(
    folder: Path,
    number: int = 1,
    *,
    syntax: str = uids.EXPLICIT_VR_LITTLE_ENDIAN,
    **changes: Any,
) -> Path:
    """Write such an instance as a Part 10 file."""
    values = keywords(number, **changes)
    meta = FileMeta(str(values["SOPClassUID"]), str(values["SOPInstanceUID"]), syntax)
    path = folder / f"{number}.dcm"
    path.write_bytes(encode_preamble_and_meta(meta) + data_set(number, syntax=syntax, **changes))
    return path
