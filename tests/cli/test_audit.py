"""The audit trail of each command: every message against the schema, and what it says."""

from __future__ import annotations

import json
from base64 import b64decode
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.client import Client
from pypx.dicom.data_set import DataSet
from pypx.dicom.encoding import Encoding
from pypx.errors import NetworkError, PypxError
from pypx.net.connection import Timeouts
from pypx.pacs import Pacs
from pypx.receiver.receiver import Receiver
from pypx.receiver.users import add_user
from tests.audit.schema import read, title
from tests.cli.conftest import Px, write_config
from tests.client.test_sending import StoreScp, write
from tests.listening import Listener, eventually
from tests.net.certificates import Certificates
from tests.peers.process import HOST, free_port

ACTIVITY, ALERT, QUERY = "Application Activity", "Security Alert", "Query"
BEGIN, TRANSFERRED = "Begin Transferring DICOM Instances", "DICOM Instances Transferred"
CT = "AccessionNumber=A1001"
Trail = Callable[[], list[Element]]


@pytest.fixture
def trail(home: Path) -> Trail:
    """Turn the trail on, and give the messages of the last command."""
    write_config(home, f'[audit]\nto = "file:{home}/audit.log"\n')

    def messages() -> list[Element]:
        path = home / "audit.log"
        found = read(path.read_text())
        path.unlink()
        assert (title(found[0]), title(found[-1])) == (ACTIVITY, ACTIVITY)
        launchers = found[0].findall("ActiveParticipant[RoleIDCode][@UserIsRequestor='true']")
        assert len(launchers) == 1
        return found[1:-1]

    return messages


def titles(messages: list[Element]) -> list[str]:
    return [title(one) for one in messages]


def parties(message: Element) -> list[str]:
    """Give the AE titles of source, destination and others; the requestor has a star."""
    return [
        e.get("AlternativeUserID", "").removeprefix("AETITLES=")
        + ("*" if e.get("UserIsRequestor") == "true" else "")
        for e in message.iter("ActiveParticipant")
    ]


def objects(message: Element) -> dict[str, str]:
    """Give the objects by their kind."""
    found = {}
    for e in message.iter("ParticipantObjectIdentification"):
        code = e.find("ParticipantObjectIDTypeCode")
        assert code is not None
        found[code.get("originalText", "")] = e.get("ParticipantObjectID", "")
    return found


def instances(message: Element) -> Counter[str]:
    return Counter(
        {e.get("UID", ""): int(e.get("NumberOfInstances", "")) for e in message.iter("SOPClass")}
    )


def keys(message: Element) -> DataSet:
    """Give the identifier of a query."""
    data = b64decode(message.findtext(".//ParticipantObjectQuery") or "")
    [detail] = message.iter("ParticipantObjectDetail")
    implicit = b64decode(detail.get("value", "")) == b"1.2.840.10008.1.2"
    encoding = Encoding.IMPLICIT_LITTLE if implicit else Encoding.EXPLICIT_LITTLE
    return DataSet.from_bytes(data, encoding)


def of_study(samples: Archive, accession: str) -> tuple[str, str, Counter[str]]:
    """Give UID, Patient ID and SOP classes of a study of the samples."""
    rows = list(samples.find("image", {"AccessionNumber": accession}))
    classes = Counter(str(row["SOPClassUID"]) for row in rows)
    return str(rows[0]["StudyInstanceUID"]), str(rows[0]["PatientID"]), classes


def test_echo(px: Px, pacs: Pacs, trail: Trail) -> None:
    assert px("echo", pacs.address).code == 0
    assert trail() == []


def test_find(px: Px, pacs: Pacs, trail: Trail) -> None:
    assert px("find", pacs.address, "-k", "PatientID=DEMO-*", "--tree").code == 0
    messages = trail()
    assert set(titles(messages)) == {QUERY}
    assert len(messages) > 1  # of the studies, and of the series of each
    assert parties(messages[0]) == ["PYPX*", "DEMO"]
    asked = keys(messages[0])
    assert asked["PatientID"] == "DEMO-*"
    assert asked["QueryRetrieveLevel"] == "STUDY"
    assert "ModalitiesInStudy" in asked  # as it was sent, with what is to come back
    assert objects(messages[0]) == {"SOP Class UID": "1.2.840.10008.5.1.4.1.2.2.1"}


def test_get(px: Px, pacs: Pacs, samples: Archive, trail: Trail) -> None:
    assert px("get", pacs.address, "-k", CT).code == 0
    messages = trail()
    *queries, begin, transferred = messages
    assert set(titles(queries)) == {QUERY}
    assert (title(begin), title(transferred)) == (BEGIN, TRANSFERRED)
    uid, patient, classes = of_study(samples, "A1001")
    assert parties(begin) == parties(transferred) == ["DEMO", "PYPX*"]
    assert objects(begin)["Study Instance UID"] == uid
    assert objects(transferred) == {"Study Instance UID": uid, "Patient Number": patient}
    assert instances(transferred) == classes


