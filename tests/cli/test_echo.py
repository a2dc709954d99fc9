"""``px echo``: who answers, and which step fails where nobody does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pypx.pacs import Pacs
from pypx.ul.codec import encode_pdu
from pypx.ul.pdu import AAssociateRJ
from tests.cli.conftest import Px, write_config
from tests.peers.raw import RawScp, receive_pdu, send, stall
from tests.scripted import Scripted

UNKNOWN_CALLED = AAssociateRJ(1, 1, 7)


@pytest.fixture
def rejecting() -> Iterator[RawScp]:
    scp = RawScp([receive_pdu(), send(encode_pdu(UNKNOWN_CALLED)), stall()])
    yield scp
    scp.stop()


def test_a_line_says_time_name_pdu_and_syntax(px: Px, pacs: Pacs) -> None:
    ran = px("echo", pacs.address)
    assert ran.code == 0
    assert ran.err == ""
    where, ok, time, said = ran.out.rstrip("\n").split("  ")
    assert (where, ok) == (str(pacs.address), "ok")
    assert time.endswith(" ms")
    assert said.startswith("PYPX_")
    assert said.endswith(", PDU 1048576, Explicit VR Little Endian")


def test_json_is_one_document_of_all_nodes(px: Px, pacs: Pacs) -> None:
    ran = px("echo", pacs.address, "X@127.0.0.1:1", "--json")
    assert ran.code == 3
    good, bad = ran.json
    assert good["node"] == good["address"] == str(pacs.address)
    assert good["status"] == "success"
    assert good["error"] is None
    assert 0 < good["time_ms"] < 1000
    assert set(good["peer"]) == {
        "implementation_version_name",
        "implementation_class_uid",
        "maximum_pdu_length",
    }
    assert bad["status"] == "failure"
    assert bad["error"]["kind"] == "connect"
    assert bad["error"]["message"].startswith("127.0.0.1 refused")
    assert bad["error"]["hint"]


def test_json_lines(px: Px, pacs: Pacs) -> None:
    ran = px("echo", pacs.address, pacs.address, "--jsonl")
    assert [row["status"] for row in ran.rows] == ["success", "success"]


def test_the_lines_come_in_the_order_of_the_nodes(px: Px, pacs: Pacs) -> None:
    ran = px("echo", "X@127.0.0.1:1", pacs.address, "Y@nosuch.invalid")
    assert [line.split("  ")[1] for line in ran.out.splitlines()] == ["failed", "ok", "failed"]
    assert ran.code == 3  # that of the first failure


def test_a_closed_port_is_the_tcp_step(px: Px) -> None:
    ran = px("echo", "X@127.0.0.1:1")
    assert ran.code == 3
    assert ran.out == "X@127.0.0.1:1  failed  TCP connection\n"
    error, hint = ran.err.splitlines()
    assert error == "error: 127.0.0.1 refused the connection to port 1."
    assert hint.startswith("hint: ")


def test_an_unknown_host_is_the_name_step(px: Px) -> None:
    ran = px("echo", "X@nosuch.invalid")
    assert ran.code == 3
    assert "name look-up" in ran.out
    assert "'nosuch.invalid'" in ran.err


def test_a_rejection_is_told_in_words(px: Px, rejecting: RawScp) -> None:
    ran = px("echo", f"WRONG@127.0.0.1:{rejecting.port}")
    assert ran.code == 3
    assert "failed  association" in ran.out
    assert "called AE title" in ran.err
    assert "'WRONG'" in ran.err


def test_a_status_is_the_echo_step(px: Px) -> None:
    with Scripted() as scripted:  # it serves nothing: status 0211H
        ran = px("echo", scripted.address)
    assert ran.code == 4
    assert "failed  echo" in ran.out
    assert "0211H" in ran.err


def test_a_silent_peer_is_given_up_after_the_timeout(px: Px) -> None:
    scp = RawScp([stall()])
    ran = px("echo", f"X@127.0.0.1:{scp.port}", "--timeout", "0.1")
    scp.stop()
    assert ran.code == 3
    assert "within 0.1 s" in ran.err


def test_a_name_of_the_configuration(px: Px, pacs: Pacs, home: Path) -> None:
    write_config(home, f'[nodes.here]\naddress = "{pacs.address}"\n')
    assert px("echo", "here").out.startswith(f"here  {pacs.address}  ok  ")
    assert px("echo", "--all", "--json").json[0]["node"] == "here"
    ran = px("echo", "her")
    assert ran.code == 2
    assert "Did you mean here?" in ran.err


def test_the_aet_of_the_node_is_what_we_call_ourselves(px: Px, home: Path) -> None:
    with Scripted() as scripted:
        write_config(home, f'aet = "ME"\n[nodes.a]\naddress = "{scripted.address}"\naet = "US"\n')
        px("echo", "a")
        px("echo", "a", "--aet", "FLAG")
        px("echo", scripted.address)
        assert [one.calling_ae_title for one in scripted.requests] == ["US", "FLAG", "ME"]


def test_flags_stand_for_a_node(px: Px, pacs: Pacs) -> None:
    host, port = pacs.address.host, pacs.address.port
    assert px("echo", "--aec", "DEMO", "--serverIP", host, "--serverPort", port).code == 0
    assert (
        px("--aec", "DEMO", "--serverIP", host, "--serverPort", port, program="px-echo").code == 0
    )


def test_flags_go_before_a_part_of_the_node(px: Px) -> None:
    with Scripted() as scripted:
        px("echo", scripted.address, "--aec", "OTHER")
        assert scripted.requests[0].called_ae_title == "OTHER"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "NODE is missing"),
        (["--aec", "X"], "--serverIP is missing"),
        (["--serverIP", "h"], "--aec is missing"),
        (["--all"], "There are no nodes"),
        (["A@h", "B@h", "--aec", "X"], "one NODE"),
        (["A@h", "--all"], "exclude"),
        (["nobody"], "no node 'nobody'"),
        (["host:104"], "AET@host:104"),
        (["A@h:0"], "port 0"),
        (["A" * 17 + "@h"], "17 characters"),
        (["A@h", "--timeout", "0"], "above 0"),
        (["A@h", "--timeout", "nan"], "above 0"),
        (["A@h", "--aet", ""], "AE title cannot be empty"),
        (["A@h", "-q", "-v"], "exclude"),
    ],
)
def test_what_is_no_use_is_exit_2(px: Px, arguments: list[str], said: str) -> None:
    ran = px("echo", *arguments)
    assert ran.code == 2
    assert said in ran.err
    assert ran.out == ""


def test_verbose_tells_the_configuration_and_the_peer(px: Px, pacs: Pacs) -> None:
    ran = px("echo", pacs.address, "-v")
    assert "configuration " in ran.err
    assert "implementation class UID" in ran.err


def test_lines_on_stderr_as_json(px: Px) -> None:
    import json

    ran = px("echo", "X@127.0.0.1:1", "--log-json")
    (entry,) = map(json.loads, ran.err.splitlines())
    assert entry["level"] == "error"
    assert entry["kind"] == "connect"
    assert entry["hint"]
    assert entry["time"].endswith("+00:00")
