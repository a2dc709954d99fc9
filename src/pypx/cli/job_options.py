"""The options of ``px retrieve``, and what of them a job keeps for whoever resumes it.

In: options of the command line, and those of the job that is resumed. Out: settings. Not here: what
they lead to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pypx.config import Node
from pypx.config.amounts import parse_size
from pypx.dicom.levels import level_of
from pypx.errors import ConfigError
from pypx.retrieve.load import Window
from pypx.retrieve.settings import Settings
from pypx.values import frozen, replace

__all__ = ["Options"]

_MOST_OF_A_ROW = 100  # studies
_BACKOFF = 1.0  # seconds before the first time that something is asked for again
_KEPT = (
    *("method", "by", "associations", "retries", "wait", "between", "max_rate"),
    *("max_studies_per_row", "host", "port"),
)


@frozen
class Options:
    """The options of ``px retrieve``, by the names that they have there; None was not given."""

    list_file: str | None
    resume: str | None
    dry_run: bool
    method: str | None
    by: str | None
    associations: int | None
    retries: int | None
    wait: float | None
    between: str | None
    max_rate: str | None
    max_studies_per_row: int | None
    manifest: str | None
    report: str | None
    host: str | None
    port: int | None

    def kept(self) -> dict[str, Any]:
        """Give those that are kept with a job."""
        given = {name: getattr(self, name) for name in _KEPT}
        return {name: value for name, value in given.items() if value is not None}

    def over(self, request: Mapping[str, Any]) -> Options:
        """Give them with those of a job in the place of what was not given now."""
        kept = {name: request[name] for name in _KEPT if name in request}
        return replace(self, **{**kept, **self.kept()})

    def check_by(self, keys: Iterable[str]) -> None:
        """Refuse to get whole studies for keys that name a part of each.

        Raises:
            ConfigError: There is such a key.
        """
        below = [key for key in keys if level_of(key) in ("series", "image")]
        if self.by == "study" and below:
            raise ConfigError(
                f"{below[0]} names a part of a study, and --by study gets all of it.",
                hint="Leave --by study out.",
            )

    def settings(self, node: Node | None, settle: float, *, is_list: bool) -> Settings:
        """Say how the job works.

        Args:
            node: Whom it asks; None where that is not known yet.
            settle: Seconds after which nothing more is expected of a request.
            is_list: Its queries are rows.

        Raises:
            ConfigError: A value is none.
        """
        rate = parse_size(self.max_rate.removesuffix("/s")) if self.max_rate else None
        if rate == 0:
            raise ConfigError("--max-rate 0 would never get anything.", hint="Write 10M.")
        usual = Settings()
        window = Window.parse(self.between) if self.between else None
        return Settings(
            method=self.method or usual.method,
            by=self.by or usual.by,
            associations=self.associations or (node.associations if node else usual.associations),
            retries=usual.retries if self.retries is None else self.retries,
            backoff=_BACKOFF,
            settle=settle,
            outage=usual.outage if self.wait is None else self.wait,
            between=None if self.dry_run else window,  # who asks for the plan wants it now
            max_rate=rate,
            max_studies=self.max_studies_per_row or (_MOST_OF_A_ROW if is_list else None),
        )
