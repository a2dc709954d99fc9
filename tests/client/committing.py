"""A storage commitment SCP whose reports a test decides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from pypx.client.client import Client
from pypx.dicom import uids
from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import encoding_of
from pypx.dicom.encoding import Encoding
from pypx.dimse.assembler import MessageReceived
from pypx.dimse.n_services import NActionRQ, NActionRSP, NEventReportRQ, NEventReportRSP
from pypx.net.served import ServedAssociation
from tests.client.test_sending import StoreScp

__all__ = ["CommitScp", "event_report", "information"]

Decide = Callable[[str], int | None]


def information(
    transaction: str, committed: Sequence[str] = (), failed: Sequence[tuple[str, int]] = ()
) -> DataSet:
    """Make the event information of a report (PS3.4 Table J.3-2)."""
    return DataSet.from_keywords(
        {
            "TransactionUID": transaction,
            "ReferencedSOPSequence": [
                {"ReferencedSOPClassUID": "1.2", "ReferencedSOPInstanceUID": uid}
                for uid in committed
            ],
            "FailedSOPSequence": [
                {
                    "ReferencedSOPClassUID": "1.2",
                    "ReferencedSOPInstanceUID": uid,
                    "FailureReason": reason,
                }
                for uid, reason in failed
            ],
        }
    )


def event_report(message_id: int, *, failures: bool = False) -> NEventReportRQ:
    """Make the request that carries it."""
    return NEventReportRQ(
        message_id,
        affected_sop_class_uid=uids.STORAGE_COMMITMENT,
        affected_sop_instance_uid=uids.STORAGE_COMMITMENT_INSTANCE,
        event_type_id=2 if failures else 1,
        has_data_set=True,
    )


class CommitScp(StoreScp):
    """Stores all, and commits itself to what ``decide`` gives 0 for; None reports nothing of it.

    Args:
        decide: SOP Instance UID to failure reason.
        to: Port on which it reports over an association of its own; None is over ours.
        status: Of the answer to N-ACTION.
    """

    def __init__(
        self,
        decide: Decide = lambda uid: 0,
        *,
        to: int | None = None,
        status: int = 0,
        **options: object,
    ) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.transactions: dict[str, list[str]] = {}
        self.answers: list[int] = []
        self._reason = decide
        self._to = to
        self._status = status
        self._threads: list[threading.Thread] = []
        self.services[NActionRQ] = self._commit
        self.services[NEventReportRSP] = self._answered

    def __exit__(self, *exc: object) -> None:
        for thread in self._threads:
            thread.join(10)
        super().__exit__(*exc)

    def _commit(self, association: ServedAssociation, received: MessageReceived) -> None:
        request = received.message
        assert isinstance(request, NActionRQ)
        assert request.requested_sop_class_uid == uids.STORAGE_COMMITMENT
        assert request.requested_sop_instance_uid == uids.STORAGE_COMMITMENT_INSTANCE
        assert request.action_type_id == 1
        context_id = received.context_id
        encoding = encoding_of(association.contexts[context_id].transfer_syntax)
        data = b"".join(bytes(piece) for piece in association.data_set())
        asked = DataSet.from_bytes(data, encoding)
        wanted = [
            one["ReferencedSOPInstanceUID"] for one in asked.items_of("ReferencedSOPSequence")
        ]
        self.transactions[asked["TransactionUID"]] = wanted
        association.send(context_id, NActionRSP(request.message_id, self._status))
        decided = [(uid, self._reason(uid)) for uid in wanted]
        committed = [uid for uid, reason in decided if reason == 0]
        failed = [(uid, reason) for uid, reason in decided if reason]
        if self._status or not (committed or failed):
            return
        report = information(asked["TransactionUID"], committed, failed)
        if self._to is None:
            association.send(context_id, event_report(1), report.to_bytes(encoding))
        else:
            arguments = (self._to, report, bool(failed))
            thread = threading.Thread(target=self._report_elsewhere, args=arguments)
            self._threads.append(thread)
            thread.start()

    def _answered(self, association: ServedAssociation, received: MessageReceived) -> None:
        response = received.message
        assert isinstance(response, NEventReportRSP)
        self.answers.append(response.status)

    def _report_elsewhere(self, port: int, report: DataSet, failures: bool) -> None:
        """Report over an association of our own, as provider (PS3.4 §J.3.3)."""
        syntaxes = (uids.IMPLICIT_VR_LITTLE_ENDIAN,)
        with Client(f"PYPX@127.0.0.1:{port}", calling_ae_title="SCRIPTED") as client:
            connection = client.connect(
                [(uids.STORAGE_COMMITMENT, syntaxes)], scp_of=[uids.STORAGE_COMMITMENT]
            )
            (context,) = connection.contexts.values()
            assert context.requestor_is_scp
            request = event_report(1, failures=failures)
            data = report.to_bytes(Encoding.IMPLICIT_LITTLE)
            connection.send(context.context_id, request, data)
            response = connection.response_to(1, NEventReportRSP, connection.receive())
            self.answers.append(response.status)
            connection.release()
