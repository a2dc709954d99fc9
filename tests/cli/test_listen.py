"""``px listen`` as a process: it says where it is, tells of each association, and stops."""

from __future__ import annotations

import ctypes
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.archive.locks import OPENING
from pypx.client.client import Client
from pypx.client.store import Instance
from pypx.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from pypx.dimse.messages import CStoreRQ
from pypx.errors import AssociationRejectedError, TlsError
from pypx.net.server import can_share_port
from pypx.net.tls_settings import ClientTls
from tests.cli.conftest import Px, command_line, impatient, write_config
from tests.hostile import RawPeer, abort, pdu, reject, request
from tests.net.certificates import Certificates
from tests.objects import CT_IMAGE, data_set
from tests.peers.process import free_port
from tests.receiver.test_workers import is_alive, wait_until

WAIT = 30.0


class Listening:
    """A running ``px listen``; its stdout and stderr are read as they come."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            command_line("listen", "--port", 0, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # what is read here is not missing later
        )
        assert self.process.stderr is not None
        self.said: list[str] = []
        found = self.wait_for(r"Listening on ([\d.]+):(\d+) as (\S+), into ")
        self.address = Address(found[3], "127.0.0.1", int(found[2]))

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read stderr up to the line where the pattern is."""
        assert self.process.stderr is not None
        found = None
        while found is None:
            self.said.append(self.process.stderr.readline().decode())
            assert self.said[-1], "".join(self.said)
            found = re.search(pattern, self.said[-1])
        return found

    def workers(self) -> list[int]:
        """The process IDs of its workers."""
        path = Path(f"/proc/{self.process.pid}/task")
        children = [(task / "children").read_text().split() for task in path.iterdir()]
        return [int(pid) for pids in children for pid in pids]

    def stop(self, number: signal.Signals) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = (data.decode() for data in self.process.communicate(timeout=WAIT))
        return self.process.returncode, out, "".join(self.said) + err

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def listen(home: Path) -> Iterator[Any]:
    started = []

    def start(*arguments: object) -> Listening:
        started.append(Listening(*arguments))
        return started[-1]

    yield start
    for one in started:
        one.kill()


def test_it_writes_upstreams_tree_with_info_files_and_maps(
    listen: Any, samples: Archive, home: Path
) -> None:
    write_config(home, 'layout = "pypx-1"\n[listen]\nsettle = 0.2\n')
    listener = listen("--maps", home / "log")
    send(listener.address, samples, 3)
    wait_until(lambda: list((home / "pypx").glob("[!.]*/*/*/series.info")))
    (series,) = (path.parent for path in (home / "pypx").glob("[!.]*/*/*/series.info"))
    assert [len(path.name.partition("-")[0]) for path in series.glob("*.dcm")] == [5, 5, 5]
    assert (series.parent / "study.info").exists() and (series.parents[1] / "patient.info").exists()
    (path,) = (home / "log" / "series_map").glob("*.json")
    assert json.loads(path.read_text()) == {path.stem: str(series)}
    assert not list(series.glob("receiving.series"))
    write_config(home, f'maps = "{home}"\nlayout = "pypx-1"\n[listen]\nsettle = 0.2\n')
    listener.process.send_signal(signal.SIGHUP)
    assert "maps" in listener.wait_for("Only a new start changes (.*):")[1]
    assert listener.stop(signal.SIGTERM)[0] == 0


def send(address: Address, samples: Archive, number: int, *, status: int = 0) -> None:
    with Client(address, calling_ae_title="SENDER") as client:
        located = list(samples.instances())[:number]
        instances = [Instance.from_file(one.path) for one in located]
        store = client.store(instances)
        for instance in instances:
            assert store.send(instance).status == status


SHARED = pytest.mark.skipif(not can_share_port(), reason="no port is shared here")
WORKERS = [pytest.param(1, id="alone"), pytest.param(2, id="workers", marks=SHARED)]


