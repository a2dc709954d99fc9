"""Who receives: ours and the others, each as a process with an empty folder of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tests.peers.orthanc import Orthanc
from tests.peers.process import HOST, Peer, free_port, require
from tests.peers.pynetdicom_peers import PynetdicomStoreScp

__all__ = [
    "OURS",
    "RAW_COPY",
    "RAW_COPY_SYNCED",
    "RECEIVERS",
    "BareAcceptor",
    "Make",
    "PxListen",
    "RawCopy",
    "dcmtk_program",
    "sink",
    "stock_orthanc",
]

Make = Callable[[Path], Peer]


class PxListen(Peer):
    """``px listen`` into a fresh archive."""

    def __init__(self, folder: Path, *, durability: str = "full", workers: int = 1) -> None:
        port = free_port()
        self.archive = folder / "archive"
        config = folder / "config.toml"
        config.touch()
        super().__init__(
            sys.executable,
            *("-m", "pypx", "listen", "--config", config, "--archive", self.archive),
            *("--host", HOST, "--port", str(port), "--durability", durability),
            *("--workers", str(workers)),
            ae_title="PYPX",
            port=port,
            log=folder / "px-listen.log",
        )


class BareAcceptor(Peer):
    """Reads, answers and keeps nothing, with what most PACS announce as their longest PDU."""

    def __init__(self, folder: Path, *, maximum_length: int = 16_384) -> None:
        port = free_port()
        super().__init__(
            sys.executable,
            *("-m", "benchmarks.acceptor", str(port), str(maximum_length)),
            ae_title="BARE",
            port=port,
            log=folder / "acceptor.log",
        )


class RawCopy(Peer):
    """The same bytes from the socket into files, without DICOM."""

    def __init__(self, folder: Path, *flags: str) -> None:
        output = folder / "received"
        output.mkdir()
        port = free_port()
        super().__init__(
            sys.executable,
            *("-m", "benchmarks.rawcopy", str(port), output, *flags),
            ae_title="RAW",
            port=port,
            log=folder / "rawcopy.log",
        )


def stock_orthanc(folder: Path) -> Orthanc:
    """Give an Orthanc with what it does unless told otherwise, as far as a receiver matters."""
    config = {"SyncStorageArea": True, "Plugins": []}
    return Orthanc(folder, nodelay=False, config=config)


class PlainStoreScp(Peer):
    """DCMTK's storescp without more flags than it needs, not even for a log."""

    def __init__(self, folder: Path, *flags: str, nodelay: bool = False) -> None:
        port = free_port()
        output = folder / "received"
        output.mkdir()
        super().__init__(
            dcmtk_program("storescp"),
            *("-od", output, *flags, str(port)),
            ae_title="STORESCP",
            port=port,
            log=folder / "storescp.log",
            nodelay=nodelay,
        )


def sink(folder: Path) -> Peer:
    """Give a storescp that answers at once and keeps nothing, to measure who sends."""
    return PlainStoreScp(folder, "--ignore", "--fork", nodelay=True)


def dcmtk_program(name: str) -> str:
    """Give DCMTK's program of a name that pynetdicom has as well."""
    return str(Path(require("dcmdump")).with_name(name))


OURS = "pypx"
RAW_COPY = "raw copy"
RAW_COPY_SYNCED = "raw copy, synced"
#: By name; each makes a peer that is not started. All as they come, Nagle as they have it.
RECEIVERS: dict[str, Make] = {
    OURS: PxListen,
    "pypx --durability none": lambda folder: PxListen(folder, durability="none"),
    "pypx --workers 2": lambda folder: PxListen(folder, workers=2),
    "storescp": PlainStoreScp,
    "storescp +B": lambda folder: PlainStoreScp(folder, "+B"),
    "pynetdicom": PynetdicomStoreScp,
    "Orthanc": stock_orthanc,
    RAW_COPY: RawCopy,
    RAW_COPY_SYNCED: lambda folder: RawCopy(folder, "--sync"),
    "storescp, Nagle off": lambda folder: PlainStoreScp(folder, nodelay=True),
}
