"""The audit trail of a process: messages are noted at once and written by a thread.

In: what happened. Out: audit messages to a target, and a sentence when they cannot be written.
Nothing here waits for a file or a server: what cannot be written soon enough is left out, and how
much that was is told. Not here: what a message looks like.
"""

from __future__ import annotations

import errno
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager

from pypx.audit.messages import (
    Activity,
    Outcome,
    Party,
    Study,
    application_activity,
    instances_transferred,
    security_alert,
)
from pypx.audit.sinks import Sink, sink_for
from pypx.audit.target import AuditTarget
from pypx.errors import StoppingError, TlsError
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived
from pypx.values import replace

__all__ = ["AuditTrail"]

_MOST = 10_000  # messages that wait
_RETRY = 5.0  # seconds between attempts to write
_LAST_WORDS = 5.0  # seconds for what waits at the end

PatientOf = Callable[[str], tuple[str, str]]


def _nobody(uid: str) -> tuple[str, str]:
    return "", ""


def _const(text: str) -> Callable[[], str]:
    return lambda: text


class _Brought:
    """What one association brought so far.

    Attributes:
        studies: How many instances of each SOP class were stored, by study.
        new: The studies of which something was not here before.
        failed: How many were not stored, by SOP class.
        reason: Why the last of these was not.
    """

    __slots__ = ("failed", "new", "reason", "studies")

    def __init__(self) -> None:
        self.studies: dict[str, Counter[str]] = {}
        self.new: set[str] = set()
        self.failed: Counter[str] = Counter()
        self.reason = ""

    def add(self, event: InstanceReceived) -> None:
        if not event.is_stored:
            self.failed[event.sop_class_uid] += 1
            self.reason = event.comment or f"C-STORE was answered with {event.status:04X}H."
            return
        uid = event.study_instance_uid
        self.studies.setdefault(uid, Counter())[event.sop_class_uid] += 1
        if event.outcome == "new":
            self.new.add(uid)


