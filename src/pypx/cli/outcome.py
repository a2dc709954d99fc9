"""What commands that move images say at their end, in the words that they share.

In: numbers, an error, names. Out: JSON, and lines. Not here: what the numbers mean; the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pypx.cli.output import Output, error_object, visible
from pypx.errors import PypxError

__all__ = ["Numbers", "name_some", "outcome_object"]

_MOST_NAMED = 20  # in the text; JSON has all


class Numbers(Protocol):
    """How many instances went how."""

    completed: int
    failed: int
    warning: int

    @property
    def remaining(self) -> int:
        """How many were not tried."""
        ...


def outcome_object(
    status: str, numbers: Numbers, more: Mapping[str, Any], error: PypxError | None
) -> dict[str, Any]:
    """Give the JSON document of a transfer.

    Args:
        status: ``success``, ``warning``, ``failure`` or ``cancelled``.
        numbers: Of instances.
        more: What else there is.
        error: What there is to complain about.
    """
    return {
        "status": status,
        "completed": numbers.completed,
        "failed": numbers.failed,
        "warning": numbers.warning,
        "remaining": numbers.remaining,
        **more,
        **({"error": error_object(error)} if error is not None else {}),
    }


def name_some(out: Output, title: str, lines: Sequence[str]) -> None:
    """Write the first lines of many below a title, and how many more there are."""
    if not lines:
        return
    shown = lines[:_MOST_NAMED]
    out.write(f"{title}:\n")
    out.write("".join(f"  {visible(line)}\n" for line in shown))
    if len(lines) > len(shown):
        out.write(f"and {len(lines) - len(shown):,} more, which --json names\n")
