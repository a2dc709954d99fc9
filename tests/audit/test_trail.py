"""An audit trail with files and servers, some of which are away."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from pypx.audit.messages import Party
from pypx.audit.target import AuditTarget
from pypx.audit.trail import AuditTrail
from pypx.errors import ConfigError, ConnectionLostError, NetworkError
from pypx.receiver.events import AssociationBegan, AssociationSummary, InstanceReceived, Totals
from tests.audit.schema import parsed, read, title

US = Party("US", "10.1.2.3")
CT = "1.2.840.10008.5.1.4.1.1.2"


def wait_until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def events(text: str) -> list[str]:
    return [title(root) for root in read(text)]


def receive(trail: AuditTrail, number: int = 1, error: NetworkError | None = None) -> None:
    trail.association_began(AssociationBegan("1-1", "10.1.2.4", "PEER", "US"))
    for _ in range(number):
        trail.instance_received(
            InstanceReceived(
                *("1-1", 0, 0.1, 5, "new", "1.2.3", "1.2.3.4", "1.2.3.4.5"), sop_class_uid=CT
            )
        )
    ended = AssociationSummary("1-1", "10.1.2.4", "PEER", "US", Totals(), 1.0, error)
    trail.association_ended(ended)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("file:/a/b", AuditTarget("file", "/a/b")),
        ("file:///a/b", AuditTarget("file", "/a/b")),
        ("udp://host", AuditTarget("udp", host="host", port=514)),
        ("tcp://host:9", AuditTarget("tcp", host="host", port=9)),
        ("tls://[::1]:6514", AuditTarget("tls", host="::1", port=6514)),
        ("tls://[::1]", AuditTarget("tls", host="::1", port=6514)),
    ],
)
def test_targets(text: str, target: AuditTarget) -> None:
    assert AuditTarget.parse(text) == target
    assert AuditTarget.parse(str(target)) == target


@pytest.mark.parametrize(
    "text", ["", "file:a", "udp:host", "udp://", "http://host:9", "tcp://host:x", "tcp://host:0"]
)
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(ConfigError):
        AuditTarget.parse(text)


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    said: list[str] = []
    known = {"1.2.3": ("4711", "Doe^Jane")}
    target = AuditTarget("file", str(path))
    with AuditTrail(target, US, said.append) as trail, trail.knowing(known.__getitem__):
        receive(trail, 3)
        receive(trail, 1, ConnectionLostError("The link broke."))
        refused = NetworkError("We rejected the association.")
        for peer in ("PEER", ""):  # who connects and says nothing is no alert
            trail.association_ended(
                AssociationSummary("", "10.1.2.4", peer, "", Totals(), 1.0, refused)
            )
    text = path.read_text()
    transferred = "DICOM Instances Transferred"
    activity = "Application Activity"
    assert events(text) == [activity, *3 * [transferred], "Security Alert", activity]
    assert f'<SOPClass UID="{CT}" NumberOfInstances="3" />' in text
    assert 'ParticipantObjectID="4711"' in text
    outcomes = [line.partition('EventOutcomeIndicator="')[2][0] for line in text.splitlines()]
    assert outcomes == ["0", "0", "0", "4", "4", "0"]  # what was stored before the break is stored
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0
    assert not said


def read_frames(stream: socket.socket, frames: list[bytes]) -> None:
    """Read messages with octet counting (RFC 5425 §4.3) until the end."""
    with stream, stream.makefile("rb") as file:
        while True:
            digits = b""
            while (byte := file.read(1)).isdigit():
                digits += byte
            if not byte:
                return
            assert byte == b" "
            frames.append(file.read(int(digits)))


def check_frame(frame: bytes) -> None:
    header, _, message = frame.partition(b"\xef\xbb\xbf")
    fields = header.decode("ascii").split(" ")
    assert fields[0] == "<85>1"
    assert fields[1].endswith("Z")
    assert fields[3] == "pypx"
    assert fields[5:] == ["DICOM+RFC3881", "-", ""]
    parsed(message.decode())


def test_udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        target = AuditTarget("udp", host="127.0.0.1", port=server.getsockname()[1])
        with AuditTrail(target, US, print) as trail:
            receive(trail)
        for _ in range(3):
            check_frame(server.recv(65536))


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_a_stream(scheme: str, tmp_path: Path) -> None:
    frames: list[bytes] = []
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            stream, _ = server.accept()
            if scheme == "tls":
                context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                ca.issue_cert("127.0.0.1").configure_cert(context)
                stream = context.wrap_socket(stream, server_side=True)
            read_frames(stream, frames)

        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        target = AuditTarget(scheme, host="127.0.0.1", port=port, ca=str(tmp_path / "ca.pem"))
        said: list[str] = []
        with AuditTrail(target, US, said.append) as trail:
            receive(trail)
        thread.join(5)
    assert not said
    assert len(frames) == 3
    for frame in frames:
        check_frame(frame)


def test_a_server_that_is_away_and_comes_back() -> None:
    frames: list[bytes] = []
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    target = AuditTarget("tcp", host="127.0.0.1", port=port)
    with AuditTrail(target, US, said.append, most=3, retry=0.05) as trail:
        wait_until(lambda: said)
        started = time.monotonic()
        for _ in range(1000):
            receive(trail)
        assert time.monotonic() - started < 1  # reception does not wait for it
        wait_until(lambda: len(said) == 2)
        with socket.create_server(("127.0.0.1", port)) as server:
            stream, _ = server.accept()
            thread = threading.Thread(target=read_frames, args=(stream, frames))
            thread.start()
            wait_until(lambda: len(said) == 3)
            trail.__exit__()
            thread.join(5)
        assert len(frames) == 4  # three waited, and the end
    assert "cannot be written to tcp://" in said[0]
    assert said[1].startswith("3 audit messages wait: no more are kept")
    assert "again; 998 messages did not fit" in said[2]
    assert len(said) == 3


def test_an_end_without_a_server_says_what_is_lost(tmp_path: Path) -> None:
    said: list[str] = []
    target = AuditTarget("file", str(tmp_path / "away" / "audit.log"))
    started = time.monotonic()
    with AuditTrail(target, US, said.append) as trail:
        receive(trail)
    assert time.monotonic() - started < 2
    assert said[-1] == "The audit trail ends without its last 3 messages."


def test_what_failed_is_a_message_of_its_own(tmp_path: Path) -> None:
    target = AuditTarget("file", str(tmp_path / "audit.log"))
    with AuditTrail(target, US, print) as trail:
        trail.association_began(AssociationBegan("1-1", "10.1.2.4", "PEER", "US", user="alice"))
        for outcome, study, status in (
            ("new", "1.2.3", 0),
            ("duplicate", "1.2.4", 0),
            ("", "", 0xA700),
        ):
            trail.instance_received(
                InstanceReceived(
                    *("1-1", status, 0.1, 5, outcome, study), comment="full", sop_class_uid=CT
                )
            )
        trail.association_ended(
            AssociationSummary("1-1", "10.1.2.4", "PEER", "US", Totals(), 1.0, None, user="alice")
        )
    first, second, failed = read((tmp_path / "audit.log").read_text())[1:-1]
    found = [one.find("EventIdentification") for one in (first, second, failed)]
    facts = [
        (e.get("EventActionCode"), e.get("EventOutcomeIndicator")) for e in found if e is not None
    ]
    assert facts == [("C", "0"), ("R", "0"), ("C", "4")]
    assert failed.findtext("EventIdentification/EventOutcomeDescription") == "full"
    assert failed.find(".//*[@ParticipantObjectID='unknown']") is not None
    users = [e.get("UserID") for e in first.iter("ActiveParticipant")]
    assert users == ["alice", "US@10.1.2.3"]


def test_a_message_that_no_datagram_can_have() -> None:
    said: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        target = AuditTarget("udp", host="127.0.0.1", port=server.getsockname()[1])
        with AuditTrail(target, US, said.append) as trail:
            for _ in range(2):
                trail.note(lambda at: "x" * 70_000)
            receive(trail)
        for _ in range(3):
            check_frame(server.recv(65536))
    assert len(said) == 1
    assert "too long for udp://" in said[0]


def test_patients_are_looked_up_before_the_archive_is_closed() -> None:
    """What waits for a server that is away keeps the patients that were known."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    frames: list[bytes] = []
    is_open = True

    def patient_of(uid: str) -> tuple[str, str]:
        assert is_open
        return "4711", "Doe^Jane"

    target = AuditTarget("tcp", host="127.0.0.1", port=port)
    said: list[str] = []
    with AuditTrail(target, US, said.append, retry=0.05) as trail:
        with trail.knowing(patient_of):
            receive(trail)
        is_open = False
        wait_until(lambda: said)
        with socket.create_server(("127.0.0.1", port)) as server:
            stream, _ = server.accept()
            thread = threading.Thread(target=read_frames, args=(stream, frames))
            thread.start()
            trail.__exit__()
            thread.join(5)
    assert len(frames) == 3
    assert b'ParticipantObjectID="4711"' in frames[1]
