"""A list of any length takes the same memory: what grows with it is on the disk."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from pypx.archive import Archive, index_sqlite, storage
from pypx.cli import lists
from pypx.cli.list_results import ListResults
from tests.archive.helpers import store
from tests.cli.conftest import Ran, Serve, result_rows

EARLY, LATE = 300, 700  # rows; by the first one, what keeps the last 256 of something is full
PER_ROW = 50  # bytes of one module; a row in a dictionary takes more, and an object or two


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    archive = Archive(tmp_path_factory.mktemp("many"), durability="none")
    for number in range(LATE):
        store(
            archive,
            number,
            PatientID=f"PAT{number:06}",
            StudyInstanceUID=f"1.2.{number}",
            SeriesInstanceUID=f"1.2.{number}.1",
            PixelData=b"\0\0",
        )
    return archive


def test_rows_leave_nothing_in_memory(
    retrieve: Callable[..., Ran],
    serve: Serve,
    many: Archive,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: dict[int, tracemalloc.Snapshot] = {}
    rows = [0]
    add = ListResults.add

    def watched(self: ListResults, *arguments: object) -> None:
        add(self, *arguments)  # type: ignore[arg-type]
        rows[0] += 1
        if rows[0] in (EARLY, LATE):
            gc.collect()
            taken[rows[0]] = tracemalloc.take_snapshot()

    monkeypatch.setattr(ListResults, "add", watched)
    monkeypatch.setattr(index_sqlite, "_CACHED_KEYS", 8)
    monkeypatch.setattr(storage, "_CACHED_OWNERS", 8)
    monkeypatch.setattr(lists, "_KNOWN", 8)
    cohort = tmp_path / "cohort.csv"
    cohort.write_text("PatientID\n" + "".join(f"PAT{n:06}\n" for n in range(LATE)))
    address = serve(source=many)
    tracemalloc.start()
    try:
        ran = retrieve(address, "--from", cohort)
    finally:
        tracemalloc.stop()
    assert ran.code == 0, ran.err
    assert len(result_rows(cohort)) == LATE
    # An association has buffers of a megabyte; how many are open at the moment is by chance.
    ours = [tracemalloc.Filter(True, "*/pypx/*"), tracemalloc.Filter(False, "*/net/channel.py")]
    early, late = (taken[number].filter_traces(ours) for number in (EARLY, LATE))
    grown = late.compare_to(early, "filename")
    rows_between = LATE - EARLY
    # Either alone may be a table that was full and became twice as large, or old values in a
    # cache that gave way to new ones.
    leaks = [
        str(one)
        for one in grown
        if one.size_diff > PER_ROW * rows_between and one.count_diff > rows_between / 2
    ]
    assert leaks == []
