"""Frozen, slotted values: what ``@dataclass(frozen=True, slots=True)`` gives, at no start-up cost.

A dataclass writes and compiles six functions when its class is made, which takes
0.4 ms; for the sixty values that one C-ECHO needs that is more than the rest of the
start together. :func:`frozen` compiles only ``__init__``, and only when the first
instance of a class is made. See ``docs/decisions/0002-values.md``.

In: a class with annotated fields. Out: the same class with slots, and with equality
by type and fields, hash, repr and pattern matching. Nothing else of dataclasses is
here: what needs more, or changes, is a dataclass.
"""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar, dataclass_transform

__all__ = ["fields", "frozen", "replace", "required"]

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def frozen(cls: type[T]) -> type[T]:
    """Make a class of annotated fields a frozen, slotted value.

    ``ClassVar`` annotations are left alone, ``__post_init__`` is called where there is
    one, and a method that the class writes itself is kept. Annotations have to be text,
    as ``from __future__ import annotations`` makes them.
    """
    own = {
        name: cls.__dict__.get(name, _REQUIRED)
        for name, kind in cls.__annotations__.items()
        if not kind.startswith("ClassVar")
    }
    defaults = {**getattr(cls, "__value_fields__", {}), **own}
    body = {
        name: member
        for name, member in cls.__dict__.items()
        if name not in own and name not in ("__dict__", "__weakref__")
    }
    shared = {name: method for name, method in _METHODS.items() if name not in body}
    extra = {
        "__slots__": tuple(own),
        "__match_args__": tuple(defaults),
        "__value_fields__": defaults,
        "__init__": _first_init,
    }
    metaclass: Any = type(cls)
    made: type[T] = metaclass(cls.__name__, cls.__bases__, body | shared | extra)
    return made


def fields(kind: type[object] | object) -> tuple[str, ...]:
    """Give the names of the fields of a value or of its class, in their order."""
    found: tuple[str, ...] = kind.__match_args__  # type: ignore[union-attr]
    return found


def required(kind: type[object]) -> frozenset[str]:
    """Give the names of the fields that have no default."""
    every: dict[str, object] = kind.__value_fields__  # type: ignore[attr-defined]
    return frozenset(name for name, default in every.items() if default is _REQUIRED)


def replace(instance: T, **changes: Any) -> T:
    """Give a copy of a value with some fields changed."""
    unchanged = {name: getattr(instance, name) for name in fields(instance) if name not in changes}
    return type(instance)(**unchanged, **changes)


_REQUIRED = object()


def _first_init(self: Any, *args: Any, **kwargs: Any) -> None:
    """Compile the ``__init__`` of the class, put it in the place of this one, and call it."""
    mro: tuple[Any, ...] = type(self).__mro__
    cls = next(one for one in mro if one.__dict__.get("__init__") is _first_init)
    init = cls.__init__ = _compile_init(cls)
    init(self, *args, **kwargs)


def _compile_init(cls: Any) -> Any:
    names: dict[str, Any] = {}
    parameters, lines = [], []
    for name, default in cls.__value_fields__.items():
        if default is _REQUIRED:
            parameters.append(name)
        else:
            names[f"_{name}"] = default
            parameters.append(f"{name}=_{name}")
        names[f"_set_{name}"] = getattr(cls, name).__set__  # its slot: faster than object's
        lines.append(f" _set_{name}(self, {name})")
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()")
    source = f"def __init__(self, {', '.join(parameters)}):\n" + ("\n".join(lines) or " pass")
    # The names come from the annotations of our own classes, never from outside.
    exec(source, names)
    init = names["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init


def _content(self: Any) -> tuple[object, ...]:
    return tuple(getattr(self, name) for name in self.__match_args__)


def _equal(self: Any, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return _content(self) == _content(other)


def _hash(self: Any) -> int:
    return hash((type(self), _content(self)))


def _repr(self: Any) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
    return f"{type(self).__qualname__}({shown})"


def _refuse(self: object, name: str, *_: object) -> NoReturn:
    raise AttributeError(f"{type(self).__name__} does not change: {name!r} cannot be set")


def _reduce(self: Any) -> tuple[Any, ...]:
    return type(self), _content(self)


_METHODS = {
    "__eq__": _equal,
    "__hash__": _hash,
    "__repr__": _repr,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
    "__reduce__": _reduce,
}