class AuditTrail:
    """Who notes what happened; an observer of a receiver, and a context manager.

    Args:
        target: Where messages go.
        us: Who we are.
        on_trouble: Gets a sentence when messages cannot be written, and when they can again.
        launcher: Who started the process, as ``login@host``.
        most: How many messages may wait.
        retry: Seconds between attempts to write.
    """

    def __init__(
        self,
        target: AuditTarget,
        us: Party,
        on_trouble: Callable[[str], None],
        *,
        launcher: str = "",
        most: int = _MOST,
        retry: float = _RETRY,
    ) -> None:
        self.us = us
        self._target = target
        self._sink: Sink = sink_for(target)
        self._on_trouble = on_trouble
        self._patient_of: PatientOf = _nobody
        self._making = threading.Lock()
        self._launcher = launcher
        self._most = most
        self._retry = retry
        self._waiting: deque[tuple[float, Callable[[], str]]] = deque()
        self._changed = threading.Condition()
        self._lost = 0
        self._failing = self._is_full = False
        self._ends_at: float | None = None
        self._under_way: dict[str, _Brought] = {}
        self._seen: set[Hashable] = set()
        self._thread = threading.Thread(target=self._run, name="px-audit", daemon=True)

    def __enter__(self) -> AuditTrail:
        self._thread.start()
        self._note_activity(started=True)
        return self

    def __exit__(self, *exc: object) -> None:
        self._note_activity(started=False)
        with self._changed:
            self._ends_at = time.monotonic() + _LAST_WORDS
            self._changed.notify()
        self._thread.join(_LAST_WORDS + 1)

    def note(self, message: Callable[[float], str]) -> None:
        """Keep a message to be written.

        Args:
            message: Makes it of the time at which it happened, in the thread of the trail.
        """
        at = time.time()
        with self._changed:
            if len(self._waiting) >= self._most:
                self._lost += 1
                return
            self._waiting.append((at, lambda: message(at)))
            self._changed.notify()

    def _note_activity(self, *, started: bool) -> None:
        who = self._launcher
        self.note(lambda at: application_activity(at, self.us, started=started, launcher=who))

    def is_new(self, fact: Hashable) -> bool:
        """Whether nobody asked for this fact before; any thread may."""
        with self._changed:
            before = len(self._seen)
            self._seen.add(fact)
            return len(self._seen) > before

    @contextmanager
    def knowing(self, patient_of: PatientOf) -> Iterator[None]:
        """Know patients as long as the context lasts.

        Args:
            patient_of: Gives Patient ID and name of a Study Instance UID, empty where not known;
                called in a thread of the trail, and not after the context.
        """
        self._patient_of = patient_of
        try:
            yield
        finally:
            with (
                self._making,
                self._changed,
            ):  # what waits has its patients, then they are forgotten
                made = [(at, _const(make())) for at, make in self._waiting]
                self._waiting.clear()
                self._waiting.extend(made)
                self._patient_of = _nobody

    def with_patients(self, studies: Iterable[Study]) -> list[Study]:
        """Add the patients that are known here; for a message that is being made."""
        found = []
        for study in studies:
            identifier, name = self._patient_of(study.uid) if study.uid else ("", "")
            known = {"patient_id": identifier or study.patient_id, "patient_name": name}
            found.append(replace(study, **known))
        return found

    # What a receiver tells

    def association_began(self, event: AssociationBegan) -> None:
        """Begin to count what it brings."""
        self._under_way[event.association_id] = _Brought()

    def instance_received(self, event: InstanceReceived) -> None:
        """Count an instance by its study and SOP class, and whether it was here already."""
        brought = self._under_way.get(event.association_id)
        if brought is not None:
            brought.add(event)

    def association_ended(self, event: AssociationSummary) -> None:
        """Note what it brought, or that it was turned away."""
        peer = Party(event.calling_ae_title, event.host, event.user, not event.is_ours)
        us = replace(self.us, is_requestor=event.is_ours)
        error = event.error
        brought = self._under_way.pop(event.association_id, None) or _Brought()
        if not event.association_id:
            # Who connects and says nothing looks whether we are there; that is no alert.
            if error is None or not (event.calling_ae_title or isinstance(error, TlsError)):
                return
            why = error.message
            self.note(lambda at: security_alert(at, self.us, peer, why))
            return
        for uid, classes in brought.studies.items():
            self._note_received(us, peer, Study(uid, classes), is_new=uid in brought.new)
        if isinstance(error, StoppingError):  # by us, and all that had begun is here
            error = None
        if error is not None or brought.failed:
            # Of what was not stored the study is not known; if only one came, it is likely that.
            uid = next(iter(brought.studies)) if len(brought.studies) == 1 else ""
            reason = brought.reason if error is None else error.message
            study = Study(uid, brought.failed)
            self._note_received(us, peer, study, reason=reason or "Not all was stored.")

    def _note_received(
        self, us: Party, peer: Party, study: Study, *, is_new: bool = True, reason: str = ""
    ) -> None:
        def message(at: float) -> str:
            return instances_transferred(
                at,
                us,
                peer,
                us,
                self.with_patients([study])[0],
                activity=Activity.CREATE if is_new else Activity.READ,
                outcome=Outcome.MINOR_FAILURE if reason else Outcome.SUCCESS,
                reason=reason,
            )

        self.note(message)

    # The thread

    def _run(self) -> None:
        while (found := self._next()) is not None:
            at, make = found
            try:
                with self._making:
                    text = make()
                self._sink.write(at, text)
            except OSError as error:
                self._sink.close()
                if error.errno == errno.EMSGSIZE:
                    self._drop_long()
                    continue
                self._tell_failure(error)
                self._tell_full()
                if not self._wait(self._retry):
                    break
                continue
            with self._changed:
                self._waiting.popleft()
                lost, self._lost = self._lost, 0
            if self._failing or lost:
                self._tell_again(lost)
        self._sink.close()
        with self._changed:
            left = len(self._waiting) + self._lost
        if left:
            self._on_trouble(f"The audit trail ends without its last {left} messages.")

    def _next(self) -> tuple[float, Callable[[], str]] | None:
        """Wait for a message; None when there will be none."""
        with self._changed:
            while not self._waiting:
                if self._ends_at is not None:
                    return None
                self._changed.wait()
            if self._ends_at is not None and time.monotonic() >= self._ends_at:
                return None
            return self._waiting[0]

    def _wait(self, seconds: float) -> bool:
        """Wait before the next attempt; False when there is no time for one."""
        with self._changed:
            if self._ends_at is not None:
                return False
            self._changed.wait_for(lambda: self._ends_at is not None, seconds)
            return True

    def _drop_long(self) -> None:
        """Leave out a message that no datagram can have; those behind it would wait for ever."""
        with self._changed:
            self._waiting.popleft()
        if self.is_new("too long"):
            self._on_trouble(
                f"An audit message is too long for {self._target} and is lost; with tcp or tls "
                "it would not be. This is not said again."
            )

    def _tell_failure(self, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            reason = error.strerror or str(error) or type(error).__name__
            self._on_trouble(
                f"The audit trail cannot be written to {self._target}: {reason}. The work goes "
                f"on, and up to {self._most} messages wait."
            )

    def _tell_full(self) -> None:
        with self._changed:
            is_new, self._is_full = bool(self._lost) and not self._is_full, bool(self._lost)
        if is_new:
            self._on_trouble(
                f"{self._most} audit messages wait: no more are kept, others are lost."
            )

    def _tell_again(self, lost: int) -> None:
        self._failing = self._is_full = False
        missing = f"; {lost} messages did not fit in and are lost" if lost else ""
        self._on_trouble(f"The audit trail is written to {self._target} again{missing}.")
