"""What a user wants of a retrieval, apart from what is to be retrieved.

In: options. Out: values. Not here: what they lead to.
"""

from __future__ import annotations

from pypx.retrieve.load import Window
from pypx.values import frozen

__all__ = ["Settings"]


@frozen
class Settings:
    """How a retrieval works.

    Attributes:
        method: ``move``, ``get``, or ``auto``: C-MOVE first, and C-GET where that brings nothing.
        by: What is asked for at once: ``study``, ``series`` or ``image``.
        associations: At most so many with the PACS at once.
        retries: How often a series is asked for again that did not come any further.
        backoff: Seconds before the first of these; each next one waits twice as long.
        settle: Seconds without anything new after which nothing more is expected of a request.
        outage: Seconds for which a PACS that was there is waited for.
        between: The hours in which it may be asked.
        max_rate: Bytes a second that may come.
        max_studies: A query that finds more is not retrieved.
    """

    method: str = "auto"
    by: str = "series"
    associations: int = 2
    retries: int = 3
    backoff: float = 1.0
    settle: float = 5.0
    outage: float = 300.0
    between: Window | None = None
    max_rate: float | None = None
    max_studies: int | None = None
