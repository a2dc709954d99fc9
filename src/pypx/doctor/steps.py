"""What one step of a diagnosis says, and in which order steps are done.

In: checks, each with what it needs. Out: steps, as they end. Not here: what is checked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from pypx.errors import PypxError
from pypx.values import frozen

__all__ = ["Check", "Finding", "Status", "Step", "examine"]

_HIDDEN = "…"
_SHORTEST = 3  # characters of a text that is worth hiding; shorter ones are in any sentence


class Status(Enum):
    """The verdict of a step."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@frozen
class Finding:
    """What a check found.

    Attributes:
        message: A sentence.
        status: The verdict.
        hint: What to try; empty if there is nothing.
        facts: For programs, by name.
        exit_code: Of a failure.
    """

    message: str
    status: Status = Status.OK
    hint: str = ""
    facts: Mapping[str, Any] = {}
    exit_code: int = 0

    def unless(self, known: bool) -> Finding:
        """Give it as one that is in order where the profile of the node has it already."""
        if not known:
            return self
        return Finding(f"{self.message} The configuration says so.", facts=self.facts)


@frozen
class Step:
    """A check that was done, or left out.

    Attributes:
        name: What was checked.
        status: The verdict.
        seconds: How long it took.
        message: A sentence.
        hint: What to try; empty if there is nothing.
        facts: For programs, by name.
        exit_code: What the command exits with because of it.
    """

    name: str
    status: Status
    seconds: float
    message: str
    hint: str = ""
    facts: Mapping[str, Any] = {}
    exit_code: int = 0

    def document(self) -> dict[str, Any]:
        """Give it as programs read it."""
        return {
            "step": self.name,
            "status": self.status.value,
            "seconds": round(self.seconds, 4),
            "message": self.message,
            "hint": self.hint,
            "facts": dict(self.facts),
        }


@frozen
class Check:
    """One check.

    Attributes:
        name: What is checked.
        run: Does it; an error is a failure.
        needs: Checks without which it makes no sense.
    """

    name: str
    run: Callable[[], Finding]
    needs: tuple[str, ...] = ()


def examine(
    checks: Sequence[Check],
    *,
    failed: Collection[str] = (),
    secrets: Callable[[], Collection[str]] = tuple,
) -> Iterator[Step]:
    """Do the checks in their order, and leave out those that depend on one that failed.

    Args:
        checks: What is done.
        failed: Checks that others did, and that failed.
        secrets: Gives texts that no step may show.
    """
    lost = set(failed)
    for check in checks:
        missing = next((name for name in check.needs if name in lost), None)
        started = time.monotonic()
        if missing is not None:
            lost.add(check.name)
            yield Step(check.name, Status.SKIPPED, 0.0, f"It needs the step {missing!r}.")
            continue
        try:
            found = check.run()
        except PypxError as error:
            found = Finding(error.message, Status.FAILED, error.hint, exit_code=error.exit_code)
        seconds = time.monotonic() - started
        if found.status is Status.FAILED:
            lost.add(check.name)
        hidden = secrets()
        yield Step(
            check.name,
            found.status,
            seconds,
            _hide(found.message, hidden),
            _hide(found.hint, hidden),
            found.facts,
            _exit_code(found),
        )


def _exit_code(found: Finding) -> int:
    if found.status is Status.WARNING:
        return 1
    return found.exit_code or 1 if found.status is Status.FAILED else 0


def _hide(text: str, secrets: Collection[str]) -> str:
    """Take out what a PACS put into its comment."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, _HIDDEN)
    return text
