"""What lines on stderr say of patients, and of secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pypx.archive import Archive
from pypx.cli.output import Output
from pypx.pacs import Pacs
from tests.cli.conftest import Px, write_config

SECRETS = ("SECRET", "19670312", "1967-03-12")


@pytest.mark.parametrize("form", [[], ["--log-json"], ["-v"]])
@pytest.mark.parametrize(
    "keys",
    [
        ["--PatientID", "SECRET1", "--PatientID", "SECRET2"],
        ["-k", "PatientName=SECRET^JANE", "-k", "PatientName=SECRET^JIM"],
        ["-k", "AccessionNumber=SECRET", "-k", "AccessionNumber=SECRET-2"],
        ["-k", "PatientBirthDate=19670312", "-k", "PatientBirthDate=1967-03-13"],
    ],
)
def test_errors_do_not_say_what_was_asked_for(
    px: Px, pacs: Pacs, keys: list[str], form: list[str]
) -> None:
    ran = px("find", pacs.address, *keys, *form)
    assert ran.code == 2
    assert "has two values, '#" in ran.err
    assert not [one for one in SECRETS if one in ran.err]


def test_they_do_when_it_is_configured(px: Px, pacs: Pacs, home: Path) -> None:
    write_config(home, "log_identifiers = true\n")
    keys = ["--PatientID", "SECRET1", "--PatientID", "SECRET2"]
    ran = px("find", pacs.address, *keys)
    assert "'SECRET1'" in ran.err


def test_a_list_with_bad_values(px: Px, pacs: Pacs, home: Path) -> None:
    (home / "list.csv").write_text("PatientID,PatientBirthDate\nSECRET1,1967-3-12x\n")
    ran = px("find", pacs.address, "--from", home / "list.csv")
    assert "Row 2" in ran.err
    assert "1967" not in ran.err
    assert "SECRET" not in ran.err


def test_details_of_a_query(px: Px, pacs: Pacs) -> None:
    ran = px("find", pacs.address, "--PatientID", "SECRET1", "-v")
    assert ran.code == 0
    assert "came in" in ran.err
    assert "SECRET" not in ran.err


def test_two_runs_have_the_same_hashes(px: Px, pacs: Pacs) -> None:
    keys = ["--PatientID", "SECRET1", "--PatientID", "SECRET2"]
    first, second = px("find", pacs.address, *keys), px("find", pacs.address, *keys, "-v")
    assert first.err.splitlines()[0] == second.err.splitlines()[0]


def test_records_have_hashes(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output()
    out.log_json = True
    facts = {"PatientID": "SECRET", "patient_name": "SECRET", "n": 3, "x": {"StudyID": "SECRET"}}
    out.record("event", "of SECRET^A", facts)
    line = capsys.readouterr().err
    assert "SECRET" not in line
    assert json.loads(line)["n"] == 3


def test_secrets_are_never_printed(px: Px, home: Path) -> None:
    (home / "passphrase").write_text("TOPSECRET\n")
    write_config(
        home,
        f"""
[nodes.hospital]
address = "PACS@127.0.0.1:104"
[nodes.hospital.tls]
passphrase = "file:{home}/passphrase"
[[hooks]]
on = "series"
webhook = "https://user:TOPSECRET@host/path?token=TOPSECRET"
headers = {{ Authorization = "Bearer TOPSECRET" }}
""",
    )
    with Archive(home / "pypx"):
        pass
    for command in (["nodes", "show", "hospital"], ["nodes"], ["status"]):
        for more in ([], ["--json"], ["-v", "--log-json"]):
            ran = px(*command, *more)
            assert ran.code in (0, 1), ran.err
            assert "TOPSECRET" not in ran.out + ran.err


def test_a_query_in_the_audit_trail(px: Px, pacs: Pacs, home: Path) -> None:
    write_config(home, f'[audit]\nto = "file:{home}/audit.log"\n')
    assert px("find", pacs.address, "--PatientID", "SECRET1").code == 0
    lines = (home / "audit.log").read_text().splitlines()
    assert ["Application" in line or "Query" in line for line in lines] == [True] * 3
    assert 'ParticipantObjectID="1.2.840.10008.5.1.4.1.2.2.1"' in lines[1]


def test_what_came_in_the_audit_trail(px: Px, pacs: Pacs, port: int, home: Path) -> None:
    write_config(home, f'umask = "077"\n[audit]\nto = "file:{home}/audit.log"\n')
    keys = ["-k", "PatientID=DEMO-*"]
    ran = px("move", pacs.address, "--to", "PYPX", "--port", port, *keys)
    assert ran.code == 0, ran.err
    text = (home / "audit.log").read_text()
    assert "DICOM Instances Transferred" in text
    assert 'ParticipantObjectID="DEMO-' in text
    assert (home / "audit.log").stat().st_mode & 0o777 == 0o600
    stored = [path for path in (home / "pypx").rglob("*") if path.is_file()]
    assert stored
    assert {path.stat().st_mode & 0o777 for path in stored} == {0o600}


def test_what_a_retrieval_brings_in_the_audit_trail(
    px: Px, pacs: Pacs, port: int, home: Path
) -> None:
    write_config(home, f'[listen]\nport = {port}\n[audit]\nto = "file:{home}/audit.log"\n')
    keys = ["-k", "PatientID=DEMO-*", "--method", "move"]
    ran = px("retrieve", pacs.address, *keys)
    assert ran.code == 0, ran.err
    text = (home / "audit.log").read_text()
    assert "DICOM Instances Transferred" in text
    assert 'ParticipantObjectID="DEMO-' in text
    assert "DEMO-" not in ran.err
