"""How far a job is: in words, as a line now and then, as a bar that makes room."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from pypx.archive.transfers import LedgerSeries, Totals, Transfer
from pypx.cli import job_progress
from pypx.cli.job_progress import JobProgress, describe
from pypx.cli.output import Output
from pypx.retrieve.asking import Flight
from pypx.retrieve.credit import Unit
from pypx.retrieve.run import Snapshot

TRANSFER = Transfer(1, "20260131-3fa2c1", "hospital", {}, "running", "", (), "", "", 0.0)
EVIL = "\x1b]0;x\x07\u202e"


def snapshot(
    received: int = 5, expected: int = 20, *, to_plan: int = 0, waits: str = "", flights: int = 0
) -> Snapshot:
    series = LedgerSeries(1, 1, "1.2", "4711", "1.2.3", modality="CT", expected=12)
    unit = Unit("1.2", ["1.2.3"], None)
    unit.arrived.update(map(str, range(4)))
    under_way = tuple(Flight("move", "series", series, unit) for _ in range(flights))
    totals = Totals(3, 1, expected, received, 0, 0, to_plan)
    return Snapshot(totals, received, received * 1000, 2.0, under_way, waits, 2)


def uncounted(received: int) -> Snapshot:
    totals = Totals(1, 0, 0, 0, 0, 1, 0, received)
    return Snapshot(totals, received, received * 1000, 2.0, (), "", 2)


@pytest.mark.parametrize(
    ("seen", "rates", "said"),
    [
        (snapshot(), (0, 0), "5 of 20 images, 5.0 kB"),
        (snapshot(), (5, 5000), "5 of 20 images, 5.0 kB, 5/s, 5.0 kB/s, 3 s left"),
        (
            snapshot(to_plan=2),
            (5, 5000),
            "5 of 20+ images, 5.0 kB, 5/s, 5.0 kB/s, asking what there is, 3 series",
        ),
        (snapshot(flights=1), (0, 0), "5 of 20 images, 5.0 kB, C-MOVE of CT 4/12"),
        (
            snapshot(flights=3),
            (0, 0),
            "5 of 20 images, 5.0 kB, C-MOVE of CT 4/12; C-MOVE of CT 4/12 …",
        ),
        (uncounted(17), (0, 0), "17 images, 17 kB"),
        (snapshot(waits="It is not 19:00-06:00 now."), (0, 0), "It is not 19:00-06:00 now"),
    ],
)
def test_in_words(seen: Snapshot, rates: tuple[float, float], said: str) -> None:
    assert describe(seen, *rates) == said


def test_a_line_now_and_then_and_none_that_says_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(job_progress.time, "monotonic", lambda: now[0])
    looked = []

    def look() -> Snapshot:
        looked.append(now[0])
        return snapshot(waits="The PACS is away." if now[0] < 125 else f"{EVIL}.")

    with JobProgress(Output(), TRANSFER) as progress:
        for tenth in range(301):
            now[0] = 100 + tenth / 10
            progress.show(look)
    assert looked == [110.0, 120.0, 130.0], "looking takes a while"
    assert capsys.readouterr().err.splitlines() == [
        "hospital 20260131-3fa2c1: The PACS is away.",
        "hospital 20260131-3fa2c1: \\x1b]0;x\\x07\\u202e.",
    ]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_makes_room_for_lines_and_leaves_them_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal: Any = _Terminal()
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys, "stderr", terminal)
    out, line = Output(), "x" * 200
    with JobProgress(out, TRANSFER) as progress:
        progress.show(lambda: snapshot(waits=EVIL))
        out.say(line)
        assert f"{line}\n" in terminal.getvalue()
    out.say("After it.")
    assert terminal.getvalue().endswith("After it.\n")
    assert "\x07" not in terminal.getvalue() and "\u202e" not in terminal.getvalue()
