"""The audit trail of a process: messages are noted at once and written by a thread.

In: what happened. Out: audit messages to a target, and a sentence when they cannot be written.
Nothing here waits for a file or a server: what cannot be written soon enough is left out, and how
much that was is told. Not here: what a message looks like.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable

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
from pypx.errors import TlsError
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived

__all__ = ["AuditTrail"]

_MOST = 10_000  # messages that wait
_RETRY = 5.0  # seconds between attempts to write
_LAST_WORDS = 5.0  # seconds for what waits at the end

PatientOf = Callable[[str], tuple[str, str]]


class AuditTrail:
    """Who notes what happened; an observer of a receiver, and a context manager.

    Args:
        target: Where messages go.
        us: Who we are.
        on_trouble: Gets a sentence when messages cannot be written, and when they can again.
        patient_of: Gives Patient ID and name of a Study Instance UID, empty where not known;
            called in a thread of the trail.
        most: How many messages may wait.
        retry: Seconds between attempts to write.
    """

    def __init__(
        self,
        target: AuditTarget,
        us: Party,
        on_trouble: Callable[[str], None],
        *,
        patient_of: PatientOf = lambda uid: ("", ""),
        most: int = _MOST,
        retry: float = _RETRY,
    ) -> None:
        self.us = us
        self._target = target
        self._sink: Sink = sink_for(target)
        self._on_trouble = on_trouble
        self._patient_of = patient_of
        self._most = most
        self._retry = retry
        self._waiting: deque[tuple[float, Callable[[], str]]] = deque()
        self._changed = threading.Condition()
        self._lost = 0
        self._failing = self._is_full = False
        self._ends_at: float | None = None
        self._under_way: dict[str, dict[tuple[str, bool], int]] = {}
        self._thread = threading.Thread(target=self._run, name="px-audit", daemon=True)

    def __enter__(self) -> AuditTrail:
        self._thread.start()
        self.note(lambda at: application_activity(at, self.us, started=True))
        return self

    def __exit__(self, *exc: object) -> None:
        self.note(lambda at: application_activity(at, self.us, started=False))
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

    # What a receiver tells

    def association_began(self, event: AssociationBegan) -> None:
        """Begin to count what it brings."""
        self._under_way[event.association_id] = {}

    def instance_received(self, event: InstanceReceived) -> None:
        """Count an instance by its study, and whether it was here already."""
        studies = self._under_way.get(event.association_id)
        if studies is not None and event.is_stored:
            key = (event.study_instance_uid, event.outcome == "new")
            studies[key] = studies.get(key, 0) + 1

    def association_ended(self, event: AssociationSummary) -> None:
        """Note what it brought, or that it was turned away."""
        peer = Party(event.calling_ae_title, event.host, is_requestor=True)
        error = event.error
        studies = self._under_way.pop(event.association_id, {})
        if not event.association_id:
            # Who connects and says nothing looks whether we are there; that is no alert.
            if error is None or not (event.calling_ae_title or isinstance(error, TlsError)):
                return
            self.note(lambda at: security_alert(at, self.us, peer, error.message))
            return
        failed = error is not None or event.totals.failures > 0
        reason = "" if error is None else error.message
        numbers: dict[str, Counter[bool]] = {}
        for (uid, is_new), number in studies.items():
            numbers.setdefault(uid, Counter())[is_new] += number
        for uid, counted in numbers.items():
            self._note_received(peer, uid, counted, reason if failed else None)

    def _note_received(
        self, peer: Party, uid: str, counted: Counter[bool], reason: str | None
    ) -> None:
        def message(at: float) -> str:
            identifier, name = self._patient_of(uid)
            return instances_transferred(
                at,
                self.us,
                peer,
                self.us,
                Study(uid, {"": counted.total()}, identifier, name),
                activity=Activity.CREATE if counted[True] else Activity.READ,
                outcome=Outcome.SUCCESS if reason is None else Outcome.MINOR_FAILURE,
                reason=reason or "",
            )

        self.note(message)

    # The thread

    def _run(self) -> None:
        while (found := self._next()) is not None:
            at, make = found
            try:
                text = make()
                self._sink.write(at, text)
            except OSError as error:
                self._sink.close()
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

    def _tell_failure(self, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            reason = error.strerror or str(error) or type(error).__name__
            self._on_trouble(
                f"The audit trail cannot be written to {self._target}: {reason}. Receiving goes "
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
