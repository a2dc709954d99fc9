"""``pypx.listen`` as upstream had it: receive one association, and say what came.

In: a dictionary of upstream. Out: files under ``datadir``, and what came. How it is received is
that of ``px listen``: each instance is on disk and in the index before it is acknowledged.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pypx.address import check_ae_title
from pypx.compat.answers import answer, failed
from pypx.compat.options import Request, read
from pypx.errors import ConfigError, PypxError
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived

__all__ = ["listen"]

_DATA = "/tmp/data"  # upstream's default, not ours: who wants another names it


def listen(opt: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Receive what one association brings (C-STORE, PS3.4 Annex B) into a folder.

    Its tree is that of upstream's 1.x, with ``.info`` files, and an archive of pypx as well:
    ``px ls --archive DIR`` lists it.

    Where xinetd hands a connection over as standard input, and neither ``port`` nor ``host`` is
    given, that is served; nothing may be printed then but to a file.

    Args:
        opt: ``datadir`` (``/tmp/data``), ``logdir`` for the maps from IDs to folders; and of ours
            ``port`` (10402), ``host`` (127.0.0.1; another one needs ``allow``, rules as those of
            ``px listen``, or ``allow_any``), ``aet``, ``associations`` (how many are received
            before it returns: 1), ``timeout`` (seconds to wait for them; for ever without) and
            ``config``. ``tmpdir`` and ``executable`` have no effect: nothing is received through
            other folders or programs.

    Returns:
        ``status``, ``data`` (an object for each instance: its UIDs and its file), ``command``,
        ``returncode``; ``error`` where an instance was not stored, an association did not end
        as it should, or nothing came in time.
    """
    try:
        return _listen(read("listen", opt))
    except PypxError as error:
        return failed(error)


class _IncompleteError(PypxError):
    kind = "partial"


class _Heard:
    """Notes what a receiver does, until enough associations are over."""

    def __init__(self, associations: int) -> None:
        self.instances: list[InstanceReceived] = []
        self.errors: list[PypxError] = []
        self.refused: PypxError | None = None
        self.over = threading.Event()
        self._left = associations
        self._lock = threading.Lock()

    def association_began(self, event: AssociationBegan) -> None:
        """Hear that one began; it counts when it is over."""

    def instance_received(self, event: InstanceReceived) -> None:
        """Note an instance."""
        with self._lock:
            self.instances.append(event)

    def association_ended(self, event: AssociationSummary) -> None:
        """Count an association that was accepted."""
        if not event.association_id:
            self.refused = event.error
            return
        with self._lock:
            if event.error is not None:
                self.errors.append(event.error)
            self._left -= 1
            if self._left <= 0:
                self.over.set()


def _listen(request: Request) -> dict[str, Any]:
    from pypx.archive import Archive
    from pypx.config.amounts import parse_size
    from pypx.receiver.allow import AllowRule
    from pypx.receiver.observers import Observers
    from pypx.receiver.receiver import DEFAULT_PORT, Receiver
    from pypx.receiver.watch import Watch

    connection = _handed(request)
    associations = _number(request, "associations", 1)
    title = request.text("aet") if "aet" in request.given else request.config.aet
    terms, given = request.config.listen, request.words("allow")
    rules = given or list(terms.allow)
    maps = request.text("logdir")
    heard = _Heard(1 if connection else associations)
    with Archive(request.text("datadir") or _DATA, layout="pypx-1") as archive:
        companions = archive.companions(maps=Path(maps) if maps else None)
        with (
            Watch(archive, companions=companions) as watch,
            Receiver(
                archive,
                host=request.text("host") or "127.0.0.1",
                port=_number(request, "port", DEFAULT_PORT),
                ae_title=check_ae_title(title),
                allow=[AllowRule.parse(rule) for rule in rules],
                # Whom xinetd lets in may send, as with upstream.
                allow_any=request.is_on("allow_any") or (connection is not None and not given),
                limits=terms.limits,
                min_free=parse_size(terms.min_free),
                tls=terms.tls,
                users=terms.users,
                observer=Observers(heard, watch),
                connection=connection,
            ) as receiver,
        ):
            over = heard.over.wait if connection is None else receiver.wait
            in_time = over(request.timeout)
    return _told(heard, in_time)


def _handed(request: Request) -> socket.socket | None:
    """Give the connection that xinetd handed over as standard input; None where it did not.

    Standard input is empty then, so that the peer sees the end when we have closed it.
    """
    if "port" in request.given or "host" in request.given:
        return None
    try:
        if not stat.S_ISSOCK(os.fstat(0).st_mode):
            return None
        taken = socket.socket(fileno=os.dup(0))
    except OSError:
        return None
    if taken.family not in (socket.AF_INET, socket.AF_INET6) or taken.type != socket.SOCK_STREAM:
        taken.close()
        return None
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    return taken


def _number(request: Request, key: str, usual: int) -> int:
    """Give a whole number.

    Raises:
        ConfigError: It is none.
    """
    text = request.text(key) or str(usual)
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{key} is {text!r}, which is no number.")
    return int(text)


def _told(heard: _Heard, in_time: bool) -> dict[str, Any]:
    data = [
        {
            "StudyInstanceUID": one.study_instance_uid,
            "SeriesInstanceUID": one.series_instance_uid,
            "SOPInstanceUID": one.sop_instance_uid,
            "path": one.path,
        }
        for one in heard.instances
        if one.is_stored
    ]
    refused = [one for one in heard.instances if not one.is_stored]
    error: PypxError | None = heard.errors[0] if heard.errors else None
    if error is None and not heard.over.is_set():
        error = heard.refused
    if refused:
        error = _IncompleteError(
            f"{len(refused)} of {len(heard.instances)} images were not stored: "
            f"{refused[0].comment or 'the sender was told why'}"
        )
    elif error is None and not in_time:
        error = _IncompleteError("The associations that were waited for did not come in time.")
    if error is None:
        return answer("success", data, "", 0)
    return answer("partial" if data else "error", data, "", error.exit_code, error)
