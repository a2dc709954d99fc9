"""``px listen --inetd``: one association on standard input, and not a byte beside it."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.cli.inetd import LogStream
from pypx.client.client import Client
from pypx.client.store import Instance
from pypx.errors import PypxError
from pypx.net.connection import Timeouts
from tests.cli.conftest import Px, command_line, write_config
from tests.inetd import SmallInetd, px_listen
from tests.listening import eventually
from tests.objects import write_file

WAIT = 60.0
PATIENCE = Timeouts(connect=60, association=90, response=90, release=20)
"""A process is started for each association, which takes long on a machine that is busy."""


@pytest.fixture
def inetd(home: Path) -> Iterator[Any]:
    """Start a small inetd for px listen --inetd with these arguments."""
    with ExitStack() as stack:

        def start(*arguments: object, **options: Any) -> SmallInetd:
            line = command_line("listen", *arguments)
            return stack.enter_context(SmallInetd(*line, **options))

        yield start


def send(port: int, *paths: Path) -> None:
    with Client(
        Address("PYPX", "127.0.0.1", port), calling_ae_title="SENDER", timeouts=PATIENCE
    ) as client:
        if not paths:
            client.echo()
            return
        instances = [Instance.from_file(path) for path in paths]
        store = client.store(instances)
        for instance in instances:
            assert store.send(instance).status == 0


def said(port: int, data: bytes = b"") -> bytes:
    """Give all that comes over a connection after these bytes, up to its end."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        pieces = []
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def test_one_association_is_served_and_the_process_ends(inetd: Any, home: Path) -> None:
    running = inetd("--inetd", "--logdir", home / "log")
    send(running.port, write_file(home, 1), write_file(home, 2))
    assert running.ended() == [0]
    with Archive(home / "pypx", read_only=True) as archive:
        assert len(list(archive.find("image"))) == 2
        assert archive.check(checksums=True).ok
    log = (home / "log" / "listen.run.log").read_text()
    assert "SENDER@127.0.0.1 to PYPX  2 images" in log
    assert "Stopped after 1 association: 2 images" in log
    assert "Doe" not in log and "4711" not in log
    assert not list((home / "pypx").glob("[!.]*/**/*.info"))  # that layout has none


def test_a_log_of_its_own_stays_where_it_is(inetd: Any, home: Path) -> None:
    """systemd gives the connection as standard input only."""
    running = inetd("--inetd", "-v", stderr=home / "journal")
    send(running.port, write_file(home, 1))
    assert running.ended() == [0]
    assert "serving one association on 127.0.0.1" in (home / "journal").read_text()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--inetd", "-v"), 0),
        (("--inetd", "--nonsense"), 2),
        (("--inetd", "--port", "104"), 2),
        (("--inetd", "--archive", "/dev/null/x"), 5),
        (("--inetd", "--logdir", "/dev/null/x"), 2),
        (("--help",), 0),
    ],
)
def test_nobody_speaks_over_the_connection(inetd: Any, arguments: Any, code: int) -> None:
    running = inetd(*arguments)
    assert said(running.port) == b""
    assert running.ended() == [code]


def test_rubbish_is_answered_as_any_listener_does(inetd: Any) -> None:
    running = inetd("--inetd")
    answer = said(running.port, b"GET / HTTP/1.0\r\n\r\n")
    assert answer[:1] == b"\x07" and len(answer) == 10  # one A-ABORT, and no word
    assert running.ended() == [0]


def test_rules_hold(inetd: Any, home: Path) -> None:
    running = inetd("--inetd", "--allow", "OTHER@*", "--logdir", home / "log")
    with pytest.raises(PypxError):
        send(running.port)
    assert running.ended() == [0]
    assert "rejected" in (home / "log" / "listen.run.log").read_text()


def test_sigterm_ends_it_politely(inetd: Any, home: Path) -> None:
    running = inetd("--inetd", "--logdir", home / "log")
    with Client(
        Address("PYPX", "127.0.0.1", running.port), calling_ae_title="SENDER", timeouts=PATIENCE
    ) as client:
        client.echo()
        running.started[0].send_signal(signal.SIGTERM)
        assert running.ended() == [0]
    assert "Stopped after 1 association" in (home / "log" / "listen.run.log").read_text()


def test_upstreams_flags_open_it_and_choose_its_layout(home: Path, samples: Archive) -> None:
    write_config(home, 'layout = "uid"\n')
    program = px_listen(home, home)
    with SmallInetd(program, "-l", home / "log", "-d", home / "data") as running:
        send(running.port, *(one.path for one in list(samples.instances())[:2]))
        assert running.ended() == [0]
    (series,) = (path.parent for path in (home / "data").glob("[!.]*/*/*/series.info"))
    assert len(list(series.glob("0*.dcm"))) == 2
    assert (home / "log" / "patient_map").is_dir()


def test_a_process_that_is_killed_loses_nothing_and_the_next_one_says_so(
    home: Path,
) -> None:
    program, data = px_listen(home, home), home / "data"
    first, other = home / "first", home / "other"
    first.mkdir(), other.mkdir()
    with SmallInetd(program, "-l", home / "log", "-d", data) as running:
        with suppress(PypxError):  # of its end, which is no release
            address = Address("PYPX", "127.0.0.1", running.port)
            with Client(address, calling_ae_title="SENDER", timeouts=PATIENCE) as client:
                instances = [Instance.from_file(write_file(first, number)) for number in (1, 2)]
                store = client.store(instances)
                assert [store.send(one).status for one in instances] == [0, 0]
                eventually(lambda: list((data / ".pypx/hooks/pending").glob("*/[!.]*.json")))
                assert list(data.glob("[!.]*/*/*/receiving.series"))
                running.started[0].kill()
                running.started[0].wait(WAIT)
                client.echo()
        send(running.port, write_file(other, 3, SeriesInstanceUID="1.2.9"))
        assert running.ended()[-1] == 0
    series = {path.parent: len(list(path.parent.glob("*.dcm"))) for path in data.rglob("*.info")}
    assert sorted(series.values()) == [0, 0, 1, 2]  # patient, study, and the two
    assert not list(data.rglob("receiving.series"))
    with Archive(data, layout="pypx-1", read_only=True) as archive:
        assert archive.check(checksums=True).ok


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--inetd",), "Standard input is no TCP connection"),
        (("-t", "x", "-e", "y"), "Standard input is no TCP connection"),
        (("--inetd", "--workers", "2"), "--workers means nothing"),
        (("--inetd", "--metrics", "0"), "--metrics"),
        (("--logdir", "x"), "--logdir needs --inetd"),
        (("--debug",), "--debug needs --inetd"),
        (("-d", "x", "--archive", "y"), "exclude each other"),
    ],
)
def test_what_makes_no_sense(process: Px, arguments: Any, says: str) -> None:
    ran = process("listen", *arguments, stdin=subprocess.DEVNULL)
    assert ran.code == 2 and says in ran.err


def test_a_socket_of_this_machine_is_no_connection(process: Px) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ran = process("listen", "--inetd", stdin=theirs)
    assert ran.code == 2 and "no TCP connection" in ran.err


def test_a_log_has_whole_lines() -> None:
    lines: list[str] = []
    stream = LogStream(lines.append)
    stream.write("one\ntwo\n")
    stream.buffer.write(b"three \xff\n")
    stream.flush()
    stream.buffer.flush()
    assert lines == ["one", "two", "three \\xff"]
    assert not stream.isatty()
