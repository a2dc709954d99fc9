"""Which instances were asked for, and by which request."""

from __future__ import annotations

import threading
import time

from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived, Totals
from pypx.retrieve.credit import Credit, Unit
from pypx.retrieve.load import Throttle

PACS = AssociationBegan("a1", "10.0.0.1", "PACS", "PYPX")
OTHER = AssociationBegan("a2", "10.0.0.9", "CT1", "PYPX")


def came(
    uid: str,
    series: str = "1.1",
    study: str = "1",
    *,
    over: str = "a1",
    originator: tuple[str, int] = ("", 0),
    status: int = 0,
    comment: str = "",
) -> InstanceReceived:
    return InstanceReceived(
        association_id=over,
        status=status,
        seconds=0.0,
        bytes=100 if not status else 0,
        outcome="" if status else "new",
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=uid,
        comment=comment,
        move_originator_ae_title=originator[0],
        move_originator_message_id=originator[1],
    )


def ended(over: str) -> AssociationSummary:
    return AssociationSummary(over, "10.0.0.1", "PACS", "PYPX", Totals(), 1.0, None)


def credit() -> Credit:
    made = Credit({"PACS", "10.0.0.1"})
    made.association_began(PACS)
    made.association_began(OTHER)
    return made


def test_what_is_expected_is_credited_once() -> None:
    job, unit = credit(), Unit("1", ["1.1"], ["a", "b"])
    job.begin(unit)
    for uid in ("a", "b", "a"):
        job.instance_received(came(uid))
    assert unit.arrived == {"a", "b"}
    assert (job.instances, job.bytes) == (2, 200)
    assert not job.end(unit)


def test_without_uids_the_series_counts_and_without_series_the_study() -> None:
    job = credit()
    series, study = Unit("1", ["1.1"], None), Unit("2", [], None)
    job.begin(series)
    job.begin(study)
    job.instance_received(came("a"))
    job.instance_received(came("b", series="2.7", study="2"))
    job.instance_received(came("c", series="3.1", study="3"))
    assert (series.arrived, study.arrived) == ({"a"}, {"b"})


def test_each_request_gets_what_names_it_as_originator() -> None:
    job = credit()
    first, second = Unit("1", ["1.1"], ["a"]), Unit("2", ["2.1"], ["b"])
    first.originator, second.originator = ("PYPX", 7), ("PYPX", 8)
    for unit in (first, second):
        job.begin(unit)
    job.instance_received(came("x", "9.1", "9", originator=("PYPX", 8)))
    job.instance_received(came("y", "9.1", "9", originator=("OTHER", 7)))
    assert [event.sop_instance_uid for event in job.end(first)] == []
    assert [event.sop_instance_uid for event in job.end(second)] == ["x"]


def test_without_an_originator_what_the_pacs_sends_beside_is_noticed() -> None:
    job, unit = credit(), Unit("1", ["1.1"], ["a"])
    job.begin(unit)
    job.instance_received(came("x", "9.1", "9"))
    job.instance_received(came("y", "9.2", "9", over="a2"))
    assert [event.sop_instance_uid for event in job.end(unit)] == ["x"], "a CT pushed the other"


def test_what_is_sent_again_with_its_series_is_counted_apart() -> None:
    job, unit = credit(), Unit("1", ["1.1"], ["b"])
    unit.originator = ("PYPX", 7)
    job.begin(unit)
    for uid in ("a", "b", "c"):
        job.instance_received(came(uid, originator=("PYPX", 7)))
    job.instance_received(came("d", over="a2"))
    assert (unit.arrived, unit.again, job.instances) == ({"b"}, 2, 1)


def test_what_comes_while_nothing_is_asked_for_is_nobodys() -> None:
    job, unit = credit(), Unit("1", ["1.1"], ["a"])
    job.instance_received(came("x"))
    job.begin(unit)
    assert not job.end(unit)
    assert job.instances == 0


def test_a_full_archive_is_noticed() -> None:
    job, unit = credit(), Unit("1", ["1.1"], ["a"])
    job.begin(unit)
    job.instance_received(came("a", status=0xA900, comment="does not match"))
    assert (job.full, unit.refused, unit.arrived) == ("", 1, set())
    job.instance_received(came("z", status=0xA700, comment="disk full"))
    assert job.full == "disk full"


def test_of_two_requests_that_want_it_the_originator_gets_it() -> None:
    job = credit()
    first, second = Unit("1", ["1.1"], None), Unit("1", ["1.1"], None)
    first.originator, second.originator = ("PYPX", 7), ("PYPX", 8)
    for unit in (first, second):
        job.begin(unit)
    job.instance_received(came("a", originator=("PYPX", 8)))
    job.instance_received(came("b"))
    assert (first.arrived, second.arrived) == ({"b"}, {"a"})


def test_what_was_refused_is_counted_by_its_originator() -> None:
    job, unit = credit(), Unit("1", ["1.1"], None)
    unit.originator = ("PYPX", 7)
    job.begin(unit)
    job.instance_received(came("a", "", "", originator=("PYPX", 7), status=0xA900))
    assert unit.refused == 1


def test_what_others_push_is_not_remembered() -> None:
    job, unit = credit(), Unit("1", ["1.1"], ["a"])
    job.begin(unit)
    for number in range(1000):
        job.instance_received(came(f"x{number}", "9.1", "9", over="a2"))
    assert not job._unclaimed
    job.association_ended(ended("a1"))
    job.association_ended(ended("a2"))
    assert not job._of_pacs


def test_what_a_request_did_not_claim_is_forgotten_with_the_last_one() -> None:
    job = credit()
    first, second = Unit("1", ["1.1"], ["a"]), Unit("2", ["2.1"], ["b"])
    for unit in (first, second):
        job.begin(unit)
    job.instance_received(came("x", "9.1", "9", originator=("OTHER", 3)))
    assert not job.end(first)
    assert job._unclaimed
    assert not job.end(second)
    assert not job._unclaimed


def test_who_waits_for_a_request_hears_what_comes() -> None:
    job, unit = credit(), Unit("1", ["1.1"], ["a", "b"])
    job.begin(unit)
    job.instance_received(came("a"))
    started = time.monotonic()
    job.wait(unit, 10)  # it came before anybody waited
    waiter = threading.Thread(target=job.wait, args=(unit, 10))
    waiter.start()
    job.instance_received(came("b"))
    waiter.join(5)
    job.close()
    job.wait(unit, 10)
    assert time.monotonic() - started < 5


def test_a_sender_that_is_held_up_is_not_called_quiet() -> None:
    job, unit = Credit({"PACS"}, Throttle(10)), Unit("1", ["1.1"], ["a", "b"])
    job.begin(unit)
    job.close()  # so that the test is not held up
    job.instance_received(came("a"))
    assert unit.last - time.monotonic() > 5
