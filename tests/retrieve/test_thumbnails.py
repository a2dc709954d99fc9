"""Small pictures of DICOM files: what is seen, and that no file breaks what shows it."""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from pypx.dicom import uids
from pypx.retrieve.report.thumbnail import png, thumbnail
from pypx.retrieve.report.thumbnails import Thumbnails
from tests.objects import write_file


def pixels_of(data: bytes) -> tuple[int, int, int, bytes]:
    """Read a PNG as simple as ours: columns, rows, bytes a pixel, and the pixels."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, packed, head = 8, b"", b""
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + 8 + length]
        (crc,) = struct.unpack(">I", data[place + 8 + length : place + 12 + length])
        assert crc == zlib.crc32(kind + body)
        head = body if kind == b"IHDR" else head
        packed += body if kind == b"IDAT" else b""
        place += 12 + length
    columns, rows, depth, colour = struct.unpack(">IIBB", head[:10])
    assert depth == 8
    size = {0: 1, 2: 3}[colour]
    lines = zlib.decompress(packed)
    line = columns * size + 1
    assert len(lines) == rows * line
    assert not any(lines[row * line] for row in range(rows))  # no filter
    return (
        columns,
        rows,
        size,
        b"".join(lines[row * line + 1 : (row + 1) * line] for row in range(rows)),
    )


def draw(folder: Path, syntax: str = uids.EXPLICIT_VR_LITTLE_ENDIAN, **values: Any) -> Any:
    image = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 2,
        "Columns": 4,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PixelData": bytes(range(0, 80, 10)),
    } | values
    return pixels_of(thumbnail(str(write_file(folder, syntax=syntax, **image))))


@pytest.mark.parametrize(
    ("values", "shades"),
    [
        ({"WindowCenter": "35", "WindowWidth": "70"}, [0, 36, 73, 109, 146, 182, 219, 255]),
        (
            {
                "WindowCenter": "35",
                "WindowWidth": "70",
                "PhotometricInterpretation": "MONOCHROME1",
            },
            [255, 219, 182, 146, 109, 73, 36, 0],
        ),
        (
            {
                "WindowCenter": "70",
                "WindowWidth": "140",
                "RescaleSlope": "2",
                "RescaleIntercept": "0",
            },
            [0, 36, 73, 109, 146, 182, 219, 255],
        ),
        ({"WindowCenter": "45\\9", "WindowWidth": "10\\9"}, [0, 0, 0, 0, 0, 255, 255, 255]),
    ],
)
def test_the_window_is_applied(tmp_path: Path, values: dict[str, Any], shades: list[int]) -> None:
    pytest.importorskip("numpy")
    assert draw(tmp_path, **values) == (4, 2, 1, bytes(shades))


@pytest.mark.parametrize(
    "values", [{}, {"WindowCenter": "5000", "WindowWidth": "1"}, {"WindowWidth": "0"}]
)
def test_without_a_window_that_shows_anything_all_is_shown(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    pytest.importorskip("numpy")
    *_, shades = draw(tmp_path, **values)
    assert (shades[0], shades[-1]) == (0, 255)
    assert list(shades) == sorted(shades)


def test_colours(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    rgb = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    colour = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "Rows": 1, "Columns": 4}
    found = draw(tmp_path, PhotometricInterpretation="RGB", PixelData=rgb, **colour)
    assert found == (4, 1, 3, rgb)
    table = {
        f"{name}PaletteColorLookupTable{part}": value
        for name, first in (("Red", 0), ("Green", 100), ("Blue", 200))
        for part, value in (
            ("Descriptor", [4, 0, 16]),
            ("Data", b"".join(struct.pack("<H", 256 * (first + n)) for n in range(4))),
        )
    }
    found = draw(
        tmp_path,
        PhotometricInterpretation="PALETTE COLOR",
        PixelData=bytes([0, 1, 2, 3]),
        Rows=1,
        **table,
    )
    assert found[:3] == (4, 1, 3)
    assert list(found[3][:3]) == [0, 100, 199]
    assert list(found[3][-3:]) == [3, 103, 202]


def test_a_large_image_becomes_small_and_of_many_frames_it_is_the_first(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    first = b"".join(bytes([200 if column < 512 else 50]) for column in range(1024)) * 256
    columns, rows, size, shades = draw(
        tmp_path,
        Rows=256,
        Columns=1024,
        NumberOfFrames="2",
        PixelData=first + bytes(len(first)),
        WindowCenter="128",
        WindowWidth="256",
    )
    assert (columns, rows, size) == (96, 24, 1)
    assert set(shades) == {199, 50}


def test_our_png_is_one() -> None:
    numpy = pytest.importorskip("numpy")
    grey = numpy.arange(6, dtype="uint8").reshape(2, 3)
    assert pixels_of(png(grey)) == (3, 2, 1, bytes(range(6)))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"Rows": 60000, "Columns": 60000}, "The image is too large: 60000 × 60000 pixels."),
        ({"PixelData": bytes(3)}, "It cannot be decoded: "),
    ],
)
def test_an_image_that_cannot_be_shown_says_why(
    tmp_path: Path, values: dict[str, Any], reason: str
) -> None:
    pytest.importorskip("numpy")
    image = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 64,
        "Columns": 64,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "PixelRepresentation": 0,
    }
    with Thumbnails() as drawing:
        drawn = drawing.draw(str(write_file(tmp_path, **(image | values))))
        assert drawn.png is None
        assert drawn.reason.startswith(reason)
        assert drawing.draw(str(tmp_path / "none.dcm")).reason.startswith("It cannot be decoded")


def test_a_syntax_without_a_decoder_says_what_would_help(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    mpeg = "1.2.840.10008.1.2.4.102"
    with pytest.raises(NotImplementedError):
        get_decoder(UID(mpeg))
    with Thumbnails() as drawing:
        drawn = drawing.draw(str(write_file(tmp_path, syntax=mpeg, Rows=4, Columns=4)))
    assert drawn.png is None
    assert "is not decoded here" in drawn.reason


def stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path, body: str) -> None:
    """Let the process that draws be another one."""
    script = folder / "stand_in.py"
    script.write_text(
        "import os, sys, time\nfrom multiprocessing.connection import Connection\n"
        f"pipe = Connection(int(sys.argv[1]))\n{body}\n"
    )
    monkeypatch.setattr("pypx.retrieve.report.thumbnails._COMMAND", (str(script),))
    monkeypatch.setattr("pypx.retrieve.report.thumbnails._START", 1.0)


def test_a_decoder_that_hangs_or_crashes_breaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = (
        "while True:\n"
        "    path = pipe.recv_bytes()\n"
        "    if path == b'hang': time.sleep(60)\n"
        "    if path == b'crash': os.abort()\n"
        "    pipe.send_bytes(b'P' + path)"
    )
    stand_in(monkeypatch, tmp_path, body)
    with Thumbnails(patience=0.1) as drawing:
        assert drawing.draw("good") == (b"good", "")
        began = time.monotonic()
        assert drawing.draw("hang") == (None, "It takes longer than 0.1 s to decode.")
        assert time.monotonic() - began < 5
        assert drawing.draw("good") == (b"good", "")
        assert drawing.draw("crash") == (None, "The process that decodes it ended too soon.")
        assert drawing.draw("good") == (b"good", "")


def test_all_pictures_together_have_a_limit(tmp_path: Path) -> None:
    with Thumbnails(budget=0.0) as drawing:
        assert drawing.draw("x") == (None, "There was no time left to draw it.")


def test_a_process_that_cannot_be_started_breaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pypx.retrieve.report.thumbnails.sys.executable", str(tmp_path / "none"))
    with Thumbnails() as drawing:
        assert drawing.draw("x") == (None, "The process that decodes it ended too soon.")
