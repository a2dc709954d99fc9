"""Upstream's dictionaries and flags, against real PACS, and its command lines in a shell."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

import pypx
from pypx.archive import Archive
from pypx.receiver.receiver import Receiver
from tests.names import NAMES
from tests.peers.dcmtk import _path
from tests.peers.process import free_port

EVIL = "$(touch was-here) `touch was-here`; touch was-here & 'x' \"y\""


def opt_for(address, **keys):
    """Give the dictionary that names a PACS."""
    title, _, where = address.partition("@")
    host, _, port = where.partition(":")
    programs = {name: _path(name) for name in ("echoscu", "findscu", "movescu")}
    return {"aet": "PYPX", "aec": title, "serverIP": host, "serverPort": port, **programs, **keys}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Give a user whose archive and configuration are in a new folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


@pytest.fixture(params=["loaded_orthanc", "loaded_dcmqrscp"])
def pacs(request):
    """Give each PACS with the corpus."""
    return request.getfixturevalue(request.param)


def value(entry, keyword):
    return entry[keyword]["value"]


def pasted(command, folder):
    """Run a command line as somebody who pastes it into a shell; give what it says."""
    done = subprocess.run(
        ["/bin/sh", "-c", f"{command} -v"],
        capture_output=True,
        timeout=120,
        check=False,
        cwd=folder,
    )
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


def test_echo_and_the_line_that_does_the_same(pacs, home):
    found = pypx.echo(opt_for(pacs.address))
    assert (found["status"], found["returncode"]) == ("success", 0)
    code, said = pasted(found["command"], home)
    assert code == 0, said
    assert [line for line in said.splitlines() if line in found["data"]] == found["data"]


def test_find_has_all_studies_and_series(pacs, home):
    found = pypx.find(opt_for(pacs.address))
    assert found["status"] == "success", found.get("error")
    held = {}
    for file in pacs.held:
        held.setdefault(file.study_instance_uid.strip(), set()).add(
            file.series_instance_uid.strip()
        )
    got = {
        value(study, "StudyInstanceUID"): {
            value(one, "SeriesInstanceUID") for one in study["series"]
        }
        for study in found["data"]
    }
    assert got == held
    code, said = pasted(found["command"], home)
    assert code == 0, said
    assert said.count("Find Response") - said.count("Final Find Response") == len(got)
    one = found["data"][0]["series"][0]
    code, said = pasted(value(one, "command"), home)
    assert code == 0, said
    assert value(one, "SeriesInstanceUID") in said


def test_names_in_all_scripts(loaded_orthanc):
    found = pypx.find(opt_for(loaded_orthanc.address, StudyOnly=True))
    names = {value(study, "PatientName") for study in found["data"]}
    wrong = {file_name for file_name, name in NAMES.items() if name not in names}
    assert wrong <= {"chrH32.dcm"}  # Orthanc converts ISO 2022 IR 13 otherwise


@pytest.mark.parametrize("name", ["Äneas^Rüdiger", "Люкceмбypг"])
def test_a_name_that_is_not_ascii_finds_its_study(loaded_orthanc, home, name):
    found = pypx.find(opt_for(loaded_orthanc.address, PatientName=name))
    assert [value(study, "PatientName") for study in found["data"]] == [name]
    for command in (found["command"], value(found["data"][0]["series"][0], "command")):
        code, said = pasted(command, home)
        assert code == 0, said
        assert said.count("Find Response") - said.count("Final Find") == 1


def test_keys_of_series_alone(pacs):
    file = next(file for file in pacs.held if file.modality == "MR")
    found = pypx.find(opt_for(pacs.address, SeriesInstanceUID=file.series_instance_uid))
    (study,) = found["data"]
    assert value(study, "StudyInstanceUID") == file.study_instance_uid
    assert [value(one, "Modality") for one in study["series"]] == ["MR"]
    wanted = {one.series_instance_uid for one in pacs.held if one.modality == "MR"}
    found = pypx.find(opt_for(pacs.address, Modality="MR"))
    got = {value(one, "SeriesInstanceUID") for study in found["data"] for one in study["series"]}
    assert got == wanted


def test_the_words_of_a_shell_are_only_words(pacs, home):
    found = pypx.find(opt_for(pacs.address, PatientID=EVIL[:40], PatientName=EVIL))
    assert (found["status"], found["data"]) == ("success", [])
    code, said = pasted(found["command"], home)
    assert code == 0, said
    move = pypx.move(opt_for(pacs.address, StudyInstanceUID="1.2", SeriesInstanceUID=EVIL))
    pasted(move["command"], home)
    assert not (home / "was-here").exists()
    assert not Path("was-here").exists()


@pytest.fixture
def listener(pacs, home):
    """Receive what the PACS sends to PYPX, into the archive of the user."""
    if hasattr(pacs, "add_modality"):
        port = free_port()
        pacs.add_modality("PYPX", port)
    else:
        port = pacs.destinations["PYPX"]
    with Archive(home / "pypx", durability="none") as archive, Receiver(archive, port=port):
        yield archive


def whole(pacs):
    """Give the study with the fewest files of more than one, and how many it has."""
    studies = {}
    for file in pacs.held:
        studies.setdefault(file.study_instance_uid, set()).add(file.sop_instance_uid)
    return min((len(uids), uid) for uid, uids in studies.items() if len(uids) > 1)


def test_then_retrieve_and_status(pacs, listener):
    number, uid = whole(pacs)
    opt = opt_for(pacs.address, StudyInstanceUID=uid, then="retrieve,status")
    found = asyncio.run(pypx.find(opt))
    assert (found["status"], found["returncode"]) == ("success", 0), found.get("error")
    ((moved,),) = [list(one.values()) for one in found["then"]["00-retrieve"]["study"]]
    assert sum(one["completed"] for one in moved) == number
    ((states,),) = [list(one.values()) for one in found["then"]["01-status"]["study"]]
    assert sum(one["images"]["received"]["count"] for one in states) == number
    assert {one["state"]["images"] for one in states} <= {"ImagesAllReceivedOK", "ImagesReceived"}
    assert len(list(listener.instances({"StudyInstanceUID": uid}))) == number


def test_move_and_the_line_that_does_the_same(pacs, listener, home):
    number, uid = whole(pacs)
    found = pypx.move(opt_for(pacs.address, StudyInstanceUID=uid))
    assert (found["status"], found["completed"]) == ("success", number)
    code, said = pasted(found["command"], home)
    assert code == 0, said
    assert "Received Final Move Response (Success)" in said


def test_a_destination_that_nobody_knows(pacs):
    _, uid = whole(pacs)
    found = pypx.move(opt_for(pacs.address, aet="STRANGER", StudyInstanceUID=uid))
    assert found["status"] == "error"
    assert found["returncode"] in (3, 4)


def test_some_of_the_images(loaded_dcmqrscp, scripted_scp):
    number, uid = whole(loaded_dcmqrscp)
    answers = iter([0x0000])
    scripted_scp(
        ae_title="PYPX",
        port=loaded_dcmqrscp.destinations["PYPX"],
        on_store=lambda event: next(answers, 0xA700),
    )
    found = pypx.move(opt_for(loaded_dcmqrscp.address, StudyInstanceUID=uid))
    assert (found["status"], found["completed"], found["failed"]) == ("partial", 1, number - 1)
    assert found["returncode"] == 1
    assert f"{number - 1} of {number} images were not sent" in found["data"]


def test_the_engine_makes_no_difference(pacs, listener):
    number, uid = whole(pacs)
    dcmtk = {"engine": "dcmtk"}
    assert pypx.echo(opt_for(pacs.address, **dcmtk))["status"] == "success"
    ours = pypx.find(opt_for(pacs.address, StudyInstanceUID=uid))
    found = pypx.find(opt_for(pacs.address, StudyInstanceUID=uid, then="retrieve", **dcmtk))
    assert (found["status"], found["returncode"]) == ("success", 0), found.get("error")
    for study in found["data"]:
        for one in study["series"]:
            del one["PACS_Retrieve"]
    assert found["data"] == ours["data"]
    assert len(list(listener.instances({"StudyInstanceUID": uid}))) == number


def test_a_pacs_that_does_not_know_us(orthanc):
    strict = orthanc(config={"DicomAlwaysAllowEcho": False, "DicomAlwaysAllowFind": False})
    for call in (pypx.echo, pypx.find):
        found = call(opt_for(strict.address))
        assert (found["status"], found["returncode"]) == ("error", 3), found
        assert isinstance(found["data"], str)


def test_push_of_what_was_retrieved(pacs, listener, storescp):
    target = storescp()
    number, uid = whole(pacs)
    then = {"then": "retrieve,push", "thenArgs": ";" + json.dumps({"node": target.address})}
    found = pypx.find(opt_for(pacs.address, StudyInstanceUID=uid, **then))
    ((pushed,),) = [list(one.values()) for one in found["then"]["01-push"]["study"]]
    assert sum(one["completed"] + one["failed"] for one in pushed) == number
    assert len(target.files) == sum(one["completed"] for one in pushed)


def test_the_programs_as_pfdcm_runs_them(pacs, listener, home):
    number, uid = whole(pacs)
    opt = opt_for(pacs.address)
    line = f"--aet PYPX --aec {opt['aec']} --serverIP {opt['serverIP']}"
    line += f" --serverPort {opt['serverPort']} --db /home/dicom/log --StudyInstanceUID {uid}"
    line += " --PatientID '' --withFeedBack --then retrieve --thenArgs '' --json"
    code = "import sys; sys.argv[0] = 'px-find'; from pypx.cli.main import find; sys.exit(find())"
    done = subprocess.run(
        ["/bin/sh", "-c", f'{sys.executable} -c "{code}" {line}'],
        capture_output=True,
        timeout=120,
        check=False,
    )
    found = json.loads(done.stdout)
    assert (done.returncode, found["status"]) == (0, "success"), done.stderr
    assert len(found["args"]) == 40
    assert len(list(listener.instances({"StudyInstanceUID": uid}))) == number
