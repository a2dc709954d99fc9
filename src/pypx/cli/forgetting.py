"""Jobs of px retrieve that nobody wants to see any more.

In: IDs, or an age. Out: a ledger without these jobs, and which they were. The images that they
brought stay. Not here: how jobs stand.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pypx.cli.jobs import resolve
from pypx.cli.options import Invocation
from pypx.cli.show import count
from pypx.errors import ConfigError

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.archive.transfers import Transfer

__all__ = ["forget"]

_DAY = 86_400  # seconds


def forget(invocation: Invocation, names: Sequence[str], older: float | None) -> int:
    """Forget jobs, and say which.

    Args:
        invocation: For output and archive.
        names: Their IDs; how one begins is enough.
        older: Days since their end; those that ended before are forgotten as well.

    Returns:
        The exit code.

    Raises:
        ConfigError: There is no such job, or a process runs it.
        ArchiveError: The archive cannot be written.
    """
    from pypx.archive.locks import TransferLock

    out = invocation.out
    forgotten: list[str] = []
    with invocation.open_archive(create=False) as archive:
        # First all of them: a name that is wrong is told before any is forgotten.
        wanted = {transfer.id: transfer for transfer in _wanted(archive, names, older)}
        for transfer in wanted.values():
            try:
                lock = TransferLock.acquire(archive.root, transfer.id)
            except ConfigError as error:
                if names:
                    raise
                out.say(error.message)
                continue
            with lock:
                archive.ledger.remove(transfer)
            forgotten.append(transfer.id)
    if out.form == "json":
        out.document({"forgotten": forgotten})
    else:
        out.line(f"Forgot {count(len(forgotten), 'job')}. The images stay.")
        for name in forgotten:
            out.detail(f"forgot job {name}")
    return 0


def _wanted(archive: Archive, names: Sequence[str], older: float | None) -> Iterator[Transfer]:
    from pypx.archive.reading import iso_time

    for name in names:
        yield resolve(archive.ledger, name)
    if older is not None:
        before = iso_time(int((time.time() - older * _DAY) * 1e9))
        for transfer in archive.ledger.transfers():
            if (transfer.ended_at or transfer.began_at) < before:
                yield transfer
