"""Whether images come: one small one by C-GET, and one by C-MOVE to a listener of ours.

In: a case with a sample. Out: findings. What comes goes into an archive that is removed at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

from pypx.archive import Archive
from pypx.client.move import Progress
from pypx.client.query import Model
from pypx.client.sop_classes import SOPClasses
from pypx.dicom import uids
from pypx.doctor.case import Case
from pypx.doctor.steps import Finding, Status
from pypx.errors import ArchiveError, PypxError, StatusError
from pypx.receiver.allow import is_loopback
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived
from pypx.receiver.retrieved import Retrieved
from pypx.retrieve.entry import is_here
from pypx.retrieve.landing import Landing
from pypx.values import frozen

__all__ = ["Fetching"]

_MOST = 20  # instances of a series or study that is asked for where no instance can be
_LATE = 5.0  # seconds in which what the PACS says to have sent may still come
_TAIL = 1.0  # seconds in which we hear of an association that is over or was rejected
_LOOK = 0.05
_UNKNOWN_DESTINATION = 0xA801


@frozen
class _Wish:
    """What is asked for: one instance, or the least that can be."""

    level: str
    keys: dict[str, str]
    sop_classes: SOPClasses


class _Heard:
    """What reached our listener."""

    def __init__(self) -> None:
        self.began: list[AssociationBegan] = []
        self.began_at = 0.0  # the first one, on the monotonic clock
        self.ended: list[AssociationSummary] = []
        self.instances: list[InstanceReceived] = []
        self._lock = threading.Lock()

    def association_began(self, event: AssociationBegan) -> None:
        with self._lock:
            self.began_at = self.began_at or time.monotonic()
            self.began.append(event)

    def instance_received(self, event: InstanceReceived) -> None:
        with self._lock:
            self.instances.append(event)

    def association_ended(self, event: AssociationSummary) -> None:
        with self._lock:
            self.ended.append(event)

    @property
    def stored(self) -> list[InstanceReceived]:
        """What is here, each once."""
        found = {one.sop_instance_uid: one for one in list(self.instances) if one.is_stored}
        return list(found.values())


class Fetching:
    """Ask for an instance.

    Args:
        case: What is known.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._target = case.target

    # C-GET

    def get(self) -> Finding:
        """Have an instance sent over our own association."""
        case, target = self._case, self._target
        model = self._model_with("get")
        if model is None:
            return Finding("It does not offer C-GET.", Status.SKIPPED)
        wish = self._wish(model)
        if wish is None:
            return _nothing_small()
        came: list[InstanceReceived] = []
        case.tried["get"] = False
        with (
            _archive() as archive,
            Retrieved(
                archive,
                host=target.address.host,
                calling_ae_title=target.address.ae_title,
                called_ae_title=target.calling_ae_title,
                on_instance=came.append,
            ) as retrieved,
        ):
            get = case.client.get(
                wish.keys,
                retrieved.store,
                level=wish.level,
                model=model,
                sop_classes=wish.sop_classes,
            )
            result = get.run()
        stored = [one for one in came if one.is_stored]
        facts = {"level": wish.level, "instances": len(stored), "model": model.value}
        if stored:
            case.tried["get"] = True
            size = sum(one.bytes for one in stored)
            said = f"{_number(stored)} of {size} bytes came over our association."
            return Finding(said, facts=facts | {"bytes": size})
        refused = next((one.comment for one in came if one.comment), "")
        return Finding(
            f"It says {_words(result.progress)}, and nothing came. {refused}".rstrip(),
            Status.FAILED,
            "Its log says why. Was the instance deleted, or is it in a compressed transfer syntax "
            "that the PACS cannot convert?",
            facts,
            exit_code=1,
        )

    # C-MOVE

    def move(self) -> Finding:
        """Have an instance sent to a listener of ours."""
        model = self._model_with("move")
        if model is None:
            return Finding("It does not offer C-MOVE.", Status.SKIPPED)
        wish = self._wish(model)
        if wish is None:
            return _nothing_small()
        target, heard = self._target, _Heard()
        own = target.listening.own
        with (
            _archive() as archive,
            Landing(archive, target.listening, observer=heard) as landing,
        ):
            landing.ensure()
            if landing.receiver is None:
                return Finding(
                    f"A listener already runs on {own.host}:{own.port}, and an image for a test "
                    "would go into its archive.",
                    Status.SKIPPED,
                    "Stop it for this test (px listen), or name another port that the PACS knows "
                    "with --port.",
                )
            self._case.tried["move"] = False
            return self._move(model, wish, landing, heard)

    def _move(self, model: Model, wish: _Wish, landing: Landing, heard: _Heard) -> Finding:
        assert landing.receiver is not None  # the caller looked
        destination = self._target.listening.own.ae_title
        error: PypxError | None = None
        move = self._case.client.move(
            wish.keys,
            destination=destination,
            level=wish.level,
            model=model,
            last_activity=landing.receiver.last_activity,
        )
        try:
            move.run()
        except PypxError as raised:
            error = raised
        ended = time.monotonic()
        progress = move.progress if move.result is None else move.result.progress
        _wait_for(heard, ended + _LATE, sent=bool(progress.completed or progress.warning))
        facts = {
            "level": wish.level,
            "destination": destination,
            "instances": len(heard.stored),
            "associations": len(heard.began),
            "completed": progress.completed,
            "failed": progress.failed,
            "status": None if move.result is None else f"{move.result.status:04X}",
        }
        if heard.stored:
            self._case.tried["move"] = True
            return self._came(heard, ended, facts)
        if error is None:
            return self._nothing_came(progress, heard, facts)
        return self._failed(error, heard, facts)

    def _came(self, heard: _Heard, ended: float, facts: dict[str, Any]) -> Finding:
        stored, began, late = heard.stored, heard.began[0], heard.began_at > ended
        size = sum(one.bytes for one in stored)
        facts |= {"bytes": size, "from": began.host, "calling_ae_title": began.calling_ae_title}
        said = (
            f"{_number(stored)} of {size} bytes came from {began.host}, "
            f"which called itself {began.calling_ae_title}"
        )
        said += ", after it said that all is done." if late else "."
        again = len([one for one in heard.instances if one.is_stored]) - len(stored)
        said += f" {again} came twice." if again else ""
        return Finding(said, facts=facts)

    def _nothing_came(self, progress: Progress, heard: _Heard, facts: dict[str, Any]) -> Finding:
        """The PACS sees no failure."""
        own = self._target.listening.own
        if heard.began or progress.failed:
            return self._unreached(f"It says {_words(progress)}.", heard, facts, 1)
        if progress.completed or progress.warning:
            said = f"It says {_words(progress)}, but nothing came here: it knows {own.ae_title} at "
            said += "another address, and sent it there."
            hint = f"Its administrator corrects the entry:\n{self._target.entry()}"
        else:
            said = "It says that all is done, but sent nothing."
            hint = (
                f"PACS that are too busy say so, and some to which {own.ae_title} is unknown: try "
                f"again, and compare its entry:\n{self._target.entry()}"
            )
        return Finding(said, Status.FAILED, hint, facts, exit_code=1)

    def _failed(self, error: PypxError, heard: _Heard, facts: dict[str, Any]) -> Finding:
        """The PACS says that it failed, or nothing."""
        own = self._target.listening.own
        code, said = error.exit_code, error.message
        if isinstance(error, StatusError) and error.status == _UNKNOWN_DESTINATION:
            said += f" It does not know us, {own.ae_title}."
            hint = f"Its administrator adds the entry:\n{self._target.entry()}"
            return Finding(said, Status.FAILED, hint, facts, code)
        if not isinstance(error, StatusError):
            return Finding(said, Status.FAILED, error.hint, facts, code)
        if error.status >> 12 == 0xC and not facts["failed"] and not heard.ended:
            said += f" Either it does not know us, {own.ae_title}, or it cannot reach our listener."
            hint = f"Its administrator compares the entry:\n{self._target.entry()}"
            return Finding(said, Status.FAILED, hint, facts, code)
        return self._unreached(said, heard, facts, code)

    def _unreached(self, said: str, heard: _Heard, facts: dict[str, Any], code: int) -> Finding:
        """It tried to send, and could not."""
        own, bind = self._target.listening.own, self._target.listening.bind
        refused = [one for one in heard.ended if not one.association_id]
        broken = next((one.error for one in heard.ended if one.error is not None), None)
        comment = next((one.comment for one in heard.instances if one.comment), "")
        if heard.began:
            why = comment or (broken.message if broken is not None else "")
            said += f" It reached our listener, but no image came whole. {why}".rstrip()
            hint = "Its log says why; another study shows whether it is this image only."
        elif refused:
            one = refused[0]
            facts["refused"] = {"host": one.host, "calling_ae_title": one.calling_ae_title}
            said += f" It reached our listener from {one.host} as {one.calling_ae_title}, "
            said += "and was refused."
            hint = f'Allow it: allow = ["*@{one.host}"] in [listen] of the configuration.'
        else:
            said += " It knows us, but did not reach our listener: its entry has another address, "
            said += "or the port is closed in between."
            hint = f"Compare the entry, and let port {own.port} through the firewalls:\n"
            hint += self._target.entry()
            if is_loopback(bind) and not is_here(self._target.address.host):
                hint = f"Our listener is on {bind}, which only this machine reaches: give --host. "
                hint += f"The entry is then:\n{self._target.entry()}"
        return Finding(said, Status.FAILED, hint, facts, code)

    # What to ask for

    def _model_with(self, method: str) -> Model | None:
        """Give the model in which the PACS takes it: that of the queries, if possible."""
        first = self._case.model
        other = Model.PATIENT if first is Model.STUDY else Model.STUDY
        for model in (first, other):
            sop_class = model.get_sop_class if method == "get" else model.move_sop_class
            if sop_class in self._case.accepted:
                return model
        return None

    def _wish(self, model: Model) -> _Wish | None:
        """Choose the least that can be asked for; None where that may be a lot."""
        sample = self._case.sample
        assert sample is not None  # it needs the step that found it
        keys = {**self._case.keys(model), "StudyInstanceUID": sample.study}
        is_known = bool(sample.sop_class) and uids.may_be_storage(sample.sop_class)
        classes = SOPClasses((sample.sop_class,) if is_known else (), exact=is_known)
        if sample.series and sample.instance:
            below = {"SeriesInstanceUID": sample.series, "SOPInstanceUID": sample.instance}
            return _Wish("image", keys | below, classes)
        if sample.series and sample.in_series is not None and sample.in_series <= _MOST:
            return _Wish("series", keys | {"SeriesInstanceUID": sample.series}, classes)
        if sample.instances is not None and sample.instances <= _MOST:
            return _Wish("study", keys, classes)
        return None


