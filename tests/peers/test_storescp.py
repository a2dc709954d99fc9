"""``px listen --engine dcmtk``: storescp receives, and what it acknowledged is in the archive."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pypx.archive import Archive
from pypx.client.client import Client
from pypx.client.store import Instance
from pypx.dcmtk.programs import Programs
from pypx.dcmtk.receiver import FOLDER, StorescpReceiver
from pypx.dimse.messages import CStoreRQ
from pypx.errors import ConfigError
from pypx.net.tls_settings import ClientTls, ServerTls
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived
from tests.archive.helpers import content
from tests.net.certificates import Certificates
from tests.objects import write_file
from tests.peers.process import HOST, free_port, require, wait_port
from tests.peers.test_store import UNREADABLE

PATIENCE = 30.0


class Heard:
    """An observer that notes all down."""

    def __init__(self) -> None:
        self.began: list[AssociationBegan] = []
        self.instances: list[InstanceReceived] = []
        self.ended: list[AssociationSummary] = []
        self.troubles: list[str] = []

    def association_began(self, event: AssociationBegan) -> None:
        self.began.append(event)

    def instance_received(self, event: InstanceReceived) -> None:
        self.instances.append(event)

    def association_ended(self, event: AssociationSummary) -> None:
        self.ended.append(event)


@pytest.fixture
def archive(tmp_path):
    with Archive(tmp_path / "archive") as one:
        yield one


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def storescp(archive, heard):
    """Make a receiver; it is stopped at the end."""
    require("storescp")
    made = []

    def make(**options):
        options = {"programs": Programs(), "port": 0, "observer": heard, **options}
        receiver = StorescpReceiver(archive, on_trouble=heard.troubles.append, **options)
        made.append(receiver)
        receiver.start()
        return receiver

    yield make
    for receiver in made:
        receiver.stop(0)


def address(receiver):
    return f"ANY@{HOST}:{receiver.port}"


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def folder(archive):
    return archive.root / ".pypx" / "incoming" / FOLDER


def stored(archive):
    assert archive.check(checksums=True).ok
    return {one.meta.sop_instance_uid: content(one.path) for one in archive.instances()}


def test_every_good_file_is_stored_bit_for_bit(storescp, archive, heard, corpus):
    receiver = storescp()
    files = [file for file in corpus.good if not file.path.name.endswith(UNREADABLE)]
    with Client(address(receiver), calling_ae_title="SENDER") as client:
        client.echo()
        sent = list(client.store_files([file.path for file in files], associations=2))
    assert {one.outcome for one in sent} == {"completed"}
    until(lambda: sum(one.totals.instances for one in heard.ended) == len(files))
    assert stored(archive) == {f.sop_instance_uid.strip(): f.sent_bytes() for f in files}
    assert list(folder(archive).iterdir()) == []
    brought = [one for one in heard.ended if one.totals.instances]
    assert {one.calling_ae_title for one in brought} == {"SENDER"}
    assert {one.called_ae_title for one in brought} == {"ANY"}
    assert {one.host for one in brought} == {HOST}
    assert {one.error for one in brought} == {None}
    assert receiver.totals.instances == len(files)
    assert {one.association_id for one in heard.instances} <= {
        one.association_id for one in heard.began
    }
    rows = list(archive.find("image"))
    assert heard.troubles == []
    assert len(rows) == len(files)


def test_an_object_is_taken_in_while_its_association_stays_open(storescp, archive, heard, tmp_path):
    receiver = storescp()
    instance = Instance.from_file(write_file(tmp_path))
    with Client(address(receiver)) as client:
        sender = client.store([instance])
        assert sender.send(instance).status == 0
        until(lambda: len(heard.instances) == 1)
        assert heard.ended == [] or all(not one.totals.instances for one in heard.ended)
        assert len(stored(archive)) == 1
    until(lambda: any(one.totals.instances for one in heard.ended))


def test_an_object_that_is_cut_off_leaves_nothing(storescp, archive, heard, tmp_path):
    receiver = storescp()
    instance = Instance.from_file(write_file(tmp_path, PixelData=bytes(400_000)))
    with Client(address(receiver)) as client:
        connection = client.connect([(instance.sop_class_uid, (instance.transfer_syntax_uid,))])
        connection.send(1, CStoreRQ(1, instance.sop_class_uid, instance.sop_instance_uid))
        piece, _ = next(instance.pieces())
        connection.send_data_set(1, piece[:100_000], is_last=False)
        until(lambda: len(list(folder(archive).iterdir())) == 1)
        time.sleep(0.5)  # several looks
        assert heard.instances == [], "it is not whole"
        connection._channel.close()
    until(lambda: any(one.error is not None for one in heard.ended))
    assert list(folder(archive).iterdir()) == []
    assert stored(archive) == {}
    assert heard.instances == []


def test_what_was_left_behind_is_taken_in_by_the_next_one(storescp, archive, heard, tmp_path):
    """As by a process that was killed between storescp's answer and the archive."""
    folder(archive).mkdir()
    made = write_file(tmp_path)
    shutil.copyfile(made, folder(archive) / "CT.X.1.2.276.0.7230010.3.1.4.1.99.1.1")
    storescp()
    until(lambda: len(heard.instances) == 1)
    assert list(stored(archive).values()) == [content(made)]
    assert list(folder(archive).iterdir()) == []


