"""A receiver with limits, for peers that misbehave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pypx.net import served
from tests.hostile import Scene

Begin = Callable[..., Scene]


@pytest.fixture
def begin(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Begin]:
    """Start a receiver: ``begin(max_objects=2)``."""
    monkeypatch.setattr(served, "_CLOSE_WAIT", 0.05)
    scenes = []

    def start(**limits: Any) -> Scene:
        scenes.append(Scene(tmp_path, caplog, **limits))
        return scenes[-1]

    yield start
    for scene in scenes:
        scene.close()


@pytest.fixture
def scene(begin: Begin) -> Scene:
    """Give a receiver with the limits of the default."""
    return begin()
