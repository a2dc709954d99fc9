"""``pypx.smdb`` as pfdcm uses it: keys of services, in files beside the folder of logs."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import pytest

from pypx import smdb


@pytest.fixture
def keys(tmp_path: Path) -> smdb.SMDB:
    return smdb.SMDB(Namespace(str_logDir=str(tmp_path / "log")))


def test_keys_are_added_and_given_back(keys: smdb.SMDB, tmp_path: Path) -> None:
    assert keys.service_keyAccess("storage") == {"status": False, "storage": {}}
    one = {"megalodon": {"ip": "10.0.0.1", "port": "8080", "login": "a:b"}}
    keys.args.str_actionArgs = json.dumps(one)
    assert keys.service_keyAccess("storage") == {"status": True, "storage": one}
    two = {"local": {"url": "http://h/api", "username": "u", "password": "p"}}
    keys.args.str_actionArgs = json.dumps(two)
    assert keys.service_keyAccess("CUBE") == {"status": True, "CUBE": two}
    other = smdb.SMDB(Namespace(str_logDir=str(tmp_path / "log"), str_actionArgs=""))
    assert other.service_keyAccess("storage")["storage"] == one
    keys.args.str_actionArgs = json.dumps({"megalodon": {}, "b": {}})
    assert keys.service_keyAccess("storage")["storage"] == {"megalodon": {}, "b": {}}
    files = sorted((tmp_path / "services").iterdir())
    assert [file.name for file in files] == ["cube.json", "storage.json"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_the_pacs_of_pfdcm_are_given_as_they_stand_there(keys: smdb.SMDB, tmp_path: Path) -> None:
    pacs = {"services": {"orthanc": {"info": {"aet": "CHRISLOCAL", "aec": "ORTHANC"}}}}
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "pacs.json").write_text(json.dumps(pacs))
    assert keys.service_keyAccess("pacs") == {"status": True, "pacs": pacs}


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_file_that_is_none(keys: smdb.SMDB, tmp_path: Path, text: str) -> None:
    (tmp_path / "services").mkdir()
    file = tmp_path / "services" / "cube.json"
    file.write_text(text)
    keys.args.str_actionArgs = '{"a": {}}'
    found = keys.service_keyAccess("CUBE")
    assert (found["status"], found["CUBE"]) == (False, {})
    assert "cube.json" in found["error"]
    assert file.read_text() == text


def test_what_is_added_is_no_object(keys: smdb.SMDB, tmp_path: Path) -> None:
    for text in ("{", "[1]"):
        keys.args.str_actionArgs = text
        assert keys.service_keyAccess("storage")["status"] is False
    assert not (tmp_path / "services").exists()


def test_a_name_leads_nowhere_else(keys: smdb.SMDB, tmp_path: Path) -> None:
    keys.args.str_actionArgs = '{"a": {}}'
    assert keys.service_keyAccess("../../x")["status"] is True
    assert [file.name for file in (tmp_path / "services").iterdir()] == ["x.json"]
