"""What we send (C-STORE), as audit messages (PS3.15 A.5.3.6 and 7).

In: instances before they are sent, and what became of them. Out: messages to a trail, of each study
one before (Begin Transferring) and one or two after: what was stored, and what was not.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pypx.audit.messages import (
    Activity,
    Outcome,
    Party,
    Study,
    begin_transferring,
    instances_transferred,
)
from pypx.client.sources import Subject, subject_of
from pypx.values import replace

if TYPE_CHECKING:
    from pypx.audit.trail import AuditTrail
    from pypx.client.requestor import Requestor
    from pypx.client.sending import Sent
    from pypx.client.store import Instance

__all__ = ["SendingAudit"]


class SendingAudit:
    """Keeps account of one sending.

    Args:
        trail: Where it is noted.
        client: Who sends.
    """

    def __init__(self, trail: AuditTrail, client: Requestor) -> None:
        self._trail = trail
        self._us = replace(trail.us, ae_title=client.calling_ae_title, is_requestor=True)
        self._peer = Party(client.address.ae_title, client.address.host)
        self._under_way: dict[Path, Subject] = {}
        self._stored: dict[Subject, Counter[str]] = {}
        self._failed: dict[Subject, Counter[str]] = {}
        self._reasons: dict[Subject, str] = {}

    def begin(self, instance: Instance) -> None:
        """Hear of an instance that is about to be sent; threads of the sending, one at a time."""
        subject = subject_of(instance)
        self._under_way[instance.path] = subject
        if subject not in self._stored:
            self._stored[subject] = Counter()
            study = Study(subject.study, {}, subject.patient_id, subject.patient_name)
            us, peer = self._us, self._peer
            self._trail.note(lambda at: begin_transferring(at, us, us, peer, [study]))

    def sent(self, result: Sent) -> None:
        """Hear what became of one."""
        subject = self._under_way.pop(result.path, None)
        if subject is None or result.outcome == "skipped":
            return
        if result.outcome in ("completed", "warning"):
            self._stored[subject][result.sop_class_uid] += 1
            return
        self._failed.setdefault(subject, Counter())[result.sop_class_uid] += 1
        if result.error is not None:
            self._reasons.setdefault(subject, result.error.message)

    def end(self, reason: str) -> None:
        """Note what was sent of each study.

        Args:
            reason: What ended the sending before its end; empty where nothing did.
        """
        for subject in self._under_way.values():  # whether the peer has them is not known
            self._failed.setdefault(subject, Counter())
            self._reasons.setdefault(subject, reason)
        for subject, counted in self._stored.items():
            if counted:
                self._note(subject, counted, None)
            if subject in self._failed:
                why = self._reasons.get(subject) or reason or "Not all was stored."
                self._note(subject, self._failed[subject], why)

    def _note(self, subject: Subject, counted: Counter[str], reason: str | None) -> None:
        study = Study(subject.study, counted, subject.patient_id, subject.patient_name)
        us, peer = self._us, self._peer
        self._trail.note(
            lambda at: instances_transferred(
                at,
                us,
                us,
                peer,
                study,
                activity=Activity.CREATE,
                outcome=Outcome.SUCCESS if reason is None else Outcome.MINOR_FAILURE,
                reason=reason or "",
            )
        )
