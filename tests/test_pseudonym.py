"""Keyed hashes in place of what identifies a patient."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pypx.pseudonym import Pseudonyms, load_key


def test_the_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "pypx"
    key = load_key(str(folder))
    assert len(key) == 32
    assert load_key(str(folder)) == key
    assert stat.S_IMODE((folder / "log.key").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["log.key"]


def test_lines_of_one_patient_match_and_those_of_another_do_not(tmp_path: Path) -> None:
    one, again = Pseudonyms(str(tmp_path)), Pseudonyms(str(tmp_path))
    assert one.of("4711") == again.of(" 4711 ") != one.of("4712")
    assert Pseudonyms(str(tmp_path / "other")).of("4711") != one.of("4711")
    assert len(one.of("4711")) == 13


@pytest.mark.parametrize(
    "arguments",
    [
        ["find", "PACS", "-k", "PatientName=SECRET^JANE"],
        ["find", "PACS", "-kPatientName=SECRET^JANE"],
        ["find", "PACS", "-k", "0010,0010=SECRET^JANE"],
        ["find", "PACS", "-k", "(0010,0010)=SECRET^JANE"],
        ["find", "PACS", "-k", "00100010=SECRET^JANE"],
        ["find", "PACS", "--PatientName", "SECRET^JANE"],
        ["find", "PACS", "--PatientName=SECRET^JANE*"],
        ["find", "PACS", "-k", "patientname=SECRET^JANE"],
    ],
)
def test_what_a_command_line_says_is_known(arguments: list[str]) -> None:
    hidden = Pseudonyms()
    hidden.learn_arguments(arguments)
    for text in ("no SECRET^JANE here", "no secret^jane here", "no 'SECRET'", "SECRET JANE died"):
        assert "secret" not in hidden.hide(text).lower()


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("a study 1.2.3 of PACS@host:104", "1.2.3 of PACS@host:104"),
        ("17 images of '17'", "17 images of '#"),
        ("ID4711 is another", "ID4711 is another"),
        ("No such patient ROE^RICHARD.", "No such patient #"),
        ("/archive/4711-DOE JANE/a/1-1.2.dcm is torn", "/archive/#"),
        ("/archive/1.2.3/1.2.4/1.2.5.dcm is torn", "/archive/1.2.3/1.2.4/1.2.5.dcm"),
        ("/archive/.pypx/index.sqlite is away", "/archive/.pypx/index.sqlite"),
    ],
)
def test_what_is_hidden_and_what_stays(text: str, there: str) -> None:
    hidden = Pseudonyms(archive="/archive")
    for value in ("4711", "17"):
        hidden.learn("PatientID", value)
    hidden.learn("StudyInstanceUID", "1.2.3")
    found = hidden.hide(text)
    assert there in found
    assert not any(one in found for one in ("RICHARD", "DOE", "JANE"))


def test_identifiers_stay_where_they_may() -> None:
    hidden = Pseudonyms(shown=True)
    hidden.learn("PatientID", "4711")
    assert hidden.hide("4711 DOE^JANE") == "4711 DOE^JANE"
