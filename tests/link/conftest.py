"""A wire between two networks of their own, gone after each test whatever happened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.corpus import CorpusFile
from tests.link.namespaces import Wire
from tests.objects import CT_IMAGE
from tests.peers.dcmtk import DcmQrScp
from tests.peers.retrieving import PxRetrieve, write_cohort

STUDIES, IMAGES, PIXELS = 2, 15, 8000


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire() as one:
        yield one


class Cohort:
    """Files, and their data sets by SOP Instance UID.

    Attributes:
        images_of_one_series: What asks px find for these.
        of_one_series: Their SOP Instance UIDs.
    """

    images_of_one_series = ("-k", "StudyInstanceUID=1.2.3.0", "-k", "SeriesInstanceUID=1.2.3.0.1")
    images_of_one_series += ("--level", "image")
    of_one_series = frozenset(f"1.2.3.4.{number}" for number in range(IMAGES))

    @staticmethod
    def study_of(uid: str) -> str:
        """Give the study of a SOP Instance UID."""
        return f"1.2.3.{int(uid.rpartition('.')[2]) // IMAGES}"

    def __init__(self, folder: Path) -> None:
        self.held = write_cohort(folder, STUDIES, IMAGES, PIXELS)
        self.folder = folder / "cohort"
        self.files = [
            CorpusFile(path, "here", CT_IMAGE, transfer_syntax_uid="1.2.840.10008.1.2.1")
            for path in sorted(self.folder.iterdir())
        ]


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return Cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture
def px(tmp_path: Path, wire: Wire) -> PxRetrieve:
    """Run px at the near end; ``px(…, command="find")``."""
    return PxRetrieve(tmp_path, "settle = 0.5\n", place=wire.near)


@contextmanager
def dcmqrscp(folder: Path, files: list[CorpusFile], wire: Wire, port: int) -> Iterator[DcmQrScp]:
    """Have a dcmqrscp run at the far end, which knows PYPX at a port of the near one."""
    home = folder / "pacs"
    home.mkdir()
    host = f"px = (PYPX, {wire.near.host}, {port})"
    peer = DcmQrScp(home, files, hosts=[host], place=wire.far)
    assert not peer.load(files)
    peer.start()
    try:
        yield peer
    finally:
        peer.kill()


@pytest.fixture
def pacs(tmp_path: Path, wire: Wire, cohort: Cohort, px: PxRetrieve) -> Iterator[DcmQrScp]:
    """A dcmqrscp with the cohort."""
    with dcmqrscp(tmp_path, cohort.files, wire, px.port) as peer:
        yield peer
