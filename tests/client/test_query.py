"""C-FIND against a provider that answers as written down here."""

from __future__ import annotations

import gc
import threading
import time

import pytest

from pypx.client.client import Client
from pypx.client.query import Level, Model, make_identifier
from pypx.dicom import uids
from pypx.dimse.messages import CFindRSP
from pypx.errors import (
    ConfigError,
    ConnectionLostError,
    NoPresentationContextError,
    PeerTimeoutError,
    PypxError,
    RemoteProtocolError,
    StatusError,
)
from pypx.net.connection import Timeouts
from tests.scripted import Exchange, Scripted

QUICK = Timeouts(connect=2, association=2, response=0.3, release=0.2)


def client(scripted: Scripted) -> Client:
    return Client(scripted.address, calling_ae_title="TESTS", timeouts=QUICK)


def two(exchange: Exchange) -> None:
    exchange.match(PatientID="1")
    exchange.match(PatientID="2")
    exchange.end_find()


def test_matches_come_one_by_one_and_the_association_serves_the_next_query() -> None:
    with Scripted(find=two) as scripted, client(scripted) as one:
        for _ in range(3):
            matches = one.find({"PatientID": "*"})
            assert [match["PatientID"] for match in matches] == ["1", "2"]
            assert (matches.status, matches.count, matches.truncated) == (0, 2, False)
        assert len(scripted.requests) == 1


def test_the_first_match_is_there_before_the_last_is_sent() -> None:
    seen = threading.Event()

    def slowly(exchange: Exchange) -> None:
        exchange.match(PatientID="1")
        assert seen.wait(10)
        exchange.end_find()

    with Scripted(find=slowly) as scripted, client(scripted) as one:
        matches = one.find({"PatientID": "1"})
        assert next(matches)["PatientID"] == "1"
        seen.set()
        assert list(matches) == []


def test_the_identifier_has_the_level_the_keys_and_what_is_to_be_returned() -> None:
    asked = []

    def note(exchange: Exchange) -> None:
        asked.append((exchange.request.affected_sop_class_uid, exchange.identifier.to_dict()))
        exchange.end_find()

    with Scripted(find=note) as scripted, client(scripted) as one:
        list(one.find({"StudyInstanceUID": "1.2"}, level="series", return_keys=["Modality"]))
        list(one.find({"0010,0020": "4711"}, level=Level.PATIENT, model="patient", return_keys=[]))
    assert asked == [
        (
            uids.STUDY_ROOT_FIND,
            {"QueryRetrieveLevel": "SERIES", "Modality": None, "StudyInstanceUID": "1.2"},
        ),
        (uids.PATIENT_ROOT_FIND, {"QueryRetrieveLevel": "PATIENT", "PatientID": "4711"}),
    ]


def endless(exchange: Exchange) -> None:
    number = 0
    while not exchange.association.cancelled(exchange.request.message_id):
        number += 1
        exchange.match(PatientID=str(number))
    exchange.end_find(0xFE00)


def test_the_limit_cancels_and_the_association_lives_on() -> None:
    with Scripted(find=endless) as scripted, client(scripted) as one:
        for _ in range(2):
            matches = one.find({}, limit=3)
            assert [match["PatientID"] for match in matches] == ["1", "2", "3"]
            assert matches.status == 0xFE00
        assert len(scripted.requests) == 1


def test_closing_early_cancels() -> None:
    with Scripted(find=endless) as scripted, client(scripted) as one:
        with one.find({}) as matches:
            next(matches)
        assert matches.status == 0xFE00
        assert list(matches) == []


def test_an_operation_during_a_query_takes_an_association_of_its_own() -> None:
    with Scripted(find=two) as scripted, client(scripted) as one:
        outer = one.find({})
        assert next(outer)["PatientID"] == "1"
        assert [match["PatientID"] for match in one.find({})] == ["1", "2"]
        assert [match["PatientID"] for match in outer] == ["2"]
        list(one.find({}))
        assert len(scripted.requests) == 2


def test_a_peer_that_ignores_the_cancel_is_aborted() -> None:
    def deaf(exchange: Exchange) -> None:
        while True:
            exchange.match(PatientID="1")
            time.sleep(0.001)

    timeouts = Timeouts(response=10, release=0.05)
    with Scripted(find=deaf) as scripted, Client(scripted.address, timeouts=timeouts) as one:
        matches = one.find({}, limit=1)
        assert len(list(matches)) == 1
        assert len(list(one.find({}, limit=1))) == 1
        assert len(scripted.requests) == 2


