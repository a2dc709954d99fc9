"""When a series is whole: promises, silence, associations; the time is a number."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pypx.receiver.completion import Completion, SeriesComplete
from pypx.receiver.events import AssociationBegan, InstanceReceived

NEVER = float("inf")


def began(number: str, title: str = "CT", host: str = "10.1.2.3") -> AssociationBegan:
    return AssociationBegan(number, host, title, "PYPX")


def instance(
    number: int,
    association: str = "a",
    *,
    series: str = "1.2",
    outcome: str = "new",
    size: int = 10,
) -> InstanceReceived:
    path = f"/archive/p/st/{series}/{number}.dcm"
    return InstanceReceived(
        association, 0, 0.01, size, outcome, "1", series, f"{series}.{number}", path
    )


@pytest.fixture
def completion() -> Completion:
    return Completion(settle=5.0, patience=100.0)


def test_a_series_settles_after_its_association(completion: Completion) -> None:
    completion.association_began(began("a"))
    assert completion.next_due() is None
    assert completion.instance_received(instance(1), 10.0)
    assert not completion.instance_received(instance(2, size=20), 11.0)
    assert completion.next_due() == 111.0
    completion.association_ended("a", 12.0)
    assert completion.next_due() == 17.0
    assert completion.due(16.9) == []
    assert completion.due(17.0) == [
        SeriesComplete(
            study_instance_uid="1",
            series_instance_uid="1.2",
            instances=2,
            bytes=30,
            path="/archive/p/st/1.2",
            reason="settled",
            calling_ae_title="CT",
            called_ae_title="PYPX",
            host="10.1.2.3",
            began=10.0,
            ended=11.0,
        )
    ]
    assert completion.due(1000.0) == []
    assert completion.next_due() is None


def test_another_association_puts_it_off_and_is_the_one_that_is_told(completion: Completion):
    completion.association_began(began("a"))
    completion.instance_received(instance(1), 0.0)
    completion.association_ended("a", 1.0)
    completion.association_began(began("b", "MR", "10.9.9.9"))
    assert completion.next_due() == 6.0  # that it began says nothing yet
    completion.instance_received(instance(2, "b"), 5.0)
    assert completion.due(50.0) == []
    completion.association_ended("b", 60.0)
    (event,) = completion.due(65.0)
    assert (event.instances, event.calling_ae_title, event.host) == (2, "MR", "10.9.9.9")


def test_the_last_of_several_associations_counts(completion: Completion) -> None:
    for name in "ab":
        completion.association_began(began(name))
        completion.instance_received(instance(ord(name), name), 0.0)
    completion.association_ended("b", 1.0)
    assert completion.due(99.0) == []
    completion.association_ended("a", 99.0)
    assert completion.due(103.9) == []
    assert len(completion.due(104.0)) == 1


def test_a_promise_that_is_kept_needs_no_silence(completion: Completion) -> None:
    completion.association_began(began("a"))
    completion.expect("1.2", 3)
    for number in (1, 2, 2):  # the same one twice is no third one
        completion.instance_received(instance(number), 0.0)
    assert completion.next_due() == 100.0
    completion.instance_received(instance(3), 0.5)
    assert completion.next_due() <= 0.5
    (event,) = completion.due(0.5)
    assert (event.reason, event.expected, event.instances) == ("promised", 3, 3)
    assert completion.next_due() is None


def test_a_promise_that_comes_late(completion: Completion) -> None:
    completion.association_began(began("a"))
    completion.instance_received(instance(1), 0.0)
    completion.expect("1.2", 1)
    assert completion.due(0.0)[0].reason == "promised"


def test_a_promise_that_is_broken_settles(completion: Completion) -> None:
    completion.expect("1.2", 3)
    completion.association_began(began("a"))
    completion.instance_received(instance(1), 0.0)
    completion.association_ended("a", 1.0)
    (event,) = completion.due(6.0)
    assert (event.reason, event.expected, event.instances) == ("settled", 3, 1)


def test_a_promise_can_be_taken_back(completion: Completion) -> None:
    completion.expect("1.2", 1)
    completion.expect("1.2", 0)
    completion.instance_received(instance(1), 0.0)
    completion.expect("1.2", 2)
    completion.expect("1.2", 0)
    completion.instance_received(instance(2), 0.0)
    (event,) = completion.due(9.0)
    assert (event.reason, event.expected) == ("settled", None)


def test_more_of_a_reported_series_is_a_new_event(completion: Completion) -> None:
    completion.expect("1.2", 1)
    completion.association_began(began("a"))
    assert completion.instance_received(instance(1), 0.0)
    assert completion.instance_received(instance(2), 0.0)
    assert completion.instance_received(instance(2, series="1.3"), 0.0)
    completion.association_ended("a", 0.0)
    events = completion.due(5.0)
    assert [(e.series_instance_uid, e.reason, e.instances) for e in events] == [
        ("1.2", "promised", 1),
        ("1.2", "settled", 1),
        ("1.3", "settled", 1),
    ]


def test_duplicates_are_counted_and_failures_are_not(completion: Completion) -> None:
    completion.association_began(began("a"))
    completion.instance_received(instance(1, outcome="duplicate"), 0.0)
    completion.instance_received(instance(2, outcome="superseded"), 0.0)
    assert not completion.instance_received(InstanceReceived("a", 0xA700, 0.1), 0.0)
    completion.association_ended("a", 0.0)
    (event,) = completion.due(5.0)
    assert (event.instances, event.duplicates) == (2, 1)


def test_an_association_that_never_ends_does_not_hold_a_series_for_ever(
    completion: Completion,
) -> None:
    completion.association_began(began("a"))
    completion.instance_received(instance(1), 0.0)
    completion.instance_received(instance(2), 60.0)
    assert completion.due(159.9) == []
    assert completion.due(160.0)[0].instances == 2
    completion.association_ended("a", 200.0)
    assert completion.next_due() is None


def test_an_association_that_nobody_told_of(completion: Completion) -> None:
    completion.association_ended("x", 0.0)
    completion.instance_received(instance(1, "x"), 1.0)
    (event,) = completion.due(6.0)
    assert event.calling_ae_title == ""


def test_at_the_end_what_is_over_is_told_at_once(completion: Completion) -> None:
    for name in "ab":
        completion.association_began(began(name))
        completion.instance_received(instance(1, name, series=f"1.{name}"), 0.0)
    completion.association_ended("a", 1.0)
    assert [event.series_instance_uid for event in completion.finish()] == ["1.a"]
    assert completion.finish() == []


def test_memory_is_bounded() -> None:
    completion = Completion(settle=5.0, most=3)
    for number in range(10):
        name = str(number)
        completion.expect(f"9.{number}", 1)
        completion.association_began(began(name))
        completion.instance_received(instance(1, name, series=f"1.{number}"), 0.0)
    assert len(completion._series) == len(completion._associations) == 3
    assert len(completion._promises) == len(completion._brought) == 3
    assert [event.series_instance_uid for event in completion.due(0.0)] == [
        f"1.{number}" for number in range(7)
    ]
    assert {event.series_instance_uid for event in completion.due(400.0)} == {"1.7", "1.8", "1.9"}


def test_nothing_is_kept_of_what_was_reported() -> None:
    completion = Completion(settle=5.0)
    completion.association_began(began("a"))
    for number in range(1000):
        completion.instance_received(instance(1, series=f"1.{number}"), float(number))
        completion.due(float(number))
    assert len(completion._series) == len(completion._brought["a"]) == len(completion._plan) <= 301
    completion.association_ended("a", 1000.0)
    completion.due(1005.0)
    state = (completion._series, completion._brought, completion._associations, completion._whole)
    assert not any(state)
    assert completion.next_due() is None
    assert completion._plan == []


steps = st.lists(
    st.one_of(
        st.tuples(st.just("began"), st.sampled_from("abc"), st.just(0)),
        st.tuples(st.just("ended"), st.sampled_from("abc"), st.just(0)),
        st.tuples(st.just("instance"), st.sampled_from("abc"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.just(""), st.integers(0, 200)),
    ),
    max_size=60,
)


@given(steps)
def test_whatever_happens_each_arrival_is_in_exactly_one_event(taken: list[tuple[str, str, int]]):
    completion = Completion(settle=5.0, patience=50.0)
    now = 0.0
    sent: dict[str, int] = {}
    told: dict[str, int] = {}

    def note(events: list[SeriesComplete]) -> None:
        for event in events:
            uid = event.series_instance_uid
            told[uid] = told.get(uid, 0) + event.instances
            assert event.ended + 5.0 <= now

    for number, (what, name, value) in enumerate(taken):
        match what:
            case "began":
                completion.association_began(began(name))
            case "ended":
                completion.association_ended(name, now)
            case "instance":
                completion.instance_received(instance(number, name, series=f"1.{value}"), now)
                sent[f"1.{value}"] = sent.get(f"1.{value}", 0) + 1
            case "wait":
                now += value / 10
                note(completion.due(now))
                assert completion.next_due() is None or completion.next_due() > now
    now += 50.0
    note(completion.due(now))
    assert told == sent
    assert completion.next_due() is None


def test_an_event_is_a_document_and_back() -> None:
    event = SeriesComplete(
        "1", "1.2", 3, 1, None, 5, "/a/\udcff", "settled", "A\n", began=0.25, ended=1.5e9
    )
    document = event.document()
    assert document["event"] == "series"
    assert document["began_at"] == "1970-01-01T00:00:00.250Z"
    assert (document["expected"], document["verified"]) == (None, None)
    assert SeriesComplete.from_document(document) == event
    assert pickle.loads(pickle.dumps(event)) == event
    del document["path"]
    with pytest.raises(KeyError):
        SeriesComplete.from_document(document)
