"""The watch: what a receiver tells becomes one event a series, whatever ends the process."""

from __future__ import annotations

import json
import pickle
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.client import Client
from pypx.client.store import Instance
from pypx.errors import IndexUnavailableError
from pypx.receiver import watch as watch_module
from pypx.receiver.completion import SeriesComplete
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived, Totals
from pypx.receiver.hook_delivery import Delivery, Ending, Outcome
from pypx.receiver.hook_queue import HookQueue
from pypx.receiver.hooks import HOOKS_FOLDER, Hooks
from pypx.receiver.pending import PendingSeries
from pypx.receiver.receiver import Receiver
from pypx.receiver.watch import Watch
from tests.archive.helpers import store
from tests.objects import write_file

WAIT = 20.0
LONG = 600.0


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "_TICK", 0.01)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "archive", durability="none") as one:
        yield one


class Told:
    """A hook and a function in one: what each got."""

    name = "told"

    def __init__(self) -> None:
        self.hook: queue.Queue[SeriesComplete] = queue.Queue()
        self.function: queue.Queue[SeriesComplete] = queue.Queue()

    def deliver(self, delivery: Delivery) -> Outcome:
        self.hook.put(delivery.event)
        return Outcome(Ending.DELIVERED)

    def stop(self) -> None:
        pass

    def next(self) -> SeriesComplete:
        """Give the next event, which hook and function got alike."""
        event = self.function.get(timeout=WAIT)
        assert self.hook.get(timeout=WAIT) == event
        return event

    def is_all(self) -> bool:
        return self.hook.empty() and self.function.empty()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def hooks(archive: Archive, told: Told) -> Iterator[Hooks]:
    folder = archive.root / HOOKS_FOLDER
    with Hooks([told], folder, print, installed=lambda: ()) as one:
        yield one


Make = Callable[..., Watch]


@pytest.fixture
def watching(archive: Archive, hooks: Hooks, told: Told) -> Make:
    def make(settle: float = 0.05, **options: Any) -> Watch:
        options = {"hooks": hooks, "on_series": told.function.put, **options}
        return Watch(archive, settle=settle, **options)

    return make


def began(name: str = "a") -> AssociationBegan:
    return AssociationBegan(name, "10.1.2.3", "CT", "PYPX")


def ended(name: str = "a") -> AssociationSummary:
    return AssociationSummary(name, "10.1.2.3", "CT", "PYPX", Totals(), 1.0, None)


def arrival(archive: Archive, number: int, name: str = "a") -> InstanceReceived:
    stored = store(archive, number)
    return InstanceReceived(
        name,
        0,
        0.01,
        stored.bytes,
        stored.outcome.value,
        stored.study_instance_uid,
        stored.series_instance_uid,
        stored.sop_instance_uid,
        str(stored.path),
    )


def pending(archive: Archive) -> list[Path]:
    return sorted((archive.root / HOOKS_FOLDER / "pending").glob("*/*.json"))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_series_over_the_network_is_told(archive: Archive, watching: Make, told: Told, tmp_path):
    before = time.time()
    with watching() as watch, Receiver(archive, port=0, observer=watch) as receiver:
        address = Address("PYPX", receiver.host, receiver.port)
        files = [Instance.from_file(write_file(tmp_path, number)) for number in (1, 2, 3)]
        with Client(address, calling_ae_title="SENDER") as client:
            storing = client.store(files)
            for one in files:
                assert storing.send(one).status == 0
        event = told.next()
    (row,) = archive.find("series")
    assert (event.study_instance_uid, event.series_instance_uid) == ("1.2.3", "1.2.3.4")
    assert (event.instances, event.duplicates, event.bytes) == (3, 0, row["bytes"])
    assert (event.path, event.reason, event.verified) == (row["path"], "settled", True)
    assert (event.calling_ae_title, event.host) == ("SENDER", "127.0.0.1")
    assert before - 0.01 <= event.began <= event.ended <= time.time() + 0.01
    assert len(event.id) == 16
    assert told.is_all()
    assert pending(archive) == []


def test_it_is_noted_down_when_it_begins(archive: Archive, watching: Make, told: Told) -> None:
    with watching(LONG) as watch:
        watch.association_began(began())
        watch.instance_received(arrival(archive, 1))
        wait_until(lambda: bool(pending(archive)))
        (path,) = pending(archive)
        noted = json.loads(path.read_text())
        assert (noted["series_instance_uid"], noted["calling_ae_title"]) == ("1.2.3.4", "CT")
        watch.association_ended(ended())
    event = told.next()
    assert (event.id, event.instances) == (noted["id"], 1)
    assert pending(archive) == []
    assert list((archive.root / HOOKS_FOLDER / "pending").iterdir()) == []


def test_at_the_end_what_is_over_is_told_at_once(archive: Archive, watching: Make, told: Told):
    with watching(LONG) as watch:
        watch.association_began(began())
        watch.instance_received(arrival(archive, 1))
        watch.association_ended(ended())
    assert told.next().instances == 1


