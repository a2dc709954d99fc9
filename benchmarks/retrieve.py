"""A cohort from a stock Orthanc: px retrieve, px move, and movescu into storescp."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.peers.orthanc import Orthanc
from tests.peers.process import HOST, free_port, run

from benchmarks.contest import Bar, Contest, Entrant, Settings
from benchmarks.objects import SMALL, STUDY_DATE, cohort
from benchmarks.query import orthanc_with
from benchmarks.receive import check_arrival, running
from benchmarks.receivers import dcmtk_program
from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import Encoding

__all__ = ["retrieve"]

_RETRIEVE, _MOVE, _MOVESCU = "px retrieve", "px move", "movescu into storescp"
_TIMEOUT = 600.0


@contextmanager
def retrieve(settings: Settings) -> Iterator[Contest]:
    """39 KB images of 42 studies, from the start of the program to its end.

    px retrieve asks for every UID before and compares after; movescu is told the studies.
    """
    instances = list(cohort(settings.count(1000, at_least=100), SMALL))
    count = len(instances)
    few = max(1, count // 96)  # studies; movescu takes its time
    studies = list(
        dict.fromkeys(
            str(DataSet.from_bytes(one.data_set, Encoding.EXPLICIT_LITTLE)["StudyInstanceUID"])
            for one in instances[::24]
        )
    )
    with orthanc_with(settings, instances) as orthanc:
        del instances
        yield Contest(
            f"39 KB images of {len(studies)} studies from a stock Orthanc by",
            "images/s",
            [
                Entrant(_RETRIEVE, count, lambda: _px(settings, orthanc, "retrieve", count)),
                Entrant(_MOVE, count, lambda: _px(settings, orthanc, "move", count)),
                Entrant(_MOVESCU, few * 24, lambda: _movescu(settings, orthanc, studies[:few])),
            ],
            (Bar(_RETRIEVE, 1, _MOVESCU), Bar(_RETRIEVE, 0.75, _MOVE)),
            [
                "px retrieve with its usual two associations",
                "px retrieve asks for each UID and compares; the others take the word of the PACS",
                "movescu once a study, and it is told the studies; storescp syncs nothing",
                "a stock Orthanc leaves Nagle on, for which storescp waits 40 ms an image",
            ],
        )


def _px(settings: Settings, orthanc: Orthanc, command: str, count: int) -> float:
    with tempfile.TemporaryDirectory(dir=settings.folder) as text:
        folder, port = Path(text), free_port()
        config = folder / "config.toml"
        config.touch()
        orthanc.add_modality("PYPX", port)
        started = time.perf_counter()
        outcome = run(
            sys.executable,
            *("-m", "pypx", command, f"{orthanc.ae_title}@{HOST}:{orthanc.port}"),
            *("-k", f"StudyDate={STUDY_DATE}", "--port", str(port)),
            *("--archive", str(folder / "archive"), "--config", str(config)),
            nodelay=False,
            timeout=_TIMEOUT,
        )
        seconds = time.perf_counter() - started
        if outcome.returncode:
            raise RuntimeError(f"px {command}: {outcome.output[-200:]}")
        check_arrival(folder / "archive", count, SMALL)
    return count / seconds


def _movescu(settings: Settings, orthanc: Orthanc, studies: list[str]) -> float:
    count = len(studies) * 24
    with running(settings, "storescp") as (peer, folder):
        orthanc.add_modality(peer.ae_title, peer.port)
        started = time.perf_counter()
        for study in studies:
            outcome = run(
                dcmtk_program("movescu"),
                *("-S", "-aec", orthanc.ae_title, "-aem", peer.ae_title),
                *("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"),
                *(HOST, str(orthanc.port)),
                nodelay=False,
                timeout=_TIMEOUT,
            )
            if outcome.returncode:
                raise RuntimeError(f"movescu: {outcome.output[:200]}")
        seconds = time.perf_counter() - started
        check_arrival(folder, count, SMALL)
    return count / seconds
