"""DCMTK: dcmqrscp and storescp as servers, its command line tools as clients.

A client tool takes the peer as ``AET@host:port`` and its own flags as they are, and
returns how it ended and what it wrote.
"""

from __future__ import annotations

__all__ = [
    "UNCOMPRESSED",
    "DcmQrScp",
    "StoreScp",
    "dcmdump",
    "echoscu",
    "findscu",
    "getscu",
    "movescu",
    "storescu",
    "write_association_profile",
]

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.corpus import CorpusFile
from tests.peers.process import Outcome, Peer, Place, free_port, require, run

Flag = str | os.PathLike[str]

UNCOMPRESSED = frozenset(("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"))


def _path(program: str) -> str:
    # pynetdicom installs programs of the same names; those beside dcmdump are DCMTK's.
    return str(Path(require("dcmdump")).with_name(program))


# --- clients ---------------------------------------------------------------------------------


def _scu(
    program: str,
    address: str,
    flags: Iterable[Flag],
    files: Iterable[Flag] = (),
    *,
    calling: str,
    nodelay: bool,
    timeout: float,
) -> Outcome:
    called, _, place = address.rpartition("@")
    host, _, port = place.rpartition(":")
    titles = ("-aet", calling, "-aec", called)
    return run(
        _path(program), *titles, *flags, host, port, *files, nodelay=nodelay, timeout=timeout
    )


def echoscu(
    address: str,
    *flags: Flag,
    calling: str = "ECHOSCU",
    nodelay: bool = True,
    timeout: float = 60.0,
) -> Outcome:
    """Send a C-ECHO."""
    return _scu("echoscu", address, flags, calling=calling, nodelay=nodelay, timeout=timeout)


def findscu(
    address: str,
    *flags: Flag,
    calling: str = "FINDSCU",
    nodelay: bool = True,
    timeout: float = 60.0,
) -> Outcome:
    """Send a C-FIND, e.g. with ``"-S", "-k", "QueryRetrieveLevel=STUDY"``."""
    return _scu("findscu", address, flags, calling=calling, nodelay=nodelay, timeout=timeout)


def movescu(
    address: str,
    destination: str,
    *flags: Flag,
    calling: str = "MOVESCU",
    nodelay: bool = True,
    timeout: float = 120.0,
) -> Outcome:
    """Send a C-MOVE to the AE title ``destination``."""
    flags = ("-aem", destination, *flags)
    return _scu("movescu", address, flags, calling=calling, nodelay=nodelay, timeout=timeout)


def getscu(
    address: str,
    output: Path,
    *flags: Flag,
    calling: str = "GETSCU",
    nodelay: bool = True,
    timeout: float = 120.0,
) -> Outcome:
    """Send a C-GET and write what comes to the folder ``output``."""
    flags = ("-od", output, *flags)
    return _scu("getscu", address, flags, calling=calling, nodelay=nodelay, timeout=timeout)


def storescu(
    files: Iterable[Flag],
    address: str,
    *flags: Flag,
    profile: Path | None = None,
    calling: str = "STORESCU",
    nodelay: bool = True,
    timeout: float = 120.0,
) -> Outcome:
    """Send C-STOREs in one association.

    By itself it proposes uncompressed transfer syntaxes only; with a ``profile`` of
    `write_association_profile` each class with the syntaxes of that. It stops at the first
    failure unless the flags have ``-nh``.
    """
    if profile is not None:
        flags = ("-xf", profile, "Out", *flags)
    return _scu(
        "storescu", address, flags, files, calling=calling, nodelay=nodelay, timeout=timeout
    )


def dcmdump(path: Flag, *flags: Flag) -> str:
    """Return the dump of a file; a program error is a failure of the test."""
    outcome = run(_path("dcmdump"), *flags, path)
    assert outcome.returncode == 0, outcome.output
    return outcome.output


# --- servers ---------------------------------------------------------------------------------


