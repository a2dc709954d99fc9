"""``px ls``: what the archive holds."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pypx.archive import Archive
from tests.archive import ledgers
from tests.archive.helpers import store
from tests.cli.conftest import Px, write_config


def test_studies(px: Px, samples: Archive) -> None:
    ran = px("ls", "--archive", samples.root)
    assert (ran.code, ran.err) == (0, "3 studies\n")
    header, *lines = ran.out.splitlines()
    assert len(lines) == 3
    assert header.rstrip().endswith("Path")
    assert any("Doe, John" in line and "DEMO-003" in line for line in lines)


def test_rows_have_keywords_and_instances_bytes_path(px: Px, samples: Archive) -> None:
    rows = px("ls", "--archive", samples.root, "--jsonl", "--PatientID", "DEMO-002").rows
    (study,) = rows
    assert study["PatientName"] == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert study["instances"] == 14
    assert study["bytes"] > 14 * 8192
    assert Path(study["path"]).is_dir()


@pytest.mark.parametrize(
    ("level", "count"), [("patient", 3), ("study", 3), ("series", 4), ("image", 27)]
)
@pytest.mark.parametrize("form", ["--json", "--csv", "-q"])
def test_levels_and_forms(px: Px, samples: Archive, level: str, count: int, form: str) -> None:
    ran = px("ls", "--archive", samples.root, "--level", level, form)
    assert ran.code == 0
    match form:
        case "--json":
            assert len(ran.json) == count
        case "--csv":
            rows = list(csv.DictReader(io.StringIO(ran.out)))
            assert len(rows) == count
            assert all(row["path"] and row["bytes"] for row in rows)
        case _:
            assert len(ran.out.splitlines()) == count + 1


def test_a_tree(px: Px, samples: Archive) -> None:
    ran = px("ls", "--archive", samples.root, "--tree")
    assert ran.err == "3 studies, 4 series\n"
    assert len(ran.out.splitlines()) == 7
    studies = px("ls", "--archive", samples.root, "--tree", "--json").json
    assert sum(len(study["series"]) for study in studies) == 4


def test_keys_and_dates(px: Px, samples: Archive) -> None:
    ran = px("ls", "--archive", samples.root, "--jsonl", "-k", "StudyDate=2024-01-01..2024-03-31")
    assert len(ran.rows) == 2


def test_no_match_and_an_empty_archive(px: Px, samples: Archive, tmp_path: Path) -> None:
    assert px("ls", "--archive", samples.root, "--PatientID", "none").err == "no match\n"
    Archive(tmp_path / "new").close()
    ran = px("ls", "--archive", tmp_path / "new")
    assert (ran.code, ran.out, ran.err) == (0, "", "the archive is empty\n")


def test_a_missing_archive(px: Px, home: Path) -> None:
    ran = px("ls", "--json")
    assert ran.code == 2
    assert f"no archive at {home}/pypx" in ran.json["error"]["message"]
    assert "--archive" in ran.json["error"]["hint"]


def test_the_archive_of_environment_and_configuration(
    px: Px, samples: Archive, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(home, f'archive = "{samples.root}"\n')
    assert px("ls", "-q").out
    monkeypatch.setenv("PYPX_ARCHIVE", str(home / "other"))
    assert px("ls").code == 2
    assert px("ls", "--archive", samples.root).code == 0


def test_a_key_that_the_index_has_not(px: Px, samples: Archive) -> None:
    ran = px("ls", "--archive", samples.root, "-k", "ReferringPhysicianName=x")
    assert ran.code == 2
    assert "ReferringPhysicianName" in ran.err


@pytest.fixture
def asked(home: Path) -> Iterator[Archive]:
    """An archive with one whole series, one that is not, and one that nobody asked for."""
    with Archive(home / "pypx", durability="none") as archive:
        store(archive, 1)
        store(archive, 2, SeriesInstanceUID="1.2.3.5")
        store(archive, 3, StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1")
        ledger = archive.ledger
        transfer = ledgers.begin(ledger)
        study = ledgers.find(ledger, transfer)
        ledgers.expect(ledger, transfer, study, [1])
        ledgers.expect(ledger, transfer, study, [2, 8], "1.2.3.5")
        ledger.close_study(study, "planned")
        yield archive


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_what_is_complete(px: Px, asked: Archive, form: str) -> None:
    def completeness(level: str, key: str) -> dict[str, str]:
        ran = px("ls", "--level", level, form)
        rows = ran.json if form == "--json" else csv.DictReader(io.StringIO(ran.out))
        return {row[key]: row["completeness"] for row in rows}

    expected = {"1.2.3": "incomplete", "1.9": "unknown"}
    assert completeness("study", "StudyInstanceUID") == expected
    expected = {"1.2.3.4": "complete", "1.2.3.5": "incomplete", "1.9.1": "unknown"}
    assert completeness("series", "SeriesInstanceUID") == expected
    store(asked, 8, SeriesInstanceUID="1.2.3.5")
    assert completeness("study", "StudyInstanceUID")["1.2.3"] == "complete"
    for level in ("patient", "image"):
        assert "completeness" not in px("ls", "--level", level, form).out


def test_what_is_complete_in_words(px: Px, asked: Archive) -> None:
    header, *lines = px("ls", "--level", "series").out.splitlines()
    assert "  State  " in header and header.isascii()
    states = {line.split()[-2]: line.split()[-4] for line in lines}
    assert states == {"1.2.3.4": "complete", "1.2.3.5": "incomplete", "1.9.1": "unknown"}
    tree = px("ls", "--tree").out
    assert "├─ 2  CT  1 image  2.6 kB  complete  1.2.3.4\n" in tree
    assert "└─ 2  CT  1 image  2.6 kB  incomplete  1.2.3.5\n" in tree
    (study,) = px("ls", "--tree", "--json", "--StudyInstanceUID", "1.2.3").json
    assert [one["completeness"] for one in study["series"]] == ["complete", "incomplete"]


def test_where_nobody_asked_for_anything_the_table_is_silent(px: Px, samples: Archive) -> None:
    for arguments in ([], ["--tree"], ["--level", "series"]):
        ran = px("ls", "--archive", samples.root, *arguments)
        assert "State" not in ran.out and "unknown" not in ran.out
    rows = px("ls", "--archive", samples.root, "--jsonl").rows
    assert {row["completeness"] for row in rows} == {"unknown"}


def test_without_the_right_to_write(
    px: Px, asked: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked.close()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert [row["completeness"] for row in px("ls", "--jsonl").rows] == ["incomplete", "unknown"]
