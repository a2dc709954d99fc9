"""``px nodes import``: what upstream knows of PACS, from its JSON and from its script."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pypx.config.upstream import parse_upstream
from pypx.errors import ConfigError
from tests.cli.conftest import Px, write_config

SERVICES = {
    "services": {
        "orthanc": {
            "info": {
                "aet": "CHRISLOCAL",
                "aet_listener": "ORTHANC",
                "aec": "ORTHANC",
                "serverIP": "192.168.1.200",
                "serverPort": "4242",
            }
        },
        "main": {"info": {"aec": "MAIN", "serverIP": "pacs.hospital.org", "serverPort": 104}},
    }
}
KEYS = {"orthanc": {"aet": "CHRISLOCAL", "aec": "ORTHANC", "ip": "192.168.1.200", "port": "4242"}}

OLD_SCRIPT = """#!/bin/bash
G_AETITLE=CHIPS
G_QUERYPORT=4242
G_SYNOPSIS="
    -h <institution>
    orthanc) is one ;;
"
function institution_set
{
    local INSTITUTION=$1

    case "$INSTITUTION"
    in
        orthanc)
          G_QUERYHOST=127.0.0.1
          G_CALLTITLE=ORTHANC   # the one in the cellar
        ;;
        # retired)  G_QUERYHOST=10.0.0.1 ; G_CALLTITLE=OLD ;;
        West|west-2)
          G_AETITLE="WEST-CLIENT"
          G_QUERYHOST='10.72.1.1'
          G_QUERYPORT=104
          G_CALLTITLE=WEST
        ;;
        elsewhere) G_QUERYHOST=$(touch never) ; G_CALLTITLE=ELSE ;;
        by-name) G_QUERYHOST="$HOST" ; G_CALLTITLE=ELSE ;;
        *) G_QUERYHOST=10.1.1.1 ; G_CALLTITLE=ANY ;;
    esac
}

while getopts h:Q: option ; do
    case "$option"
    in
        Q) ARGS=$OPTARG ;;
    esac
done
"""

NEW_SCRIPT = """
institution_set() {
    case "$1" in
        (site)
            SWIFTKEY=local
            AET=RESEARCH
            PACSIP=10.72.1.9
            PACSPORT=11112
            AEC=SITE
        ;;
    esac
}
"""


def nodes(text: str) -> dict[str, Any]:
    return {
        one.name: (str(one.node.address), one.node.aet) if one.node else one.reason
        for one in parse_upstream(text)
    }


def test_both_shapes_of_the_json() -> None:
    assert nodes(json.dumps(SERVICES)) == {
        "orthanc": ("ORTHANC@192.168.1.200:4242", "CHRISLOCAL"),
        "main": ("MAIN@pacs.hospital.org:104", None),
    }
    assert nodes(json.dumps(KEYS)) == {"orthanc": ("ORTHANC@192.168.1.200:4242", "CHRISLOCAL")}


def test_a_script_is_read_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert nodes(OLD_SCRIPT) == {
        "orthanc": ("ORTHANC@127.0.0.1:4242", "CHIPS"),
        "West": ("WEST@10.72.1.1:104", "WEST-CLIENT"),
        "west-2": ("WEST@10.72.1.1:104", "WEST-CLIENT"),
        "elsewhere": "Its host is computed by the script.",
        "by-name": "Its host is computed by the script.",
    }
    assert nodes(NEW_SCRIPT) == {"site": ("SITE@10.72.1.9:11112", "RESEARCH")}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"ip": "h", "port": "1"}, "It has no aec."),
        ({"aec": "A", "port": "1"}, "It has no host."),
        ({"aec": "A", "ip": "h", "port": "one"}, "'one' is no port."),
        ({"aec": "A", "ip": "h", "port": "70000"}, "The port 70000 is not between"),
        ({"aec": "A" * 17, "ip": "h"}, "17 characters"),
        ({"aec": "A", "ip": "a b"}, "no host name"),
        ({"aec": "A", "ip": "h", "aet": "B" * 17}, "17 characters"),
        ({"info": 3}, "It is no object."),
        (3, "It is no object."),
    ],
)
def test_what_says_too_little(entry: Any, reason: str) -> None:
    (found,) = parse_upstream(json.dumps({"x": entry}))
    assert found.node is None and reason in found.reason


@pytest.mark.parametrize("text", ["", "{}", "[]", "3", "echo $1", '{"services": []}', "\0\ud800"])
def test_a_file_of_something_else(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_upstream(text)


def configured(home: Path) -> Any:
    return tomllib.loads((home / "config" / "pypx" / "config.toml").read_text())["nodes"]


@pytest.fixture
def pacs_json(tmp_path: Path) -> Path:
    path = tmp_path / "pacs.json"
    path.write_text(json.dumps(SERVICES))
    return path


def test_they_are_written_and_used(px: Px, home: Path, pacs_json: Path) -> None:
    ran = px("nodes", "import", pacs_json)
    assert ran.code == 0, ran.err
    assert "orthanc" in ran.out and "added" in ran.out and "2 of 2 are written to" in ran.err
    assert configured(home) == {
        "orthanc": {"address": "ORTHANC@192.168.1.200:4242", "aet": "CHRISLOCAL"},
        "main": {"address": "MAIN@pacs.hospital.org:104"},
    }
    again = px("nodes", "import", pacs_json, "--json")
    assert again.code == 0 and {row["outcome"] for row in again.json} == {"same"}


def test_a_dry_run_writes_nothing(px: Px, home: Path, tmp_path: Path) -> None:
    script = tmp_path / "PACS_QR.sh"
    script.write_text(OLD_SCRIPT)
    ran = px("nodes", "import", script, "--dry-run", "--jsonl")
    assert ran.code == 1
    assert [row["outcome"] for row in ran.rows] == ["added"] * 3 + ["refused"] * 2
    assert "3 of 5 would be written" in ran.err
    assert not (home / "config").exists()


def test_what_is_configured_stays_unless_it_is_to_be_replaced(
    px: Px, home: Path, pacs_json: Path
) -> None:
    text = '# mine\n[nodes.orthanc]\naddress = "MINE@here:104"\nmodel = "patient"\n'
    path = write_config(home, text)
    ran = px("nodes", "import", pacs_json)
    assert ran.code == 1 and "kept" in ran.out and "--replace" in ran.err
    assert configured(home)["orthanc"] == {"address": "MINE@here:104", "model": "patient"}
    assert path.read_text().startswith(text)
    ran = px("nodes", "import", pacs_json, "--replace")
    assert ran.code == 0 and "replaced" in ran.out and "comments" in ran.err
    assert configured(home)["orthanc"] == {
        "address": "ORTHANC@192.168.1.200:4242",
        "aet": "CHRISLOCAL",
        "model": "patient",
    }


def test_names_that_no_node_can_have_and_twins(px: Px, home: Path, tmp_path: Path) -> None:
    entry = KEYS["orthanc"]
    path = tmp_path / "pacs.json"
    path.write_text(json.dumps({"a@b": entry, "fine": entry}))
    ran = px("nodes", "import", path, "--json")
    assert ran.code == 1
    assert [row["outcome"] for row in ran.json] == ["refused", "added"]
    script = tmp_path / "twins.sh"
    script.write_text(NEW_SCRIPT.replace("(site)", "site|site)"))
    ran = px("nodes", "import", script, "--json")
    assert [row["outcome"] for row in ran.json] == ["added", "refused"]


def test_a_file_that_is_not_there(px: Px, tmp_path: Path) -> None:
    ran = px("nodes", "import", tmp_path / "none.json")
    assert ran.code == 2 and "cannot be read" in ran.err
