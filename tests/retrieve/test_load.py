"""How hard a PACS may be asked; the time is a number here."""

from __future__ import annotations

from datetime import datetime

import pytest

from pypx.errors import ConfigError
from pypx.retrieve.load import Load, Throttle, Window

# Load -------------------------------------------------------------------------------------


def test_overload_halves_and_pauses_longer_each_time() -> None:
    load = Load(8)
    pauses = []
    now = 0.0
    for allowed in (4, 2, 1, 1):
        load.overloaded(now)
        assert load.allowed == allowed
        pauses.append(load.pause(now))
        now += load.pause(now)
        assert load.pause(now) == 0
    assert pauses == [1, 2, 4, 8]


def test_a_pause_has_an_end() -> None:
    load, now = Load(2, pause=0.5), 0.0
    load.succeeded(1.0, 100)
    for _ in range(20):
        load.overloaded(now)
        now += load.pause(now)
    load.overloaded(now)
    assert load.pause(now) == 15


def test_before_anything_came_a_pause_is_short() -> None:
    load, now = Load(2), 0.0
    for _ in range(20):
        load.overloaded(now)
        now += load.pause(now)
    load.overloaded(now)
    assert load.pause(now) == 8


def test_requests_that_fail_together_are_one_overload() -> None:
    load = Load(8)
    load.overloaded(10.0)
    load.overloaded(10.5)
    assert load.pause(10.5) == 0.5


def test_it_grows_again_when_the_pacs_recovers() -> None:
    load = Load(4)
    load.overloaded(0)
    load.overloaded(5)
    assert load.allowed == 1
    for _ in range(12):
        load.succeeded(1.0, 100)
    assert load.allowed == 4
    load.overloaded(100)
    assert load.pause(100) == 1, "the pauses begin anew"


def test_it_never_grows_beyond_what_was_allowed() -> None:
    load = Load(2)
    for _ in range(50):
        load.succeeded(1.0, 10)
    assert load.allowed == 2


def test_a_latency_that_climbs_takes_one_away() -> None:
    load = Load(4)
    for _ in range(10):
        load.succeeded(1.0, 100)
    for _ in range(2):
        load.succeeded(10.0, 100)
    assert load.allowed == 4, "two slow ones may be chance"
    load.succeeded(10.0, 100)
    assert load.allowed == 3


def test_a_slow_pacs_becomes_the_usual_one() -> None:
    load = Load(4)
    load.succeeded(1.0, 1000)  # one that lay in its memory
    for _ in range(300):
        load.succeeded(1.0, 100)
    assert load.allowed == 4


# Window -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "window, now, seconds",
    [
        ("19:00-06:00", "2026-01-05T18:59:00", 60),
        ("19:00-06:00", "2026-01-05T19:00:00", 0),
        ("19:00-06:00", "2026-01-06T05:59:59", 0),
        ("19:00-06:00", "2026-01-06T06:00:00", 13 * 3600),
        ("08:00-17:30", "2026-01-06T17:30:00", 14.5 * 3600),
        ("08:00-17:30", "2026-01-06T07:59:30", 30),
        ("08:00-17:30", "2026-01-06T12:00:00", 0),
        ("08:00 - 09:00", "2026-01-06T08:30:00", 0),
    ],
)
def test_a_window_is_open_or_says_for_how_long_it_is_not(
    window: str, now: str, seconds: float
) -> None:
    assert Window.parse(window).wait(datetime.fromisoformat(now)) == seconds


@pytest.mark.parametrize("text", ["", "19:00", "19:00-", "25:00-06:00", "7-8-9", "08:00-08:00"])
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Window.parse(text)
    assert "19:00-06:00" in caught.value.hint


# Throttle ---------------------------------------------------------------------------------


def test_a_throttle_keeps_the_rate() -> None:
    throttle, now = Throttle(1000), 0.0
    for _ in range(100):
        now += throttle.delay(500, now)
    assert 48 <= now <= 51  # 50,000 bytes at 1,000 a second


def test_a_throttle_does_not_make_up_for_a_pause() -> None:
    throttle = Throttle(1000)
    throttle.delay(1000, 0.0)
    assert throttle.delay(5000, 1000.0) == pytest.approx(4.0)
