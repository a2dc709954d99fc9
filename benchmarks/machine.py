"""What a result depends on beside the programs: the machine, its file system, the versions."""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import platform
import struct
from datetime import UTC, datetime
from pathlib import Path

from tests.peers.process import require, run

from pypx.version import __version__

__all__ = ["describe", "file_system", "spread_folders"]

# linux/fs.h: FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_TOPDIR_FL
_GET_FLAGS, _SET_FLAGS, _TOP_FOLDER = 0x80086601, 0x40086602, 0x00020000


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


def spread_folders(folder: Path) -> bool:
    """Let ext4 put each folder that is made in this one far from the others, as ``chattr +T``.

    ext4 does not use an inode again within minutes after its file was deleted, and looks at
    each such inode whenever it makes a file nearby: after a round of some thousand files that
    takes 1 ms a file, and would be blamed on whoever comes next.

    Returns:
        Whether the file system has such a thing.
    """
    fd = os.open(folder, os.O_RDONLY)
    try:
        flags = bytearray(8)
        fcntl.ioctl(fd, _GET_FLAGS, flags)
        (now,) = struct.unpack_from("=I", flags)
        struct.pack_into("=I", flags, 0, now | _TOP_FOLDER)
        fcntl.ioctl(fd, _SET_FLAGS, flags)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


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
