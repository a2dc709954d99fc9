"""``pypx.listen``: one association, into a folder."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import pypx
from pypx.archive import Archive
from pypx.client.client import Client
from pypx.net.connection import Timeouts
from tests.inetd import SmallInetd
from tests.peers.process import free_port


def send(archive: Archive, port: int, keys: dict[str, str]) -> None:
    """Send what an archive has, as soon as somebody listens; a slow machine gets its time."""
    while True:
        try:
            with Client(f"PYPX@127.0.0.1:{port}", timeouts=Timeouts(90, 90, 90, 5)) as client:
                assert all(one.error is None for one in client.store_archived(archive, keys))
            return
        except pypx.errors.ConnectError:  # not yet
            threading.Event().wait(0.05)


def test_an_association_is_received_into_the_folder(samples: Archive, tmp_path: Path) -> None:
    port, data = free_port(), tmp_path / "data"
    keys = {"PatientID": "DEMO-002"}
    sender = threading.Thread(target=send, args=(samples, port, keys), daemon=True)
    sender.start()
    opt = {"datadir": str(data), "logdir": str(tmp_path / "log"), "port": port, "timeout": 100}
    found = pypx.listen(opt)
    sender.join(60)
    assert (found["status"], found["returncode"], len(found["data"])) == ("success", 0, 14)
    assert all(Path(one["path"]).is_file() for one in found["data"])
    assert all(Path(one["path"]).is_relative_to(data) for one in found["data"])
    with Archive(data, create=False) as archive:
        assert len(list(archive.instances())) == 14
    names = {path.parent.name for path in data.rglob("series.info")}
    assert {name.split("-")[0] for name in names} == {"T1.axial", "T2..fast..coronal"}
    assert not list(data.rglob("receiving.series"))
    assert len(list((tmp_path / "log" / "series_map").iterdir())) == 2


def test_the_connection_that_xinetd_hands_over(samples: Archive, tmp_path: Path) -> None:
    data, answer = tmp_path / "data", tmp_path / "answer.json"
    code = (
        "import json, pathlib, pypx; "
        f"found = pypx.listen({{'datadir': {str(data)!r}, 'timeout': 100}}); "
        f"pathlib.Path({str(answer)!r}).write_text(json.dumps(found))"
    )
    with SmallInetd(sys.executable, "-c", code, stderr=tmp_path / "stderr") as inetd:
        send(samples, inetd.port, {"PatientID": "DEMO-003"})
        assert inetd.ended() == [0], (tmp_path / "stderr").read_text()
    found = json.loads(answer.read_text())
    assert (found["status"], len(found["data"])) == ("success", 1)
    assert Path(found["data"][0]["path"]).is_relative_to(data)


def test_nobody_comes(tmp_path: Path) -> None:
    opt: dict[str, Any] = {"datadir": str(tmp_path / "data"), "port": 0, "timeout": 0.05}
    found = pypx.listen(opt)
    assert (found["status"], found["returncode"], found["data"]) == ("error", 1, [])


def test_what_makes_no_sense(tmp_path: Path) -> None:
    for wrong in ({"port": "x"}, {"timeout": "x"}, {"host": "0.0.0.0"}, {"allow": "x"}):
        found = pypx.listen({"datadir": str(tmp_path / "data"), "port": 0, **wrong})
        assert found["returncode"] == 2, wrong
