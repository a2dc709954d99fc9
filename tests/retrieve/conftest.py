"""A job against a PACS of this process, whatever that one does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pypx import pacs as embedded
from pypx.address import Address
from pypx.archive import Archive
from pypx.archive.transfers import LedgerSeries, Query, Request, Totals, Transfer
from pypx.errors import PypxError
from pypx.net.connection import Timeouts
from pypx.pacs.samples import write_samples
from pypx.retrieve.job import Pacs, note_down, preparing
from pypx.retrieve.landing import Listening
from pypx.retrieve.run import Retrieval
from pypx.retrieve.settings import Settings
from tests.peers.process import HOST, free_port

QUICK = Timeouts(connect=2, association=2, response=0.5, release=0.5)
EVERYTHING = {"PatientID": "DEMO-*"}


@dataclass(frozen=True)
class Done:
    """What a job left."""

    state: str
    error: PypxError | None
    transfer: Transfer
    queries: list[Query]
    series: list[LedgerSeries]
    requests: list[Request]
    extras: list[str]
    totals: Totals
    said: list[str]
    stored: set[str]

    @property
    def notes(self) -> str:
        return " ".join(self.transfer.notes)


Run = Callable[..., Done]


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with Archive(tmp_path_factory.mktemp("samples"), durability="none") as archive:
        write_samples(archive)
        yield archive


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "archive", durability="none") as archive:
        yield archive


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def run(samples: Archive, here: Archive, port: int) -> Iterator[Run]:
    """Run a job against a PACS with these faults."""
    with ExitStack() as stack:

        def call(
            *faults: str,
            keys: Mapping[str, str] = EVERYTHING,
            queries: list[tuple[int, Mapping[str, str]]] | None = None,
            pacs: Address | None = None,
            source: Archive = samples,
            watch: Callable[[Retrieval], None] = lambda job: None,
            model: str = "study",
            listening: bool = True,
            transfer: Transfer | None = None,
            timeouts: Timeouts = QUICK,
            min_free: int = 0,
            **settings: Any,
        ) -> Done:
            own = Address("PYPX", HOST, port)
            if pacs is None:
                served = embedded.Pacs(source, destinations={"PYPX": own}, faults=faults)
                pacs = stack.enter_context(served).address
            whom = Pacs("pacs", pacs, "PYPX", model, timeouts)
            if transfer is None:
                asked = queries or [(0, keys)]
                request = {"address": str(pacs), "queries": asked}
                transfer, _ = note_down(here.ledger, whom.name, request)
                here.ledger.add_queries(transfer, asked)
            said: list[str] = []
            wanted = Settings(**{"settle": 0.2, "backoff": 0.01, "outage": 5.0} | settings)
            with preparing(
                here,
                transfer,
                whom,
                wanted,
                listening=Listening(own, HOST) if listening else None,
                min_free=min_free,
                tell=said.append,
            ) as job:
                job.start()
                watch(job)
                assert job.wait(60)
                return done(here, transfer, job, said)

        yield call


def done(here: Archive, transfer: Transfer, job: Retrieval, said: list[str]) -> Done:
    ledger = here.ledger
    series = list(ledger.series(transfer))
    current = ledger.find(transfer.id)
    assert current is not None
    return Done(
        state=job.state,
        error=job.error,
        transfer=current,
        queries=list(ledger.queries(transfer)),
        series=series,
        requests=[request for one in series for request in ledger.requests(one)],
        extras=ledger.extras(transfer),
        totals=ledger.totals(transfer),
        said=said,
        stored={str(row["SOPInstanceUID"]) for row in here.find("image")},
    )
