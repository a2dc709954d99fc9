"""Orthanc: a complete PACS with a REST interface to look inside."""

from __future__ import annotations

__all__ = ["Orthanc"]

import http.client
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.corpus import CorpusFile
from tests.peers.process import HOST, Peer, free_port

DICOM_WEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
SERVICES = ("Echo", "Store", "Find", "Get", "Move")


class Orthanc(Peer):
    """An Orthanc with an empty database in ``folder``.

    Args:
        folder: Where configuration, database and log go.
        destinations: AE title to port, of where C-MOVE may send to.
        ae_title: Its own AE title.
        nodelay: Whether it sends with TCP_NODELAY; Debian's does not by itself.
        config: Entries of the configuration file to add or replace.
    """

    def __init__(
        self,
        folder: Path,
        *,
        destinations: Mapping[str, int] | None = None,
        ae_title: str = "ORTHANC",
        nodelay: bool = True,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.held: list[CorpusFile] = []
        port = free_port()
        self.http_port = free_port()
        self.dicom_web = DICOM_WEB_PLUGIN.exists()
        plugins = [str(DICOM_WEB_PLUGIN)] if self.dicom_web else []
        settings: dict[str, Any] = {
            "Name": ae_title,
            "DefaultEncoding": "Utf8",  # its default drops what Latin-1 has no character for
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": ae_title,
            "DicomPort": port,
            "DicomModalities": {
                aet: [aet, HOST, to_port] for aet, to_port in (destinations or {}).items()
            },
            **dict.fromkeys((f"DicomAlwaysAllow{what}" for what in SERVICES), True),
            "UnknownSopClassAccepted": True,
            "SaveJobs": False,
            "SyncStorageArea": False,
            "Plugins": plugins,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            **(config or {}),
        }
        path = folder / "orthanc.json"
        path.write_text(json.dumps(settings, indent=1), encoding="utf-8")
        super().__init__(
            "Orthanc",
            path,
            ae_title=ae_title,
            port=port,
            other_ports=(self.http_port,),
            log=folder / "orthanc.log",
            nodelay=nodelay,
        )

    @property
    def url(self) -> str:
        """Where its REST interface is, without a slash at the end."""
        return f"http://{HOST}:{self.http_port}"

    def rest(self, path: str, *, method: str = "GET", body: Any = None) -> Any:
        """Return the JSON answer to a REST request; a ``body`` is sent as JSON with POST or PUT.

        Raises:
            RuntimeError: The HTTP status is not 2xx.
        """
        with self._connect() as connection:
            data = None if body is None else json.dumps(body).encode()
            status, answer = _request(connection, method, path, data)
        if status // 100 != 2:
            raise RuntimeError(f"{method} {path}: HTTP {status} {answer[:300]!r}")
        return json.loads(answer) if answer.strip() else None

    def load(self, files: Iterable[CorpusFile]) -> dict[CorpusFile, str]:
        """Store files over HTTP; return those that it refused, with what it said.

        The others are in ``held`` from now on.
        """
        refused = {}
        with self._connect() as connection:
            for file in files:
                body = file.path.read_bytes()
                status, answer = _request(connection, "POST", "/instances", body)
                if status // 100 == 2:
                    self.held.append(file)
                else:
                    refused[file] = answer.decode("utf-8", "replace")
        return refused

    def sop_instance_uids(self) -> set[str]:
        """Return the SOP Instance UIDs of all that it holds."""
        query = {"Level": "Instance", "Query": {}, "Expand": True}
        found = self.rest("/tools/find", method="POST", body=query)
        return {instance["MainDicomTags"]["SOPInstanceUID"] for instance in found}

    def add_modality(self, ae_title: str, port: int) -> None:
        """Make an AE title on this machine known, as a destination and as a peer."""
        self.rest(f"/modalities/{ae_title}", method="PUT", body=[ae_title, HOST, port])

    def clear(self) -> None:
        """Delete all that it holds."""
        for patient in self.rest("/patients"):
            self.rest(f"/patients/{patient}", method="DELETE")
        self.held.clear()

    def _connect(self) -> _Connection:
        return _Connection(HOST, self.http_port, timeout=60)


class _Connection(http.client.HTTPConnection):
    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _request(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None
) -> tuple[int, bytes]:
    connection.request(method, path, body)
    response = connection.getresponse()
    return response.status, response.read()
