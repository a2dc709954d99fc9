"""The text tables that come with this package.

In: the name of a table. Out: its rows. The caller keeps what it makes of them.
"""

from __future__ import annotations

__all__ = ["read_rows"]


def read_rows(name: str) -> list[str]:
    """Give the lines of a table of this package.

    The loader that found this module reads it, so a zipped package works too, and
    nothing has to be imported for it (``importlib.resources`` takes some 10 ms).
    """
    path = __file__.removesuffix("tables.py") + name
    data: bytes = globals()["__spec__"].loader.get_data(path)
    return data.decode("ascii").rstrip("\n").split("\n")
