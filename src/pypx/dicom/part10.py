"""The head of a DICOM file: preamble and file meta information (PS3.10 section 7.1).

In: facts about an object. Out: the bytes that stand before its data set, and back. The
data set itself, and the file, do not belong here.
"""

from __future__ import annotations

from functools import lru_cache

from pypx.dicom.elements import Element, encode_elements
from pypx.dicom.encoding import (
    UNDEFINED_LENGTH,
    VR_OF_CODE,
    Encoding,
    encode_header,
    read_header,
)
from pypx.dicom.uids import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from pypx.dicom.values import encode_value, text_of
from pypx.errors import DataSetError, NotDicomError
from pypx.values import frozen

__all__ = ["FileMeta", "decode_preamble_and_meta", "encode_preamble_and_meta", "is_meta"]

_PREAMBLE = bytes(128)
_PREFIX = b"DICM"
_START = len(_PREAMBLE) + len(_PREFIX)
_GROUP_LENGTH = 0x00020000
_VERSION = 0x00020001
_META_GROUP = 0x0002
_ENCODING = Encoding.EXPLICIT_LITTLE

#: Which element each attribute of FileMeta is, in the order of the tags.
_ELEMENTS = (
    (0x00020002, "UI", "sop_class_uid"),
    (0x00020003, "UI", "sop_instance_uid"),
    (0x00020010, "UI", "transfer_syntax_uid"),
    (0x00020012, "UI", "implementation_class_uid"),
    (0x00020013, "SH", "implementation_version_name"),
    (0x00020016, "AE", "source_ae_title"),
)
_ATTRIBUTES = {tag: attribute for tag, _, attribute in _ELEMENTS}
_CACHED_ELEMENTS = 256


@frozen
class FileMeta:
    """What the file meta information says about an object (PS3.10 Table 7.1-1).

    Attributes:
        sop_class_uid: Media Storage SOP Class UID (0002,0002).
        sop_instance_uid: Media Storage SOP Instance UID (0002,0003).
        transfer_syntax_uid: How the data set behind it is encoded (0002,0010).
        implementation_class_uid: Who wrote the file (0002,0012).
        implementation_version_name: The version of that, at most 16 characters (0002,0013).
        source_ae_title: Who sent the object (0002,0016); left out if it is empty.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    source_ae_title: str = ""


def encode_preamble_and_meta(meta: FileMeta) -> bytes:
    """Write 128 zero bytes, ``DICM`` and group 0002 in explicit VR little endian.

    Where ``meta`` does not say which implementation writes the file, it is this one.

    Raises:
        DataSetError: A value is not ASCII.
    """
    parts = [_VERSION_1]
    for tag, vr, attribute in _ELEMENTS:
        text = getattr(meta, attribute)
        if not meta.implementation_class_uid:
            text = _OWN.get(attribute, text)
        if text:
            parts.append(_encode(tag, vr, text))
    length = sum(map(len, parts)).to_bytes(4, "little")
    return b"".join((_BEFORE_LENGTH, length, *parts))


@lru_cache(_CACHED_ELEMENTS)
def _encode(tag: int, vr: str, text: str) -> bytes:
    """Write one element; all but the SOP Instance UID are the same in many objects."""
    return encode_elements([Element(tag, vr, encode_value(vr, (text,), _ENCODING))], _ENCODING)


_BEFORE_LENGTH = _PREAMBLE + _PREFIX + encode_header(_GROUP_LENGTH, "UL", 4, _ENCODING)
_VERSION_1 = encode_elements([Element(_VERSION, "OB", b"\0\1")], _ENCODING)
_OWN = {
    "implementation_class_uid": IMPLEMENTATION_CLASS_UID,
    "implementation_version_name": IMPLEMENTATION_VERSION_NAME,
}


def decode_preamble_and_meta(data: bytes | memoryview) -> tuple[FileMeta, int]:
    """Read the head of a file.

    Args:
        data: The file, or as much of its beginning as is there; 64 KiB are plenty.

    Returns:
        The meta information, and the offset at which the data set begins. What the file
        leaves out is empty, but for the transfer syntax: the data set shows it.

    Raises:
        NotDicomError: The file has no preamble.
        DataSetError: Its meta information is truncated.
    """
    if bytes(data[len(_PREAMBLE) : _START]) != _PREFIX:
        raise NotDicomError("This is no DICOM file: it has no DICM behind a preamble.")
    found = dict.fromkeys(_ATTRIBUTES.values(), "")
    pos, end = _START, len(data)
    while is_meta(data, pos):
        tag, vr, length, start = read_header(data, pos, end, _ENCODING)
        pos = start + length
        if length == UNDEFINED_LENGTH or pos > end:
            raise DataSetError("The file meta information is truncated.")
        if tag in _ATTRIBUTES:
            found[_ATTRIBUTES[tag]] = text_of(vr, data[start:pos], ())
    if not found["transfer_syntax_uid"]:
        is_explicit = bytes(data[pos + 4 : pos + 6]) in VR_OF_CODE
        found["transfer_syntax_uid"] = (
            EXPLICIT_VR_LITTLE_ENDIAN if is_explicit else IMPLICIT_VR_LITTLE_ENDIAN
        )
    return FileMeta(**found), pos


def is_meta(data: bytes | memoryview, pos: int = 0) -> bool:
    """Say whether there is an element of group 0002, whatever the group length claims."""
    head = bytes(data[pos : pos + 6])
    return head[:2] == b"\2\0" and (len(head) < 6 or head[4:] in VR_OF_CODE)
