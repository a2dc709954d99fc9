"""What needs no network: the header scan, and the index made again."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom

from benchmarks.contest import Bar, Contest, Entrant, Settings
from benchmarks.objects import CT_IMAGE, SMALL, SYNTAX, images
from benchmarks.receivers import OURS
from pypx.archive import Archive
from pypx.dicom.dictionary import keyword_of
from pypx.dicom.header import INDEX_TAGS, HeaderScan
from pypx.dicom.part10 import FileMeta, encode_preamble_and_meta

__all__ = ["header_scan", "rebuild"]


@contextmanager
def header_scan(settings: Settings) -> Iterator[Contest]:
    """Text of the index tags of one image in memory, of 39 KB."""
    instance = next(images(1, SMALL))
    meta = FileMeta(CT_IMAGE, instance.sop_instance_uid, SYNTAX)
    file = encode_preamble_and_meta(meta) + instance.data_set
    tags = sorted(INDEX_TAGS)
    keywords = [keyword for tag in tags if (keyword := keyword_of(tag))]

    def ours() -> list[str | None]:
        scan = HeaderScan(SYNTAX)
        scan.feed(instance.data_set)
        header = scan.finish()
        return [header.get(keyword) for keyword in keywords]

    def theirs() -> list[str]:
        found = pydicom.dcmread(io.BytesIO(file), specific_tags=tags, stop_before_pixels=True)
        return [str(found.get(keyword)) for keyword in keywords]

    count = settings.count(3000, at_least=300)

    def timed(function: Callable[[], object], count: int) -> float:
        started = time.process_time()  # neither waits for anything but other programs
        for _ in range(count):
            function()
        return count / (time.process_time() - started)

    yield Contest(
        "header scan of an image in memory, 39 KB",
        "scans/s",
        [
            Entrant(OURS, count, lambda: timed(ours, count)),
            Entrant("pydicom specific_tags", count // 5, lambda: timed(theirs, count // 5)),
        ],
        (Bar(OURS, 8, "pydicom specific_tags"),),
        [
            "CPU time; both give the text of each tag",
            "pydicom stops before the pixels, pypx walks to the end",
        ],
    )


@contextmanager
def rebuild(settings: Settings) -> Iterator[Contest]:
    """The index made again from the tree, its files in the page cache."""
    count = settings.count(4000, at_least=500)
    with tempfile.TemporaryDirectory(dir=settings.folder) as text:
        with Archive(Path(text), durability="none") as archive:
            for instance in images(count, SMALL):
                scan = HeaderScan(SYNTAX, wanted=archive.header_tags)
                scan.feed(instance.data_set)
                with archive.begin(FileMeta(CT_IMAGE, instance.sop_instance_uid, SYNTAX)) as new:
                    new.write(instance.data_set)
                    new.commit(scan.finish())

        def measure() -> float:
            with Archive(Path(text)) as archive:
                started = time.perf_counter()
                report = archive.rebuild()
                seconds = time.perf_counter() - started
            if report.files != count:
                raise RuntimeError(f"{report.files} of {count} files are in the index")
            return count / seconds

        yield Contest(
            "index made again, 39 KB files, warm",
            "files/s",
            [Entrant(OURS, count, measure)],
            (Bar(OURS, 3000),),
        )
