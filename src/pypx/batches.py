"""Things by the batch, as they come.

In: an iterable. Out: lists of so many. What is done with them does not belong here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

__all__ = ["batches"]

T = TypeVar("T")


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Give the items in lists of at most ``size``, each when it is asked for."""
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch
