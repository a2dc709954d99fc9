"""What became of the rows of a list, in the file beside it: it grows, and is gone on with."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from pypx.cli.list_results import ListResults, RowResult, RowStatus
from pypx.cli.lists import ListRow
from pypx.cli.output import OutputError
from pypx.errors import ConfigError


def row(number: int, **keys: str) -> ListRow:
    return ListRow(number, keys)


def statuses(results: ListResults) -> dict[int, str]:
    """Give what the file says of each row; the last line counts."""
    with results.file.open(encoding="utf-8", newline="") as file:
        return {int(line["row"]): line["status"] for line in csv.DictReader(file)}


COLUMNS = ("PatientID", "StudyDate")
HEADER = "row,PatientID,StudyDate,status,studies,series,expected,received,missing,reason\n"
COMPLETE = RowResult(RowStatus.COMPLETE, 1, 2, 30, 30, 0)
FIRST = row(2, PatientID="0012", StudyDate="20240131")
SECOND = row(3, PatientID="=1+1")


def test_results_are_lines_as_they_come(tmp_path: Path) -> None:
    path = str(tmp_path / "cohort.csv")
    with ListResults(path, COLUMNS) as results:
        assert results.file == tmp_path / "cohort.csv.result.csv"
        assert results.file.read_text() == HEADER
        results.add(SECOND, RowResult(RowStatus.FAILED, reason='He said: "no", \x1b[31m\n'))
        lines = results.file.read_text().splitlines(keepends=True)
        assert lines[1:] == [
            '3,\'=1+1,,failed,,,,,,"He said: ""no"", \\x1b[31m\\x0a"\n',
        ]
        results.add(FIRST, COMPLETE)
        assert results.file.read_text().endswith("\n2,0012,20240131,complete,1,2,30,30,0,\n")
        assert set(statuses(results)) == {2, 3}
    assert results.file.stat().st_mode & 0o777 == 0o600


def test_results_go_on_where_they_ended(tmp_path: Path) -> None:
    path = str(tmp_path / "cohort.csv")
    with ListResults(path, COLUMNS) as results:
        results.add(SECOND, RowResult(RowStatus.NO_MATCH))
    with ListResults(path, COLUMNS) as results:
        assert statuses(results) == {3: "no-match"}
        results.add(FIRST, COMPLETE)
        results.add(SECOND, COMPLETE)
    with ListResults(path, COLUMNS) as results:
        assert statuses(results) == {2: "complete", 3: "complete"}
        assert results.file.read_text().count("row,") == 1


def test_a_line_that_would_say_the_same_is_not_written(tmp_path: Path) -> None:
    path = str(tmp_path / "cohort.csv")
    other = row(2, PatientID="another")
    for _ in range(2):
        with ListResults(path, COLUMNS) as results:
            for one in (FIRST, SECOND):
                results.add(one, COMPLETE)
    assert len(results.file.read_text().splitlines()) == 3
    with ListResults(path, COLUMNS) as results:
        results.add(other, COMPLETE)  # the list has changed
        results.add(FIRST, COMPLETE)
        results.add(SECOND, RowResult(RowStatus.INCOMPLETE, 1, 2, 30, 29, 1))
    numbers = [line.split(",")[0] for line in results.file.read_text().splitlines()[1:]]
    assert numbers == ["2", "3", "2", "2", "3"]


def test_a_result_that_was_cut_at_any_byte(tmp_path: Path) -> None:
    path = str(tmp_path / "cohort.csv")
    with ListResults(path, COLUMNS) as results:
        results.add(FIRST, COMPLETE)
        results.add(row(3, PatientID="Änne"), COMPLETE)
        whole = results.file.read_bytes()
        file = results.file
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with ListResults(path, COLUMNS) as results:
            lines = whole[:length].count(b"\n")
            assert set(statuses(results)) == set([2, 3][: max(0, lines - 1)]), length
            for one in (FIRST, row(3, PatientID="Änne")):
                results.add(one, COMPLETE)
        assert file.read_bytes() == whole


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HEADER.replace("StudyDate", "AccessionNumber"), "columns are others"),
        ("my own notes", "columns are others"),
        (HEADER + "2,0012,20240131,finished,1,2,30,30,0,\n", "a line that is no result"),
        (HEADER + "two,0012,20240131,complete,1,2,30,30,0,\n", "a line that is no result"),
        (HEADER + "-1,0012,,complete,1,2,30,30,0,\n", "a line that is no result"),
        (HEADER + f"{10**30},0012,,complete,1,2,30,30,0,\n", "a line that is no result"),
        (HEADER + "\n", "a line that is no result"),
        (HEADER + '2,"0012\n', "a line that is no result"),
        (HEADER.encode() + b"2,M\xfc,,complete,1,2,30,30,0,\n", "a line that is no result"),
    ],
)
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, content: Any, said: str) -> None:
    file = tmp_path / "cohort.csv.result.csv"
    data = content if isinstance(content, bytes) else content.encode()
    file.write_bytes(data)
    with pytest.raises(ConfigError, match=said) as caught:
        ListResults(str(tmp_path / "cohort.csv"), COLUMNS)
    assert "Rename cohort.csv.result.csv" in caught.value.hint
    assert file.read_bytes() == data


def test_two_cannot_write_the_same_results(tmp_path: Path) -> None:
    path = str(tmp_path / "cohort.csv")
    with ListResults(path, COLUMNS), pytest.raises(ConfigError, match="Another process writes"):
        ListResults(path, COLUMNS)
    ListResults(path, COLUMNS).close()


def test_results_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory"):
        ListResults(str(tmp_path / "missing" / "cohort.csv"), COLUMNS)
    with pytest.raises(ConfigError, match="standard input"):
        ListResults("-", COLUMNS)


def test_a_line_for_which_there_is_no_room_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    with ListResults(str(tmp_path / "cohort.csv"), COLUMNS) as results:
        results.add(FIRST, COMPLETE)
        whole = results.file.read_bytes()
        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:5]))
        with pytest.raises(OutputError, match="there was room for 5 of"):
            results.add(SECOND, COMPLETE)
        monkeypatch.undo()
        assert results.file.read_bytes() == whole
        assert set(statuses(results)) == {2}
