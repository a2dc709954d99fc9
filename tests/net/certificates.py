"""Certificates for tests: an authority, and what it has signed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

__all__ = ["Certificates"]


class Certificates:
    """Files in a folder: the authority's, a good one, an expired one, one of somebody else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca)
        self.stranger = trustme.CA()
        self.other_ca = str(folder / "other-ca.pem")
        self.stranger.cert_pem.write_to_path(self.other_ca)

    def issue(self, *names: str, expired: bool = False, stranger: bool = False) -> str:
        """Give the file of a new certificate and its key."""
        authority = self.stranger if stranger else self.authority
        until = datetime.now(UTC) - timedelta(days=1) if expired else None
        since = datetime.now(UTC) - timedelta(days=9) if expired else None
        made = authority.issue_cert(*names, not_after=until, not_before=since)
        number = len(list(self.folder.iterdir()))
        path = self.folder / f"{number}.pem"
        made.private_key_and_cert_chain_pem.write_to_path(str(path))
        return str(path)
