"""``px store --commit``: what the PACS has committed itself to keep, and what not."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from pypx.client import sending
from tests.cli.conftest import Px
from tests.client.committing import CommitScp
from tests.client.test_commitment import COMMITMENT, ClosesAfter
from tests.client.test_sending import uid, write
from tests.listening import eventually
from tests.peers.process import free_port


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_PAUSE", 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "files"
    path.mkdir()
    return path


def test_all_is_committed(px: Px, folder: Path) -> None:
    with CommitScp() as scp:
        arguments = ("store", scp.address, write(folder, 5), "--commit", "--port", free_port())
        told, ran = px(*arguments), px(*arguments, "--json")
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines()[1] == f"5 of 5 committed by {scp.address}"
    (_, transaction) = scp.transactions
    assert ran.code == 0
    assert ran.json["commitment"] == {
        "transaction_uid": transaction,
        "committed": 5,
        "failed": [],
        "missing": [],
    }
    assert "error" not in ran.json


def test_the_pacs_reports_over_an_association_of_its_own(px: Px, folder: Path) -> None:
    port = free_port()
    with ClosesAfter(to=port) as scp:
        ran = px("store", scp.address, write(folder, 3), "--commit", "--port", port, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["commitment"]["committed"] == 3
    assert scp.answers == [0]


def test_what_is_refused_is_named_with_its_reason(px: Px, folder: Path) -> None:
    reasons = {uid(2): 0x0112, uid(3): 0x0122}
    with CommitScp(lambda one: reasons.get(one, 0)) as scp:
        arguments = ("store", scp.address, write(folder, 4), "--commit", "--port", free_port())
        told, ran = px(*arguments), px(*arguments, "--json")
    assert told.code == ran.code == 1
    assert f"2 of 4 committed by {scp.address}, 2 refused\nNot committed:\n" in told.out
    assert f"  {uid(2)}: no such object instance (0112H)\n" in told.out
    assert "2 of 4 images stored but not committed." in told.err
    assert ran.json["status"] == "failure"
    assert ran.json["completed"] == 4
    assert ran.json["commitment"]["failed"] == [
        {"sop_instance_uid": uid(2), "reason": "no such object instance (0112H)"},
        {"sop_instance_uid": uid(3), "reason": "referenced SOP class not supported (0122H)"},
    ]


def test_only_what_was_stored_is_asked_for(px: Px, folder: Path) -> None:
    class RefusesOne(CommitScp):
        def _store(self, association, received):  # type: ignore[no-untyped-def]
            self._decide = lambda _, one: 0xA700 if one == uid(2) else 0
            super()._store(association, received)

    with RefusesOne() as scp:
        self_port = free_port()
        ran = px("store", scp.address, write(folder, 3), "--commit", "--port", self_port, "--json")
    assert ran.code == 1
    assert ran.json["failed_sop_instance_uids"] == [uid(2)]
    assert list(scp.transactions.values()) == [[uid(1), uid(3)]]
    assert ran.json["commitment"]["committed"] == 2


def test_what_is_never_reported(px: Px, folder: Path) -> None:
    port = free_port()
    with CommitScp(lambda one: 0 if one == uid(1) else None) as scp:
        ran = px(
            *("store", scp.address, write(folder, 2), "--commit", "--commit-timeout", "0.3"),
            *("--port", port, "--json"),
        )
    assert ran.code == 1
    assert ran.json["commitment"]["missing"] == [uid(2)]
    assert "1 of 2 images stored but not committed." in ran.err
    assert "Nothing was reported for 0.3 s." in ran.err
    assert f"must know PYPX at the address of this machine, port {port}" in ran.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"refuse": [COMMITMENT]}, "but not Storage Commitment Push Model SOP Class"),
        ({"status": 0x0122}, "refused storage commitment with status 0122H"),
    ],
)
def test_a_pacs_that_does_not_commit(
    px: Px, folder: Path, options: dict[str, object], words: str
) -> None:
    with CommitScp(**options) as scp:  # type: ignore[arg-type]
        ran = px(
            "store", scp.address, write(folder, 2), "--commit", "--port", free_port(), "--json"
        )
    assert ran.code == 1
    assert ran.json["completed"] == 2
    assert ran.json["commitment"]["missing"] == [uid(1), uid(2)]
    assert "2 of 2 images stored but not committed: " in ran.err
    assert words in ran.err


def test_our_port_is_in_use(px: Px, folder: Path) -> None:
    with CommitScp() as scp:
        ran = px("store", scp.address, write(folder, 2), "--commit", "--port", scp.address.port)
    assert ran.code == 0
    assert "the port is in use. Only a report over our own association can be heard." in ran.err


def test_ctrl_c_ends_the_wait(px: Px, folder: Path) -> None:
    with CommitScp(lambda one: None) as scp:

        def interrupt() -> None:
            eventually(lambda: scp.transactions)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        ran = px(
            "store", scp.address, write(folder, 2), "--commit", "--port", free_port(), "--json"
        )
        thread.join()
    assert ran.code == 130
    assert ran.json["status"] == "cancelled"
    assert ran.json["commitment"]["missing"] == [uid(1), uid(2)]
    assert "Interrupted: 2 of 2 images stored but not committed." in ran.err


def test_a_port_is_only_for_reports(px: Px, folder: Path) -> None:
    ran = px("store", "X@127.0.0.1:1", write(folder, 1), "--port", 11113)
    assert ran.code == 2
    assert "--host and --port are for the reports" in ran.err


def test_nothing_stored_is_nothing_to_commit(px: Px, folder: Path) -> None:
    (folder / "readme").write_text("no image")
    with CommitScp() as scp:
        ran = px("store", scp.address, folder, "--commit", "--json")
    assert ran.code == 1
    assert "commitment" not in ran.json
    assert scp.transactions == {}
