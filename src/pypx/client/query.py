"""C-FIND: what is asked, and the matches as they come (PS3.4 Annex C, PS3.7 §9.1.2).

In: query keys by keyword and a connection. Out: an iterator of matches that
streams, and cancels what it does not want. Nothing is collected.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

from pypx.address import Address
from pypx.dicom import uids
from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import encoding_of
from pypx.dimse import status as status_codes
from pypx.dimse.messages import CCancelRQ, CFindRQ, CFindRSP
from pypx.dimse.status import Category, category
from pypx.errors import ConfigError, DataSetError, PypxError, RemoteProtocolError, StatusError
from pypx.net.connection import Connection
from pypx.ul.negotiation import AcceptedContext

__all__ = [
    "RETURN_KEYS",
    "Keys",
    "Level",
    "Matches",
    "Model",
    "make_identifier",
    "query_failure",
]

Keys = Mapping[str, "str | int | float | Sequence[str] | None"]


class Level(Enum):
    """Query/Retrieve Level (0008,0052), PS3.4 §C.3; the values are what the wire carries."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"

    @classmethod
    def parse(cls, text: str | Level) -> Level:
        """Read a level as users write it.

        Raises:
            ConfigError: There is no such level.
        """
        if isinstance(text, Level):
            return text
        wanted = "IMAGE" if text.upper() == "INSTANCE" else text.upper()
        for level in cls:
            if level.value == wanted:
                return level
        names = ", ".join(level.value.lower() for level in cls)
        raise ConfigError(f"{text!r} is no query/retrieve level.", hint=f"Take one of {names}.")


class Model(Enum):
    """The two information models of PS3.4 §C.6 that are in use."""

    PATIENT = "patient"
    STUDY = "study"

    @classmethod
    def parse(cls, text: str | Model) -> Model:
        """Read a model as users write it.

        Raises:
            ConfigError: There is no such model.
        """
        try:
            return cls(text.lower()) if isinstance(text, str) else text
        except ValueError:
            raise ConfigError(
                f"{text!r} is no query/retrieve model.", hint="Take patient or study."
            ) from None

    @property
    def find_sop_class(self) -> str:
        """The SOP class of C-FIND in this model."""
        return uids.PATIENT_ROOT_FIND if self is Model.PATIENT else uids.STUDY_ROOT_FIND

    @property
    def move_sop_class(self) -> str:
        """The SOP class of C-MOVE in this model."""
        return uids.PATIENT_ROOT_MOVE if self is Model.PATIENT else uids.STUDY_ROOT_MOVE

    @property
    def get_sop_class(self) -> str:
        """The SOP class of C-GET in this model."""
        return uids.PATIENT_ROOT_GET if self is Model.PATIENT else uids.STUDY_ROOT_GET