@contextmanager
def _archive() -> Iterator[Archive]:
    """Have an archive for a moment."""
    try:
        folder = TemporaryDirectory(prefix="pypx-doctor-")
    except OSError as error:
        raise ArchiveError(
            f"No temporary folder can be made: {error.strerror or error}.",
            hint="Name a folder where you may write in TMPDIR.",
        ) from None
    with folder as path, Archive(path, durability="none") as archive:
        yield archive


def _wait_for(heard: _Heard, until: float, *, sent: bool) -> None:
    """Wait for what comes after the last word of the PACS, as from some it does.

    Args:
        heard: What came.
        until: At most until then.
        sent: The PACS says that it sent something.
    """
    tail = time.monotonic() + _TAIL
    while (now := time.monotonic()) < until:
        over = bool(heard.ended) and len(heard.ended) >= len(heard.began)
        if over and (heard.stored or not sent):
            return
        if (heard.stored or not sent) and now >= tail:
            return  # some keep their associations open, others never came
        time.sleep(_LOOK)


def _nothing_small() -> Finding:
    return Finding(
        "No single instance is known to ask for, and all of a series or study may be too much.",
        Status.SKIPPED,
    )


def _number(stored: list[InstanceReceived]) -> str:
    return "1 instance" if len(stored) == 1 else f"{len(stored)} instances"


def _words(progress: Progress) -> str:
    """Give the numbers of the PACS in words."""
    parts = [
        f"{number} {what}"
        for number, what in (
            (progress.completed, "completed"),
            (progress.failed, "failed"),
            (progress.warning, "with a warning"),
        )
        if number is not None
    ]
    return ", ".join(parts) or "that all is done"
