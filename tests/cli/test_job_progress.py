"""How far a job is, in words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pypx.archive.transfers import Totals
from pypx.cli.job_progress import describe
from pypx.retrieve.run import Snapshot


def snapshot(totals: Totals, *arrived: int) -> Snapshot:
    flights: Any = tuple(
        SimpleNamespace(
            method="move",
            level="series",
            series=SimpleNamespace(modality="CT", expected=100),
            unit=SimpleNamespace(arrived=set(range(number))),
        )
        for number in arrived
    )
    return Snapshot(totals, sum(arrived), 0, 1.0, flights, "", 2)


def test_what_is_under_way_counts_once() -> None:
    words = describe(snapshot(Totals(2, 1, 200, 140, 0, 0, 0), 40), 10.0, 1000.0)
    assert words.startswith("140 of 200 images")
    assert "6 s left" in words
    assert words.endswith("C-MOVE of CT 40/100")


def test_without_numbers_of_the_pacs_what_came_counts() -> None:
    words = describe(snapshot(Totals(1, 0, 0, 0, 0, 1, 0, 17), 17), 0.0, 0.0)
    assert words.startswith("17 images")
