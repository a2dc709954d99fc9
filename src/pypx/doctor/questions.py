"""The few queries that a diagnosis may make, each cut off before it loads the PACS.

In: keys. Out: answers with all that was noticed of them. Not here: what is asked, and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pypx.client.query import Model
from pypx.client.requestor import Found, Requestor
from pypx.dicom.data_set import DataSet
from pypx.dimse.status import SUCCESS
from pypx.errors import PypxError, StatusError
from pypx.values import frozen

__all__ = ["MOST_MATCHES", "MOST_QUERIES", "Answer", "Questions", "SpentError"]

MOST_QUERIES = 25
MOST_MATCHES = 1000  # of one query; with more it is cancelled


class SpentError(PypxError):
    """As many queries were made as may be made."""

    kind = "spent"


@frozen
class Answer:
    """What came of one query.

    Attributes:
        matches: In their order.
        status: The final one; None where we cancelled, or the association broke.
        error: A failure after some matches.
        keys_unsupported: The PACS said that it did not use a key.
    """

    matches: tuple[DataSet, ...]
    status: int | None
    error: StatusError | None = None
    keys_unsupported: bool = False

    @property
    def is_all(self) -> bool:
        """Whether the PACS says that these are all."""
        return self.status == SUCCESS

    @property
    def is_cut(self) -> bool:
        """Whether the PACS ended the answer, and says so."""
        return self.status not in (SUCCESS, None)

    def has(self, unique: str, uid: str) -> bool:
        """Whether a match has this unique key."""
        return any(match.get(unique) == uid for match in self.matches)


class Questions:
    """Asks one PACS, and counts.

    Attributes:
        asked: How many queries were made.
    """

    def __init__(self, client: Requestor) -> None:
        self.asked = 0
        self._client = client

    def begin(
        self, keys: Mapping[str, str], level: str, model: Model, return_keys: Sequence[str]
    ) -> Found:
        """Send a query, for who reads the matches by himself.

        Raises:
            SpentError: It would be one too many.
            PypxError: It cannot be sent.
        """
        if self.asked == MOST_QUERIES:
            raise SpentError(f"{MOST_QUERIES} queries were made, and that is enough.")
        self.asked += 1
        return self._client.find(keys, level=level, model=model, return_keys=return_keys)

    def ask(
        self, keys: Mapping[str, str], level: str, model: Model, return_keys: Sequence[str]
    ) -> Answer:
        """Make a query.

        Raises:
            StatusError: It was refused, and nothing came.
            PypxError: There was no answer.
        """
        matches: list[DataSet] = []
        with self.begin(keys, level, model, return_keys) as found:
            try:
                for match in found:
                    matches.append(match)
                    if len(matches) == MOST_MATCHES:
                        return Answer(tuple(matches), None)
            except StatusError as error:
                if not matches:
                    raise
                return Answer(tuple(matches), error.status, error)
            return Answer(
                tuple(matches), found.status, keys_unsupported=found.optional_keys_unsupported
            )
