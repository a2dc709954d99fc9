"""``px store --commit`` with real providers: pynetdicom over one and two associations, Orthanc."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from pypx.client.client import Client
from pypx.client.commit import ReportListener
from pypx.client.commitment import NotCommitted, Reference, Reports
from tests.objects import write_file
from tests.peers.process import HOST, free_port


def px_store(tmp_path, address, port, *arguments):
    """Run px store --commit in a process of its own; give exit code and document."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pypx", "store", address, str(tmp_path / "files"), "--json"),
            *("--commit", "--port", str(port), *map(str, arguments)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYPX_CONFIG": str(tmp_path / "none.toml")},
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def write(tmp_path, count):
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(1, count + 1):
        write_file(folder, number)


def report_on(asked, refused):
    """Make the event information for what was asked; give it with its event type."""
    report = Dataset()
    report.TransactionUID = asked.TransactionUID
    report.ReferencedSOPSequence, report.FailedSOPSequence = [], []
    for item in asked.ReferencedSOPSequence:
        if item.ReferencedSOPInstanceUID in refused:
            item.FailureReason = 0x0112
            report.FailedSOPSequence.append(item)
        else:
            report.ReferencedSOPSequence.append(item)
    if report.FailedSOPSequence:
        return report, 2
    del report.FailedSOPSequence
    return report, 1


class Committer:
    """The N-ACTION handler; it reports over ``port``, or where that is None over our association.

    Attributes:
        statuses: Of our responses to its reports.
    """

    def __init__(self, port, refused=()):
        self.statuses = []
        self._port = port
        self._refused = refused
        self._threads = []

    def __call__(self, event):
        asked = event.action_information
        thread = threading.Thread(target=self._report, args=(event.assoc, asked))
        self._threads.append(thread)
        thread.start()
        return 0x0000, None

    def join(self):
        for thread in self._threads:
            thread.join(10)

    def _report(self, association, asked):
        time.sleep(0.2)  # after the answer to the N-ACTION
        own = None
        if self._port is not None:
            ae = AE(ae_title="SCRIPTED")
            ae.add_requested_context(StorageCommitmentPushModel)
            role = build_role(StorageCommitmentPushModel, scu_role=False, scp_role=True)
            own = ae.associate(HOST, self._port, ext_neg=[role], ae_title="PYPX")
            assert own.is_established
        report, kind = report_on(asked, self._refused)
        status, _ = (own or association).send_n_event_report(
            report, kind, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        self.statuses.append(status.Status)
        if own is not None:
            own.release()


def add_commitment(ae):
    ae.add_supported_context(StorageCommitmentPushModel)


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("refused", [(), ("1.2.3.4.2",)])
def test_pynetdicom(scripted_scp, tmp_path, elsewhere, refused):
    write(tmp_path, 3)
    port = free_port()
    committer = Committer(port if elsewhere else None, refused)
    peer = scripted_scp(
        on_store=lambda event: 0x0000,
        handlers=[(evt.EVT_N_ACTION, committer)],
        configure=add_commitment,
    )
    code, document = px_store(tmp_path, peer.address, port)
    committer.join()
    assert committer.statuses == [0x0000]
    commitment = document["commitment"]
    assert commitment["committed"] == 3 - len(refused)
    assert [one["sop_instance_uid"] for one in commitment["failed"]] == list(refused)
    assert commitment["missing"] == []
    assert code == (1 if refused else 0)


def test_pynetdicom_without_the_service(scripted_scp, tmp_path):
    write(tmp_path, 2)
    peer = scripted_scp(on_store=lambda event: 0x0000)
    code, document = px_store(tmp_path, peer.address, free_port())
    assert code == 1
    assert document["completed"] == 2
    assert len(document["commitment"]["missing"]) == 2
    assert "not Storage Commitment" in document["error"]["message"]


def test_orthanc_reports_to_our_listener(orthanc, tmp_path):
    write(tmp_path, 1100)
    port = free_port()
    peer = orthanc(destinations={"PYPX": port})
    code, document = px_store(tmp_path, peer.address, port)
    assert code == 0, document
    assert document["commitment"]["committed"] == 1100
    assert len(document["commitment"]["transaction_uid"]) == 2


def test_orthanc_names_what_it_does_not_have(orthanc):
    reports = Reports([Reference("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.99")])
    with ReportListener(reports, HOST, 0, allowed=lambda aet, host: True) as listener:
        peer = orthanc(destinations={"PYPX": listener.port})
        with Client(peer.address) as client:
            result = client.commit(reports, timeout=20, listening=True).run()
    assert result.failed == (NotCommitted("1.2.3.4.99", 0x0112),)
    assert (result.committed, result.missing) == ((), ())


def test_orthanc_that_does_not_know_us_never_reports(orthanc, tmp_path):
    write(tmp_path, 1)
    peer = orthanc()
    code, document = px_store(tmp_path, peer.address, free_port(), "--commit-timeout", 1)
    assert code == 1
    assert document["completed"] == 1
    assert document["commitment"]["committed"] == 0
    assert document["commitment"]["missing"] == ["1.2.3.4.1"]
