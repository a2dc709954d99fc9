"""How many associations at once: in one process, and over several that share a table."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pypx.net.limits import AcceptorLimits
from pypx.net.seats import Seats, neighbourhood
from pypx.receiver.relay import SharedSeats

LIMITS = AcceptorLimits(max_associations=3, max_associations_per_host=2)


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::1", "::"),
    ],
)
def test_what_counts_as_one_host(host: str, counted: str) -> None:
    assert neighbourhood(host) == counted


@pytest.fixture
def table() -> Iterator[int]:
    fd = os.memfd_create("seats") if hasattr(os, "memfd_create") else -1
    if fd < 0:
        pytest.skip("only Linux has files in memory")
    os.ftruncate(fd, SharedSeats.size(LIMITS, 2))
    yield fd
    os.close(fd)


def test_the_limits_hold() -> None:
    check(Seats(LIMITS))


def test_the_limits_hold_over_processes(table: int) -> None:
    check(SharedSeats(LIMITS, table, 0, 2))
    one, other = (SharedSeats(LIMITS, table, place, 2) for place in (0, 1))
    assert one.take("a") == other.take("a") == ""
    assert "of this host" in one.take("a")
    assert other.take("b") == ""
    assert "3 are open" in one.take("c")
    one.leave("a")
    assert other.take("c") == ""


def test_other_limits_hold_from_now_on(table: int) -> None:
    one, other = (SharedSeats(LIMITS, table, place, 2) for place in (0, 1))
    assert one.take("a") == other.take("a") == one.take("b") == ""
    assert "3 are open" in other.take("c")
    more = AcceptorLimits(max_associations=40, max_associations_per_host=30)
    os.ftruncate(table, SharedSeats.size(more, 2))
    for seats in (one, other):
        seats.configure(more)
    assert [other.take("a") for _ in range(28)] == [""] * 28
    assert "30 of this host" in one.take("a")
    one.leave("a")  # one that it had taken before
    assert one.take("a") == ""
    fewer = AcceptorLimits(max_associations=1)
    other.configure(fewer)
    assert "1 are open" in other.take("d")
    SharedSeats.clear(table, 1, 2)  # it has died
    assert [one.take("a") for _ in range(28)] == [""] * 28


def check(seats: Seats) -> None:
    assert seats.take("a") == seats.take("a") == ""
    assert "2 of this host are open already (max_associations_per_host)" in seats.take("a")
    assert seats.take("b") == ""
    assert "3 are open already (max_associations)" in seats.take("c")
    seats.leave("a")
    assert seats.take("c") == ""
    for host in "abc":
        seats.leave(host)


def test_without_a_limit_for_a_host() -> None:
    seats = Seats(AcceptorLimits(max_associations=5, max_associations_per_host=0))
    assert [seats.take("a") for _ in range(5)] == [""] * 5
    assert seats.take("a")
