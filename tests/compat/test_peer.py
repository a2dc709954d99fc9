"""``pypx.echo`` and ``pypx.move``: upstream's keys, and the truth in them."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Callable

import pytest

import pypx
from pypx.address import Address
from pypx.pacs import Pacs
from tests.compat.conftest import Opt, opt_for
from tests.peers.process import free_port
from tests.scripted import Exchange, Scripted

KEYS = {"status", "data", "command", "returncode"}
LEFT = {"completed": 1, "failed": 2, "warning": 0, "remaining": 0}


def test_echo(opt: Callable[..., Opt]) -> None:
    found = pypx.echo(opt())
    assert set(found) == KEYS
    assert (found["status"], found["returncode"]) == ("success", 0)
    assert "I: Received Echo Response (Success)" in found["data"]
    words = shlex.split(found["command"])
    assert words[0] == "/usr/bin/echoscu"
    assert words[-2:] == [opt()["serverIP"], opt()["serverPort"]]
    assert ast.literal_eval(repr(found)) == found


def test_echo_where_nobody_listens() -> None:
    found = pypx.echo({"serverPort": str(free_port())})
    assert (found["status"], found["returncode"], found["error"]["kind"]) == ("error", 3, "connect")
    assert isinstance(found["data"], str)


def test_a_rejection_is_no_success(serve: Callable[..., Address]) -> None:
    found = pypx.echo(opt_for(serve("reject-aet")))
    assert (found["status"], found["returncode"]) == ("error", 3)
    assert "does not know the calling AE title" in found["data"]


def test_what_makes_no_sense_is_an_answer_too() -> None:
    found = pypx.echo({"aec": "longer than sixteen characters"})
    assert (found["status"], found["returncode"]) == ("error", 2)
    assert pypx.move({})["returncode"] == 2
    assert "which study" in pypx.move({})["data"]


def test_move_sends_a_series_to_our_own_title(pacs: Pacs, opt: Callable[..., Opt]) -> None:
    asked = []

    def answer(exchange: Exchange) -> None:
        asked.append((exchange.request.move_destination, exchange.identifier.to_dict()))
        exchange.progress(0x0000, None, 3, 0, 0)

    with Scripted(move=answer) as scripted:
        uids = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.3"}
        found = pypx.move(opt_for(scripted.address, **uids))
        assert (found["status"], found["data"], found["returncode"]) == ("success", [], 0)
        assert (found["completed"], found["failed"]) == (3, 0)
        pypx.move(opt_for(scripted.address, StudyInstanceUID="1.2", aet_listener="LISTENER"))
    level = "QueryRetrieveLevel"
    assert asked == [
        ("PYPX", {level: "SERIES", **uids}),
        ("LISTENER", {level: "STUDY", "StudyInstanceUID": "1.2"}),
    ]
    assert "--move PYPX" in found["command"]
    assert "QueryRetrieveLevel=SERIES" in found["command"]


@pytest.mark.parametrize(
    ("status", "numbers", "word", "code"),
    [
        (0xB000, (1, 2, 0), "partial", 1),
        (0x0000, (1, 2, 0), "partial", 1),
        (0xA702, (1, 2, 0), "partial", 1),
        (0xB000, (0, 3, 0), "error", 1),
        (0x0000, (0, 0, 0), "error", 1),
        (0xA801, (None, None, None), "error", 4),
        (0xC000, (0, 3, 0), "error", 4),
        (0xFE00, (1, 0, 0), "partial", 130),
        (0x0000, (None, None, None), "success", 0),
        (0x0000, (2, 0, 1), "success", 0),
    ],
)
def test_what_the_pacs_counts_goes_before_its_last_status(
    status: int, numbers: tuple[int | None, ...], word: str, code: int
) -> None:
    with Scripted(move=lambda one: one.progress(status, None, *numbers)) as scripted:
        found = pypx.move(opt_for(scripted.address, StudyInstanceUID="1.2"))
    assert (found["status"], found["returncode"]) == (word, code)
    assert ("error" in found) == (code != 0)


def test_the_failed_ones_are_named() -> None:
    def answer(exchange: Exchange) -> None:
        exchange.progress(0xB000, None, 1, 2, 0, failed=["1.2.3.1", "1.2.3.2"])

    with Scripted(move=answer) as scripted:
        found = pypx.move(opt_for(scripted.address, StudyInstanceUID="1.2"))
    assert found["failed_sop_instance_uids"] == ["1.2.3.1", "1.2.3.2"]
    assert "2 of 3 images" in found["data"]


def test_a_name_with_the_words_of_a_shell_is_only_a_name(opt: Callable[..., Opt]) -> None:
    evil = "1.2; touch /tmp/x $(id) `id`"
    found = pypx.move(opt(StudyInstanceUID=evil))
    assert f"StudyInstanceUID={evil}" in shlex.split(found["command"])
