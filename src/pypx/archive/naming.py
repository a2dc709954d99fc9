"""What all layouts share when they make names: safe UIDs, what a keyword is, what fits.

In: values and texts. Out: texts that a name may have. Not here: templates (``layout``,
``layout_pypx``), and the disk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pypx.archive.attributes import BY_KEYWORD
from pypx.dicom.uids import is_valid_uid
from pypx.errors import ConfigError

__all__ = ["DEVICE", "INVISIBLE", "LONGEST_UID", "WIDE", "cut", "safe_uid", "tag_and_vr"]

LONGEST_UID = 64
"""Characters of a UID (PS3.5 §9.1)."""

WIDE = 32
"""Digits of the hash that no two series share."""

INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Letters and marks that nobody sees."""

DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE)
"""Names that are devices for Windows."""


def safe_uid(uid: str) -> str:
    """Give a UID as a file name shows it: itself, or a digest when it is no UID (PS3.5 §9.1)."""
    if is_valid_uid(uid):
        return uid
    # Only a hostile or broken sender brings us here; OpenSSL takes 10 ms to load.
    from hashlib import sha256

    return f"sha256-{sha256(uid.encode('utf-8', 'surrogatepass')).hexdigest()[:WIDE]}"


def tag_and_vr(keyword: str) -> tuple[int, str]:
    """Give the tag and the VR of an attribute that a layout shows.

    Raises:
        ConfigError: There is none by that keyword, or it has no text.
    """
    if keyword in BY_KEYWORD:
        return BY_KEYWORD[keyword].tag, BY_KEYWORD[keyword].vr
    # The dictionary is a big table, and the layouts that have names do without it.
    from pypx.dicom.dictionary import keyword_of, parse_tag, vr_of

    tag = parse_tag(keyword)  # raises, with the nearest keyword
    if keyword_of(tag) != keyword:
        raise ConfigError(f"{keyword!r} is no DICOM keyword.", hint="A layout takes keywords only.")
    if (vr := vr_of(tag)) in ("SQ", "OB", "OW", "OF", "OD", "OL", "OV", "UN"):
        raise ConfigError(f"{keyword} has no text that a layout could show (VR {vr}).")
    return tag, vr


def cut(texts: Sequence[str], may_be_cut: Sequence[bool], room: int) -> list[str]:
    """Shorten the longest texts, at a character, so that all of them fit.

    Args:
        texts: What a name is made of.
        may_be_cut: For each of them, whether it may be shortened.
        room: Bytes of UTF-8 that they may have together.
    """
    short = list(texts)
    sizes = [len(text.encode("utf-8")) for text in texts]
    if (excess := sum(sizes) - room) > 0:
        where = [index for index, may in enumerate(may_be_cut) if may]
        longest = _fair_share(
            [sizes[index] for index in where], sum(sizes[index] for index in where) - excess
        )
        for index in where:
            short[index] = short[index].encode("utf-8")[:longest].decode("utf-8", "ignore")
    return short


def _fair_share(sizes: list[int], room: int) -> int:
    """Give the longest that each may be, so that short texts stay whole and all fit in ``room``."""
    left = len(sizes)
    for size in sorted(sizes):
        if size > room // left:
            return room // left
        room -= size
        left -= 1
    return max(sizes)
