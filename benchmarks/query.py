"""C-MOVE from a stock Orthanc, and C-FIND on it."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.peers.orthanc import Orthanc
from tests.peers.process import HOST, Outcome, run

from benchmarks.contest import Bar, Contest, Entrant, Settings
from benchmarks.objects import LARGE, Instance, images, studies
from benchmarks.receive import check_arrival, running
from benchmarks.receivers import OURS, dcmtk_program, stock_orthanc
from benchmarks.sender import send
from pypx.client.query import RETURN_KEYS, Level
from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import Encoding

__all__ = ["find", "move", "orthanc_with"]

_TIMEOUT = 600.0


@contextmanager
def orthanc_with(settings: Settings, instances: Sequence[Instance]) -> Iterator[Orthanc]:
    """Run a stock Orthanc that has these."""
    with tempfile.TemporaryDirectory(dir=settings.folder) as text:
        orthanc = stock_orthanc(Path(text))
        orthanc.start()
        try:
            send(orthanc.port, instances, called_ae_title=orthanc.ae_title)
            yield orthanc
        finally:
            orthanc.stop()


@contextmanager
def move(settings: Settings) -> Iterator[Contest]:
    """C-MOVE of one series of 532 KB images from a stock Orthanc."""
    instances = list(images(min(250, settings.count(250, at_least=30)), LARGE))
    count = len(instances)
    series = DataSet.from_bytes(instances[0].data_set, Encoding.EXPLICIT_LITTLE)
    keys = (
        *("-k", "QueryRetrieveLevel=SERIES"),
        *("-k", f"StudyInstanceUID={series['StudyInstanceUID']}"),
        *("-k", f"SeriesInstanceUID={series['SeriesInstanceUID']}"),
    )
    with orthanc_with(settings, instances) as orthanc:
        del instances

        def measure(name: str) -> float:
            with running(settings, name) as (peer, folder):
                orthanc.add_modality(peer.ae_title, peer.port)
                flags = ("-S", "-aec", orthanc.ae_title, "-aem", peer.ae_title)
                started = time.perf_counter()
                outcome = run(
                    dcmtk_program("movescu"),
                    *(*flags, *keys, HOST, str(orthanc.port)),
                    nodelay=False,
                    timeout=_TIMEOUT,
                )
                seconds = time.perf_counter() - started
                if outcome.returncode:
                    raise RuntimeError(f"movescu: {outcome.output[:200]}")
                check_arrival(folder, count, LARGE)
            return count / seconds

        def entrant(name: str) -> Entrant:
            return Entrant(name, count, lambda: measure(name))

        yield Contest(
            "C-MOVE of a series of 532 KB images from a stock Orthanc to",
            "images/s",
            [entrant(OURS), entrant("storescp"), entrant("pynetdicom")],
            (Bar(OURS, 10, "storescp"),),
        )


@contextmanager
def find(settings: Settings) -> Iterator[Contest]:
    """C-FIND of all studies, the same keys, from the start of the program to its end."""
    instances = list(studies(settings.count(2000, at_least=200)))
    count = len(instances)
    keys = RETURN_KEYS[Level.STUDY]
    with orthanc_with(settings, instances) as orthanc:
        config = settings.folder / "find.toml"
        config.touch()

        def px() -> float:
            return _timed(
                count,
                '"StudyInstanceUID"',
                sys.executable,
                *("-m", "pypx", "find", f"{orthanc.ae_title}@{HOST}:{orthanc.port}"),
                *("--jsonl", "--config", str(config)),
            )

        def findscu() -> float:
            asked = [text for key in keys for text in ("-k", key)]
            return _timed(
                count,
                "(0020,000d)",
                dcmtk_program("findscu"),
                *("-S", "-aec", orthanc.ae_title, "-k", "QueryRetrieveLevel=STUDY", *asked),
                *(HOST, str(orthanc.port)),
            )

        yield Contest(
            f"find of {count} studies on an Orthanc",
            "matches/s",
            [Entrant("px find --jsonl", count, px), Entrant("findscu", count, findscu)],
        )


def _timed(count: int, sign: str, program: str, *arguments: str) -> float:
    started = time.perf_counter()
    outcome: Outcome = run(program, *arguments, nodelay=False, timeout=_TIMEOUT)
    seconds = time.perf_counter() - started
    found = outcome.output.count(sign)
    if outcome.returncode or found not in (count, count + 1):  # findscu shows the request too
        raise RuntimeError(f"{found} of {count} matches; {outcome.output[-200:]}")
    return count / seconds
