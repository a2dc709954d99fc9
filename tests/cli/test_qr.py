"""``px qr``: the calls of a PACS_QR.sh, and what does them."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from pypx.archive import Archive
from pypx.cli.qr import read_query
from pypx.errors import ConfigError
from pypx.pacs import Pacs
from tests.cli.conftest import Px, write_config

CT = "--AccessionNumber A1001"


@pytest.fixture(autouse=True)
def site(home: Path, pacs: Pacs) -> str:
    """Name the PACS as its script would have done."""
    text = f'[nodes.BCH-chris]\naddress = "{pacs.address}"\n[listen]\nsettle = 0.2\n'
    write_config(home, text)
    return "BCH-chris"


def test_a_query_shows_studies_with_their_series(px: Px, site: str) -> None:
    ran = px("qr", "-h", site, "-Q", CT)
    assert ran.code == 0, ran.err
    assert ran.out == px("find", site, "-k", "AccessionNumber=A1001", "--tree").out
    (study,) = px("qr", "-h", site, "-Q", f"{CT} --json").json
    assert study["AccessionNumber"] == "A1001" and study["series"]


@pytest.mark.parametrize(
    ("more", "same_as"),
    [
        (f"{CT} --StudyOnly --printReport json", ["--json"]),
        (f"{CT} --printReport csv", ["--csv"]),
        (
            f"{CT} --colorize dark --printReport '' --withFeedBack --StudyOnly --db /tmp/log",
            [],
        ),
        (f"{CT} --StudyOnly --QueryReturnTags PatientName,StudyDate --json", None),
    ],
)
def test_what_px_find_makes_of_it(px: Px, site: str, more: str, same_as: Any) -> None:
    ran = px("qr", "-h", site, "-Q", more)
    assert ran.code == 0, ran.err
    if same_as is None:
        same_as = ["-k", "PatientName", "-k", "StudyDate", "--json"]
    assert ran.out == px("find", site, "-k", "AccessionNumber=A1001", *same_as).out


def test_flags_take_the_place_of_an_institution(px: Px, pacs: Pacs) -> None:
    where = pacs.address
    peer = ("-P", where.host, "-p", where.port, "-c", where.ae_title, "-a", "CHIPS")
    ran = px("qr", *peer, "-Q", CT, "-v")
    assert ran.code == 0 and "A1001" in ran.out
    assert f"px find --aec {where.ae_title} --aet CHIPS --serverIP" in ran.err
    long = ("--PACSIP", where.host, "--PACSport", where.port, "--AEC", where.ae_title)
    assert px("qr", *long, "--", "--AccessionNumber", "A1001").out == ran.out
    # What -Q says goes before a flag, as there.
    last = px("qr", *peer, "-Q", f"{CT} --serverPort 1 --json")
    assert last.code == 3


@pytest.mark.parametrize("word", ["--retrieve", "--then retrieve,status", "--move --thenArgs x"])
def test_it_retrieves(px: Px, site: str, port: int, home: Path, word: str) -> None:
    write_config(home, (home / "config/pypx/config.toml").read_text() + f"port = {port}\n")
    ran = px("qr", "-h", site, "-d", home / "dicom", "-Q", f"{CT} {word} --printReport ''")
    assert ran.code == 0, ran.err
    with Archive(home / "dicom" / "data", read_only=True) as archive:
        assert len(list(archive.find("image"))) == 12
    assert (home / "dicom" / "log" / "series_map").is_dir()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-h", "nowhere", "-Q", CT], "no node 'nowhere'"),
        (["-Q", CT], "NODE is missing"),
        (["-C", "-Q", CT], "deletes nothing"),
        (["-h", "BCH-chris", "-Q", "--PatientID 'x"], "quotes of -Q"),
        (["-h", "BCH-chris", "-Q", "PatientID 1"], "a word that is no option"),
        (["-h", "BCH-chris", "-Q", "--PatientID"], "--PatientID needs a value"),
        (["-h", "BCH-chris", "-Q", "--Patient 1"], "no option --Patient in -Q"),
        (["-h", "BCH-chris", "-Q", f"{CT} --then push"], "--then push has no counterpart"),
        (["-h", "BCH-chris", "-Q", f"{CT} --CUBE local"], "--CUBE"),
        (["-h", "BCH-chris", "-Q", f"{CT} --printReport loud"], "no report 'loud'"),
        (["-h", "BCH-chris", "-Q", f"{CT} --retrieve --printReport csv"], "--manifest"),
        (["-h", "BCH-chris", "-H", "elsewhere", "-Q", f"{CT} --retrieve"], "-H elsewhere"),
    ],
)
def test_what_it_cannot_do(px: Px, arguments: list[str], says: str) -> None:
    ran = px("qr", *arguments)
    assert ran.code == 2 and says in ran.err


def test_a_query_may_be_made_anywhere(px: Px, site: str) -> None:
    assert px("qr", "-h", site, "-H", "elsewhere", "-Q", CT).code == 0
    assert socket.gethostname() != "elsewhere"


def test_nothing_of_the_text_is_run(px: Px, site: str, home: Path) -> None:
    ran = px("qr", "-h", site, "-Q", f"--PatientID '$(touch {home}/x)' --json")
    assert ran.code == 0 and ran.json == []
    assert not (home / "x").exists()


def test_an_error_is_in_the_form_that_was_asked_for(px: Px) -> None:
    ran = px("qr", "-h", "nowhere", "-Q", f"{CT} --json")
    assert ran.code == 2 and "nowhere" in ran.json["error"]["message"]
    assert px("qr", "-h", "nowhere", "-Q", CT, "--json").json["error"]


def test_no_line_tells_who_it_is_about(px: Px, site: str) -> None:
    ran = px("qr", "-h", site, "-v", "-Q", "--PatientID 1234567 --PatientName 'Doe^Jane' --json")
    assert ran.code == 0 and "-k PatientID=#" in ran.err.replace("'", "")
    assert "1234567" not in ran.err and "Doe" not in ran.err and "Jane" not in ran.err
    assert "7654321" not in px("qr", "-h", site, "-Q", "7654321").err


def test_keys_are_read_as_they_are() -> None:
    asked = read_query(["--PatientID=a=b", "--StudyDate", "20240101-20240131"])
    assert asked.keys == ("PatientID=a=b", "StudyDate=20240101-20240131")
    with pytest.raises(ConfigError):
        read_query(["--"])
