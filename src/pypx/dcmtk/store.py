"""C-STORE by storescu, of any number of instances, over several associations at once.

In: instances one after another. Out: what became of each, as of ``pypx.client.sending``. Storescu
gets a batch at a time, with a profile that proposes each SOP class in the transfer syntax that its
files have.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue

from pypx.client.sending import Sent, answered, unsendable
from pypx.client.sources import Unsendable
from pypx.client.store import Instance
from pypx.client.window import Job, Pair
from pypx.dcmtk.dialogue import Dialogue
from pypx.dcmtk.folder import PrivateFolder
from pypx.dcmtk.said import Dimse
from pypx.dicom.uids import uid_name
from pypx.errors import (
    ArchiveError,
    AssociationError,
    CancelledError,
    ConnectionLostError,
    DataSetError,
    NetworkError,
    NoPresentationContextError,
    PeerTimeoutError,
    ProtocolError,
    PypxError,
)
from pypx.ul.negotiation import MAXIMUM_CONTEXTS

__all__ = ["Begin", "DcmtkSending"]

Begin = Callable[..., Dialogue]
"""Run a program until it has its association: its name, options, then files."""

_BATCH = 100  # instances of one association
_LOSSES_OF_ONE = 3  # associations that may break while the same instance is sent
_LOSSES_IN_A_ROW = 5
_PAUSE = 0.25  # seconds, times the losses in a row
_SENDING = "Sending file: "
_CONVERTING = re.compile(r"Converting transfer syntax: (.+) -> (.+)")
_LOST = re.compile(r"Peer (aborted|requested)|closed|TCP I/O|DUL |timeout|No data available")
_NOT_ACCEPTED = re.compile(r"No presentation context|No conversion|Failed to send message")


class DcmtkSending:
    """An iterator of results; the sending begins with the first one that is asked for.

    Args:
        begin: Runs storescu.
        source: What is to be sent; it is read as the sending goes on.
        associations: At most so many at once.

    Attributes:
        connections: How many associations were made so far.
    """

    def __init__(
        self,
        begin: Begin,
        source: Iterable[Instance | Unsendable],
        *,
        associations: int = 1,
    ) -> None:
        self.connections = 0
        self._begin = begin
        self._source = iter(source)
        self._most = associations
        self._again: list[Job] = []
        self._lock = threading.Lock()
        self._told: SimpleQueue[Sent | None] = SimpleQueue()
        self._stopped = threading.Event()
        self._cancelled = False
        self._error: Exception | None = None
        self._losses = 0
        self._running = associations

    def stop(self) -> None:
        """End; what storescu was sending is ended with it."""
        self._cancelled = True
        self._stopped.set()

    def __iter__(self) -> Iterator[Sent]:
        """Send, and give results in the order in which they become known.

        Raises:
            CancelledError: It was stopped.
            NetworkError, AssociationError, ProtocolError: There is no association, or too many
                were lost one after another; the rest was not sent.
            PypxError: What the source raises.
        """
        running = self._most
        for _ in range(running):
            threading.Thread(target=self._work, name="px storescu", daemon=True).start()
        try:
            while running:
                sent = self._told.get()
                if sent is None:
                    running -= 1
                else:
                    yield sent
        finally:
            self._stopped.set()
        if self._error is not None:
            raise self._error
        if self._cancelled:
            raise CancelledError("The sending was stopped.")

    def _work(self) -> None:
        try:
            has_connected = False
            while not self._stopped.is_set() and (batch := self._take()):
                has_connected = self._send(batch, has_connected=has_connected)
                if not has_connected and self._leave():
                    break
        except Exception as error:  # noqa: BLE001 - it is raised in the thread that iterates
            with self._lock:
                self._error = self._error or error
            self._stopped.set()
        finally:
            self._told.put(None)

    def _take(self) -> list[Job]:
        """Give what one association can bring; nothing at the end: this thread has left."""
        batch: list[Job] = []
        pairs: set[Pair] = set()
        with self._lock:
            while len(batch) < _BATCH:
                if self._again:
                    job = self._again.pop()
                else:
                    found = next(self._source, None)
                    if found is None:
                        break
                    if isinstance(found, Unsendable):
                        self._told.put(unsendable(found))
                        continue
                    job = Job(found)
                if len(pairs | {job.pair}) > MAXIMUM_CONTEXTS:
                    self._again.append(job)
                    break
                pairs.add(job.pair)
                batch.append(job)
            self._running -= not batch
        return batch

    def _leave(self) -> bool:
        """End this thread, if others are there who go on: a peer may take few associations."""
        with self._lock:
            if self._running == 1:
                return False
            self._running -= 1
            return True

    def _send(self, batch: list[Job], *, has_connected: bool) -> bool:
        """Send a batch; say whether this thread has ever had an association."""
        folder = PrivateFolder()
        try:
            files = _write(folder, batch)
            options = ["-nh", "-xf", str(_write_profile(folder, batch)), "Out"]
            try:
                dialogue = self._begin("storescu", options, *files)
            except NoPresentationContextError as error:
                for job in batch:
                    self._told.put(_failed(job, _refused(job, error.message)))
                return True
            has_connected = True
            with self._lock:
                self.connections += 1
            try:
                _Run(dialogue, dict(zip(files, batch, strict=True)), self).hear()
            finally:
                dialogue.close()
        except (NetworkError, AssociationError, ProtocolError) as error:
            self._without_association(batch, error)
        finally:
            folder.remove()
        return has_connected

    def _without_association(self, batch: list[Job], error: PypxError) -> None:
        """Try again after a while, unless there never was an association."""
        if not self.connections:
            raise error
        with self._lock:
            self._again += batch
        self._pause(error)

    def _pause(self, error: PypxError) -> None:
        with self._lock:
            self._losses += 1
            losses = self._losses
        if losses >= _LOSSES_IN_A_ROW:
            raise error
        self._stopped.wait(_PAUSE * losses)

    # What a run tells

    @property
    def is_stopped(self) -> bool:
        """Whether a run is to end."""
        return self._stopped.is_set()

    def tell(self, sent: Sent) -> None:
        """Take a result."""
        self._losses = 0
        self._told.put(sent)

    def lost(self, job: Job | None, rest: Sequence[Job], error: PypxError) -> None:
        """Hear that an association broke, while a job was under way and others waited."""
        if job is not None:
            job.losses += 1
            if job.losses >= _LOSSES_OF_ONE:
                self._told.put(_failed(job, error))
            else:
                rest = [job, *rest]
        with self._lock:
            self._again += rest
        self._pause(error)


class _Run:
    """One association: what storescu says of each file."""

    def __init__(self, dialogue: Dialogue, jobs: dict[str, Job], sending: DcmtkSending) -> None:
        self._dialogue = dialogue
        self._jobs = jobs  # those that have no result
        self._sending = sending
        self._now: str | None = None
        self._converted = False

    def hear(self) -> None:
        """Hear it to its end."""
        dialogue = self._dialogue
        try:
            while not dialogue.over and not self._sending.is_stopped:
                heard = dialogue.hear()
                if heard is None:
                    dialogue.check_silence()
                elif isinstance(heard, Dimse):
                    self._hear(heard)
                elif heard.startswith(_SENDING):
                    self._end_of_file()
                    self._now = heard.removeprefix(_SENDING).strip()
                    self._converted, dialogue.said.errors = False, []
                elif found := _CONVERTING.match(heard):
                    self._converted = found[1] != found[2]
            if not self._sending.is_stopped:
                self._end_of_file()
                self._check_all()
        except _BrokenError as broken:
            job = self._jobs.pop(self._now, None) if self._now is not None else None
            self._sending.lost(job, list(self._jobs.values()), broken.error)
        except PeerTimeoutError as error:
            job = self._jobs.pop(self._now, None) if self._now is not None else None
            self._sending.lost(job, list(self._jobs.values()), error)

    def _hear(self, message: Dimse) -> None:
        if message.kind != "C-STORE RSP" or message.is_outgoing or message.status is None:
            return
        job = self._jobs.pop(self._now or "", None)
        if job is None:
            return
        size = _size(job.instance)
        sent = answered(job, message.status, self._dialogue.said.comment, size)
        self._sending.tell(sent._replace(transcoded=self._converted and sent.error is None))

    def _end_of_file(self) -> None:
        """Judge a file for which there was no response."""
        job = self._jobs.get(self._now or "")
        said = self._dialogue.said.errors[-3:]
        if job is None:
            return
        words = " ".join(said)
        if _LOST.search(words):
            raise _BrokenError(ConnectionLostError(f"The association broke: {said[-1]}."))
        del self._jobs[self._now or ""]
        reason = said[-1] if said else "storescu says nothing of it"
        if _NOT_ACCEPTED.search(words):
            self._sending.tell(_failed(job, _refused(job, reason)))
            return
        error = DataSetError(f"{job.instance.path} was not sent: storescu says: {reason}.")
        self._sending.tell(_failed(job, error))

    def _check_all(self) -> None:
        """See to it that each file has a result, or is sent again."""
        if not self._jobs:
            return
        raise _BrokenError(self._dialogue.failure())


class _BrokenError(Exception):
    """The association is over before its time."""

    def __init__(self, error: PypxError) -> None:
        super().__init__(error.message)
        self.error = error


def _write(folder: PrivateFolder, batch: Sequence[Job]) -> list[str]:
    """Give each file a name that needs no quoting, and is not long."""
    files = []
    try:
        for number, job in enumerate(batch, 1):
            link = folder.path / f"{number:04}.dcm"
            link.symlink_to(job.instance.path.absolute())
            files.append(str(link))
    except OSError as error:
        raise ArchiveError(
            f"{folder.path} cannot be written: {error.strerror or error}.",
            hint="Name a folder where you may write in TMPDIR.",
        ) from None
    return files


def _write_profile(folder: PrivateFolder, batch: Sequence[Job]) -> Path:
    """Write the association profile ``Out``: each SOP class with each of its transfer syntaxes.

    Storescu's own options propose one compressed transfer syntax at most.
    """
    pairs = sorted({job.pair for job in batch})
    syntaxes = sorted({syntax for _, syntax in pairs})
    lines = ["[[TransferSyntaxes]]"]
    for syntax in syntaxes:
        lines += [f"[{_key(syntax)}]", f"TransferSyntax1 = {syntax}"]
    lines += ["[[PresentationContexts]]", "[Contexts]"]
    lines += [
        rf"PresentationContext{number} = {sop_class}\{_key(syntax)}"
        for number, (sop_class, syntax) in enumerate(pairs, 1)
    ]
    lines += ["[[Profiles]]", "[Out]", "PresentationContexts = Contexts", ""]
    return folder.write("associations.cfg", "\n".join(lines).encode("ascii", "replace"))


def _key(uid: str) -> str:
    return "TS" + uid.replace(".", "X")


def _refused(job: Job, reason: str) -> NoPresentationContextError:
    sop_class, syntax = map(uid_name, job.pair)
    return NoPresentationContextError(
        f"The peer does not accept {sop_class} in {syntax}: storescu says: {reason.rstrip('.')}."
    )


def _failed(job: Job, error: PypxError) -> Sent:
    one = job.instance
    return Sent(
        one.path, one.sop_instance_uid, "failed", error=error, sop_class_uid=one.sop_class_uid
    )


def _size(instance: Instance) -> int:
    try:
        return instance.path.stat().st_size - instance.data_set_offset
    except OSError:
        return 0
