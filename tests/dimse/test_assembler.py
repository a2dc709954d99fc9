"""Fragments to messages: the order that PS3.7 §6.3 and PS3.8 Annex E ask for."""

from __future__ import annotations

import pytest

from pypx.dimse.assembler import Assembler, DataSetReceived, MessageReceived
from pypx.dimse.command import encode_command
from pypx.dimse.messages import CEchoRQ, CFindRQ
from pypx.errors import RemoteProtocolError
from pypx.ul.reader import PDVFragment

ECHO = encode_command(CEchoRQ(1))
FIND = encode_command(CFindRQ(2, "1.2"))


def command(data: bytes, *, last: bool = True, context: int = 1) -> PDVFragment:
    return PDVFragment(context, True, last, memoryview(data))


def data(piece: bytes, *, last: bool = True, context: int = 1) -> PDVFragment:
    return PDVFragment(context, False, last, memoryview(piece))


def test_a_message_without_data_set_is_whole_with_its_command_set() -> None:
    assembler = Assembler()
    assert assembler.feed(command(ECHO)) == MessageReceived(1, CEchoRQ(1))
    assert not assembler.in_progress


def test_a_command_set_may_come_byte_by_byte() -> None:
    assembler = Assembler()
    for index in range(len(ECHO) - 1):
        assert assembler.feed(command(ECHO[index : index + 1], last=False)) is None
        assert assembler.in_progress
    assert assembler.feed(command(ECHO[-1:])) == MessageReceived(1, CEchoRQ(1))


def test_an_empty_last_fragment_ends_a_command_set() -> None:
    assembler = Assembler()
    assembler.feed(command(ECHO, last=False))
    assert assembler.feed(command(b"")) == MessageReceived(1, CEchoRQ(1))


def test_a_data_set_passes_through_piece_by_piece_without_a_copy() -> None:
    assembler = Assembler()
    assert assembler.feed(command(FIND)) == MessageReceived(1, CFindRQ(2, "1.2"))
    buffer = bytearray(b"abcdef")
    received = assembler.feed(PDVFragment(1, False, False, memoryview(buffer)[:4]))
    assert isinstance(received, DataSetReceived)
    buffer[0:1] = b"X"
    assert bytes(received.data) == b"Xbcd"
    assert assembler.in_progress
    last = assembler.feed(data(b"", last=True))
    assert last == DataSetReceived(1, memoryview(b""), True)
    assert not assembler.in_progress
    assert isinstance(assembler.feed(command(ECHO)), MessageReceived)


WRONG = {
    "data before a command": [data(b"x")],
    "data after a message without": [command(ECHO), data(b"x")],
    "data while the command set goes on": [command(ECHO, last=False), data(b"x")],
    "a command before the data set ended": [command(FIND), data(b"x", last=False), command(ECHO)],
    "a command where the data set belongs": [command(FIND), command(ECHO)],
    "a command set over two contexts": [
        command(FIND[:9], last=False),
        command(FIND[9:], context=3),
    ],
    "data in another context": [command(FIND), data(b"x", context=3)],
    "a command set without end": [command(b"\0" * 16384, last=False)] * 5,
    "a flood of empty fragments": [command(b"", last=False)] * 1025,
    "garbage": [command(b"no command set")],
}


@pytest.mark.parametrize("fragments", WRONG.values(), ids=WRONG)
def test_any_other_order_is_a_protocol_error_of_the_peer(fragments: list[PDVFragment]) -> None:
    assembler = Assembler()
    for fragment in fragments[:-1]:
        assembler.feed(fragment)
    with pytest.raises(RemoteProtocolError):
        assembler.feed(fragments[-1])
