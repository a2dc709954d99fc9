"""``px retrieve`` as users type it: what it brings, what it says, and how it can end."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pypx.archive import Archive
from pypx.archive.locks import TransferLock
from pypx.cli import retrieving
from pypx.cli.options import Invocation
from pypx.net.connection import Timeouts
from pypx.pacs.retrieve import Request
from tests.cli.conftest import Px, Ran, Serve, stored, write_config
from tests.peers.process import free_port
from tests.scripted import Exchange, Scripted

ALL = ("-k", "PatientID=DEMO-*")
CT = ("-k", "AccessionNumber=A1001")
MR = ("-k", "AccessionNumber=A1002")
IMAGES, CT_IMAGES, MR_IMAGES = 27, 12, 14

Retrieve = Callable[..., Ran]


def job_of(px: Px) -> Any:
    """Give the newest job as px status has it."""
    return px("status", "--json").json["transfers"][0]


def requests_of(px: Px) -> list[Any]:
    series = px("status", job_of(px)["id"], "--json").json["series"]
    return [request for one in series for request in one["requests"]]


def complete_in_px_ls(px: Px) -> set[str]:
    return {row["completeness"] for row in px("ls", "--level", "series", "--json").json}


@pytest.mark.parametrize(("level", "keyword"), [("series", "Series"), ("image", "SOP")])
def test_a_series_or_an_image_alone(
    px: Px, retrieve: Retrieve, serve: Serve, samples: Archive, level: str, keyword: str
) -> None:
    key = f"{keyword}InstanceUID"
    uid = next(str(row[key]) for row in samples.find(level, {"PatientID": "DEMO-002"}))
    number = len(list(samples.find("image", {key: uid})))
    ran = retrieve(serve(), "-k", f"{key}={uid}", "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["requested"], ran.json["received"]) == (number, number)


def test_a_series_of_which_the_pacs_does_not_tell_the_study(
    retrieve: Retrieve, serve: Serve, tmp_path: Path
) -> None:
    cohort = tmp_path / "cohort.csv"
    cohort.write_text("SeriesInstanceUID\n1.2.3\n")
    for given in (("-k", "SeriesInstanceUID=1.2.3"), ("--from", cohort)):
        ran = retrieve(serve("refuse-series-level"), *given, "--method", "get")
        assert ran.code == (4 if given[0] == "-k" else 1)
    with Path(f"{cohort}.result.csv").open(encoding="utf-8", newline="") as file:
        (line,) = csv.DictReader(file)
    assert line["status"] == "failed"
    assert "does not say which study SeriesInstanceUID 1.2.3 is in" in line["reason"]
    assert "Give StudyInstanceUID as well" in line["reason"]


# All of it --------------------------------------------------------------------------------


def test_all_that_matches_is_here_and_it_says_so(
    px: Px, retrieve: Retrieve, serve: Serve, home: Path
) -> None:
    ran = retrieve(serve(), *ALL)
    assert (ran.code, ran.err) == (0, "")
    header, *lines, last = ran.out.splitlines()
    assert header.split() == ["Date", "Description", "Patient", "Series", "Images", "Result"]
    assert [line.split()[-3:] for line in lines] == [
        ["1/1", "12/12", "complete"],
        ["2/2", "14/14", "complete"],
        ["1/1", "1/1", "complete"],
    ]
    job = job_of(px)
    assert last.startswith(f"Job {job['id']}: 27 images came, ")
    assert last.endswith(" Complete: all 27 instances are here.")
    assert stored(home) == IMAGES
    assert (job["state"], job["received"], job["requested"]) == ("complete", IMAGES, IMAGES)
    assert px("status", job["id"]).code == px("status").code == 0
    assert complete_in_px_ls(px) == {"complete"}


def test_the_result_as_json(retrieve: Retrieve, serve: Serve) -> None:
    address = serve()
    ran = retrieve(address, *CT, "--json")
    assert ran.code == 0
    document = ran.json
    (series,) = document.pop("series")
    assert series.pop("series_instance_uid") and series.pop("study_instance_uid")
    assert series == {
        "expected": CT_IMAGES,
        "received": CT_IMAGES,
        "status": "complete",
        "reason": "",
    }
    assert 0 < document.pop("seconds") < 20
    assert document.pop("bytes") > CT_IMAGES * 8192
    assert document.pop("id").count("-") == 1
    assert document == {
        "node": str(address),
        "status": "success",
        "verdict": "Complete: all 12 instances are here.",
        "completed": CT_IMAGES,
        "failed": 0,
        "warning": 0,
        "remaining": 0,
        "failed_sop_instance_uids": [],
        "requested": CT_IMAGES,
        "received": CT_IMAGES,
        "here_before": 0,
        "missing": [],
        "unexpected_sop_instance_uids": [],
        "notes": [],
        "studies_without_series": [],
        "queries": [],
    }


def test_what_is_here_is_not_fetched(px: Px, retrieve: Retrieve, serve: Serve) -> None:
    address = serve()
    assert retrieve(address, *CT).code == 0
    ran = retrieve(address, *ALL, "--json")
    assert ran.code == 0
    assert (ran.json["completed"], ran.json["here_before"]) == (IMAGES - CT_IMAGES, CT_IMAGES)
    assert sum(request["asked"] for request in requests_of(px)) == IMAGES - CT_IMAGES
    again = retrieve(address, *ALL, "--json")
    assert (again.code, again.json["completed"], requests_of(px)) == (0, 0, [])


@pytest.mark.parametrize("method", ["move", "get"])
@pytest.mark.parametrize(("by", "number"), [("study", 1), ("series", 2), ("image", 2)])
def test_methods_and_levels(
    px: Px, retrieve: Retrieve, serve: Serve, method: str, by: str, number: int
) -> None:
    ran = retrieve(serve(), *MR, "--method", method, "--by", by)
    assert ran.code == 0, ran.err
    asked = [(one["method"], one["level"]) for one in requests_of(px)]
    assert asked == [(method, by)] * number


def test_the_patient_root_model(
    retrieve: Retrieve, serve: Serve, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    answer = Request.answer

    def notice(request: Request, *arguments: Any, **named: Any) -> None:
        asked.append(request.message.affected_sop_class_uid)
        answer(request, *arguments, **named)

    monkeypatch.setattr(Request, "answer", notice)
    ran = retrieve(serve(), "-k", "PatientID=DEMO-002", "--model", "patient")
    assert ran.code == 0, ran.err
    assert stored(home) == MR_IMAGES
    assert set(asked) == {"1.2.840.10008.5.1.4.1.2.1.2"}


def test_keys_of_the_series_and_keyword_flags(retrieve: Retrieve, serve: Serve, home: Path) -> None:
    ran = retrieve(serve(), "--PatientID", "DEMO-*", "--Modality", "MR", "--json")
    assert (ran.code, ran.json["requested"], stored(home)) == (0, MR_IMAGES, MR_IMAGES)


def test_a_node_of_the_configuration(
    px: Px, serve: Serve, soon: Path, home: Path, listener_port: int
) -> None:
    settings = f'port = {listener_port}\n[nodes.demo]\naddress = "{serve()}"\nassociations = 1\n'
    write_config(home, soon.read_text() + settings)
    ran = px("retrieve", "demo", *CT, "--json")
    assert (ran.code, ran.json["node"], stored(home)) == (0, "demo", CT_IMAGES)


def test_the_flags_of_upstream(retrieve: Retrieve, serve: Serve, home: Path) -> None:
    where = serve()
    flags = ("--aec", "DEMO", "--serverIP", where.host, "--serverPort", where.port)
    assert retrieve(*flags, *CT).code == 0
    assert stored(home) == CT_IMAGES


# A plan -----------------------------------------------------------------------------------


def test_a_plan_needs_no_archive_and_leaves_none(
    px: Px, retrieve: Retrieve, serve: Serve, home: Path
) -> None:
    ran = retrieve(serve(), *ALL, "--dry-run")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[-1] == (
        "4 series in 3 studies: 0 of 27 images are here; 27 would be asked for."
    )
    assert [line.split()[-2] for line in ran.out.splitlines()[1:-1]] == ["0/12", "0/14", "0/1"]
    assert not (home / "pypx").exists()
    assert px("status").code == 2


def test_a_plan_as_json_says_what_is_here_and_how_long_it_would_take(
    px: Px, retrieve: Retrieve, serve: Serve, home: Path
) -> None:
    address = serve()
    assert retrieve(address, *CT, "--json").code == 0
    ran = retrieve(address, *ALL, "--dry-run", "--json")
    assert ran.code == 0
    plan = ran.json
    assert (plan["status"], plan["requested"], plan["here_before"]) == ("planned", 27, 12)
    assert len(plan["missing"]) == len(set(plan["missing"])) == IMAGES - CT_IMAGES
    assert [one["expected"] for one in plan["series"]] == [12, 8, 6, 1]
    assert 0 < plan["seconds_estimated"] < 60
    assert "at the speed so far" in retrieve(address, *ALL, "--dry-run").out
    assert stored(home) == CT_IMAGES
    assert len(px("status", "--json", "--all").json["transfers"]) == 1
    assert not list((home / "pypx/.pypx/transfers").iterdir())
    assert complete_in_px_ls(px) == {"complete"}


def test_a_plan_does_not_wait_for_the_hours(retrieve: Retrieve, serve: Serve) -> None:
    assert retrieve(serve(), *CT, "--dry-run", "--between", _closed()).code == 0


@pytest.mark.parametrize(
    ("keys", "faults", "code", "kind"),
    [
        (("-k", "PatientID=NOBODY"), (), 1, "no-match"),
        (CT, ("reject-aet",), 3, "association-rejected"),
    ],
)
def test_a_plan_that_finds_nothing(
    retrieve: Retrieve, serve: Serve, keys: Any, faults: Any, code: int, kind: str
) -> None:
    ran = retrieve(serve(*faults), *keys, "--dry-run", "--json")
    assert (ran.code, ran.json["error"]["kind"]) == (code, kind)


def test_a_plan_that_is_interrupted(
    px: Px, retrieve: Retrieve, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Archive(home / "pypx").close()
    monkeypatch.setattr(retrieving, "_GRACE", 0.3)

    def find(exchange: Exchange) -> None:
        exchange.match(StudyInstanceUID="1.2")
        os.kill(os.getpid(), signal.SIGINT)
        exchange.wait_for_cancel()
        exchange.end_find(0xFE00)

    with Scripted(find=find) as scripted:
        ran = retrieve(scripted.address, "-k", "PatientID=1", "--dry-run", "--json")
    assert (ran.code, ran.json["error"]["kind"]) == (130, "cancelled")
    assert px("status", "--json").json["transfers"] == []


def test_a_plan_whose_process_was_killed_is_forgotten(
    px: Px, retrieve: Retrieve, serve: Serve, home: Path
) -> None:
    with Archive(home / "pypx") as archive:
        left, made = (archive.ledger.begin("hospital", {}, name) for name in "ab")
        for one in (left, made):
            archive.ledger.set_state(one, "planned")
        assert px("status").code == 0
        with TransferLock.acquire(archive.root, made.id):
            assert retrieve(serve(), *CT, "--dry-run").code == 0
        (job,) = px("status", "--json").json["transfers"]
        assert (job["id"], job["state"]) == (made.id, "planned")


# How it can end ---------------------------------------------------------------------------


def test_nothing_matches(px: Px, retrieve: Retrieve, serve: Serve) -> None:
    ran = retrieve(serve(), "-k", "PatientID=NOBODY", "--json")
    assert ran.code == 1
    assert (ran.json["status"], ran.json["error"]["kind"]) == ("warning", "no-match")
    assert ran.json["queries"][0]["status"] == "no-match"
    job = job_of(px)
    assert job["state"] == "incomplete"
    assert job["reason"].startswith("Nothing on the PACS matches")
    assert px("status", job["id"]).code == 1


def test_what_does_not_come_is_named(px: Px, retrieve: Retrieve, serve: Serve) -> None:
    ran = retrieve(serve("drop-objects=1"), *CT, "--retries", "0", "--json")
    assert ran.code == 1
    document = ran.json
    assert (document["status"], document["failed"], document["remaining"]) == ("warning", 12, 0)
    assert len(document["missing"]) == CT_IMAGES
    assert document["failed_sop_instance_uids"] == document["missing"]
    assert document["error"]["message"] == "Incomplete: 12 of 12 instances are missing."
    assert f"--resume {document['id']}" in document["error"]["hint"]
    assert document["series"][0]["status"] == "incomplete"
    status = px("status", "--json")
    assert status.code == 1
    assert status.json["transfers"][0]["reason"] == "12 of 12 instances are missing."
    assert px("status", document["id"], "--json").json["missing"] == document["missing"]


def test_what_nobody_can_count_is_unknown(px: Px, retrieve: Retrieve, serve: Serve) -> None:
    ran = retrieve(serve("refuse-image-level", "no-counts"), *CT)
    assert ran.code == 1
    assert " 12/? " in ran.out and " unknown " in ran.out
    assert "Not shown to be complete: 12 instances are here" in ran.err
    job = job_of(px)
    assert (job["state"], px("status", job["id"]).code) == ("unknown", 1)
    assert px("status").code == 0, "there is nothing that somebody could do"
    assert complete_in_px_ls(px) == {"unknown"}


def test_nobody_is_there(px: Px, retrieve: Retrieve) -> None:
    ran = retrieve(f"GONE@127.0.0.1:{free_port()}", *CT, "--json")
    assert ran.code == 3
    assert ran.json["status"] == "failure"
    assert "refused the connection" in ran.json["error"]["message"]
    job = job_of(px)
    assert job["state"] == "failed" and "refused the connection" in job["reason"]
    assert px("status").code == 1


def test_our_ae_title_is_refused(retrieve: Retrieve, serve: Serve) -> None:
    ran = retrieve(serve("reject-aet"), *CT, "--json")
    assert (ran.code, ran.json["error"]["kind"]) == (3, "association-rejected")
    assert ran.json["error"]["hint"]


def test_the_pacs_fails_the_query(px: Px, retrieve: Retrieve) -> None:
    def find(exchange: Exchange) -> None:
        exchange.end_find(0xC001)

    with Scripted(find=find) as scripted:
        ran = retrieve(scripted.address, *CT, "--json")
    assert ran.code == 4
    assert "C001" in ran.json["error"]["message"]
    job = job_of(px)
    assert job["state"] == "incomplete" and "C001" in job["reason"]


def test_the_destination_is_unknown_and_there_is_no_other_way(
    retrieve: Retrieve, serve: Serve, listener_port: int
) -> None:
    ran = retrieve(serve("unknown-destination"), *CT, "--method", "move", "--json")
    assert ran.code == 4
    assert ran.json["error"]["kind"] == "no-method"
    told = ran.err.splitlines()
    assert f"DCMTK (dcmqrscp.cfg, HostTable): pypx = (PYPX, 127.0.0.1, {listener_port})" in told
    assert sum(line.startswith("Orthanc ") for line in told) == 1


def test_the_archive_is_full(px: Px, retrieve: Retrieve, serve: Serve, soon: Path) -> None:
    soon.write_text(f'{soon.read_text()}min_free = "900000TiB"\n')
    ran = retrieve(serve(), *CT, "--json")
    assert ran.code == 5
    assert ran.json["error"]["kind"] == "archive-full"
    assert ran.json["remaining"] == CT_IMAGES
    assert job_of(px)["state"] == "failed"


@pytest.mark.parametrize("fault", ["pending-for-ever", "stall"])
def test_ctrl_c(
    px: Px,
    retrieve: Retrieve,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fault: str,
) -> None:
    timeouts = Timeouts(connect=20, association=20, response=20, release=0.1)
    monkeypatch.setattr(Invocation, "timeouts", lambda _: timeouts)
    _interrupt_when_asked(monkeypatch)
    files = tmp_path / "job.csv", tmp_path / "job.html"
    address = serve(fault)
    ran = retrieve(address, *CT, "--json", "--manifest", files[0], "--report", files[1])
    assert ran.code == 130, ran.err
    assert ran.json["status"] == "cancelled"
    assert ran.json["error"]["kind"] == "cancelled"
    assert "Cancelled: 0 of 12 instances are here so far." in ran.err
    assert f"--resume {ran.json['id']}" in ran.err
    assert [line["status"] for line in _lines(files[0])] == ["missing"] * CT_IMAGES
    assert "Cancelled" in files[1].read_text(encoding="utf-8")
    job = job_of(px)
    assert (job["state"], px("status").code) == ("cancelled", 0)


def _interrupt_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C when a PACS of this process gets a C-MOVE or C-GET."""
    from pypx.pacs.misbehaviour import Fault

    asked = threading.Event()
    for kind in Fault.__subclasses__():
        if "retrieve" in vars(kind):
            _patch(monkeypatch, kind, asked)


