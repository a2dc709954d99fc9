"""The audit trail of a command, where the configuration asks for one.

In: the configuration, what a command does. Out: audit messages (PS3.15 A.5). What they look like
and where they go stands in ``pypx.audit``.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pypx.cli.options import Invocation

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.audit.trail import AuditTrail
    from pypx.client.client import Client

__all__ = ["audited", "note_query"]


@contextmanager
def audited(invocation: Invocation, archive: Archive | None = None) -> Iterator[AuditTrail | None]:
    """Have a trail while a command runs; None where none is wanted.

    Args:
        invocation: The command.
        archive: Where patients of studies are looked up.
    """
    target = invocation.config.audit
    if target is None:
        yield None
        return
    from pypx.audit.messages import Party
    from pypx.audit.trail import AuditTrail

    def patient_of(uid: str) -> tuple[str, str]:
        from pypx.errors import PypxError

        if archive is None:
            return "", ""
        try:
            rows = archive.find("study", {"StudyInstanceUID": uid})
            row = next(iter(rows), {})
        except PypxError:  # the index is away: the study says enough
            return "", ""
        return str(row.get("PatientID") or ""), str(row.get("PatientName") or "")

    us = Party(invocation.config.aet, socket.gethostname(), f"{_user()}:{os.getpid()}")
    with AuditTrail(target, us, invocation.out.warn, patient_of=patient_of) as trail:
        yield trail


def note_query(
    trail: AuditTrail | None, client: Client, keys: Mapping[str, str], level: str, model: str | None
) -> None:
    """Note that a PACS is asked."""
    if trail is None:
        return
    from pypx.audit.messages import Party, query
    from pypx.client.query import Level, Model, make_identifier
    from pypx.dicom.encoding import Encoding
    from pypx.dicom.uids import IMPLICIT_VR_LITTLE_ENDIAN
    from pypx.values import replace

    data = make_identifier(keys, Level.parse(level)).to_bytes(Encoding.IMPLICIT_LITTLE)
    sop_class = Model.parse(model or "study").find_sop_class
    us = replace(trail.us, ae_title=client.calling_ae_title, is_requestor=True)
    peer = Party(client.address.ae_title, client.address.host)
    trail.note(lambda at: query(at, us, peer, sop_class, data, IMPLICIT_VR_LITTLE_ENDIAN))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user ID without a name, as in a container
        return str(os.getuid())
