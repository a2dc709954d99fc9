"""When to give up a PACS that answers, and sends nothing whatever is asked for.

In: what requests brought, and when. Out: whether to ask in another way, or for other studies first,
and whether it is of any use to go on. Not here: clocks, requests, and what follows.

One series may be off line, and so may a study. So before a job is given up, some other studies have
been asked for.
"""

from __future__ import annotations

__all__ = ["Vain"]

_DOUBT = 3  # requests, after which the other method is tried as well
_FEW = 6  # requests that say something of a PACS, and not only of a series
_LONG = 60.0  # seconds, after which objects that come late would have begun to come
_SERIES = 10  # so many are given up in a row
_SERIES_LATER = 100  # the same, once something came: some may be broken, or off line
_STUDIES = 5


class Vain:
    """The requests in a row that brought nothing.

    Args:
        retries: How often a series is asked for again.
        associations: How many ask at once.

    Attributes:
        requests: How many they are.
        last_study: The highest study of these, as the ledger counts them.
    """

    def __init__(self, retries: int, associations: int) -> None:
        self.requests = self.last_study = 0
        self._attempts = retries + 1  # of a series
        self._few = max(_FEW, 2 * associations)  # each of them tries both methods at least
        self._studies: set[int] = set()
        self._since = 0.0

    def brought_nothing(self, study: int, now: float) -> None:
        """Hear of a request that brought nothing.

        Args:
            study: What the ledger calls it.
            now: When it ended.
        """
        if not self.requests:
            self._since = now
        self.requests += 1
        self.last_study = max(self.last_study, study)
        if len(self._studies) < _STUDIES:
            self._studies.add(study)

    def brought_something(self) -> None:
        """Hear of a request that did bring something: the next ones are counted anew."""
        self.requests = self.last_study = 0
        self._studies.clear()

    def is_way_doubtful(self, *, has_come: bool) -> bool:
        """Whether the method may be to blame.

        Args:
            has_come: Whether anything came since the job was begun or resumed.
        """
        return not has_come and self.requests >= _DOUBT

    def is_doubtful(self, *, has_come: bool) -> bool:
        """Whether studies that were not asked for yet come first now.

        Args:
            has_come: Whether anything came since the job was begun or resumed.
        """
        is_few = len(self._studies) < _STUDIES
        return not has_come and is_few and self.requests >= self._few

    def is_hopeless(self, now: float, *, has_come: bool, has_others: bool) -> bool:
        """Whether to give up.

        Args:
            now: The time.
            has_come: Whether anything came since the job was begun or resumed.
            has_others: Whether there are studies that were not asked for yet.
        """
        if has_come:
            return self.requests >= max(self._few, _SERIES_LATER * self._attempts)
        if self.requests < self._few:
            return False
        if has_others and len(self._studies) < _STUDIES:
            return False
        is_many = self.requests >= max(self._few, _SERIES * self._attempts)
        return is_many or now - self._since >= _LONG
