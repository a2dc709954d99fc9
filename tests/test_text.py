"""Numbers in words; what is harmless is tested with the output of commands."""

from __future__ import annotations

import pytest

from pypx.text import date, duration


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0.0 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_duration(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("text", "shown"), [("20240131", "2024-01-31"), ("2024", "2024"), ("", ""), ("abcdefgh",) * 2]
)
def test_date(text: str, shown: str) -> None:
    assert date(text) == shown
