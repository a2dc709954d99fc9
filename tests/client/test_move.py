"""C-MOVE against a provider that answers as written down here."""

from __future__ import annotations

import time

import pytest

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

QUICK = Timeouts(connect=2, association=2, response=0.4, release=0.3)
KEYS = {"StudyInstanceUID": "1.2.3"}


def client(scripted: Scripted) -> Client:
    return Client(scripted.address, calling_ae_title="TESTS", timeouts=QUICK)


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


def another_message(exchange: Exchange) -> None:
    exchange.send(CMoveRSP(4242, 0x0000))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (cut, ConnectionLostError),
        (silent, PeerTimeoutError),
        (another_message, RemoteProtocolError),
    ],
)
def test_a_move_that_did_not_finish_never_looks_finished(
    answer: Answer, kind: type[PypxError]
) -> None:
    with Scripted(move=answer) as scripted, client(scripted) as one:
        move = one.move(KEYS, destination="PYPX")
        with pytest.raises(PypxError) as caught:
            move.run()
        assert type(caught.value) is kind
        assert move.result is None
        assert list(move) == []


def test_what_the_receiver_gets_keeps_a_silent_peer_alive() -> None:
    def slow(exchange: Exchange) -> None:
        time.sleep(0.9)
        exchange.progress(0x0000, None, 1, 0, 0)

    with Scripted(move=slow) as scripted, client(scripted) as one:
        move = one.move(KEYS, destination="PYPX", last_activity=time.monotonic)
        assert move.run().progress.completed == 1


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


def test_a_peer_that_does_not_heed_a_cancel_is_aborted() -> None:
    def deaf(exchange: Exchange) -> None:
        exchange.progress(0xFF00, 9, 1, 0, 0)
        exchange.wait_for_cancel()
        time.sleep(0.9)

    with Scripted(move=deaf) as scripted, client(scripted) as one:
        move = one.move(KEYS, destination="PYPX")
        next(move)
        move.cancel()
        with pytest.raises(CancelledError) as caught:
            move.run()
        assert caught.value.exit_code == 130


def test_a_destination_that_is_no_ae_title_is_a_usage_error() -> None:
    def never(exchange: Exchange) -> None:
        raise AssertionError

    with Scripted(move=never) as scripted, client(scripted) as one, pytest.raises(ConfigError):
        one.move(KEYS, destination="A_NAME_THAT_IS_TOO_LONG")
