"""``pypx.listen`` as upstream had it: receive one association, and say what came.

In: a dictionary of upstream. Out: files under ``datadir``, and what came. How it is received is
that of ``px listen``: each instance is on disk and in the index before it is acknowledged.
"""

from __future__ import annotations

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
            return
        with self._lock:
            if event.error is not None:
                self.errors.append(event.error)
            self._left -= 1
            if self._left <= 0:
                self.over.set()


def _listen(request: Request) -> dict[str, Any]:
    from pypx.archive import Archive
    from pypx.receiver.allow import AllowRule
    from pypx.receiver.observers import Observers
    from pypx.receiver.receiver import DEFAULT_PORT, Receiver
    from pypx.receiver.watch import Watch

    associations, port = (
        _number(request, key, usual) for key, usual in (("associations", 1), ("port", DEFAULT_PORT))
    )
    title = request.text("aet") if "aet" in request.given else request.config.aet
    heard = _Heard(associations)
    maps = request.text("logdir")
    rules = request.words("allow") or list(request.config.listen.allow)
    with Archive(request.text("datadir") or _DATA, layout="pypx-1") as archive:
        companions = archive.companions(maps=Path(maps) if maps else None)
        with (
            Watch(archive, companions=companions) as watch,
            Receiver(
                archive,
                host=request.text("host") or "127.0.0.1",
                port=port,
                ae_title=check_ae_title(title),
                allow=[AllowRule.parse(rule) for rule in rules],
                allow_any=request.is_on("allow_any"),
                users=request.config.listen.users,
                observer=Observers(heard, watch),
            ),
        ):
            in_time = heard.over.wait(request.timeout)
    return _told(heard, in_time)


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
