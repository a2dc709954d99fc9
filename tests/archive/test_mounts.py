"""What is known of the file system of a folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pypx.archive import mounts
from pypx.archive.mounts import file_system, sync_keeps_name


@pytest.mark.skipif(sys.platform != "linux", reason="there is /proc on Linux only")
def test_a_file_system_has_the_name_of_its_mount() -> None:
    for folder, expected in (("/proc", "proc"), ("/sys", "sysfs")):
        fd = os.open(folder, os.O_RDONLY)
        assert file_system(fd) == expected
        assert not sync_keeps_name(fd)
        os.close(fd)


@pytest.mark.parametrize(
    ("kind", "expected"), [("ext4", True), ("xfs", True), ("btrfs", False), ("nfs4", False)]
)
def test_what_is_relied_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, expected: bool
) -> None:
    monkeypatch.setattr(mounts, "file_system", lambda fd: kind)
    fd = os.open(tmp_path, os.O_RDONLY)
    assert sync_keeps_name(fd) is expected
    os.close(fd)
