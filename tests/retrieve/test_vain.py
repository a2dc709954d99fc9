"""When a PACS that sends nothing is given up; the time is a number here."""

from __future__ import annotations

import pytest

from pypx.retrieve.vain import Vain


def in_vain(vain: Vain, requests: int, *, study: int | None = None, now: float = 0.0) -> None:
    for number in range(requests):
        vain.brought_nothing(number + 1 if study is None else study, now)


def hopeless(vain: Vain, now: float = 0.0, *, come: bool = False, others: bool = True) -> bool:
    return vain.is_hopeless(now, has_come=come, has_others=others)


def test_ten_series_of_some_studies_are_enough() -> None:
    vain = Vain(3, 2)
    in_vain(vain, 39)
    assert not hopeless(vain)
    in_vain(vain, 1)
    assert hopeless(vain)


def test_one_study_may_be_off_line() -> None:
    vain = Vain(3, 2)
    in_vain(vain, 1000, study=1)
    assert not hopeless(vain, 1000.0)
    assert hopeless(vain, 1000.0, others=False), "there is nothing else to try"


def test_then_other_studies_are_tried_until_there_are_some() -> None:
    vain = Vain(3, 2)
    in_vain(vain, 5, study=7)
    assert vain.is_way_doubtful(has_come=False)
    assert not vain.is_doubtful(has_come=False)
    for study in (7, 8, 9, 10):
        vain.brought_nothing(study, 0.0)
        assert vain.is_doubtful(has_come=False)
        assert vain.last_study == study
    assert not vain.is_doubtful(has_come=True)
    vain.brought_nothing(11, 0.0)
    assert not vain.is_doubtful(has_come=False), "these are enough: now as usual"


@pytest.mark.parametrize(("requests", "after"), [(5, False), (6, True)])
def test_after_a_minute_a_few_requests_are_enough(requests: int, after: bool) -> None:
    vain = Vain(3, 2)
    in_vain(vain, requests, now=100.0)
    assert not hopeless(vain, 159.0)
    assert hopeless(vain, 160.0) is after


def test_whatever_comes_begins_it_anew() -> None:
    vain = Vain(3, 2)
    in_vain(vain, 39)
    vain.brought_something()
    assert (vain.requests, vain.last_study) == (0, 0)
    in_vain(vain, 39, now=100.0)
    assert not hopeless(vain, 120.0)


def test_once_something_came_more_may_be_off_line() -> None:
    vain = Vain(3, 2)
    in_vain(vain, 399)
    assert not hopeless(vain, 1e6, come=True)
    in_vain(vain, 1)
    assert hopeless(vain, come=True)


def test_each_of_many_associations_has_its_turn() -> None:
    vain = Vain(0, 64)
    in_vain(vain, 127)
    assert not hopeless(vain, 1e6)
    in_vain(vain, 1)
    assert hopeless(vain)
