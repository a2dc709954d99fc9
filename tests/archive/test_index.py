"""The SQLite index: commits, what happens when it is not available, and its schema."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pypx.archive import index_sqlite, schema
from pypx.archive.attributes import Level, clean
from pypx.archive.connections import is_damaged
from pypx.archive.index import Entry
from pypx.archive.index_sqlite import SqliteIndex
from pypx.errors import IndexUnavailableError
from tests.archive.test_matching import entry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def index(path: Path, notes: list[str]) -> Iterator[SqliteIndex]:
    index = SqliteIndex(path, longest_wait=0.02, on_trouble=notes.append)
    yield index
    index.close()


@pytest.fixture(autouse=True)
def _no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_sqlite, "_RETRY_AFTER", 3600.0)


def uids(path: Path) -> list[str]:
    """Read what is committed, with a connection that knows nothing of ours."""
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT sop_instance_uid FROM instance ORDER BY 1").fetchall()
    connection.close()
    return [row[0] for row in rows]


def test_a_row_is_committed_when_add_returns(index: SqliteIndex, path: Path) -> None:
    assert index.add([entry("1")]) is True
    assert uids(path) == ["1.2.1.1.1"]
    assert index.get("1.2.1.1.1") == entry("1")
    assert index.get("1.2.9") is None
    assert index.waiting == 0


def test_what_was_given_comes_back(index: SqliteIndex) -> None:
    given = Entry(
        path="a/b/c.dcm",
        values=entry("1").values,
        transfer_syntax_uid="1.2.840.10008.1.2.4.90",
        bytes=2**40,
        data_set_offset=380,
        checksum="f" * 32,
        received_at="2024-01-31T10:11:12.123456Z",
        calling_ae_title="MODALITY",
        host="10.1.2.3",
    )
    index.add([given])
    assert index.get("1.2.1.1.1") == given
    assert list(index.entries({})) == [given]
    assert index.in_folder("a/b") == {"c.dcm": given}
    assert list(index.folders()) == ["a/b"]
    assert index.owner_of("a/b") == "1.2.1.1" and index.owner_of("a") is None


def test_a_file_in_the_root(index: SqliteIndex) -> None:
    given = Entry(**{**entry_facts(entry("1")), "path": "x.dcm"})
    index.add([given])
    assert index.get("1.2.1.1.1") == given and index.in_folder("") == {"x.dcm": given}


def entry_facts(given: Entry) -> dict[str, object]:
    return {name: getattr(given, name) for name in Entry.__slots__}


def changed(given: Entry, **changes: object) -> Entry:
    return Entry(**{**entry_facts(given), **changes})  # type: ignore[arg-type]


def test_the_same_uid_again_replaces_the_row(index: SqliteIndex, path: Path) -> None:
    index.add([entry("1")])
    again = changed(entry("1"), path="p/other/1.dcm", checksum="1" * 32, received_at="2020")
    index.add([again])
    assert uids(path) == ["1.2.1.1.1"] and index.get("1.2.1.1.1") == again


def test_when_the_newest_wins_an_older_one_does_not_replace_it(index: SqliteIndex) -> None:
    newer, older = entry("1"), changed(entry("1"), path="x/y.dcm", received_at="2020")
    index.add([newer])
    index.add([older], newest_wins=True)
    assert index.get("1.2.1.1.1") == newer
    index.add([changed(newer, received_at="2021", bytes=7)], newest_wins=True)
    found = index.get("1.2.1.1.1")
    assert found and found.bytes == 7, "the same file is read again, whatever its time"


def test_a_rebuilt_row_keeps_the_host_of_the_same_content(index: SqliteIndex) -> None:
    index.add([changed(entry("1"), host="10.1.2.3")])
    index.add([entry("1")], newest_wins=True)
    found = index.get("1.2.1.1.1")
    assert found and found.host == "10.1.2.3"
    index.add([changed(entry("1"), checksum="9" * 32)], newest_wins=True)
    found = index.get("1.2.1.1.1")
    assert found and found.host == ""


def test_what_is_gone_is_forgotten_with_its_series_and_study(index: SqliteIndex) -> None:
    index.add([entry("1"), entry("2"), entry("2", "2")])
    index.forget(["p/1/1/1.dcm", "p/2/2/1.dcm", "nowhere/x.dcm"])
    assert [row["StudyInstanceUID"] for row in index.find(Level.SERIES, {})] == ["1.2.2"]
    assert list(index.folders()) == ["p/2/1"]
    index.add([entry("1")])
    assert index.get("1.2.1.1.1") == entry("1"), "keys that were remembered are not used again"


def test_another_process_removes_a_study_whose_key_is_remembered(
    index: SqliteIndex, path: Path
) -> None:
    index.add([entry("1")])
    other = SqliteIndex(path)
    other.forget(["p/1/1/1.dcm"])
    other.close()
    assert index.add([entry("1", number="2")]) is True
    assert index.get("1.2.1.1.2") == entry("1", number="2")


def test_threads_share_commits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = SqliteIndex(path)
    sizes = []
    real = SqliteIndex._write
    first_is_in = threading.Event()
    all_wait = threading.Event()

    def write(self: SqliteIndex, batch: list[object]) -> None:
        if not first_is_in.is_set():
            first_is_in.set()
            assert all_wait.wait(10)
        sizes.append(len(batch))
        real(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(SqliteIndex, "_write", write)
    results: list[bool] = []

    def work(number: int) -> None:
        results.append(index.add([entry("1", number=str(number))]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    threads[0].start()
    assert first_is_in.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(index._queue) < 7:
        pass
    all_wait.set()
    for thread in threads:
        thread.join()
    assert results == [True] * 8 and sizes == [1, 7]
    assert len(uids(path)) == 8
    index.close()


class TestNotAvailable:
    def lock(self, path: Path) -> sqlite3.Connection:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        return other

    def test_rows_wait_while_another_program_holds_the_index(
        self, index: SqliteIndex, path: Path, notes: list[str]
    ) -> None:
        other = self.lock(path)
        assert index.add([entry("1")]) is False
        assert index.add([entry("2")]) is False
        assert index.waiting == 2 and len(notes) == 1 and "later" in notes[0]
        assert index.get("1.2.1.1.1") == entry("1"), "what waits is known"
        assert uids(path) == []
        other.close()
        assert index.add([entry("3")]) is True
        assert uids(path) == ["1.2.1.1.1", "1.2.2.1.1", "1.2.3.1.1"]
        assert index.waiting == 0 and len(notes) == 2 and "again" in notes[1]

    def test_a_timer_commits_what_waits(self, index: SqliteIndex, path: Path) -> None:
        other = self.lock(path)
        index.add([entry("1")])
        assert index._timer is not None
        index._retry()
        assert index.waiting == 1 and index._timer is not None
        other.close()
        index._retry()
        assert index.waiting == 0 and uids(path) == ["1.2.1.1.1"] and index._timer is None

    def test_closing_commits_what_waits_or_says_that_it_could_not(
        self, index: SqliteIndex, path: Path
    ) -> None:
        other = self.lock(path)
        index.add([entry("1")])
        assert index.close() is False
        other.close()

        index = SqliteIndex(path, longest_wait=0.02)
        other = self.lock(path)
        index.add([entry("1")])
        other.close()
        assert index.close() is True and uids(path) == ["1.2.1.1.1"]

    def test_there_is_an_end_to_waiting(
        self, index: SqliteIndex, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(index_sqlite, "_MOST_WAITING", 1)
        other = self.lock(path)
        assert index.add([entry("1")]) is False
        with pytest.raises(IndexUnavailableError) as caught:
            index.add([entry("2")])
        assert "Another program" in caught.value.hint and caught.value.dimse_status == 0xA700
        other.close()

    def test_the_file_is_removed(self, index: SqliteIndex, path: Path, notes: list[str]) -> None:
        index.add([entry("1")])
        for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            name.unlink()
        assert index.add([entry("2")]) is False
        assert "removed" in notes[0] and not path.exists(), "an empty one would hide the loss"
        index.reset()
        assert index.add([entry("3")]) is True
        assert uids(path) == ["1.2.2.1.1", "1.2.3.1.1"]

    def test_another_process_puts_a_new_one_in_its_place(
        self, index: SqliteIndex, path: Path, tmp_path: Path
    ) -> None:
        index.add([entry("1")])
        (tmp_path / "aside").mkdir()
        for name in ("", "-wal", "-shm"):
            Path(f"{path}{name}").rename(tmp_path / f"aside/index.sqlite{name}")
        SqliteIndex(path).close()
        assert index.add([entry("1", number="2")]) is True
        assert uids(path) == ["1.2.1.1.2"] and index.get("1.2.1.1.1") is None

    def test_a_reader_sees_the_new_one(self, path: Path, tmp_path: Path) -> None:
        SqliteIndex(path).close()
        reader = SqliteIndex(path, read_only=True)
        assert reader.get("1.2.1.1.1") is None
        path.rename(tmp_path / "aside")
        assert reader.get("1.2.1.1.1") is None
        other = SqliteIndex(path)
        other.add([entry("1")])
        assert reader.get("1.2.1.1.1") == entry("1")
        other.close()
        reader.close()

    def test_the_disk_is_full(self, index: SqliteIndex, monkeypatch: pytest.MonkeyPatch) -> None:
        def put(*args: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        with monkeypatch.context() as patch:
            patch.setattr("pypx.archive.rows.put", put)
            assert index.add([entry("1")]) is False
        assert index.add([]) is True and index.waiting == 0
        assert index.get("1.2.1.1.1") == entry("1")

    def test_a_mistake_of_ours_reaches_the_caller_and_holds_up_nobody(
        self, index: SqliteIndex
    ) -> None:
        with pytest.raises(UnicodeEncodeError):
            index.add([changed(entry("1"), host="\ud800")])
        assert index.add([entry("2")]) is True

    def test_damage_is_seen(self, index: SqliteIndex, path: Path) -> None:
        index.add([entry("1")])
        index.close()
        with path.open("r+b") as file:
            file.write(os.urandom(100))
        with pytest.raises(sqlite3.DatabaseError) as caught:
            SqliteIndex(path)
        assert is_damaged(caught.value)

    def test_damage_while_it_is_open(self, index: SqliteIndex, path: Path) -> None:
        index.add([entry(str(study)) for study in range(1, 200)])
        index._connections._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]
        assert index.defect(deep=True) == ""
        with path.open("r+b") as file:
            for page in range(1, path.stat().st_size // 4096):
                file.seek(page * 4096)
                file.write(os.urandom(200))
        assert index.defect(deep=True)
        with pytest.raises(IndexUnavailableError) as caught:
            list(index.find(Level.STUDY, {}))
        assert "rebuild" in caught.value.hint
        index._connections._writer.execute("PRAGMA shrink_memory")  # type: ignore[union-attr]  # no page is known
        assert index.get("1.2.1.1.1") is None and index.owner_of("p/1/1") is None


class TestSchema:
    def set_version(self, path: Path, version: int) -> None:
        connection = sqlite3.connect(path)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()
        connection.close()

    def test_a_newer_one_is_refused_and_not_touched(self, path: Path) -> None:
        SqliteIndex(path).close()
        self.set_version(path, schema.VERSION + 7)
        for read_only in (False, True):
            with pytest.raises(IndexUnavailableError) as caught:
                SqliteIndex(path, read_only=read_only)
            assert f"schema {schema.VERSION + 7}" in caught.value.message
            assert "Update pypx" in caught.value.hint

    def test_an_older_one_is_migrated_unless_read_only(self, path: Path) -> None:
        sqlite3.connect(path).execute("VACUUM").connection.close()
        with pytest.raises(IndexUnavailableError, match="schema 0"):
            SqliteIndex(path, read_only=True)
        SqliteIndex(path).close()
        SqliteIndex(path, read_only=True).close()

    def test_an_aborted_migration_leaves_what_was(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        index = SqliteIndex(path)
        index.add([entry("1")])
        index.close()
        broken = (*schema._MIGRATIONS, ("CREATE TABLE extra (x)", "INSERT INTO nowhere VALUES (1)"))
        with monkeypatch.context() as patch:
            patch.setattr(schema, "_MIGRATIONS", broken)
            patch.setattr(schema, "VERSION", len(broken))
            with pytest.raises(IndexUnavailableError, match="nowhere"):
                SqliteIndex(path)
        index = SqliteIndex(path)
        assert index.get("1.2.1.1.1") == entry("1")
        with pytest.raises(sqlite3.OperationalError):
            index._connections._reader.execute("SELECT * FROM extra")  # type: ignore[union-attr]
        index.close()

    def test_a_later_migration_keeps_the_rows(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        index = SqliteIndex(path)
        index.add([entry("1")])
        index.close()
        longer = (*schema._MIGRATIONS, ("ALTER TABLE study ADD COLUMN note TEXT",))
        monkeypatch.setattr(schema, "_MIGRATIONS", longer)
        monkeypatch.setattr(schema, "VERSION", len(longer))
        index = SqliteIndex(path)
        assert index.get("1.2.1.1.1") == entry("1")
        index.close()

    def test_somebody_elses_database_is_no_index(self, path: Path) -> None:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE study (x)")
        connection.commit()
        connection.close()
        with pytest.raises(sqlite3.DatabaseError, match="already exists") as caught:
            SqliteIndex(path)
        assert is_damaged(caught.value)

    def test_a_table_that_is_gone(self, path: Path) -> None:
        SqliteIndex(path).close()
        connection = sqlite3.connect(path)
        connection.execute("DROP TABLE folder")
        connection.commit()
        connection.close()
        with pytest.raises(sqlite3.DatabaseError, match="no such table") as caught:
            SqliteIndex(path)
        assert is_damaged(caught.value)


def test_a_file_that_grows_while_two_threads_look_was_not_cut(
    index: SqliteIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the slower one saw is smaller than what the other one did."""
    real, looks = os.stat, 0

    def look(path: Any, *rest: Any, **more: Any) -> os.stat_result:
        nonlocal looks
        found = real(path, *rest, **more)
        if str(path) == str(index.path):
            looks += 1
            if looks == 1:
                with index.path.open("ab") as file:
                    file.write(bytes(4096))
                with index.reading():
                    pass
        return found

    index.add([entry("1")])
    monkeypatch.setattr(os, "stat", look)
    index.forget([])
    assert looks == 2