@pytest.mark.parametrize(
    ("number", "workers"),
    [
        (signal.SIGTERM, 1),
        (signal.SIGINT, 1),
        pytest.param(signal.SIGINT, 2, marks=SHARED),
    ],
)
def test_it_receives_and_stops_politely(
    listen: Any, samples: Archive, home: Path, number: signal.Signals, workers: int
) -> None:
    listener = listen("--durability", "none", "--workers", workers)
    send(listener.address, samples, 3)
    code, out, err = listener.stop(number)
    assert code == 0
    assert re.fullmatch(
        r"SENDER@127\.0\.0\.1 to PYPX  3 images, \d+ kB, [\d.]+ s, [\d.]+ [kM]?B/s\n", out
    )
    assert "Only this machine reaches it" in err
    assert "Stopped after 1 association: 3 images, " in err
    assert len(list((home / "pypx").glob("[!.]*/**/*.dcm"))) == 3


def test_json_lines_of_associations(listen: Any, samples: Archive) -> None:
    listener = listen("--jsonl")
    send(listener.address, samples, 2)
    _, out, _ = listener.stop(signal.SIGTERM)
    (row,) = map(json.loads, out.splitlines())
    assert row["calling_ae_title"] == "SENDER"
    assert row["host"] == "127.0.0.1"
    assert (row["instances"], row["failures"], row["error"]) == (2, 0, None)


def test_a_document_at_the_end(listen: Any, samples: Archive) -> None:
    listener = listen("--json")
    send(listener.address, samples, 1)
    _, out, _ = listener.stop(signal.SIGTERM)
    document = json.loads(out)
    assert (document["associations"], document["instances"]) == (1, 1)


def test_configured_rules_and_nodes_are_in_force(listen: Any, px: Px, home: Path) -> None:
    write_config(
        home,
        'aet = "LAB"\n[listen]\nallow = ["GOOD@127.0.0.0/8"]\n'
        '[nodes.far]\naddress = "FAR@192.0.2.1"\n',
    )
    listener = listen("-v")
    assert listener.address.ae_title == "LAB"
    assert px("echo", listener.address, "--aet", "GOOD").code == 0
    refused = px("echo", listener.address, "--aet", "BAD")
    assert refused.code == 3
    assert "calling AE title" in refused.err
    code, _, err = listener.stop(signal.SIGTERM)
    assert code == 0
    assert "We rejected" in err


def test_an_echo_while_it_listens_is_an_association(listen: Any, px: Px) -> None:
    listener = listen("--aet", "OURS")
    assert listener.address.ae_title == "OURS"
    assert px("echo", listener.address).code == 0
    _, out, _ = listener.stop(signal.SIGTERM)
    assert out.startswith("PYPX@127.0.0.1 to OURS  0 images")


def test_it_goes_on_receiving_when_nobody_reads_what_it_tells(
    listen: Any, px: Px, samples: Archive, home: Path
) -> None:
    listener = listen("--durability", "none")
    listener.process.stdout.close()
    px("echo", listener.address)
    send(listener.address, samples, 2)
    listener.process.send_signal(signal.SIGTERM)
    assert listener.process.wait(WAIT) == 1
    assert b"receiving goes on" in listener.process.stderr.read()
    assert len(list((home / "pypx").glob("[!.]*/**/*.dcm"))) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "--allow-any"),
        (["--host", "192.0.2.77", "--allow-any"], "Cannot listen on 192.0.2.77"),
        (["--allow", "nonsense"], "'nonsense' is no rule"),
        (["--allow", "A@*", "--allow-any"], "exclude"),
        (["--port", "99999"], "--port"),
        (["--grace", "-1"], "--grace"),
        (["--min-free", "much"], "no size"),
        (["--csv"], "--csv"),
        (["--workers", "0"], "--workers"),
        (["--metrics", "nonsense"], "'nonsense' is no address"),
        (["--workers", "2", "--host", "192.0.2.77", "--allow-any"], "Cannot listen on 192.0.2.77"),
        (["--workers", "2", "--host", "0.0.0.0"], "--allow-any"),
    ],
)
def test_what_is_no_use_is_exit_2(px: Px, arguments: list[str], said: str) -> None:
    ran = px("listen", *arguments)
    assert ran.code == 2
    assert said in ran.err


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs threads with IDs")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("made", [False, True])
def test_no_archive_is_made_on_the_disk_below(
    px: Px, tmp_path: Path, made: bool, workers: int
) -> None:
    """D6: the folder that a disk is to be mounted on is missing, or empty."""
    root = tmp_path / "mountpoint"
    if made:
        root.mkdir()
    ran = px("listen", "--no-create", "--archive", root, "--port", 0, "--workers", workers)
    assert ran.code == (5 if made else 2)
    assert "There is no archive" in ran.err and str(root) in ran.err
    assert root.exists() == made and not (made and list(root.iterdir()))


