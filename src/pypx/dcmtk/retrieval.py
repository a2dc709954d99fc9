"""C-MOVE by movescu and C-GET by getscu: progress as the PACS tells it, then a result.

In: a program with its association. Out: an iterator of progress, as of ``pypx.client.move`` and
``pypx.client.get``. What getscu receives is in files of a folder of our own; it is handed on as if
it came over an association, and only then removed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from pypx.address import Address
from pypx.client.get import OnStore, get_failure
from pypx.client.move import move_failure
from pypx.client.operation import Progress, RetrieveResult, Told
from pypx.client.patience import Patience
from pypx.dcmtk.dialogue import Dialogue
from pypx.dcmtk.filed import FiledInstance
from pypx.dcmtk.folder import PrivateFolder
from pypx.dcmtk.said import Dimse
from pypx.dimse.messages import CRetrieveRSP
from pypx.dimse.status import SUCCESS, Category, category, is_out_of_resources
from pypx.errors import CancelledError, DataSetError, StatusError
from pypx.net.connection import Timeouts

__all__ = ["MESSAGE_ID", "DcmtkGet", "DcmtkMove"]

MESSAGE_ID = 1
"""Of each request: DCMTK's programs begin with it, and make one request each."""


class _Retrieval(Told):
    """What movescu and getscu have in common.

    Attributes:
        result: How it ended; None while it runs. It is set before an error is raised.
        progress: The last numbers that the PACS gave.
    """

    service = ""

    def __init__(
        self,
        dialogue: Dialogue,
        folder: PrivateFolder,
        address: Address,
        timeouts: Timeouts,
        *,
        last_activity: Callable[[], float] | None = None,
        hint: str = "",
    ) -> None:
        started = time.monotonic()
        super().__init__(
            self.service, Patience(address, self.service, timeouts, started, hint=hint)
        )
        self._dialogue = dialogue
        self._folder = folder
        self._address = address
        self._last_activity = last_activity
        self._started = started
        self._status: int | None = None  # the final one, once it was heard
        self._terminated = False
        self._over = False

    def __next__(self) -> Progress:
        """Wait for the next word of the PACS.

        Raises:
            StatusError: The operation failed; :attr:`result` has the numbers.
            PeerTimeoutError: Neither the PACS nor the receiver showed a sign of life.
            CancelledError: It was cancelled, and so the program was ended.
            NetworkError, AssociationError, ProtocolError: The association ended.
        """
        if self._over:
            raise StopIteration
        try:
            return self._next()
        except BaseException:  # StopIteration as well
            self._end()
            raise

    def _end(self) -> None:
        self._over = True
        self._dialogue.close()
        self._folder.remove()

    def _next(self) -> Progress:
        while True:
            now = time.monotonic()
            if self._patience.is_cancel_due(now) and self._status is None:
                self._dialogue.terminate()
                self._terminated = True
            heard = self._dialogue.hear()
            if isinstance(heard, Dimse):
                before = self.progress
                if self._hear(heard):
                    self._check_pending(before)
                    return self.progress
            elif heard is None and self._dialogue.over:
                self._finish()
                raise StopIteration
            elif heard is None:
                self._check_silence()

    def _hear(self, message: Dimse) -> bool:
        """Take a message; say whether it is a pending response."""
        if message.kind != f"{self.service} RSP" or message.status is None:
            return False
        # The numbers are the same in both services, so one class does for either.
        response = CRetrieveRSP(
            MESSAGE_ID,
            message.status,
            number_of_remaining_suboperations=message.number("Remaining"),
            number_of_completed_suboperations=message.number("Completed"),
            number_of_failed_suboperations=message.number("Failed"),
            number_of_warning_suboperations=message.number("Warning"),
        )
        self.progress = self.progress.updated(response)
        if category(message.status) is Category.PENDING:
            return True
        self._status = message.status
        return False

    def _arrived(self) -> float:
        return 0.0 if self._last_activity is None else self._last_activity()

    def _check_silence(self) -> None:
        now = time.monotonic()
        if self._terminated:
            self._patience.check_cancelled(now, 0.0)
        self._patience.check_silence(now, max(self._dialogue.last, self._arrived()))

    def _check_pending(self, before: Progress) -> None:
        is_blind = self.progress == Progress() and self._last_activity is None
        changed = is_blind or self.progress != before
        self._patience.check_pending(time.monotonic(), changed=changed, arrived=self._arrived())

    def _finish(self) -> None:
        """Judge how it ended, once all was heard.

        Raises:
            PypxError: It did not end well.
        """
        if self._status is None:
            if self._terminated:
                raise CancelledError(
                    f"Interrupted: the {self.service} was ended by closing its association, since "
                    "DCMTK's programs cannot be told to send a C-CANCEL; the PACS may go on "
                    "for a while."
                )
            raise self._dialogue.failure()
        said = self._dialogue.said
        self.result = RetrieveResult(
            self._status,
            self.progress,
            said.failed_uids if self.progress.failed or self._status != SUCCESS else (),
            said.comment,
            time.monotonic() - self._started,
        )
        if self.result.category is Category.FAILURE:
            raise self._failure(self.result)

    def _failure(self, result: RetrieveResult) -> StatusError:
        raise NotImplementedError