def test_the_modes_do_not_depend_on_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        index = SqliteIndex(path)
    finally:
        os.umask(before)
    index.add([entry("1")])
    for name in ("", "-wal", "-shm"):
        assert stat.S_IMODE(Path(f"{path}{name}").stat().st_mode) == 0o640
    index.close()


@pytest.mark.parametrize("durable", [True, False])
def test_durability_is_what_sqlite_is_told(path: Path, durable: bool) -> None:
    index = SqliteIndex(path, durable=durable)
    assert index._connections._writer is not None
    (synchronous,) = index._connections._writer.execute("PRAGMA synchronous").fetchone()
    (mode,) = index._connections._writer.execute("PRAGMA journal_mode").fetchone()
    assert (synchronous, mode) == (1 if durable else 0, "wal")
    index.close()


def test_reading_only_changes_nothing(path: Path) -> None:
    index = SqliteIndex(path)
    index.add([entry("1")])
    index.close()
    before = path.read_bytes()
    reader = SqliteIndex(path, read_only=True)
    assert len(list(reader.find(Level.STUDY, {}))) == 1
    with pytest.raises(sqlite3.OperationalError):
        reader._connections._reader.execute("DELETE FROM instance")  # type: ignore[union-attr]
    reader.close()
    assert path.read_bytes() == before


def test_an_open_query_holds_up_no_writer(index: SqliteIndex) -> None:
    index.add([entry("1", number=str(number)) for number in range(500)])
    rows = index.find(Level.IMAGE, {})
    next(rows)
    assert index.add([entry("2")]) is True
    assert len(list(rows)) == 499


WRITER = """
import sys
from pathlib import Path
from pypx.archive.index_sqlite import SqliteIndex
from tests.archive.test_matching import entry
index = SqliteIndex(Path(sys.argv[1]), durable=False)
for number in range(100):
    assert index.add([entry(sys.argv[2], number=str(number))])
index.close()
"""


def test_two_processes_write_at_once(path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), study])
        for study in ("7", "8", "7")
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert len(uids(path)) == 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" a ", "a"),
        ("a\0b\0", "ab"),
        ("x" * 5000, "x" * 1024),
        ("ü\0" * 2000, "ü" * 512),
        ("a\ud800b", "a?b"),
        ("", ""),
    ],
)
def test_text_is_cleaned_and_clipped(text: str, expected: str) -> None:
    assert clean(text) == expected
