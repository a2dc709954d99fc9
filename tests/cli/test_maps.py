"""``--maps`` and ``.info`` files of what px gets, and of what is there already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pypx.archive import Archive
from pypx.pacs import Pacs
from tests.archive.helpers import store
from tests.cli.conftest import Px, write_config

CT = "AccessionNumber=A1001"


def maps(folder: Path) -> dict[str, Any]:
    """Give what all maps of a folder say."""
    found: dict[str, Any] = {}
    for path in folder.glob("*_map/*.json"):
        found |= json.loads(path.read_text())
    return found


def check(home: Path, log: Path) -> None:
    """See to it that each series has its file, and each map its folder."""
    root = home / "pypx"
    series = {path.parent for path in root.glob("[!.]*/**/*.dcm")}
    assert series and all((one / "series.info").is_file() for one in series)
    assert not list(root.glob("[!.]*/**/receiving.series"))
    folders = series | {one.parent for one in series} | {one.parents[1] for one in series}
    assert {Path(path) for path in maps(log).values()} == folders


@pytest.mark.parametrize("layout", ["pypx-1", "pypx-3"])
def test_of_what_px_get_brings(px: Px, pacs: Pacs, home: Path, layout: str) -> None:
    write_config(home, f'layout = "{layout}"\n')
    ran = px("get", pacs.address, "-k", CT, "--maps", home / "log")
    assert ran.code == 0, ran.err
    check(home, home / "log")


def test_of_what_px_retrieve_brings(px: Px, pacs: Pacs, port: int, home: Path) -> None:
    log = home / "log"
    write_config(home, f'layout = "pypx-1"\nmaps = "{log}"\n[listen]\nsettle = 0.2\n')
    ran = px("retrieve", pacs.address, "-k", CT, "--port", port)
    assert ran.code == 0, ran.err
    check(home, log)
    other = px("retrieve", pacs.address, "-k", "AccessionNumber=A1002", "--port", port)
    assert other.code == 0, other.err
    check(home, log)


def test_of_what_is_there_already(px: Px, home: Path) -> None:
    with Archive(home / "pypx", durability="none") as archive:
        for number in (1, 2, 3):
            store(archive, number, SeriesInstanceUID=f"1.2.3.{number}")
    ran = px("index", "rebuild", "--maps", home / "log", "-v")
    assert ran.code == 0 and "noted where 3 series are" in ran.err
    assert len(maps(home / "log")) == 5
    assert not list((home / "pypx").glob("[!.]*/**/*.info"))
    write_config(home, "info_files = true\n")
    assert px("index", "rebuild", "--maps", home / "log").code == 0
    check(home, home / "log")
    assert px("verify").code == 0


def test_of_what_is_imported(px: Px, home: Path, samples: Archive) -> None:
    write_config(home, 'layout = "pypx-3"\n')
    ran = px("index", "import", samples.root, "--maps", home / "log")
    assert ran.code == 0, ran.err
    check(home, home / "log")
    (home / "other").write_text("a file")
    ran = px("index", "import", samples.root, "--maps", home / "other")
    assert ran.code == 0 and "Not all files beside the images" in ran.err


def test_maps_that_cannot_be_written(px: Px, home: Path) -> None:
    with Archive(home / "pypx", durability="none") as archive:
        store(archive, 1)
    (home / "log").write_text("a file")
    ran = px("index", "rebuild", "--maps", home / "log")
    assert ran.code == 5 and "could not note where the series are" in ran.err


def test_info_files_are_true_or_false(px: Px, home: Path) -> None:
    path = write_config(home, 'info_files = "yes"\n')
    ran = px("ls")
    assert ran.code == 2 and f"{path} line 1" in ran.err