class DcmtkMove(_Retrieval):
    """One C-MOVE by movescu.

    Args:
        dialogue: Movescu, with its association.
        folder: With the identifier.
        address: Of the PACS.
        timeouts: How long each phase may take.
        destination: Where the PACS is to send.
        last_activity: When the receiver last got something.

    Attributes:
        message_id: Of the request.
    """

    service = "C-MOVE"

    def __init__(
        self,
        dialogue: Dialogue,
        folder: PrivateFolder,
        address: Address,
        timeouts: Timeouts,
        destination: str,
        *,
        last_activity: Callable[[], float] | None = None,
    ) -> None:
        self.message_id = MESSAGE_ID
        self._destination = destination
        hint = f"Check also that it reaches {destination!r} from its side."
        super().__init__(
            dialogue, folder, address, timeouts, last_activity=last_activity, hint=hint
        )

    def _failure(self, result: RetrieveResult) -> StatusError:
        return move_failure(self._address, self._destination, result)


class DcmtkGet(_Retrieval):
    """One C-GET by getscu.

    Args:
        dialogue: Getscu, with its association.
        folder: Its folder ``received`` is where it puts instances.
        address: Of the PACS.
        timeouts: How long each phase may take.
        ae_title: Ours.
        on_store: Keeps one instance, see :data:`pypx.client.get.OnStore`.
    """

    service = "C-GET"

    def __init__(
        self,
        dialogue: Dialogue,
        folder: PrivateFolder,
        address: Address,
        timeouts: Timeouts,
        ae_title: str,
        on_store: OnStore,
    ) -> None:
        super().__init__(dialogue, folder, address, timeouts)
        self._received = folder.below(RECEIVED)
        self._ae_title = ae_title
        self._on_store = on_store

    def _hear(self, message: Dimse) -> bool:
        if message.kind == "C-STORE RSP" and message.is_outgoing and message.status == SUCCESS:
            # The file is whole when getscu answers, and has the UID for a name.
            name = message.fields.get("Affected SOP Instance UID", "")
            if name == Path(name).name:  # a peer may call an instance whatever it likes
                self._store(self._received / name)
            return False
        return super()._hear(message)

    def _store(self, path: Path) -> None:
        if not path.is_file():
            return  # what has another name is taken at the end
        try:
            filed = FiledInstance(
                path,
                host=self._address.host,
                calling_ae_title=self._address.ae_title,
                called_ae_title=self._ae_title,
            )
        except DataSetError:
            return
        status = self._on_store(filed, FiledInstance.CONTEXT_ID, filed.request)
        with contextlib.suppress(OSError):
            path.unlink()
        self._patience.advanced(time.monotonic())
        if is_out_of_resources(status):
            self.cancel()  # the rest would come only to be refused

    def _finish(self) -> None:
        if self._status is not None:  # so nothing is being written any more
            for path in sorted(self._received.iterdir()):
                self._store(path)
        super()._finish()

    def _failure(self, result: RetrieveResult) -> StatusError:
        return get_failure(self._address, result)


RECEIVED = "received"