# What a query asks to be returned when nobody says otherwise, by level.
RETURN_KEYS: dict[Level, tuple[str, ...]] = {
    Level.PATIENT: (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "NumberOfPatientRelatedStudies",
    ),
    Level.STUDY: (
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ModalitiesInStudy",
        "StudyDescription",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyInstanceUID",
        "StudyID",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    Level.SERIES: (
        "Modality",
        "SeriesDescription",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SeriesNumber",
        "NumberOfSeriesRelatedInstances",
    ),
    Level.IMAGE: (
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "InstanceNumber",
    ),
}


def make_identifier(keys: Keys, level: Level, *, return_keys: Sequence[str] = ()) -> DataSet:
    """Put a request identifier together (PS3.4 §C.4.1.1.3).

    Args:
        keys: Matching keys; an empty value matches everything and is returned.
        level: The query/retrieve level.
        return_keys: Keywords that are asked for besides, where ``keys`` has them not.

    Raises:
        ConfigError: A keyword is unknown, or a value does not fit its VR.
    """
    wanted: dict[str, str | int | float | Sequence[str] | None] = dict.fromkeys(return_keys)
    wanted.update(keys)
    wanted["QueryRetrieveLevel"] = level.value
    return DataSet.from_keywords(wanted)


def query_failure(address: Address, status: int, comment: str, count: int) -> StatusError:
    """Make the error of a query that the PACS ended with a failure.

    Args:
        address: Of the PACS.
        status: The final one.
        comment: Its Error Comment (0000,0902), or empty.
        count: How many matches came before.
    """
    comment = comment.rstrip(". ")
    meaning = status_codes.sentence(status, "C-FIND")
    so_far = f" after {count} matches" if count else ""
    return StatusError(
        f"{address} ended the query{so_far} with status "
        f"{status:04X}H: {meaning}{f' ({comment})' if comment else ''}.",
        status=status,
        comment=comment,
        hint=status_codes.hint(status)
        or "The log of the PACS says why; fewer keys or the other model may work.",
    )


class Matches(Iterator[DataSet]):
    """The matches of one C-FIND, read from the wire as they are asked for.

    Closing it before the end, or reaching ``limit``, sends a C-CANCEL. It is a
    context manager that closes itself.

    Attributes:
        status: The final status; None while matches are still coming.
        count: How many matches were given.
        truncated: The PACS said that there are more matches than it gives (B001H, FE00H).
        optional_keys_unsupported: The PACS said that it did not use a key (FF01H).
    """

    def __init__(
        self,
        connection: Connection,
        context: AcceptedContext,
        message_id: int,
        identifier: DataSet,
        *,
        limit: int | None = None,
        character_set: str | None = None,
    ) -> None:
        self.status: int | None = None
        self.count = 0
        self.truncated = False
        self.optional_keys_unsupported = False
        self._connection = connection
        self._context = context
        self._message_id = message_id
        self._limit = limit
        self._character_set = character_set
        self._encoding = encoding_of(context.transfer_syntax)
        self._over = False
        connection.busy = True
        request = CFindRQ(message_id, context.abstract_syntax)
        connection.send(context.context_id, request, identifier.to_bytes(self._encoding))

    def __iter__(self) -> Matches:
        return self

    def __enter__(self) -> Matches:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        # An iterator that was dropped in the middle leaves responses on the wire
        # that the next operation would take for its own.
        if not self._over and self._connection.is_open:
            self._connection.abort()

    def __next__(self) -> DataSet:
        """Wait for the next match.

        Raises:
            StatusError: The PACS ended the query with a failure; the matches so far are
                not all there are.
            NetworkError, AssociationError, ProtocolError: The query was cut off.
        """
        if self._over:
            raise StopIteration
        if self._limit is not None and self.count >= self._limit:
            self.close()
            raise StopIteration
        try:
            match = self._receive()
        except StatusError:
            self._end()
            raise
        except PypxError:
            self._end()
            self._connection.abort()  # more responses may come, and belong to nothing
            raise
        if match is None:
            self._end()
            raise StopIteration
        self.count += 1
        return match

    def _end(self) -> None:
        self._over = True
        self._connection.busy = False

    def _receive(self) -> DataSet | None:
        received = self._connection.receive()
        response = self._connection.response_to(self._message_id, CFindRSP, received)
        match category(response.status):
            case Category.PENDING:
                if response.status == status_codes.PENDING_WITH_WARNING:
                    self.optional_keys_unsupported = True
                return self._decode(received.data_set)
            case Category.FAILURE:
                self.status = response.status
                raise self._failure(response)
            case Category.WARNING | Category.CANCEL:
                # Orthanc 1.10 says that a query was cancelled where it has more matches than it
                # gives; we read no status after a C-CANCEL of ours, see close().
                self.status = response.status
                self.truncated = True
            case _:
                self.status = response.status
        return None

    def _decode(self, data: bytes | None) -> DataSet:
        if not data:
            raise RemoteProtocolError(f"{self._connection.address} sent a match without keys.")
        try:
            match = DataSet.from_bytes(data, self._encoding)
        except DataSetError as error:
            raise RemoteProtocolError(
                f"{self._connection.address} sent a match that is no data set: {error.message}"
            ) from error
        return match if self._character_set is None else match.read_as(self._character_set)

    def _failure(self, response: CFindRSP) -> StatusError:
        comment = response.error_comment or ""
        return query_failure(self._connection.address, response.status, comment, self.count)

    def close(self) -> None:
        """Cancel the query, where it still runs, so that the association can be used again."""
        if self._over:
            return
        self._end()
        if not self._connection.is_open:
            return
        self._connection.send(self._context.context_id, CCancelRQ(self._message_id))
        deadline = time.monotonic() + self._connection.timeouts.release
        while (left := deadline - time.monotonic()) > 0:
            received = self._connection.poll(left)
            if received is None:
                break
            final = getattr(received.message, "status", status_codes.PENDING)
            if category(final) is not Category.PENDING:
                self.status = final
                return
        # A PACS that ignores the C-CANCEL would go on sending: only an abort stops it.
        self._connection.abort()
