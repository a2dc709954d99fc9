"""What a job learns of C-MOVE and C-GET."""

from __future__ import annotations

from pypx.retrieve.methods import GET, MOVE, Methods


def test_the_user_may_say_it() -> None:
    for wanted in (MOVE, GET):
        methods = Methods(wanted, retries=3)
        assert {methods.choose(attempts) for attempts in range(4)} == {wanted}
        methods.refuse(wanted, "it cannot")
        assert methods.choose(0) is None


def test_a_move_first_and_a_get_where_that_brings_nothing() -> None:
    methods = Methods("auto", retries=3)
    assert methods.choose(0) == MOVE
    methods.was_vain(MOVE)
    assert methods.choose(1) == GET, "no C-MOVE ever brought anything"


def test_what_a_broken_connection_took_is_not_the_fault_of_the_method() -> None:
    methods = Methods("auto", retries=3)
    assert [methods.choose(attempts) for attempts in range(4)] == [MOVE, MOVE, MOVE, GET]
    assert not methods.brought(GET), "C-MOVE may work as well"
    assert methods.choose(0) == MOVE


def test_what_has_brought_something_is_tried_to_the_last_but_one() -> None:
    methods = Methods("auto", retries=3)
    assert not methods.brought(MOVE)
    assert [methods.choose(attempts) for attempts in range(4)] == [MOVE, MOVE, MOVE, GET]


def test_the_way_that_works_is_kept() -> None:
    methods = Methods("auto", retries=3)
    methods.was_vain(MOVE)
    assert methods.brought(GET), "from now on it is the first"
    assert methods.choose(0) == GET
    assert not methods.brought(GET)


def test_a_way_that_is_refused_is_not_tried_again() -> None:
    methods = Methods("auto", retries=3)
    methods.refuse(MOVE, "A801")
    assert [methods.choose(attempts) for attempts in range(4)] == [GET] * 4
    methods.refuse(GET, "no C-GET")
    assert methods.choose(0) is None
    assert methods.refused == {MOVE: "A801", GET: "no C-GET"}


def test_the_first_may_be_preferred_but_not_against_the_user() -> None:
    methods = Methods("auto", retries=3)
    methods.prefer(GET)
    assert methods.choose(0) == GET
    methods = Methods(MOVE, retries=3)
    methods.prefer(GET)
    assert methods.choose(0) == MOVE


def test_the_image_level_is_refused_when_two_series_say_so() -> None:
    methods = Methods("auto", retries=3)
    methods.image_refused(7)
    assert not methods.takes_images(7)
    assert methods.takes_images(8), "something may be wrong with the other one"
    methods.image_refused(9)
    assert not methods.takes_images(8)
    methods.image_brought()
    assert methods.takes_images(8)
    assert not methods.takes_images(7)
