"""px-listen as upstream's xinetd file calls it, under a real xinetd and a small inetd."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from pypx.archive import Archive
from tests.inetd import SmallInetd, px_listen
from tests.listening import eventually
from tests.objects import write_file
from tests.peers.dcmtk import echoscu, storescu
from tests.peers.process import Peer, free_port

# As in upstream's file, but for the user, the port and the folders.
XINETD = """
service dicomlistener
{{
    disable     = no
    socket_type = stream
    protocol    = tcp
    wait        = no
    user        = {user}
    server      = {server}
    server_args = -e /usr/bin/storescp -t {folder}/tmp -l {folder}/log -d {folder}/data
    type        = UNLISTED
    port        = {port}
    bind        = 127.0.0.1
    instances   = 20
}}
"""


class Xinetd(Peer):
    """xinetd with one service."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        server = px_listen(folder, folder)
        config = folder / "xinetd.conf"
        config.write_text(
            XINETD.format(user=getpass.getuser(), server=server, folder=folder, port=port)
        )
        super().__init__(
            *("xinetd", "-dontfork", "-f", config, "-pidfile", folder / "xinetd.pid"),
            ae_title="PYPX",
            port=port,
            log=folder / "xinetd.log",
        )


class Running(NamedTuple):
    address: str
    folder: Path


@pytest.fixture(params=["inetd", "xinetd"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    if request.param == "xinetd":
        peer = Xinetd(tmp_path)
        peer.start()
        try:
            yield Running(peer.address, tmp_path)
        finally:
            peer.stop()
        return
    program = px_listen(tmp_path, tmp_path)
    flags = ("-e", "/usr/bin/storescp", "-t", tmp_path / "tmp")
    with SmallInetd(
        program, *flags, "-l", tmp_path / "log", "-d", tmp_path / "data", "--debug"
    ) as inetd:
        yield Running(f"PYPX@127.0.0.1:{inetd.port}", tmp_path)


def files(folder: Path, count: int, start: int = 1) -> list[Path]:
    folder.mkdir(exist_ok=True)
    return [
        write_file(folder, number, SeriesDescription="T1 [ax]", SeriesDate="20240201")
        for number in range(start, start + count)
    ]


def test_it_answers_an_echo(running: Running) -> None:
    done = echoscu(running.address, "-v")
    assert done.returncode == 0, done.output
    log = running.folder / "log" / "listen.run.log"
    eventually(lambda: "ECHOSCU@127.0.0.1" in log.read_text())


def test_it_writes_what_upstream_would(running: Running, tmp_path: Path) -> None:
    done = storescu(files(tmp_path / "in", 3), running.address)
    assert done.returncode == 0, done.output
    series = (
        running.folder / "data" / "4711-Doe.Jane" / "Thorax-20240131-1.2.3/T1..ax.-20240201-1.2.3.4"
    )
    eventually((series / "series.info").exists)
    names = {path.name for path in series.iterdir()}
    assert names == {*(f"0000{n}-1.2.3.4.{n}.dcm" for n in (1, 2, 3)), "series.info"}
    assert (series.parent / "study.info").exists() and (series.parents[1] / "patient.info").exists()
    map_file = running.folder / "log" / "series_map" / "1.2.3.4.json"
    assert json.loads(map_file.read_text()) == {"1.2.3.4": str(series)}
    assert not (running.folder / "tmp").exists()
    with Archive(running.folder / "data", layout="pypx-1", read_only=True) as archive:
        report = archive.check(checksums=True)
    assert report.ok and report.files == 3


def test_many_at_once_share_one_archive(running: Running, tmp_path: Path) -> None:
    parts = [files(tmp_path / f"in{n}", 4, 4 * n) for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda part: storescu(part, running.address), parts))
    assert [one.returncode for one in done] == [0] * 4, done
    data = running.folder / "data"
    eventually(lambda: list(data.glob("*/*/*/series.info")))
    eventually(lambda: not list(data.glob("*/*/*/receiving.series")))
    with Archive(data, layout="pypx-1", read_only=True) as archive:
        report = archive.check(checksums=True)
    assert report.ok and report.files == 16
