"""What ``px support-bundle`` tells, and above all what it does not."""

from __future__ import annotations

import json
import stat
import tarfile
from pathlib import Path
from typing import Any

from pypx.archive import Archive
from pypx.archive.storage import Source
from pypx.archive.transfers import Request
from pypx.dicom.part10 import FileMeta
from pypx.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from pypx.pacs import Pacs
from pypx.receiver.completion import SeriesComplete
from pypx.receiver.hook_delivery import Delivery
from pypx.receiver.hook_queue import HookQueue
from tests.archive.helpers import store
from tests.archive.ledgers import begin, expect, find
from tests.cli.conftest import Px, write_config
from tests.objects import CT_IMAGE

IDENTIFIERS = ("SECRETID", "SECRETNAME", "SECRETACC", "SECRETDESC", "19670312")
SENTENCE = "Nothing of SECRETNAME^JANE (SECRETID, 19670312, SECRETACC) called SECRETDESC."

CONFIG = """
archive = "{root}"
[listen]
allow = ["PEER@10.0.0.0/8"]
[nodes.pacs]
address = "{address}"
[nodes.secure]
address = "PACS@127.0.0.1:104"
[nodes.secure.tls]
passphrase = "env:TOPSECRETNAME"
[[hooks]]
on = "series"
webhook = "https://user:TOPSECRET@host/TOPSECRET?token=TOPSECRET"
headers = {{ Authorization = "Bearer TOPSECRET" }}
[[hooks]]
on = "series"
command = ["/usr/bin/convert", "--token=TOPSECRET"]
"""


def fill(root: Path) -> None:
    """Put identifiers wherever an archive may have them."""
    with Archive(root, durability="none") as archive:
        store(
            archive,
            PatientID="SECRETID",
            PatientName="SECRETNAME^JANE",
            PatientBirthDate="19670312",
            AccessionNumber="SECRETACC",
            StudyDescription="SECRETDESC",
        )
        meta = FileMeta(CT_IMAGE, "1.2.3.4.9", EXPLICIT_VR_LITTLE_ENDIAN)
        archive.note_interrupted(meta, Source("PEER", "US", "10.1.2.3"), 5, SENTENCE)
        ledger = archive.ledger
        keys = {"PatientName": "SECRETNAME^JANE", "PatientBirthDate": "19670312"}
        transfer = begin(ledger, keys, keys=keys)
        facts = {"patient_id": "SECRETID", "patient_name": "SECRETNAME^JANE"}
        study = find(ledger, transfer, **facts, accession_number="SECRETACC")
        series = expect(ledger, transfer, study, [1, 2])
        pk = ledger.note_request(transfer, series, "move", "series", 2)
        ledger.close_request(pk, Request(seconds=1.0, status=0xA801, reason=SENTENCE))
        ledger.note(transfer, SENTENCE)
        ledger.set_state(transfer, "failed", SENTENCE)
    queue = HookQueue(root / ".pypx" / "hooks")
    delivery = Delivery("hook", SeriesComplete("1.2.3", "1.2.3.4", path="SECRETID", id="1"), 0.0)
    queue.put(delivery)
    queue.give_up("1.hook.json", delivery, f"x ended with exit code 1, and said: {SENTENCE} X7")


def unpacked(path: Path) -> dict[str, Any]:
    with tarfile.open(path) as bundle:
        found = {}
        for entry in bundle:
            file = bundle.extractfile(entry)
            assert file is not None
            found[entry.name.removeprefix("pypx-support/")] = json.loads(file.read())
        return found


def test_neither_identifiers_nor_secrets_are_in_it(px: Px, pacs: Pacs, home: Path) -> None:
    fill(home / "archive")
    config = CONFIG.format(root=home / "archive", address=pacs.address)
    write_config(home, f"log_identifiers = true\n{config}")
    path = home / "bundle.tar.gz"
    ran = px("support-bundle", "pacs", "-o", path)
    assert ran.code == 0, ran.err
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0
    files = unpacked(path)
    text = json.dumps(files)
    assert not [one for one in (*IDENTIFIERS, "JANE", "TOPSECRET", "X7") if one in text]
    assert list(files) == [
        "versions.json",
        "configuration.json",
        "jobs.json",
        "index.json",
        "archive.json",
        "node.json",
    ]
    assert files["configuration.json"]["hooks"][0]["headers"] == ["Authorization"]
    assert files["configuration.json"]["nodes"][1]["tls"]["passphrase"] is True
    assert files["index.json"] == {"patient": 1, "study": 1, "series": 1}
    job = files["jobs.json"][0]
    assert job["requests_that_failed"][0]["status"] == 0xA801
    assert "Nothing of #" in job["reason"]
    assert files["archive.json"]["interrupted"][0]["host"] == "10.1.2.3"
    assert files["node.json"]["contexts"][0]["abstract_syntax"] == "1.2.840.10008.1.1"


def test_what_cannot_be_told_is_told_as_an_error(px: Px, home: Path) -> None:
    config = CONFIG.format(root=home / "archive", address="PACS@127.0.0.1:1")
    write_config(home, config)
    ran = px("support-bundle", "pacs", "--json", "-o", home / "bundle.tar.gz")
    assert ran.code == 0
    assert ran.json["path"] == str(home / "bundle.tar.gz")
    files = unpacked(home / "bundle.tar.gz")
    assert files["index.json"]["error"]["kind"] == "configuration"
    assert files["node.json"]["error"]["kind"] == "connect"


def test_a_configuration_that_is_wrong(px: Px, home: Path) -> None:
    write_config(home, "aet = 7\n")
    ran = px("support-bundle", "-o", home / "bundle.tar.gz")
    assert ran.code == 0
    files = unpacked(home / "bundle.tar.gz")
    assert "line 1" in files["configuration.json"]["error"]["message"]
    assert files["versions.json"]["pypx"]
