"""The archive: a readable tree of Part 10 files that is the truth, and an index of it.

In: objects as they arrive, files, queries. Out: where they are stored, and matches. The network
does not belong here.
"""

from __future__ import annotations

from pypx.archive.archive import Archive, Located
from pypx.archive.attributes import Level
from pypx.archive.incoming import Incoming
from pypx.archive.ingest import Report, Swept
from pypx.archive.storage import Outcome, Source, Stored

__all__ = [
    "Archive",
    "Incoming",
    "Level",
    "Located",
    "Outcome",
    "Report",
    "Source",
    "Stored",
    "Swept",
]
