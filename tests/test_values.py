"""Values: what dataclasses would give, checked against dataclasses."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from typing import ClassVar

import pytest

from pypx.values import fields, frozen, replace, required


@frozen
class Point:
    """A point."""

    KIND: ClassVar[str] = "point"
    x: int
    y: int = 0
    note: str | None = None


@frozen
class Named(Point):
    """A point with a name; the field has a default, since one before it has."""

    name: str = ""


@frozen
class Empty:
    """No field at all."""


@frozen
class Checked:
    """Changes its field when it is made."""

    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", self.text.strip())


@frozen
class Secret:
    """Has a repr of its own."""

    word: str

    def __repr__(self) -> str:
        return "Secret(…)"


@dataclass(frozen=True, slots=True)
class Reference:
    """The dataclass that Point stands for."""

    KIND: ClassVar[str] = "point"
    x: int
    y: int = 0
    note: str | None = None


CALLS: list[tuple[tuple[object, ...], dict[str, object]]] = [
    ((1,), {}),
    ((1, 2), {}),
    ((1, 2, "n"), {}),
    ((), {"x": 1}),
    ((1,), {"note": "n"}),
    ((), {"note": "n", "y": 2, "x": 1}),
]


@pytest.mark.parametrize(("args", "kwargs"), CALLS)
def test_an_instance_has_the_fields_that_a_dataclass_has(
    args: tuple[object, ...], kwargs: dict[str, object]
) -> None:
    made = Point(*args, **kwargs)  # type: ignore[arg-type]
    reference = Reference(*args, **kwargs)  # type: ignore[arg-type]
    assert (made.x, made.y, made.note) == (reference.x, reference.y, reference.note)
    assert repr(made) == repr(reference).replace("Reference", "Point")


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2, 3, 4), {}), ((1,), {"x": 1}), ((1,), {"z": 1})]
)
def test_a_wrong_call_is_a_type_error(args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        Point(*args, **kwargs)  # type: ignore[arg-type]


def test_equality_is_by_type_and_fields() -> None:
    assert Point(1, 2) == Point(1, 2)
    assert hash(Point(1, 2)) == hash(Point(1, 2))
    assert Point(1, 2) != Point(2, 1)
    assert Point(1) != Named(1)
    assert Point(1) != (1, 0, None)  # type: ignore[comparison-overlap]
    assert Empty() == Empty()
    assert len({Point(1), Point(1), Named(1)}) == 2


def test_nothing_changes() -> None:
    point = Point(1)
    with pytest.raises(AttributeError):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del point.x
    with pytest.raises(AttributeError):
        point.other = 2  # type: ignore[attr-defined]
    assert not hasattr(point, "__dict__")


def test_a_subclass_has_the_fields_of_its_base_first() -> None:
    named = Named(1, 2, "n", "name")
    assert fields(Named) == fields(named) == ("x", "y", "note", "name")
    assert named == Named(1, note="n", y=2, name="name")
    assert isinstance(named, Point)
    assert Named.KIND == "point"


def test_patterns_match_by_position_and_name() -> None:
    match Named(1, 2, name="a"):
        case Named(x, y, name=name):
            assert (x, y, name) == (1, 2, "a")
        case _:
            pytest.fail("no match")


def test_post_init_and_own_methods_are_kept() -> None:
    assert Checked(" a ").text == "a"
    assert repr(Secret("x")) == "Secret(…)"


def test_replace_copy_and_pickle() -> None:
    point = Point(1, 2, "n")
    assert replace(point, y=5) == Point(1, 5, "n")
    assert copy.deepcopy(point) == point
    assert pickle.loads(pickle.dumps(point)) == point


def test_required_fields_have_no_default() -> None:
    assert required(Point) == {"x"}
    assert required(Empty) == frozenset()
