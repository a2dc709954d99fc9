"""Sending: ``px store`` and a stock storescu, each a whole process, to the same receiver."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.peers.process import HOST, Peer, run

from benchmarks.contest import Bar, Contest, Entrant, Settings
from benchmarks.objects import LARGE, SMALL, images, write_files
from benchmarks.receivers import OURS, BareAcceptor, dcmtk_program, sink

__all__ = ["store", "store_large", "store_storescp"]

_TIMEOUT = 600.0
_STOCK = "storescu"
_STOCK_NODELAY = "storescu, Nagle off"


@dataclass(frozen=True)
class _Task:
    """What is sent to whom.

    Attributes:
        title: In the table.
        size: Bytes of a data set.
        full: Files at scale 1.
        receiver: Makes it.
        note: What it is.
        bars: What is to be reached.
        stock_part: Of the files for a storescu with Nagle on, which stalls on some receivers.
    """

    title: str
    size: int
    full: int
    receiver: Callable[[Path], Peer]
    note: str
    bars: tuple[Bar, ...] = ()
    stock_part: float = 1.0


def _rate(count: int, program: str, *arguments: str | Path, nodelay: bool = False) -> float:
    started = time.perf_counter()
    outcome = run(program, *arguments, nodelay=nodelay, timeout=_TIMEOUT)
    seconds = time.perf_counter() - started
    if outcome.returncode:
        raise RuntimeError(f"the sender failed: {outcome.output[-200:]}")
    return count / seconds


def _entrants(peer: Peer, folder: Path, count: int, few: int) -> Iterator[Entrant]:
    everything = folder / "all"
    config = folder / "config.toml"
    config.touch()
    ours = (sys.executable, "-m", "pypx", "store", "--config", config, peer.address, everything)
    stock = (dcmtk_program("storescu"), "-aec", peer.ae_title, "+sd", HOST, str(peer.port))
    yield Entrant(OURS, count, lambda: _rate(count, *ours))
    yield Entrant(f"{OURS}, one", count, lambda: _rate(count, *ours, "--associations", "1"))
    yield Entrant(_STOCK, few, lambda: _rate(few, *stock, folder / "few"))
    yield Entrant(_STOCK_NODELAY, count, lambda: _rate(count, *stock, everything, nodelay=True))


@contextmanager
def _store(settings: Settings, task: _Task) -> Iterator[Contest]:
    count = settings.count(task.full, at_least=100)
    few = max(10, round(count * task.stock_part))
    with tempfile.TemporaryDirectory(dir=settings.folder) as text:
        folder = Path(text)
        instances = list(images(count, task.size))
        write_files(folder / "all", instances)
        write_files(folder / "few", instances[:few])
        del instances
        peer = task.receiver(folder)
        peer.start()
        try:
            yield Contest(
                task.title,
                "images/s",
                list(_entrants(peer, folder, count, few)),
                task.bars,
                ["from the start of the process to its end", task.note],
            )
        finally:
            peer.stop()


_BARE = "to an acceptor that reads, answers and keeps nothing, 16 KiB a PDU"
_FASTER = tuple(
    Bar(ours, 1.5, stock) for ours in (OURS, f"{OURS}, one") for stock in (_STOCK, _STOCK_NODELAY)
)


def store(settings: Settings) -> AbstractContextManager[Contest]:
    """39 KB files to a bare acceptor."""
    return _store(settings, _Task("send 39 KB files", SMALL, 4000, BareAcceptor, _BARE, _FASTER))


def store_large(settings: Settings) -> AbstractContextManager[Contest]:
    """532 KB files to a bare acceptor."""
    return _store(settings, _Task("send 532 KB files", LARGE, 1000, BareAcceptor, _BARE))


def store_storescp(settings: Settings) -> AbstractContextManager[Contest]:
    """39 KB files to DCMTK; with Nagle on storescu stalls there, and gets a twentieth."""
    title, note = "send 39 KB files to storescp", "to storescp --ignore --fork, Nagle off"
    return _store(settings, _Task(title, SMALL, 4000, sink, note, stock_part=0.05))
