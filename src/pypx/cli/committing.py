"""``px store --commit``: ask for storage commitment, and say what became of it.

In: what a PACS has stored. Out: which of that it has committed itself to keep, as a sentence,
JSON and an error where it is not all.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from pypx.cli.outcome import name_some
from pypx.cli.output import Output, visible
from pypx.cli.show import count
from pypx.errors import (
    AssociationError,
    CancelledError,
    ConfigError,
    NetworkError,
    ProtocolError,
    PypxError,
)

if TYPE_CHECKING:
    from pypx.cli.options import Invocation
    from pypx.client.commit import Commit
    from pypx.client.commitment import CommitmentResult, Reference, Reports
    from pypx.client.requestor import Requestor
    from pypx.config import Node
    from pypx.net.served import Caller
    from pypx.ul.pdu import AAssociateRQ

__all__ = ["Committed", "commit_all"]


class _NotCommittedError(PypxError):
    kind = "partial"


class Committed:
    """What became of a request for storage commitment.

    Args:
        node: Whom it went to.
        result: What is known.
        cause: What went wrong, if anything did.
        hint: What to try where nothing was reported.
    """

    def __init__(
        self, node: str, result: CommitmentResult, cause: PypxError | None, hint: str
    ) -> None:
        self._node = node
        self._result = result
        self._cause = cause
        self._hint = hint

    @property
    def _total(self) -> int:
        result = self._result
        return len(result.committed) + len(result.failed) + len(result.missing)

    @property
    def error(self) -> PypxError | None:
        """What is to be said where not all is committed."""
        lacking = self._total - len(self._result.committed)
        if not lacking:
            return None
        words = f"{lacking:,} of {count(self._total, 'image')} stored but not committed"
        if isinstance(self._cause, CancelledError):
            return CancelledError(f"Interrupted: {words}.")
        if self._cause is not None:
            return _NotCommittedError(f"{words}: {self._cause.message}", hint=self._cause.hint)
        hint = self._hint if self._result.missing else "They are named above, each with the reason."
        return _NotCommittedError(f"{words}.", hint=hint)

    def tell(self, out: Output) -> None:
        """Write the numbers, and the names of what is not committed."""
        result = self._result
        numbers = [f"{len(result.committed):,} of {self._total:,} committed by {self._node}"]
        numbers += [f"{len(result.failed):,} refused"] if result.failed else []
        numbers += [f"{len(result.missing):,} never reported"] if result.missing else []
        out.line(visible(", ".join(numbers)))
        lines = [f"{one.sop_instance_uid}: {one.meaning}" for one in result.failed]
        lines += [f"{uid}: never reported" for uid in result.missing]
        name_some(out, "Not committed", lines)

    def document(self) -> dict[str, Any]:
        """Give the ``commitment`` of the JSON document."""
        result = self._result
        uids = result.transaction_uids
        return {
            "transaction_uid": uids[0] if len(uids) == 1 else list(uids),
            "committed": len(result.committed),
            "failed": [
                {"sop_instance_uid": one.sop_instance_uid, "reason": one.meaning}
                for one in result.failed
            ],
            "missing": list(result.missing),
        }


def commit_all(
    invocation: Invocation,
    node: Node,
    client: Requestor,
    references: Collection[Reference],
    host: str | None,
    port: int | None,
    timeout: float,
) -> Committed:
    """Ask for commitment of what a node has stored, and wait for its reports.

    Args:
        invocation: The command.
        node: Who has it.
        client: To the node.
        references: What it has stored.
        host: Where we hear reports; None as configured.
        port: Likewise.
        timeout: Seconds without a report that end the wait.
    """
    from pypx.client.commitment import Reports

    reports = Reports(references)
    listen = invocation.config.listen
    own_port = port or listen.port
    cause: PypxError | None = None
    with ExitStack() as stack:
        listening = _listen(stack, invocation, node, reports, host, own_port)
        try:
            commit = client.commit(reports, timeout=timeout, listening=listening)
            cause = _run(invocation, commit, len(references))
        except (NetworkError, AssociationError, ProtocolError) as error:
            cause = error
    aet = client.calling_ae_title
    hint = (
        f"Nothing was reported for {timeout:g} s. A PACS that reports over an association of its "
        f"own must know {aet} at the address of this machine, port {own_port}; --commit-timeout "
        "waits longer."
    )
    return Committed(node.name, reports.result(), cause, hint)


def _run(invocation: Invocation, commit: Commit, number: int) -> PypxError | None:
    """Ask and wait; Ctrl-C ends the wait."""
    invocation.out.detail(f"asking for storage commitment of {count(number, 'image')}")
    invocation.interrupts.cancel = commit.stop
    try:
        commit.run()
    finally:
        invocation.interrupts.cancel = None
    return commit.error


def _listen(
    stack: ExitStack,
    invocation: Invocation,
    node: Node,
    reports: Reports,
    host: str | None,
    port: int,
) -> bool:
    """Listen for reports if our port is free; say whether we do."""
    from pypx.cli.reception import allow_rules, log_to, warn_of_loopback
    from pypx.client.commit import ReportListener
    from pypx.receiver.allow import fitting, is_loopback

    config, out = invocation.config, invocation.out
    bound = config.listen.host if host is None else host
    warn_of_loopback(invocation, node, host)
    rules = allow_rules(config.listen.allow, [*config.nodes.values(), node], bound, out)

    def allowed(request: AAssociateRQ, caller: Caller) -> bool:
        if not rules and is_loopback(bound):
            return True
        found = fitting(rules, request, caller)
        # Nobody is asked for a password here: what needs one does not count.
        return isinstance(found, list) and any(rule.admits(None) for rule in found)

    log_to(out)
    try:
        stack.enter_context(ReportListener(reports, bound, port, allowed=allowed))
    except ConfigError as error:
        out.warn(f"{error.message} Only a report over our own association can be heard.")
        return False
    return True
