"""What px says to a PACS that misbehaves: never that all is well when it is not.

px move goes by what the PACS says and by how many instances arrive, so it cannot know what is
missing where the PACS gives no numbers, where others come twice, or where a query is cut silently;
px retrieve compares by UID, and is shown here to see just that.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pypx.archive import Archive
from pypx.cli import move as move_module
from pypx.cli.options import Invocation
from pypx.net.connection import Timeouts
from pypx.pacs import FAULTS, misbehaviour
from pypx.pacs.retrieve import Request
from pypx.pacs.samples import SAMPLE_INSTANCES
from tests.cli.conftest import Px, Ran, Serve, stored

CT_IMAGES = 12
CT = ("-k", "AccessionNumber=A1001")

Moved = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(move_module, "_QUIET", 0.1)
    monkeypatch.setattr(misbehaviour, "_PACE", 0.02)


@pytest.fixture
def moved(px: Px, serve: Serve, listener_port: int) -> Moved:
    """Move the CT to us from a PACS with these faults."""

    def call(*faults: str, arguments: tuple[object, ...] = CT) -> Ran:
        return px("move", serve(*faults), *arguments, "--port", listener_port, "--json")

    return call


# px move ----------------------------------------------------------------------------------


def test_success_before_the_stores_is_waited_for(
    moved: Moved, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move_module, "_QUIET", 20.0)  # no wait ends it but that all is there
    ran = moved("late-stores")
    assert ran.code == 0, ran.err
    assert ran.json["received"] == stored(home) == CT_IMAGES


@pytest.mark.parametrize(
    "fault", ["send-twice", "association-per-object", "no-suboperation-counts"]
)
def test_what_is_odd_but_complete_is_success(moved: Moved, home: Path, fault: str) -> None:
    ran = moved(fault)
    assert ran.code == 0, ran.err
    assert stored(home) == CT_IMAGES


def test_dropped_objects_are_missed(moved: Moved, home: Path) -> None:
    ran = moved("drop-objects=3")
    assert ran.code == 1
    assert "says that it sent 12 instances, but only 8 arrived" in ran.json["error"]["message"]
    assert ran.json["status"] == "warning"
    assert stored(home) == 8


def test_an_object_that_was_cut_off_is_missed(moved: Moved, home: Path) -> None:
    ran = moved("cut-object=2")
    assert ran.code == 1
    assert (ran.json["completed"], ran.json["failed"]) == (CT_IMAGES - 1, 1)
    assert len(ran.json["failed_sop_instance_uids"]) == 1
    assert stored(home) == CT_IMAGES - 1


def test_success_with_nothing_sent_is_none(moved: Moved, home: Path) -> None:
    ran = moved("empty-success=0")
    assert ran.code == 1
    assert "sent nothing" in ran.json["error"]["message"]
    assert "too busy" in ran.json["error"]["hint"]
    assert stored(home) == 0


def test_a_destination_that_is_unknown_has_a_hint(moved: Moved) -> None:
    ran = moved("unknown-destination")
    assert ran.code == 4
    assert ran.json["error"]["status"] == "A801"
    assert "administrator" in ran.json["error"]["hint"]


def test_a_stall_ends_with_the_timeout(moved: Moved) -> None:
    ran = moved("stall", arguments=(*CT, "--timeout", "0.2"))
    assert ran.code == 3
    assert ran.json["error"]["kind"] == "timeout"
    assert "silent for 0.2 s" in ran.json["error"]["message"]


def test_pending_for_ever_ends_with_the_timeout(moved: Moved) -> None:
    ran = moved("pending-for-ever", arguments=(*CT, "--timeout", "0.2"))
    assert ran.code == 3
    assert ran.json["error"]["kind"] == "timeout"
    assert "0.2 s that the C-MOVE is pending, and sent nothing" in ran.json["error"]["message"]
    assert "--timeout" in ran.json["error"]["hint"]


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        (("pending-for-ever",), "the PACS had sent 0 instances, 12 remain"),
        (("pending-for-ever", "ignore-cancel"), "did not heed the C-CANCEL"),
    ],
)
def test_pending_for_ever_ends_with_ctrl_c(
    moved: Moved, monkeypatch: pytest.MonkeyPatch, faults: tuple[str, ...], said: str
) -> None:
    timeouts = Timeouts(connect=20, association=20, response=20, release=0.1)
    monkeypatch.setattr(Invocation, "timeouts", lambda _: timeouts)
    answer, answered = Request.answer, threading.Event()

    def notice(request: Request, *arguments: object, **named: object) -> None:
        answer(request, *arguments, **named)  # type: ignore[arg-type]
        if not answered.is_set():
            answered.set()
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Request, "answer", notice)
    ran = moved(*faults)
    assert ran.code == 130
    assert said in ran.json["error"]["message"]


@pytest.mark.parametrize(
    ("fault", "level"), [("refuse-image-level", "image"), ("refuse-series-level=C000", "series")]
)
def test_a_level_that_is_refused(moved: Moved, samples: Archive, fault: str, level: str) -> None:
    row = next(iter(samples.find("image", {"PatientID": "DEMO-001"})))
    wanted = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    if level == "series":
        wanted.pop()
    keys = [word for key in wanted for word in ("-k", f"{key}={row[key]}")]
    ran = moved(fault, arguments=tuple(keys))
    assert ran.code == 4
    assert ran.json["error"]["status"] == ("A900" if level == "image" else "C000")


def test_where_a_key_is_ignored_nothing_is_moved(moved: Moved, home: Path) -> None:
    ran = moved("ignore-modalities", arguments=("-k", "ModalitiesInStudy=MR"))
    assert ran.code == 1
    assert "seems to ignore the key ModalitiesInStudy" in ran.json["error"]["message"]
    assert stored(home) == 0


def test_where_the_list_is_cut_nothing_is_moved(moved: Moved, home: Path) -> None:
    ran = moved("cap-with-a700=1", arguments=("-k", "StudyDate=20240101-20241231"))
    assert ran.code == 4
    assert ran.json["error"]["status"] == "A700"
    assert stored(home) == 0


# px retrieve, where px move cannot know better --------------------------------------------


@pytest.mark.parametrize(
    "faults",
    [("drop-objects=3", "no-suboperation-counts"), ("send-twice", "drop-objects=2")],
    ids=["without numbers", "others come twice"],
)
def test_dropped_objects_that_nobody_counts_are_missed_and_fetched(
    retrieve: Moved, serve: Serve, home: Path, faults: tuple[str, ...]
) -> None:
    ran = retrieve(serve(*faults), *CT, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["received"] == stored(home) == CT_IMAGES


@pytest.mark.parametrize(
    "faults",
    [("drop-objects=1", "no-suboperation-counts"), ("empty-success=0",)],
    ids=["without numbers", "success with nothing"],
)
def test_what_is_never_sent_is_named(
    retrieve: Moved, serve: Serve, home: Path, faults: tuple[str, ...]
) -> None:
    ran = retrieve(serve(*faults), *CT, "--retries", "0", "--json")
    assert ran.code == 1
    assert len(ran.json["missing"]) == CT_IMAGES
    assert stored(home) == 0


@pytest.mark.parametrize("fault", ["cap-silently=1", "cap-with-a700=1"])
def test_studies_beyond_a_limit_are_found_and_it_is_not_claimed_that_these_are_all(
    retrieve: Moved, serve: Serve, home: Path, fault: str
) -> None:
    ran = retrieve(serve(fault), "-k", "StudyDate=20240101-20241231", "--retries", "0", "--json")
    assert ran.code == 1
    assert ran.json["received"] == stored(home) == SAMPLE_INSTANCES
    assert "there may be more studies than the PACS says" in ran.json["error"]["message"]


# px find ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["reject-aet", "reject-over-limit=0"])
def test_a_rejected_association_is_exit_3(px: Px, serve: Serve, fault: str) -> None:
    ran = px("find", serve(fault), "--json")
    assert ran.code == 3
    assert ran.json["error"]["kind"] == "association-rejected"
    assert ran.json["error"]["hint"]


def test_a_query_that_is_cut_with_a700_is_exit_4(px: Px, serve: Serve) -> None:
    ran = px("find", serve("cap-with-a700=2"), "--jsonl")
    assert ran.code == 4
    assert len([row for row in ran.rows if "error" not in row]) == 2  # what came is not withheld
    assert "A700" in ran.err


def test_a_level_that_is_refused_is_exit_4(px: Px, serve: Serve) -> None:
    assert px("find", serve("refuse-image-level"), "--level", "image").code == 4
    ran = px("find", serve("refuse-series-level"), "--tree")
    assert ran.code == 1
    assert "The series of 3 studies are unknown." in ran.err


def test_a_key_that_is_ignored_is_told(px: Px, serve: Serve) -> None:
    ran = px("find", serve("ignore-modalities"), "-k", "ModalitiesInStudy=MR")
    assert ran.code == 0
    assert "2 of 3 matches have another ModalitiesInStudy: the PACS ignored that key." in ran.err


def test_answers_that_come_twice_are_dropped(px: Px, serve: Serve) -> None:
    ran = px("find", serve("answer-twice"), "--json", "-v")
    assert ran.code == 0
    assert len(ran.json) == 3
    assert "3 answers had the unique key of another, and were dropped" in ran.err


def test_what_is_found_twice_is_moved_once(moved: Moved) -> None:
    ran = moved("answer-twice")
    assert ran.code == 0
    assert ran.json["completed"] == ran.json["received"] == CT_IMAGES


def test_counts_that_are_left_out_are_unknown(px: Px, serve: Serve) -> None:
    ran = px("find", serve("no-counts"), "--json")
    assert ran.code == 0
    assert len(ran.json) == 3
    assert all(not row.get("NumberOfStudyRelatedInstances") for row in ran.json)


def test_text_without_its_character_set_is_told(px: Px, serve: Serve) -> None:
    ran = px("find", serve("no-character-set"), "--PatientID", "DEMO-001")
    assert ran.code == 0
    assert "PatientName may be shown wrongly" in ran.err
    assert "none is declared" in ran.err


def test_text_of_a_wrong_character_set_is_told_where_its_bytes_do_not_fit(
    px: Px, serve: Serve
) -> None:
    ran = px("find", serve("wrong-character-set=ISO_IR 13"), "--PatientID", "DEMO-001")
    assert ran.code == 0
    assert "PatientName may be shown wrongly" in ran.err


# px demo ----------------------------------------------------------------------------------


@pytest.fixture
def temporary(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(home))
    return home


@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize(
    ("faults", "code", "images"),
    [(("cut-object=2", "no-counts"), 0, 27), (("refuse-image-level", "no-counts"), 1, 27)],
    ids=["mended", "unknown"],
)
def test_the_demo_misbehaves(px: Px, faults: tuple[str, ...], code: int, images: int) -> None:
    arguments = [word for fault in faults for word in ("--fault", fault)]
    ran = px("demo", *arguments, "--json")
    assert ran.code == code, ran.err
    assert f"It misbehaves: {', '.join(faults)}." in ran.err
    codes = {step["command"].split()[1]: step["exit_code"] for step in ran.json["steps"]}
    assert codes == {"echo": 0, "find": 0, "retrieve": code, "ls": 0}
    assert len(ran.json["files"]) == images


@pytest.mark.usefixtures("temporary")
def test_the_demo_of_a_pacs_that_does_not_want_us(px: Px) -> None:
    ran = px("demo", "--fault", "reject-aet", "--json")
    assert ran.code == 3
    codes = [step["exit_code"] for step in ran.json["steps"]]
    assert codes == [3, 3, 3, 3, 0]


def test_the_demo_of_a_fault_that_does_not_exist(px: Px, temporary: Path) -> None:
    ran = px("demo", "--fault", "drop-object")
    assert ran.code == 2
    assert "Did you mean drop-objects?" in ran.err
    assert not list(temporary.glob("pypx-demo-*"))


def test_the_demo_lists_the_faults(px: Px) -> None:
    ran = px("demo", "--list-faults")
    assert ran.code == 0
    for kind in FAULTS:
        assert f"{kind.usage} " in ran.out
        assert kind.sentence in ran.out
    listed = px("demo", "--list-faults", "--json").json
    assert [one["name"] for one in listed] == [kind.name for kind in FAULTS]
