"""Receiving: from our pre-loaded sender, from a stock storescu, over one and more associations."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.peers.process import HOST, Peer, run

from benchmarks.contest import Bar, Contest, Entrant, Settings
from benchmarks.objects import LARGE, SMALL, Instance, images, write_files
from benchmarks.receivers import OURS, RAW_COPY, RAW_COPY_SYNCED, RECEIVERS, dcmtk_program
from benchmarks.sender import send, send_raw

__all__ = [
    "associations",
    "check_arrival",
    "large",
    "nagle_large",
    "nagle_small",
    "running",
    "small",
]

_NOT_DURABLE = "pypx --durability none"
_WORKERS = "pypx --workers 2"
_STORESCU_TIMEOUT = 600.0
_WARM_UP = 10


@contextmanager
def running(settings: Settings, name: str) -> Iterator[tuple[Peer, Path]]:
    """Start a receiver with an empty folder on the measured disk; end it and delete that."""
    with tempfile.TemporaryDirectory(dir=settings.folder) as text:
        folder = Path(text)
        peer = RECEIVERS[name](folder)
        peer.start()
        try:
            yield peer, folder
        finally:
            peer.stop()


def check_arrival(folder: Path, count: int, size: int) -> None:
    """See that a receiver has kept what it was sent, in files of about that size.

    Raises:
        RuntimeError: It has not.
    """
    arrived = sum(
        1
        for path in folder.rglob("*")
        if not {".pypx", "index", "index-wal"} & set(path.parts)
        and path.is_file()
        and 0.9 * size < path.stat().st_size < 1.5 * size
    )
    if arrived != count:
        raise RuntimeError(f"{arrived} of {count} files are there")


def _warm_up(name: str, peer: Peer, size: int) -> None:
    """Send a few images of another series: what a process does once is not counted."""
    instances = list(images(_WARM_UP, size, first=10_000_000))
    if name in (RAW_COPY, RAW_COPY_SYNCED):
        send_raw(peer.port, instances)
    else:
        send(peer.port, instances, called_ae_title=peer.ae_title)


def _receive(settings: Settings, name: str, instances: Sequence[Instance]) -> float:
    size = len(instances[0].data_set)
    with running(settings, name) as (peer, folder):
        _warm_up(name, peer, size)
        if name in (RAW_COPY, RAW_COPY_SYNCED):
            sent = send_raw(peer.port, instances)
        else:
            sent = send(peer.port, instances, called_ae_title=peer.ae_title)
        check_arrival(folder, _WARM_UP + len(instances), size)
    return len(instances) / sent.seconds


def _entrants(
    settings: Settings, instances: Sequence[Instance], shares: Mapping[str, float]
) -> list[Entrant]:
    def entrant(name: str, share: float) -> Entrant:
        part = instances[: max(20, round(len(instances) * share))]
        return Entrant(name, len(part), lambda: _receive(settings, name, part))

    return [entrant(name, shares.get(name, 1.0)) for name in _ALL]


_ALL = (
    OURS,
    _NOT_DURABLE,
    "storescp",
    "storescp +B",
    "pynetdicom",
    "Orthanc",
    RAW_COPY,
    RAW_COPY_SYNCED,
)
_SLOW = {"pynetdicom": 0.25, "Orthanc": 0.25}


@contextmanager
def small(settings: Settings) -> Iterator[Contest]:
    """39 KB images from a pre-loaded sender over one association."""
    instances = list(images(settings.count(4000, at_least=200), SMALL))
    yield Contest(
        "receive 39 KB, pre-loaded sender, one association",
        "images/s",
        _entrants(settings, instances, _SLOW),
        (
            Bar(OURS, 1.5, "storescp"),
            Bar(OURS, 10, "pynetdicom"),
            Bar(OURS, 5, "Orthanc"),
            Bar(_NOT_DURABLE, 2, "storescp"),
        ),
    )


@contextmanager
def large(settings: Settings) -> Iterator[Contest]:
    """532 KB images from a pre-loaded sender over one association."""
    instances = list(images(settings.count(1000, at_least=80), LARGE))
    yield Contest(
        "receive 532 KB, pre-loaded sender, one association",
        "images/s",
        _entrants(settings, instances, _SLOW),
        (
            Bar(OURS, 1, "storescp"),
            Bar(OURS, 6, "pynetdicom"),
            Bar(_NOT_DURABLE, 0.8, RAW_COPY),
        ),
    )


def _storescu(
    settings: Settings, name: str, files: Path, count: int, size: int, nodelay: bool
) -> float:
    with running(settings, name) as (peer, folder):
        titles = ("-aec", peer.ae_title, "+sd")
        started = time.perf_counter()
        outcome = run(
            dcmtk_program("storescu"),
            *(*titles, HOST, str(peer.port), files),
            nodelay=nodelay,
            timeout=_STORESCU_TIMEOUT,
        )
        seconds = time.perf_counter() - started
        if outcome.returncode:
            raise RuntimeError(f"storescu: {outcome.output[:200]}")
        check_arrival(folder, count, size)
    return count / seconds


@contextmanager
def _nagle(settings: Settings, full: int, size: int, title: str) -> Iterator[Contest]:
    """A stock storescu; those that stall get a twentieth of the images."""
    count = settings.count(full, at_least=100)
    few = max(10, count // 20)
    with tempfile.TemporaryDirectory(dir=settings.folder) as text:
        folder = Path(text)
        instances = list(images(count, size))
        write_files(folder / "all", instances)
        write_files(folder / "few", instances[:few])
        del instances

        def entrant(name: str, many: bool, nodelay: bool) -> Entrant:
            part, number = (folder / "all", count) if many else (folder / "few", few)
            label = name + (", Nagle off" if name == OURS and nodelay else "")
            return Entrant(
                label, number, lambda: _storescu(settings, name, part, number, size, nodelay)
            )

        yield Contest(
            title,
            "images/s",
            [
                entrant(OURS, True, False),
                entrant("storescp", False, False),
                entrant(OURS, True, True),
                entrant("storescp, Nagle off", True, True),
            ],
            (Bar(OURS, 15, "storescp"),),
        )


def nagle_small(settings: Settings) -> AbstractContextManager[Contest]:
    """39 KB images from a stock storescu."""
    return _nagle(settings, 4000, SMALL, "receive 39 KB, stock storescu (Nagle on)")


def nagle_large(settings: Settings) -> AbstractContextManager[Contest]:
    """532 KB images from a stock storescu."""
    return _nagle(settings, 1000, LARGE, "receive 532 KB, stock storescu (Nagle on)")


@contextmanager
def associations(settings: Settings) -> Iterator[Contest]:
    """The same images over 8 associations at once, and over one."""
    instances = list(images(settings.count(4000, at_least=400), SMALL))
    notes: list[str] = []

    def eight(name: str) -> Callable[[], float]:
        def measure() -> float:
            with running(settings, name) as (peer, folder):
                _warm_up(name, peer, SMALL)
                title = peer.ae_title
                sent = send(peer.port, instances, called_ae_title=title, associations=8)
                check_arrival(folder, _WARM_UP + len(instances), SMALL)
            fairness = max(sent.each) / min(sent.each)
            notes.append(f"{name}: slowest association {fairness:.2f} times the fastest")
            return len(instances) / sent.seconds

        return measure

    def one(name: str) -> Callable[[], float]:
        return lambda: _receive(settings, name, instances)

    count = len(instances)
    yield Contest(
        "receive 39 KB over 8 associations at once",
        "images/s",
        [
            Entrant(f"{OURS}, 8 at once", count, eight(OURS)),
            Entrant(f"{OURS}, one", count, one(OURS)),
            Entrant(f"{_WORKERS}, 8 at once", count, eight(_WORKERS)),
            Entrant(f"{_NOT_DURABLE}, 8 at once", count, eight(_NOT_DURABLE)),
            Entrant(f"{_NOT_DURABLE}, one", count, one(_NOT_DURABLE)),
        ],
        (
            Bar(f"{OURS}, 8 at once", 1, f"{OURS}, one"),
            Bar(f"{_NOT_DURABLE}, 8 at once", 1, f"{_NOT_DURABLE}, one"),
        ),
        notes,
    )
