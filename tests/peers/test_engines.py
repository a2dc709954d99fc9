"""Both engines side by side, and what is DCMTK's alone: its programs, its end, its limits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from pypx.client.commitment import Reports
from pypx.errors import CancelledError, ConfigError, PeerTimeoutError, StatusError
from pypx.net.connection import Timeouts
from pypx.net.tls_settings import ClientTls
from tests import peers
from tests.objects import write_file
from tests.peers.engines import NOT_WITH_DCMTK, make_client
from tests.peers.process import free_port, require
from tests.peers.raw import receive_pdu, stall
from tests.peers.retrieving import store, write_cohort

LIAR = """\
#!/bin/sh
[ "$1" = --version ] && echo '$dcmtk: findscu v3.6.9 2024-12-02 $' && exit
echo 'F: Association Request Failed: 0006:0317 Peer aborted Association (or never connected)' >&2
exit 1
"""


@pytest.fixture(autouse=True)
def _dcmtk():
    require("findscu")


@pytest.fixture
def px(tmp_path):
    """Run px; give exit code, stdout and stderr."""
    config = tmp_path / "config.toml"
    environment = {**os.environ, "PYPX_CONFIG": str(config), "NO_COLOR": "1"}

    def run(*arguments, path=None):
        done = subprocess.run(
            [sys.executable, "-m", "pypx", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=100,
            env=environment | ({"PATH": path} if path is not None else {}),
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    run.config = config
    return run


def dcmtk(address, **options):
    return make_client("dcmtk", address, **options)


@pytest.mark.parametrize("listed", sorted(NOT_WITH_DCMTK))
def test_what_is_listed_as_inapplicable_is_there(listed):
    file, _, test = listed.partition("::")
    text = (Path(peers.__file__).parent / file).read_text()
    assert f"def {test.partition('[')[0]}(" in text


# px echo --engine both, px doctor --engine dcmtk


def test_both_engines_get_an_answer(px, storescp):
    address = storescp().address
    code, stdout, stderr = px("echo", address, "--engine", "both", "--json")
    assert code == 0, stderr
    native, other = json.loads(stdout)
    assert (native["engine"], other["engine"]) == ("native", "dcmtk")
    assert native["peer"] == other["peer"]
    assert "answers both engines" in stderr
    _, stdout, _ = px("echo", address, "--engine", "both")
    assert [line.split()[1] for line in stdout.splitlines()] == ["native", "dcmtk"]


def test_both_engines_are_rejected_in_the_same_words(px, loaded_dcmqrscp):
    address = loaded_dcmqrscp.address.replace("DCMQRSCP", "OTHER")
    code, stdout, stderr = px("echo", address, "--engine", "both", "--json")
    assert code == 3
    native, other = json.loads(stdout)
    assert native["error"] == other["error"]
    assert native["step"] == other["step"] == "association"
    assert "Both engines fail" in stderr


def test_one_engine_gets_an_answer(px, tmp_path, storescp):
    liar = tmp_path / "echoscu"
    liar.write_text(LIAR.replace("findscu", "echoscu"))
    liar.chmod(0o755)
    px.config.write_text(f'[dcmtk]\nechoscu = "{liar}"\n')
    code, _, stderr = px("echo", storescp().address, "--engine", "both")
    assert code == 3
    assert "answers pypx, and not DCMTK" in stderr


def doctor(px, *arguments):
    code, stdout, stderr = px("doctor", *arguments, "--engine", "dcmtk", "--json")
    return code, {step["step"]: step for step in json.loads(stdout)}, stderr


def test_doctor_asks_with_both(px, orthanc, tmp_path):
    port = free_port()
    peer = orthanc(destinations={"PYPX": port})
    write_cohort(tmp_path, 3, 2)
    store(peer, tmp_path / "cohort")
    code, found, _ = doctor(px, peer.address, "--port", port)
    assert code == 0, found
    for name in ("echoscu", "findscu", "getscu", "movescu"):
        assert found[name]["status"] == "ok", found[name]
        assert "So it is with pypx" in found[name]["message"]
    assert found["DCMTK"]["facts"]["version"].startswith("3.")


def test_doctor_says_whose_fault_it_is(px, orthanc, tmp_path):
    peer = orthanc()
    write_cohort(tmp_path, 1, 1)
    store(peer, tmp_path / "cohort")
    liar = tmp_path / "findscu"
    liar.write_text(LIAR)
    liar.chmod(0o755)
    px.config.write_text(f'[dcmtk]\nfindscu = "{liar}"\n')
    code, found, _ = doctor(px, peer.address, "--no-get", "--no-move")
    assert code == 1
    assert found["findscu"]["status"] == "warning"
    assert "pypx succeeds in the step 'C-FIND study'" in found["findscu"]["message"]
    assert found["echoscu"]["status"] == "ok"
    code, found, _ = doctor(px, f"X@127.0.0.1:{free_port()}")
    assert code == 3
    assert "pypx fails as well" in found["echoscu"]["message"]


# Programs that are missing, and what they cannot do


def test_a_missing_program_names_the_package(px, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, stderr = px("find", "X@h", "--engine", "dcmtk", "-k", "A=", path=tmp_path / "empty")
    assert code == 2
    code, _, stderr = px(
        *("find", "X@h", "--engine", "dcmtk", "-k", "PatientID=1"), path=str(tmp_path / "empty")
    )
    assert code == 2
    assert "findscu is not installed" in stderr
    assert "apt install dcmtk" in stderr


def test_the_engine_of_a_node(px, storescp):
    px.config.write_text(f'[nodes.old]\naddress = "{storescp().address}"\nengine = "dcmtk"\n')
    for arguments, expected in (((), "dcmtk"), (("--engine", "native"), "native")):
        code, stdout, _ = px("echo", "old", "--json", *arguments)
        assert (code, json.loads(stdout)[0]["engine"]) == (0, expected)


@pytest.mark.parametrize(("program", "ask"), [("movescu", "move"), ("getscu", "get")])
def test_debians_movescu_and_getscu_speak_no_tls(program, ask):
    client = dcmtk("X@127.0.0.1:1", tls=ClientTls(verify=False))
    if client._programs.speaks_tls(program):
        pytest.skip(f"this {program} speaks TLS")
    with pytest.raises(ConfigError, match="cannot speak TLS") as caught:
        client.associate(service=f"C-{ask.upper()}")
    assert "--engine native" in caught.value.hint


def test_what_dcmtk_has_no_program_for(px, tmp_path, storescp):
    client = dcmtk(storescp().address)
    with pytest.raises(ConfigError, match="storage commitment"):
        client.commit(Reports([]))
    code, _, stderr = px(
        *("store", client.address, write_file(tmp_path)), "--engine", "dcmtk", "--transcode"
    )
    assert code == 2
    assert "does not convert" in stderr


# Its end


def nothing_is_left():
    """No program of ours, and no folder of ours."""
    return not list(Path(tempfile.gettempdir()).glob("pypx-dcmtk-*"))


@pytest.fixture
def own_tmp(tmp_path, monkeypatch):
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_a_peer_that_never_answers(raw_scp, own_tmp):
    peer = raw_scp([receive_pdu(), stall()])
    client = dcmtk(f"X@127.0.0.1:{peer.port}", timeouts=Timeouts(2, 1, 1, 1))
    with pytest.raises(PeerTimeoutError) as caught:
        client.find({})
    assert caught.value.phase == "association"
    assert nothing_is_left()


@pytest.fixture
def over():
    """An event that is set at the end, for handlers that wait."""
    event = threading.Event()
    yield event
    event.set()


def test_a_peer_that_is_silent_after_the_request(scripted_scp, over, own_tmp):
    def on_find(event):
        over.wait(30)
        yield 0x0000, None

    peer = scripted_scp(on_find=on_find)
    with pytest.raises(PeerTimeoutError, match="silent for 1 s"):
        list(dcmtk(peer.address, timeouts=Timeouts(5, 5, 1, 1)).find({}))
    over.set()
    assert nothing_is_left()


def test_a_query_that_is_given_up(loaded_orthanc, own_tmp):
    found = dcmtk(loaded_orthanc.address).find({})
    next(found)
    assert next(own_tmp.iterdir()).stat().st_mode & 0o077 == 0
    found.close()
    assert nothing_is_left()
    assert list(found) == []


def test_a_move_that_is_cancelled(scripted_scp, over, own_tmp):
    def on_move(event):
        over.wait(30)
        yield None, None

    peer = scripted_scp(on_move=on_move)
    move = dcmtk(peer.address).move({"StudyInstanceUID": "1.2.3"}, destination="US")
    started = time.monotonic()
    move.cancel()
    with pytest.raises(CancelledError, match="C-CANCEL"):
        move.run()
    over.set()
    assert time.monotonic() - started < 15
    assert nothing_is_left()


def test_an_interrupt_ends_px_and_movescu(px, scripted_scp, over):
    begun = threading.Event()

    def on_move(event):
        begun.set()
        over.wait(30)
        yield None, None

    peer = scripted_scp(on_move=on_move)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pypx", "move", peer.address, "--engine", "dcmtk"),
            *("--to", "OTHER", "-k", "StudyInstanceUID=1.2.3", "--json"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYPX_CONFIG": str(px.config)},
    )
    try:
        assert begun.wait(30)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    finally:
        over.set()
        process.kill()
    assert process.returncode == 130, stderr
    assert json.loads(stdout)["status"] == "cancelled"


def test_a_failure_has_the_comment_of_the_pacs(scripted_scp):
    from pydicom import Dataset

    def on_find(event):
        status = Dataset()
        status.Status = 0xA700
        status.ErrorComment = "Disk full"
        yield status, None

    with pytest.raises(StatusError, match="Disk full") as caught:
        list(dcmtk(scripted_scp(on_find=on_find).address).find({}))
    assert caught.value.status == 0xA700
