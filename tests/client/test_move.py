"""C-MOVE against a provider that answers as written down here."""

from __future__ import annotations

import time

import pytest

from pypx.client import move as move_module
from pypx.client.client import Client
from pypx.client.move import Progress
from pypx.dimse.messages import CMoveRSP
from pypx.dimse.status import Category
from pypx.errors import (
    CancelledError,
    ConfigError,
    ConnectionLostError,
    PeerTimeoutError,
    PypxError,
    RemoteProtocolError,
    StatusError,
)
from pypx.net.connection import Timeouts
from tests.scripted import Answer, Exchange, Scripted

PATIENT = Timeouts(connect=5, association=10, response=10, release=5)
QUICK = Timeouts(connect=5, association=10, response=0.15, release=0.1)
KEYS = {"StudyInstanceUID": "1.2.3"}


@pytest.fixture(autouse=True)
def _frequent_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(move_module, "_POLL", 0.02)


def client(scripted: Scripted, timeouts: Timeouts = PATIENT) -> Client:
    return Client(scripted.address, calling_ae_title="TESTS", timeouts=timeouts)


def test_progress_and_result() -> None:
    asked = []

    def three(exchange: Exchange) -> None:
        asked.append((exchange.request.move_destination, exchange.identifier.to_dict()))
        exchange.progress(0xFF00, 2, 1, 0, 0)
        exchange.progress(0xFF00, 1, 2, 0, 0)
        exchange.progress(0x0000, None, 3, 0, 0)

    with Scripted(move=three) as scripted, client(scripted) as one:
        move = one.move(KEYS, destination="PYPX")
        assert list(move) == [Progress(2, 1, 0, 0), Progress(1, 2, 0, 0)]
        assert move.result is not None
        assert move.result.progress == Progress(None, 3, 0, 0)
        assert move.result.category is Category.SUCCESS
        assert one.move(KEYS, destination="PYPX").run().progress.completed == 3
    assert asked[0] == ("PYPX", {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2.3"})


def test_numbers_that_a_peer_leaves_out_stay_what_they_were() -> None:
    def sparing(exchange: Exchange) -> None:
        exchange.progress(0xFF00, 1, 1)
        exchange.progress(0xFF00)
        exchange.progress(0x0000)

    with Scripted(move=sparing) as scripted, client(scripted) as one:
        move = one.move(KEYS, destination="PYPX")
        assert list(move) == [Progress(1, 1, None, None)] * 2
        assert move.result is not None
        assert move.result.progress == Progress(None, 1, None, None)


def test_failed_instances_are_named() -> None:
    def partly(exchange: Exchange) -> None:
        exchange.progress(0xB000, None, 1, 2, 0, failed=["1.2.3", "1.2.4"])

    with Scripted(move=partly) as scripted, client(scripted) as one:
        result = one.move(KEYS, destination="PYPX").run()
        assert result.category is Category.WARNING
        assert result.failed_sop_instance_uids == ("1.2.3", "1.2.4")
        assert result.progress.failed == 2


def test_a_failed_list_that_cannot_be_read_leaves_the_numbers() -> None:
    def broken(exchange: Exchange) -> None:
        message_id = exchange.request.message_id
        exchange.send(CMoveRSP(message_id, 0xB000, None, None, 1, 2, 0, has_data_set=True), b"xxx")

    with Scripted(move=broken) as scripted, client(scripted) as one:
        result = one.move(KEYS, destination="PYPX").run()
        assert (result.failed_sop_instance_uids, result.progress.failed) == ((), 2)


@pytest.mark.parametrize(
    ("status", "words", "hint"),
    [
        (0xA801, "does not know the move destination", "AE title"),
        (0xA702, "cannot perform the sub-operations", "reaches our listener"),
        (0xC000, "unable to process", "'PYPX'"),
    ],
)
def test_a_failure_status_is_an_error_with_a_hint(status: int, words: str, hint: str) -> None:
    def failing(exchange: Exchange) -> None:
        exchange.progress(status)

    with Scripted(move=failing) as scripted, client(scripted) as one:
        move = one.move(KEYS, destination="PYPX")
        with pytest.raises(StatusError, match=words) as caught:
            move.run()
        assert caught.value.status == status
        assert hint in caught.value.hint
        assert move.result is not None
        assert move.result.category is Category.FAILURE


def cut(exchange: Exchange) -> None:
    exchange.progress(0xFF00, 1, 1, 0, 0)
    exchange.cut()


def silent(exchange: Exchange) -> None:
    exchange.wait_for_cancel()


def pending_for_ever(exchange: Exchange) -> None:
    while True:
        exchange.progress(0xFF00, 9, 1, 0, 0)
        time.sleep(0.01)


def another_message(exchange: Exchange) -> None:
    exchange.send(CMoveRSP(4242, 0x0000))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (cut, ConnectionLostError),
        (silent, PeerTimeoutError),
        (pending_for_ever, PeerTimeoutError),
        (another_message, RemoteProtocolError),
    ],
)
def test_a_move_that_did_not_finish_never_looks_finished(
    answer: Answer, kind: type[PypxError]
) -> None:
    with Scripted(move=answer) as scripted, client(scripted, QUICK) as one:
        move = one.move(KEYS, destination="PYPX")
        with pytest.raises(PypxError) as caught:
            move.run()
        assert type(caught.value) is kind
        assert move.result is None
        assert list(move) == []


def quiet(exchange: Exchange) -> None:
    time.sleep(2 * QUICK.response)
    exchange.progress(0x0000, None, 1, 0, 0)


def busy(exchange: Exchange) -> None:
    until = time.monotonic() + 2 * QUICK.response
    while time.monotonic() < until:
        exchange.progress(0xFF00, 9, 1, 0, 0)
        time.sleep(0.01)
    exchange.progress(0x0000, None, 1, 0, 0)


