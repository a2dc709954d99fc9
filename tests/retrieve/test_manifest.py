"""The manifest: one row an instance, whole or not there, in a form that does no harm."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pypx.errors import ArchiveError, ConfigError
from pypx.retrieve.report.manifest import COLUMNS, check_path, write_manifest
from tests.retrieve.transfers import Job, job, uid_of


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def written(job: Job, path: Path) -> dict[str, Any]:
    number = write_manifest(job.archive, job.transfer, str(path))
    if path.suffix == ".csv":
        rows: list[Any] = read_csv(path)
    else:
        rows = json.loads(path.read_text(encoding="utf-8"))["instances"]
    assert number == len(rows)
    found = {row["sop_instance_uid"]: row for row in rows}
    assert len(found) == len(rows)  # each instance once
    return found


@pytest.mark.parametrize("suffix", [".csv", ".json", ".JSON"])
def test_each_expected_instance_has_a_row_and_each_that_came(tmp_path: Path, suffix: str) -> None:
    with job(tmp_path, 1) as one:
        series = one.series(one.study(), numbers=range(1, 4))
        one.receive(2, 9)
        one.ledger.add_extra(one.transfer, "1.2.3", "1.2.3.4", uid_of(9))
        one.close(series, "incomplete")
        rows = written(one, tmp_path / f"m{suffix}")
        statuses = {uid: row["status"] for uid, row in rows.items()}
        entry = next(iter(one.archive.find("image", {"SOPInstanceUID": uid_of(2)})))
        assert Path(rows[uid_of(2)]["path"]).is_file()
    assert statuses == {
        uid_of(1): "here-before",
        uid_of(2): "received",
        uid_of(3): "missing",
        uid_of(9): "unexpected",
    }
    got = rows[uid_of(2)]
    assert got["path"] == entry["path"]
    assert int(got["bytes"]) == entry["bytes"]
    assert len(got["checksum_xxh3_128"]) == 32
    assert got["source_ae_title"] == "MODALITY"
    assert got["source_host"] == "10.1.2.3"
    assert got["received_at"] == entry["received_at"]
    assert got["study_instance_uid"] == "1.2.3"
    assert rows[uid_of(3)]["series_instance_uid"] == "1.2.3.4"
    assert not any(rows[uid_of(3)][key] for key in COLUMNS[4:])


def test_the_checksum_is_that_of_the_data_set(tmp_path: Path) -> None:
    from xxhash import xxh3_128_hexdigest

    from tests.archive.helpers import content

    with job(tmp_path) as one:
        one.series(one.study(), numbers=range(1, 2))
        one.receive(1)
        row = written(one, tmp_path / "m.json")[uid_of(1)]
        assert row["checksum_xxh3_128"] == xxh3_128_hexdigest(content(Path(row["path"])))


@pytest.mark.parametrize("basis", ["count", "unknown"])
def test_of_a_series_without_names_it_has_what_is_here(tmp_path: Path, basis: str) -> None:
    with job(tmp_path, 1) as one:
        one.series(one.study(), numbers=range(1, 5), basis=basis)
        one.receive(2, 3)
        rows = written(one, tmp_path / "m.json")
    assert [row["status"] for row in rows.values()] == ["here-before", "received", "received"]


def test_of_a_whole_study_the_series_are_those_of_the_archive(tmp_path: Path) -> None:
    with job(tmp_path) as one:
        one.series(one.study(), uid="", numbers=range(1, 5), basis="count")
        one.receive(1)
        one.receive(2, SeriesInstanceUID="1.2.3.5")
        rows = written(one, tmp_path / "m.csv")
    assert [row["series_instance_uid"] for row in rows.values()] == ["1.2.3.4", "1.2.3.5"]


def test_what_two_queries_expect_has_one_row(tmp_path: Path) -> None:
    with job(tmp_path) as one:
        one.series(one.study(), numbers=range(1, 3))
        one.query(AccessionNumber="1")
        one.series(one.study(), numbers=range(2, 4))
        assert list(written(one, tmp_path / "m.csv")) == [uid_of(1), uid_of(2), uid_of(3)]


def test_what_a_later_query_asks_for_is_not_unexpected(tmp_path: Path) -> None:
    with job(tmp_path) as one:
        one.receive(1, 2)
        for number in (1, 2):
            one.ledger.add_extra(one.transfer, "1.2.3", "1.2.3.4", uid_of(number))
        one.series(one.study(), numbers=range(1, 2))
        rows = written(one, tmp_path / "m.csv")
    assert [row["status"] for row in rows.values()] == ["received", "unexpected"]


def test_a_transfer_without_instances_gives_a_heading(tmp_path: Path) -> None:
    with job(tmp_path) as one:
        assert written(one, tmp_path / "m.json") == {}
        assert written(one, tmp_path / "m.csv") == {}
        head = json.loads((tmp_path / "m.json").read_text())
    assert (tmp_path / "m.csv").read_text() == ",".join(COLUMNS) + "\n"
    assert head["node"] == "hospital"
    assert head["id"] == one.transfer.id
    assert "XXH3-128" in head["checksum"]


def test_no_cell_is_a_formula_or_moves_a_cursor(tmp_path: Path) -> None:
    with job(tmp_path) as one:
        uid = "=cmd|'/c calc'!A1\x1b[2J"
        one.ledger.add_extra(one.transfer, "1.2.3", "+1.2\u202e", uid)
        write_manifest(one.archive, one.transfer, str(tmp_path / "m.csv"))
        write_manifest(one.archive, one.transfer, str(tmp_path / "m.json"))
    (row,) = read_csv(tmp_path / "m.csv")
    assert row["sop_instance_uid"] == "'=cmd|'/c calc'!A1\\x1b[2J"
    assert row["series_instance_uid"] == "'+1.2\\u202e"
    text = (tmp_path / "m.json").read_text(encoding="utf-8")
    assert "\u202e" not in text
    assert json.loads(text)["instances"][0]["sop_instance_uid"] == uid


@pytest.mark.parametrize("name", ["m.txt", "m", "m.csv.gz"])
def test_another_suffix_is_refused_before_anything_runs(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"\.csv or \.json"):
        check_path(str(tmp_path / name))


def test_a_folder_that_is_not_there_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        check_path(str(tmp_path / "none" / "m.csv"))
    with pytest.raises(ConfigError, match="it is a folder"):
        (tmp_path / "m.csv").mkdir()
        check_path(str(tmp_path / "m.csv"))


def test_a_path_that_is_good_leaves_nothing_and_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("before")
    check_path(str(tmp_path / "m.csv"))
    assert [path.name for path in tmp_path.iterdir()] == ["m.csv"]
    assert (tmp_path / "m.csv").read_text() == "before"


def test_a_file_that_cannot_be_finished_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "m.csv").write_text("before")
    with job(tmp_path) as one:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ArchiveError, match="No space left"):
            write_manifest(one.archive, one.transfer, str(folder / "m.csv"))
        monkeypatch.undo()
    assert [path.name for path in folder.iterdir()] == ["m.csv"]
    assert (folder / "m.csv").read_text() == "before"