def test_what_is_not_over_is_left_for_the_next_start(
    archive: Archive, watching: Make, told: Told
) -> None:
    with watching(LONG) as watch:
        watch.association_began(began())
        for number in (1, 2):
            watch.instance_received(arrival(archive, number))
    assert told.is_all()
    assert len(pending(archive)) == 1
    with watching(LONG):
        event = told.next()
    assert (event.reason, event.instances, event.verified) == ("recovered", 2, True)
    assert pending(archive) == []


def test_a_promise_is_told_when_it_is_kept(archive: Archive, watching: Make, told: Told) -> None:
    with watching(LONG) as watch:
        watch.expect("1.2.3.4", 2)
        watch.association_began(began())
        for number in (1, 2):
            watch.instance_received(arrival(archive, number))
        event = told.next()
        assert (event.reason, event.expected, event.verified) == ("promised", 2, True)
    assert told.is_all()


def test_it_is_not_verified_when_the_index_has_less(
    archive: Archive, watching: Make, told: Told
) -> None:
    with watching(LONG) as watch:
        watch.expect("1.2.3.4", 3)
        watch.association_began(began())
        watch.instance_received(arrival(archive, 1))
        watch.association_ended(ended())
    event = told.next()
    assert (event.reason, event.expected, event.verified) == ("settled", 3, False)


