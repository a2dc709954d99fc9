"""Levels of attributes."""

from __future__ import annotations

import pytest

from pypx.dicom.levels import UNIQUE_KEYS, level_of


@pytest.mark.parametrize(
    ("keyword", "level"),
    [
        ("PatientName", "patient"),
        ("NumberOfPatientRelatedStudies", "patient"),
        ("AccessionNumber", "study"),
        ("ModalitiesInStudy", "study"),
        ("Modality", "series"),
        ("NumberOfSeriesRelatedInstances", "series"),
        ("InstanceNumber", "image"),
        ("0009,1001", "study"),
    ],
)
def test_an_attribute_has_its_level_and_others_are_of_the_study(keyword: str, level: str) -> None:
    assert level_of(keyword) == level


def test_each_unique_key_is_of_its_level() -> None:
    assert list(UNIQUE_KEYS) == ["patient", "study", "series", "image"]
    assert {keyword: level_of(keyword) for keyword in UNIQUE_KEYS.values()} == {
        keyword: level for level, keyword in UNIQUE_KEYS.items()
    }
