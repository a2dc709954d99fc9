"""Peers that vanish in the middle of a resend, stops under load, and modes of files."""

from __future__ import annotations

import os
import signal
import socket
import struct
from pathlib import Path

import pytest

from pypx.dimse.messages import CStoreRQ
from pypx.net.connection import Connection
from tests.crash.load import Senders, check_senders, lost
from tests.listening import Ledger, Listener, associated, check, echo, instance, px, send
from tests.objects import CT_IMAGE, write_file

pytestmark = pytest.mark.timeout(60)


def end(connection: Connection, how: str) -> None:
    sock = connection._channel._socket
    if how == "abort":
        connection.abort()
    elif how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection._channel.close()
    elif how == "half closed":
        sock.shutdown(socket.SHUT_WR)
    elif how == "closed":
        connection._channel.close()


@pytest.mark.parametrize("how", ["abort", "reset", "half closed", "closed", "silence"])
@pytest.mark.parametrize("pixels", [2000, 3_000_000])
def test_d3_a_resend_that_breaks_off(tmp_path: Path, how: str, pixels: int) -> None:
    """Whatever of it came, the stored one stays, and nothing else does."""
    ledger = Ledger()
    with Listener(tmp_path / "archive", tmp_path, "--timeout", "1") as listener:
        with associated(listener) as connection:
            assert send(connection, ledger, 1).status == 0
        before = listener.footprint()
        uid, data = instance(1, PixelData=bytes(pixels))
        resend = associated(listener)
        connection = resend.__enter__()
        connection.send(1, CStoreRQ(2, CT_IMAGE, uid))
        connection.send_data_set(1, data[: len(data) // 2], is_last=False)
        end(connection, how)
        assert check(listener, ledger, before).files == 2
        assert not list((listener.root / ".pypx/superseded").iterdir())
        assert not list((listener.root / ".pypx/quarantine").iterdir())
        connection.abort()


@pytest.mark.parametrize("signals", [["TERM"], ["INT"], ["TERM", "TERM"]], ids="+".join)
def test_d10_stopped_under_load(tmp_path: Path, signals: list[str]) -> None:
    """It ends by itself with 0, and what it acknowledged is there and indexed."""
    with Listener(tmp_path / "archive", tmp_path) as listener:
        process = listener._process
        assert process is not None
        with Senders(listener.port, 3, seed=10, largest=100_000) as senders:
            for sender in senders:
                sender.wait_for(20)
            for name in signals:
                os.kill(process.pid, signal.Signals[f"SIG{name}"])
            assert process.wait(30) == 0
        check_senders(senders)
        assert not list((listener.root / ".pypx/running").iterdir()), "it ended well"
        assert "Stopped after" in listener.log and "Traceback" not in listener.log
    assert lost(listener.root, senders) == []


@pytest.mark.parametrize("mask", ["000", "077"])
def test_d15_modes_and_preambles(tmp_path: Path, mask: str) -> None:
    """Nobody else may read, nothing may be run, and no program hides before the DICM."""
    ledger = Ledger()
    root = tmp_path / "archive"
    program = write_file(tmp_path, 2)
    program.write_bytes(b"MZ\x7fELF" + program.read_bytes()[6:])
    program.chmod(0o777)
    prefix = ["sh", "-c", f'umask {mask}; exec "$@"', "sh"]
    with Listener(root, tmp_path, prefix=prefix) as listener:
        with associated(listener) as connection:
            assert send(connection, ledger, 1).status == 0
            assert send(connection, ledger, 1, PixelData=b"other").status == 0
            assert echo(connection)
        assert px(tmp_path / "home", "index", "import", "--archive", root, program).returncode == 0
        check(listener, ledger)
    files = [path for path in root.rglob("*") if path.is_file()]
    assert {path.name for path in files if path.stat().st_mode & 0o777 & ~0o640} == set()
    assert {oct(path.stat().st_mode & 0o777) for path in root.glob("[!.]*/**/*.dcm")} == {"0o640"}
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    assert {oct(path.stat().st_mode & 0o777) for path in folders} == {"0o750"}
    for path in root.glob("[!.]*/**/*.dcm"):
        assert path.read_bytes()[:128] == bytes(128)
