"""What a peer put into its objects, and what a user types, does nothing but stand there (H)."""

from __future__ import annotations

import csv
import io
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pypx.address import Address
from pypx.archive import Archive
from pypx.pacs import Pacs
from tests.archive.helpers import store
from tests.cli.conftest import Px, Ran, command_line

ESCAPE = "\x1b]0;owned\x07\x1b[2J"
REORDERED = "\u202egnp.exe\u202c"
FORMULAS = ("=HYPERLINK(1)", "+1+1", "-1-1", "@SUM(1)")
MARKUP = "<script>alert(1)</script>"
EVIL = {
    "PatientName": f"../../{ESCAPE}^{REORDERED}",
    "PatientID": FORMULAS[0],
    "StudyDescription": MARKUP,
    "AccessionNumber": FORMULAS[1],
    "StudyID": FORMULAS[2],
    "SeriesDescription": FORMULAS[3],
    "ReferringPhysicianName": "x" * 10_000,
}


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Give an archive with two images whose every text is hostile."""
    with Archive(tmp_path_factory.mktemp("evil"), durability="none") as archive:
        for number in (1, 2):
            values = {"SpecificCharacterSet": "ISO_IR 192", **EVIL}
            store(archive, number, **values)
        yield archive


@pytest.fixture
def node(evil: Archive, listener_port: int) -> Iterator[Address]:
    destinations = {"PYPX": Address("PYPX", "127.0.0.1", listener_port)}
    with Pacs(evil, destinations=destinations) as pacs:
        yield pacs.address


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Give the programs that this process starts."""
    found: list[Any] = []

    class Recorded(subprocess.Popen[bytes]):
        def __init__(self, args: Any, *rest: Any, **options: Any) -> None:
            found.append((args, options.get("shell", False)))
            super().__init__(args, *rest, **options)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    return found


def harmless(text: str, *, colours: bool = False) -> str:
    """Give the text if nothing in it moves a cursor, reorders or hides.

    Args:
        text: Of a stream.
        colours: Whether our own escape sequences may be in it.
    """
    if colours:
        text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", text)
    found = re.findall("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)
    assert not found, repr(text)
    return text


WORDS = ["'; touch {0}; '", '"; touch {0}; "', "$(touch {0})", "`touch {0}`", "x | touch {0}", "\n"]


@pytest.mark.parametrize("word", WORDS)
def test_h1_no_value_reaches_a_shell(
    px: Px, retrieve: Callable[..., Ran], pacs: Any, home: Path, started: list[Any], word: str
) -> None:
    """What is typed is a value of DICOM, the name of a node, or refused."""
    made = home / "pwned"
    word = word.format(made)
    key = f"PatientID={word}"
    for line in (
        ("find", pacs.address, "-k", key),
        ("find", word),
        ("find", pacs.address, "--aet", word),
        ("move", pacs.address, "--to", word, "-k", "PatientID=DEMO-001"),
        ("move", pacs.address, "--to", "PYPX", "-k", key),
        ("get", pacs.address, "-k", key),
        ("echo", word, f"A@{word}", f"{word}@h:1"),
        ("ls", "-k", key),
        ("store", pacs.address, word),
        ("nodes", "add", word, "A@h:1"),
        ("status", word),
    ):
        assert px(*line, "--timeout", "5").code in (0, 1, 2, 3, 4), line
    assert retrieve(pacs.address, "-k", key).code == 1
    assert not made.exists()
    assert started == []


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
@pytest.mark.parametrize("level", ["patient", "study", "series", "image"])
def test_h5_a_table_obeys_nobody(px: Px, node: Address, level: str, terminal: bool) -> None:
    ran = px("find", node, "--level", level, "--model", "patient", "-k", "PatientName",
             "-k", "PatientID", "-k", "StudyDescription", "-k", "ReferringPhysicianName",
             terminal=terminal)  # fmt: skip
    assert ran.code == 0, ran.err
    harmless(ran.out, colours=terminal)
    harmless(ran.err, colours=terminal)
    assert ran.out.count("\n") >= 2


def test_h5_cells_are_no_formulas(px: Px, node: Address) -> None:
    ran = px("find", node, "--csv", "-k", "PatientName", "-k", "StudyID", "-k", "AccessionNumber")
    rows = list(csv.reader(io.StringIO(harmless(ran.out))))
    assert len(rows) == 2
    assert {"'" + formula for formula in FORMULAS[:3]} <= set(rows[1])
    assert not [one for one in rows[1] if one.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_h5_what_is_kept_and_reported_is_harmless(
    px: Px, retrieve: Callable[..., Ran], node: Address, home: Path, tmp_path: Path
) -> None:
    """Retrieve it, and look at everything that is written about it."""
    page, manifest = tmp_path / "report.html", tmp_path / "manifest.csv"
    ran = retrieve(node, "-k", "PatientID=*", "--report", page, "--manifest", manifest)
    assert ran.code == 0, ran.err
    harmless(ran.out)
    harmless(ran.err)
    root = home / "pypx"
    files = sorted(root.glob("[!.]*/**/*.dcm"))
    assert len(files) == 2
    assert not (home.parent / "owned").exists()
    for path in files:
        assert path.resolve().is_relative_to(root.resolve())
        harmless(str(path))
        assert all(len(part.encode()) <= 255 for part in path.parts)
    assert "<script" not in page.read_text(encoding="utf-8")
    harmless(page.read_text(encoding="utf-8"))
    for row in csv.reader(io.StringIO(harmless(manifest.read_text(encoding="utf-8")))):
        assert not [one for one in row if one.startswith(("=", "+", "-", "@"))]
    for line in (["ls"], ["ls", "--level", "series"], ["ls", "--csv"], ["status"], ["verify"]):
        shown = px(*line)
        assert shown.code == 0, shown.err
        harmless(shown.out)
        harmless(shown.err)


def test_h10_no_patient_in_what_others_see(process: Px, node: Address, home: Path) -> None:
    """A patient ID of a list is in no line of stderr."""
    path = home / "cohort.csv"
    path.write_text("PatientID\nSECRET-4711\n", encoding="utf-8")
    ran = process("find", node, "--from", path, "-v")
    assert "SECRET-4711" not in ran.err


def test_h11_who_reads_the_first_line_only(node: Address, home: Path) -> None:
    """``| head -1`` of a command that goes on writing: no traceback, and its end."""
    for line in (["find", node, "--level", "image", "--jsonl"], ["ls", "--jsonl"], ["nodes"]):
        running = subprocess.Popen(
            command_line(*line), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = running.stdout, running.stderr
        assert out is not None
        assert err is not None
        out.close()
        said = err.read().decode()
        err.close()
        assert running.wait(30) in (0, 1)
        assert "Traceback" not in said
        assert "Exception ignored" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(
    "line", [["find", "--json"], ["find", "--csv"], ["find", "--tree"]], ids=" ".join
)
def test_h11_a_result_that_cannot_be_written(px: Px, node: Address, line: list[str]) -> None:
    ran = px(line[0], node, *line[1:], "-o", "/dev/full")
    assert ran.code == 1
    assert ran.err.count("\n") == 1
    assert "No space left on device" in ran.err
