"""Text for people and spreadsheets: made harmless, and numbers in words.

In: values, some of which a peer has chosen. Out: text. Not here: where it goes; HTML.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as a name of our own, since importing ``typing`` takes 3 ms
if TYPE_CHECKING:
    import re

__all__ = ["cell", "count", "date", "duration", "json_text", "person_name", "size", "visible"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")

# Characters that move a cursor, reorder text, or are not seen.
_HARMFUL = (
    "\x00-\x1f\x7f-\x9f"  # controls
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional marks
    "\u2028\u2029\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb"  # separators and the unseen
    "\ud800-\udfff"  # halves of a character, which no encoding has
)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _escaped_json(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def visible(text: str) -> str:
    """Give the text with control characters and bidirectional marks as visible escapes.

    A peer can put an escape sequence into a patient name; a terminal would obey it.
    """
    if text.isprintable():
        return text
    import re  # not needed for most texts

    return re.sub(f"[{_HARMFUL}]", _escaped, text)


def cell(value: object) -> str:
    """Give a value as one CSV cell that no spreadsheet takes for a formula."""
    text = visible(_flat(value))
    return f"'{text}" if text.startswith(_FORMULA) else text


def _flat(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return "\\".join(map(_flat, value))
    return str(value)


def json_text(value: object, *, indent: int | None = None) -> str:
    """Give a value as JSON: readable letters of every script, but nothing that harms."""
    import json  # not needed for tables
    import re

    text = json.dumps(value, ensure_ascii=False, indent=indent)
    # JSON escapes the first 32 by itself; a line break here is one of the document.
    return re.sub(f"(?!\n)[{_HARMFUL}]", _escaped_json, text)


def person_name(value: str) -> str:
    """Give a person name (PS3.5 §6.2.1) as people write it.

    It is shown family name first, ``Doe, John``, with its other scripts in brackets: who reads
    it knows which is the family name.
    """
    alphabetic, *others = value.split("=")
    scripts = [" ".join(other.replace("^", " ").split()) for other in others]
    name = _name_group(alphabetic)
    rest = ", ".join(dict.fromkeys(filter(None, scripts)))
    return f"{name} ({rest})" if name and rest else name or rest


def _name_group(group: str) -> str:
    family, given, middle, prefix, suffix = (*group.split("^"), "", "", "", "", "")[:5]
    rest = " ".join(part.strip() for part in (prefix, given, middle) if part.strip())
    return ", ".join(part.strip() for part in (family, rest, suffix) if part.strip())


def date(text: str) -> str:
    """Give a date (PS3.5 §6.2, DA) with hyphens; what is no date, as it is."""
    if len(text) == 8 and text.isdigit():
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    return text


def size(number: object) -> str:
    """Give a number of bytes in a unit of its size."""
    amount = float(str(number))
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def duration(seconds: float) -> str:
    """Give a time in the units of its length."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    for most, less, names in (
        (days, hours, "d h"),
        (hours, minutes, "h min"),
        (minutes, rest, "min s"),
    ):
        if most:
            one, other = names.split()
            return f"{most} {one} {less} {other}" if less else f"{most} {one}"
    return f"{rest} s"


def count(number: int, one: str, many: str = "") -> str:
    """Give a number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
