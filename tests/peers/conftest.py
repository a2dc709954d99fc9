"""Fixtures that start real peers.

A factory is called with the arguments of the peer's class, without the folder, and gives it
running; the peers end with the module (threads of this process: with the test), also when a
test fails. `loaded_orthanc` and `loaded_dcmqrscp` hold all the good files of the corpus, live
as long as the session, and are to be asked, not changed.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from pypx.client.requestor import Requestor
from tests.corpus import Corpus
from tests.peers.dcmtk import DcmQrScp, StoreScp, write_association_profile
from tests.peers.engines import ENGINES, NOT_WITH_DCMTK, make_client
from tests.peers.orthanc import Orthanc
from tests.peers.process import IN_CI, Peer, free_port, require
from tests.peers.pynetdicom_peers import PynetdicomQrScp, PynetdicomStoreScp, ScriptedScp
from tests.peers.raw import RawScp, Step

P = TypeVar("P", bound=Peer)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder, and skip it where the peers are not wanted."""
    unwanted = os.environ.get("PYPX_NO_PEERS") == "1" and not IN_CI
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.peers)
            if unwanted:
                item.add_marker(pytest.mark.skip(reason="PYPX_NO_PEERS=1"))
            if (reason := _inapplicable(item)) is not None:
                item.add_marker(pytest.mark.skip(reason=f"not with DCMTK: {reason}"))


def _inapplicable(item: pytest.Item) -> str | None:
    """Give why a test cannot run with the engine of its parameters; see ``engines``."""
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return None
    if item.callspec.params.get("engine") != "dcmtk":
        return None
    name = f"{item.path.name}::{item.originalname}"
    others = "-".join(part for part in item.callspec.id.split("-") if part != "dcmtk")
    return NOT_WITH_DCMTK.get(name) or NOT_WITH_DCMTK.get(f"{name}[{others}]")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of an engine; what cannot be so with DCMTK's is listed in ``engines``."""
    name: str = request.param
    if name == "dcmtk":
        require("findscu")
    return name


@pytest.fixture
def make_requestor(engine: str) -> Callable[..., Requestor]:
    """Make a client of the engine: ``make_requestor(peer.address)``."""
    return functools.partial(make_client, engine)


@contextlib.contextmanager
def _factory(
    peer_class: Callable[..., P], folders: pytest.TempPathFactory
) -> Iterator[Callable[..., P]]:
    # Killed and not stopped at the end: what it holds is thrown away, and Orthanc takes
    # more than two seconds to stop.
    with contextlib.ExitStack() as started:

        def start(*arguments: Any, **keywords: Any) -> P:
            folder = folders.mktemp(peer_class.__name__.lower())
            peer = peer_class(folder, *arguments, **keywords)
            started.callback(peer.kill)
            peer.start()
            return peer

        yield start


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Orthanc]]:
    """Start an empty Orthanc: ``orthanc(destinations={"PYPX": port})``."""
    with _factory(Orthanc, tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="module")
def storescp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., StoreScp]]:
    """Start DCMTK's storescp: ``storescp(bit_preserving=True)``."""
    with _factory(StoreScp, tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="module")
def dcmqrscp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., DcmQrScp]]:
    """Start an empty dcmqrscp: ``dcmqrscp(files, destinations={"PYPX": port})``."""
    with _factory(DcmQrScp, tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="module")
def pynetdicom_storescp(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., PynetdicomStoreScp]]:
    """Start pynetdicom's storescp."""
    with _factory(PynetdicomStoreScp, tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="module")
def pynetdicom_qrscp(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., PynetdicomQrScp]]:
    """Start pynetdicom's qrscp: ``pynetdicom_qrscp(destinations={"PYPX": port})``."""
    with _factory(PynetdicomQrScp, tmp_path_factory) as start:
        yield start


@pytest.fixture
def scripted_scp() -> Iterator[Callable[..., ScriptedScp]]:
    """Start a pynetdicom server with the test's own handlers: ``scripted_scp(on_find=...)``."""
    with contextlib.ExitStack() as started:

        def start(**keywords: Any) -> ScriptedScp:
            peer = ScriptedScp(**keywords)
            started.callback(peer.stop)
            return peer

        yield start


@pytest.fixture
def raw_scp() -> Iterator[Callable[..., RawScp]]:
    """Start a server that plays scripts: ``raw_scp([receive_pdu(), reset()])``."""
    with contextlib.ExitStack() as started:

        def start(*scripts: Sequence[Step], **keywords: Any) -> RawScp:
            peer = RawScp(*scripts, **keywords)
            started.callback(peer.stop)
            return peer

        yield start


@pytest.fixture(scope="session")
def association_profile(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a DCMTK profile file for all storable files; see `storescu`."""
    path = tmp_path_factory.mktemp("profile") / "associations.cfg"
    return write_association_profile(path, [*corpus.good, *corpus.dup])


@pytest.fixture(scope="session")
def loaded_orthanc(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """An Orthanc with all the good files; give it destinations with ``add_modality``."""
    with _factory(Orthanc, tmp_path_factory) as start:
        peer = start()
        refused = peer.load(corpus.good)
        assert not refused, refused
        yield peer


@pytest.fixture(scope="session")
def loaded_dcmqrscp(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DcmQrScp]:
    """A dcmqrscp with the good files that DCMTK can read, which are those in ``held``.

    ``destinations`` has the ports that it may move to: PYPX, STORESCP, and NOBODY for one
    where nothing listens.
    """
    with _factory(DcmQrScp, tmp_path_factory) as start:
        destinations = {aet: free_port() for aet in ("PYPX", "STORESCP", "NOBODY")}
        peer = start([*corpus.good, *corpus.dup], destinations=destinations)
        peer.load(corpus.good)
        yield peer
