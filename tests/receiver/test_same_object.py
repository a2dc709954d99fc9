"""The same SOP Instance UID again: the same content, other content, one by one and all at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pypx.archive import Archive
from pypx.dicom import uids
from pypx.dimse.messages import CStoreRQ, CStoreRSP
from pypx.net.connection import Connection
from pypx.receiver.receiver import Receiver
from tests.archive.helpers import content, files_of, names, superseded
from tests.listening import associated
from tests.objects import CT_IMAGE, data_set

UID = "1.2.3.4.1"


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "archive", durability="none") as one:
        yield one


@pytest.fixture
def receiver(archive: Archive) -> Iterator[Receiver]:
    with Receiver(archive, port=0) as one:
        yield one


def store(connection: Connection, data: bytes, context: int = 1) -> int:
    connection.send(context, CStoreRQ(7, CT_IMAGE, UID), data)
    return answer(connection)


def answer(connection: Connection) -> int:
    response = connection.receive().message
    assert isinstance(response, CStoreRSP)
    return response.status


def contents(archive: Archive) -> list[bytes]:
    """Give every content that is kept, the current one first; all must be in order."""
    report = archive.check(checksums=True)
    assert report.ok and report.files == 1 and not report.copies
    assert names(archive.root / ".pypx/incoming") == []
    assert len(list(archive.instances())) == 1
    (path,) = files_of(archive.root)
    return [content(archive.root / path), *map(content, superseded(archive.root))]


SENT = data_set()
AGAIN = {
    "the same": (1, SENT),
    "other pixels": (1, data_set(PixelData=b"other pixels")),
    "one byte of padding": (1, data_set(StudyDescription="Thorax  ")),
    "another transfer syntax": (5, data_set(syntax=uids.IMPLICIT_VR_LITTLE_ENDIAN)),
    "another patient": (1, data_set(PatientID="0815", StudyInstanceUID="1.9")),
}


@pytest.mark.parametrize("again", AGAIN)
@pytest.mark.parametrize("where", ["same association", "another", "after a new start"])
def test_d13_d14_sent_again(archive: Archive, again: str, where: str) -> None:
    """The same bytes are one file; whatever else is another content, and both are kept."""
    context, data = AGAIN[again]
    with Receiver(archive, port=0) as receiver, associated(receiver.port) as first:
        assert store(first, SENT) == 0
        with ExitStack() as stack:
            connection = first
            if where == "after a new start":
                receiver = stack.enter_context(Receiver(archive, port=0))
            if where != "same association":
                connection = stack.enter_context(associated(receiver.port, "ANOTHER"))
            assert store(connection, data, context) == 0
            assert store(connection, data, context) == 0
    assert contents(archive) == ([SENT] if data == SENT else [data, SENT])


@pytest.mark.parametrize("number", [2, 50])
@pytest.mark.parametrize("kind", ["f1 the same", "f2 all different"])
def test_released_at_the_last_fragment(
    archive: Archive, receiver: Receiver, number: int, kind: str
) -> None:
    sent = [SENT] * number
    if kind == "f2 all different":
        sent = [data_set(PixelData=bytes([n, 255 - n]) * 2000) for n in range(number)]
    statuses: list[int] = []
    ready = threading.Barrier(number, timeout=30)

    def send(data: bytes) -> None:
        with associated(receiver.port) as connection:
            connection.send(1, CStoreRQ(7, CT_IMAGE, UID))
            connection.send_data_set(1, data[:-2], is_last=False)
            ready.wait()
            connection.send_data_set(1, data[-2:], is_last=True)
            statuses.append(answer(connection))

    threads = [threading.Thread(target=send, args=(data,)) for data in sent]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0] * number
    kept = contents(archive)
    assert sorted(kept) == sorted(set(sent)), "each once, and none mixed of two"