def test_an_index_that_cannot_be_asked_verifies_nothing_and_is_not_asked_at_once_again(
    archive: Archive, watching: Make, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def find(*arguments: object) -> Any:
        asked.append(arguments)
        raise IndexUnavailableError("It is locked.")

    events = [arrival(archive, 1), arrival(archive, 2)._replace(series_instance_uid="1.9")]
    monkeypatch.setattr(archive, "find", find)
    with watching(LONG) as watch:
        for event in events:
            watch.instance_received(event)
    assert [told.next().verified, told.next().verified] == [False, False]
    assert len(asked) == 1


def test_events_of_other_processes(archive: Archive, watching: Make, told: Told) -> None:
    with watching() as watch:
        for event in (began("1-1"), arrival(archive, 1, "1-1"), ended("1-1")):
            method = {
                AssociationBegan: watch.association_began,
                InstanceReceived: watch.instance_received,
                AssociationSummary: watch.association_ended,
            }[type(event)]
            method(pickle.loads(pickle.dumps(event)))
        assert told.next().calling_ae_title == "CT"


def test_what_was_not_stored_and_who_was_rejected_are_no_events(
    archive: Archive, watching: Make, told: Told
) -> None:
    with watching(0.0) as watch:
        watch.association_ended(ended(""))
        watch.association_began(began())
        watch.instance_received(InstanceReceived("a", 0xA700, 0.1))
        watch.association_ended(ended())
    assert told.is_all()


def test_a_queue_that_cannot_be_written_is_tried_again(
    archive: Archive, watching: Make, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "_RETRY", 0.01)
    said: list[str] = []
    in_the_way = archive.root / HOOKS_FOLDER / "queue"
    in_the_way.parent.mkdir()
    in_the_way.write_text("")
    with watching(on_trouble=said.append) as watch:
        watch.association_began(began())
        watch.instance_received(arrival(archive, 1))
        watch.association_ended(ended())
        wait_until(lambda: bool(said))
        in_the_way.unlink()
        assert told.next().instances == 1
    assert said[0].startswith("The queue of the hooks cannot be written")
    assert len(said) == 1


def test_without_hooks_nothing_is_written(archive: Archive, told: Told) -> None:
    empty = Hooks([], archive.root / HOOKS_FOLDER, print, installed=lambda: ())
    for hooks in (None, empty):
        with Watch(archive, settle=0, hooks=hooks, on_series=told.function.put) as watch:
            watch.association_began(began())
            watch.instance_received(arrival(archive, 1))
            watch.association_ended(ended())
        assert told.function.get(timeout=WAIT).instances == 1
    assert not (archive.root / HOOKS_FOLDER).exists()


def test_a_living_process_keeps_its_series(archive: Archive, watching: Make, told: Told) -> None:
    with watching(LONG) as first:
        first.association_began(began())
        first.instance_received(arrival(archive, 1))
        wait_until(lambda: bool(pending(archive)))
        with watching(LONG):
            pass
        assert told.is_all()
        first.association_ended(ended())
    assert told.next().reason == "settled"


def test_a_torn_note_is_dropped(archive: Archive, watching: Make, told: Told) -> None:
    notes = PendingSeries(archive.root / HOOKS_FOLDER)
    notes.add(SeriesComplete("1", "1.2", id="0" * 16))
    (path,) = pending(archive)
    path.write_text('{"torn')
    notes.close()
    with watching():
        wait_until(lambda: pending(archive) == [])
    assert told.is_all()


def test_a_folder_that_is_removed_is_made_again(tmp_path: Path) -> None:
    import shutil

    notes = PendingSeries(tmp_path)
    notes.add(SeriesComplete("1", "1.2", id="0" * 16))
    shutil.rmtree(tmp_path / "pending")
    notes.add(SeriesComplete("1", "1.3", id="1" * 16))
    assert [path.name for path in tmp_path.glob("pending/*/*.json")] == [f"{'1' * 16}.json"]
    notes.close()


RECEIVE = """
import sys, time
from pathlib import Path
from pypx.archive import Archive
from pypx.receiver.hooks import HOOKS_FOLDER, Hooks
from pypx.receiver.watch import Watch
from tests.receiver.test_watch import Told, arrival, began, pending, wait_until

archive = Archive(sys.argv[1], durability="none")
hooks = Hooks([Told()], archive.root / HOOKS_FOLDER, print, installed=lambda: ())
watch = Watch(archive, settle=600, hooks=hooks)
watch.start()
watch.association_began(began())
for number in (1, 2, 3):
    watch.instance_received(arrival(archive, number))
wait_until(lambda: bool(pending(archive)))
print("received", flush=True)
time.sleep(600)
"""


def test_after_a_kill_the_next_start_reports_what_had_arrived(
    archive: Archive, hooks: Hooks, watching: Make, told: Told
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", RECEIVE, str(archive.root)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"received\n"
        with watching():  # it lives: nothing is taken from it
            pass
        assert told.is_all()
        process.send_signal(signal.SIGKILL)
        process.wait()
    (noted,) = (json.loads(path.read_text()) for path in pending(archive))
    with watching():
        event = told.next()
    assert (event.reason, event.instances, event.verified) == ("recovered", 3, True)
    assert (event.id, event.calling_ae_title) == (noted["id"], "CT")
    with watching():
        pass
    assert told.is_all()
    hooks.close(WAIT)  # what a hook has got is taken from the queue only after that
    assert HookQueue(archive.root / HOOKS_FOLDER).queued == 0


# Files beside the images


@pytest.fixture
def upstreams(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "upstreams", layout="pypx-1", durability="none") as one:
        yield one


def beside(archive: Archive) -> list[str]:
    return sorted(p.name for p in archive.root.glob("[!.]*/*/*/*") if not p.name.endswith(".dcm"))


def test_the_files_beside_a_series_follow_it(upstreams: Archive, tmp_path: Path) -> None:
    told: queue.Queue[list[str]] = queue.Queue()
    companions = upstreams.companions(maps=tmp_path / "log")
    with Watch(
        upstreams, settle=LONG, companions=companions, on_series=lambda _: told.put([])
    ) as watch:
        watch.association_began(began())
        watch.instance_received(arrival(upstreams, 1))
        wait_until(lambda: beside(upstreams) == ["receiving.series"])
        watch.expect("1.2.3.4", 2)
        watch.instance_received(arrival(upstreams, 2))
        wait_until(lambda: beside(upstreams) == ["series.info"])
    assert (tmp_path / "log" / "series_map" / "1.2.3.4.json").exists()
    assert pending(upstreams) == []


def test_a_hook_finds_the_files_beside_its_series(upstreams: Archive) -> None:
    found: queue.Queue[list[str]] = queue.Queue()

    class Looks(Told):
        def deliver(self, delivery: Delivery) -> Outcome:
            found.put(beside(upstreams))
            return Outcome(Ending.DELIVERED)

    folder = upstreams.root / HOOKS_FOLDER
    with (
        Hooks([Looks()], folder, print, installed=lambda: ()) as hooks,
        Watch(upstreams, settle=0.05, hooks=hooks, companions=upstreams.companions()) as watch,
    ):
        watch.instance_received(arrival(upstreams, 1))
        assert found.get(timeout=WAIT) == ["series.info"]


def test_a_series_of_a_killed_process_gets_its_files(upstreams: Archive) -> None:
    with Watch(upstreams, settle=LONG, companions=upstreams.companions()) as watch:
        watch.association_began(began())
        watch.instance_received(arrival(upstreams, 1))
        wait_until(lambda: beside(upstreams) == ["receiving.series"])
    assert len(pending(upstreams)) == 1  # its association is open, and left for the next start
    with Watch(upstreams, settle=LONG, companions=upstreams.companions()):
        wait_until(lambda: beside(upstreams) == ["series.info"])
    assert pending(upstreams) == []


def test_files_that_cannot_be_written_hold_nobody_up_and_are_tried_again(
    upstreams: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "_RETRY", 0.05)
    maps, told, troubles = tmp_path / "maps", Told(), list[str]()
    maps.write_text("a file where the folder should be")
    folder = upstreams.root / HOOKS_FOLDER
    with (
        Hooks([told], folder, print, installed=lambda: ()) as hooks,
        Watch(
            upstreams,
            settle=0.05,
            hooks=hooks,
            companions=upstreams.companions(maps=maps),
            on_trouble=troubles.append,
        ) as watch,
    ):
        watch.association_began(began())
        watch.instance_received(arrival(upstreams, 1))
        watch.association_ended(ended())
        assert told.hook.get(timeout=WAIT).series_instance_uid == "1.2.3.4"
        maps.unlink()
        wait_until((maps / "series_map" / "1.2.3.4.json").exists)
        wait_until(lambda: pending(upstreams) == [])
    assert troubles[0].startswith("Nothing can be written beside the series 1.2.3.4: ")
    assert told.hook.empty()
