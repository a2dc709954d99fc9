"""``px nodes``: the file is edited, and a mistake in it is shown with its line."""

from __future__ import annotations

import threading
import tomllib
from pathlib import Path

import pytest

from pypx.config import load
from pypx.net.tls_settings import ClientTls
from tests.cli.conftest import Px, write_config
from tests.net.certificates import Certificates

WITH_COMMENTS = """\
# ours
aet = "LAB"   # as the PACS knows us

[nodes.a]
address = "A@10.0.0.1:104"
"""


@pytest.fixture
def file(home: Path) -> Path:
    return home / "config" / "pypx" / "config.toml"


def test_without_a_file_there_are_none(px: Px, file: Path) -> None:
    ran = px("nodes")
    assert (ran.code, ran.out) == (0, "")
    assert f"no nodes in {file}" in ran.err
    assert px("nodes", "--json").json == []


def test_add_makes_the_file(px: Px, file: Path) -> None:
    ran = px("nodes", "add", "hospital", "ORTHANC@10.1.2.3:4242", "--aet", "RESEARCH")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == f"hospital is ORTHANC@10.1.2.3:4242, in {file}.\n"
    assert tomllib.loads(file.read_text()) == {
        "nodes": {"hospital": {"address": "ORTHANC@10.1.2.3:4242", "aet": "RESEARCH"}}
    }
    assert "hospital" in px("nodes").out


def test_a_node_with_an_engine(px: Px, file: Path) -> None:
    assert px("nodes", "add", "old", "OLD@h:104", "--engine", "dcmtk").code == 0
    assert tomllib.loads(file.read_text())["nodes"]["old"]["engine"] == "dcmtk"
    assert px("nodes", "show", "old", "--json").json["engine"] == "dcmtk"


def test_list_show_and_remove(px: Px) -> None:
    px("nodes", "add", "a", "A@h", "--model", "patient", "--associations", 4)
    px("nodes", "add", "b", "B@h:11")
    a: dict[str, object] = {
        "name": "a",
        "address": "A@h:104",
        "aet": None,
        "model": "patient",
        "associations": 4,
    }
    a["tls"] = False
    b: dict[str, object] = {
        "name": "b",
        "address": "B@h:11",
        "aet": None,
        "model": "study",
        "associations": 2,
    }
    b["tls"] = False
    assert px("nodes", "list", "--json").json == [a, b]
    assert px("nodes", "list", "--jsonl").rows == [a, b]
    assert px("nodes", "list", "--csv").out.splitlines()[1] == "a,A@h:104,,patient,4,False"
    assert px("nodes", "show", "b", "--json").json == b | {
        "method": None,
        "match_limit": None,
        "refused_levels": [],
        "character_set": None,
        "engine": None,
        "identity": None,
    }
    assert "address        B@h:11" in px("nodes", "show", "b").out
    assert px("nodes", "remove", "a", "--json").json == {"removed": "a"}
    assert px("nodes", "list", "--json").json == [b]
    assert px("nodes", "remove", "b").code == 0
    assert px("nodes", "list", "--json").json == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "a", "A@h"], "already a node 'a'"),
        (["add", "b", "no-address"], "no address"),
        (["add", "b@c", "A@h"], "no name for a node"),
        (["add", "", "A@h"], "no name for a node"),
        (["add", "b", "A@h", "--aet", "x" * 17], "17 characters"),
        (["remove", "z"], "no node 'z'"),
        (["show", "z"], "no node 'z'"),
        (["list", "z"], "unexpected extra argument"),
        (["lst"], "lst"),
    ],
)
def test_what_is_no_use_is_exit_2(px: Px, home: Path, arguments: list[str], said: str) -> None:
    file = write_config(home, WITH_COMMENTS)
    ran = px("nodes", *arguments)
    assert ran.code == 2
    assert said in ran.err
    assert file.read_text() == WITH_COMMENTS


def test_adding_keeps_comments(px: Px, home: Path) -> None:
    file = write_config(home, WITH_COMMENTS)
    ran = px("nodes", "add", "b", "B@h")
    assert "warning" not in ran.err
    assert file.read_text().startswith(WITH_COMMENTS)
    assert tomllib.loads(file.read_text())["nodes"]["b"] == {"address": "B@h:104"}


def test_removing_loses_comments_says_so_and_keeps_the_old_file(px: Px, home: Path) -> None:
    file = write_config(home, WITH_COMMENTS)
    ran = px("nodes", "remove", "a")
    assert f"warning: The comments of {file} were lost" in ran.err
    assert file.with_name("config.toml.bak").read_text() == WITH_COMMENTS
    assert tomllib.loads(file.read_text()) == {"aet": "LAB"}


def test_removing_without_comments_says_nothing(px: Px, home: Path) -> None:
    file = write_config(home, '[nodes.a]\naddress = "A@h"\n')
    assert "warning" not in px("nodes", "remove", "a").err
    assert not file.with_name("config.toml.bak").exists()


def test_another_file(px: Px, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "other.toml"
    assert px("nodes", "add", "a", "A@h", "--config", path).code == 0
    assert path.exists()
    monkeypatch.setenv("PYPX_CONFIG", str(path))
    assert px("nodes", "--json").json[0]["name"] == "a"


def test_a_file_that_cannot_be_written(px: Px) -> None:
    ran = px("nodes", "add", "a", "A@h", "--config", "/proc/none/config.toml")
    assert ran.code == 2
    assert "cannot be written" in ran.err


def test_two_that_edit_at_once_both_get_in(px: Px, home: Path) -> None:
    from pypx.address import Address
    from pypx.config import Node
    from pypx.config.edit import add_node

    path = str(home / "config.toml")
    threads = [
        threading.Thread(target=add_node, args=(path, Node(f"n{n}", Address("A", "h"))))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(px("nodes", "--config", path, "--json").json) == 8


def test_a_mistake_names_file_line_and_key(px: Px, home: Path) -> None:
    file = write_config(home, 'aet = "LAB"\n\n[listen]\nprot = 104\n')
    for arguments in (["nodes"], ["echo", "A@127.0.0.1:1"], ["ls"], ["listen"]):
        ran = px(*arguments)
        assert ran.code == 2
        assert f"{file} line 4: the key 'listen.prot' is unknown." in ran.err
        assert "Did you mean 'port'?" in ran.err


def test_a_node_with_tls(px: Px, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    own = certificates.issue("client.example.org")
    added = px(
        *("nodes", "add", "secure", "PACS@10.0.0.1:2762", "--tls-ca", certificates.ca),
        *("--tls-certificate", own, "--tls-name", "pacs.example.org"),
    )
    assert added.code == 0, added.err
    assert px("nodes", "add", "simple", "PACS@10.0.0.2:2762", "--tls").code == 0
    [secure, simple] = load().nodes.values()
    assert secure.tls == ClientTls(ca=certificates.ca, certificate=own, name="pacs.example.org")
    assert simple.tls == ClientTls()
    shown = px("nodes", "show", "secure", "--json").json
    assert shown["tls"] is True
    assert "yes" in px("nodes").out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tls-ca", "missing.pem"), "missing.pem cannot be read"),
        (("--tls-key", "key.pem"), "--tls-key needs --tls-certificate"),
    ],
)
def test_tls_that_cannot_be(px: Px, options: tuple[str, ...], said: str) -> None:
    ran = px("nodes", "add", "secure", "PACS@10.0.0.1:2762", *options)
    assert ran.code == 2
    assert said in ran.err
    assert not load().nodes
