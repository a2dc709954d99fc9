"""Going through the tree of an archive, without following any link.

In: the root. Out: its folders one by one, with the names in them. Not here: what is in a file.

Names that begin with a dot are passed over: no layout makes any, and file servers and desktops
make many (``.nfs…``, ``.snapshot``, ``._x.dcm``). So is the ``lost+found`` of a disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["Found", "is_shown", "walk"]


class Found(NamedTuple):
    """What ``walk`` finds: one folder with the files in it.

    Attributes:
        folder: Relative to the root.
        mtime_ns: Its modification time.
        files: The regular ``*.dcm`` files by name, with size and modification time in ns.
        strange: Paths of links, pipes, names that are no UTF-8, and folders that may not be
            read; nothing here opens them.
    """

    folder: str
    mtime_ns: int
    files: dict[str, tuple[int, int]]
    strange: list[str]


def _is_foreign(path: str) -> bool:
    """Say whether a path is none of the tree, and never will be."""
    return path.rpartition("/")[2].startswith(".") or path == "lost+found"


def is_shown(path: str) -> bool:
    """Say whether ``walk`` finds a file by this path, relative to the root."""
    *folders, name = path.split("/")
    hidden = any(part.startswith(".") for part in (*folders, name)) or folders[:1] == ["lost+found"]
    return name.endswith(".dcm") and not hidden


def walk(root: Path) -> Iterator[Found]:
    """Go through the tree, folder by folder, in the order of names; links are not followed."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            found, below = _look_into(root, folder)
        except FileNotFoundError:  # removed while we walk
            continue
        except PermissionError:
            found, below = Found(folder, 0, {}, [folder]), []
        waiting.extend(reversed(below))
        yield found


def _look_into(root: Path, folder: str) -> tuple[Found, list[str]]:
    below, files, strange = [], {}, []
    mtime_ns = (root / folder).stat().st_mtime_ns  # before the names are read
    with os.scandir(root / folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if _is_foreign(path):
                continue
            if not _is_text(entry.name):
                strange.append(path)
            elif entry.is_dir(follow_symlinks=False):
                below.append(path)
            elif not entry.is_file(follow_symlinks=False):
                strange.append(path)
            elif entry.name.endswith(".dcm"):
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    files[entry.name] = status.st_size, status.st_mtime_ns
    return Found(folder, mtime_ns, files, strange), below


def _is_text(name: str) -> bool:
    """Say whether a name is UTF-8; Python hides other bytes in lone surrogates."""
    return name.isascii() or not any("\ud800" <= character <= "\udfff" for character in name)
