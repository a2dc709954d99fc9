"""What the index knows of an instance: its attributes, their levels and columns.

In: nothing. Out: one table, which the schema, the matching of query keys, the layout and the
scan of a header all read, so that an attribute is added in one line here and one migration.
Not here: SQL, and how a value is decoded.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

__all__ = ["ATTRIBUTES", "BY_KEYWORD", "COUNTS", "Attribute", "Level", "clean"]

_LONGEST_TEXT = 1024


class Level(StrEnum):
    """The levels of the query/retrieve information model (PS3.4 C.6.1.1)."""

    PATIENT = "patient"
    STUDY = "study"
    SERIES = "series"
    IMAGE = "image"

    @property
    def depth(self) -> int:
        """0 for the patient to 3 for the image."""
        return _DEPTHS[self]


_DEPTHS = {level: depth for depth, level in enumerate(Level)}


class Attribute(NamedTuple):
    """One indexed attribute: PS3.6 keyword, tag and VR, its level, and where it is kept."""

    keyword: str
    tag: int
    vr: str
    level: Level
    column: str


ATTRIBUTES = (
    Attribute("PatientID", 0x00100020, "LO", Level.PATIENT, "patient_id"),
    Attribute("PatientName", 0x00100010, "PN", Level.PATIENT, "patient_name"),
    Attribute("PatientBirthDate", 0x00100030, "DA", Level.PATIENT, "patient_birth_date"),
    Attribute("PatientSex", 0x00100040, "CS", Level.PATIENT, "patient_sex"),
    Attribute("StudyInstanceUID", 0x0020000D, "UI", Level.STUDY, "study_instance_uid"),
    Attribute("StudyDate", 0x00080020, "DA", Level.STUDY, "study_date"),
    Attribute("StudyTime", 0x00080030, "TM", Level.STUDY, "study_time"),
    Attribute("AccessionNumber", 0x00080050, "SH", Level.STUDY, "accession_number"),
    Attribute("StudyDescription", 0x00081030, "LO", Level.STUDY, "study_description"),
    Attribute("StudyID", 0x00200010, "SH", Level.STUDY, "study_id"),
    Attribute("SeriesInstanceUID", 0x0020000E, "UI", Level.SERIES, "series_instance_uid"),
    Attribute("Modality", 0x00080060, "CS", Level.SERIES, "modality"),
    Attribute("SeriesNumber", 0x00200011, "IS", Level.SERIES, "series_number"),
    Attribute("SeriesDescription", 0x0008103E, "LO", Level.SERIES, "series_description"),
    Attribute("SeriesDate", 0x00080021, "DA", Level.SERIES, "series_date"),
    Attribute("SOPInstanceUID", 0x00080018, "UI", Level.IMAGE, "sop_instance_uid"),
    Attribute("SOPClassUID", 0x00080016, "UI", Level.IMAGE, "sop_class_uid"),
    Attribute("InstanceNumber", 0x00200013, "IS", Level.IMAGE, "instance_number"),
    Attribute("NumberOfFrames", 0x00280008, "IS", Level.IMAGE, "number_of_frames"),
)

BY_KEYWORD = {attribute.keyword: attribute for attribute in ATTRIBUTES}

COUNTS = {
    Level.PATIENT: (
        "NumberOfPatientRelatedStudies",
        "NumberOfPatientRelatedSeries",
        "NumberOfPatientRelatedInstances",
    ),
    Level.STUDY: ("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
    Level.SERIES: ("NumberOfSeriesRelatedInstances",),
    Level.IMAGE: (),
}
"""What is counted at each level (PS3.4 C.3.4): never matched, only answered."""


def clean(text: str) -> str:
    """Give the text as the index keeps it: no NUL, no lone surrogate, at most 1,024 characters."""
    if len(text) > _LONGEST_TEXT:
        text = text[:_LONGEST_TEXT]
    if text.isascii():
        return text.replace("\0", "").strip() if "\0" in text else text.strip()
    text = text.replace("\0", "").strip()
    return text.encode("utf-8", "replace").decode("utf-8")
