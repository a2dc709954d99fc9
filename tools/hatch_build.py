"""Makes the man pages when a wheel is built, so that it brings them along.

In: hatchling, which calls this. Out: files for share/man/man1 of the environment; pipx links
them to where man looks.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManPages(BuildHookInterface):  # type: ignore[type-arg]
    """The hook that pyproject.toml names."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the pages; an editable installation does without."""
        if version == "editable":
            return
        root = Path(self.root)
        sys.path[:0] = [str(root / "tools"), str(root / "src")]
        from make_man import write_pages

        self._folder = tempfile.TemporaryDirectory(prefix="pypx-man-")
        for page in write_pages(Path(self._folder.name)):
            build_data["shared_data"][str(page)] = f"share/man/man1/{page.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove them."""
        if version != "editable":
            self._folder.cleanup()
