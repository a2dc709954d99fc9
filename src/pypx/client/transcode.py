"""Instances in an uncompressed transfer syntax, for peers that take no other.

In: an instance. Out: the same one with its data set in memory, converted. Compressed pixels are
decoded by pydicom and pylibjpeg, the only place that needs them (the extra ``transcode``); all
other elements keep their values. The SOP Instance UID stays: what the pixels show is the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pypx.client.store import Instance
from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import Element, encoding_of
from pypx.dicom.inflate import Inflater
from pypx.dicom.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    uid_name,
)
from pypx.errors import ArchiveError, ConfigError, DataSetError
from pypx.values import replace

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["UNCOMPRESSED", "check_installed", "transcode"]

UNCOMPRESSED = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
"""What an instance can be converted to, the better one first."""

_NATIVE = (*UNCOMPRESSED, EXPLICIT_VR_BIG_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)
_NEEDED = ("numpy", "pylibjpeg", "libjpeg", "openjpeg", "rle")  # as they are imported
_LONGEST = 1 << 32  # bytes, of a deflated data set
_LONGEST_REASON = 200  # characters of what a decoder says
_PIXEL_DATA = 0x7FE00010
_OFFSET_TABLES = (0x7FE00001, 0x7FE00002)
_DESCRIBING = ("NumberOfFrames", "PhotometricInterpretation", "PlanarConfiguration")

# What pydicom and the decoders raise on data that they cannot decode.
_UNDECODABLE = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def check_installed() -> None:
    """See that compressed pixels can be decoded.

    Raises:
        ConfigError: The extra is not installed.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"Transcoding needs software that is not installed: {', '.join(missing)}.",
            hint="Install it: pip install 'pypx[transcode]'",
        )


def transcode(instance: Instance, transfer_syntax_uid: str) -> Instance:
    """Convert an instance, in memory.

    Args:
        instance: In any transfer syntax.
        transfer_syntax_uid: One of :data:`UNCOMPRESSED`.

    Raises:
        DataSetError: It cannot be converted.
        ArchiveError: The file cannot be read.
    """
    data = b"".join(bytes(piece) for piece, _ in instance.pieces())
    source = instance.transfer_syntax_uid
    if source == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        data = b"".join(Inflater(_LONGEST).feed(data))
    try:
        found = DataSet.from_bytes(data, encoding_of(source))
        if source not in _NATIVE and _PIXEL_DATA in found:
            found = _decompressed(found, instance)
        converted = found.to_bytes(encoding_of(transfer_syntax_uid))
    except DataSetError as error:
        raise DataSetError(f"{instance.path} cannot be transcoded: {error.message}") from None
    return replace(instance, transfer_syntax_uid=transfer_syntax_uid, data_set=converted)


def _decompressed(found: DataSet, instance: Instance) -> DataSet:
    """Put decoded pixels in the place of the compressed ones."""
    if _has_nested_pixels(found.elements):
        raise DataSetError("it has compressed pixels within a sequence, as of an icon.")
    decoded = _decode(instance)
    described = {keyword: decoded[keyword].value for keyword in _DESCRIBING if keyword in decoded}
    pixels = decoded["PixelData"]
    changed = {element.tag: element for element in DataSet.from_keywords(described).elements}
    changed[_PIXEL_DATA] = Element(_PIXEL_DATA, str(pixels.VR), pixels.value)
    kept = (
        element
        for element in found.elements
        if element.tag not in changed and element.tag not in _OFFSET_TABLES
    )
    return DataSet([*kept, *changed.values()], found.encoding)


def _has_nested_pixels(elements: Iterable[Element]) -> bool:
    """Whether an item has encapsulated pixel data, which comes without a value."""
    for element in elements:
        for item in element.items or ():
            if any(one.tag == _PIXEL_DATA and not one.value for one in item):
                return True
            if _has_nested_pixels(item):
                return True
    return False


def _decode(instance: Instance) -> Dataset:
    from pydicom import dcmread

    try:
        decoded: Any = dcmread(instance.path)
        # As RGB: YBR with less colour than light has no uncompressed form that all can show.
        decoded.decompress(generate_instance_uid=False)
    except OSError as error:
        reason = error.strerror or error
        raise ArchiveError(f"{instance.path} cannot be read: {reason}.") from None
    except _UNDECODABLE as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON].rstrip(".")
        syntax = uid_name(instance.transfer_syntax_uid)
        raise DataSetError(f"its pixels in {syntax} cannot be decoded: {reason}.") from None
    return decoded
