"""What ``px listen`` tells of associations: a line at the end of each, and totals.

In: the events of a receiver. Out: lines, JSON objects and records of the log. What happens while
an association lasts is not told here: ``live`` does.
"""

from __future__ import annotations

import queue
import threading
from typing import Any

from pypx.cli.line_limit import LineLimit
from pypx.cli.output import Output, error_object, json_text, visible
from pypx.cli.show import count, size
from pypx.errors import PypxError
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived, Totals

__all__ = ["Associations"]

_LAST_WORDS = 5.0  # seconds that a reader of ours has for the last lines


class Associations:
    """An observer that tells of each association; a context manager that ends with the last one.

    A thread of its own writes, since a reader that does not read must not hold up reception.

    Lines about associations that brought no object are limited in number for each host, so that
    nobody fills a disk with them; what became of objects is always told.

    Args:
        out: Where they go.
        limit: Of the former.

    Attributes:
        number: How many associations are over.
        broken: The results could not be written. Receiving goes on: images matter more.
    """

    def __init__(self, out: Output, limit: LineLimit) -> None:
        self.number = 0
        self.broken = False
        self._out = out
        self._limit = limit
        self._over: queue.SimpleQueue[AssociationSummary | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._tell_all, name="px-lines", daemon=True)

    def __enter__(self) -> Associations:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.put(None)
        self._thread.join(_LAST_WORDS)

    def association_began(self, event: AssociationBegan) -> None:
        """Nothing is told of it before its end."""

    def instance_received(self, event: InstanceReceived) -> None:
        """Its association will tell of it."""

    def association_ended(self, event: AssociationSummary) -> None:
        """Let the thread tell of an association that is over, or was refused."""
        if event.calling_ae_title:  # else it came to no request, which the log says
            self._over.put(event)

    def _tell_all(self) -> None:
        while (summary := self._over.get()) is not None:
            self.number += 1
            if not (summary.requests or self._passes(summary)):
                continue
            if not self.broken:
                self._write(summary)
            self._out.record("association", _sentence(summary), _document(summary))
            if summary.error is not None and not self._out.log_json:
                self._out.warn(f"{_peer(summary)}: {summary.error.message}", summary.error.hint)

    def _passes(self, summary: AssociationSummary) -> bool:
        error = summary.error
        kind = "released" if error is None else type(error).__name__
        sentence = _sentence(summary) if error is None else f"{_peer(summary)}: {error.message}"
        return self._limit.passes(summary.host, kind, sentence)

    def _write(self, summary: AssociationSummary) -> None:
        out = self._out
        try:
            if out.form == "jsonl":
                out.line(json_text(_document(summary)))
            elif out.form == "text" and (out.to_file or not out.log_json):
                out.line(_sentence(summary))
        except (OSError, PypxError) as error:
            self.broken = True
            out.discard()
            out.abandon_stdout()
            out.warn(f"Associations are no longer told, receiving goes on: {error}")

    def tell_totals(self, totals: Totals, seconds: float) -> None:
        """Say what all associations brought, at the end."""
        out = self._out
        if out.form == "json":
            numbers = {"associations": self.number, **_numbers(totals)}
            out.document({**numbers, "seconds": round(seconds, 3)})
        failed = f", {totals.failures} not stored" if totals.failures else ""
        out.say(
            f"Stopped after {count(self.number, 'association')}: "
            f"{count(totals.instances, 'image')}, {size(totals.bytes)}{failed}."
        )


def _peer(summary: AssociationSummary) -> str:
    who = f"{summary.calling_ae_title}@{summary.host}"
    is_known = summary.user and summary.association_id  # else it is only claimed
    return f"{who} as {summary.user}" if is_known else who


def _sentence(summary: AssociationSummary) -> str:
    totals = summary.totals
    words = [count(totals.instances, "image")]
    if totals.instances:
        words.append(size(totals.bytes))
    words.append(f"{summary.seconds:.1f} s")
    words += [f"{size(_rate(summary))}/s"] if totals.instances else []
    words += [f"{totals.duplicates} here already"] if totals.duplicates else []
    words += [f"{totals.superseded} replaced"] if totals.superseded else []
    if totals.failures:
        failure = totals.last_failure
        reason = f" ({failure.comment})" if failure and failure.comment else ""
        words.append(f"{totals.failures} not stored{reason}")
    return visible(f"{_peer(summary)} to {summary.called_ae_title}  {', '.join(words)}")


def _rate(summary: AssociationSummary) -> float:
    return summary.totals.bytes / max(summary.seconds, 0.001)


def _document(summary: AssociationSummary) -> dict[str, Any]:
    return {
        "calling_ae_title": summary.calling_ae_title,
        "called_ae_title": summary.called_ae_title,
        "host": summary.host,
        "user": (summary.user if summary.association_id else "") or None,
        **_numbers(summary.totals),
        "seconds": round(summary.seconds, 3),
        "bytes_per_second": round(_rate(summary)),
        "error": error_object(summary.error) if summary.error else None,
    }


def _numbers(totals: Totals) -> dict[str, int]:
    return {
        "instances": totals.instances,
        "bytes": totals.bytes,
        "duplicates": totals.duplicates,
        "superseded": totals.superseded,
        "failures": totals.failures,
    }
