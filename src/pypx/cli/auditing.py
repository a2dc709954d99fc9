"""The audit trail of a command, where the configuration asks for one.

In: the configuration, what a command does. Out: audit messages (PS3.15 A.5). What they look like
and where they go stands in ``pypx.audit``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pypx.cli.options import Invocation

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.audit.trail import AuditTrail
    from pypx.client.requestor import Requestor

__all__ = ["audited", "heard", "knowing"]


@contextmanager
def audited(invocation: Invocation, archive: Archive | None = None) -> Iterator[AuditTrail | None]:
    """Have a trail while a command runs; None where none is wanted.

    Args:
        invocation: The command.
        archive: Where patients of studies are looked up, if it is open already.
    """
    target = invocation.config.audit
    if target is None:
        yield None
        return
    import socket

    from pypx.audit.messages import Party
    from pypx.audit.trail import AuditTrail

    host = socket.gethostname()
    us = Party(invocation.config.aet, host, f"{_user()}:{os.getpid()}")
    launcher = f"{_user()}@{host}"
    with AuditTrail(target, us, invocation.out.warn, launcher=launcher) as trail:
        if archive is None:
            yield trail
        else:
            with knowing(trail, archive):
                yield trail


@contextmanager
def knowing(trail: AuditTrail | None, archive: Archive) -> Iterator[None]:
    """Let a trail, if there is one, look up patients in an archive while it is open."""
    from pypx.errors import PypxError

    def patient_of(uid: str) -> tuple[str, str]:
        try:
            rows = archive.find("study", {"StudyInstanceUID": uid})
            row = next(iter(rows), {})
        except PypxError:  # the index is away: the study says enough
            return "", ""
        return str(row.get("PatientID") or ""), str(row.get("PatientName") or "")

    if trail is None:
        yield
        return
    with trail.knowing(patient_of):
        yield


def heard(trail: AuditTrail | None, client: Requestor) -> Requestor:
    """Let a trail hear what a client asks, if there is one; gives the client."""
    if trail is not None:
        from pypx.audit.asking import hear

        hear(trail, client)
    return client


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user ID without a name, as in a container
        return str(os.getuid())