def test_a_signal_that_another_thread_gets_stops_it_too(listen: Any) -> None:
    listener = listen()
    threads = sorted(
        int(task.name) for task in Path(f"/proc/{listener.process.pid}/task").iterdir()
    )
    assert len(threads) > 1
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.tgkill(listener.process.pid, threads[-1], int(signal.SIGTERM)) == 0
    assert listener.process.wait(WAIT) == 0


def test_low_space_is_refused_and_told(listen: Any, samples: Archive) -> None:
    listener = listen("--min-free", "1000T")
    send(listener.address, samples, 1, status=0xA700)
    code, out, _ = listener.stop(signal.SIGTERM)
    assert code == 0
    assert "1 not stored (The disk has less than" in out


@pytest.mark.parametrize("workers", WORKERS)
def test_a_port_that_is_in_use(listen: Any, px: Px, workers: int) -> None:
    listener = listen("--workers", workers)
    for others in (1, 2) if can_share_port() else (1,):
        ran = px("listen", "--port", listener.address.port, "--workers", others)
        assert ran.code == 2
        assert "the port is in use" in ran.err
        assert "--port" in ran.err


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("workers", WORKERS)
def test_the_second_interrupt_ends_at_once(listen: Any, workers: int) -> None:
    listener = listen("--grace", "60", "--workers", workers)
    processes = listener.workers()
    with Client(listener.address) as client:
        connection = client.connect([(CT_IMAGE, (EXPLICIT_VR_LITTLE_ENDIAN,))])
        connection.send(1, CStoreRQ(1, CT_IMAGE, "1.2.3.4.1"))
        connection.send_data_set(1, data_set()[:100], is_last=False)  # and no more of it
        listener.process.send_signal(signal.SIGINT)
        while "Ctrl-C again" not in listener.said[-1]:
            listener.said.append(listener.process.stderr.readline().decode())
        wait_until(lambda: not _accepts(listener.address.port))
        listener.process.send_signal(signal.SIGINT)
        assert listener.process.wait(WAIT) == 130
        wait_until(lambda: not any(map(is_alive, processes)))


@SHARED
def test_workers_are_told_and_one_that_dies_comes_again(
    listen: Any, samples: Archive, home: Path
) -> None:
    write_config(home, "[listen]\nworkers = 2\n")
    listener = listen()
    assert "with 2 workers" in listener.said[-1]
    os.kill(listener.workers()[0], signal.SIGKILL)
    listener.wait_for(r"Worker \d ended: it was killed by signal 9 \(Killed\)")
    wait_until(lambda: len(listener.workers()) == 2)
    send(listener.address, samples, 3)
    code, out, _ = listener.stop(signal.SIGTERM)
    assert code == 0
    assert out.startswith("SENDER@127.0.0.1 to PYPX  3 images")


