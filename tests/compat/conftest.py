"""Upstream's dictionaries against a PACS in this process, and one whose answers a test writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pypx.address import Address
from pypx.pacs import Pacs
from tests.cli.conftest import home, listener_port, pacs, running, samples, serve

__all__ = ["home", "listener_port", "pacs", "running", "samples", "serve"]

Opt = dict[str, Any]


def opt_for(address: Address, **keys: Any) -> Opt:
    """Give the dictionary that names a PACS as upstream's callers do."""
    peer = {"aec": address.ae_title, "serverIP": address.host, "serverPort": str(address.port)}
    return {"aet": "PYPX", **peer, **keys}


@pytest.fixture
def opt(pacs: Pacs) -> Callable[..., Opt]:
    """Give the dictionary that names the PACS with the samples."""
    return lambda **keys: opt_for(pacs.address, **keys)
