"""Series and studies: whole, not whole, or nobody knows, against what was last asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pypx.archive import Archive
from pypx.archive.completeness import Completeness
from pypx.archive.ledger import Ledger
from tests.archive.helpers import store
from tests.archive.ledgers import SERIES, STUDY, begin, expect, find, plan

OTHER = "1.2.3.5"


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "archive", durability="none") as one:
        store(one, 1)
        store(one, 2)
        yield one


@pytest.fixture
def ledger(archive: Archive) -> Ledger:
    return archive.ledger


def both(ledger: Ledger) -> tuple[str, str]:
    """Give what is said of the series and of its study."""
    return ledger.completeness(STUDY, SERIES), ledger.completeness(STUDY)


def test_nobody_asked_for_it(ledger: Ledger) -> None:
    plan(ledger, [1, 2])
    assert ledger.completeness("1.9", "1.9.1") is Completeness.UNKNOWN
    assert ledger.completeness("1.9") is Completeness.UNKNOWN
    assert ledger.completeness("1.9", SERIES) is Completeness.UNKNOWN, "of another study"


def test_what_the_newest_transfer_expects(ledger: Ledger) -> None:
    plan(ledger, [1, 2, 3], fingerprint="old")
    assert ledger.expected(SERIES) == 3
    plan(ledger, None, count=7, fingerprint="new")
    assert ledger.expected(SERIES) == 7
    plan(ledger, None, fingerprint="newest")
    assert ledger.expected(SERIES) is None
    assert ledger.expected("1.9") is None


@pytest.mark.parametrize(
    ("numbers", "count", "said"),
    [
        ([1, 2], None, "complete"),
        ([2], None, "complete"),
        ([], None, "complete"),
        ([1, 2, 3], None, "incomplete"),
        ([8, 9], None, "incomplete"),
        (None, 1, "complete"),
        (None, 2, "complete"),
        (None, 3, "incomplete"),
        (None, None, "unknown"),
    ],
)
def test_against_what_was_expected(
    ledger: Ledger, numbers: list[int] | None, count: int | None, said: str
) -> None:
    plan(ledger, numbers, count=count)
    assert both(ledger) == (said, said)


def test_what_arrives_late_counts(archive: Archive, ledger: Ledger) -> None:
    plan(ledger, [1, 2, 3], state="incomplete")
    store(archive, 3)
    assert both(ledger) == ("complete", "complete")


@pytest.mark.parametrize(
    ("first", "then", "said"), [([1, 2], [1, 3], "incomplete"), ([1, 3], [1, 2], "complete")]
)
def test_the_newest_counts(ledger: Ledger, first: list[int], then: list[int], said: str) -> None:
    plan(ledger, first)
    plan(ledger, then, fingerprint="g")
    assert both(ledger) == (said, said)


def test_a_study_needs_all_its_series(archive: Archive, ledger: Ledger) -> None:
    transfer = begin(ledger)
    study = find(ledger, transfer)
    expect(ledger, transfer, study, [1, 2])
    expect(ledger, transfer, study, None, OTHER, count=1)
    ledger.close_study(study, "planned")
    assert both(ledger) == ("complete", "incomplete")
    store(archive, 7, SeriesInstanceUID=OTHER)
    assert both(ledger) == ("complete", "complete")


def test_a_series_of_unknown_number_leaves_the_study_open(ledger: Ledger) -> None:
    transfer = begin(ledger)
    study = find(ledger, transfer)
    expect(ledger, transfer, study, [1, 2])
    expect(ledger, transfer, study, None, OTHER)
    ledger.close_study(study, "planned")
    assert both(ledger) == ("complete", "unknown")


def test_one_series_fetched_again_makes_no_whole_study(archive: Archive, ledger: Ledger) -> None:
    transfer = begin(ledger)
    study = find(ledger, transfer)
    expect(ledger, transfer, study, [1, 2, 3])
    expect(ledger, transfer, study, [8, 9], OTHER)
    ledger.close_study(study, "planned")
    plan(ledger, [1, 2], fingerprint="g")
    assert both(ledger) == ("complete", "incomplete")


@pytest.mark.parametrize("state", ["open", "failed"])
def test_a_study_that_is_not_planned(ledger: Ledger, state: str) -> None:
    plan(ledger, [1, 2])
    transfer = begin(ledger, fingerprint="g")
    ledger.close_study(find(ledger, transfer), state)
    assert both(ledger) == ("complete", "unknown")


def test_a_study_whose_series_are_not_told(archive: Archive, ledger: Ledger) -> None:
    transfer = begin(ledger)
    study = find(ledger, transfer)
    expect(ledger, transfer, study, None, "", count=3)
    ledger.close_study(study, "planned")
    assert both(ledger) == ("unknown", "incomplete")
    store(archive, 3, SeriesInstanceUID=OTHER)
    assert both(ledger) == ("unknown", "complete")


def test_which_were_told_later(ledger: Ledger) -> None:
    transfer = begin(ledger)
    expect(ledger, transfer, find(ledger, transfer), None, "", count=9)
    plan(ledger, [1, 2], fingerprint="g")
    assert both(ledger) == ("complete", "complete")
