"""Store two objects and tell which are stored: ``python -m tests.crash.storing ROOT WAY``.

In: an archive that has instance 1. Out: ``stored 2`` on stdout when the new instance 2 is, and
``stored 1`` when other content for instance 1 is; ``refused`` where it is not. WAY is how often an
object is synced, ``once`` as on ext4 and XFS or ``twice``, whatever the file system is.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pypx.archive import Archive, tree
from pypx.errors import ArchiveError
from tests.archive.helpers import store

NEW = {"number": 2, "StudyInstanceUID": "1.9", "SeriesInstanceUID": "1.9.1"}
OTHER = {"number": 1, "PixelData": b"other pixels"}


def main() -> None:
    tree.sync_keeps_name = lambda fd: sys.argv[2] == "once"
    with Archive(Path(sys.argv[1])) as archive:
        for changes in (NEW, OTHER):
            try:
                store(archive, **changes)
                word = "stored"
            except ArchiveError:
                word = "refused"
            sys.stdout.write(f"{word} {changes['number']}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
