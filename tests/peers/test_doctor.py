"""What ``px doctor`` says of real PACS: Orthanc, which may know us or not, and dcmqrscp."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from pypx.client.client import Client
from tests.corpus import CorpusFile
from tests.objects import write_file
from tests.peers.process import free_port

STUDIES = 12
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def doctor(tmp_path):
    """Run px doctor; give exit code, steps by name, and the verdicts that are not good."""
    environment = {**os.environ, "PYPX_CONFIG": str(tmp_path / "config.toml")}

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "pypx", "doctor", *map(str, arguments), "--json"],
            capture_output=True,
            text=True,
            timeout=100,
            env=environment,
            check=False,
        )
        found = {step["step"]: step for step in json.loads(done.stdout)}
        bad = {
            name: step["status"]
            for name, step in found.items()
            if step["status"] not in ("ok", "skipped")
        }
        return done.returncode, found, bad

    return run


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Twelve studies of two images."""
    folder = tmp_path_factory.mktemp("files")
    for number in range(2 * STUDIES):
        study = number // 2
        write_file(
            folder,
            number,
            StudyInstanceUID=f"1.2.3.{study}",
            SeriesInstanceUID=f"1.2.3.{study}.1",
            StudyDate=f"202401{study + 10}",
            PatientID=f"PID{study:03}",
            PatientName=f"{chr(65 + study)}ble^Jack",
            Modality="CT",
            InstanceNumber=str(number + 1),
        )
    return folder


def load(peer, files):
    with Client(peer.address) as client:
        assert {one.status for one in client.store_files([files])} == {0}


def test_orthanc_that_knows_us(doctor, orthanc, files):
    port = free_port()
    peer = orthanc(destinations={"PYPX": port})
    load(peer, files)
    code, found, bad = doctor(peer.address, "--port", port)
    assert (code, bad) == (0, {})
    assert found["peer"]["facts"]["implementation_version_name"].startswith("OFFIS_DCMTK")
    assert found["match limit"]["facts"] == {"matches": STUDIES, "limit": None}
    assert found["C-GET"]["facts"]["instances"] == 1
    assert found["C-MOVE"]["facts"]["instances"] == 1
    assert found["C-MOVE"]["facts"]["calling_ae_title"] == "ORTHANC"


def test_orthanc_that_does_not_know_us(doctor, orthanc, files):
    """It answers C-MOVE to an unknown destination with C000."""
    peer = orthanc()
    load(peer, files)
    code, found, bad = doctor(peer.address, "--port", free_port())
    assert (code, bad) == (4, {"C-MOVE": "failed"})
    move = found["C-MOVE"]
    assert "does not know us" in move["message"]
    assert "any PACS: AE title PYPX, host 127.0.0.1, port" in move["hint"]


def test_orthanc_that_knows_us_at_another_port(doctor, orthanc, files):
    peer = orthanc(destinations={"PYPX": free_port()})
    load(peer, files)
    code, found, bad = doctor(peer.address, "--port", free_port(), "--no-get")
    assert (code, bad) == (4, {"C-MOVE": "failed"}), found["C-MOVE"]
    assert "any PACS: AE title PYPX" in found["C-MOVE"]["hint"]


def test_orthanc_with_a_limit(doctor, orthanc, files):
    peer = orthanc(config={"LimitFindResults": 7})
    load(peer, files)
    code, found, bad = doctor(peer.address, "--no-get", "--no-move")
    assert (code, bad) == (1, {"match limit": "warning"})
    assert found["match limit"]["facts"]["limit"] == 7


def test_orthanc_that_checks_the_ae_title(doctor, orthanc):
    peer = orthanc(config={"DicomCheckCalledAet": True})
    address = str(peer.address).replace("ORTHANC", "OTHER")
    code, found, bad = doctor(address)
    assert (code, bad) == (3, {"association": "failed"})
    assert "OTHER" in found["association"]["hint"]


def test_the_web_port_of_orthanc(doctor, orthanc):
    code, found, _ = doctor(f"ORTHANC@127.0.0.1:{orthanc().http_port}", "--timeout", "2")
    assert code == 3
    assert "A web server answers" in found["association"]["message"]


def test_dcmqrscp(doctor, dcmqrscp, files):
    """It has no series or images beside what it indexes, and knows only those in its file."""
    port = free_port()
    held = [
        CorpusFile(path, "here", CT_IMAGE, transfer_syntax_uid="1.2.840.10008.1.2.1")
        for path in sorted(files.iterdir())
    ]
    peer = dcmqrscp(held, destinations={"PYPX": port})
    assert peer.load(held) == {}
    code, found, bad = doctor(peer.address, "--port", port)
    assert (code, bad) == (0, {}), found
    assert found["peer"]["facts"]["implementation_version_name"].startswith("OFFIS_DCMTK")
    assert found["C-GET"]["facts"]["instances"] == found["C-MOVE"]["facts"]["instances"] == 1

    code, found, bad = doctor(peer.address, "--aet", "NOBODY", "--port", free_port(), "--no-get")
    assert (code, bad) == (4, {"C-MOVE": "failed"}), found
    assert found["C-MOVE"]["facts"]["status"] == "A801"
    assert "any PACS: AE title NOBODY" in found["C-MOVE"]["hint"]

    code, found, bad = doctor(peer.address, "--port", free_port(), "--no-get")
    assert bad == {"C-MOVE": "failed"}, found
    assert "did not reach our listener" in found["C-MOVE"]["message"]
