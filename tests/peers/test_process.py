"""What every peer has in common: it starts or says why not, and leaves nothing behind."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.peers.process import IN_CI, Peer, free_port, require, wait_port

LISTEN = """
import os, socket, sys, time
print(f"TCP_NODELAY={os.environ.get('TCP_NODELAY')}", flush=True)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(60)
"""
LISTEN_AND_FORK = LISTEN.replace("time.sleep", "os.fork()\ntime.sleep")


def python_peer(folder: Path, code: str, *, nodelay: bool = True) -> Peer:
    script = folder / "peer.py"
    script.write_text(code, encoding="utf-8")
    port = free_port()
    log = folder / "log"
    arguments = (script, str(port))
    return Peer(sys.executable, *arguments, ae_title="X", port=port, log=log, nodelay=nodelay)


def refuses_connections(port: int) -> bool:
    """Whether nobody listens any more: the forked child has the listening socket too."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            wait_port(port, timeout=0.1)
        except TimeoutError:
            return True
    return False


@pytest.mark.parametrize("end", [Peer.stop, Peer.kill])
def test_a_peer_ends_with_its_children(tmp_path, end):
    peer = python_peer(tmp_path, LISTEN_AND_FORK)
    peer.start()
    assert peer.pid is not None
    end(peer)
    assert peer.pid is None
    assert refuses_connections(peer.port)


def test_a_peer_that_does_not_listen_to_sigterm_is_killed(tmp_path, monkeypatch):
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)" + LISTEN_AND_FORK
    monkeypatch.setattr(Peer, "STOP_TIMEOUT", 0.1)
    peer = python_peer(tmp_path, deaf)
    peer.start()
    peer.stop()
    assert refuses_connections(peer.port)


def test_a_peer_can_be_restarted_on_its_port(tmp_path):
    peer = python_peer(tmp_path, LISTEN)
    peer.start()
    first = peer.pid
    peer.restart()
    second = peer.pid
    peer.kill()
    assert second not in (None, first)


def test_a_peer_that_does_not_start_shows_its_log(tmp_path):
    peer = python_peer(tmp_path, "raise SystemExit('no such thing as a free port')")
    with pytest.raises(RuntimeError, match="no such thing as a free port"):
        peer.start()
    assert peer.pid is None


@pytest.mark.parametrize(("nodelay", "value"), [(True, "1"), (False, "None")])
def test_nodelay_is_in_the_environment_or_not(tmp_path, monkeypatch, nodelay, value):
    monkeypatch.setenv("TCP_NODELAY", "0")
    peer = python_peer(tmp_path, LISTEN, nodelay=nodelay)
    peer.start()
    peer.kill()
    assert peer.log == f"TCP_NODELAY={value}\n"


def test_free_ports_are_never_the_same():
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50


def test_a_missing_program_is_a_failure_in_ci_and_a_skip_elsewhere():
    expected = pytest.fail.Exception if IN_CI else pytest.skip.Exception
    with pytest.raises(expected, match="no-such-program is not installed"):
        require("no-such-program")
