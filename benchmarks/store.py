"""Sending: our client and a stock storescu, each a whole process, to the same receiver."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.peers.process import HOST, Peer, run

from benchmarks.contest import Contest, Entrant, Settings
from benchmarks.objects import LARGE, SMALL, images, write_files
from benchmarks.receivers import OURS, dcmtk_program, sink

__all__ = ["store", "store_large"]

_TIMEOUT = 600.0
_STOCK = "storescu"
_STOCK_NODELAY = "storescu, Nagle off"


def _rate(count: int, program: str, *arguments: str | Path, nodelay: bool = False) -> float:
    started = time.perf_counter()
    outcome = run(program, *arguments, nodelay=nodelay, timeout=_TIMEOUT)
    seconds = time.perf_counter() - started
    if outcome.returncode:
        raise RuntimeError(f"the sender failed: {outcome.output[-200:]}")
    return count / seconds


def _entrants(peer: Peer, folder: Path, count: int, few: int) -> Iterator[Entrant]:
    module = ("-m", "benchmarks.storing", peer.address)
    everything = folder / "all"
    yield Entrant(OURS, count, lambda: _rate(count, sys.executable, *module, everything))
    stock = (dcmtk_program("storescu"), "-aec", peer.ae_title, "+sd", HOST, str(peer.port))
    yield Entrant(_STOCK, few, lambda: _rate(few, *stock, folder / "few"))
    yield Entrant(_STOCK_NODELAY, count, lambda: _rate(count, *stock, everything, nodelay=True))


@contextmanager
def _store(settings: Settings, full: int, size: int, title: str) -> Iterator[Contest]:
    """One receiver for all of them; with Nagle on storescu stalls and gets a twentieth."""
    count = settings.count(full, at_least=100)
    few = max(10, count // 20)
    with tempfile.TemporaryDirectory(dir=settings.folder) as text:
        folder = Path(text)
        instances = list(images(count, size))
        write_files(folder / "all", instances)
        write_files(folder / "few", instances[:few])
        del instances
        peer = sink(folder)
        peer.start()
        try:
            yield Contest(
                title,
                "images/s",
                list(_entrants(peer, folder, count, few)),
                notes=["from the start of the process to its end; to storescp --ignore, Nagle off"],
            )
        finally:
            peer.stop()


def store(settings: Settings) -> AbstractContextManager[Contest]:
    """39 KB files."""
    return _store(settings, 4000, SMALL, "send 39 KB files, one association")


def store_large(settings: Settings) -> AbstractContextManager[Contest]:
    """532 KB files."""
    return _store(settings, 1000, LARGE, "send 532 KB files, one association")
