"""pynetdicom: its two server programs, and a server whose answers a test writes."""

from __future__ import annotations

__all__ = ["PynetdicomQrScp", "PynetdicomStoreScp", "ScriptedScp"]

import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from tests.peers.process import HOST, Peer, free_port

QUERY_RETRIEVE = (
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

Handler = Callable[[evt.Event], Any]


class PynetdicomStoreScp(Peer):
    """pynetdicom's storescp; what it receives is in ``output``."""

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "STORESCP",
        port: int | None = None,
        output: Path | None = None,
        flags: Iterable[str] = (),
    ) -> None:
        port = port or free_port()
        self.output = output or folder / "received"
        self.output.mkdir(parents=True, exist_ok=True)
        place = ("-aet", ae_title, "-ba", HOST, "-od", str(self.output))
        super().__init__(
            sys.executable,
            *("-m", "pynetdicom", "storescp", *place, *flags, str(port)),
            ae_title=ae_title,
            port=port,
            log=folder / "pynetdicom-storescp.log",
        )

    @property
    def files(self) -> list[Path]:
        """What it has received so far."""
        return sorted(path for path in self.output.rglob("*") if path.is_file())


class PynetdicomQrScp(Peer):
    """pynetdicom's qrscp: answers one match an instance at every level, and breaks names."""

    def __init__(
        self,
        folder: Path,
        *,
        destinations: Mapping[str, int] | None = None,
        ae_title: str = "QRSCP",
    ) -> None:
        port = free_port()
        instances = folder / "instances"
        instances.mkdir()
        lines = [
            "[DEFAULT]",
            f"ae_title: {ae_title}",
            f"port: {port}",
            f"bind_address: {HOST}",
            "max_pdu: 16382",
            *(f"{what}_timeout: 30" for what in ("acse", "dimse", "network")),
            f"instance_location: {instances}",
            f"database_location: {folder / 'instances.sqlite'}",
            "log_identifier: False",
        ]
        for aet, to_port in (destinations or {}).items():
            lines += [f"[{aet}]", f"address: {HOST}", f"port: {to_port}"]
        config = folder / "qrscp.ini"
        config.write_text("\n".join(lines), encoding="utf-8")
        super().__init__(
            sys.executable,
            *("-m", "pynetdicom", "qrscp", "-c", config),
            ae_title=ae_title,
            port=port,
            log=folder / "pynetdicom-qrscp.log",
        )


class ScriptedScp:
    """A server in threads of this process that answers as the test says.

    It supports verification, all storage classes in all transfer syntaxes and both roles,
    and query/retrieve. An operation without a handler gets pynetdicom's own answer:
    success for C-ECHO, a failure status for the others.

    Args:
        on_echo: Answers C-ECHO; this and the others are pynetdicom event handlers.
        on_find: Answers C-FIND: a generator of (status, identifier).
        on_get: Answers C-GET.
        on_move: Answers C-MOVE.
        on_store: Answers C-STORE.
        handlers: More (event, handler) pairs, e.g. for ``evt.EVT_ABORTED``.
        ae_title: Its own AE title.
        port: Where it listens; a free port by default.
        nodelay: Whether it sends with TCP_NODELAY; pynetdicom does not by itself.
        configure: Changes the AE before it starts, e.g. its contexts or limits.
    """

    def __init__(
        self,
        *,
        on_echo: Handler | None = None,
        on_find: Handler | None = None,
        on_get: Handler | None = None,
        on_move: Handler | None = None,
        on_store: Handler | None = None,
        handlers: Iterable[tuple[Any, Handler]] = (),
        ae_title: str = "SCRIPTED",
        port: int | None = None,
        nodelay: bool = True,
        configure: Callable[[AE], None] = lambda ae: None,
    ) -> None:
        self.ae_title = ae_title
        self.port = port or free_port()
        self.ae = AE(ae_title=ae_title)
        for uid in (Verification, *QUERY_RETRIEVE):
            self.ae.add_supported_context(uid)
        for context in AllStoragePresentationContexts:
            self.ae.add_supported_context(
                context.abstract_syntax, AllTransferSyntaxes, scu_role=True, scp_role=True
            )
        configure(self.ae)
        answers = {
            evt.EVT_C_ECHO: on_echo,
            evt.EVT_C_FIND: on_find,
            evt.EVT_C_GET: on_get,
            evt.EVT_C_MOVE: on_move,
            evt.EVT_C_STORE: on_store,
            evt.EVT_CONN_OPEN: _send_at_once if nodelay else None,
        }
        chosen = [(event, handler) for event, handler in answers.items() if handler is not None]
        self.server = self.ae.start_server(
            (HOST, self.port), block=False, evt_handlers=[*chosen, *handlers]
        )

    @property
    def address(self) -> str:
        """``AET@host:port``."""
        return f"{self.ae_title}@{HOST}:{self.port}"

    def stop(self) -> None:
        """Abort what is open, stop listening and wait for the threads."""
        associations = self.server.active_associations
        self.ae.shutdown()
        for association in associations:
            association.join(10)


def _send_at_once(event: evt.Event) -> None:
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
