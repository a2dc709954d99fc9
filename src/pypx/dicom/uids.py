"""UIDs: the ones the protocol needs by name, what a UID may look like, and new ones.

In: UIDs as text. Out: names and answers. UIDs are ``str`` everywhere in pypx. The names
(PS3.6 Annex A) are read from a table on first use, so that importing this costs nothing.
"""

from __future__ import annotations

from functools import cache

from pypx.version import __version__

__all__ = [
    "APPLICATION_CONTEXT",
    "DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN",
    "EXPLICIT_VR_BIG_ENDIAN",
    "EXPLICIT_VR_LITTLE_ENDIAN",
    "IMPLEMENTATION_CLASS_UID",
    "IMPLEMENTATION_VERSION_NAME",
    "IMPLICIT_VR_LITTLE_ENDIAN",
    "PATIENT_ROOT_FIND",
    "PATIENT_ROOT_GET",
    "PATIENT_ROOT_MOVE",
    "STORAGE_COMMITMENT",
    "STORAGE_COMMITMENT_INSTANCE",
    "STUDY_ROOT_FIND",
    "STUDY_ROOT_GET",
    "STUDY_ROOT_MOVE",
    "VERIFICATION",
    "is_storage",
    "is_valid_uid",
    "may_be_storage",
    "new_uid",
    "storage_sop_classes",
    "transfer_syntaxes",
    "uid_name",
]

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
#: The one SOP instance of this class, which has no data (PS3.4 §J.3.5).
STORAGE_COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"

#: Says "this is pypx" to the peer. It stays the same over all versions (PS3.7 §D.3.3.2).
IMPLEMENTATION_CLASS_UID = "2.25.239703602944500023741801144298652041384"

_VERSION_NAME_LENGTH = 16
#: At most 16 characters (PS3.7 §D.3.3.2.4), so a long development version is cut.
IMPLEMENTATION_VERSION_NAME = f"PYPX_{__version__}"[:_VERSION_NAME_LENGTH]

_UID_LENGTH = 64
_STANDARD_ROOT = "1.2.840.10008."
_STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."


def is_valid_uid(text: str) -> bool:
    """Say whether the text is a UID: 1 to 64 digits and dots (PS3.5 §9.1).

    A component has at least one digit, and no leading zero unless it is ``0``.
    """
    if len(text) > _UID_LENGTH or not (text.isascii() and text.replace(".", "").isdigit()):
        return False
    dotted = f".{text}."
    if ".0" in dotted:
        return all(part == "0" or part[:1] not in ("", "0") for part in text.split("."))
    return ".." not in dotted


def new_uid() -> str:
    """Make a UID that nobody else has: ``2.25.`` and a random UUID (PS3.5 §B.2)."""
    from uuid import uuid4  # 2 ms to import, and a receiver never makes a UID

    return f"2.25.{uuid4().int}"


def uid_name(uid: str) -> str:
    """Give the name of a transfer syntax or SOP class, or the UID itself when it has none."""
    return _names().get(uid, uid)


def storage_sop_classes() -> tuple[str, ...]:
    """Give all storage SOP classes of the standard, retired ones too."""
    return tuple(uid for uid, kind in _kinds().items() if kind == "S")


def is_storage(uid: str) -> bool:
    """Say whether the UID is a storage SOP class of the standard; private ones are not known."""
    return _kinds().get(uid) == "S"


def may_be_storage(uid: str) -> bool:
    """Say whether the UID is a storage SOP class, or may be a private or a newer one."""
    is_private = not uid.startswith(_STANDARD_ROOT)
    return is_private or uid.startswith(_STORAGE_ROOT) or is_storage(uid)


def transfer_syntaxes() -> tuple[str, ...]:
    """Give all transfer syntaxes of the standard, retired ones too."""
    return tuple(uid for uid, kind in _kinds().items() if kind == "T")


@cache
def _table() -> list[list[str]]:
    from pypx.dicom.tables import read_rows

    return [row.split("\t") for row in read_rows("uids.txt")]


@cache
def _names() -> dict[str, str]:
    return {uid: name for uid, _, name in _table()}


@cache
def _kinds() -> dict[str, str]:
    return {uid: kind for uid, kind, _ in _table()}
