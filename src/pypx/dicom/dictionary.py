"""The data dictionary: PS3.6, and the command elements of PS3.7 Annex E.

In: tags and keywords. Out: VR, VM, keyword and name. A tag is an int, 0xGGGGEEEE. The
table is read on first use. Private dictionaries do not belong here.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache

from pypx.dicom.tables import read_rows
from pypx.errors import ConfigError

__all__ = [
    "find_keyword",
    "find_tag",
    "keyword_of",
    "keywords",
    "name_of",
    "parse_tag",
    "tag_of",
    "tag_text",
    "vm_of",
    "vr_of",
]

_UNKNOWN = ("UN", "1", "", "")
_CACHED_TAGS = 4096  # a hostile peer can send any tag, so the caches are bounded


def tag_of(keyword: str) -> int | None:
    """Give the tag of a keyword, or None. Of a repeating group it is the first one."""
    return _keywords().get(keyword)


@lru_cache(_CACHED_TAGS)
def keyword_of(tag: int) -> str | None:
    """Give the keyword of a tag, or None for private and unknown tags."""
    return _entry(tag)[2] or None


@lru_cache(_CACHED_TAGS)
def vr_of(tag: int) -> str:
    """Give the VR of a tag: the first where the standard has a choice, UN if unknown."""
    return _entry(tag)[0][:2]


def vm_of(tag: int) -> str:
    """Give the value multiplicity as the standard writes it, e.g. ``1``, ``1-n``, ``2-2n``."""
    return _entry(tag)[1]


def name_of(tag: int) -> str:
    """Give the name for people, e.g. ``Patient's Name``, or the tag when it has none."""
    return _entry(tag)[3] or tag_text(tag)


def tag_text(tag: int) -> str:
    """Write a tag as the standard does: ``(0010,0020)``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


@lru_cache(_CACHED_TAGS)
def find_tag(text: str) -> int | None:
    """Read a keyword or a tag as :func:`parse_tag` does, but give None if it is neither."""
    digits = text.strip()
    if digits.startswith("(") and digits.endswith(")"):
        digits = digits[1:-1]
    if len(digits) == 9 and digits[4] == ",":
        digits = digits[:4] + digits[5:]
    if len(digits) == 8 and all(c in "0123456789abcdefABCDEF" for c in digits):
        return int(digits, 16)
    return tag_of(text)


def find_keyword(text: str) -> str | None:
    """Give the keyword that is written like this but for upper and lower case, or None."""
    return _lowered().get(text.lower())


def keywords() -> Iterable[str]:
    """Give all keywords."""
    return _keywords()


def parse_tag(text: str) -> int:
    """Read ``PatientID``, ``0010,0020``, ``(0010,0020)`` or ``00100020``.

    Raises:
        ConfigError: It is neither a keyword of the standard nor a tag; the hint has the
            keywords that look most like it.
    """
    tag = find_tag(text)
    if tag is None:
        raise ConfigError(f"{text!r} is no DICOM keyword and no tag.", hint=_suggestion(text))
    return tag


def _suggestion(text: str) -> str:
    from difflib import get_close_matches  # only a wrong keyword needs it

    lowered = _lowered()
    near = [lowered[match] for match in get_close_matches(text.strip().lower(), lowered, n=3)]
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return "Write a keyword like PatientID, or a tag like 0010,0020."


def _entry(tag: int) -> tuple[str, str, str, str]:
    row = _rows().get(tag) or _repeating_row(tag)
    if row is not None:
        _, vr, vm, keyword, name = row.split("\t")
        return vr, vm, keyword, name
    if tag & 0xFFFF == 0:
        return ("UL", "1", "", "Group Length")
    if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
        return ("LO", "1", "", "Private Creator")
    return _UNKNOWN


@cache
def _rows() -> dict[int, str]:
    return {int(row[:8], 16): row for row in read_rows("dictionary.txt")}


@cache
def _keywords() -> dict[str, int]:
    keywords = {row.split("\t", 4)[3]: tag for tag, row in _rows().items()}
    keywords.update((row.split("\t", 4)[3], tag) for _, tag, row in _repeating_rows())
    return keywords


@cache
def _lowered() -> dict[str, str]:
    return {keyword.lower(): keyword for keyword in _keywords()}


@cache
def _repeating_rows() -> tuple[tuple[int, int, str], ...]:
    """The rows with an x for any digit, as ``60xx0010``: mask, first tag, row."""
    return tuple(
        (
            int("".join("0" if c == "x" else "F" for c in row[:8]), 16),
            int(row[:8].replace("x", "0"), 16),
            row,
        )
        for row in read_rows("repeating.txt")
    )


def _repeating_row(tag: int) -> str | None:
    if tag >> 16 & 1:
        return None
    for mask, pattern, row in _repeating_rows():
        if tag & mask == pattern:
            return row
    return None
