"""Studies that a PACS has on its list and not on its disk, and a PACS that sends nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pypx.archive import Archive
from pypx.client.store import Instance
from pypx.pacs.behaviour import Behaviour
from pypx.pacs.retrieve import Request
from pypx.retrieve import vain
from tests.archive.helpers import store
from tests.retrieve.conftest import Run

STUDIES, SERIES = 7, 6  # of each study
KEYS = {"PatientID": "4711"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An archive of studies ``1.2.0`` and so on, of which each series has one image."""
    with Archive(tmp_path_factory.mktemp("source"), durability="none") as archive:
        for number in range(STUDIES * SERIES):
            study = f"1.2.{number // SERIES}"
            series = f"{study}.{number % SERIES}"
            changes = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
            store(archive, number, PixelData=b"\0\0", **changes)
        yield archive


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Give the SOP Instance UIDs for which a PACS says success, and sends nothing."""
    gone: set[str] = set()

    def retrieve(
        self: Behaviour, request: Request, instances: list[Instance], honest: Callable[[], None]
    ) -> None:
        if {one.sop_instance_uid for one in instances} & gone:
            request.answer(0x0000)
        else:
            honest()

    monkeypatch.setattr(Behaviour, "retrieve", retrieve)
    return gone


def images(source: Archive, *studies: int) -> set[str]:
    found: set[str] = set()
    for study in studies:
        rows = source.find("image", {"StudyInstanceUID": f"1.2.{study}"})
        found |= {str(row["SOPInstanceUID"]) for row in rows}
    return found


def test_a_first_study_that_is_off_line_does_not_end_a_job(
    run: Run, source: Archive, offline: set[str]
) -> None:
    offline |= images(source, 0)
    found = run(source=source, keys=KEYS, settle=0.05, retries=1)
    assert found.state == "incomplete", found.error
    assert found.stored == images(source, *range(1, STUDIES))


def test_a_job_that_was_given_up_begins_with_what_it_did_not_ask_for(
    run: Run, here: Archive, source: Archive, offline: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    offline |= images(source, *range(STUDIES))
    monkeypatch.setattr(vain, "_SERIES", 6)
    first = run(source=source, keys=KEYS, settle=0.05, retries=0, backoff=0.002)
    assert first.state == "failed"
    assert first.error is not None
    assert first.error.exit_code == 4
    assert "requests in a row brought nothing, so the job was given up." in first.error.message
    assert "The PACS reported success, but sent nothing." in first.error.message
    asked = {one.study_instance_uid for one in first.series if here.ledger.requests(one)}
    assert len(asked) >= 5, "some studies, and not only the first"
    offline -= images(source, STUDIES - 1)
    assert {one.method for one in first.requests} == {"move", "get"}
    here.ledger.resume(first.transfer)
    again = run(source=source, transfer=first.transfer, settle=0.05, retries=0, backoff=0.002)
    assert again.stored >= images(source, STUDIES - 1)
    assert again.state == "incomplete"


def test_after_a_while_a_few_requests_are_enough(
    run: Run, source: Archive, offline: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    offline |= images(source, 0)
    monkeypatch.setattr(vain, "_LONG", 0.0)
    keys = {"StudyInstanceUID": "1.2.0"}
    found = run(source=source, keys=keys, settle=0.05, retries=100, backoff=0.01)
    assert found.state == "failed"
    assert len(found.requests) < 20


def test_a_pacs_that_begins_to_send_before_that_is_waited_for(
    run: Run, source: Archive, offline: set[str]
) -> None:
    offline |= images(source, 0)
    answered = [0]
    answer = Request.answer

    def count(self: Request, *arguments: object, **named: object) -> None:
        answered[0] += 1
        if answered[0] == 4:
            offline.clear()
        answer(self, *arguments, **named)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Request, "answer", count)
        keys = {"StudyInstanceUID": "1.2.0"}
        found = run(source=source, keys=keys, settle=0.05, retries=8)
    assert found.state == "complete", found.error
    assert found.stored == images(source, 0)
