"""``px get``: what is asked for, what is stored, and what a PACS says of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pypx.archive import Archive
from pypx.dicom import uids
from pypx.errors import ArchiveFullError
from pypx.pacs import Pacs
from tests.cli.conftest import Px, command_line, write_config
from tests.objects import CT_IMAGE, data_set
from tests.scripted import Exchange, Scripted

CT, MR, DX = "A1001", "A1002", "A1003"
STUDY = "StudyInstanceUID=1.2.3"


@pytest.fixture
def archive(home: Path) -> Path:
    return home / "pypx"


def files(archive: Path) -> list[Path]:
    return list(archive.glob("[!.]*/**/*.dcm"))


def find(exchange: Exchange) -> None:
    """Say that there are CT images."""
    if exchange.identifier["QueryRetrieveLevel"] == "STUDY":
        exchange.match(StudyInstanceUID="1.2.3", SOPClassesInStudy=CT_IMAGE)
    else:
        exchange.match(SOPClassUID=CT_IMAGE)
    exchange.end_find()


# Against the embedded PACS ----------------------------------------------------------------


def test_a_study_comes_into_the_archive_bit_for_bit(
    px: Px, pacs: Pacs, samples: Archive, archive: Path
) -> None:
    ran = px("get", pacs.address, "-k", f"AccessionNumber={CT}")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("12 images sent to PYPX, in ")
    assert "12 received here" in ran.out
    with Archive(archive) as ours:
        rows = list(ours.find("image"))
        assert len(rows) == len(files(archive)) == 12
        for row in rows:
            located = samples.locate(str(row["SOPInstanceUID"]))
            assert located is not None
            sent = located.path.read_bytes()[located.data_set_offset :]
            assert Path(str(row["path"])).read_bytes().endswith(sent)
        assert ours.check(checksums=True).ok


def test_the_result_as_json(px: Px, pacs: Pacs) -> None:
    ran = px("get", pacs.address, "-k", f"AccessionNumber={MR}", "--json")
    assert ran.code == 0
    document = ran.json
    assert 0 < document.pop("seconds") < 20
    assert document.pop("bytes") > 14 * 8192
    assert document == {
        "status": "success",
        "completed": 14,
        "failed": 0,
        "warning": 0,
        "remaining": 0,
        "failed_sop_instance_uids": [],
        "received": 14,
        "unexpected_sop_instance_uids": [],
    }


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        (["PatientID=*"], 27),
        (["PatientID=DEMO-002"], 14),
        ([f"AccessionNumber={CT}", "Modality=CT"], 12),
    ],
)
def test_every_level(px: Px, pacs: Pacs, archive: Path, keys: list[str], count: int) -> None:
    ran = px("get", pacs.address, *(word for key in keys for word in ("-k", key)))
    assert ran.code == 0, ran.err
    assert len(files(archive)) == count


def test_one_image(px: Px, pacs: Pacs, samples: Archive, archive: Path) -> None:
    row = next(iter(samples.find("image")))
    keys = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    ran = px("get", pacs.address, *(word for key in keys for word in ("-k", f"{key}={row[key]}")))
    assert ran.code == 0, ran.err
    (file,) = files(archive)
    assert str(row["SOPInstanceUID"]) in file.name


def test_a_duplicate_is_told(px: Px, pacs: Pacs) -> None:
    for _ in range(2):
        ran = px("get", pacs.address, "-k", f"AccessionNumber={DX}")
    assert ran.code == 0
    assert "1 were here already" in ran.out


def test_hooks_are_told_of_what_comes(px: Px, pacs: Pacs, home: Path) -> None:
    out = home / "event.json"
    script = f"import sys; open({str(out)!r}, 'w').write(sys.stdin.read())"
    command = json.dumps([sys.executable, "-c", script])
    write_config(home, f"[listen]\nsettle = 600\n[[hooks]]\nname = 'h'\ncommand = {command}\n")
    ran = px("get", pacs.address, "-k", f"AccessionNumber={CT}")
    assert ran.code == 0, ran.err
    event = json.loads(out.read_text())
    assert (event["instances"], event["verified"]) == (12, True)


def test_nothing_matches(px: Px, pacs: Pacs, archive: Path) -> None:
    ran = px("get", pacs.address, "-k", "AccessionNumber=NONE", "--json")
    assert ran.code == 1
    assert ran.json["error"]["kind"] == "no-match"
    assert not archive.exists()


def test_keys_that_say_nothing_are_a_usage_error(px: Px, pacs: Pacs) -> None:
    ran = px("get", pacs.address)
    assert ran.code == 2
    assert "Nothing says what is to be sent" in ran.err


def test_a_pacs_that_is_not_there_makes_no_archive(px: Px, archive: Path) -> None:
    ran = px("get", "NOBODY@127.0.0.1:9", "-k", STUDY)
    assert ran.code == 3
    assert not archive.exists()


def test_a_full_archive_is_exit_5_and_stops_the_pacs(
    px: Px, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise ArchiveFullError("There is no room for the object.")

    monkeypatch.setattr(Archive, "begin", full)
    ran = px("get", pacs.address, "-k", f"AccessionNumber={MR}", "--json")
    assert ran.code == 5
    assert ran.json["status"] == "failure"
    assert ran.json["error"]["kind"] == "archive"
    assert "no room" in ran.json["error"]["message"]
    assert ran.json["failed"] < 14, "the rest was cancelled"


# Against one that says what the test wants ------------------------------------------------


def test_a_pacs_that_offers_no_c_get(px: Px, archive: Path) -> None:
    with Scripted(find=find, refuse=[uids.STUDY_ROOT_GET]) as scripted:
        ran = px("get", scripted.address, "-k", STUDY)
    assert ran.code == 3
    assert "GET" in ran.err
    assert not archive.exists()


def test_success_without_an_image_is_none(px: Px) -> None:
    def nothing(exchange: Exchange) -> None:
        exchange.progress(0x0000, None, 0, 0, 0)

    with Scripted(find=find, get=nothing) as scripted:
        ran = px("get", scripted.address, "-k", STUDY, "--json")
    assert ran.code == 1
    assert ran.json["status"] == "warning"
    assert "sent nothing" in ran.json["error"]["message"]


def test_less_than_the_pacs_says_is_no_success(px: Px) -> None:
    def boaster(exchange: Exchange) -> None:
        exchange.store(1)
        exchange.progress(0x0000, None, 3, 0, 0)

    with Scripted(find=find, get=boaster) as scripted:
        ran = px("get", scripted.address, "-k", STUDY)
    assert ran.code == 1
    assert "says that it sent 3 instances, but only 1 arrived" in ran.err


def test_failed_sub_operations_are_named(px: Px) -> None:
    def partly(exchange: Exchange) -> None:
        exchange.store(1)
        exchange.progress(0xB000, None, 1, 2, 0, failed=["1.2.8", "1.2.9"])

    with Scripted(find=find, get=partly) as scripted:
        ran = px("get", scripted.address, "-k", STUDY)
        as_json = px("get", scripted.address, "-k", STUDY, "--json")
    assert ran.code == as_json.code == 1
    assert "1.2.8" in ran.out and "1.2.9" in ran.out
    assert as_json.json["failed_sop_instance_uids"] == ["1.2.8", "1.2.9"]


@pytest.mark.parametrize("status", [0xA701, 0xA702, 0xA900, 0xC123])
def test_a_failure_status_is_exit_4(px: Px, status: int) -> None:
    with Scripted(find=find, get=lambda exchange: exchange.progress(status)) as scripted:
        ran = px("get", scripted.address, "-k", STUDY, "--json")
    assert ran.code == 4
    assert f"{status:04X}H" in ran.json["error"]["message"]


def test_what_nobody_asked_for_is_stored_and_listed_apart(px: Px, archive: Path) -> None:
    def generous(exchange: Exchange) -> None:
        assert exchange.store(1) == 0
        assert exchange.store(2, StudyInstanceUID="1.99", SeriesInstanceUID="1.99.1") == 0
        exchange.progress(0x0000, None, 1, 0, 0)

    with Scripted(find=find, get=generous) as scripted:
        ran = px("get", scripted.address, "-k", STUDY)
        as_json = px("get", scripted.address, "-k", STUDY, "--json")
    assert ran.code == as_json.code == 0
    assert "Stored, though nobody asked for them:\n  1.2.3.4.2\n" in ran.out
    assert as_json.json["unexpected_sop_instance_uids"] == ["1.2.3.4.2"]
    assert len(files(archive)) == 2


def test_what_nobody_asked_for_does_not_stand_for_what_was(px: Px) -> None:
    def wrong(exchange: Exchange) -> None:
        exchange.store(2, StudyInstanceUID="1.99", SeriesInstanceUID="1.99.1")
        exchange.progress(0x0000, None, 1, 0, 0)

    with Scripted(find=find, get=wrong) as scripted:
        ran = px("get", scripted.address, "-k", STUDY)
    assert ran.code == 1
    assert "only 0 arrived here, and 1 that nobody asked for" in ran.err


@pytest.mark.parametrize("uid", ["../../../outside", "/tmp/outside", "1.2\x1b[31m", "..", "1" * 64])
def test_a_hostile_uid_stays_in_the_archive(px: Px, home: Path, archive: Path, uid: str) -> None:
    statuses: list[int] = []

    def hostile(exchange: Exchange) -> None:
        statuses.append(exchange.store(1, uid=uid, StudyInstanceUID="../../study"))
        exchange.progress(0x0000, None, 1, 0, 0)

    before = {path for path in home.rglob("*") if archive not in path.parents}
    with Scripted(find=find, get=hostile) as scripted:
        ran = px("get", scripted.address, "-k", STUDY)
    assert len(statuses) == 1, "the peer was answered, whatever it sent"
    assert ran.code == 1
    assert "\x1b" not in ran.out + ran.err
    after = {path for path in home.rglob("*") if archive not in path.parents}
    assert after - before <= {archive}
    assert not Path("/tmp/outside").exists()


def test_an_object_that_is_cut_leaves_nothing(px: Px, archive: Path) -> None:
    def cut(exchange: Exchange) -> None:
        exchange.store(1)
        context_id = exchange.begin_store(2)
        exchange.association.send_data_set(context_id, data_set(2)[:1000], is_last=False)
        exchange.cut()

    with Scripted(find=find, get=cut) as scripted:
        ran = px("get", scripted.address, "-k", STUDY, "--json")
    assert ran.code == 3
    assert ran.json["received"] == 1
    (kept,) = files(archive)
    assert kept.name.endswith("1.2.3.4.1.dcm")
    assert list((archive / ".pypx/incoming").glob("*")) == []


def test_a_silent_pacs_is_given_up(px: Px) -> None:
    def silent(exchange: Exchange) -> None:
        exchange.store(1)
        exchange.wait_for_cancel()

    with Scripted(find=find, get=silent) as scripted:
        ran = px("get", scripted.address, "-k", STUDY, "--timeout", "0.2")
    assert ran.code == 3
    assert "was silent for 0.2 s" in ran.err


def test_ctrl_c_cancels_and_says_what_was_done(home: Path, archive: Path) -> None:
    began, cancelled = threading.Event(), threading.Event()

    def endless(exchange: Exchange) -> None:
        exchange.store(1)
        exchange.progress(0xFF00, 9, 1, 0, 0)
        began.set()
        if exchange.wait_for_cancel():
            cancelled.set()
        exchange.progress(0xFE00, 9, 1, 0, 0)

    with Scripted(find=find, get=endless) as scripted:
        px = subprocess.Popen(
            command_line("get", scripted.address, "-k", STUDY, "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            assert began.wait(20)
            px.send_signal(signal.SIGINT)
            out, err = px.communicate(timeout=20)
        finally:
            px.kill()
    assert cancelled.is_set()
    assert px.returncode == 130, err
    document: dict[str, Any] = json.loads(out)
    assert document["status"] == "cancelled"
    assert (document["completed"], document["remaining"]) == (1, 9)
    assert scripted.failures == [None] * len(scripted.failures)  # all ended by release
    assert len(files(archive)) == 1
