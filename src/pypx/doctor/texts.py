"""In which character set text really comes, against the one that is declared.

In: matches. Out: a verdict. Not here: what is done about it; no text leaves this module.
"""

from __future__ import annotations

from collections.abc import Iterable

from pypx.dicom.charset import decode_text_checked
from pypx.dicom.data_set import DataSet
from pypx.dicom.values import TEXT_VRS
from pypx.values import frozen

__all__ = ["UTF_8", "Texts", "look_at"]

UTF_8 = "ISO_IR 192"
_MULTIPLE = ("ISO_IR 192", "GB18030", "GBK")
_ESCAPE = 0x1B


@frozen
class Texts:
    """What was seen.

    Attributes:
        declared: The terms of Specific Character Set that came, each once; empty for none.
        plain: How many matches have ASCII only.
        others: How many have more.
        doubtful: Of these, how many do not fit what they declare.
        really: What all the doubtful ones are by their looks; empty if that cannot be said.
    """

    declared: tuple[str, ...]
    plain: int
    others: int
    doubtful: int
    really: str


def look_at(matches: Iterable[DataSet]) -> Texts:
    """Compare the text of matches with the character sets that they declare."""
    declared: dict[str, None] = {}
    plain = others = doubtful = utf_8 = 0
    for match in matches:
        texts = [(one.vr, bytes(one.value)) for one in match.elements if one.vr in TEXT_VRS]
        odd = [(vr, raw) for vr, raw in texts if not raw.isascii() or _ESCAPE in raw]
        declared["\\".join(match.charsets)] = None
        if not odd:
            plain += 1
            continue
        others += 1
        is_utf_8 = all(_is_utf_8(raw) for _, raw in odd)
        broken = any(decode_text_checked(raw, match.charsets, vr=vr)[1] for vr, raw in odd)
        # One byte a character takes any bytes, but text in it hardly ever is UTF-8 by accident.
        mistaken = is_utf_8 and not any(one in _MULTIPLE for one in match.charsets)
        doubtful += broken or mistaken
        utf_8 += (broken or mistaken) and is_utf_8
    really = UTF_8 if doubtful and utf_8 == doubtful else ""
    return Texts(tuple(declared), plain, others, doubtful, really)


def _is_utf_8(raw: bytes) -> bool:
    if _ESCAPE in raw:
        return False
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