# Metrics ----------------------------------------------------------------------------------


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=WAIT) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize("workers", WORKERS)
def test_metrics_say_what_was_received(
    listen: Any, samples: Archive, home: Path, workers: int
) -> None:
    listener = listen("--metrics", 0, "--workers", workers)
    url = listener.wait_for(r"Metrics are at (http://127\.0\.0\.1:\d+)/metrics")[1]
    send(listener.address, samples, 3)
    wait_until(
        lambda: 'pypx_associations_total{outcome="released"} 1.0' in get(f"{url}/metrics")[1]
    )
    lines = get(f"{url}/metrics")[1].splitlines()
    assert 'pypx_instances_total{outcome="new"} 3.0' in lines
    size = sum(path.stat().st_size for path in (home / "pypx").glob("[!.]*/**/*.dcm"))
    assert f"pypx_received_bytes_total {float(size)}" in lines
    assert "pypx_associations_open 0.0" in lines
    assert "pypx_store_seconds_count 3.0" in lines
    assert f"pypx_workers {float(workers)}" in lines
    assert "pypx_hooks_queued 0.0" in lines
    assert get(f"{url}/healthz") == (200, "ok\n")


def test_health_of_a_listener_without_space(listen: Any) -> None:
    listener = listen("--metrics", "127.0.0.1:0", "--min-free", "1000T")
    url = listener.wait_for(r"Metrics are at (http://127\.0\.0\.1:\d+)/metrics")[1]
    status, text = get(f"{url}/healthz")
    assert status == 503
    assert "The disk has less than" in text


def test_metrics_on_a_port_in_use(px: Px) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        ran = px("listen", "--port", 0, "--metrics", sock.getsockname()[1])
    assert ran.code == 2
    assert "Cannot serve metrics on 127.0.0.1" in ran.err


def test_metrics_without_the_package(px: Px, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "pypx.receiver.metrics", raising=False)
    ran = px("listen", "--port", 0, "--metrics", 0)
    assert ran.code == 2
    assert "pip install 'pypx[metrics]'" in ran.err


# Another configuration --------------------------------------------------------------------


@pytest.mark.parametrize("workers", WORKERS)
def test_sighup_takes_over_who_may_send(listen: Any, px: Px, home: Path, workers: int) -> None:
    write_config(home, '[listen]\nallow = ["OLD@127.0.0.0/8"]\n')
    listener = listen("--workers", workers)
    assert px("echo", listener.address, "--aet", "NEW").code == 3
    write_config(home, '[listen]\nallow = ["NEW@127.0.0.0/8"]\n')
    listener.process.send_signal(signal.SIGHUP)
    listener.wait_for("The configuration was read again: 1 rules say who may send")
    # Each worker reads its orders in its own time.
    wait_until(lambda: all(px("echo", listener.address, "--aet", "OLD").code == 3 for _ in "12345"))
    wait_until(lambda: all(px("echo", listener.address, "--aet", "NEW").code == 0 for _ in "12345"))
    assert listener.stop(signal.SIGTERM)[0] == 0


@pytest.mark.parametrize("workers", WORKERS)
def test_sighup_takes_over_the_least_space(
    listen: Any, samples: Archive, home: Path, workers: int
) -> None:
    write_config(home, "[listen]\nmin_free = 0\n")
    listener = listen("--workers", workers)
    send(listener.address, samples, 1)
    write_config(home, '[listen]\nmin_free = "1000T"\n')
    listener.process.send_signal(signal.SIGHUP)
    listener.wait_for("read again: no rule is needed")

    def is_refused() -> bool:
        try:
            send(listener.address, samples, 1, status=0xA700)
        except AssertionError:
            return False
        return True

    wait_until(is_refused)


def _takes(address: Address, number: int) -> bool:
    """Whether it takes so many associations at once, of which most stay open a moment."""
    with ExitStack() as stack:
        try:
            for _ in range(number):
                one = Client(address).connect([(CT_IMAGE, (EXPLICIT_VR_LITTLE_ENDIAN,))])
                stack.callback(one.abort)
        except AssociationRejectedError as error:
            assert (error.result, error.source, error.reason) == (2, 3, 2)
            return False
    return True


def _agrees(address: Address, number: int) -> bool:
    return _takes(address, 25) == (number >= 25)


