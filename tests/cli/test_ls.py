"""``px ls``: what the archive holds."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from pypx.archive import Archive
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