def test_move_to_us(px: Px, pacs: Pacs, port: int, samples: Archive, trail: Trail) -> None:
    assert px("move", pacs.address, "--port", port, "-k", CT).code == 0
    *queries, begin, transferred = trail()
    assert set(titles(queries)) == {QUERY}
    assert (title(begin), title(transferred)) == (BEGIN, TRANSFERRED)
    uid, patient, classes = of_study(samples, "A1001")
    assert parties(begin) == ["DEMO", "PYPX*"]
    assert parties(transferred) == ["DEMO*", "PYPX"]  # who made the association
    assert objects(transferred) == {"Study Instance UID": uid, "Patient Number": patient}
    assert instances(transferred) == classes


def test_move_to_another(
    px: Px, pacs: Pacs, samples: Archive, trail: Trail, tmp_path: Path
) -> None:
    with (
        Archive(tmp_path / "there", durability="none") as archive,
        Receiver(archive, port=0, ae_title="OTHER") as receiver,
    ):
        pacs.destinations["OTHER"] = Address("OTHER", HOST, receiver.port)
        assert px("move", pacs.address, "--to", "OTHER", "-k", CT).code == 0
    *queries, begin = trail()  # what arrived is for OTHER to tell
    assert set(titles(queries)) == {QUERY}
    assert parties(begin) == ["DEMO", "OTHER", "PYPX*"]
    assert objects(begin)["Study Instance UID"] == of_study(samples, "A1001")[0]


@pytest.mark.parametrize("method", ["get", "move"])
def test_retrieve(
    px: Px, pacs: Pacs, port: int, samples: Archive, trail: Trail, method: str
) -> None:
    ran = px("retrieve", pacs.address, "--port", port, "-k", CT, "--method", method)
    assert ran.code == 0, ran.err
    messages = trail()
    uid, patient, classes = of_study(samples, "A1001")
    begins = [one for one in messages if title(one) == BEGIN]
    assert [objects(one)["Study Instance UID"] for one in begins] == [uid]  # once, of all its parts
    assert QUERY in titles(messages)
    brought: Counter[str] = Counter()
    for one in messages:
        if title(one) == TRANSFERRED:
            assert objects(one) == {"Study Instance UID": uid, "Patient Number": patient}
            brought += instances(one)
    assert brought == classes


def test_store(px: Px, samples: Archive, trail: Trail, tmp_path: Path, home: Path) -> None:
    """What the archive has of two studies, and files; of each study before and after."""
    with (
        Archive(tmp_path / "there", durability="none") as archive,
        Receiver(archive, port=0, ae_title="OTHER") as receiver,
    ):
        where = f"OTHER@{HOST}:{receiver.port}"
        archived = ("--archive", samples.root)
        assert px("store", where, *archived, "-k", "AccessionNumber=A100*").code == 0
        messages = trail()
        uids = {of_study(samples, f"A100{number}")[0] for number in (1, 2, 3)}
        for kind in (BEGIN, TRANSFERRED):
            chosen = [one for one in messages if title(one) == kind]
            assert {objects(one)["Study Instance UID"] for one in chosen} == uids
            assert all(parties(one) == ["PYPX*", "OTHER"] for one in chosen)
            assert len(chosen) == len(uids)
        uid, patient, classes = of_study(samples, "A1001")
        [transferred] = [
            one
            for one in messages
            if title(one) == TRANSFERRED and objects(one)["Study Instance UID"] == uid
        ]
        assert objects(transferred)["Patient Number"] == patient
        assert instances(transferred) == classes
        names = [e.text for e in transferred.iter("ParticipantObjectName")]
        [row] = samples.find("study", {"StudyInstanceUID": uid})
        assert names[-1] == row["PatientName"]


def test_in_upstreams_style(
    px: Px, pacs: Pacs, samples: Archive, trail: Trail, home: Path, tmp_path: Path
) -> None:
    """Queries, a C-MOVE and what is pushed out of the archive."""
    order = {"aet": "PYPX", "aec": "DEMO", "serverIP": HOST, "serverPort": str(pacs.address.port)}
    with (
        Archive(tmp_path / "there", durability="none") as archive,
        Receiver(archive, port=0, ae_title="OTHER") as receiver,
    ):
        pacs.destinations["PYPX"] = Address("OTHER", HOST, receiver.port)
        then = {"then": "retrieve,push", "thenArgs": f'{{"node": "OTHER@{HOST}:{receiver.port}"}}'}
        text = json.dumps({**order, "AccessionNumber": "A1001", **then})
        ran = px("--JSONargs", text, "--archive", samples.root, program="px-find")
    assert ran.code == 0, ran.err
    messages = trail()
    assert titles(messages) == [QUERY, QUERY, BEGIN, BEGIN, TRANSFERRED]
    uid, patient, classes = of_study(samples, "A1001")
    assert [parties(one) for one in messages[2:]] == [["DEMO", "PYPX*"], *[["PYPX*", "OTHER"]] * 2]
    assert objects(messages[2])["Study Instance UID"] == uid
    assert objects(messages[4]) == {"Study Instance UID": uid, "Patient Number": patient}
    assert instances(messages[4]) == classes


