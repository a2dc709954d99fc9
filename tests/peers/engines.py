"""The two engines, between which the client tests of this folder make no difference.

A test that takes the fixture ``engine``, or one that is made of it, runs with each. What cannot be
so with DCMTK's programs is listed here, with the reason, and nowhere else.
"""

from __future__ import annotations

__all__ = ["ENGINES", "NOT_WITH_DCMTK", "make_client", "not_for_want_of_a_syntax"]

from collections.abc import Iterable
from typing import Any

from pypx.address import Address
from pypx.client.requestor import Requestor
from pypx.engine import Engine
from pypx.net.connection import Timeouts
from tests.corpus import CorpusFile
from tests.peers.dcmtk import UNCOMPRESSED

ENGINES = ("native", "dcmtk")

_SLOW = "findscu takes 40 ms to start, for each of many queries; the other parameters run"
_CONTEXTS = "getscu proposes 128 contexts at most, and Orthanc ends a C-GET at what it lacks"

NOT_WITH_DCMTK: dict[str, str] = {
    "test_cli.py::test_px_listen_receives_from_storescu_and_stops_when_asked": (
        "the engine of what asks is not that of what listens, which test_storescp.py has"
    ),
    "test_retrieve.py::test_all_that_orthanc_has[auto-series]": _SLOW,
    "test_retrieve.py::test_all_that_orthanc_has[auto-image]": _SLOW,
    "test_retrieve.py::test_all_that_orthanc_has[move-study]": _SLOW,
    "test_retrieve.py::test_a_get_of_all_that_orthanc_has[study]": _SLOW,
    "test_retrieve.py::test_more_sop_classes_than_an_association_has_contexts": _CONTEXTS,
    "test_store.py::test_a_storescp_that_takes_only_uncompressed_gets_nearly_all": (
        "storescu converts no compressed images, so that --transcode is refused"
    ),
}
"""``file::test``, or one of its parametrisations without the engine, to why it runs with our own
engine only."""


def make_client(engine: str, address: str, **options: Any) -> Requestor:
    """Make a client as the commands do."""
    options = {"calling_ae_title": "PYPX", "timeouts": Timeouts(), **options}
    return Engine(engine).client(Address.parse(address), **options)


def not_for_want_of_a_syntax(
    engine: str, held: Iterable[CorpusFile], missing: set[str]
) -> set[str]:
    """Take out of what a C-GET has not brought what getscu could not take: it proposes only
    uncompressed transfer syntaxes.

    Args:
        engine: The engine.
        held: What the PACS has.
        missing: SOP Instance UIDs.
    """
    if engine == "native":
        return missing
    compressed = (file for file in held if file.transfer_syntax_uid not in UNCOMPRESSED)
    return missing - {file.sop_instance_uid.strip() for file in compressed}
