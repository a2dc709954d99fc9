"""Finding all of what real PACS have, where they give only a part of it at once."""

from __future__ import annotations

from datetime import date

import pytest

from pypx.retrieve.finding import Finder
from tests.objects import write_file

STUDIES = 60
IMAGES = 25


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Sixty studies of fifteen days, one of which has 25 images more."""
    folder = tmp_path_factory.mktemp("files")
    for number in range(STUDIES + IMAGES):
        study = number if number < STUDIES else 0
        write_file(
            folder,
            number,
            StudyInstanceUID=f"1.2.3.{study}",
            SeriesInstanceUID=f"1.2.3.{study}.1",
            StudyDate=f"202401{study % 15 + 10}",
            StudyTime="1015" if study % 2 else f"{study % 24:02}1500",
            PatientID=f"P{study}",
            PatientName=f"{chr(65 + study % 26)}^X",
            InstanceNumber=str(number + 1),
            PixelData=None,
        )
    return folder


@pytest.mark.parametrize(("limit", "whole"), [(10, True), (3, False)])
def test_orthanc_with_a_limit(make_requestor, orthanc, files, limit, whole):
    """Orthanc ends an answer at its limit as if it had been cancelled (FE00H)."""
    peer = orthanc(config={"LimitFindResults": limit, "LimitFindInstances": limit})
    with make_requestor(peer.address) as client:
        assert {one.status for one in client.store_files([files])} == {0}
        finder = Finder(client, today=date(2025, 1, 1))
        studies = finder.studies({"StudyDate": "20240101-"})
        found = {one.study_instance_uid: one for one in studies}
        assert len(found) == STUDIES
        assert studies.is_whole == whole, studies.notes
        assert f"ended an answer after {limit} studies with status FE00H" in studies.notes[0]
        series = finder.series(found["1.2.3.0"], {})
        (only,) = list(series)
        assert series.is_whole
        expected = finder.instances(only, {})
        assert (expected.basis, expected.count) == ("count", IMAGES + 1)
        assert len(expected.instances) == limit


@pytest.mark.parametrize("model", ["study", "patient"])
def test_dcmqrscp_gives_all_that_it_holds(make_requestor, loaded_dcmqrscp, model):
    """In the patient root model those of patients without an ID cannot be asked for."""
    held = loaded_dcmqrscp.held
    with make_requestor(loaded_dcmqrscp.address) as client:
        finder = Finder(client, model=model, today=date(2025, 1, 1))
        studies = finder.studies({"PatientID": "*"})
        found = list(studies)
        images = set()
        for study in found:
            for series in list(finder.series(study, {})):
                expected = finder.instances(series, {})
                assert expected.basis == "instances"
                images |= set(expected.instances)
    assert {one.study_instance_uid for one in found} <= {one.study_instance_uid for one in held}
    if model == "study":
        assert images == {one.sop_instance_uid for one in held}
        assert studies.is_whole
    else:
        assert len(images) > len(held) / 2
        assert "gave matches without PatientID" in studies.notes[0]
        assert not studies.is_whole
