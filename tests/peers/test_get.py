"""px get against real Orthanc and dcmqrscp: all of what they hold, bit for bit where they do."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from pypx.archive import Archive
from tests.peers import dcmtk
from tests.peers.engines import not_for_want_of_a_syntax


@pytest.fixture
def px(tmp_path, engine):
    """Run px get as users do; give its code, its JSON and its stderr."""
    (tmp_path / "config.toml").write_text(f'engine = "{engine}"\n')

    def call(*arguments):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pypx", "get", *map(str, arguments), "--json"),
                *("--archive", str(tmp_path / "archive")),
            ],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            env={**os.environ, "PYPX_CONFIG": str(tmp_path / "config.toml")},
        )
        return done.returncode, json.loads(done.stdout), done.stderr

    return call


def stored(tmp_path):
    with Archive(tmp_path / "archive") as archive:
        assert archive.check(checksums=True).ok
        return {str(row["SOPInstanceUID"]) for row in archive.find("image")}


def test_all_that_orthanc_has(px, engine, loaded_orthanc, tmp_path):
    """But what it misreads: SOP Class UIDs that a file has as VR UN are "31" to Orthanc 1.10.1.

    It can send these in no context, and names them in its command set, of all places. DCMTK's
    getscu proposes uncompressed transfer syntaxes only, and Orthanc decompresses some.
    """
    loaded_orthanc.add_modality("PYPX", 1)
    code, result, stderr = px(loaded_orthanc.address, "-k", "PatientID=*")
    ours, theirs = stored(tmp_path), loaded_orthanc.sop_instance_uids()
    assert result["completed"] == result["received"] == len(ours)
    assert result["unexpected_sop_instance_uids"] == []
    assert ours <= theirs
    assert len(not_for_want_of_a_syntax(engine, loaded_orthanc.held, theirs - ours)) <= 2
    assert code == (1 if theirs - ours else 0), f"{result} {stderr}"
    if engine == "native":  # Orthanc ends a C-GET at the first that getscu has no context for
        assert result["failed"] == len(theirs - ours)


def test_a_patient_and_a_series_from_orthanc(px, loaded_orthanc, tmp_path):
    loaded_orthanc.add_modality("PYPX", 1)
    one = next(file for file in loaded_orthanc.held if file.patient_id.strip())
    for key, attribute in (("PatientID", "patient_id"), ("SeriesInstanceUID", None)):
        attribute = attribute or "series_instance_uid"
        value = getattr(one, attribute)
        code, result, stderr = px(loaded_orthanc.address, "-k", f"{key}={value.strip()}")
        assert code == 0, f"{result} {stderr}"
        wanted = {
            file.sop_instance_uid.strip()
            for file in loaded_orthanc.held
            if getattr(file, attribute) == value
        }
        assert wanted <= stored(tmp_path)


def test_each_study_of_dcmqrscp_comes_or_is_named_as_failed(px, loaded_dcmqrscp, tmp_path):
    plain = {
        file.study_instance_uid
        for file in loaded_dcmqrscp.held
        if file.transfer_syntax_uid in dcmtk.UNCOMPRESSED
    } - {
        file.study_instance_uid
        for file in loaded_dcmqrscp.held
        if file.transfer_syntax_uid not in dcmtk.UNCOMPRESSED
    }
    studies = "\\".join(sorted(plain))
    code, result, stderr = px(loaded_dcmqrscp.address, "-k", f"StudyInstanceUID={studies}")
    wanted = {
        file.sop_instance_uid.strip()
        for file in loaded_dcmqrscp.held
        if file.study_instance_uid in plain
    }
    assert code == 0, f"{result} {stderr}"
    assert stored(tmp_path) == wanted


def test_what_dcmqrscp_cannot_send_is_no_success(px, loaded_dcmqrscp, tmp_path):
    compressed = [
        file for file in loaded_dcmqrscp.held if file.transfer_syntax_uid not in dcmtk.UNCOMPRESSED
    ]
    study = compressed[0].study_instance_uid
    code, result, _ = px(loaded_dcmqrscp.address, "-k", f"StudyInstanceUID={study}")
    wanted = {
        file.sop_instance_uid.strip()
        for file in loaded_dcmqrscp.held
        if file.study_instance_uid == study
    }
    assert (code == 0) == (stored(tmp_path) == wanted), result