def test_store_of_what_is_refused(px: Px, trail: Trail, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    write(folder, 4)
    (folder / "no.dcm").write_text("no image")
    answers = iter([0, 0xA700, 0, 0xC000])
    with StoreScp(lambda association, uid: next(answers)) as scp:
        assert px("store", scp.address, folder).code == 1
    begin, stored, failed = trail()
    assert titles([begin, stored, failed]) == [BEGIN, TRANSFERRED, TRANSFERRED]
    assert instances(stored).total() == instances(failed).total() == 2
    event = failed.find("EventIdentification")
    assert event is not None
    assert event.get("EventOutcomeIndicator") == "4"
    assert event.findtext("EventOutcomeDescription")


def test_doctor(px: Px, pacs: Pacs, trail: Trail, port: int) -> None:
    px("doctor", pacs.address, "--port", port)
    messages = trail()
    assert Counter(titles(messages))[QUERY] > 5
    assert BEGIN in titles(messages)


# The listener ---------------------------------------------------------------------------------


def ask(address: Address, calling: str = "CT1") -> None:
    with Client(address, calling_ae_title=calling, timeouts=Timeouts(5, 30, 30, 2)) as client:
        client.echo()


@pytest.mark.parametrize("workers", [1, 2])
def test_who_was_turned_away(tmp_path: Path, workers: int) -> None:
    users, log = tmp_path / "users", tmp_path / "audit.log"
    add_user(str(users), "alice", "correct horse")
    config = tmp_path / "config.toml"
    config.write_text(f'[listen]\nusers = "{users}"\n[audit]\nto = "file:{log}"\n')
    flags = ("--config", config, "--workers", workers)
    rules = ("--allow", "CT1@127.0.0.1 as *", "--allow", "CT2@127.0.0.1")
    with Listener(tmp_path / "archive", tmp_path, *flags, *rules) as listener:
        address = Address("PYPX", HOST, listener.port)
        for calling in ("STRANGER", "CT1"):
            with pytest.raises(PypxError):
                ask(address, calling)
        ask(address, "CT2")
        eventually(lambda: log.exists() and log.read_text().count(ALERT) >= 2)
    messages = read(log.read_text())
    alerts = [one for one in messages if title(one) == ALERT]
    assert len(alerts) == 2
    said = {
        (parties(one)[1], one.findtext("EventIdentification/EventOutcomeDescription"))
        for one in alerts
    }
    assert said == {
        ("STRANGER*", "We rejected the association."),
        ("CT1*", "We rejected the association: it sent no user identity."),
    }


def test_a_wrong_password_and_a_wrong_certificate(
    tmp_path: Path, px: Px, home: Path, certificates: Certificates
) -> None:
    users, log = tmp_path / "users", tmp_path / "audit.log"
    add_user(str(users), "alice", "correct horse")
    secret = tmp_path / "secret"
    secret.write_text("hunter2-is-wrong")
    config = tmp_path / "config.toml"
    config.write_text(
        f'[listen]\nusers = "{users}"\n[audit]\nto = "file:{log}"\n'
        f'[listen.tls]\ncertificate = "{certificates.issue(HOST)}"\n'
    )
    with Listener(tmp_path / "archive", tmp_path, "--config", config) as listener:
        write_config(
            home,
            f'[nodes.us]\naddress = "PYPX@{HOST}:{listener.port}"\n'
            f'tls = {{ca = "{certificates.ca}"}}\n'
            f'identity = {{username = "alice", secret = "file:{secret}"}}\n',
        )
        assert px("echo", "us").code == 3
        with pytest.raises(NetworkError):
            ask(Address("PYPX", HOST, listener.port))  # without TLS
        eventually(lambda: log.exists() and log.read_text().count(ALERT) >= 2)
    messages = read(log.read_text())
    alerts = [one for one in messages if title(one) == ALERT]
    reasons = [one.findtext("EventIdentification/EventOutcomeDescription") or "" for one in alerts]
    assert any("password of 'alice' is wrong" in reason for reason in reasons)
    assert any("TLS" in reason for reason in reasons)
    users_named = [e.get("UserID") for one in alerts for e in one.iter("ActiveParticipant")]
    assert "alice" in users_named
    assert "hunter2" not in log.read_text() + listener.log


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    folder = tmp_path / "certificates"
    folder.mkdir()
    return Certificates(folder)


def test_a_server_that_is_away_stops_no_listener(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[audit]\nto = "tcp://{HOST}:{free_port()}"\n')
    with Listener(tmp_path / "archive", tmp_path, "--config", config) as listener:
        ask(Address("PYPX", HOST, listener.port))
        eventually(lambda: "The audit trail cannot be written to tcp://" in listener.log)
        ask(Address("PYPX", HOST, listener.port))
        listener.stop()
    assert "The audit trail ends without its last" in listener.log