@pytest.mark.parametrize("answer", [quiet, busy])
def test_what_the_receiver_gets_is_a_sign_of_life(answer: Answer) -> None:
    with Scripted(move=answer) as scripted, client(scripted, QUICK) as one:
        move = one.move(KEYS, destination="PYPX", last_activity=time.monotonic)
        assert move.run().progress.completed == 1


def test_without_numbers_and_a_receiver_pending_is_all_there_is_to_see() -> None:
    def uncounted(exchange: Exchange) -> None:
        until = time.monotonic() + 2 * QUICK.response
        while time.monotonic() < until:
            exchange.progress(0xFF00)
            time.sleep(0.01)
        exchange.progress(0x0000)

    with Scripted(move=uncounted) as scripted, client(scripted, QUICK) as one:
        assert one.move(KEYS, destination="THERE").run().category is Category.SUCCESS
        with pytest.raises(PeerTimeoutError, match="is pending, and sent nothing"):
            one.move(KEYS, destination="PYPX", last_activity=lambda: 0.0).run()


def test_a_cancel_is_polite_and_gives_the_numbers() -> None:
    def cancellable(exchange: Exchange) -> None:
        exchange.progress(0xFF00, 9, 1, 0, 0)
        assert exchange.wait_for_cancel()
        exchange.progress(0xFE00, 9, 1, 0, 0)

    with Scripted(move=cancellable) as scripted, client(scripted) as one:
        move = one.move(KEYS, destination="PYPX")
        next(move)
        move.cancel()
        result = move.run()
        assert result.category is Category.CANCEL
        assert result.progress == Progress(9, 1, 0, 0)


def deaf(exchange: Exchange) -> None:
    exchange.wait_for_cancel()
    exchange.association.next_message()


def deaf_and_chatty(exchange: Exchange) -> None:
    for number in range(60_000):
        exchange.progress(0xFF00, 60_000 - number, number, 0, 0)


def deaf_and_dribbling(exchange: Exchange) -> None:
    """Send a response in small pieces, each long before the client looks at anything else."""
    message_id = exchange.request.message_id
    exchange.send(CMoveRSP(message_id, 0xB000, None, None, 1, 2, 0, has_data_set=True))
    while True:
        exchange.association.send_data_set(exchange.context_id, b"xx", is_last=False)
        time.sleep(0.001)


@pytest.mark.parametrize("answer", [deaf, deaf_and_chatty, deaf_and_dribbling])
def test_a_peer_that_does_not_heed_a_cancel_is_aborted(answer: Answer) -> None:
    timeouts = Timeouts(response=10, release=0.1)
    with Scripted(move=answer) as scripted, client(scripted, timeouts) as one:
        move = one.move(KEYS, destination="PYPX")
        move.cancel()
        with pytest.raises(CancelledError) as caught:
            move.run()
        assert caught.value.exit_code == 130
        assert move.result is None


def test_after_an_interrupt_the_next_operation_has_an_association_of_its_own() -> None:
    asked = []

    def late(exchange: Exchange) -> None:
        asked.append(exchange.request.message_id)
        if len(asked) == 1:
            exchange.association.next_message()
        exchange.progress(0x0000, None, 1, 0, 0)

    def interrupted() -> float:
        raise KeyboardInterrupt

    with Scripted(move=late) as scripted, client(scripted) as one:
        with pytest.raises(KeyboardInterrupt):
            next(one.move(KEYS, destination="PYPX", last_activity=interrupted))
        assert one.move(KEYS, destination="PYPX").run().progress.completed == 1
    assert len(scripted.requests) == 2


@pytest.mark.parametrize(
    ("first", "expected"), [(1, [1, 2]), (20_001, [20_001, 20_002]), (0xFFFF, [0xFFFF, 1])]
)
def test_message_ids_begin_where_they_are_told_to(first: int, expected: list[int]) -> None:
    asked = []

    def note(exchange: Exchange) -> None:
        asked.append(exchange.request.message_id)
        exchange.progress(0x0000, None, 1, 0, 0)

    with Scripted(move=note) as scripted, Client(scripted.address, first_message_id=first) as one:
        for _ in expected:
            one.move(KEYS, destination="PYPX").run()
    assert asked == expected


@pytest.mark.parametrize("first", [0, -1, 0x10000])
def test_a_message_id_that_is_none(first: int) -> None:
    with pytest.raises(ConfigError, match="no message ID"):
        Client("PACS@localhost:104", first_message_id=first)


def test_idle_associations_are_released_when_told_to() -> None:
    def ended(exchange: Exchange) -> None:
        exchange.progress(0x0000, None, 1, 0, 0)

    def waits(exchange: Exchange) -> None:
        exchange.match(StudyInstanceUID="1.2")
        exchange.wait_for_cancel()
        exchange.end_find(0xFE00)

    with Scripted(move=ended, find=waits) as scripted, client(scripted) as one:
        one.release_idle()  # there is none yet
        with one.find({}) as matches:
            next(matches)
            one.move(KEYS, destination="PYPX").run()
            assert len(scripted.requests) == 2
            one.release_idle()
            assert one.move(KEYS, destination="PYPX").run().progress.completed == 1
            assert len(scripted.requests) == 3
        one.release_idle()
        assert one.peer is None
    assert scripted.failures == [None, None, None]


def test_a_destination_that_is_no_ae_title_is_a_usage_error() -> None:
    def never(exchange: Exchange) -> None:
        raise AssertionError

    with Scripted(move=never) as scripted, client(scripted) as one, pytest.raises(ConfigError):
        one.move(KEYS, destination="A_NAME_THAT_IS_TOO_LONG")
