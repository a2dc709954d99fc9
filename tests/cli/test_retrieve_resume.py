"""``px retrieve`` again: after Ctrl-C, kill -9 and outages, by the same command or by --resume."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pypx.archive import Archive
from pypx.archive.locks import TransferLock
from tests.cli.conftest import (
    SOON,
    Px,
    Ran,
    Serve,
    impatient,
    result_rows,
    stored,
    write_config,
)

ALL = ("-k", "PatientID=DEMO-*")
CT = ("-k", "AccessionNumber=A1001")
IMAGES, CT_IMAGES = 27, 12

Retrieve = Callable[..., Ran]
BeforeImage = Callable[[int, Callable[[], None]], None]
Killed = Callable[..., int]


@pytest.fixture
def killed(soon: Path, listener_port: int, before_image: BeforeImage) -> Iterator[Killed]:
    """Run px retrieve as a process that is killed before an image; gives its exit code."""
    started: list[subprocess.Popen[bytes]] = []

    def call(number: int, *arguments: object) -> int:
        command = impatient(SOON, "retrieve", "--port", listener_port, *arguments)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(process)
        before_image(number, process.kill)
        process.communicate(timeout=30)
        return process.returncode

    yield call
    for process in started:
        process.kill()


def job_of(px: Px) -> Any:
    return px("status", "--json").json["transfers"][0]


def asked(px: Px, name: str) -> list[int]:
    """Give what each request of a job was about, in numbers of images."""
    series = px("status", name, "--json").json["series"]
    return [request["asked"] for one in series for request in one["requests"]]


# After a kill -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["same", "resume", "prefix"])
def test_after_a_kill_only_what_is_missing_is_asked_for(
    px: Px, retrieve: Retrieve, serve: Serve, home: Path, killed: Killed, way: str
) -> None:
    address = serve()
    assert killed(20, address, *ALL, "--associations", "1") == -signal.SIGKILL
    status = px("status", "--json")
    (job,) = status.json["transfers"]
    assert (status.code, job["state"]) == (1, "interrupted")
    here = stored(home)
    assert 0 < here < IMAGES
    again = {
        "same": (address, *ALL),
        "resume": ("--resume", job["id"]),
        "prefix": ("--resume", job["id"][:-2]),
    }[way]
    ran = retrieve(*again, "--json")
    assert ran.code == 0, ran.err
    assert f"Going on with job {job['id']}, begun " in ran.err
    assert (ran.json["id"], ran.json["received"], stored(home)) == (job["id"], IMAGES, IMAGES)
    assert px("status").code == 0
    assert len(px("status", "--json").json["transfers"]) == 1
    # The series that was under way was asked for twice; the second time only its rest.
    assert sum(asked(px, job["id"])) < IMAGES + 8


def test_after_a_kill_a_list_goes_on_without_lines_twice(
    retrieve: Retrieve, serve: Serve, home: Path, killed: Killed, tmp_path: Path
) -> None:
    cohort = tmp_path / "cohort.csv"
    cohort.write_text("PatientID,StudyDate\nDEMO-003,\nNOBODY,\n1,tomorrow\nDEMO-001,\nDEMO-002,\n")
    address = serve()
    arguments = (address, "--from", cohort, "--associations", "1")
    assert killed(5, *arguments) == -signal.SIGKILL
    first = result_rows(cohort)
    assert ("2", "complete") in first and len(first) < 5
    ran = retrieve(*arguments)
    assert ran.code == 1
    assert sorted(result_rows(cohort)) == [
        ("2", "complete"),
        ("3", "no-match"),
        ("4", "malformed"),
        ("5", "complete"),
        ("6", "complete"),
    ]
    assert result_rows(cohort)[: len(first)] == first
    assert stored(home) == IMAGES


def test_rows_that_a_kill_left_unread_are_asked_for(
    px: Px,
    retrieve: Retrieve,
    serve: Serve,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pypx.cli import job_rows
    from pypx.cli.lists import ListRows

    cohort = tmp_path / "cohort.csv"
    cohort.write_text("PatientID\nDEMO-001\nDEMO-002\nDEMO-003\n")
    monkeypatch.setattr(job_rows, "_AT_ONCE", 1)
    address = serve()
    for again in (("--from", cohort), ()):
        following = ListRows.__next__

        def stop(self: Any) -> Any:
            row = following(self)  # noqa: B023
            if row.number == 4:
                raise KeyboardInterrupt
            return row

        with monkeypatch.context() as patch:
            patch.setattr(ListRows, "__next__", stop)
            assert retrieve(address, "--from", cohort).code == 130
        job = job_of(px)
        assert job["state"] == "interrupted"
        ran = retrieve(*((address, *again) if again else ("--resume", job["id"])), "--json")
        assert (ran.code, ran.json["received"]) == (0, IMAGES)
        cohort.write_text(cohort.read_text() + "\n")  # another list
        Path(f"{cohort}.result.csv").unlink()


# After Ctrl-C -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_same_command_after_ctrl_c(
    px: Px, retrieve: Retrieve, serve: Serve, home: Path, before_image: BeforeImage, number: int
) -> None:
    address = serve()
    pressed = threading.Event()

    def press() -> None:
        os.kill(os.getpid(), number)
        pressed.wait(0.5)  # until the C-CANCEL is there

    before_image(16, press)
    first = retrieve(address, *ALL, "--associations", "1", "--json")
    assert (first.code, first.json["status"]) == (128 + number, "cancelled")
    assert first.json["received"] == stored(home) < IMAGES
    assert first.json["received"] + first.json["remaining"] == IMAGES
    assert px("status").code == 0, "it was wanted so"
    second = retrieve(address, *ALL, "--json")
    assert (second.code, second.json["id"]) == (0, first.json["id"])
    assert (second.json["received"], stored(home)) == (IMAGES, IMAGES)


def test_a_terminal_that_is_closed(
    px: Px,
    retrieve: Retrieve,
    serve: Serve,
    home: Path,
    listener_port: int,
    before_image: BeforeImage,
) -> None:
    """The bar is on it, and has nowhere to be drawn any more."""
    address = serve()
    ours, theirs = os.openpty()
    arguments = (address, *ALL, "--associations", "1", "--max-rate", "30k")
    command = impatient(SOON, "retrieve", "--port", listener_port, *arguments)
    before_image(6, lambda: os.close(ours))
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    assert job_of(px)["state"] == "cancelled"
    assert 0 < stored(home) < IMAGES
    assert retrieve(address, *ALL).code == 0


# --resume ---------------------------------------------------------------------------------


def test_a_complete_job_has_nothing_to_do(
    px: Px, retrieve: Retrieve, serve: Serve, home: Path
) -> None:
    address = serve()
    name = retrieve(address, *CT, "--json").json["id"]
    before = asked(px, name)
    ran = retrieve("--resume", name, "--json")
    assert (ran.code, ran.json["completed"], asked(px, name)) == (0, CT_IMAGES, before)
    new = retrieve(address, *CT, "--json")
    assert (new.code, new.json["id"] != name) == (0, True), "the PACS may have more by now"


def test_what_somebody_removed_comes_again(
    px: Px, retrieve: Retrieve, serve: Serve, home: Path
) -> None:
    name = retrieve(serve(), *CT, "--json").json["id"]
    files = sorted((home / "pypx").glob("[!.]*/**/*.dcm"))
    for file in files[:3]:
        file.unlink()
    assert px("index", "rebuild").code == 0
    told = px("status", name)
    assert (
        told.code == 1 and "It was complete; 3 images are not in the archive any more" in told.out
    )
    ran = retrieve("--resume", name, "--json")
    assert (ran.code, stored(home), asked(px, name)) == (0, CT_IMAGES, [CT_IMAGES, 3])


def test_an_incomplete_job_gets_the_rest_when_the_pacs_has_recovered(
    px: Px, retrieve: Retrieve, serve: Serve, home: Path
) -> None:
    bad, good = serve("drop-objects=1"), serve()
    text = (home / "config/pypx/config.toml").read_text()
    write_config(home, f'{text}[nodes.demo]\naddress = "{bad}"\n')
    first = retrieve("demo", *CT, "--retries", "0", "--json")
    assert first.code == 1
    write_config(home, f'{text}[nodes.demo]\naddress = "{good}"\n')
    ran = retrieve("--resume", first.json["id"], "--json")
    assert (ran.code, ran.json["id"]) == (0, first.json["id"])
    assert (ran.json["missing"], stored(home), px("status").code) == ([], CT_IMAGES, 0)


def test_a_job_that_runs_elsewhere_is_not_taken(
    px: Px, retrieve: Retrieve, serve: Serve, home: Path
) -> None:
    address = serve("reject-aet")
    assert retrieve(address, *CT).code == 3
    name = job_of(px)["id"]
    with Archive(home / "pypx") as archive, TransferLock.acquire(archive.root, name):
        for again in (("--resume", name), (address, *CT)):
            ran = retrieve(*again, "--json")
            assert ran.code == 2
            assert ran.json["error"]["message"] == f"Job {name} is run by another process."
    assert job_of(px)["state"] == "failed", "nothing was changed"


def test_two_do_not_run_one_list(
    px: Px, retrieve: Retrieve, serve: Serve, home: Path, tmp_path: Path
) -> None:
    from pypx.cli.list_results import ListResults

    cohort = tmp_path / "cohort.csv"
    cohort.write_text("PatientID\nDEMO-001\n")
    with ListResults(str(cohort), ("PatientID",)):
        ran = retrieve(serve(), "--from", cohort)
    assert (ran.code, "Another process writes" in ran.err) == (2, True)
    assert not (home / "pypx").exists()


def test_a_job_keeps_its_options_and_those_given_now_hold(
    px: Px, retrieve: Retrieve, serve: Serve, home: Path
) -> None:
    address = serve("reject-aet", "drop-objects=1")
    arguments = ("--method", "get", "--by", "image", "--retries", "0", "--max-rate", "10M")
    assert retrieve(address, *CT, *arguments, "--between", "00:00-23:59").code == 3
    name = job_of(px)["id"]
    request = px("status", name, "--json").json["request"]
    kept = ("method", "by", "retries", "max_rate", "between")
    assert [request[key] for key in kept] == ["get", "image", 0, "10M", "00:00-23:59"]
    ran = retrieve("--resume", name, "--aet", "OTHER", "--json")
    assert ran.code == 1, ran.err
    (series,) = px("status", name, "--json").json["series"]
    assert {(one["method"], one["level"]) for one in series["requests"]} == {("get", "image")}
    retrieve("--resume", name, "--aet", "OTHER", "--method", "move", "--by", "series")
    (series,) = px("status", name, "--json").json["series"]
    assert ("move", "series") in {(one["method"], one["level"]) for one in series["requests"]}


def test_a_job_keeps_our_ae_title(px: Px, retrieve: Retrieve, serve: Serve, home: Path) -> None:
    address = serve("reject-aet")
    ran = retrieve(address, *CT, "--aet", "OTHER", "--method", "get", "--json")
    assert ran.code == 0
    for file in (home / "pypx").glob("[!.]*/**/*.dcm"):
        file.unlink()
    assert px("index", "rebuild").code == 0
    assert retrieve("--resume", ran.json["id"]).code == 0


def test_a_list_keeps_how_many_studies_a_row_may_have(
    px: Px, retrieve: Retrieve, serve: Serve, home: Path, tmp_path: Path
) -> None:
    cohort = tmp_path / "cohort.csv"
    cohort.write_text("PatientID\nDEMO-*\n")
    assert retrieve(serve("reject-aet"), "--from", cohort, "--max-studies-per-row", "2").code == 3
    ran = retrieve("--resume", job_of(px)["id"], "--aet", "OTHER")
    assert (ran.code, result_rows(cohort), stored(home)) == (1, [("2", "too-many")], 0)


# A list that is another one ---------------------------------------------------------------


def test_a_list_that_has_changed_is_another_job(
    px: Px, retrieve: Retrieve, serve: Serve, home: Path, tmp_path: Path
) -> None:
    cohort = tmp_path / "cohort.csv"
    cohort.write_text("PatientID\nDEMO-001\nNOBODY\n")
    address = serve()
    first = retrieve(address, "--from", cohort, "--json")
    assert first.code == 1
    cohort.write_text("PatientID\nDEMO-001\nDEMO-003\n")
    second = retrieve(address, "--from", cohort, "--json")
    assert (second.code, second.json["id"] != first.json["id"]) == (0, True)
    assert second.json["completed"] == 1, "what is here is not fetched"
    assert sorted(result_rows(cohort)) == [
        ("2", "complete"),
        ("3", "complete"),
        ("3", "no-match"),
    ]
    assert result_rows(cohort)[-1] == ("3", "complete"), "the last line counts"


@pytest.mark.parametrize("becomes", ["PatientID\nDEMO-003\n", "AccessionNumber\nA1003\n", None])
def test_a_job_whose_list_has_changed_goes_on_with_its_rows(
    px: Px, retrieve: Retrieve, serve: Serve, tmp_path: Path, home: Path, becomes: str | None
) -> None:
    cohort = tmp_path / "cohort.csv"
    cohort.write_text("PatientID\nDEMO-001\nDEMO-002\n")
    assert retrieve(serve("reject-aet"), "--from", cohort).code == 3
    cohort.unlink() if becomes is None else cohort.write_text(becomes)
    ran = retrieve("--resume", job_of(px)["id"], "--aet", "OTHER", "--method", "get")
    assert ran.code == 0, ran.err
    assert f"{cohort} is not as it was: the job goes on with the rows that it had." in ran.err
    assert sorted(result_rows(cohort)) == [("2", "complete"), ("3", "complete")]
    assert stored(home) == 26


# Outages ----------------------------------------------------------------------------------


def test_a_pacs_that_goes_away_is_waited_for(
    px: Px,
    samples: Archive,
    retrieve: Retrieve,
    listener_port: int,
    before_image: BeforeImage,
    home: Path,
) -> None:
    from pypx.address import Address
    from pypx.pacs import Pacs

    us = {"PYPX": Address("PYPX", "127.0.0.1", listener_port)}
    first = Pacs(samples, destinations=us)
    first.start()
    second: list[Pacs] = []

    def restart() -> None:
        first.stop(0)
        second.append(Pacs(samples, destinations=us, port=first.address.port))
        second[0].start()

    before_image(6, lambda: threading.Thread(target=restart).start())
    ran = retrieve(first.address, *ALL, "--json")
    second[0].stop()
    assert ran.code == 0, ran.err
    assert (ran.json["received"], stored(home)) == (IMAGES, IMAGES)


@pytest.mark.parametrize("wait", ["0", "0.3"])
def test_but_not_longer_than_wanted(
    px: Px,
    samples: Archive,
    retrieve: Retrieve,
    listener_port: int,
    before_image: BeforeImage,
    wait: str,
) -> None:
    from pypx.address import Address
    from pypx.pacs import Pacs

    us = {"PYPX": Address("PYPX", "127.0.0.1", listener_port)}
    with Pacs(samples, destinations=us) as pacs:
        before_image(6, lambda: threading.Thread(target=pacs.stop, args=(0,)).start())
        ran = retrieve(pacs.address, *ALL, "--wait", wait, "--method", "move", "--json")
    assert ran.code == 3, ran.err
    assert ran.json["status"] == "failure"
    assert 0 < ran.json["remaining"] < IMAGES
    assert job_of(px)["state"] == "failed"
    assert f"px retrieve --resume {ran.json['id']}" in ran.json["error"]["hint"]
