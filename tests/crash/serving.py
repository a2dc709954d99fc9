"""The embedded PACS in a process of its own, which notes each object that it sends.

``python -m tests.crash.serving ROOT PORT LOG [FAULT…]``: it serves the archive ROOT, moves to PYPX
on PORT, and writes a line to LOG for each C-STORE, ``SOP-INSTANCE-UID STATUS``, when it is
answered. It says on stdout on which port it listens, and ends with its stdin.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.store import Instance
from pypx.pacs import Pacs
from pypx.pacs.behaviour import Behaviour, Send


class Noting(Behaviour):
    """Behave, and note what is sent."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("a", buffering=1, encoding="ascii")

    def sending(self, send: Send) -> Send:
        def noted(instance: Instance) -> int:
            status = 0x0110  # of one whose association broke
            try:
                status = send(instance)
            finally:
                self._log.write(f"{instance.sop_instance_uid} {status}\n")
            return status

        return noted


def _note(pacs: Pacs, noting: Noting) -> None:
    """Put it below all faults: what these leave out is not sent."""
    outer, inner = None, pacs._behaviour
    while hasattr(inner, "inner"):
        outer, inner = inner, inner.inner
    if outer is None:
        pacs._behaviour = noting
    else:
        outer.inner = noting  # type: ignore[attr-defined]


def main(root: str, port: str, log: str, *faults: str) -> None:
    own = Address("PYPX", "127.0.0.1", int(port))
    with (
        Archive(Path(root), durability="none") as archive,
        Pacs(archive, destinations={"PYPX": own}, faults=faults) as pacs,
    ):
        _note(pacs, Noting(Path(log)))
        sys.stdout.write(f"{pacs.address}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
