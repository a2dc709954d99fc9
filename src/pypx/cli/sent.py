"""What became of what was sent: one verdict, as a sentence, JSON and an exit code.

In: the result of each file, and what ended the sending before its end. Out: words and numbers.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pypx.cli.outcome import name_some, outcome_object
from pypx.cli.output import Output, error_object, visible
from pypx.cli.show import count, size
from pypx.errors import (
    CancelledError,
    DataSetError,
    NoPresentationContextError,
    PypxError,
    StatusError,
)

if TYPE_CHECKING:
    from pypx.cli.committing import Committed
    from pypx.client.commitment import Reference
    from pypx.client.sending import Sent

__all__ = ["Delivery"]


class _PartialError(PypxError):
    kind = "partial"


class Delivery:
    """The sum of the results.

    Args:
        node: Where the files go.
        out: Where the words go.

    Attributes:
        expected: How many files there are in all, DICOM or not.
        completed: How many instances were stored without a warning.
        warning: How many were stored with one.
        failed: How many were not stored, though they were tried, or cannot be sent.
        skipped: How many files are no DICOM.
        transcoded: How many were sent in another transfer syntax than that of the file.
        bytes: Of the data sets that were stored.
        seconds: How long it took.
        error: What ended it before its end.
        references: What was stored, by SOP Instance UID, if it is to be committed.
        committed: What became of that; None where it was not asked for.
    """

    def __init__(self, node: str, out: Output, *, commit: bool = False) -> None:
        self.node = node
        self.expected = self.completed = self.warning = self.failed = self.skipped = 0
        self.transcoded = self.bytes = 0
        self.seconds = 0.0
        self.error: PypxError | None = None
        self.references: dict[str, Reference] | None = {} if commit else None
        self.committed: Committed | None = None
        self._out = out
        self._failures: list[Sent] = []

    @property
    def stored(self) -> int:
        """How many instances the peer has now."""
        return self.completed + self.warning

    @property
    def remaining(self) -> int:
        """How many files were not tried."""
        return max(0, self.expected - self.stored - self.failed - self.skipped)

    def add(self, sent: Sent) -> None:
        """Take one result."""
        self.bytes += sent.bytes
        self.transcoded += sent.transcoded
        if self.references is not None and sent.outcome in ("completed", "warning"):
            from pypx.client.commitment import Reference

            reference = Reference(sys.intern(sent.sop_class_uid), sent.sop_instance_uid)
            self.references[reference.sop_instance_uid] = reference
        match sent.outcome:
            case "completed":
                self.completed += 1
            case "warning":
                self.warning += 1
                self._out.detail(f"{sent.path}: stored with warning {sent.status:04X}H")
            case "skipped":
                self.skipped += 1
                self._out.detail(f"passed over: {_reason(sent)}")
            case _:
                self.failed += 1
                self._failures.append(sent)

    def tell(self) -> int:
        """Write the result, and give the exit code."""
        error = self._verdict()
        out = self._out
        if out.form == "json":
            out.document(self._document(error))
        elif self.stored or self.failed:
            out.line(self._sentence())
            name_some(out, "Not stored", [_line(one) for one in self._failures])
            if self.committed is not None:
                self.committed.tell(out)
        out.flush()
        if error is not None:
            out.error(error)
        return error.exit_code if error else 0

    def _verdict(self) -> PypxError | None:
        if isinstance(self.error, CancelledError):
            rest = f", {self.remaining:,} remain" if self.remaining else ""
            return CancelledError(f"Interrupted: {count(self.stored, 'image')} sent{rest}.")
        if self.error is not None:
            return self.error
        if self.failed:
            return self._failure()
        if not self.stored:
            return self._nothing()
        return self.committed.error if self.committed is not None else None

    def _failure(self) -> PypxError:
        """Say what all have in common, if nothing was stored; else that some were not."""
        first = self._failures[0].error
        for kind in (StatusError, NoPresentationContextError):
            if not self.stored and all(isinstance(one.error, kind) for one in self._failures):
                assert isinstance(first, kind)  # as all of them
                return first
        total = self.stored + self.failed
        hints = {one.error.hint for one in self._failures if one.error}
        (hint,) = hints if len(hints) == 1 else ("",)
        return _PartialError(
            f"{self.failed:,} of {count(total, 'image')} were not stored.",
            hint=hint or "They are named above, each with the reason.",
        )

    def _nothing(self) -> PypxError:
        if self.skipped:
            return DataSetError(
                f"There is nothing to send: none of {count(self.skipped, 'file')} is DICOM."
            )
        return DataSetError("There is nothing to send.", hint="-v names what was passed over.")

    def _document(self, error: PypxError | None) -> dict[str, Any]:
        more: dict[str, Any] = {
            "skipped": self.skipped,
            "transcoded": self.transcoded,
            "failed_sop_instance_uids": [
                one.sop_instance_uid for one in self._failures if one.sop_instance_uid
            ],
            "failures": [_failure_object(one) for one in self._failures],
            "seconds": round(self.seconds, 3),
            "bytes": self.bytes,
        }
        if self.committed is not None:
            more["commitment"] = self.committed.document()
        return outcome_object(self._status(error), self, more, error)

    def _status(self, error: PypxError | None) -> str:
        if isinstance(error, CancelledError):
            return "cancelled"
        if error is not None:
            return "failure"
        return "warning" if self.warning else "success"

    def _sentence(self) -> str:
        numbers = [f"{count(self.stored, 'image')} sent to {visible(self.node)}"]
        for number, words in (
            (self.failed, "failed"),
            (self.warning, "with a warning"),
            (self.transcoded, "transcoded"),
            (self.skipped, "no DICOM"),
            (self.remaining, "remain"),
        ):
            if number:
                numbers.append(f"{number:,} {words}")
        return f"{', '.join(numbers)}; {size(self.bytes)} in {self.seconds:.1f} s"


def _reason(sent: Sent) -> str:
    return sent.error.message if sent.error else ""


def _line(sent: Sent) -> str:
    reason = _reason(sent)
    return reason if reason.startswith(str(sent.path)) else f"{sent.path}: {reason}"


def _failure_object(sent: Sent) -> dict[str, Any]:
    error = error_object(sent.error) if sent.error else None
    return {
        "path": str(sent.path),
        "sop_instance_uid": sent.sop_instance_uid or None,
        "error": error,
    }
