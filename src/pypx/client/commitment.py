"""Storage commitment: what was asked, and what the peer reports of it (PS3.4 Annex J).

In: the instances that a peer stored, and the reports that it sends. Out: the data sets that ask
for them, and which are committed, which are not and why, and of which nothing was heard.
No network here: ``commit`` has that.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from pypx.batches import batches
from pypx.dicom.data_set import DataSet
from pypx.dicom.encoding import Encoding
from pypx.dicom.uids import new_uid
from pypx.dimse.status import SUCCESS
from pypx.errors import DataSetError
from pypx.values import frozen

__all__ = ["CommitmentResult", "NotCommitted", "Reference", "Reports", "Transaction"]

_PER_TRANSACTION = 1000
_PROCESSING_FAILURE = 0x0110
_INVALID_ARGUMENT = 0x0115

# PS3.3 §C.14.1.1, Failure Reason (0008,1197).
_REASONS = {
    0x0110: "processing failure",
    0x0112: "no such object instance",
    0x0119: "class-instance conflict",
    0x0122: "referenced SOP class not supported",
    0x0131: "duplicate transaction UID",
    0x0213: "resource limitation",
}


@frozen
class Reference:
    """An instance that is to be committed."""

    sop_class_uid: str
    sop_instance_uid: str


@frozen
class NotCommitted:
    """An instance of which the peer reports that it is not committed.

    Attributes:
        sop_instance_uid: Which one.
        reason: Failure Reason (0008,1197); None where the peer gives none.
    """

    sop_instance_uid: str
    reason: int | None

    @property
    def meaning(self) -> str:
        """The reason in words, without a capital and a full stop."""
        if self.reason is None:
            return "the peer gives no reason"
        words = _REASONS.get(self.reason, "a reason that the standard does not name")
        return f"{words} ({self.reason:04X}H)"


@frozen
class CommitmentResult:
    """What is known of all that was asked for.

    Attributes:
        transaction_uids: One for each request.
        committed: SOP Instance UIDs for which the peer has taken over responsibility.
        failed: Those that it refuses.
        missing: Those of which nothing was reported.
    """

    transaction_uids: tuple[str, ...]
    committed: tuple[str, ...]
    failed: tuple[NotCommitted, ...]
    missing: tuple[str, ...]


class Transaction:
    """One request and what was reported of it.

    Attributes:
        uid: Its Transaction UID.
        wanted: SOP class by SOP instance.
        committed: SOP Instance UIDs.
        failed: By SOP Instance UID.
        is_open: Whether a report can still come.
    """

    def __init__(self, references: Iterable[Reference]) -> None:
        self.uid = new_uid()
        self.wanted = {one.sop_instance_uid: one.sop_class_uid for one in references}
        self.committed: set[str] = set()
        self.failed: dict[str, NotCommitted] = {}
        self.is_open = True

    @property
    def missing(self) -> Iterator[str]:
        """The instances of which nothing was reported."""
        return (uid for uid in self.wanted if uid not in self.committed and uid not in self.failed)

    def action_information(self) -> DataSet:
        """Give the data set of the N-ACTION that asks (PS3.4 Table J.3-1)."""
        references = [
            {"ReferencedSOPClassUID": sop_class, "ReferencedSOPInstanceUID": uid}
            for uid, sop_class in self.wanted.items()
        ]
        return DataSet.from_keywords(
            {"TransactionUID": self.uid, "ReferencedSOPSequence": references}
        )

    def take(self, report: DataSet) -> None:
        """Take the event information of a report (PS3.4 Table J.3-2).

        An instance that is named twice, or was not asked for, counts as the worse.
        """
        for item in report.items_of("FailedSOPSequence"):
            uid = item.get("ReferencedSOPInstanceUID", "")
            if uid in self.wanted:
                (reason, *_) = (*item.values_of("FailureReason"), None)
                self.failed[uid] = NotCommitted(uid, reason if isinstance(reason, int) else None)
                self.committed.discard(uid)
        for item in report.items_of("ReferencedSOPSequence"):
            uid = item.get("ReferencedSOPInstanceUID", "")
            if uid in self.wanted and uid not in self.failed:
                self.committed.add(uid)
        self.is_open = any(True for _ in self.missing)


class Reports:
    """All that was asked for, and what was reported of it so far; for several threads.

    Args:
        references: What is to be committed; of two with the same SOP Instance UID one is.
        per_transaction: At most so many in one request.

    Attributes:
        transactions: The requests to make.
        received: How many reports were taken.
    """

    def __init__(
        self, references: Iterable[Reference], *, per_transaction: int = _PER_TRANSACTION
    ) -> None:
        wanted = {one.sop_instance_uid: one for one in references}.values()
        self.transactions = [Transaction(batch) for batch in batches(wanted, per_transaction)]
        self.received = 0
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether something is still to be reported."""
        return any(transaction.is_open for transaction in self.transactions)

    def close(self, transaction: Transaction) -> None:
        """Expect no report of a transaction any more."""
        with self._lock:
            transaction.is_open = False

    def take(self, data: bytes | None, encoding: Encoding) -> int:
        """Take the data set of an N-EVENT-REPORT.

        Returns:
            The status to answer: a failure where it is none of ours, or cannot be read.
        """
        try:
            report = DataSet.from_bytes(data or b"", encoding)
        except DataSetError:
            return _INVALID_ARGUMENT
        uid = report.get("TransactionUID", "")
        with self._lock:
            for transaction in self.transactions:
                if transaction.uid == uid:
                    transaction.take(report)
                    self.received += 1
                    return SUCCESS
        return _PROCESSING_FAILURE

    def result(self) -> CommitmentResult:
        """Sum up what is known now."""
        with self._lock:
            every = self.transactions
            return CommitmentResult(
                tuple(one.uid for one in every),
                tuple(uid for one in every for uid in one.wanted if uid in one.committed),
                tuple(failed for one in every for failed in one.failed.values()),
                tuple(uid for one in every for uid in one.missing),
            )
