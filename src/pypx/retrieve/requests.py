"""One request: how it is made, how it stands while it is under way, and how it ended.

In: what the PACS says and what came. Out: values, and what they mean. Not here: making requests,
and what follows from them.
"""

from __future__ import annotations

from collections.abc import Mapping

from pypx.archive.transfers import LedgerSeries
from pypx.client.move import Progress, RetrieveResult
from pypx.client.requestor import Retrieving
from pypx.dimse.status import Category, is_out_of_resources
from pypx.errors import NetworkError, PeerTimeoutError, PypxError, StatusError
from pypx.retrieve.credit import Unit
from pypx.values import frozen, replace

__all__ = ["Flight", "Outcome", "Step"]


class Flight:
    """A request under way, for who shows it and for who cancels it.

    Attributes:
        method: ``move`` or ``get``.
        level: Of the request.
        series: What it is about.
        unit: What came.
        progress: What the PACS says.
    """

    def __init__(self, method: str, level: str, series: LedgerSeries, unit: Unit) -> None:
        self.method = method
        self.level = level
        self.series = series
        self.unit = unit
        self.progress = Progress()
        self.operation: Retrieving | None = None

    def cancel(self) -> None:
        """Have a C-CANCEL sent, if the request has gone out."""
        if self.operation is not None:
            self.operation.cancel()


@frozen
class Step:
    """How a series is asked for.

    Attributes:
        method: ``move`` or ``get``.
        level: ``study``, ``series`` or ``image``.
        asked: How many instances it is about; None where that is not known.
        missing: SOP Instance UID to SOP Class UID of these, where that is known.
    """

    method: str
    level: str
    asked: int | None
    missing: Mapping[str, str] | None = None

    def part(self, missing: Mapping[str, str]) -> Step:
        """Ask for these only."""
        return replace(self, asked=len(missing), missing=missing)


@frozen
class Outcome:
    """How one request ended.

    Attributes:
        progress: The numbers of the PACS.
        result: Its last word; None where there was none.
        error: What went wrong.
        arrived: How many instances came, those included that were here.
    """

    progress: Progress
    result: RetrieveResult | None
    error: PypxError | None
    arrived: int

    @property
    def is_empty_success(self) -> bool:
        """Success without anything sent: what PACS say that have too much to do."""
        p = self.progress
        said = (p.completed, p.failed, p.warning)
        is_success = self.result is not None and self.result.category is Category.SUCCESS
        return is_success and not self.arrived and not any(said)

    @property
    def is_overload(self) -> bool:
        """Whether the PACS had no room for the request."""
        status = self.error.status if isinstance(self.error, StatusError) else None
        out_of_resources = status is not None and is_out_of_resources(status)
        # DCMTK 3.6 says A702 as well when it has tried and none of the sub-operations went well.
        has_tried = bool(self.progress.failed)
        return self.is_empty_success or (out_of_resources and not self.arrived and not has_tried)

    @property
    def is_refused(self) -> bool:
        """Whether the PACS did not even try, though it had room."""
        is_answered = isinstance(self.error, StatusError) and not self.is_overload
        return is_answered and not self.arrived and not self.progress.failed

    @property
    def is_vain(self) -> bool:
        """Whether the method is to blame that nothing came, as far as can be seen."""
        is_lost = isinstance(self.error, NetworkError) and not isinstance(
            self.error, PeerTimeoutError
        )
        return not self.arrived and not is_lost and not self.is_overload

    @property
    def sent(self) -> int:
        """How many instances the PACS says that it sent."""
        return (self.progress.completed or 0) + (self.progress.warning or 0)

    def reason(self) -> str:
        """Say what was wrong, in a sentence; empty if nothing was."""
        if self.error is not None:
            return self.error.message
        if self.is_empty_success:
            return "The PACS reported success, but sent nothing."
        if self.progress.failed:
            return f"The PACS reported {self.progress.failed} failed sub-operations."
        if self.sent > self.arrived:
            return f"The PACS says that it sent {self.sent} instances, and {self.arrived} arrived."
        return ""
