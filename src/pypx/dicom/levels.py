"""At which level of the query/retrieve information model an attribute belongs (PS3.4 §C.6).

In: keywords. Out: levels. A table; which keys a PACS really takes is not known here.
"""

from __future__ import annotations

__all__ = ["UNIQUE_KEYS", "level_of"]

UNIQUE_KEYS = {
    "patient": "PatientID",
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "image": "SOPInstanceUID",
}
"""The unique key of each level, from the top (PS3.4 §C.3)."""

_PATIENT_KEYS = frozenset(
    {
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "PatientBirthDate",
        "PatientBirthTime",
        "PatientSex",
        "OtherPatientIDs",
        "OtherPatientNames",
        "EthnicGroup",
        "PatientComments",
        "PatientSpeciesDescription",
        "NumberOfPatientRelatedStudies",
        "NumberOfPatientRelatedSeries",
        "NumberOfPatientRelatedInstances",
    }
)
_SERIES_KEYS = frozenset(
    {
        "Modality",
        "SeriesNumber",
        "SeriesInstanceUID",
        "SeriesDescription",
        "SeriesDate",
        "SeriesTime",
        "SeriesType",
        "ProtocolName",
        "BodyPartExamined",
        "Laterality",
        "PatientPosition",
        "FrameOfReferenceUID",
        "Manufacturer",
        "ManufacturerModelName",
        "DeviceSerialNumber",
        "StationName",
        "InstitutionalDepartmentName",
        "PerformedStationAETitle",
        "PerformedStationName",
        "PerformedProcedureStepID",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
        "PerformedProcedureStepDescription",
        "PerformingPhysicianName",
        "OperatorsName",
        "AcquisitionProtocolName",
        "AcquisitionProtocolDescription",
        "ScanningSequence",
        "SequenceName",
        "NumberOfSeriesRelatedInstances",
    }
)
_IMAGE_KEYS = frozenset(
    {
        "SOPInstanceUID",
        "SOPClassUID",
        "InstanceNumber",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "BitsAllocated",
        "ContentDate",
        "ContentTime",
        "AcquisitionDate",
        "AcquisitionTime",
        "AcquisitionDateTime",
        "AcquisitionNumber",
        "ImageType",
        "TransferSyntaxUID",
        "AvailableTransferSyntaxUID",
    }
)


def level_of(keyword: str) -> str:
    """Say at which level an attribute belongs (PS3.4 §C.6); what no table has is of the study."""
    if keyword in _PATIENT_KEYS:
        return "patient"
    if keyword in _SERIES_KEYS:
        return "series"
    return "image" if keyword in _IMAGE_KEYS else "study"
