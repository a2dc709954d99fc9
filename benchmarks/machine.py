"""What a result depends on beside the programs: the machine, its file system, the versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from tests.peers.process import require, run

from pypx.version import __version__

__all__ = ["describe", "file_system"]


def file_system(folder: Path) -> str:
    """Give the type of the file system that a folder is on, by the table of mounts of Linux."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    best, kind = "", "unknown"
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split()[4]
        if folder.resolve().is_relative_to(point) and len(point) >= len(best):
            best, kind = point, after.split()[0]
    return kind


def _first_line(*command: str) -> str:
    lines = [line for line in run(*command).output.splitlines() if line.strip()]
    return lines[0].strip("$ ") if lines else "unknown"


def describe(folder: Path) -> dict[str, str]:
    """Give the facts, by name."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "file system": file_system(folder),
        "load before": f"{os.getloadavg()[0]:.2f}",
        "Python": platform.python_version(),
        "pypx": __version__,
        "DCMTK": _first_line(require("dcmdump"), "--version"),
        "Orthanc": _first_line(require("Orthanc"), "--version"),
        "pynetdicom": importlib.metadata.version("pynetdicom"),
        "pydicom": importlib.metadata.version("pydicom"),
    }
