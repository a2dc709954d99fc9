"""What a receiver tells while it works: associations that begin and end, instances that arrive.

In: nothing. Out: values, and the protocol of who wants to hear them. All of them pickle, so that
they can cross a process. Not here: what anybody makes of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pypx.errors import PypxError
from pypx.values import frozen

__all__ = ["AssociationBegan", "AssociationSummary", "InstanceReceived", "Observer", "Totals"]


class InstanceReceived(NamedTuple):
    """One C-STORE that was answered. A tuple, since one is made for every instance.

    Attributes:
        association_id: Over which association it came.
        status: What was answered (PS3.4 Table B.2-1).
        seconds: From its C-STORE-RQ until we knew what to answer.
        bytes: The size of its file; 0 where it was not stored.
        outcome: ``new``, ``duplicate`` or ``superseded``; empty where it was not stored.
        study_instance_uid: Empty where it was not stored.
        series_instance_uid: Empty where it was not stored.
        sop_instance_uid: As it is stored; as the command announced it where it was not.
        path: Its file, absolute; empty where it was not stored.
        comment: Why, if the status is not success.
        move_originator_ae_title: Whose C-MOVE it is part of (PS3.7 Table 9.1-1), as the sender
            says; empty where it does not.
        move_originator_message_id: Of that C-MOVE; 0 where the sender does not say.
        sop_class_uid: As it is stored, likewise.
    """

    association_id: str
    status: int
    seconds: float
    bytes: int = 0
    outcome: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    path: str = ""
    comment: str = ""
    move_originator_ae_title: str = ""
    move_originator_message_id: int = 0
    sop_class_uid: str = ""

    @property
    def is_stored(self) -> bool:
        """Whether it is in the archive."""
        return bool(self.outcome)


@dataclass(slots=True)
class Totals:
    """Running numbers of instances.

    Attributes:
        instances: Those that were stored, duplicates and superseding ones among them.
        bytes: Of their files.
        duplicates: Those that were there already.
        superseded: Those that took the place of another content.
        failures: Those that were not stored.
        last_failure: The last of these.
    """

    instances: int = 0
    bytes: int = 0
    duplicates: int = 0
    superseded: int = 0
    failures: int = 0
    last_failure: InstanceReceived | None = None

    def add(self, event: InstanceReceived) -> None:
        """Count one C-STORE."""
        if not event.is_stored:
            self.failures += 1
            self.last_failure = event
            return
        self.instances += 1
        self.bytes += event.bytes
        self.duplicates += event.outcome == "duplicate"
        self.superseded += event.outcome == "superseded"


@frozen
class AssociationBegan:
    """A peer whose association we accepted.

    Attributes:
        association_id: Tells it from all others of this machine.
        host: Address of the peer.
        calling_ae_title: What it calls itself.
        called_ae_title: What it calls us.
        user: Which of our users it is, by password; empty where that was not asked.
        is_ours: Whether we asked for it: that of a C-GET.
    """

    association_id: str
    host: str
    calling_ae_title: str
    called_ae_title: str
    user: str = ""
    is_ours: bool = False


@frozen
class AssociationSummary:
    """What one association brought.

    Attributes:
        association_id: As when it began; empty where it was never accepted.
        host: Address of the peer.
        calling_ae_title: What it calls itself.
        called_ae_title: What it calls us.
        totals: The instances.
        seconds: From its connection to its end.
        error: Why it did not end by release; None where it did.
        requests: How many C-STORE requests came, with those that were never answered.
        user: Which user it is; where the association was rejected, which it claims to be.
        is_ours: Whether we asked for it: that of a C-GET.
    """

    association_id: str
    host: str
    calling_ae_title: str
    called_ae_title: str
    totals: Totals
    seconds: float
    error: PypxError | None
    requests: int = 0
    user: str = ""
    is_ours: bool = False


class Observer(Protocol):
    """Who hears of what a receiver does.

    Each method is called in the thread of an association, of several at once, and holds that
    association up until it returns: note it down and leave. None of them may raise.
    """

    def association_began(self, event: AssociationBegan) -> None:
        """Hear that an association was accepted."""

    def instance_received(self, event: InstanceReceived) -> None:
        """Hear of one C-STORE, after its response was sent."""

    def association_ended(self, event: AssociationSummary) -> None:
        """Hear that an association is over, also one that was rejected."""
