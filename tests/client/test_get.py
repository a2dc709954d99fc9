"""C-GET against a provider that answers as written down here."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable

import pytest

from pypx.client import get as get_module
from pypx.client.client import Client
from pypx.client.get import GetOnce
from pypx.client.move import Progress
from pypx.client.sop_classes import SOPClasses
from pypx.dicom import uids
from pypx.dimse.messages import CGetRSP, CStoreRQ, CStoreRSP
from pypx.dimse.status import Category
from pypx.errors import (
    CancelledError,
    ConnectionLostError,
    NoPresentationContextError,
    PeerTimeoutError,
    PypxError,
    RemoteProtocolError,
    StatusError,
)
from pypx.net.connection import Timeouts
from tests.objects import CT_IMAGE, data_set
from tests.scripted import Answer, Exchange, Scripted

PATIENT = Timeouts(connect=5, association=10, response=10, release=5)
QUICK = Timeouts(connect=5, association=10, response=0.15, release=0.1)
KEYS = {"StudyInstanceUID": "1.2.3"}
CT = SOPClasses((CT_IMAGE,), True)


@pytest.fixture(autouse=True)
def _frequent_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_module, "_POLL", 0.02)


def client(scripted: Scripted, timeouts: Timeouts = PATIENT) -> Client:
    return Client(scripted.address, calling_ae_title="TESTS", timeouts=timeouts)


class Keeper:
    """Keep what comes, and answer with a status."""

    def __init__(self, status: int = 0x0000, slow: float = 0.0) -> None:
        self.kept: dict[str, bytes] = {}
        self.titles: set[tuple[str, str]] = set()
        self.status = status
        self.slow = slow
        self.begun = threading.Event()

    def __call__(self, association: GetOnce, context_id: int, request: CStoreRQ) -> int:
        self.titles.add((association.calling_ae_title, association.called_ae_title))
        self.begun.set()
        data = b"".join(bytes(piece) for piece in association.data_set())
        self.kept[request.affected_sop_instance_uid] = data
        time.sleep(self.slow)
        association.send(context_id, CStoreRSP(request.message_id, self.status))
        return self.status


def two(exchange: Exchange) -> None:
    assert exchange.store(1) == 0
    exchange.progress(0xFF00, 1, 1, 0, 0)
    assert exchange.store(2) == 0
    exchange.progress(0x0000, None, 2, 0, 0)


def test_progress_result_and_bytes() -> None:
    keeper = Keeper()
    with Scripted(get=two) as scripted, client(scripted) as one:
        get = one.get(KEYS, keeper, sop_classes=CT)
        assert list(get) == [Progress(1, 1, 0, 0)]
        assert get.result is not None
        assert get.result.category is Category.SUCCESS
        assert get.result.progress == Progress(None, 2, 0, 0)
        assert keeper.kept == {f"1.2.3.4.{n}": data_set(n) for n in (1, 2)}
        assert keeper.titles == {("SCRIPTED", "TESTS")}
        assert one.get(KEYS, keeper, sop_classes=CT).run().progress.completed == 2
    (request,) = scripted.requests  # the second one went over the same association
    assert scripted.failures == [None]
    (role,) = request.user_information.role_selections
    assert (role.sop_class_uid, role.scu, role.scp) == (CT_IMAGE, False, True)


def test_a_large_object_is_not_held_in_memory() -> None:
    piece, count = bytes(1 << 20), 100

    def large(exchange: Exchange) -> None:
        context_id = exchange.begin_store()
        for number in range(count):
            last = number == count - 1
            exchange.association.send_data_set(context_id, piece, is_last=last)
        assert exchange.stored() == 0
        exchange.progress(0x0000, None, 1, 0, 0)

    sizes: list[int] = []

    def discard(association: GetOnce, context_id: int, request: CStoreRQ) -> int:
        sizes.append(sum(len(piece) for piece in association.data_set()))
        association.send(context_id, CStoreRSP(request.message_id, 0))
        return 0

    with Scripted(get=large) as scripted, client(scripted) as one:
        tracemalloc.start()
        try:
            one.get(KEYS, discard, sop_classes=CT).run()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert sizes == [count << 20]
    assert peak < 20 << 20


def test_failed_instances_are_named() -> None:
    def partly(exchange: Exchange) -> None:
        exchange.progress(0xB000, None, 1, 2, 0, failed=["1.2.3", "1.2.4"])

    with Scripted(get=partly) as scripted, client(scripted) as one:
        result = one.get(KEYS, Keeper(), sop_classes=CT).run()
    assert result.category is Category.WARNING
    assert result.failed_sop_instance_uids == ("1.2.3", "1.2.4")
    assert result.progress.failed == 2


@pytest.mark.parametrize("status", [0xA701, 0xA702, 0xA900, 0xC000])
def test_a_failure_status_is_an_error_with_a_hint(status: int) -> None:
    with (
        Scripted(get=lambda exchange: exchange.progress(status)) as scripted,
        client(scripted) as one,
    ):
        get = one.get(KEYS, Keeper(), sop_classes=CT)
        with pytest.raises(StatusError, match=f"{status:04X}H") as caught:
            get.run()
        assert caught.value.hint
        assert get.result is not None
        assert get.result.category is Category.FAILURE


def cut_in_an_object(exchange: Exchange) -> None:
    context_id = exchange.begin_store()
    exchange.association.send_data_set(context_id, bytes(1000), is_last=False)
    exchange.cut()


def silent_in_an_object(exchange: Exchange) -> None:
    exchange.begin_store()
    exchange.wait_for_cancel()


def silent(exchange: Exchange) -> None:
    exchange.store(1)
    exchange.wait_for_cancel()


def pending_for_ever(exchange: Exchange) -> None:
    while not exchange.association.cancelled(exchange.request.message_id):
        exchange.progress(0xFF00, 9, 1, 0, 0)
        time.sleep(0.01)


def another_message(exchange: Exchange) -> None:
    exchange.send(CGetRSP(4242, 0x0000))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (cut_in_an_object, ConnectionLostError),
        (silent_in_an_object, PeerTimeoutError),
        (silent, PeerTimeoutError),
        (pending_for_ever, PeerTimeoutError),
        (another_message, RemoteProtocolError),
    ],
)
def test_a_get_that_did_not_finish_never_looks_finished(
    answer: Answer, kind: type[PypxError]
) -> None:
    with Scripted(get=answer) as scripted, client(scripted, QUICK) as one:
        get = one.get(KEYS, Keeper(), sop_classes=CT)
        with pytest.raises(PypxError) as caught:
            get.run()
        assert type(caught.value) is kind
        assert get.result is None
        assert list(get) == []


def test_a_disk_of_ours_that_is_slow_is_no_silence_of_the_peer() -> None:
    timeouts = Timeouts(response=0.3)

    def slowly(exchange: Exchange) -> None:
        exchange.store(1)
        time.sleep(timeouts.response / 3)  # less than is allowed
        exchange.progress(0x0000, None, 1, 0, 0)

    with Scripted(get=slowly) as scripted, client(scripted, timeouts) as one:
        keeper = Keeper(slow=timeouts.response * 1.1)
        assert one.get(KEYS, keeper, sop_classes=CT).run().progress.completed == 1


def test_a_cancel_is_polite_and_gives_the_numbers() -> None:
    def cancellable(exchange: Exchange) -> None:
        exchange.progress(0xFF00, 9, 1, 0, 0)
        assert exchange.wait_for_cancel()
        exchange.progress(0xFE00, 9, 1, 0, 0)

    with Scripted(get=cancellable) as scripted, client(scripted) as one:
        get = one.get(KEYS, Keeper(), sop_classes=CT)
        next(get)
        get.cancel()
        result = get.run()
    assert result.category is Category.CANCEL
    assert result.progress == Progress(9, 1, 0, 0)
    assert scripted.failures == [None]


def test_an_object_that_is_under_way_at_a_cancel_is_kept() -> None:
    keeper = Keeper()
    timeouts = Timeouts(response=10, release=0.2)

    def slowly(exchange: Exchange) -> None:
        data, context_id = data_set(1), exchange.begin_store()
        size = len(data) // 8 + 1
        for at in range(0, len(data), size):  # longer in all than the C-CANCEL is waited for
            piece = data[at : at + size]
            last = at + size >= len(data)
            exchange.association.send_data_set(context_id, piece, is_last=last)
            time.sleep(timeouts.release / 4)
        assert exchange.stored() == 0
        assert exchange.cancelled
        exchange.progress(0xFE00, 9, 1, 0, 0)

    with Scripted(get=slowly) as scripted, client(scripted, timeouts) as one:
        get = one.get(KEYS, keeper, sop_classes=CT)
        waiter = threading.Thread(target=lambda: keeper.begun.wait(5) and get.cancel())
        waiter.start()
        assert get.run().category is Category.CANCEL
        waiter.join()
    assert keeper.kept == {"1.2.3.4.1": data_set(1)}


def test_a_peer_that_goes_on_sending_after_a_cancel_is_aborted() -> None:
    ended = threading.Event()

    def deaf(exchange: Exchange) -> None:
        try:
            for number in range(1, 10_000):
                exchange.store(number)
        finally:
            ended.set()

    timeouts = Timeouts(response=10, release=0.1)
    with Scripted(get=deaf) as scripted, client(scripted, timeouts) as one:
        get = one.get(KEYS, Keeper(), sop_classes=CT)
        get.cancel()
        with pytest.raises(CancelledError) as caught:
            get.run()
        assert caught.value.exit_code == 130
        assert ended.wait(5)


def test_when_our_disk_is_full_the_rest_is_cancelled() -> None:
    told: list[int] = []

    def many(exchange: Exchange) -> None:
        told.append(exchange.store(1))
        assert exchange.wait_for_cancel()
        exchange.progress(0xFE00, 9, 0, 1, 0)

    with Scripted(get=many) as scripted, client(scripted) as one:
        result = one.get(KEYS, Keeper(0xA700), sop_classes=CT).run()
    assert told == [0xA700]
    assert result.category is Category.CANCEL


def test_another_failure_of_one_instance_cancels_nothing() -> None:
    def one_bad(exchange: Exchange) -> None:
        assert exchange.store(1) == 0xC000
        assert not exchange.association.cancelled(exchange.request.message_id)
        exchange.progress(0xB000, None, 0, 1, 0)

    with Scripted(get=one_bad) as scripted, client(scripted) as one:
        assert one.get(KEYS, Keeper(0xC000), sop_classes=CT).run().progress.failed == 1


def test_an_instance_in_the_context_of_the_request_is_refused() -> None:
    keeper = Keeper()

    def misplaced(exchange: Exchange) -> None:
        exchange.send(CStoreRQ(1, CT_IMAGE, "1.2.3.4.1"), data_set(1))
        assert exchange.stored() == 0x0122
        exchange.progress(0xB000, None, 0, 1, 0)

    with Scripted(get=misplaced) as scripted, client(scripted) as one:
        one.get(KEYS, keeper, sop_classes=CT).run()
    assert keeper.kept == {}


@pytest.mark.parametrize(
    ("refused", "said"),
    [([uids.STUDY_ROOT_GET], "not C-GET"), ([CT_IMAGE], "none of the SOP classes")],
)
def test_what_the_peer_does_not_offer(refused: list[str], said: str) -> None:
    with (
        Scripted(get=two, refuse=refused) as scripted,
        client(scripted) as one,
        pytest.raises(NoPresentationContextError, match=said) as caught,
    ):
        one.get(KEYS, Keeper(), sop_classes=CT)
    assert "px move" in caught.value.hint


# More SOP classes than one association has room for ----------------------------------------

ALL = uids.storage_sop_classes()
MANY = SOPClasses((CT_IMAGE, *(uid for uid in ALL if uid != CT_IMAGE)), True)


def proposed(exchange: Exchange) -> set[str]:
    return {context.abstract_syntax for context in exchange.association.contexts.values()}


def serve(held: dict[str, str]) -> Callable[[Exchange], None]:
    """Have instances of these classes, and send those for which there is a context."""

    def answer(exchange: Exchange) -> None:
        failed = [uid for uid, cls in held.items() if cls not in proposed(exchange)]
        completed = len(held) - len(failed)
        for number, (uid, cls) in enumerate(held.items(), 1):
            if cls in proposed(exchange):
                context_id = exchange.begin_store(number, uid=uid, sop_class=cls)
                exchange.association.send_data_set(context_id, b"data", is_last=True)
                assert exchange.stored() == 0
        status = 0xA702 if failed and not completed else 0xB000 if failed else 0
        exchange.progress(status, None, completed, len(failed), 0, failed=failed)

    return answer


def test_several_associations_bring_all_classes() -> None:
    held = {f"1.9.{number}": uid for number, uid in enumerate(ALL)}
    keeper = Keeper()
    with Scripted(get=serve(held)) as scripted, client(scripted) as one:
        result = one.get(KEYS, keeper, sop_classes=MANY).run()
    assert set(keeper.kept) == set(held)
    assert len(scripted.requests) > 1
    assert all(len(request.presentation_contexts) <= 128 for request in scripted.requests)
    assert result.category is Category.SUCCESS
    assert result.progress == Progress(None, len(held), 0, 0)
    assert result.failed_sop_instance_uids == ()


def test_what_comes_over_none_of_them_has_failed() -> None:
    held = {"1.9.1": ALL[5], "1.9.2": ALL[-5], "1.9.3": "1.2.840.99.1"}
    with Scripted(get=serve(held)) as scripted, client(scripted) as one:
        result = one.get(KEYS, Keeper(), sop_classes=MANY).run()
    assert result.category is Category.WARNING
    assert result.progress == Progress(None, 2, 1, 0)
    assert result.failed_sop_instance_uids == ("1.9.3",)


def test_classes_that_the_peer_does_not_know_are_passed_over() -> None:
    keeper = Keeper()
    later = [uid for uid in ALL if uid != CT_IMAGE]
    with (
        Scripted(get=serve({"1.9.1": CT_IMAGE}), refuse=later) as scripted,
        client(scripted) as one,
    ):
        result = one.get(KEYS, keeper, sop_classes=MANY).run()
    assert (result.category, set(keeper.kept)) == (Category.SUCCESS, {"1.9.1"})


@pytest.mark.parametrize(
    ("held", "associations"),
    [({"1.9.1": CT_IMAGE}, 1), ({"1.9.1": CT_IMAGE, "1.9.2": ALL[-1]}, 2), ({"1.9.2": ALL[-1]}, 2)],
)
def test_what_is_only_possible_is_asked_for_until_all_came(
    held: dict[str, str], associations: int
) -> None:
    keeper = Keeper()
    with Scripted(get=serve(held)) as scripted, client(scripted) as one:
        result = one.get(KEYS, keeper, sop_classes=SOPClasses((), False)).run()
    assert result.category is Category.SUCCESS
    assert set(keeper.kept) == set(held)
    assert len(scripted.requests) == associations


def test_nothing_is_asked_for_after_a_cancel() -> None:
    def cancelled(exchange: Exchange) -> None:
        assert exchange.wait_for_cancel()
        exchange.progress(0xFE00, 9, 0, 0, 0)

    with Scripted(get=cancelled) as scripted, client(scripted) as one:
        get = one.get(KEYS, Keeper(), sop_classes=MANY)
        get.cancel()
        assert get.run().category is Category.CANCEL
    assert len(scripted.requests) == 1
