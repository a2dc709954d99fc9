"""A hook as it is configured: what is to happen when a series is whole.

In: a table of the configuration, checked. Out: a value. What it does is in ``hooks``; nothing
heavy belongs here, since whoever reads a configuration with hooks imports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pypx.values import frozen

TYPE_CHECKING = False  # as a name of our own, since importing ``typing`` takes 3 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["HookSettings"]

_COMMAND_TIMEOUT = 600.0
_WEBHOOK_TIMEOUT = 10.0


@frozen
class HookSettings:
    """A command to run or an address to post to; it has one of both.

    Attributes:
        name: What its deliveries are kept under while they wait; one hook has it.
        command: The program and its arguments.
        webhook: The address.
        headers: More headers for the webhook. ``${NAME}`` in them, and in the address, stands
            for an environment variable; a header may be ``env:NAME``, ``file:PATH`` or
            ``keyring:SERVICE/USER`` as a whole.
        timeout: Seconds that the command may run, or that the webhook may be silent.
    """

    name: str
    command: tuple[str, ...] = ()
    webhook: str = ""
    headers: Mapping[str, str] = MappingProxyType({})
    timeout: float = _COMMAND_TIMEOUT

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> HookSettings:
        """Make one of its table in the configuration, which was checked."""
        command, webhook = tuple(table.get("command", ())), table.get("webhook", "")
        return cls(
            name=table.get("name") or _name_of(command, webhook),
            command=command,
            webhook=webhook,
            headers=dict(table.get("headers", {})),
            timeout=float(table.get("timeout", _WEBHOOK_TIMEOUT if webhook else _COMMAND_TIMEOUT)),
        )


def _name_of(command: tuple[str, ...], webhook: str) -> str:
    """Make up a name that stays the same as long as the hook does; the address is no part of it,
    since it may be a secret."""
    from zlib import crc32

    if webhook:
        kind, what = "webhook", webhook
    else:
        kind, what = "command", "\0".join(command)
    return f"{kind}-{crc32(what.encode('utf-8', 'surrogatepass')):08x}"
