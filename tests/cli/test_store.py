"""``px store``: what is sent, what is not, and what a program is told of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from pypx.archive import Archive
from pypx.client import sending, transcode
from pypx.net.served import ServedAssociation
from pypx.receiver.receiver import Receiver
from tests.cli.conftest import Px, command_line, write_config
from tests.client.test_sending import MR_IMAGE, StoreScp, uid, write
from tests.client.test_transcode import IMPLICIT, KINDS, TakesOnly
from tests.corpus import Corpus
from tests.objects import write_file
from tests.peers.process import free_port
from tests.peers.raw import RawScp, receive_pdu, stall

WAIT = 30.0
RLE = KINDS["RLE"]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_PAUSE", 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "files"
    path.mkdir()
    return path


def full(association: ServedAssociation, one: str) -> int:
    return 0xA700


# All is well --------------------------------------------------------------------------------


def test_a_folder_into_another_archive(px: Px, folder: Path, tmp_path: Path) -> None:
    write(folder, 20)
    (folder / "readme.txt").write_text("no image")
    with (
        Archive(tmp_path / "there", durability="none") as archive,
        Receiver(archive, port=0) as receiver,
    ):
        ran = px("store", f"PYPX@127.0.0.1:{receiver.port}", folder)
        assert sum(1 for _ in archive.instances()) == 20
    assert ran.code == 0, ran.err
    assert ran.out.startswith("20 images sent to PYPX@127.0.0.1:")
    assert "1 no DICOM" in ran.out
    assert ran.err == ""


def test_json(px: Px, folder: Path) -> None:
    with StoreScp() as scp:
        ran = px("store", scp.address, write(folder, 3), "--json")
    document = ran.json
    assert ran.code == 0
    assert document.pop("seconds") >= 0
    assert document.pop("bytes") > 3 * 2048
    assert document == {
        "status": "success",
        "completed": 3,
        "failed": 0,
        "warning": 0,
        "remaining": 0,
        "skipped": 0,
        "transcoded": 0,
        "failed_sop_instance_uids": [],
        "failures": [],
    }


def test_verbose_names_what_is_passed_over(px: Px, folder: Path) -> None:
    write(folder, 1)
    for name in (".hidden", "DICOMDIR", "notes\x1b[31m.txt"):
        (folder / name).write_text("no image")
    with StoreScp() as scp:
        ran = px("store", scp.address, folder, "-v")
        quiet = px("store", scp.address, folder, "-q")
    assert ran.code == quiet.code == 0
    assert f"passed over {folder}/.hidden" in ran.err
    assert f"passed over {folder}/DICOMDIR" in ran.err
    assert f"passed over: {folder}/notes\\x1b[31m.txt is no DICOM file." in ran.err
    assert "1 association was made" in ran.err
    assert quiet.err == ""


def test_out_of_the_archive(px: Px, home: Path, folder: Path) -> None:
    with Archive(home / "pypx", durability="none") as archive:
        for number in range(1, 4):
            archive.add_file(write_file(folder, number, StudyInstanceUID=f"1.2.{number % 2}"))
    with StoreScp() as scp:
        ran = px("store", scp.address, "-k", "StudyInstanceUID=1.2.1", "--json")
        none = px("store", scp.address, "--PatientID", "nobody", "--json")
    assert (ran.code, ran.json["completed"]) == (0, 2)
    assert sorted(scp.seen) == [uid(1), uid(3)]
    assert (none.code, none.json["status"]) == (1, "failure")
    assert "nothing to send" in none.err


def test_the_node_says_how_many_associations_and_our_title(
    px: Px, home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        sending.Sending,
        "__init__",
        lambda self, *rest, associations, transcode: (
            asked.append(associations) or _made(self, *rest, associations=associations)
        ),
    )
    with StoreScp() as scp:
        write_config(home, f"[nodes.h]\naddress = '{scp.address}'\naet = 'US'\nassociations = 3\n")
        assert px("store", "h", write(folder, 9)).code == 0
        assert px("store", "h", folder, "--associations", 1, "--aet", "ME").code == 0
    assert asked == [3, 1]
    assert {request.calling_ae_title for request in scp.requests} == {"US", "ME"}


_made = sending.Sending.__init__


def test_a_terminal_sees_a_bar(px: Px, folder: Path) -> None:
    with StoreScp() as scp:
        ran = px("store", scp.address, write(folder, 3), terminal=True)
    assert ran.code == 0
    assert "to SCRIPTED@" in ran.err


# Something is not ---------------------------------------------------------------------------


def test_what_is_refused_is_named_and_the_rest_goes_on(px: Px, folder: Path) -> None:
    write(folder, 2)
    write_file(folder, 3, SOPClassUID=MR_IMAGE)
    torn = folder / "4.dcm"
    torn.write_bytes((folder / "1.dcm").read_bytes()[:200])
    with StoreScp(refuse=[MR_IMAGE]) as scp:
        ran = px("store", scp.address, folder)
        document = px("store", scp.address, folder, "--json").json
    assert ran.code == 1
    assert "2 images sent to" in ran.out
    assert f"{folder}/3.dcm: {scp.address} does not accept MR Image Storage in" in ran.out
    assert f"{torn} is torn" in ran.out
    assert "2 of 4 images were not stored" in ran.err
    assert (document["completed"], document["failed"]) == (2, 2)
    assert document["failed_sop_instance_uids"] == [uid(3)]
    failures = {one["path"]: one["error"]["kind"] for one in document["failures"]}
    assert failures == {str(torn): "data-set", f"{folder}/3.dcm": "no-presentation-context"}
    assert document["error"]["kind"] == "partial"


def test_a_full_peer(px: Px, folder: Path) -> None:
    with StoreScp(full) as scp:
        ran = px("store", scp.address, write(folder, 30), "--json")
    assert ran.code == 4
    assert (ran.json["status"], ran.json["failed"], ran.json["remaining"]) == ("failure", 30, 0)
    assert len(ran.json["failed_sop_instance_uids"]) == 30
    assert ran.json["error"]["status"] == "A700"
    assert "out of resources" in ran.err


def test_warnings_are_no_failure(px: Px, folder: Path) -> None:
    with StoreScp(lambda _, one: 0xB000 if one == uid(1) else 0) as scp:
        ran = px("store", scp.address, write(folder, 2), "--json")
    assert ran.code == 0
    assert (ran.json["status"], ran.json["completed"], ran.json["warning"]) == ("warning", 1, 1)


def test_nothing_of_it_is_dicom(px: Px, folder: Path) -> None:
    (folder / "a.txt").write_text("no image")
    with StoreScp() as scp:
        ran = px("store", scp.address, folder, "--json")
    assert ran.code == 1
    assert "none of 1 file is DICOM" in ran.err
    assert (ran.json["skipped"], scp.requests) == (1, [])


def test_a_peer_that_breaks_off_in_the_middle(px: Px, folder: Path) -> None:
    broken = []

    def once(association: ServedAssociation, one: str) -> int | None:
        if len(broken) < 2 and one in (uid(3), uid(5)) and one not in broken:
            broken.append(one)
            association.abort()
            return None
        return 0

    with StoreScp(once) as scp:
        ran = px("store", scp.address, write(folder, 8), "--json")
    assert (ran.code, ran.json["completed"]) == (0, 8)
    assert set(scp.seen) == {uid(number) for number in range(1, 9)}


def test_a_dead_peer(px: Px, folder: Path) -> None:
    ran = px("store", f"GONE@127.0.0.1:{free_port()}", write(folder, 5), "--json")
    assert ran.code == 3
    assert (ran.json["status"], ran.json["completed"], ran.json["remaining"]) == ("failure", 0, 5)
    assert ran.json["error"]["kind"] == "connect"


def test_a_peer_that_says_nothing(px: Px, folder: Path) -> None:
    scp = RawScp([receive_pdu(), stall()])
    try:
        ran = px("store", f"A@127.0.0.1:{scp.port}", write(folder, 1), "--timeout", "0.3", "--json")
    finally:
        scp.stop()
    assert (ran.code, ran.json["error"]["kind"]) == (3, "timeout")


def test_hostile_names(px: Px, folder: Path) -> None:
    name = os.fsdecode(b"\xff\x1b]0;x\x07.dcm")
    write_file(folder, 1).rename(folder / name)
    with StoreScp(full) as scp:
        text = px("store", scp.address, folder)
        ran = px("store", scp.address, folder, "--json")
    assert text.code == ran.code == 4
    assert "\x1b" not in text.out + text.err + ran.out + ran.err
    assert json.loads(ran.out)["failures"][0]["path"] == str(folder / name)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["/nowhere/at/all"], "There is no file or folder /nowhere/at/all."),
        (["PatientID=4711"], "Write -k PatientID=VALUE."),
        ([], "It is not said what is to be sent."),
        (["-k", "PatientID"], "It is not said what is to be sent."),
        (["/", "-k", "PatientID=1"], "Keys select from the archive"),
        (["/", "--associations", "0"], "0 is not in the range"),
        (["-k", "PatientID=1"], "There is no archive at"),
        (["/", "--commit-timeout", "0"], "0.0 is not in the range"),
    ],
)
def test_usage(px: Px, arguments: list[str], says: str) -> None:
    ran = px("store", "A@127.0.0.1:1", *arguments)
    assert ran.code == 2
    assert says in ran.err


# Ctrl-C -------------------------------------------------------------------------------------


def interrupted(
    *arguments: object, when: threading.Event, by: int = signal.SIGINT
) -> tuple[int, Any, str]:
    process = subprocess.Popen(
        command_line(*arguments, "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert when.wait(WAIT)
        process.send_signal(by)
        out, err = process.communicate(timeout=WAIT)
    finally:
        process.kill()
        process.communicate()
    return process.returncode, json.loads(out), err.decode()


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_releases_and_tells_what_was_done(folder: Path, by: int) -> None:
    under_way = threading.Event()

    def slowly(association: ServedAssociation, one: str) -> int:
        if len(scp.seen) >= 5:
            under_way.set()
            stopping.wait(0.2)  # each takes so long that the stop comes before the last one
        return 0

    stopping = threading.Event()
    with StoreScp(slowly) as scp:
        command = ("store", scp.address, write(folder, 400))
        code, document, err = interrupted(*command, when=under_way, by=by)
    assert code == 128 + by
    assert document["status"] == "cancelled"
    assert document["completed"] == len(scp.seen) < 400
    assert document["remaining"] == 400 - len(scp.seen)
    assert f"Interrupted: {len(scp.seen)} images sent" in err
    assert set(scp.failures) == {None}  # released


def test_ctrl_c_while_nobody_answers(folder: Path) -> None:
    asked = threading.Event()
    scp = RawScp([receive_pdu(), lambda _: asked.set(), stall()])
    try:
        code, document, _ = interrupted(
            "store", f"A@127.0.0.1:{scp.port}", write(folder, 2), when=asked
        )
    finally:
        scp.stop()
    assert code == 130
    assert (document["status"], document["remaining"]) == ("cancelled", 2)


def test_transcode(px: Px, corpus: Corpus, folder: Path) -> None:
    file = next(one for one in corpus.good if one.transfer_syntax_uid == RLE)
    arguments = (file.path, write_file(folder, 1))
    with TakesOnly([IMPLICIT]) as scp:
        refused = px("store", scp.address, file.path)
        ran = px("store", scp.address, *arguments, "--transcode")
        document = px("store", scp.address, *arguments, "--transcode", "--json")
    assert refused.code == 3
    assert "does not accept" in refused.err
    assert "hint: With --transcode it is sent uncompressed, if the PACS takes that." in refused.err
    assert (ran.code, ran.err) == (0, "")
    assert "2 images sent to" in ran.out
    assert "2 transcoded" in ran.out
    assert document.json["transcoded"] == 2
    assert [syntax for syntax, _ in scp.received] == [IMPLICIT] * 4


def test_transcode_without_the_extra(px: Px, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcode, "find_spec", lambda name: None)
    ran = px("store", "A@127.0.0.1:1", write(folder, 1), "--transcode")
    assert ran.code == 2
    assert "hint: Install it: pip install 'pypx[transcode]'" in ran.err
