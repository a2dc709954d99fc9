"""``px retrieve`` and listeners: its own, and those of other processes and archives; hooks."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pypx.archive import Archive
from pypx.receiver.receiver import Receiver
from tests.cli.conftest import SOON, Px, Ran, Serve, impatient, stored, write_config

ALL = ("-k", "PatientID=DEMO-*")
CT = ("-k", "AccessionNumber=A1001")
IMAGES, CT_IMAGES = 27, 12

Retrieve = Callable[..., Ran]
BeforeImage = Callable[[int, Callable[[], None]], None]


@contextmanager
def listening(folder: Path, port: int) -> Iterator[Receiver]:
    """Receive into an archive as another process would."""
    with Archive(folder) as archive, Receiver(archive, port=port, ae_title="PYPX") as receiver:
        yield receiver


def requests_of(px: Px) -> list[Any]:
    job = px("status", "--json").json["transfers"][0]["id"]
    return [
        request for one in px("status", job, "--json").json["series"] for request in one["requests"]
    ]


def test_the_listener_that_runs_receives(
    px: Px, retrieve: Retrieve, serve: Serve, home: Path, listener_port: int
) -> None:
    came = []
    with listening(home / "pypx", listener_port) as receiver:
        ran = retrieve(serve(), *ALL, "--json")
        came.append(receiver.last_activity())
    assert ran.code == 0, ran.err
    assert (ran.json["completed"], ran.json["missing"], ran.err) == (IMAGES, [], "")
    assert {one["method"] for one in requests_of(px)} == {"move"}
    assert came[0] > 0


def test_a_px_listen_of_the_same_archive(
    px: Px, retrieve: Retrieve, serve: Serve, home: Path, listener_port: int
) -> None:
    from tests.cli.test_listen import Listening

    running = Listening("--port", listener_port)
    try:
        ran = retrieve(serve(), *ALL, "--json")
        assert ran.code == 0, ran.err
        assert (ran.json["completed"], stored(home)) == (IMAGES, IMAGES)
    finally:
        running.kill()
    assert {one["method"] for one in requests_of(px)} == {"move"}


def test_the_listener_that_ends_in_the_middle_is_replaced(
    px: Px,
    retrieve: Retrieve,
    serve: Serve,
    home: Path,
    listener_port: int,
    before_image: BeforeImage,
) -> None:
    with listening(home / "pypx", listener_port) as receiver:
        before_image(5, lambda: receiver.stop(0))
        ran = retrieve(serve(), *CT, "--method", "move", "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["completed"], stored(home)) == (CT_IMAGES, CT_IMAGES)
    first, *others = requests_of(px)
    assert first["asked"] == CT_IMAGES and first["reason"]
    assert all(one["asked"] == CT_IMAGES - 4 for one in others), "only what is missing"


def test_the_listener_of_another_archive(
    px: Px, retrieve: Retrieve, serve: Serve, home: Path, listener_port: int
) -> None:
    with listening(home / "theirs", listener_port):
        ran = retrieve(serve(), *CT, "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["completed"], stored(home)) == (CT_IMAGES, CT_IMAGES)
    assert [one["method"] for one in requests_of(px)] == ["move", "get"]
    assert "says that it sent 12 instances, and 0 arrived" in requests_of(px)[0]["reason"]
    assert f"127.0.0.1:{listener_port}, which is of another process" in ran.err
    assert "is it of another one?" in ran.err
    assert "administrator" not in ran.err


def test_the_listener_of_another_archive_and_no_other_way(
    retrieve: Retrieve, serve: Serve, home: Path, listener_port: int
) -> None:
    with listening(home / "theirs", listener_port):
        ran = retrieve(serve(), *CT, "--method", "move", "--retries", "0")
    assert ran.code == 1
    assert "says that it sent 12 instances, and 0 arrived" in ran.out
    assert "of another process" in ran.err


def test_a_listener_that_does_not_take_us(
    retrieve: Retrieve, serve: Serve, home: Path, listener_port: int
) -> None:
    from pypx.receiver.allow import AllowRule

    with (
        Archive(home / "pypx") as archive,
        Receiver(
            archive, port=listener_port, ae_title="PYPX", allow=[AllowRule.parse("DEMO@127.0.0.1")]
        ),
    ):
        ran = retrieve(serve(), *ALL, "--json")
    assert (ran.code, ran.json["completed"]) == (0, IMAGES)
    assert ran.err.count(f"The listener on 127.0.0.1:{listener_port} runs, but: ") == 1


def test_the_rate_of_another_process_is_not_limited(
    retrieve: Retrieve, serve: Serve, home: Path, listener_port: int
) -> None:
    with listening(home / "pypx", listener_port):
        ran = retrieve(serve(), *CT, "--max-rate", "1k", "--json")
    assert (ran.code, ran.json["completed"]) == (0, CT_IMAGES)
    assert "is of another process: no --max-rate." in ran.err


def test_two_at_once_share_a_listener_and_the_second_survives_the_first(
    px: Px, serve: Serve, soon: Path, home: Path, listener_port: int, before_image: BeforeImage
) -> None:
    """The first ends while the PACS sends to it what the second one has asked for."""
    address = serve()

    def start(*keys: str) -> subprocess.Popen[bytes]:
        more = ("--port", listener_port, "--method", "move", "--json")
        command = impatient(SOON, "retrieve", address, *keys, *more)
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    with_ct, with_mr = threading.Event(), threading.Event()

    def wait_for_mr() -> None:
        with_ct.set()
        assert with_mr.wait(20)

    def let_the_first_end() -> None:
        with_mr.set()
        assert first.wait(20) == 0

    before_image(2, wait_for_mr)  # of the first
    before_image(5, let_the_first_end)  # of the second, since the first waits
    with start(*CT) as first:
        assert with_ct.wait(20)
        with start(*ALL, "-k", "Modality=MR", "--associations", "1") as second:
            documents = [json.loads(one.communicate(timeout=30)[0]) for one in (second, first)]
    assert [one["status"] for one in documents] == ["success", "success"]
    assert [one["completed"] for one in documents] == [14, 12]
    assert [one["unexpected_sop_instance_uids"] for one in documents] == [[], []]
    assert stored(home) == 14 + 12
    assert px("status").code == 0


# Hooks ------------------------------------------------------------------------------------


def hooks_of(home: Path, settle: float, script: str) -> None:
    command = json.dumps([sys.executable, "-c", script])
    text = f"[listen]\nsettle = {settle}\n[[hooks]]\nname = 'h'\ncommand = {command}\n"
    write_config(home, text)


@pytest.mark.parametrize("method", ["move", "get"])
def test_hooks_hear_of_each_series_with_what_was_promised(
    retrieve: Retrieve, serve: Serve, home: Path, soon: Path, method: str
) -> None:
    out = home / "events"
    out.mkdir()
    script = (
        f"import os, sys; open({str(out)!r} + f'/{{os.getpid()}}', 'w').write(sys.stdin.read())"
    )
    hooks_of(home, 600, script)
    assert retrieve(serve(), *ALL, "-k", "Modality=MR", "--method", method).code == 0
    events = [json.loads(file.read_text()) for file in out.iterdir()]
    told = sorted((one["instances"], one["expected"], one["reason"]) for one in events)
    assert told == [(6, 6, "promised"), (8, 8, "promised")]
    assert all(one["verified"] and Path(one["path"]).is_dir() for one in events)
