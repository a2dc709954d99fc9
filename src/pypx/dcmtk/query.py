"""C-FIND by findscu: the identifier goes out of a file, and each match comes in a file.

In: an identifier. Out: matches as they come, decoded by ``pypx.dicom``; findscu's log says only
which file is whole, and the status. All files are in a folder of our own, which nobody else may
read, and are removed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from pypx.address import Address
from pypx.client.query import query_failure
from pypx.dcmtk.dialogue import Dialogue
from pypx.dcmtk.folder import PrivateFolder
from pypx.dcmtk.said import Dimse
from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import encoding_of
from pypx.dicom.part10 import decode_preamble_and_meta
from pypx.dimse import status as status_codes
from pypx.dimse.status import Category, category
from pypx.errors import DataSetError, PypxError, RemoteProtocolError, StatusError

__all__ = ["DcmtkMatches"]

_WRITING = "Writing response dataset to file: "
_RECEIVED = "Received "


class DcmtkMatches(Iterator[DataSet]):
    """The matches of one C-FIND; attributes and errors are those of
    :class:`pypx.client.query.Matches`.

    Args:
        dialogue: Findscu, with its association.
        folder: Where it extracts to.
        address: Of the peer.
        limit: After how many matches it was told to cancel.
        character_set: In which the text of the matches is; None for the declared one.
        release: Seconds that findscu has to end after the limit.
    """

    def __init__(
        self,
        dialogue: Dialogue,
        folder: PrivateFolder,
        address: Address,
        *,
        limit: int | None,
        character_set: str | None,
        release: float,
    ) -> None:
        self.status: int | None = None
        self.count = 0
        self.truncated = False
        self.optional_keys_unsupported = False
        self._dialogue = dialogue
        self._folder = folder
        self._address = address
        self._limit = limit
        self._character_set = character_set
        self._release = release
        self._file: Path | None = None  # that is being written
        self._over = False

    def __iter__(self) -> DcmtkMatches:
        return self

    def __enter__(self) -> DcmtkMatches:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._over:
            self.close()

    def __next__(self) -> DataSet:
        """Wait for the next match.

        Raises:
            StatusError: The PACS ended the query with a failure.
            NetworkError, AssociationError, ProtocolError: The query was cut off.
        """
        if self._over:
            raise StopIteration
        if self._limit is not None and self.count >= self._limit:
            self.close()
            raise StopIteration
        try:
            match = self._wait()
            if match is None:
                self._end_of_answer()
        except PypxError:
            self._end()
            raise
        if match is None:
            self._end()
            raise StopIteration
        self.count += 1
        return match

    def _wait(self) -> DataSet | None:
        """Hear findscu until a file is whole; None at the end of the answer."""
        dialogue = self._dialogue
        while True:
            heard = dialogue.hear()
            if isinstance(heard, Dimse):
                self._hear(heard)
            elif heard is not None and heard.startswith(_RECEIVED):
                if (match := self._take()) is not None:
                    return match
            elif heard is not None and heard.startswith(_WRITING):
                self._file = Path(heard.removeprefix(_WRITING))
            elif heard is None and dialogue.over:
                return self._take()
            elif heard is None:
                dialogue.check_silence()

    def _hear(self, message: Dimse) -> None:
        status = message.status
        if message.kind != "C-FIND RSP" or status is None:
            return
        if status == status_codes.PENDING_WITH_WARNING:
            self.optional_keys_unsupported = True
        if category(status) is not Category.PENDING:
            self.status = status

    def _take(self) -> DataSet | None:
        """Read the file that is whole now, if there is one."""
        path, self._file = self._file, None
        if path is None:
            return None
        path = self._folder.path / path.name
        try:
            data = path.read_bytes()
            meta, offset = decode_preamble_and_meta(data)
            match = DataSet.from_bytes(data[offset:], encoding_of(meta.transfer_syntax_uid))
            path.unlink()
        except OSError as error:
            raise RemoteProtocolError(
                f"What findscu extracted cannot be read: {error.strerror or error}."
            ) from None
        except DataSetError as error:
            raise RemoteProtocolError(
                f"{self._address} sent a match that is no data set: {error.message}"
            ) from error
        return match if self._character_set is None else match.read_as(self._character_set)

    def _end_of_answer(self) -> None:
        """Judge the final status.

        Raises:
            StatusError, PypxError: It is a failure, or there was none.
        """
        if self.status is None:
            raise self._dialogue.failure()
        match category(self.status):
            case Category.FAILURE:
                raise self._failure(self.status)
            case Category.WARNING | Category.CANCEL:
                self.truncated = True

    def _failure(self, status: int) -> StatusError:
        return query_failure(self._address, status, self._dialogue.said.comment, self.count)

    def _end(self) -> None:
        self._over = True
        self._dialogue.close()
        self._folder.remove()

    def close(self) -> None:
        """Give the query up, where it still runs.

        At a limit findscu has sent a C-CANCEL by itself, and may hear the end of it. Otherwise it
        is told to end, which closes its connection: it cannot be told to send a C-CANCEL.
        """
        if self._over:
            return
        if self._limit is not None and self.count >= self._limit:
            deadline = time.monotonic() + self._release
            while not self._dialogue.over and time.monotonic() < deadline:
                heard = self._dialogue.hear()
                if isinstance(heard, Dimse):
                    self._hear(heard)
        self._end()
