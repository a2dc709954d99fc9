"""The live line: what it says at a time."""

from __future__ import annotations

from pypx.cli.live import LiveLine, Rate
from pypx.cli.output import Output
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived, Totals


def test_a_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate(span=5.0)
    assert rate.at(100.0, 0, 0) == (0.0, 0.0)
    assert rate.at(101.0, 10, 1000) == (10.0, 1000.0)
    assert rate.at(105.0, 30, 3000) == (6.0, 600.0)
    # What came before 101 counts no more.
    assert rate.at(106.0, 30, 3000) == (4.0, 400.0)
    assert rate.at(110.0, 30, 3000) == (0.0, 0.0)
    assert rate.at(120.0, 30, 3000) == (0.0, 0.0)


def test_the_line_counts_what_it_hears() -> None:
    line = LiveLine(Output())
    assert line.text(10.0).startswith("0 images/s, 0 B/s; 0 associations open; 0 images, 0 B")
    line.association_began(AssociationBegan("1-1", "host", "A", "B"))
    for _ in range(4):
        line.instance_received(InstanceReceived("1-1", 0, 0.1, 500_000, "new"))
    line.instance_received(InstanceReceived("1-1", 0xA700, 0.1))
    assert line.text(12.0) == (
        "2 images/s, 1.0 MB/s; 1 association open; 4 images, 2.0 MB, 1 not stored in all"
    )
    line.association_ended(AssociationSummary("1-1", "host", "A", "B", Totals(), 1.0, None))
    line.association_ended(
        AssociationSummary("", "host", "A", "B", Totals(), 1.0, None)
    )  # rejected
    assert "; 0 associations open; " in line.text(13.0)
