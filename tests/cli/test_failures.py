"""Every way to fail has its own sentence, a hint, its exit code, and is never a success."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from pypx.dicom import uids
from pypx.ul.codec import encode_pdu
from pypx.ul.pdu import AAbort, AAssociateRJ
from tests.cli.conftest import Px
from tests.peers.process import free_port
from tests.peers.raw import RawScp, receive_pdu, send, stall
from tests.scripted import Exchange, Scripted

Peer = Callable[[], AbstractContextManager[str]]


def scripted(**options: Any) -> Peer:
    """A peer that associates and then answers as written."""

    @contextmanager
    def peer():  # type: ignore[no-untyped-def]
        with Scripted(**options) as one:
            yield str(one.address)

    return peer


def raw(*script: Any) -> Peer:
    """A peer that plays bytes."""

    @contextmanager
    def peer():  # type: ignore[no-untyped-def]
        one = RawScp(script)
        try:
            yield one.address
        finally:
            one.stop()

    return peer


def nobody(address: str = "") -> Peer:
    """A peer that is not there."""

    @contextmanager
    def peer():  # type: ignore[no-untyped-def]
        yield address or f"X@127.0.0.1:{free_port()}"

    return peer


def find_ends(status: int) -> Callable[[Exchange], None]:
    def answer(exchange: Exchange) -> None:
        exchange.match(StudyInstanceUID="1.2.3")
        exchange.end_find(status)

    return answer


def find_is_cut(exchange: Exchange) -> None:
    exchange.match(StudyInstanceUID="1.2.3")
    exchange.cut()


def move_ends(status: int) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.progress(status)


def move_is_cut(exchange: Exchange) -> None:
    exchange.progress(0xFF00, 5, 1, 0, 0)
    exchange.cut()


def rejected(result: int, source: int, reason: int) -> Peer:
    return raw(receive_pdu(), send(encode_pdu(AAssociateRJ(result, source, reason))))


ECHO = ("echo",)
FIND = ("find", "-k", "StudyInstanceUID=")
MOVE = ("move", "-k", "StudyInstanceUID=1.2.3", "--to", "ELSEWHERE")
NO_FIND = [uids.STUDY_ROOT_FIND]
NO_MOVE = [uids.STUDY_ROOT_MOVE]

FAILURES: dict[str, tuple[tuple[str, ...], Peer, int, str]] = {
    "port closed": (ECHO, nobody(), 3, "refused the connection"),
    "port closed, find": (FIND, nobody(), 3, "refused the connection"),
    "port closed, move": (MOVE, nobody(), 3, "refused the connection"),
    "host unknown": (ECHO, nobody("X@no-such-host.invalid:104"), 3, "cannot be resolved"),
    "called title refused": (ECHO, rejected(1, 1, 7), 3, "does not go by the called AE title"),
    "calling title refused": (FIND, rejected(1, 1, 3), 3, "does not know the calling AE title"),
    "too busy": (MOVE, rejected(2, 3, 2), 3, "as many associations as it allows"),
    "aborted": (FIND, raw(receive_pdu(), send(encode_pdu(AAbort(2, 0)))), 3, "aborted"),
    "no DICOM": (ECHO, raw(receive_pdu(), send(b"HTTP/1.1 400 \r\n\r\n"), stall()), 3, "HTTP"),
    "silent": (ECHO, raw(receive_pdu(), stall()), 3, "did not answer the association request"),
    "no context for find": (FIND, scripted(find=find_ends(0), refuse=NO_FIND), 3, "but not"),
    "no context for move": (MOVE, scripted(move=move_ends(0), refuse=NO_MOVE), 3, "but not"),
    "find A700": (FIND, scripted(find=find_ends(0xA700)), 4, "A700H: out of resources"),
    "find C000": (FIND, scripted(find=find_ends(0xC000)), 4, "C000H: the peer is unable"),
    "find cut": (FIND, scripted(find=find_is_cut), 3, "closed the connection"),
    "move A801": (MOVE, scripted(move=move_ends(0xA801)), 4, "A801H: the PACS does not know"),
    "move C000": (MOVE, scripted(move=move_ends(0xC000)), 4, "C000H"),
    "move cut": (MOVE, scripted(move=move_is_cut), 3, "closed the connection"),
}


@pytest.mark.parametrize(("command", "peer", "code", "words"), FAILURES.values(), ids=FAILURES)
def test_a_failure_is_told(
    px: Px, command: tuple[str, ...], peer: Peer, code: int, words: str
) -> None:
    name, *rest = command
    with peer() as address:
        ran = px(name, address, *rest, "--timeout", "0.1")
    assert ran.code == code
    assert words in ran.err
    assert "hint: " in ran.err
    assert "Traceback" not in ran.err + ran.out


@pytest.mark.parametrize(("command", "peer", "code", "words"), FAILURES.values(), ids=FAILURES)
def test_a_failure_is_told_in_json(
    px: Px, command: tuple[str, ...], peer: Peer, code: int, words: str
) -> None:
    name, *rest = command
    with peer() as address:
        ran = px(name, address, *rest, "--timeout", "0.1", "--json")
    assert ran.code == code
    told = ran.json[0] if name == "echo" else ran.json
    assert words in told["error"]["message"]
    assert told["error"]["kind"]
    assert told["error"]["hint"]
    assert told.get("status", "failure") == "failure"


def test_no_two_failures_have_the_same_sentence(px: Px) -> None:
    sentences = {}
    told = {label: failure for label, failure in FAILURES.items() if label != "silent"}
    for label, (command, peer, _, _) in told.items():
        with peer() as address:
            name, *rest = command
            err = px(name, address, *rest, "--timeout", "0.1").err
        line = next(line for line in err.splitlines() if line.startswith("error:"))
        sentences[label] = line.replace(address, "PEER").replace(address.rpartition(":")[2], "P")
    same = {"port closed, find", "port closed, move", "move cut"}  # as with the other command
    different = {label: line for label, line in sentences.items() if label not in same}
    assert len(set(different.values())) == len(different)