def test_an_iterator_that_is_dropped_does_not_leak_into_the_next_query() -> None:
    with Scripted(find=two) as scripted, client(scripted) as one:
        next(one.find({}))
        gc.collect()
        assert [match["PatientID"] for match in one.find({})] == ["1", "2"]


@pytest.mark.parametrize(
    ("status", "words"),
    [(0xA700, "out of resources"), (0xC000, "unable to process"), (0xA900, "does not match")],
)
def test_a_failure_after_matches_is_an_error_and_the_matches_were_given(
    status: int, words: str
) -> None:
    def failing(exchange: Exchange) -> None:
        exchange.match(PatientID="1")
        exchange.end_find(status, "the peer's own words")

    with Scripted(find=failing) as scripted, client(scripted) as one:
        matches = one.find({})
        assert next(matches)["PatientID"] == "1"
        with pytest.raises(StatusError, match=words) as caught:
            next(matches)
        assert caught.value.status == matches.status == status
        assert caught.value.exit_code == 4
        assert "the peer's own words" in caught.value.message
        assert "after 1 matches" in caught.value.message
        assert caught.value.hint
        assert list(matches) == []


def test_a_peer_that_gives_only_some_says_so() -> None:
    def capped(exchange: Exchange) -> None:
        exchange.match(PatientID="1")
        exchange.end_find(0xB001)

    with Scripted(find=capped) as scripted, client(scripted) as one:
        matches = one.find({})
        assert len(list(matches)) == 1
        assert matches.truncated


def test_unsupported_keys_are_noted() -> None:
    def partly(exchange: Exchange) -> None:
        exchange.match(0xFF01, PatientID="1")
        exchange.end_find()

    with Scripted(find=partly) as scripted, client(scripted) as one:
        matches = one.find({})
        assert len(list(matches)) == 1
        assert matches.optional_keys_unsupported


def cut(exchange: Exchange) -> None:
    exchange.match(PatientID="1")
    exchange.cut()


def silent(exchange: Exchange) -> None:
    exchange.match(PatientID="1")
    exchange.wait_for_cancel()


def no_data_set(exchange: Exchange) -> None:
    exchange.send(CFindRSP(exchange.request.message_id, 0xFF00))


def another_message(exchange: Exchange) -> None:
    exchange.send(CFindRSP(4242, 0x0000))


def garbage(exchange: Exchange) -> None:
    exchange.send(CFindRSP(exchange.request.message_id, 0xFF00, has_data_set=True), b"garbage!!")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (cut, ConnectionLostError),
        (silent, PeerTimeoutError),
        (no_data_set, RemoteProtocolError),
        (another_message, RemoteProtocolError),
        (garbage, RemoteProtocolError),
    ],
)
def test_a_query_that_did_not_finish_never_looks_finished(
    answer: object, kind: type[PypxError]
) -> None:
    with Scripted(find=answer) as scripted, client(scripted) as one:  # type: ignore[arg-type]
        with pytest.raises(PypxError) as caught:
            list(one.find({}))
        assert type(caught.value) is kind


def test_a_peer_without_the_model_is_an_error_with_a_hint() -> None:
    with Scripted(find=two, refuse=[uids.PATIENT_ROOT_FIND]) as scripted, client(scripted) as one:
        with pytest.raises(NoPresentationContextError) as caught:
            one.find({}, model="patient")
        assert caught.value.hint
        assert len(list(one.find({}, model="study"))) == 2


@pytest.mark.parametrize(
    ("keys", "level", "model"),
    [
        ({"PatientIDD": "1"}, "study", "study"),
        ({}, "frame", "study"),
        ({}, "study", "worklist"),
    ],
)
def test_what_cannot_be_asked_is_a_usage_error(
    keys: dict[str, str], level: str, model: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Client("X@127.0.0.1:1").find(keys, level=level, model=model)
    assert caught.value.hint


def test_names_of_levels_and_models() -> None:
    assert Level.parse("instance") is Level.IMAGE
    assert Level.parse("Study") is Level.STUDY
    assert Model.parse("PATIENT") is Model.PATIENT


def test_a_name_outside_ascii_is_sent_with_its_character_set() -> None:
    latin = make_identifier({"PatientName": "Müller*"}, Level.STUDY)
    assert latin["SpecificCharacterSet"] == "ISO_IR 100"
    japanese = make_identifier({"PatientName": "*山田*"}, Level.STUDY)
    assert japanese["SpecificCharacterSet"] == "ISO_IR 192"
    assert "SpecificCharacterSet" not in make_identifier({"PatientName": "Doe*"}, Level.STUDY)