@pytest.mark.parametrize("workers", WORKERS)
def test_sighup_takes_over_the_limits(listen: Any, home: Path, workers: int) -> None:
    write_config(home, "[listen]\nmax_associations = 2\n")
    listener = listen("--workers", workers)
    assert not _takes(listener.address, 3)
    for number, before in ((30, 2), (1, 30)):
        write_config(home, f"[listen]\nmax_associations = {number}\n")
        listener.process.send_signal(signal.SIGHUP)
        listener.wait_for(f"changed: max_associations is {number} instead of {before}\\.")
        # Each worker reads its orders in its own time.
        wait_until(partial(_agrees, listener.address, number))
        wait_until(lambda: _takes(listener.address, 1))
    assert listener.stop(signal.SIGTERM)[0] == 0


@pytest.mark.parametrize("workers", WORKERS)
def test_sighup_takes_over_certificates(listen: Any, home: Path, workers: int) -> None:
    certificates = Certificates(home)
    own = home / "own.pem"
    shutil.copy(certificates.issue("127.0.0.1"), own)
    write_config(home, f'[listen.tls]\ncertificate = "{own}"\n')
    listener = listen("--workers", workers)

    def has(ca: str) -> bool:
        try:
            with Client(listener.address, tls=ClientTls(ca=ca)) as client:
                client.echo()
        except TlsError:
            return False
        return True

    def reload() -> None:
        listener.process.send_signal(signal.SIGHUP)

    assert has(certificates.ca)
    own.write_text("none")
    reload()
    told = listener.wait_for("The configuration stays as it was: (.*)")[1]
    assert "own.pem" in told and "certificate" in told
    assert has(certificates.ca)

    shutil.copy(certificates.issue("127.0.0.1", stranger=True), own)
    reload()
    listener.wait_for(r"no rule is needed; changed: TLS has other certificates or settings\.")
    wait_until(lambda: all(has(certificates.other_ca) for _ in "12345"))
    assert not has(certificates.ca)
    reload()
    listener.wait_for("nothing else has changed")

    write_config(home, "")
    reload()
    listener.wait_for("Only a new start changes tls")
    assert has(certificates.other_ca)


def test_sighup_with_a_broken_file_changes_nothing(listen: Any, px: Px, home: Path) -> None:
    path = write_config(home, '[listen]\nallow = ["OLD@127.0.0.0/8"]\n')
    listener = listen()
    for text, said in (
        ("[listen]\nallow = 7\n", "line 2: 'listen.allow' must be a list of texts"),
        ("[listen\n", "is no TOML"),
    ):
        write_config(home, text)
        listener.process.send_signal(signal.SIGHUP)
        told = listener.wait_for("The configuration stays as it was: .*")[0]
        assert str(path) in told
        assert said in told
        empty = home / "empty.toml"
        empty.touch()
        for title, code in (("OLD", 0), ("NEW", 3)):
            assert px("echo", listener.address, "--aet", title, "--config", empty).code == code


def test_sighup_never_opens_a_listener_to_anybody(listen: Any, px: Px, home: Path) -> None:
    write_config(home, '[listen]\nhost = "0.0.0.0"\nallow = ["OLD@127.0.0.0/8"]\n')
    listener = listen()
    write_config(home, "")
    listener.process.send_signal(signal.SIGHUP)
    listener.wait_for("The configuration stays as it was: .*would take files from anybody")
    assert px("echo", listener.address, "--aet", "NEW").code == 3


def test_sighup_names_what_only_a_new_start_changes(listen: Any, px: Px, home: Path) -> None:
    listener = listen("--workers", 1)
    write_config(
        home,
        'aet = "OTHER"\narchive = "~/elsewhere"\n[listen]\nport = 11112\nhost = "127.0.0.2"\n'
        "workers = 2\nsettle = 1\nmetrics = 9104\nmax_pdu = 65536\n",
    )
    listener.process.send_signal(signal.SIGHUP)
    listener.wait_for(r"rule is needed; changed: max_pdu is 65,536 instead of 1,048,576\.")
    told = listener.wait_for("Only a new start changes (.*): the old")[1]
    # The port and the number of workers were typed, which goes before the file.
    assert told == "host, aet, archive, metrics, settle"
    assert px("echo", listener.address).code == 0


