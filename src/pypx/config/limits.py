"""The keys of ``[listen]`` that are limits of what a peer may ask, and what they may be.

In: values as TOML has them. Out: :class:`~pypx.net.limits.AcceptorLimits`, or an error. Where in
the file a mistake is belongs to ``checks``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pypx.config.amounts import parse_size
from pypx.errors import ConfigError
from pypx.net.limits import AcceptorLimits

__all__ = ["LIMITS", "Limit", "read_limits"]

_DAY = 86_400  # seconds


class Limit(NamedTuple):
    """What one limit may be.

    Attributes:
        least: The smallest value; 0 where that means none.
        most: The largest value.
        is_size: Whether it is a number of bytes, which may be text.
        is_time: Whether it is a number of seconds.
    """

    least: int
    most: int
    is_size: bool = False
    is_time: bool = False

    def check(self, value: Any) -> None:
        """Refuse what is out of range.

        Raises:
            ConfigError: It is.
        """
        number = parse_size(value) if self.is_size else value
        if not self.least <= number <= self.most:
            unit = " of seconds" if self.is_time else " of bytes" if self.is_size else ""
            raise ConfigError(f"{value} is no number{unit} from {self.least} to {self.most}.")


LIMITS = {
    "max_associations": Limit(1, 10_000),
    "max_associations_per_host": Limit(0, 10_000),
    "max_waiting": Limit(1, 10_000),
    "max_pdu": Limit(4 << 10, 128 << 20, is_size=True),
    "max_request": Limit(4 << 10, 16 << 20, is_size=True),
    "max_user_information": Limit(64, 64 << 10, is_size=True),
    "max_contexts": Limit(1, 128),
    "max_command": Limit(1 << 10, 16 << 20, is_size=True),
    "max_elements": Limit(0, 1 << 31),
    "max_depth": Limit(1, 1000),
    "max_objects": Limit(0, 1 << 31),
    "max_bytes": Limit(0, 1 << 50, is_size=True),
    "artim_timeout": Limit(1, _DAY, is_time=True),
    "pdu_timeout": Limit(0, _DAY, is_time=True),
    "idle_timeout": Limit(1, _DAY, is_time=True),
    "send_timeout": Limit(1, _DAY, is_time=True),
    "association_timeout": Limit(0, 366 * _DAY, is_time=True),
}
"""The limits by their key."""


def read_limits(table: Mapping[str, Any]) -> AcceptorLimits:
    """Give the limits that a table sets; for the others it is the default."""
    return AcceptorLimits(
        **{
            key: parse_size(table[key]) if limit.is_size else table[key]
            for key, limit in LIMITS.items()
            if key in table
        }
    )
