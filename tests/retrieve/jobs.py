"""A job whose client, listener and PACS are one object of this process, and no socket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from pypx.address import Address
from pypx.archive import Archive
from pypx.archive.ledger import Ledger
from pypx.archive.transfers import LedgerSeries, LedgerStudy, Transfer
from pypx.client.move import Progress, RetrieveResult
from pypx.errors import PypxError
from pypx.receiver.events import InstanceReceived
from pypx.retrieve.asking import Shared
from pypx.retrieve.credit import Credit
from pypx.retrieve.load import Load
from pypx.retrieve.methods import Methods
from pypx.retrieve.run import Retrieval
from pypx.retrieve.settings import Settings
from tests.archive.helpers import store
from tests.objects import CT_IMAGE

__all__ = ["Act", "Pacs", "planned", "retrieval"]

STUDY = "1.2.3"
PER_SERIES = 3
ADDRESS = Address("FAKE", "here", 104)


@dataclass(frozen=True)
class Act:
    """What the PACS does with one request.

    Attributes:
        sends: Which of the instances that were asked for, by their place.
        late: Which of them only after its last word.
        twice: Each of them twice.
        beside: An instance that nobody asked for.
        status: Its last word, a warning or success.
        counts: Whether it counts what it sent.
        error: What it ends with instead.
        refuses: It cannot even be asked.
        hangs: It says nothing until it is cancelled.
    """

    sends: frozenset[int] = frozenset(range(100))
    late: frozenset[int] = frozenset()
    twice: bool = False
    beside: bool = False
    status: int = 0
    counts: bool = True
    error: Callable[[], PypxError] | None = None
    refuses: bool = False
    hangs: bool = False


@dataclass
class Pacs:
    """Answers C-MOVEs as it was told, and then as ``rest`` says."""

    archive: Archive
    acts: list[Act] = field(default_factory=list)
    rest: Act = Act()
    asked: list[list[str]] = field(default_factory=list)
    levels: list[str] = field(default_factory=list)
    on_move: Callable[[], None] = lambda: None
    credit: Any = None
    calling_ae_title: str = "PYPX"
    address: Address = ADDRESS
    lock: Any = field(default_factory=threading.Lock)
    timers: list[threading.Timer] = field(default_factory=list)

    def __enter__(self) -> Pacs:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def close(self) -> None:
        pass

    abort = release_idle = close

    def move(self, keys: Mapping[str, str], *, level: str, **rest: Any) -> Any:
        self.on_move()
        with self.lock:
            act = self.acts.pop(0) if self.acts else self.rest
            series = keys.get("SeriesInstanceUID", "")
            every = [f"{STUDY}.{number}" for number in (4, 5)] if not series else [series]
            found = [f"{one}.{n}" for one in every for n in range(PER_SERIES)]
            if level == "image":
                found = keys["SOPInstanceUID"].split("\\")
            self.asked.append(found)
            self.levels.append(level)
            number = len(self.asked)
        if act.refuses:
            assert act.error is not None
            raise act.error()
        return _Move(self, act, found, number)

    def send(self, uid: str, message_id: int) -> None:
        """Store one instance, and tell as a receiver does."""
        series, _, number = uid.rpartition(".")
        store(
            self.archive,
            int(number) + 1,
            StudyInstanceUID=STUDY,
            SeriesInstanceUID=series,
            SOPInstanceUID=uid,
        )
        event = InstanceReceived(
            *("a", 0, 0.0, 100, "new", STUDY, series, uid),
            move_originator_ae_title="PYPX",
            move_originator_message_id=message_id,
        )
        self.credit.instance_received(event)

    def later(self, uids: list[str], message_id: int) -> None:
        timer = threading.Timer(0.01, lambda: [self.send(uid, message_id) for uid in uids])
        self.timers.append(timer)
        timer.start()

    def settle(self) -> None:
        for timer in self.timers:
            timer.join()


class _Move:
    def __init__(self, pacs: Pacs, act: Act, uids: list[str], message_id: int) -> None:
        self.pacs, self.act, self.uids, self.message_id = pacs, act, uids, message_id
        self.progress = Progress()
        self.result: RetrieveResult | None = None
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()

    def __iter__(self) -> Iterator[Progress]:
        act = self.act
        if act.hangs:
            assert self.cancelled.wait(10)
            return
        sent = [uid for place, uid in enumerate(self.uids) if place in act.sends]
        late = [uid for place, uid in enumerate(self.uids) if place in act.sends & act.late]
        for uid in sent:
            for _ in range((uid not in late) * (1 + act.twice)):
                self.pacs.send(uid, self.message_id)
            yield self.progress
            if self.cancelled.is_set():
                return
        if act.beside:
            self.pacs.send(f"{STUDY}.9.1", self.message_id)
        if late:
            self.pacs.later(late, self.message_id)
        if act.counts:
            failed = len(self.uids) - len(sent)
            self.progress = Progress(None, len(sent), failed if act.status else 0, 0)
        if act.error is not None:
            raise act.error()
        self.result = RetrieveResult(act.status, self.progress)


def planned(ledger: Ledger, rows: int = 1, number: int = 2) -> Transfer:
    """Note down queries that found the same study of so many series, all planned."""
    transfer = ledger.begin("fake", {}, "f")
    ledger.add_queries(transfer, ((row, {"PatientID": "P"}) for row in range(rows)))
    for _ in range(rows):
        query = ledger.next_query(transfer)
        assert query is not None
        ledger.add_studies(transfer, query, [LedgerStudy(0, 0, STUDY)])
        ledger.close_query(query, "found")
        study = ledger.next_study(transfer)
        assert study is not None
        for last in range(4, 4 + number):
            uid = f"{STUDY}.{last}"
            expected = {f"{uid}.{n}": CT_IMAGE for n in range(PER_SERIES)}
            series = LedgerSeries(0, 0, STUDY, "P", uid, basis="instances", expected=PER_SERIES)
            ledger.add_series(transfer, study, series, expected)
        ledger.close_study(study, "planned")
    return transfer


def retrieval(archive: Archive, transfer: Transfer, pacs: Pacs, **settings: Any) -> Retrieval:
    """Give a job that asks this PACS."""
    wanted = {"settle": 0.05, "backoff": 0.001, "outage": 0.1, "method": "move"} | settings
    job: Retrieval
    pacs.credit = Credit({"FAKE"})
    landing: Any = SimpleNamespace(
        receiver=SimpleNamespace(last_activity_for=lambda _: 0.0),
        own=Address("PYPX", "here", 104),
        ensure=lambda: "",
        seen_from=lambda peer: Address("PYPX", "here", 104),
    )
    chosen = Settings(**wanted)
    retrieved: Any = None
    shared = Shared(
        ledger=archive.ledger,
        transfer=transfer,
        settings=chosen,
        model="study",
        load=Load(chosen.associations, pause=chosen.backoff),
        methods=Methods(chosen.method, chosen.retries),
        credit=pacs.credit,
        landing=landing,
        retrieved=retrieved,
        flights=set(),
        is_cancelled=lambda: job.is_cancelled,
        tell=lambda sentence: None,
        detail=lambda sentence: None,
        promise=lambda uid, number: None,
    )
    make: Any = lambda number: pacs  # noqa: E731
    planner: Any = lambda client: None  # noqa: E731
    job = Retrieval(shared, make_client=make, make_planner=planner)
    return job
