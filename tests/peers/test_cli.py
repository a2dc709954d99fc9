"""The commands as users type them, against real peers: the promises of the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.names import NAMES
from tests.peers.process import free_port


@pytest.fixture
def px(tmp_path, engine):
    """Run px in a process of its own; give exit code, parsed or plain stdout, and stderr."""
    config = tmp_path / "config.toml"
    config.write_text(
        f'archive = "{tmp_path / "archive"}"\nengine = "{engine}"\n[listen]\nport = {free_port()}\n'
    )
    environment = {**os.environ, "PYPX_CONFIG": str(config), "NO_COLOR": "1", "COLUMNS": "120"}

    def run(*arguments, timeout=120):
        done = subprocess.run(
            [sys.executable, "-m", "pypx", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        as_json = "--json" in arguments
        return done.returncode, json.loads(done.stdout) if as_json else done.stdout, done.stderr

    run.port = int(config.read_text().rpartition("port = ")[2])
    return run


def test_find_as_a_tree_lists_what_orthanc_lists(px, loaded_orthanc):
    code, studies, _ = px("find", loaded_orthanc.address, "-k", "PatientID=", "--tree", "--json")
    assert code == 0
    in_rest = {
        study["MainDicomTags"]["StudyInstanceUID"].strip(): {
            loaded_orthanc.rest(f"/series/{series}")["MainDicomTags"]["SeriesInstanceUID"].strip()
            for series in study["Series"]
        }
        for study in loaded_orthanc.rest("/studies?expand")
    }
    found = {
        study["StudyInstanceUID"]: {series["SeriesInstanceUID"] for series in study["series"]}
        for study in studies
    }
    assert found == in_rest


def test_move_brings_all_that_orthanc_has_and_ls_lists_it(px, loaded_orthanc):
    loaded_orthanc.add_modality("PYPX", px.port)
    code, result, stderr = px(
        "move", loaded_orthanc.address, "--to", "PYPX", "-k", "PatientID=*", "--json"
    )
    assert code == 0, (result, stderr)
    assert result["status"] == "success"
    assert result["completed"] == len(loaded_orthanc.held)
    assert result["failed"] == 0
    code, rows, _ = px("ls", "--level", "image", "--json")
    assert code == 0
    assert {row["SOPInstanceUID"] for row in rows} == loaded_orthanc.sop_instance_uids()
    names = {row["SOPInstanceUID"]: row["PatientName"] for row in rows}
    for file in loaded_orthanc.held:
        file_name = file.source.rpartition("/")[2]
        if file_name in NAMES:
            assert names[file.sop_instance_uid.strip()] == NAMES[file_name]
    code, output, _ = px("ls")
    assert code == 0
    assert "山田" in output


def test_move_again_brings_nothing_new_and_loses_nothing(px, loaded_orthanc):
    loaded_orthanc.add_modality("PYPX", px.port)
    study = max(
        loaded_orthanc.rest("/studies?expand"),
        key=lambda one: len(one["Series"]),
    )["MainDicomTags"]["StudyInstanceUID"]
    for _ in range(2):
        code, result, _ = px(
            *("move", loaded_orthanc.address, "--to", "PYPX"),
            *("-k", f"StudyInstanceUID={study}", "--json"),
        )
        assert code == 0
        _, rows, _ = px("ls", "--level", "image", "--json")
        assert len(rows) == result["completed"]


def test_echo_says_who_answers(px, loaded_orthanc, loaded_dcmqrscp):
    code, results, _ = px("echo", loaded_orthanc.address, loaded_dcmqrscp.address, "--json")
    assert code == 0
    assert [result["status"] for result in results] == ["success", "success"]
    assert results[1]["peer"]["implementation_version_name"].startswith("OFFIS_DCMTK")
    assert results[1]["peer"]["maximum_pdu_length"] == 16384


def test_a_called_title_that_dcmqrscp_does_not_know(px, loaded_dcmqrscp):
    code, results, _ = px("echo", loaded_dcmqrscp.address.replace("DCMQRSCP", "NO"), "--json")
    assert code == 3
    assert results[0]["error"]["kind"] == "association-rejected"
    assert results[0]["error"]["hint"]


def test_a_destination_that_is_not_known(px, loaded_dcmqrscp):
    study = loaded_dcmqrscp.held[0].study_instance_uid
    code, result, _ = px(
        *("move", loaded_dcmqrscp.address, "--to", "NOBODY_KNOWS"),
        *("-k", f"StudyInstanceUID={study}", "--json"),
    )
    assert code == 4
    assert result["status"] == "failure"
    assert "destination" in result["error"]["message"]
    assert result["error"]["hint"]


def test_dcmqrscp_partly_sends_and_that_is_no_success(px, loaded_dcmqrscp):
    from tests.peers import dcmtk

    compressed = next(
        file for file in loaded_dcmqrscp.held if file.transfer_syntax_uid not in dcmtk.UNCOMPRESSED
    )
    code, result, _ = px(
        *("move", loaded_dcmqrscp.address, "--to", "PYPX"),
        *("--port", loaded_dcmqrscp.destinations["PYPX"]),
        *("-k", f"StudyInstanceUID={compressed.study_instance_uid}", "--json"),
    )
    assert code in (1, 4)
    assert result["status"] in ("warning", "failure")


def test_px_listen_receives_from_storescu_and_stops_when_asked(px, corpus, tmp_path):
    from tests.peers import dcmtk
    from tests.peers.process import wait_port

    port, archive = free_port(), tmp_path / "listened"
    listener = subprocess.Popen(
        [sys.executable, "-m", "pypx", "listen", "--port", str(port), "--archive", str(archive)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYPX_CONFIG": str(tmp_path / "config.toml")},
    )
    try:
        wait_port(port)
        files = [file for file in corpus.good if file.transfer_syntax_uid in dcmtk.UNCOMPRESSED][:9]
        plain = [f for f in files if f.sop_class_uid != "1.2.840.10008.5.1.4.1.1.6"]
        assert dcmtk.storescu(plain, f"PYPX@127.0.0.1:{port}").returncode == 0
        listener.terminate()
        stdout, stderr = listener.communicate(timeout=20)
    finally:
        listener.kill()
    assert listener.returncode == 0, stderr
    assert "STORESCU" in stdout
    _, rows, _ = px("ls", "--level", "image", "--json", "--archive", archive)
    assert {row["SOPInstanceUID"] for row in rows} == {file.sop_instance_uid for file in plain}
