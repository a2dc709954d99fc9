"""Put a job together: what plans, asks, listens and keeps, around one transfer of the ledger.

In: an archive, a PACS, queries or a transfer that is resumed. Out: a ``Retrieval`` that is ready to
start. Not here: what any of these do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import date
from typing import Any

from xxhash import xxh3_128_hexdigest

from pypx.address import Address
from pypx.archive import Archive
from pypx.archive.ledger import Ledger
from pypx.archive.transfers import Query, Standing, Transfer
from pypx.client.requestor import Requestor
from pypx.engine import Engine
from pypx.net.connection import Timeouts
from pypx.net.identity import UserIdentity
from pypx.net.tls_settings import ClientTls
from pypx.receiver.allow import is_loopback
from pypx.receiver.events import Observer
from pypx.receiver.observers import Observers
from pypx.receiver.receiver import GRACE
from pypx.receiver.retrieved import Retrieved
from pypx.retrieve.asking import Shared
from pypx.retrieve.credit import Credit
from pypx.retrieve.entry import is_here
from pypx.retrieve.finding import Finder
from pypx.retrieve.landing import Landing, Listening
from pypx.retrieve.load import Load, Throttle
from pypx.retrieve.locating import known_in
from pypx.retrieve.methods import GET, MOVE, Methods
from pypx.retrieve.planning import Planner
from pypx.retrieve.run import Retrieval
from pypx.retrieve.settings import Settings
from pypx.values import frozen

__all__ = ["Pacs", "note_down", "preparing"]


@frozen
class Pacs:
    """Whom a job asks.

    Attributes:
        name: What the ledger calls it.
        address: Where it is.
        calling_ae_title: What we call ourselves towards it.
        model: Its query/retrieve model.
        timeouts: How long each phase may take.
        tls: How it speaks TLS; None if it does not.
        method: ``move`` or ``get``, which is tried first where the user leaves it open.
        match_limit: After how many matches it ends an answer; None where that is not known.
        character_set: In which its text really is; None for the one that it declares.
        engine: What does the talking.
        identity: Which user we are, for a PACS that asks for it.
    """

    name: str
    address: Address
    calling_ae_title: str
    model: str = "study"
    timeouts: Timeouts = Timeouts()
    tls: ClientTls | None = None
    method: str | None = None
    match_limit: int | None = None
    character_set: str | None = None
    engine: Engine = Engine()
    identity: UserIdentity | None = None


def _fingerprint(request: Mapping[str, Any]) -> str:
    """Give what tells the same command from another."""
    import json

    return xxh3_128_hexdigest(json.dumps(dict(request), sort_keys=True).encode())


def note_down(
    ledger: Ledger,
    node: str,
    request: Mapping[str, Any],
    *,
    kept: Mapping[str, Any] | None = None,
    hold: Callable[[Transfer], None] = lambda _: None,
) -> tuple[Transfer, bool]:
    """Begin a transfer, or take up the one that the same command left unfinished.

    Its queries are to be noted down next, also where it was there before: a process that was
    killed may not have got through them.

    Args:
        ledger: Where it is noted down.
        node: The name of whom it asks.
        request: What was wanted, as JSON can have it: what tells this command from others.
        kept: What is kept with it besides.
        hold: Sees to it that nobody else runs the transfer, or raises an error.

    Returns:
        The transfer, and whether it was there before.
    """
    mark = _fingerprint(request)
    found = ledger.unfinished(mark)
    transfer = found or ledger.begin(node, {**request, **(kept or {})}, mark)
    hold(transfer)
    if found is not None:
        ledger.resume(found)
    return transfer, found is not None


@contextmanager
def preparing(
    archive: Archive,
    transfer: Transfer,
    pacs: Pacs,
    settings: Settings,
    *,
    listening: Listening | None,
    min_free: int = 0,
    observer: Observer | None = None,
    promise: Callable[[str, int], None] = lambda *_: None,
    plan_only: bool = False,
    on_begin: Callable[[Query], None] = lambda _: None,
    heard: Callable[[Requestor], Requestor] = lambda client: client,
    on_query: Callable[[Query, str, Standing | None], None] = lambda *_: None,
    tell: Callable[[str], None] = lambda _: None,
    detail: Callable[[str], None] = lambda _: None,
) -> Iterator[Retrieval]:
    """Have all that a job needs, as long as the context lasts.

    Args:
        archive: Where the images go.
        transfer: With its queries.
        pacs: Whom it asks.
        settings: How it works.
        listening: Where a C-MOVE sends to; None where none is possible.
        min_free: Bytes that the disk must have left.
        observer: Who hears what arrives.
        promise: Hears how many instances of a series are to come.
        plan_only: Ask for nothing.
        on_begin: Hears of each query before it is asked.
        heard: Is shown each client that is made.
        on_query: Hears of each query that is done with.
        tell: Takes a line for the user; it is kept for the report as well.
        detail: Takes what only the curious want to know.
    """
    ledger = archive.ledger

    told: set[str] = set()

    def keep(sentence: str) -> None:
        if sentence in told:  # each request would say it once more
            return
        told.add(sentence)
        for line in sentence.splitlines():
            tell(line)
        ledger.note(transfer, sentence)

    throttle = Throttle(settings.max_rate) if settings.max_rate else None
    credit = Credit({pacs.address.ae_title, pacs.address.host}, throttle)
    hears = Observers(*([observer] if observer is not None else []), credit)
    methods = Methods(settings.method, settings.retries)
    if listening is None:
        methods.refuse(MOVE, "There is no listener here.")
    elif pacs.method is not None:
        methods.prefer(pacs.method)
    elif is_loopback(listening.bind) and not is_here(pacs.address.host):
        methods.prefer(GET)  # a C-MOVE cannot reach us
    with ExitStack() as stack:
        landing = None
        if listening is not None and settings.method != GET and not plan_only:
            landing = stack.enter_context(
                Landing(
                    archive,
                    listening,
                    min_free=min_free,
                    observer=hears,
                    grace=min(GRACE, pacs.timeouts.response),
                )
            )
        retrieved = stack.enter_context(
            Retrieved(
                archive,
                host=pacs.address.host,
                calling_ae_title=pacs.address.ae_title,
                called_ae_title=pacs.calling_ae_title,
                min_free=min_free,
                observer=hears,
            )
        )

        def make_client(first_message_id: int) -> Requestor:
            client = pacs.engine.client(
                pacs.address,
                calling_ae_title=pacs.calling_ae_title,
                timeouts=pacs.timeouts,
                model=pacs.model,
                first_message_id=first_message_id,
                tls=pacs.tls,
                character_set=pacs.character_set,
                identity=pacs.identity,
            )
            return heard(client)

        def make_planner(client: Requestor) -> Planner:
            return Planner(
                Finder(
                    client,
                    model=pacs.model,
                    today=date.today(),
                    match_limit=pacs.match_limit,
                    known=known_in(archive),
                ),
                ledger,
                transfer,
                max_studies=settings.max_studies,
                tell=keep,
                detail=detail,
                is_cancelled=lambda: job.is_cancelled,
            )

        job: Retrieval
        shared = Shared(
            ledger=ledger,
            transfer=transfer,
            settings=settings,
            model=pacs.model,
            load=Load(settings.associations, pause=settings.backoff),
            methods=methods,
            credit=credit,
            landing=landing,
            retrieved=retrieved,
            flights=set(),
            is_cancelled=lambda: job.is_cancelled,
            tell=keep,
            detail=detail,
            promise=promise,
        )
        job = Retrieval(
            shared,
            make_client=make_client,
            make_planner=make_planner,
            plan_only=plan_only,
            on_begin=on_begin,
            on_query=on_query,
        )
        stack.callback(credit.close)
        yield job