@pytest.mark.parametrize("workers", WORKERS)
def test_limits_are_configured_and_each_breach_is_one_line(
    listen: Any, home: Path, workers: int
) -> None:
    write_config(
        home,
        "[listen]\nmax_pdu = 4096\nmax_associations_per_host = 1\nidle_timeout = 60\n"
        "max_request = '5KB'\n",
    )
    listener = listen("--workers", workers, "--log-json")
    port = listener.address.port
    with RawPeer(port) as held, RawPeer(port) as second, RawPeer(port) as stranger:
        held.associate()
        second.send(request())
        assert second.receive() == reject(2, 3, 2)
        stranger.send(b"GET / HTTP/1.1\r\n\r\n")
        assert stranger.receive() == abort(0, 0)
        held.send(pdu(4, b"", length=5000))
        assert held.receive() == abort(2, 6)
    code, _, said = listener.stop(signal.SIGTERM)
    assert code == 0
    for reason in ("of this host are open already", "HTTP request", "P-DATA-TF of 5000 bytes"):
        assert len([line for line in said.splitlines() if reason in line]) == 1, said


def test_sighup_does_not_end_a_listener_without_a_terminal(px: Px, home: Path) -> None:
    nohup = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.setsid(); "
    command = command_line("listen", "--port", 0, "--jsonl")
    process = subprocess.Popen(
        [sys.executable, "-c", nohup + "os.execv(sys.argv[1], sys.argv[1:])", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process, process.stderr as stderr:
        while "Only this machine" not in stderr.readline():
            pass
        process.send_signal(signal.SIGHUP)
        assert "read again" in stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT) == 0


def test_sighup_while_the_archive_is_opened_waits(home: Path) -> None:
    with Archive(home / "pypx") as archive, archive._storage.locks.hold(OPENING):
        process = subprocess.Popen(
            impatient({"pypx.cli.listening._LONG": 0.1}, "listen", "--port", 0),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        assert "Opening the archive takes long" in process.stderr.readline()
        process.send_signal(signal.SIGHUP)
    with process, process.stderr as stderr:
        assert "Listening on" in stderr.readline()
        while "read again" not in stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT) == 0


# What is told -----------------------------------------------------------------------------


OFTEN = {"pypx.cli.live._EVERY": 0.02}


@pytest.mark.parametrize("workers", WORKERS)
def test_the_log_as_json(listen: Any, samples: Archive, workers: int) -> None:
    process = subprocess.Popen(
        command_line("listen", "--port", 0, "--log-json", "--workers", workers),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    first = json.loads(process.stderr.readline())
    port = int(re.search(r":(\d+) as", first["message"])[1])  # type: ignore[index]
    address = Address("ANY", "127.0.0.1", port)
    send(address, samples, 2)
    with Client(address, calling_ae_title="ROUGH") as client:
        connection = client.connect([(CT_IMAGE, (EXPLICIT_VR_LITTLE_ENDIAN,))])
        connection.send(1, CStoreRQ(1, CT_IMAGE, "1.2.3.4.1"), b"no data set")
        assert connection.receive().message.status == 0xC000
        connection.abort()
    entries = [first]
    while sum(entry.get("event") == "association" for entry in entries) < 2:
        entries.append(json.loads(process.stderr.readline()))
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=WAIT)
    assert process.returncode == 0
    assert out == ""  # it is told once
    entries += map(json.loads, err.splitlines())
    assert all({"time", "level", "message"} <= set(entry) for entry in entries)
    # Each is told by the worker or thread that served it, so they come in any order.
    rough, good = sorted(
        (entry for entry in entries if entry.get("event") == "association"),
        key=lambda entry: str(entry["calling_ae_title"]),
    )
    assert (good["calling_ae_title"], good["called_ae_title"]) == ("SENDER", "ANY")
    assert (good["host"], good["instances"], good["failures"]) == ("127.0.0.1", 2, 0)
    assert good["bytes"] > 0
    assert good["bytes_per_second"] == pytest.approx(good["bytes"] / good["seconds"], rel=0.2)
    assert good["error"] is None
    assert (rough["failures"], rough["error"]["kind"]) == (1, "association-aborted")
    series = [entry for entry in entries if entry.get("event") == "series"]
    assert sum(entry["instances"] for entry in series) == 2


def test_the_live_line_leaves_other_lines_whole(samples: Archive) -> None:
    leading, terminal = pty.openpty()
    process = subprocess.Popen(
        impatient(OFTEN, "listen", "--port", 0, "--durability", "none"),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""

    def read_until(pattern: str) -> re.Match[str]:
        nonlocal shown
        while (found := re.search(pattern, shown.decode(errors="replace"))) is None:
            shown += os.read(leading, 4096)
        return found

    try:
        port = int(read_until(r"Listening on [\d.]+:(\d+)")[1])
        address = Address("PYPX", "127.0.0.1", port)
        read_until("images/s, 0 B/s; 0 associations open")
        for number in range(1, 4):
            with Client(address, calling_ae_title=f"SENDER{number}") as client:
                located = next(iter(samples.instances()))
                instance = Instance.from_file(located.path)
                store = client.store([instance])
                assert store.send(instance).status == 0
                read_until(rf"1 association open; {number} images?, ")
            read_until(rf"SENDER{number}@127.0.0.1 to PYPX  1 image, .*/s")
        process.send_signal(signal.SIGTERM)
        read_until("Stopped after 3 associations")
        assert process.wait(WAIT) == 0
    finally:
        process.kill()
        process.wait()
        os.close(leading)
    lines = _screen(shown.decode())
    assert sum(bool(re.match(r"SENDER\d@127\.0\.0\.1 to PYPX  1 image", one)) for one in lines) == 3
    assert not [one for one in lines if "images/s" in one]  # it is gone at the end
    assert lines[0].startswith("Listening on")


def _screen(text: str) -> list[str]:
    """Give the lines that a terminal is left with."""
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        lines.append(line.rpartition("\r\x1b[2K")[2])
        assert "\r" not in lines[-1]
        assert "\x1b[2K" not in lines[-1]
    return lines


@pytest.mark.parametrize("option", ["-q", "--log-json", "--json"])
def test_no_live_line_where_none_belongs(option: str) -> None:
    leading, terminal = pty.openpty()
    port = free_port()
    process = subprocess.Popen(
        impatient(OFTEN, "listen", "--port", port, option),
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
    )
    os.close(terminal)
    wait_until(lambda: _accepts(port))
    # A line that is not drawn is no event; one that is would be drawn ten times until then.
    threading.Timer(0.2, process.send_signal, (signal.SIGTERM,)).start()
    shown = b""
    try:
        while piece := os.read(leading, 4096):
            shown += piece
    except OSError:  # Linux: nobody has the terminal any more
        pass
    process.communicate(timeout=WAIT)
    os.close(leading)
    assert process.returncode == 0
    assert b"images/s" not in shown


# Hooks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", WORKERS)
def test_hooks_are_told_of_a_series(
    listen: Any, samples: Archive, home: Path, workers: int
) -> None:
    told = home / "told.json"
    write_config(
        home,
        "[listen]\nsettle = 0.1\n[[hooks]]\n"
        f"command = ['{sys.executable}', '-c', 'import sys; "
        f'open("{told}", "a").write(sys.stdin.read() + chr(10))\']\n',
    )
    listener = listen("--workers", workers)
    send(listener.address, samples, 1)
    wait_until(lambda: told.exists() and told.read_text().endswith("\n"))
    listener.stop(signal.SIGTERM)
    event = json.loads(told.read_text().splitlines()[0])
    assert (event["event"], event["instances"], event["verified"]) == ("series", 1, True)
    assert (event["calling_ae_title"], event["called_ae_title"]) == ("SENDER", "PYPX")
    assert Path(event["path"]).is_dir()
