"""What the file system of a folder promises beyond what every one does.

In: an open folder. Out: its kind, and what may be relied on there. Not here: what is made of it.
"""

from __future__ import annotations

import os

__all__ = ["file_system", "sync_keeps_name"]

_SYNC_KEEPS_NAME = frozenset({"ext4", "xfs"})


def file_system(fd: int) -> str:
    """Give the type of the file system as Linux calls it (``ext4``); empty where unknown.

    Args:
        fd: Any file or folder on it.
    """
    device = os.fstat(fd).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:  # noqa: PTH123
            for line in lines:
                mount, _, source = line.partition(" - ")
                if mount.split(" ", 3)[2] == wanted:
                    return source.split(" ", 1)[0]
    except OSError:
        return ""  # no Linux
    return ""


def sync_keeps_name(fd: int) -> bool:
    """Say whether syncing a file also makes a name durable that it was given just before.

    ext4 and XFS log the new name and the file's inode in one transaction, which the sync of the
    file commits (ext4 without a log writes the folder with a file that is new in it). POSIX
    promises nothing of the kind, and others do not do it.
    """
    return file_system(fd) in _SYNC_KEEPS_NAME