class StoreScp(Peer):
    """DCMTK's storescp.

    Args:
        folder: Where its log goes, and what it receives if there is no ``output``.
        ae_title: Its own AE title.
        port: Where it listens; a free port by default.
        output: The folder for what it receives.
        bit_preserving: Write the data set as it came (``+B``).
        accept_all: Accept all the transfer syntaxes that it knows (``+xa``).
        flags: More flags of storescp.
        nodelay: Whether it sends with TCP_NODELAY.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "STORESCP",
        port: int | None = None,
        output: Path | None = None,
        bit_preserving: bool = True,
        accept_all: bool = True,
        flags: Iterable[Flag] = (),
        nodelay: bool = True,
    ) -> None:
        port = port or free_port()
        self.output = output or folder / "received"
        self.output.mkdir(parents=True, exist_ok=True)
        all_flags = ["-v", "-aet", ae_title, "-od", self.output, *flags]
        if bit_preserving:
            all_flags.append("+B")
        if accept_all:
            all_flags.append("+xa")
        super().__init__(
            _path("storescp"),
            *all_flags,
            str(port),
            ae_title=ae_title,
            port=port,
            log=folder / "storescp.log",
            nodelay=nodelay,
        )

    @property
    def files(self) -> list[Path]:
        """What it has received so far."""
        return sorted(path for path in self.output.rglob("*") if path.is_file())


class DcmQrScp(Peer):
    """DCMTK's dcmqrscp with an empty database in ``folder``.

    C-MOVE and C-GET send every file through the first accepted presentation context of its
    SOP class, so only those in the ``UNCOMPRESSED`` syntaxes can be had from it; the others
    are failed sub-operations.

    Args:
        folder: Where configuration, database and log go.
        files: Whose SOP classes and transfer syntaxes it is to accept and to send.
        destinations: AE title to port; it knows only those that it is started with.
        hosts: More lines of its HostTable.
        ae_title: Its own AE title.
        flags: More flags of dcmqrscp.
        nodelay: Whether it sends with TCP_NODELAY.
        place: Where it runs.
    """

    def __init__(
        self,
        folder: Path,
        files: Iterable[CorpusFile],
        *,
        destinations: Mapping[str, int] | None = None,
        hosts: Iterable[str] = (),
        ae_title: str = "DCMQRSCP",
        flags: Iterable[Flag] = (),
        nodelay: bool = True,
        place: Place | None = None,
    ) -> None:
        port = free_port()
        self.destinations = dict(destinations or {})
        self.held: list[CorpusFile] = []
        self._hosts = tuple(hosts)
        self.profile = write_association_profile(folder / "associations.cfg", files)
        self._database = folder / "database"
        self._database.mkdir()
        config = folder / "dcmqrscp.cfg"
        config.write_text(self._config(ae_title, port), encoding="ascii")
        profile = ("-xf", self.profile, "In", "Out")
        super().__init__(
            _path("dcmqrscp"),
            *("-v", *profile, "-c", config, *flags),
            ae_title=ae_title,
            port=port,
            log=folder / "dcmqrscp.log",
            nodelay=nodelay,
            place=place,
        )

    def load(self, files: Iterable[CorpusFile]) -> dict[CorpusFile, str]:
        """Put copies of files into the database, with dcmqridx; return those that it refused.

        The others are in ``held`` from now on.
        """
        # With relative paths every C-FIND would work and every C-MOVE be refused.
        folder = self._database.resolve()
        copies = {file: folder / file.path.name for file in files}
        for file, copy in copies.items():
            shutil.copyfile(file, copy)
        outcome = run(_path("dcmqridx"), folder, *copies.values())
        assert outcome.returncode == 0, outcome.output
        errors = [line for line in outcome.output.splitlines() if line.startswith("E:")]
        refused = {
            file: line
            for file, copy in copies.items()
            for line in errors
            if line.endswith(str(copy))
        }
        self.held += [file for file in copies if file not in refused]
        return refused

    def _config(self, ae_title: str, own_port: int) -> str:
        hosts = [
            f"host{number} = ({aet}, localhost, {port})"
            for number, (aet, port) in enumerate(self.destinations.items(), 1)
        ]
        # The largest quota that it takes; above it the oldest study is deleted without a word.
        archive = f"{ae_title} {self._database.resolve()} RW (500, 1024mb) ANY"
        return "\n".join(
            [
                f"NetworkTCPPort = {own_port}",
                "MaxPDUSize = 16384",
                "MaxAssociations = 16",
                *("HostTable BEGIN", *hosts, *self._hosts, "HostTable END"),
                *("VendorTable BEGIN", "VendorTable END"),
                *("AETable BEGIN", archive, "AETable END"),
                "",
            ]
        )


# --- association profiles --------------------------------------------------------------------

VERIFICATION = "1.2.840.10008.1.1"
QUERY_RETRIEVE = [
    f"1.2.840.10008.5.1.4.1.2.{model}.{op}" for model in (1, 2, 3) for op in (1, 2, 3)
]
PLAIN = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")


def write_association_profile(path: Path, files: Iterable[CorpusFile]) -> Path:
    """Write a configuration file of association profiles for ``-xf``; return its path.

    ``In`` accepts verification, query/retrieve and the SOP classes of the files in any
    of their transfer syntaxes, in the role that C-GET needs too. ``Out`` proposes each
    pair of class and transfer syntax of the files in a presentation context of its own.
    """
    pairs = sorted({(file.sop_class_uid, file.transfer_syntax_uid) for file in files})
    classes = sorted({sop_class for sop_class, _ in pairs})
    syntaxes = sorted({syntax for _, syntax in pairs} - set(PLAIN))
    incoming = [rf"{uid}\Plain" for uid in (VERIFICATION, *QUERY_RETRIEVE)]
    lines = [
        "[[TransferSyntaxes]]",
        *_section("Plain", "TransferSyntax", PLAIN),
        *_section("Any", "TransferSyntax", (*syntaxes, *PLAIN)),
    ]
    for syntax in (*syntaxes, *PLAIN):
        lines += _section(_key(syntax), "TransferSyntax", (syntax,))
    lines += [
        "[[PresentationContexts]]",
        *_section("In", "PresentationContext", (*incoming, *(rf"{uid}\Any" for uid in classes))),
        *_section("Out", "PresentationContext", (rf"{uid}\{_key(ts)}" for uid, ts in pairs)),
        "[[SCPSCURoleSelection]]",
        *_section("Roles", "Role", (rf"{uid}\both" for uid in classes)),
        "[[Profiles]]",
        "[In]",
        "PresentationContexts = In",
        "SCPSCURoleSelection = Roles",
        "[Out]",
        "PresentationContexts = Out",
        "",
    ]
    path.write_text("\n".join(lines), encoding="ascii")
    return path


def _section(name: str, key: str, values: Iterable[str]) -> list[str]:
    return [f"[{name}]", *(f"{key}{number} = {value}" for number, value in enumerate(values, 1))]


def _key(uid: str) -> str:
    return "TS" + uid.replace(".", "")
