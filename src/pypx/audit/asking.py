"""What we ask of a PACS, as audit messages: Query, and Begin Transferring (PS3.15 A.5.3.6, 10).

In: what a client is about to send. Out: messages to a trail. Not here: what comes of it, which
the receiver tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pypx.audit.messages import Party, Study, begin_transferring, query
from pypx.dicom.elements import encoding_of
from pypx.values import replace

if TYPE_CHECKING:
    from pypx.audit.trail import AuditTrail
    from pypx.client.asked import Asked
    from pypx.client.requestor import Requestor

__all__ = ["hear"]


def hear(trail: AuditTrail, client: Requestor) -> None:
    """Note from now on what a client asks."""
    address = client.address
    us = replace(trail.us, ae_title=client.calling_ae_title, is_requestor=True)
    peer = Party(address.ae_title, address.host)

    def note(asked: Asked) -> None:
        if asked.service == "C-FIND":
            syntax = asked.transfer_syntax_uid
            keys = asked.identifier.to_bytes(encoding_of(syntax))
            trail.note(lambda at: query(at, us, peer, asked.sop_class_uid, keys, syntax))
            return
        uids = (asked.identifier.get("StudyInstanceUID") or "").split("\\")
        patient = asked.identifier.get("PatientID") or ""
        # A study is often asked for in parts: its transfer begins once.
        new = [
            uid for uid in uids if trail.is_new((peer.ae_title, asked.destination, uid, patient))
        ]
        if not new:
            return
        studies = [Study(uid, {}, patient) for uid in new]
        is_us = asked.destination == us.ae_title
        destination = us if is_us else Party(asked.destination, "")
        others = () if is_us else (us,)
        trail.note(
            lambda at: begin_transferring(
                at, us, peer, destination, trail.with_patients(studies), others
            )
        )

    client.on_asked = note
