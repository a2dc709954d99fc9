"""Small pictures of DICOM files, in a process: ``python -m pypx.retrieve.report.thumbnail``.

In: a pipe with paths of files. Out: for each a PNG, or a sentence that says why there is none,
over the same pipe. It is the only place where pixels are decoded, which a defective file may make
last for ever, take all memory, or end the process; ``thumbnails.py`` deals with that.
"""

from __future__ import annotations

import os
import resource
import signal
import struct
import sys
import zlib
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, TypeAlias

from pypx.errors import DataSetError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset

    Pixels: TypeAlias = NDArray[Any]

__all__ = ["SIDE", "main", "png", "thumbnail"]

SIDE = 96
"""Pixels of the longer side."""

_LARGEST_FRAME = 256 << 20  # bytes when decoded
_MOST_MEMORY = 4 << 30  # bytes of address space
_LEAST_CONTRAST = 8  # of 255; a window that shows less shows nothing
_IMAGE, _REASON = b"P", b"N"
_LONGEST_REASON = 200


def main() -> int:
    """Answer paths until the pipe is closed; the argument is its file descriptor."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    with suppress(OSError):
        os.nice(10)  # images are arriving meanwhile
    connection = Connection(int(sys.argv[1]))
    with suppress(EOFError, OSError):  # nobody asks any more
        while True:
            path = os.fsdecode(connection.recv_bytes())
            connection.send_bytes(_answer(path))
    return 0


def _answer(path: str) -> bytes:
    try:
        return _IMAGE + thumbnail(path)
    except DataSetError as error:
        reason = error.message
    except Exception as error:  # noqa: BLE001
        # The edge of this process: what a decoder raises for a broken image can be anything.
        first = next(iter(str(error).splitlines()), "") or type(error).__name__
        reason = f"It cannot be decoded: {first.rstrip(':.')}."
    return _REASON + reason[:_LONGEST_REASON].encode("utf-8", "backslashreplace")


def thumbnail(path: str) -> bytes:
    """Draw the first frame of a file.

    The values go through the modality LUT, and the first window or VOI LUT (PS3.3 C.11.1, C.11.2);
    where there is none, or one that shows nothing, all but the darkest and brightest are shown.

    Args:
        path: A Part 10 file.

    Returns:
        A PNG of at most :data:`SIDE` pixels a side.

    Raises:
        DataSetError: It has no image, or one that cannot be shown here.
        Exception: Whatever pydicom and its decoders raise.
    """
    from pydicom import dcmread
    from pydicom.pixels import apply_color_lut, pixel_array

    header = dcmread(path, stop_before_pixels=True)
    _check(header)
    pixels = _thinned(pixel_array(path, index=0))
    bits = header.get("BitsStored")
    if pixels.ndim == 2 and header.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, header)
        bits = 8 if pixels.max() < 256 else 16  # some have 8-bit values in entries of 16
    if pixels.ndim == 2:
        pixels = _windowed(pixels, _with_frame(header))
    elif bits != 8:
        pixels = _spread(pixels, 0, 2**bits - 1)
    return png(_shrunk(pixels))


def _check(header: Dataset) -> None:
    if not header.get("Rows") or not header.get("Columns"):
        raise DataSetError("It has no image.")
    depth = (header.get("BitsAllocated") or 8) // 8 or 1
    if header.Rows * header.Columns * (header.get("SamplesPerPixel") or 1) * depth > _LARGEST_FRAME:
        raise DataSetError(f"The image is too large: {header.Columns} × {header.Rows} pixels.")
    syntax = header.file_meta.TransferSyntaxUID
    if syntax.is_compressed and not _has_decoder(syntax):
        raise DataSetError(f"{syntax.name} is not decoded here: pylibjpeg can do it.")


def _has_decoder(syntax: Any) -> bool:
    from pydicom.pixels import get_decoder

    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _thinned(pixels: Pixels) -> Pixels:
    """Leave rows and columns out of what is much larger than what is shown."""
    step = max(1, max(pixels.shape[:2]) // (4 * SIDE))
    return pixels[::step, ::step]


def _with_frame(header: Dataset) -> Dataset:
    """Bring the window and rescaling of the first frame to where other images have them.

    An enhanced object has them in functional groups (PS3.3 C.7.6.16).
    """
    for sequence in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in list(header.get(sequence) or ())[:1]:
            for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                for item in list(group.get(name) or ())[:1]:
                    header.update(item)
    return header


def _windowed(pixels: Pixels, header: Dataset) -> Pixels:
    """Give shades from 0 to 255 of what a radiologist would see first."""
    import numpy as np
    from pydicom.pixels import apply_modality_lut, apply_voi

    padding = header.get("PixelPaddingValue")
    inside = pixels != padding if padding is not None else np.ones(pixels.shape, bool)
    values = apply_modality_lut(pixels, header).astype("float64")
    shades: Pixels | None = None
    if header.get("VOILUTSequence"):
        looked_up = apply_voi(values.astype("int32"), header)
        shades = _spread(looked_up, 0, 2 ** header.VOILUTSequence[0].LUTDescriptor[2] - 1)
    elif window := _window(header):
        center, width = window
        shades = _spread(values, center - width / 2, center + width / 2)
    if shades is None or int(shades.max()) - int(shades.min()) < _LEAST_CONTRAST:
        low, high = np.percentile(values[inside] if inside.any() else values, (0.5, 99.5))
        shades = _spread(values, float(low), float(high))
    if header.PhotometricInterpretation == "MONOCHROME1":
        shades = 255 - shades
    return shades


def _window(header: Dataset) -> tuple[float, float] | None:
    """Give center and width of the first window, if there is one."""
    found = []
    for keyword in ("WindowCenter", "WindowWidth"):
        value = header.get(keyword)
        if value is None or value == "":
            return None
        element = header[keyword]
        found.append(float(element.value[0] if element.VM > 1 else element.value))
    return (found[0], found[1]) if found[1] > 0 else None


def _spread(pixels: Pixels, low: float, high: float) -> Pixels:
    import numpy as np

    share = (pixels.astype("float64") - low) / ((high - low) or 1)
    return (np.nan_to_num(share).clip(0, 1) * 255).round().astype("uint8")


def _shrunk(pixels: Pixels) -> Pixels:
    """Bring the longer side to ``SIDE`` by the mean of each patch; what is smaller stays."""
    import numpy as np

    rows, columns = pixels.shape[:2]
    scale = SIDE / max(rows, columns)
    if scale >= 1:
        return pixels
    sums = pixels.astype("float64")
    for axis, length in enumerate((rows, columns)):
        number = max(1, round(length * scale))
        starts = np.arange(number) * length // number
        sums = np.add.reduceat(sums, starts, axis=axis)
        shape = [1] * sums.ndim
        shape[axis] = number
        sums /= np.diff(starts, append=length).reshape(shape)
    return sums.round().astype("uint8")


def png(pixels: Pixels) -> bytes:
    """Write 8-bit grey (rows, columns) or RGB (rows, columns, 3) pixels as a PNG."""
    rows, columns = pixels.shape[:2]
    colour = 2 if pixels.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", columns, rows, 8, colour, 0, 0, 0)
    lines = b"".join(b"\0" + pixels[row].tobytes() for row in range(rows))
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


if __name__ == "__main__":
    sys.exit(main())
