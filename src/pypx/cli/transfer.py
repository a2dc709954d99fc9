"""What C-MOVEs or C-GETs brought: the words of the PACS, compared with what arrived.

In: results and errors of each, and the totals of our receiver. Out: one verdict, as a
sentence, JSON and an exit code. The last status of a PACS says little: some answer success
though sub-operations failed, or though nothing was sent at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pypx.cli.outcome import name_some, outcome_object
from pypx.cli.output import Output
from pypx.dimse.status import Category, is_out_of_resources
from pypx.errors import ArchiveError, CancelledError, ConfigError, PypxError, StatusError

if TYPE_CHECKING:
    from pypx.client.move import Progress, RetrieveResult
    from pypx.receiver.events import Totals

__all__ = ["Transfer"]


class _PartialError(PypxError):
    kind = "partial"


class Transfer:
    """The sum of one or more C-MOVEs or C-GETs.

    Args:
        destination: Where the PACS sends.
        service: How it is asked: ``C-MOVE`` or ``C-GET``.

    Attributes:
        completed: How many sub-operations the PACS calls completed; so also for the
            other numbers.
        counted: Whether the PACS gave numbers at all.
        seconds: From the first request to the last answer.
        received: The totals of our receiver, where we have one.
        error: What ended the command before its end.
        unexpected: SOP Instance UIDs of what came though nobody asked for it, where it is
            known what was; it is stored.
    """

    def __init__(self, destination: str, service: str = "C-MOVE") -> None:
        self.destination = destination
        self.service = service
        self.unexpected: list[str] | None = None
        self.completed = self.failed = self.warning = self.remaining = 0
        self.counted = False
        self.seconds = 0.0
        self.received: Totals | None = None
        self.error: PypxError | None = None
        self._asked = 0
        self._empty = 0
        self._refused: list[StatusError] = []
        self._warned = False
        self._interrupted = self._cancelled_status = False
        self._failed_uids: list[str] = []

    @property
    def sent(self) -> int:
        """How many instances the PACS says that it sent."""
        return self.completed + self.warning

    def add(
        self, progress: Progress, result: RetrieveResult | None, error: PypxError | None
    ) -> None:
        """Take one C-MOVE: its last numbers, its result if there is one, and its error."""
        self._asked += 1
        self.completed += progress.completed or 0
        self.failed += progress.failed or 0
        self.warning += progress.warning or 0
        self.remaining += progress.remaining or 0
        self.counted |= progress.completed is not None
        numbers = (progress.completed, progress.failed, progress.warning)
        if progress.completed is not None and not any(numbers) and result is not None:
            self._empty += result.category is Category.SUCCESS
        if result is not None:
            self._failed_uids += result.failed_sop_instance_uids
            self._warned |= result.category is Category.WARNING
            self._cancelled_status |= result.category is Category.CANCEL
        if isinstance(error, StatusError):
            self._refused.append(error)
        elif error is not None:
            self.error = error

    @contextmanager
    def noting_failures(self) -> Iterator[None]:
        """Note what ends the work inside; only a wrong configuration is raised on."""
        try:
            yield
        except KeyboardInterrupt:
            self.interrupt()
        except ConfigError:
            raise
        except PypxError as error:
            self.error = error

    def interrupt(self) -> None:
        """Note that the user ended it."""
        self._interrupted = True

    def tell(self, out: Output) -> int:
        """Write the result, and give the exit code."""
        error = self._verdict()
        if out.form == "json":
            out.document(self._document(error))
        elif error is None or self.sent or self.failed:
            out.line(self._sentence())
            name_some(out, "Failed SOP Instance UIDs", self._failed_uids)
        if out.form != "json" and self.unexpected:
            name_some(out, "Stored, though nobody asked for them", self.unexpected)
        out.flush()
        if error is not None:
            out.error(error)
        return error.exit_code if error else 0

    def _verdict(self) -> PypxError | None:
        """Decide what there is to complain about, the cause before its effects."""
        received = self.received
        if self._interrupted:
            return self._cancelled()
        failure = received.last_failure if received else None
        if received and failure and is_out_of_resources(failure.status):
            return ArchiveError(
                f"The archive did not take {received.failures} instances: "
                f"{failure.comment or 'out of resources'}",
                hint="Make room or give the right to write there, and ask for them again.",
            )
        if self._cancelled_status:  # also by us, when the archive takes no more: see above
            return self._cancelled()
        if self.error is not None:
            return self.error
        if self._refused:
            return self._refusal()
        if self.failed or self._warned:
            return self._partial()
        if not self.sent and not (received and received.instances):
            return _PartialError(
                f"The PACS reports success, but sent nothing to {self.destination}.",
                hint="It may not have what was asked for (px find shows it), or be too busy.",
            )
        if self._empty and self.sent:
            return _PartialError(
                f"{self._empty} of {self._asked} requests ended with success, but sent nothing.",
                hint="The PACS may be too busy; -v says which, to ask for them again.",
            )
        if received and self.counted and self._expected(received) < self.sent:
            return self._lost(received)
        return None

    def _expected(self, received: Totals) -> int:
        """How many of the instances that arrived were asked for, as far as that is known."""
        return received.instances - len(self.unexpected or ())

    def _lost(self, received: Totals) -> PypxError:
        hint = "Check that no other listener has this AE title, and ask for them again."
        if self.service == "C-GET":
            hint = "The log of the PACS may say why; ask for them again."
        others = f", and {len(self.unexpected)} that nobody asked for" if self.unexpected else ""
        return _PartialError(
            f"The PACS says that it sent {self.sent} instances, but only "
            f"{self._expected(received)} arrived here{others}.",
            hint=hint,
        )

    def _cancelled(self) -> PypxError:
        if isinstance(self.error, CancelledError):
            return self.error
        if not self._asked:
            return CancelledError("Interrupted before the PACS was asked to send anything.")
        rest = f", {self.remaining} remain" if self.remaining else ""
        return CancelledError(f"Interrupted: the PACS had sent {self.sent} instances{rest}.")

    def _refusal(self) -> PypxError:
        first = self._refused[0]
        if len(self._refused) == self._asked:
            return first
        return _PartialError(
            f"{len(self._refused)} of {self._asked} requests failed; the first: {first.message}",
            hint=first.hint,
        )

    def _partial(self) -> PypxError:
        if not self.failed:
            return _PartialError(f"The PACS ended the {self.service} with a warning.")
        named = len(self._failed_uids)
        which = "" if named >= self.failed else " The PACS does not name all of them."
        received = self.received
        ours = received.last_failure if received else None
        why = f" Here the last one was refused: {ours.comment}" if ours and ours.comment else ""
        return _PartialError(
            f"{self.failed} of {self.sent + self.failed} instances were not sent.{which}{why}",
            hint="The log of the PACS says why; ask for them again.",
        )

    def _status(self, error: PypxError | None) -> str:
        match error:
            case None:
                return "success"
            case CancelledError():
                return "cancelled"
            case _:
                return "warning" if error.exit_code == PypxError.exit_code else "failure"

    def _document(self, error: PypxError | None) -> dict[str, Any]:
        more: dict[str, Any] = {
            "failed_sop_instance_uids": self._failed_uids,
            "seconds": round(self.seconds, 3),
        }
        if self.received is not None:
            more |= {"received": self.received.instances, "bytes": self.received.bytes}
        if self.unexpected is not None:
            more["unexpected_sop_instance_uids"] = self.unexpected
        return outcome_object(self._status(error), self, more, error)

    def _sentence(self) -> str:
        from pypx.cli.show import count, size

        numbers = [f"{count(self.sent, 'image')} sent to {self.destination}"]
        if self.failed:
            numbers.append(f"{self.failed} failed")
        if self.warning:
            numbers.append(f"{self.warning} with a warning")
        if self.remaining:
            numbers.append(f"{self.remaining} remain")
        text = f"{', '.join(numbers)}, in {self.seconds:.1f} s"
        received = self.received
        if received is None:
            return text
        text = f"{text}; {received.instances} received here, {size(received.bytes)}"
        if received.duplicates:
            text = f"{text} ({received.duplicates} were here already)"
        return text
