"""The server that plays scripts."""

from __future__ import annotations

import socket

import pytest

from tests.peers.process import HOST
from tests.peers.raw import close, receive, receive_pdu, reset, send, stall

PDU = b"\x01\x00\x00\x00\x00\x04abcd"


def connect(peer):
    return socket.create_connection((HOST, peer.port), timeout=10)


def test_sends_and_closes(raw_scp):
    peer = raw_scp([receive_pdu(), send(b"answer", piece=2), close()])
    with connect(peer) as connection:
        connection.sendall(PDU)
        assert connection.makefile("rb").read() == b"answer"
    peer.wait()
    assert bytes(peer.connections[0].received) == PDU
    assert peer.connections[0].error is None


def test_resets(raw_scp):
    peer = raw_scp([receive(1), reset()])
    with connect(peer) as connection:
        connection.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_keeps_what_comes_while_it_stalls(raw_scp):
    peer = raw_scp([stall()])
    with connect(peer) as connection:
        connection.sendall(PDU)
    peer.wait()
    assert bytes(peer.connections[0].received) == PDU


def test_plays_a_script_a_connection_and_the_last_again(raw_scp):
    peer = raw_scp([send(b"1")], [send(b"2")])
    answers = []
    for _ in range(3):
        with connect(peer) as connection:
            answers.append(connection.makefile("rb").read())
    assert answers == [b"1", b"2", b"2"]


def test_a_peer_that_closes_early_ends_the_script_with_an_error(raw_scp):
    peer = raw_scp([receive_pdu(), send(b"never")])
    connect(peer).close()
    peer.wait()
    assert isinstance(peer.connections[0].error, ConnectionError)


@pytest.mark.parametrize("reading", [True, False])
def test_stops_while_it_stalls(raw_scp, reading):
    peer = raw_scp([send(b"x"), stall(reading=reading)])
    with connect(peer) as connection:
        assert connection.recv(1) == b"x"
        peer.stop()
        assert connection.recv(1) == b""
