"""``px move``: what is asked for, what arrives, and what a PACS says of it."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.cli import move as move_module
from pypx.cli import reception
from pypx.client.client import Client
from pypx.client.store import Instance
from pypx.errors import ArchiveFullError
from pypx.pacs import Pacs
from pypx.receiver.hook_queue import HookQueue
from pypx.receiver.receiver import Receiver
from tests.cli.conftest import Px, write_config
from tests.peers.raw import RawScp, close, receive_pdu
from tests.scripted import Exchange, Scripted

CT, MR, DX = "A1001", "A1002", "A1003"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(move_module, "_QUIET", 0.1)


@pytest.fixture
def archive(home: Path) -> Path:
    return home / "pypx"


def files(archive: Path) -> int:
    return len(list(archive.glob("[!.]*/**/*.dcm")))


# Hooks ------------------------------------------------------------------------------------


def hooks_of(home: Path, script: str) -> None:
    command = json.dumps([sys.executable, "-c", script])
    write_config(home, f"[listen]\nsettle = 600\n[[hooks]]\nname = 'h'\ncommand = {command}\n")


def test_hooks_are_told_of_what_we_receive(px: Px, pacs: Pacs, port: int, home: Path) -> None:
    out = home / "event.json"
    hooks_of(home, f"import sys; open({str(out)!r}, 'w').write(sys.stdin.read())")
    ran = px("move", pacs.address, "-k", f"AccessionNumber={CT}", "--port", port)
    assert ran.code == 0, ran.err
    event = json.loads(out.read_text())
    assert (event["instances"], event["reason"], event["verified"]) == (12, "settled", True)
    assert Path(event["path"]).is_dir()
    assert HookQueue(home / "pypx/.pypx/hooks").queued == 0


def test_a_hook_that_takes_too_long_is_not_waited_for(
    px: Px, pacs: Pacs, port: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reception, "_HOOKS_GRACE", 0.1)
    hooks_of(home, "import time; time.sleep(600)")
    ran = px("move", pacs.address, "-k", f"AccessionNumber={CT}", "--port", port)
    assert ran.code == 0
    assert "Hooks have yet to take 1 delivery" in ran.err
    assert HookQueue(home / "pypx/.pypx/hooks").queued == 1


def test_a_hook_that_cannot_work_is_told_before_anything_is_moved(
    px: Px, pacs: Pacs, port: int, home: Path
) -> None:
    write_config(home, "[[hooks]]\nwebhook = 'http://h/${NOT_SET_ANYWHERE}'\n")
    ran = px("move", pacs.address, "-k", f"AccessionNumber={CT}", "--port", port)
    assert ran.code == 2
    assert "NOT_SET_ANYWHERE" in ran.err
    assert files(home / "pypx") == 0


# Receiving here ---------------------------------------------------------------------------


def test_without_a_listener_we_receive_ourselves(
    px: Px, pacs: Pacs, port: int, archive: Path
) -> None:
    ran = px("move", pacs.address, "-k", f"AccessionNumber={CT}", "--port", port)
    assert ran.code == 0, ran.err
    assert f"No listener on 127.0.0.1:{port}: receiving here, into {archive}." in ran.err
    assert ran.out.startswith("12 images sent to PYPX, in ")
    assert "12 received here" in ran.out
    assert files(archive) == 12


def test_the_result_as_json(px: Px, pacs: Pacs, port: int) -> None:
    ran = px("move", pacs.address, "-k", f"AccessionNumber={MR}", "--port", port, "--json")
    assert ran.code == 0
    seconds, received_bytes = ran.json.pop("seconds"), ran.json["bytes"]
    assert 0 < seconds < 20
    assert received_bytes > 14 * 8192
    assert {key: ran.json[key] for key in ran.json if key not in ("seconds", "bytes")} == {
        "status": "success",
        "completed": 14,
        "failed": 0,
        "warning": 0,
        "remaining": 0,
        "failed_sop_instance_uids": [],
        "received": 14,
    }


def test_a_listener_that_runs_is_used(px: Px, pacs: Pacs, port: int, home: Path) -> None:
    with (
        Archive(home / "theirs", durability="none") as theirs,
        Receiver(theirs, port=port) as receiver,
    ):
        ran = px("move", pacs.address, "-k", f"AccessionNumber={DX}", "--port", port, "-v")
        assert receiver.totals.instances == 1
    assert ran.code == 0
    assert f"the listener on 127.0.0.1:{port} receives" in ran.err
    assert "received here" not in ran.out
    assert not (home / "pypx").exists()


def test_a_port_that_something_else_has(px: Px, pacs: Pacs) -> None:
    scp = RawScp([receive_pdu(), close()])
    ran = px("move", pacs.address, "-k", f"AccessionNumber={DX}", "--port", scp.port)
    scp.stop()
    assert ran.code == 2
    assert "is no DICOM listener" in ran.err


def test_our_aet_port_and_archive_come_from_the_configuration(
    px: Px, pacs: Pacs, port: int, home: Path
) -> None:
    pacs.destinations["LAB"] = Address("LAB", "127.0.0.1", port)
    write_config(
        home,
        f'aet = "LAB"\narchive = "{home}/lab"\nlayout = "uid"\n'
        f'[listen]\nport = {port}\n[nodes.demo]\naddress = "{pacs.address}"\n',
    )
    ran = px("move", "demo", "--PatientID", "DEMO-003")
    assert ran.code == 0, ran.err
    assert "sent to LAB" in ran.out
    (file,) = (home / "lab").glob("[!.]*/**/*.dcm")
    assert file.parent.parent.parent == home / "lab"  # study and series by their UIDs


def test_a_duplicate_is_told(px: Px, pacs: Pacs, port: int) -> None:
    for _ in range(2):
        ran = px("move", pacs.address, "-k", f"AccessionNumber={DX}", "--port", port)
    assert ran.code == 0
    assert "1 were here already" in ran.out


def test_a_full_archive_is_exit_5(
    px: Px, pacs: Pacs, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise ArchiveFullError("There is no room for the object.")

    monkeypatch.setattr(Archive, "begin", full)
    ran = px("move", pacs.address, "-k", f"AccessionNumber={DX}", "--port", port, "--json")
    assert ran.code == 5
    assert ran.json["status"] == "failure"
    assert ran.json["error"]["kind"] == "archive"
    assert "no room" in ran.json["error"]["message"]


def test_less_space_than_is_to_be_left_is_refused(
    px: Px, pacs: Pacs, port: int, home: Path
) -> None:
    write_config(home, '[listen]\nmin_free = "1000T"\n')
    ran = px("move", pacs.address, "-k", f"AccessionNumber={DX}", "--port", port, "--json")
    assert ran.code == 5
    assert ran.json["error"]["kind"] == "archive"
    assert f"less than {1000 << 40} bytes left" in ran.json["error"]["message"]
    assert files(home / "pypx") == 0


def test_an_archive_that_cannot_be_made_is_exit_5(px: Px, pacs: Pacs, port: int) -> None:
    ran = px(
        "move", pacs.address, "--PatientID", "DEMO-003", "--port", port, "--archive", "/proc/no"
    )
    assert ran.code == 5
    assert "/proc/no" in ran.err


# What is asked for ------------------------------------------------------------------------


class _Asked:
    """A PACS that finds and moves what a test says, and notes what it was asked."""

    def __init__(self) -> None:
        self.finds: list[dict[str, Any]] = []
        self.moves: list[dict[str, Any]] = []
        self.found: dict[str, list[dict[str, str]]] = {}

    def find(self, exchange: Exchange) -> None:
        asked = exchange.identifier.to_dict()
        self.finds.append({key: value for key, value in asked.items() if value})
        for match in self.found.get(asked["QueryRetrieveLevel"], []):
            exchange.match(**match)
        exchange.end_find()

    def move(self, exchange: Exchange) -> None:
        self.moves.append(exchange.identifier.to_dict())
        exchange.progress(0x0000, None, 1, 0, 0)


@pytest.fixture
def asked() -> _Asked:
    return _Asked()


@pytest.fixture
def scripted(asked: _Asked) -> Iterator[Scripted]:
    with Scripted(find=asked.find, move=asked.move) as one:
        yield one


@pytest.mark.parametrize(
    ("keys", "moves"),
    [
        (["StudyInstanceUID=1.2"], [("STUDY", {"StudyInstanceUID": "1.2"})]),
        (
            ["StudyInstanceUID=1.2\\1.3"],
            [("STUDY", {"StudyInstanceUID": "1.2"}), ("STUDY", {"StudyInstanceUID": "1.3"})],
        ),
        (
            ["StudyInstanceUID=1.2", "SeriesInstanceUID=1.2.1"],
            [("SERIES", {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.1"})],
        ),
        (["SeriesInstanceUID=1.2.1"], [("SERIES", {"SeriesInstanceUID": "1.2.1"})]),
        (
            ["StudyInstanceUID=1.2", "SeriesInstanceUID=1.2.1", "SOPInstanceUID=7\\8"],
            [
                (
                    "IMAGE",
                    {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.1", "SOPInstanceUID": u},
                )
                for u in "78"
            ],
        ),
        (["PatientID=P1"], [("PATIENT", {"PatientID": "P1"})]),
    ],
)
def test_unique_keys_are_passed_on(
    px: Px, asked: _Asked, scripted: Scripted, keys: list[str], moves: list[Any]
) -> None:
    arguments = [word for key in keys for word in ("-k", key)]
    ran = px("move", scripted.address, "--to", "THERE", *arguments)
    assert ran.code == 0, ran.err
    assert asked.finds == []
    expected = [{"QueryRetrieveLevel": level, **unique} for level, unique in moves]
    assert asked.moves == expected


def test_other_keys_are_looked_up_first(px: Px, asked: _Asked, scripted: Scripted) -> None:
    asked.found["STUDY"] = [
        {"StudyInstanceUID": "1.2", "AccessionNumber": "A1"},
        {"StudyInstanceUID": "1.3", "AccessionNumber": "A1"},
    ]
    ran = px("move", scripted.address, "--to", "THERE", "-k", "AccessionNumber=A1")
    assert asked.finds == [{"QueryRetrieveLevel": "STUDY", "AccessionNumber": "A1"}]
    assert [move["StudyInstanceUID"] for move in asked.moves] == ["1.2", "1.3"]
    assert "The keys name 2 studies." in ran.err
    assert ran.out.startswith("2 images sent to THERE")


def test_all_there_is_are_all_studies_also_those_without_an_id(
    px: Px, asked: _Asked, scripted: Scripted
) -> None:
    asked.found["STUDY"] = [{"StudyInstanceUID": "1.2", "PatientID": ""}]
    ran = px("move", scripted.address, "--to", "THERE", "-k", "PatientID=*")
    assert ran.code == 0, ran.err
    assert asked.finds == [{"QueryRetrieveLevel": "STUDY"}]
    assert [move["StudyInstanceUID"] for move in asked.moves] == ["1.2"]


def test_a_key_of_series_moves_series(px: Px, asked: _Asked, scripted: Scripted) -> None:
    asked.found["SERIES"] = [
        {"SeriesInstanceUID": "1.2.1", "Modality": "MR"},
        {"SeriesInstanceUID": "1.2.2", "Modality": "MR"},
    ]
    keys = ["-k", "StudyInstanceUID=1.2", "-k", "Modality=MR"]
    px("move", scripted.address, "--to", "THERE", *keys)
    assert asked.finds == [
        {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.2", "Modality": "MR"}
    ]
    assert [move["SeriesInstanceUID"] for move in asked.moves] == ["1.2.1", "1.2.2"]
    assert all(move["QueryRetrieveLevel"] == "SERIES" for move in asked.moves)


def test_an_id_of_a_patient_and_a_study_are_looked_up_together(
    px: Px, asked: _Asked, scripted: Scripted
) -> None:
    keys = ["-k", "PatientID=P1", "-k", "StudyInstanceUID=1.2"]
    ran = px("move", scripted.address, "--to", "THERE", *keys, "--json")
    assert ran.code == 1
    assert ran.json["error"]["kind"] == "no-match"
    assert asked.moves == []
    assert asked.finds[0]["PatientID"] == "P1"


def test_a_list_that_is_cut_moves_nothing(px: Px, asked: _Asked) -> None:
    def find(exchange: Exchange) -> None:
        exchange.match(StudyInstanceUID="1.2")
        exchange.end_find(0xB001)

    with Scripted(find=find, move=asked.move) as scripted:
        ran = px("move", scripted.address, "--to", "THERE", "-k", "AccessionNumber=A*")
    assert ran.code == 1
    assert "nothing was asked for" in ran.err
    assert asked.moves == []


@pytest.mark.parametrize("returned", [{}, {"ModalitiesInStudy": "CT"}])
def test_a_pacs_that_ignores_a_key_is_not_asked_to_send_everything(
    px: Px, asked: _Asked, scripted: Scripted, returned: dict[str, str]
) -> None:
    asked.found["STUDY"] = [{"StudyInstanceUID": "1.2", **returned}]
    ran = px("move", scripted.address, "--to", "THERE", "-k", "ModalitiesInStudy=MR")
    assert ran.code == 1
    assert "seems to ignore the key ModalitiesInStudy; nothing was asked for" in ran.err
    assert asked.moves == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Nothing says what is to be sent"),
        (["-k", "StudyInstanceUID"], "StudyInstanceUID has no value"),
        (["-k", "Modality=MR"], "every study"),
        (["-k", "StudyInstanceUID=1.2", "-k", "InstanceNumber=1"], "every series"),
        (["-k", "StudyInstanceUID=1.2", "--level", "patient"], "no key of the patient level"),
        (["-k", "StudyInstanceUID=1.2", "--to", "A", "--port", "1"], "our listener"),
        (["-k", "StudyInstanceUID=1.2", "--to", "A" * 17], "17 characters"),
        (["--StudyInstanceUI", "1.2"], "--StudyInstanceUID"),
    ],
)
def test_what_is_no_use_is_exit_2(px: Px, arguments: list[str], said: str) -> None:
    with Scripted() as scripted:
        ran = px("move", scripted.address, *arguments)
    assert ran.code == 2
    assert said in ran.err


# What a PACS says -------------------------------------------------------------------------


def moved(px: Px, *arguments: object, move: Any) -> Any:
    with Scripted(move=move) as scripted:
        return px("move", scripted.address, "-k", "StudyInstanceUID=1.2", *arguments)


def send(samples: Archive, port: int) -> None:
    """Send one of the samples to our listener."""
    instance = Instance.from_file(next(iter(samples.instances())).path)
    with Client(Address("PYPX", "127.0.0.1", port)) as client:
        client.store([instance]).send(instance)


def test_some_failed(px: Px) -> None:
    def move(exchange: Exchange) -> None:
        exchange.progress(0xFF00, 2, 1, 0, 0)
        exchange.progress(0xB000, None, 2, 1, 0, failed=["1.2.3"])

    ran = moved(px, "--to", "THERE", move=move)
    assert ran.code == 1
    assert ran.out.startswith("2 images sent to THERE, 1 failed")
    assert "  1.2.3\n" in ran.out
    assert "1 of 3 instances were not sent." in ran.err
    document = moved(px, "--to", "THERE", "--json", move=move).json
    assert document["status"] == "warning"
    assert document["failed_sop_instance_uids"] == ["1.2.3"]
    assert document["error"]["kind"] == "partial"


def test_success_although_some_failed(px: Px) -> None:
    ran = moved(px, "--to", "THERE", move=lambda one: one.progress(0x0000, None, 2, 1, 0))
    assert ran.code == 1
    assert "does not name all" in ran.err


def test_success_with_nothing_sent(px: Px) -> None:
    ran = moved(px, "--to", "THERE", "--json", move=lambda one: one.progress(0, None, 0, 0, 0))
    assert ran.code == 1
    assert ran.json["status"] == "warning"
    assert "sent nothing" in ran.json["error"]["message"]


def test_an_unknown_destination(px: Px) -> None:
    ran = moved(px, "--to", "NOWHERE", "--json", move=lambda one: one.progress(0xA801))
    assert ran.code == 4
    assert ran.json["status"] == "failure"
    assert ran.json["error"]["status"] == "A801"
    assert "administrator" in ran.json["error"]["hint"]


def test_a_pacs_that_goes_away(px: Px) -> None:
    def move(exchange: Exchange) -> None:
        exchange.progress(0xFF00, 2, 1, 0, 0)
        exchange.cut()

    ran = moved(px, "--to", "THERE", "--json", move=move)
    assert ran.code == 3
    assert ran.json["completed"] == 1
    assert ran.json["error"]["kind"] == "connection-lost"


def test_a_closed_port(px: Px) -> None:
    ran = px("move", "A@127.0.0.1:1", "-k", "StudyInstanceUID=1.2", "--to", "X", "--json")
    assert ran.code == 3
    assert ran.json["error"]["kind"] == "connect"
    ran = px("move", "A@127.0.0.1:1", "-k", "StudyInstanceUID=1.2", "--to", "X")
    assert ran.out == ""


def test_one_of_several_requests_fails(px: Px) -> None:
    def move(exchange: Exchange) -> None:
        if exchange.identifier["StudyInstanceUID"] == "1.2":
            exchange.progress(0xA702)
        else:
            exchange.progress(0x0000, None, 3, 0, 0)

    with Scripted(move=move) as scripted:
        ran = px("move", scripted.address, "--to", "T", "-k", "StudyInstanceUID=1.2\\1.3", "--json")
        assert len(scripted.requests) == 1
    assert ran.code == 1
    assert ran.json["completed"] == 3
    assert ran.json["error"]["message"].startswith("1 of 2 requests failed")


def test_one_of_several_sends_nothing(px: Px) -> None:
    def move(exchange: Exchange) -> None:
        sent = 3 if exchange.identifier["StudyInstanceUID"] == "1.3" else 0
        exchange.progress(0x0000, None, sent, 0, 0)

    with Scripted(move=move) as scripted:
        ran = px("move", scripted.address, "--to", "T", "-k", "StudyInstanceUID=1.2\\1.3")
    assert ran.code == 1
    assert "1 of 2 requests ended with success, but sent nothing" in ran.err


def test_a_pacs_that_gives_no_numbers(px: Px, samples: Archive, port: int) -> None:
    def move(exchange: Exchange) -> None:
        send(samples, port)
        exchange.progress(0x0000)

    ran = moved(px, "--port", port, "--json", move=move)
    assert ran.code == 0, ran.err
    assert ran.json["received"] == 1


def test_less_arrived_than_the_pacs_says(px: Px, pacs: Pacs, port: int) -> None:
    def move(exchange: Exchange) -> None:
        exchange.progress(0x0000, None, 5, 0, 0)

    ran = moved(px, "--port", port, "--json", move=move)
    assert ran.code == 1
    assert ran.json["received"] == 0
    assert "says that it sent 5 instances, but only 0 arrived" in ran.json["error"]["message"]


def test_what_comes_after_the_last_word_is_waited_for(px: Px, samples: Archive, port: int) -> None:
    senders = []

    def move(exchange: Exchange) -> None:
        exchange.progress(0x0000, None, 1, 0, 0)
        senders.append(threading.Timer(0.05, send, (samples, port)))
        senders[0].start()

    ran = moved(px, "--port", port, "--json", move=move)
    senders[0].join()
    assert ran.code == 0, ran.err
    assert ran.json["received"] == 1


def test_a_bar_on_a_terminal_leaves_the_result(
    px: Px, pacs: Pacs, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    ran = px("move", pacs.address, "-k", f"AccessionNumber={CT}", "--port", port, terminal=True)
    assert ran.code == 0
    assert ran.out.startswith("12 images sent to PYPX")
    assert "to PYPX" in ran.err
    assert " of 12" in ran.err


def test_a_loopback_listener_is_no_use_to_another_machine(px: Px, port: int) -> None:
    ran = px(
        "move", "X@192.0.2.1:104", "-k", "StudyInstanceUID=1.2", "--port", port, "--timeout", "0.1"
    )
    assert ran.code == 3
    assert "cannot reach our listener on 127.0.0.1" in ran.err
