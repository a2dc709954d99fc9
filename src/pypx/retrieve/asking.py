"""One series: asked for, waited for, and compared with what was expected of it.

In: a series of the ledger, a client, and what the job knows. Out: rows in the ledger; whether the
series is to be asked for again, and when. Not here: which series is next, and threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from pypx.archive.ledger import Ledger
from pypx.archive.transfers import OPEN, LedgerSeries, Request, Transfer
from pypx.batches import batches
from pypx.client.move import Progress
from pypx.client.requestor import Requestor, Retrieving
from pypx.client.sop_classes import SOPClasses
from pypx.errors import (
    ConfigError,
    NoPresentationContextError,
    PeerTimeoutError,
    PypxError,
    StatusError,
)
from pypx.receiver.retrieved import Retrieved
from pypx.retrieve.credit import Credit, Unit
from pypx.retrieve.entry import entry_for
from pypx.retrieve.landing import Landing
from pypx.retrieve.load import Load
from pypx.retrieve.methods import GET, MOVE, Methods
from pypx.retrieve.outage import is_outage
from pypx.retrieve.requests import Flight, Outcome, Step
from pypx.retrieve.settings import Settings
from pypx.values import frozen, replace

__all__ = ["Asker", "NoMethodError", "Shared", "Verdict"]

_BATCH = 100  # SOP Instance UIDs of one request
_LOOK = 0.05  # seconds between the first looks at what came to another process
_LONGEST_LOOK = 0.5
_AFTER_ERROR = 1.0  # seconds without anything new, where the request itself has failed
_UNKNOWN_DESTINATION = 0xA801
_REFUSED_CLASS = (0x0122, 0x0124)  # SOP class not supported; not authorised


class NoMethodError(PypxError):
    """The PACS gives nothing, neither by C-MOVE nor by C-GET."""

    exit_code = 4
    kind = "no-method"


@frozen
class Shared:
    """What all askers of a job share.

    Attributes:
        ledger: Where all is noted down.
        transfer: The job.
        settings: What the user wants.
        model: The query/retrieve model.
        load: Hears how the PACS fares.
        methods: What works with it.
        credit: Knows what came.
        landing: Where a C-MOVE sends to; None where there is none.
        retrieved: Keeps the instances of C-GETs.
        flights: The requests under way.
        is_cancelled: Whether the user wants no more.
        tell: Takes a sentence for the user and the report.
        detail: Takes what only the curious want to know.
        promise: Hears how many instances a series has.
    """

    ledger: Ledger
    transfer: Transfer
    settings: Settings
    model: str
    load: Load
    methods: Methods
    credit: Credit
    landing: Landing | None
    retrieved: Retrieved
    flights: set[Flight]
    is_cancelled: Callable[[], bool]
    tell: Callable[[str], None]
    detail: Callable[[str], None]
    promise: Callable[[str, int], None]


@frozen
class Verdict:
    """What is to become of a series.

    Attributes:
        series: As it stands.
        again_in: Seconds until it is to be asked for again; None if it is not.
    """

    series: LedgerSeries
    again_in: float | None = None


class Asker:
    """Asks one PACS over one client.

    Args:
        client: Of one thread.
        shared: What the job knows.
    """

    def __init__(self, client: Requestor, shared: Shared) -> None:
        self._client = client
        self._shared = shared

    def ask(self, series: LedgerSeries, together: Sequence[LedgerSeries] = ()) -> Verdict:
        """Ask for what is missing of a series, once, and compare.

        Args:
            series: What nobody else asks for now.
            together: Other series of its study, when all of it is asked for at once; the caller
                looks at them afterwards.

        Raises:
            NoMethodError: There is no way left to ask.
            ArchiveError: The archive takes no more.
            PypxError: The PACS cannot be had at all; see ``is_outage``.
        """
        ledger = self._shared.ledger
        before = ledger.here(series)
        if series.expected is not None and before >= series.expected:
            return self._close(series, "complete", before, "")
        step = self._choose(series, before, together)
        if series.expected and series.series_instance_uid:
            self._shared.promise(series.series_instance_uid, series.expected - before)
        outcome = self._perform(series, step)
        return self._judge(series, before, step, outcome)

    def look(self, series: LedgerSeries) -> None:
        """Compare a series that was asked for with all of its study; one that lacks something is
        open again."""
        here = self._shared.ledger.here(series)
        is_whole = series.expected is not None and here >= series.expected
        attempts = series.attempts + (here <= series.received)
        self._note(
            replace(series, received=here, attempts=attempts), "complete" if is_whole else OPEN, ""
        )

    # How

    def _choose(self, series: LedgerSeries, before: int, together: Sequence[LedgerSeries]) -> Step:
        """Decide how to ask: all of a series at first, then only for what is missing."""
        methods, settings = self._shared.methods, self._shared.settings
        method = methods.choose(series.attempts)
        if method is None:
            reasons = " ".join(methods.refused.values())
            raise NoMethodError(
                f"The PACS sends nothing to us: {reasons}",
                hint="Its administrator has to let it: see the entry above."
                if MOVE in methods.refused
                else "Try --method move, for which its administrator enters our address.",
            )
        if together or not series.series_instance_uid:
            counts = [one.expected for one in (series, *together)]
            known = [count for count in counts if count is not None]
            return Step(method, "study", sum(known) if len(known) == len(counts) else None)
        if series.basis != "instances":
            return Step(method, "series", series.expected)
        in_vain = before == 0 and series.attempts >= settings.retries - 1 > 0
        is_part = before or settings.by == "image" or in_vain
        level = "image" if is_part and methods.takes_images(series.pk) else "series"
        missing = self._shared.ledger.missing(series)
        return Step(method, level, len(missing), missing)

    def _perform(self, series: LedgerSeries, step: Step) -> Outcome:
        if step.level != "image":
            return self._request(series, step)
        outcome = Outcome(Progress(), None, None, 0)
        size = 1 if self._shared.methods.lists_refused else _BATCH
        for batch in map(dict, batches((step.missing or {}).items(), size)):
            outcome = self._request(series, step.part(batch))
            if outcome.is_refused and not self._shared.methods.lists_refused:
                outcome = self._after_refusal(series, step, batch, outcome)
            if outcome.error is not None or self._shared.is_cancelled():
                break
        return outcome

    def _after_refusal(
        self, series: LedgerSeries, step: Step, batch: Mapping[str, str], outcome: Outcome
    ) -> Outcome:
        """Ask for each instance of a list that was refused, to learn what is refused of it."""
        if len(batch) == 1:
            self._shared.methods.image_refused(series.pk)
            return outcome
        for uid, sop_class in batch.items():
            outcome = self._request(series, step.part({uid: sop_class}))
            if outcome.arrived:
                self._shared.methods.lists_refused = True
            elif outcome.is_refused and not self._shared.methods.lists_refused:
                self._shared.methods.image_refused(series.pk)
                return outcome
            if self._shared.is_cancelled():
                break
        return outcome

    # One request

    def _request(self, series: LedgerSeries, step: Step) -> Outcome:
        """Make one request, from the line in the ledger to the last instance that comes of it."""
        shared = self._shared
        request = shared.ledger.note_request(
            shared.transfer, series, step.method, step.level, step.asked
        )
        every = () if step.level == "study" else (series.series_instance_uid,)
        unit = Unit(series.study_instance_uid, every, step.missing)
        flight = Flight(step.method, step.level, series, unit)
        shared.credit.begin(unit)
        shared.flights.add(flight)
        started = time.monotonic()
        error: PypxError | None = None
        try:
            operation = self._begin(series, step, flight)
            if shared.is_cancelled():  # before that there was nothing to cancel
                flight.cancel()
            for progress in operation:
                flight.progress = progress
                if shared.is_cancelled():
                    flight.cancel()
        except PypxError as raised:
            error = raised
        finally:
            shared.flights.discard(flight)
            if flight.operation is not None:
                flight.progress = flight.operation.progress
            if step.method == MOVE and not isinstance(error, NoPresentationContextError):
                self._settle(series, unit, flight, is_over=error is not None)
            self._take_extras(series, unit)
        result = flight.operation.result if flight.operation is not None else None
        arrived = self._arrived(series, unit) + unit.again
        outcome = Outcome(flight.progress, result, error, arrived)
        self._close_request(request, outcome, time.monotonic() - started)
        if error is not None and flight.operation is None and self._is_end(error):
            raise error  # the PACS was not even asked
        self._learn(step, outcome, time.monotonic() - started)
        return outcome

    def _is_end(self, error: PypxError) -> bool:
        """Whether an error without a request is more than one of this request."""
        has_no_port = isinstance(error, ConfigError) and MOVE in self._shared.methods.refused
        return is_outage(error) or (has_no_port and self._shared.settings.method == MOVE)

    def _begin(self, series: LedgerSeries, step: Step, flight: Flight) -> Retrieving:
        keys = {"StudyInstanceUID": series.study_instance_uid}
        if self._shared.model == "patient":
            keys = {"PatientID": series.patient_id, **keys}
        if step.level != "study":
            keys["SeriesInstanceUID"] = series.series_instance_uid
        if step.level == "image":
            keys["SOPInstanceUID"] = "\\".join(step.missing or ())
        if step.method == GET:
            return self._begin_get(step, keys, flight)
        landing = self._shared.landing
        assert landing is not None  # else C-MOVE is refused from the beginning
        self._ensure(landing)
        move = self._client.move(
            keys,
            destination=landing.own.ae_title,
            level=step.level,
            model=self._shared.model,
            last_activity=self._activity_of(series, flight.unit),
        )
        flight.unit.originator = self._client.calling_ae_title, move.message_id
        flight.operation = move
        return move

    def _ensure(self, landing: Landing) -> None:
        """See to it that somebody listens.

        Raises:
            ConfigError: The port cannot be had, and so there will be no C-MOVE.
        """
        try:
            complaint = landing.ensure()
        except ConfigError as error:
            self._shared.methods.refuse(MOVE, error.message)
            if self._shared.settings.method != MOVE:
                self._shared.tell(f"{error.message} So there is no C-MOVE. {error.hint}")
            raise
        where = f"{landing.own.host}:{landing.own.port}"
        if complaint:
            self._shared.tell(f"The listener on {where} runs, but: {complaint}")
        elif landing.receiver is None and self._shared.settings.max_rate is not None:
            self._shared.tell(f"The listener on {where} is of another process: no --max-rate.")

    def _begin_get(self, step: Step, keys: Mapping[str, str], flight: Flight) -> Retrieving:
        """Send a C-GET with contexts for just the SOP classes that are to come."""
        classes = tuple(dict.fromkeys((step.missing or {}).values()))
        known = SOPClasses(classes, exact=True) if classes and all(classes) else None
        if known is None:
            known = self._client.sop_classes(keys, level=step.level, model=self._shared.model)
        self._client.release_idle()  # else it would hold one association more than is allowed
        get = self._client.get(
            keys,
            self._shared.retrieved.store,
            level=step.level,
            model=self._shared.model,
            sop_classes=known,
        )
        flight.operation = get
        return get

    def _activity_of(self, series: LedgerSeries, unit: Unit) -> Callable[[], float]:
        """Give what says when something came last; with the listener of another process, the
        index is asked now and then."""
        landing, ledger = self._shared.landing, self._shared.ledger
        assert landing is not None
        seen, looked, at = -1, 0.0, unit.last

        def last() -> float:
            nonlocal seen, looked, at
            if landing.receiver is not None:
                if unit.originator is None:
                    return unit.last
                # A large object may be under way for longer than anybody is silent.
                return max(unit.last, landing.receiver.last_activity_for(unit.originator))
            now = time.monotonic()
            if now - looked >= 1.0:
                looked, here = now, ledger.here(series)
                if here != seen:
                    seen, at = here, now
            return at

        return last

    def _settle(self, series: LedgerSeries, unit: Unit, flight: Flight, *, is_over: bool) -> None:
        """Wait for what comes late: a PACS may say success before it has sent all."""
        shared = self._shared
        activity = self._activity_of(series, unit)
        ended = time.monotonic()
        quiet = min(shared.settings.settle, _AFTER_ERROR) if is_over else shared.settings.settle
        sent = (flight.progress.completed or 0) + (flight.progress.warning or 0)
        look = _LOOK
        while not shared.is_cancelled() and not shared.credit.full:
            arrived = self._arrived(series, unit) + unit.refused
            wanted = len(unit.expected) if unit.expected is not None else None
            if wanted is not None and arrived >= wanted:
                return
            if sent and arrived + unit.again >= sent and not is_over:
                return
            if is_over and not arrived and not sent:
                return
            left = quiet - (time.monotonic() - max(ended, activity()))
            if left <= 0:
                return
            shared.credit.wait(unit, min(left, look))
            look = min(look * 2, _LONGEST_LOOK)

    def _arrived(self, series: LedgerSeries, unit: Unit) -> int:
        """Count what came of a request; from the index where another process receives."""
        landing = self._shared.landing
        if unit.originator is None or landing is None or landing.receiver is not None:
            return len(unit.arrived)
        if unit.expected is None:
            return self._shared.ledger.here(series) - series.received
        return len(unit.expected) - len(unit.expected & self._shared.ledger.missing(series).keys())

    def _take_extras(self, series: LedgerSeries, unit: Unit) -> None:
        """Note down what came though nobody asked for it; it is stored all the same."""
        shared = self._shared
        for event in shared.credit.end(unit):
            uids = (event.study_instance_uid, event.series_instance_uid, event.sop_instance_uid)
            if not shared.ledger.is_expected(shared.transfer, *uids):
                shared.ledger.add_extra(shared.transfer, *uids)
        if series.series_instance_uid and unit.originator is not None and not unit.arrived:
            for uid in shared.ledger.unexpected(series, shared.transfer.began_at):
                shared.ledger.add_extra(
                    shared.transfer, series.study_instance_uid, series.series_instance_uid, uid
                )

    def _close_request(self, request: int, outcome: Outcome, seconds: float) -> None:
        progress, result = outcome.progress, outcome.result
        status = result.status if result is not None else None
        if status is None and isinstance(outcome.error, StatusError):
            status = outcome.error.status
        self._shared.ledger.close_request(
            request,
            Request(
                seconds=round(seconds, 3),
                status=status,
                completed=progress.completed,
                failed=progress.failed,
                warning=progress.warning,
                reason=outcome.reason(),
            ),
        )

    # What follows

    def _learn(self, step: Step, outcome: Outcome, seconds: float) -> None:
        """Draw the conclusions for the requests to come."""
        shared, error = self._shared, outcome.error
        status = error.status if isinstance(error, StatusError) else None
        unusable = isinstance(error, NoPresentationContextError) or status in _REFUSED_CLASS
        if status == _UNKNOWN_DESTINATION or unusable:
            assert error is not None
            is_news = shared.methods.refuse(step.method, error.message)
            if is_news and step.method == MOVE:
                shared.tell(error.message)
                self._show_entry()
            return
        if outcome.is_vain:
            shared.methods.was_vain(step.method)
        if outcome.is_overload:
            shared.load.overloaded(time.monotonic())
            shared.detail(f"{outcome.reason()} {shared.load.allowed} requests at once from now on")
        elif isinstance(error, PeerTimeoutError):
            shared.load.overloaded(time.monotonic())
        elif outcome.arrived:
            shared.load.succeeded(seconds, outcome.arrived)
            if step.level == "image":
                shared.methods.image_brought()
            if shared.methods.brought(step.method) and not shared.methods.refused:
                way = f"C-{step.method.upper()}"
                shared.tell(f"The PACS sends by {way} and not the other way: {way} from now on.")
                if step.method == GET:
                    self._show_entry()
        if step.method == MOVE and shared.landing is not None:
            self._doubt_listener(shared.landing, outcome)

    def _doubt_listener(self, landing: Landing, outcome: Outcome) -> None:
        """Say so where a PACS sends to a listener of another process, and nothing comes here."""
        if outcome.sent and not outcome.arrived and landing.receiver is None:
            self._shared.tell(
                f"The PACS says that it sends to the listener on {landing.own.host}:"
                f"{landing.own.port}, which is of another process, and nothing of it is in this"
                " archive: is it of another one? Then take another port with --port."
            )

    def _show_entry(self) -> None:
        """Say what the administrator of the PACS would enter, so that C-MOVE works."""
        landing = self._shared.landing
        if landing is None:
            return
        if landing.receiver is None and MOVE not in self._shared.methods.refused:
            return  # the PACS knows us: see _doubt_listener
        entry = entry_for(landing.seen_from(self._client.address))
        self._shared.tell(f"So that it can send to us, its administrator enters\n{entry}")

    def _judge(self, series: LedgerSeries, before: int, step: Step, outcome: Outcome) -> Verdict:
        """Compare with what was expected, and decide whether to ask again."""
        shared = self._shared
        here = shared.ledger.here(series)
        if series.expected is not None and here >= series.expected:
            return self._close(series, "complete", here, "")
        if shared.is_cancelled():
            self._note(replace(series, received=here), OPEN, outcome.reason())
            return Verdict(replace(series, received=here))
        if series.expected is None and here and not outcome.reason():
            reason = f"The PACS does not say how many instances there are; {here} are here."
            return self._close(series, "unknown", here, reason)
        if step.method in shared.methods.refused:  # that was no attempt
            return self._again(series, here, series.attempts, 0.0, outcome)
        attempts = 0 if here > before else series.attempts + 1
        # The other way is tried at once, and whatever the number of retries.
        is_new_way = attempts == 1 and shared.methods.choose(attempts) != step.method
        if attempts > shared.settings.retries and not is_new_way:
            return self._close(series, "incomplete", here, self._why(series, here, outcome))
        pause = shared.settings.backoff * 2.0 ** (attempts - 1)
        return self._again(
            series, here, attempts, pause if attempts and not is_new_way else 0.0, outcome
        )

    def _again(
        self, series: LedgerSeries, here: int, attempts: int, pause: float, outcome: Outcome
    ) -> Verdict:
        reason = outcome.reason()
        series = replace(series, received=here, attempts=attempts, reason=reason)
        self._note(series, "busy", reason)
        return Verdict(series, pause)

    def _why(self, series: LedgerSeries, here: int, outcome: Outcome) -> str:
        if series.expected is None:
            return outcome.reason() or "Nothing came of it."
        missing = series.expected - here
        said = outcome.reason() or "The PACS reported success all the same."
        return f"{missing} of {series.expected} instances did not come. {said}"

    def _close(self, series: LedgerSeries, state: str, here: int, reason: str) -> Verdict:
        series = replace(series, received=here, reason=reason)
        self._note(series, state, reason)
        return Verdict(series)

    def _note(self, series: LedgerSeries, state: str, reason: str) -> None:
        self._shared.ledger.close_series(
            series, state, received=series.received, attempts=series.attempts, reason=reason
        )
