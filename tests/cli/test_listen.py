"""``px listen`` as a process: it says where it is, tells of each association, and stops."""

from __future__ import annotations

import ctypes
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.client import Client
from pypx.client.store import Instance
from pypx.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from pypx.dimse.messages import CStoreRQ
from tests.cli.conftest import Px, command_line, write_config
from tests.objects import CT_IMAGE, data_set

WAIT = 10.0


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
        found = None
        while found is None:
            self.said.append(self.process.stderr.readline().decode())
            assert self.said[-1], "".join(self.said)
            found = re.search(r"^Listening on ([\d.]+):(\d+) as (\S+), into ", self.said[-1])
        self.address = Address(found[3], "127.0.0.1", int(found[2]))

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


def send(address: Address, samples: Archive, number: int, *, status: int = 0) -> None:
    with Client(address, calling_ae_title="SENDER") as client:
        located = list(samples.instances())[:number]
        instances = [Instance.from_file(one.path) for one in located]
        store = client.store(instances)
        for instance in instances:
            assert store.send(instance).status == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_receives_and_stops_politely(
    listen: Any, samples: Archive, home: Path, number: signal.Signals
) -> None:
    listener = listen("--durability", "none")
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
    ],
)
def test_what_is_no_use_is_exit_2(px: Px, arguments: list[str], said: str) -> None:
    ran = px("listen", *arguments)
    assert ran.code == 2
    assert said in ran.err


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs threads with IDs")
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


def test_a_port_that_is_in_use(listen: Any, px: Px) -> None:
    listener = listen()
    ran = px("listen", "--port", listener.address.port)
    assert ran.code == 2
    assert "the port is in use" in ran.err
    assert "--port" in ran.err


def test_the_second_interrupt_ends_at_once(listen: Any) -> None:
    listener = listen("--grace", "60")
    with Client(listener.address) as client:
        connection = client.connect([(CT_IMAGE, (EXPLICIT_VR_LITTLE_ENDIAN,))])
        connection.send(1, CStoreRQ(1, CT_IMAGE, "1.2.3.4.1"))
        connection.send_data_set(1, data_set()[:100], is_last=False)  # and no more of it
        listener.process.send_signal(signal.SIGINT)
        while "Ctrl-C again" not in listener.said[-1]:
            listener.said.append(listener.process.stderr.readline().decode())
        listener.process.send_signal(signal.SIGINT)
        assert listener.process.wait(WAIT) == 130
