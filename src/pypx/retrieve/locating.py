"""Which study a series or an image is in, where only its own UID is known.

In: a UID, an index, a client. Out: the unique keys above it. Not here: what is then asked for.

A query without the unique keys above its level is a relational one, which a PACS need not answer
(PS3.4 §C.4.1.2.2.1). So what is here already is looked at first, and an answer is believed only
where it has the very UID.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING

from pypx.errors import StatusError
from pypx.retrieve.matching import is_exact

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.client.query import Model
    from pypx.client.requestor import Requestor

__all__ = ["Known", "key_to_locate", "known_in", "locate"]

Known = Callable[[str, str], Mapping[str, str] | None]
"""Give StudyInstanceUID and PatientID for a unique key and its value; None where nobody knows."""

_LEVELS = {"SeriesInstanceUID": "series", "SOPInstanceUID": "image"}
_WANTED = ("StudyInstanceUID", "PatientID")
_MOST = 1_000  # matches of a PACS that ignores the key


def key_to_locate(keys: Mapping[str, str]) -> str | None:
    """Give the key that names one series or one image; None where there is none."""
    return next((keyword for keyword in _LEVELS if is_exact(keys.get(keyword, ""))), None)


def known_in(archive: Archive) -> Known:
    """Give what looks into the index of an archive."""

    def known(keyword: str, uid: str) -> Mapping[str, str] | None:
        for row in archive.find(_LEVELS[keyword], {keyword: uid}):
            return {wanted: str(row[wanted] or "") for wanted in _WANTED}
        return None

    return known


def locate(client: Requestor, model: Model, keyword: str, uid: str, known: Known) -> dict[str, str]:
    """Give StudyInstanceUID and, where it is known, PatientID of a series or an image.

    Args:
        client: Asks.
        model: The query/retrieve model.
        keyword: ``SeriesInstanceUID`` or ``SOPInstanceUID``.
        uid: Its value.
        known: Looks at what is here.

    Raises:
        StatusError: The PACS does not say it.
        NetworkError, AssociationError, ProtocolError: It did not answer.
    """
    found = known(keyword, uid) or _ask(client, model, keyword, uid)
    return {wanted: value for wanted in _WANTED if (value := found.get(wanted, ""))}


def _ask(client: Requestor, model: Model, keyword: str, uid: str) -> dict[str, str]:
    status, why = 0, "it has none such, or answers no query without StudyInstanceUID"
    try:
        answers = client.find(
            {keyword: uid}, level=_LEVELS[keyword], model=model, return_keys=_WANTED
        )
        with closing(answers):
            for match in islice(answers, _MOST):
                if match.get(keyword) == uid and match.get("StudyInstanceUID"):
                    return {wanted: match.get(wanted) or "" for wanted in _WANTED}
    except StatusError as error:
        status, why = error.status, error.message.rstrip(".")
    raise StatusError(
        f"{client.address} does not say which study {keyword} {uid} is in: {why}. Give "
        "StudyInstanceUID as well; px find NODE -k PatientID=… --tree shows it.",
        status=status,
    )
