"""C-FIND as a service class provider (PS3.4 §C.4.1).

In: a C-FIND-RQ whose identifier is still on the wire, and an archive. Out: a
pending response for each match, then the final one.
"""

from __future__ import annotations

from collections.abc import Iterator

from pypx.archive import Archive
from pypx.dicom import uids
from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import encoding_of
from pypx.dicom.levels import UNIQUE_KEYS
from pypx.dimse.messages import CFindRQ, CFindRSP
from pypx.dimse.status import CANCELLED, PENDING, SUCCESS
from pypx.errors import ConfigError, DataSetError
from pypx.net.served import ServedAssociation
from pypx.pacs.behaviour import Behaviour, Refusal

__all__ = ["LEVELS", "level_of", "matching_keys", "read_identifier", "serve_find"]

LEVELS = {"PATIENT": "patient", "STUDY": "study", "SERIES": "series", "IMAGE": "image"}
_DOES_NOT_MATCH = 0xA900
_UNABLE_TO_PROCESS = 0xC000
_NOT_KEYS = frozenset(
    {"QueryRetrieveLevel", "SpecificCharacterSet", "RetrieveAETitle", "InstanceAvailability"}
)
_IDENTIFIER_LIMIT = 1024 * 1024
_CANCEL_EVERY = 16  # matches between looks for a C-CANCEL


def read_identifier(association: ServedAssociation, context_id: int) -> DataSet:
    """Read the identifier of the message being served.

    Raises:
        DataSetError: It is too long or no data set.
    """
    data = bytearray()
    for piece in association.data_set():
        if len(data) + len(piece) <= _IDENTIFIER_LIMIT:
            data += piece
        else:
            data.clear()
            data += bytes(_IDENTIFIER_LIMIT)  # read to the end, but remember no more
    if len(data) >= _IDENTIFIER_LIMIT:
        raise DataSetError(f"The identifier is longer than {_IDENTIFIER_LIMIT} bytes.")
    return DataSet.from_bytes(
        bytes(data), encoding_of(association.contexts[context_id].transfer_syntax)
    )


def level_of(identifier: DataSet, sop_class_uid: str) -> str:
    """Give the level that the identifier asks for.

    Raises:
        DataSetError: There is none, or the information model does not have it.
    """
    level = LEVELS.get(identifier.get("QueryRetrieveLevel") or "")
    if level is None:
        raise DataSetError("The identifier has no Query/Retrieve Level that is defined.")
    if level == "patient" and sop_class_uid not in (
        uids.PATIENT_ROOT_FIND,
        uids.PATIENT_ROOT_MOVE,
        uids.PATIENT_ROOT_GET,
    ):
        raise DataSetError("The study root model has no patient level.")
    return level


def matching_keys(identifier: DataSet) -> dict[str, str]:
    """Give the keys of the identifier that have a value, by keyword."""
    found = {}
    for keyword in identifier.keywords():
        value = identifier.get(keyword)
        if keyword not in _NOT_KEYS and value:
            found[keyword] = value
    return found


def _answers(
    archive: Archive, identifier: DataSet, level: str, ae_title: str, behaviour: Behaviour
) -> Iterator[DataSet]:
    """Give one response identifier a match: what was asked for, empty where we have it not."""
    asked = [keyword for keyword in identifier.keywords() if keyword != "SpecificCharacterSet"]
    for row in archive.find(level, behaviour.keys(matching_keys(identifier))):
        found = {keyword: row.get(keyword) for keyword in asked}
        found["QueryRetrieveLevel"] = level.upper()
        found["RetrieveAETitle"] = ae_title
        found["InstanceAvailability"] = "ONLINE"
        found[UNIQUE_KEYS[level]] = row[UNIQUE_KEYS[level]]
        yield behaviour.identifier(found)


def serve_find(
    association: ServedAssociation,
    context_id: int,
    request: CFindRQ,
    archive: Archive,
    ae_title: str,
    behaviour: Behaviour,
) -> None:
    """Answer one C-FIND."""

    def answer(status: int, comment: str | None = None, data_set: bytes | None = None) -> None:
        association.send(
            context_id,
            CFindRSP(
                request.message_id,
                status,
                request.affected_sop_class_uid,
                error_comment=comment[:64] if comment else None,
                has_data_set=data_set is not None,
            ),
            data_set,
        )

    encoding = encoding_of(association.contexts[context_id].transfer_syntax)
    try:
        identifier = read_identifier(association, context_id)
        level = level_of(identifier, request.affected_sop_class_uid)
        behaviour.check_level(level)
        answers = _answers(archive, identifier, level, ae_title, behaviour)
        for count, match in enumerate(behaviour.matches(answers)):
            looks = count % _CANCEL_EVERY == 0
            if looks and behaviour.cancelled(association.cancelled(request.message_id)):
                answer(CANCELLED)
                return
            answer(PENDING, data_set=match.to_bytes(encoding))
    except DataSetError as error:
        answer(_DOES_NOT_MATCH, error.message)
    except ConfigError as error:
        answer(_UNABLE_TO_PROCESS, error.message)
    except Refusal as refusal:
        answer(refusal.status, refusal.message)
    else:
        answer(SUCCESS)