def _patch(monkeypatch: pytest.MonkeyPatch, kind: Any, asked: threading.Event) -> None:
    honest = kind.retrieve

    def retrieve(self: Any, *arguments: Any) -> None:
        if not asked.is_set():
            asked.set()
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        honest(self, *arguments)

    monkeypatch.setattr(kind, "retrieve", retrieve)


# Arguments --------------------------------------------------------------------------------

NODE = "DEMO@127.0.0.1:9"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Nothing says what"),
        (CT, "NODE is missing"),
        ((NODE,), "Nothing says what"),
        ((NODE, "-k", "PatientID"), "PatientID has no value"),
        ((NODE, "-k", "PatientIdd=1"), "no DICOM keyword"),
        ((NODE, "-k", "Modality=MR"), "every study"),
        ((NODE, "-k", "StudyDate=31.01.2024"), "not a date like"),
        ((NODE, "-k", "StudyTime=noon"), "not a time like"),
        ((NODE, *CT, "-k", "Modality=MR", "--by", "study"), "names a part of a study"),
        ((NODE, *CT, "--method", "push"), "'push' is not one of"),
        ((NODE, *CT, "--by", "patient"), "'patient' is not one of"),
        ((NODE, *CT, "--retries", "-1"), "--retries"),
        ((NODE, *CT, "--wait", "-1"), "--wait"),
        ((NODE, *CT, "--associations", "0"), "--associations"),
        ((NODE, *CT, "--between", "19:00"), "no time of day from and to"),
        ((NODE, *CT, "--between", "7:00-7:00"), "no time of day from and to"),
        ((NODE, *CT, "--max-rate", "fast"), "no size"),
        ((NODE, *CT, "--max-rate", "0"), "would never get anything"),
        ((NODE, *CT, "--manifest", "job.txt"), "no name of a manifest"),
        ((NODE, *CT, "--manifest", "nowhere/job.csv"), "cannot be written"),
        ((NODE, *CT, "--report", "job.pdf"), "no name of a report"),
        ((NODE, *CT, "--dry-run", "--report", "job.html"), "--dry-run gets nothing"),
        ((NODE, *CT, "--timeout", "0"), "no number of seconds"),
        ((NODE, *CT, "-q", "-v"), "exclude each other"),
        ((NODE, *CT, "--csv"), "no option --csv"),
        ((NODE, "--from", "nowhere.csv"), "nowhere.csv cannot be read"),
        (("nowhere", *CT), "no node 'nowhere'"),
        (("--resume", "x", NODE), "as it was begun"),
        (("--resume", "x", *CT), "as it was begun"),
        (("--resume", "x", "--model", "study"), "as it was begun"),
        (("--resume", "x", "--dry-run"), "has its plan"),
        (("--resume", "x"), "There is no archive"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything(
    px: Px, home: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any, said: str
) -> None:
    monkeypatch.chdir(home)
    ran = px("retrieve", *arguments, "--json")
    assert ran.code == 2, ran.err
    assert said in ran.json["error"]["message"]
    assert not (home / "pypx").exists()


# Files and streams ------------------------------------------------------------------------


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_manifest_and_the_report(
    px: Px, retrieve: Retrieve, serve: Serve, tmp_path: Path
) -> None:
    names = [tmp_path / name for name in ("job.csv", "job.json", "job.html")]
    assert retrieve(serve(), *MR, "-k", "SeriesDescription=T1*").code == 0
    files = ("--manifest", names[0], "--report", names[2])
    assert retrieve(serve("drop-objects=1"), *MR, *files, "--retries", "0").code == 1
    lines = _lines(names[0])
    assert sorted(line["status"] for line in lines) == ["here-before"] * 8 + ["missing"] * 6
    for line in lines:
        path = Path(line["path"]) if line["path"] else None
        assert (path is not None and path.is_file()) == (line["status"] == "here-before")
    assert "Incomplete" in names[2].read_text(encoding="utf-8")
    (study,) = px("ls", "--json").json
    assert study["completeness"] == "incomplete"
    assert retrieve(serve(), *MR, "--manifest", names[1]).code == 0
    instances = json.loads(names[1].read_text(encoding="utf-8"))["instances"]
    assert len(instances) == MR_IMAGES
    assert {one["status"] for one in instances} == {"received", "here-before"}
    assert len({one["checksum_xxh3_128"] for one in instances}) == MR_IMAGES


def test_a_report_for_which_there_is_no_room(
    px: Px, retrieve: Retrieve, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pypx.outfile import OutFile

    def fail(_: OutFile) -> None:
        raise OSError(28, "No space left on device")

    names = ["--manifest", tmp_path / "job.csv", "--report", tmp_path / "job.html"]
    monkeypatch.setattr(OutFile, "commit", fail)
    ran = retrieve(serve(), *CT, *names, "--json")
    assert ran.code == 5
    assert "No space left on device" in ran.err
    assert ran.json["status"] == "success", "the images are here all the same"
    assert job_of(px)["state"] == "complete"
    assert not list(tmp_path.glob("*job.*"))


def test_results_into_a_file(retrieve: Retrieve, serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    ran = retrieve(serve("drop-objects=1"), *CT, "--retries", "0", "--json", "-o", file)
    assert (ran.code, ran.out) == (1, "")
    assert json.loads(file.read_text(encoding="utf-8"))["error"]["kind"] == "partial"


def test_quiet_verbose_and_log_json(retrieve: Retrieve, serve: Serve) -> None:
    address = serve("drop-objects=1")
    quiet = retrieve(address, *CT, "--retries", "0", "-q")
    assert quiet.err.splitlines()[0] == "error: Incomplete: 12 of 12 instances are missing."
    lines = retrieve(address, *CT, "--retries", "0", "--log-json", "-v").err.splitlines()
    entries = [json.loads(line) for line in lines]
    assert {entry["level"] for entry in entries} >= {"debug", "error"}
    assert entries[-1]["message"] == "Incomplete: 12 of 12 instances are missing."


def test_the_time_out(retrieve: Retrieve, serve: Serve) -> None:
    began = time.monotonic()
    arguments = ("--timeout", "0.3", "--retries", "0", "--method", "move")
    ran = retrieve(serve("stall"), *CT, *arguments)
    assert ran.code == 1
    assert "0.3 s" in ran.out
    assert time.monotonic() - began < 5


def test_hostile_names(
    px: Px, retrieve: Retrieve, serve: Serve, tmp_path: Path, home: Path
) -> None:
    from tests.archive.helpers import store

    evil = "<script>alert(1)</script>\u202e../../etc^\x1b]0;x\x07" + "x" * 10_000
    names = [tmp_path / name for name in ("job.csv", "job.html")]
    with Archive(tmp_path / "theirs", durability="none") as source:
        store(
            source,
            1,
            SpecificCharacterSet="ISO_IR 192",
            PatientName=evil,
            PatientID="=../../../evil",
            StudyDescription=evil,
        )
        address = serve(source=source)
        ran = retrieve(address, "-k", "PatientID=*", "--manifest", names[0], "--report", names[1])
    assert ran.code == 0, ran.err
    status = px("status", job_of(px)["id"])
    html = names[1].read_text(encoding="utf-8")
    manifest = names[0].read_text(encoding="utf-8")
    for text in (ran.out, ran.err, status.out, html, manifest):
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "<script>alert" not in html
    assert not any(line.startswith(("=", "+", "@")) for line in manifest.split(","))
    (file,) = (home / "pypx").glob("[!.]*/**/*.dcm")
    assert file.is_relative_to(home / "pypx") and file.is_file()


# Load -------------------------------------------------------------------------------------


def _closed() -> str:
    """Give hours that are not now."""
    now = datetime.now()
    return f"{now + timedelta(hours=2):%H:%M}-{now + timedelta(hours=3):%H:%M}"


def test_outside_the_hours_it_sleeps_and_says_until_when(
    retrieve: Retrieve, serve: Serve, home: Path
) -> None:
    hours = _closed()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    ran = retrieve(serve(), *CT, "--between", hours)
    assert ran.code == 130
    until = hours.partition("-")[0]
    assert f"It is not {hours} now: nothing is asked for until {until}." in ran.err
    assert stored(home) == 0


def test_inside_the_hours_it_asks(retrieve: Retrieve, serve: Serve) -> None:
    now = datetime.now()
    hours = f"{now - timedelta(hours=1):%H:%M}-{now + timedelta(hours=1):%H:%M}"
    assert retrieve(serve(), *CT, "--between", hours).code == 0


@pytest.mark.parametrize("method", ["move", "get"])
def test_the_rate_is_limited(retrieve: Retrieve, serve: Serve, method: str) -> None:
    rate = 80_000  # 12 images of 9 kB; those of the first second come at once
    ran = retrieve(serve(), *CT, "--max-rate", "80k/s", "--method", method, "--json")
    assert ran.code == 0
    assert 0.8 * (ran.json["bytes"] - rate) / rate < ran.json["seconds"] < 3


# The listener -----------------------------------------------------------------------------


@pytest.fixture
def taken() -> Iterator[int]:
    """Give a port on which something answers that is no DICOM listener."""
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = other.accept()
                    with connection:
                        connection.recv(10_000)
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield other.getsockname()[1]
        other.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_the_port_is_that_of_something_else(retrieve: Retrieve, serve: Serve, taken: int) -> None:
    ran = retrieve(serve(), *CT, "--json", "--port", taken, "--method", "move")
    assert ran.code == 2, ran
    assert f"On 127.0.0.1:{taken} is no DICOM listener" in ran.json["error"]["message"]
    assert "--port" in ran.json["error"]["hint"]
    assert ran.json["status"] == "failure"


def test_the_other_way_needs_no_port(
    px: Px, retrieve: Retrieve, serve: Serve, taken: int, home: Path
) -> None:
    ran = retrieve(serve(), *ALL, "--port", taken)
    assert (ran.code, stored(home)) == (0, IMAGES)
    line, *more = ran.err.splitlines()
    assert not more
    assert line.startswith(f"On 127.0.0.1:{taken} is no DICOM listener: ")
    assert "So there is no C-MOVE." in line
    assert {one["method"] for one in requests_of(px) if one["completed"]} == {"get"}


def test_c_get_needs_no_listener(retrieve: Retrieve, serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert retrieve(serve(), *CT, "--method", "get", "--port", port).code == 0