def test_what_the_archive_cannot_take_waits(storescp, archive, heard, tmp_path):
    receiver = storescp(min_free=1 << 60)
    with Client(address(receiver)) as client:
        assert [one.status for one in client.store_files([write_file(tmp_path)])] == [0]
    until(lambda: heard.troubles)
    assert "acknowledged" in heard.troubles[0]
    assert receiver.waiting == 1
    assert stored(archive) == {}
    receiver.configure(allow=(), min_free=0)
    until(lambda: len(heard.instances) == 1)
    assert receiver.waiting == 0
    assert len(stored(archive)) == 1
    assert len(heard.troubles) == 1


def test_what_cannot_be_placed_is_in_quarantine(storescp, archive, heard, tmp_path):
    receiver = storescp()
    with Client(address(receiver)) as client:
        path = write_file(tmp_path, StudyInstanceUID=None)
        assert [one.status for one in client.store_files([path])] == [0]
    until(lambda: len(heard.instances) == 1)
    assert heard.instances[0].status == 0xC000
    assert list(folder(archive).iterdir()) == []
    assert len(list((archive.root / ".pypx" / "quarantine").glob("*.dcm"))) == 1


def test_a_storescp_that_dies_is_started_again(storescp, archive, heard, tmp_path):
    receiver = storescp()
    first = receiver._child.pid
    os.kill(first, signal.SIGKILL)
    until(lambda: heard.troubles and receiver._child.pid != first)
    assert "started again" in heard.troubles[0]
    wait_port(receiver.port)
    with Client(address(receiver)) as client:
        assert [one.status for one in client.store_files([write_file(tmp_path)])] == [0]
    until(lambda: len(heard.instances) == 1)


def test_a_port_that_is_taken(storescp):
    receiver = storescp()
    with pytest.raises(ConfigError, match="cannot be bound"):
        storescp(port=receiver.port)


def test_tls(storescp, archive, heard, tmp_path):
    certificates = Certificates(tmp_path)
    tls = ServerTls(certificates.issue(HOST), ca=certificates.ca)
    receiver = storescp(tls=tls)
    own = certificates.issue("client.example.org")
    with Client(address(receiver), tls=ClientTls(ca=certificates.ca, certificate=own)) as client:
        assert [one.status for one in client.store_files([write_file(tmp_path)])] == [0]
    until(lambda: len(heard.instances) == 1)
    assert len(stored(archive)) == 1


@pytest.fixture
def px_listen(tmp_path):
    """Start px listen --engine dcmtk."""
    require("storescp")
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "pypx", "listen", "--engine", "dcmtk"),
                *("--archive", str(tmp_path / "archive"), *map(str, arguments)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYPX_CONFIG": str(tmp_path / "none.toml")},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def processes_with(text):
    """Give the ids of processes of this machine that have a text among their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_px_listen_ends_with_storescp(px_listen, tmp_path):
    port = free_port()
    process = px_listen("--port", port, "--allow-any")
    wait_port(port, timeout=PATIENCE)
    with Client(f"ANY@{HOST}:{port}") as client:
        assert [one.status for one in client.store_files([write_file(tmp_path)])] == [0]
    process.terminate()
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    assert "received by DCMTK's storescp" in stderr
    assert "PYPX@127.0.0.1 to ANY  1 image" in stdout
    with Archive(tmp_path / "archive") as archive:
        assert len(stored(archive)) == 1
    assert processes_with(str(tmp_path / "archive")) == []


def test_a_px_listen_that_is_killed_takes_storescp_with_it(px_listen, tmp_path):
    port = free_port()
    process = px_listen("--port", port, "--allow-any")
    wait_port(port, timeout=PATIENCE)
    process.kill()
    process.communicate()
    if shutil.which("setpriv"):
        until(lambda: processes_with(str(tmp_path / "archive")) == [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "takes files from anybody"),
        (("--allow-any", "--host", "127.0.0.1"), "binds all addresses"),
        (("--allow-any", "--workers", "2"), "forks by itself"),
    ],
)
def test_what_storescp_cannot_do_is_refused(px_listen, arguments, message):
    process = px_listen("--port", free_port(), *arguments)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert message in stderr
