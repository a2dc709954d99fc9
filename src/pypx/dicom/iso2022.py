"""Code extensions: text that changes its character set on the way (ISO/IEC 2022, PS3.5 §6.1.2).

In: bytes, or text, and the numbers of the declared character sets. Out: text, or bytes.
Which terms of Specific Character Set mean these numbers belongs to ``charset``. Loaded
only for text that needs it.

Two sets are active at a time: G0 has the bytes 21 to 7E, G1 the bytes A0 to FF. An
escape sequence puts a set into one of the two. Controls, the backslash, and in person
names ``^`` and ``=``, put back those that value 1 of the attribute names (PS3.5 §6.1.2.5.3).
"""

from __future__ import annotations

import re

from pypx.values import frozen

__all__ = ["decode", "encode"]

_TOKENS = re.compile(
    rb"\x1b[\x20-\x2f]*[\x30-\x7e]?|[\x00-\x1a\x1c-\x1f\x7f]+|\x20+|[\x21-\x7e]+|[\x80-\xff]+"
)
_ESCAPE = 0x1B
_HIGH = bytes(byte | 0x80 for byte in range(256))
_LOW = bytes(byte & 0x7F for byte in range(256))
_REPLACEMENT = "\ufffd"


@frozen
class _Set:
    """A character set as PS3.3 Tables C.12-3 and C.12-4 define it.

    Attributes:
        number: Its ISO-IR number, which is in the term of Specific Character Set.
        escape: The sequence that makes it active.
        codec: The codec of Python that knows its characters in the form of G1.
        is_g1: Whether it becomes G1; otherwise G0.
        width: Bytes of a character.
        prefix: What this codec wants before each character.
    """

    number: str
    escape: bytes
    codec: str
    is_g1: bool = True
    width: int = 1
    prefix: bytes = b""

    def decode(self, run: bytes) -> tuple[str, bool]:
        """Read bytes that are all of this set: the text, and whether some were not."""
        if not self.is_g1:
            run = run.translate(_HIGH)
        if self.prefix:
            width = self.width
            run = b"".join(self.prefix + run[i : i + width] for i in range(0, len(run), width))
        try:
            return run.decode(self.codec), False
        except UnicodeDecodeError:
            return run.decode(self.codec, "replace"), True

    def encode(self, char: str) -> bytes | None:
        """Write a character that is not ASCII, or give None if it is not of this set."""
        code = char.encode(self.codec, "ignore")
        rest = code.removeprefix(self.prefix)
        if len(rest) != self.width or len(code) != self.width + len(self.prefix):
            return None
        if min(rest) < 0xA0:
            return None
        return rest if self.is_g1 else rest.translate(_LOW)


_ASCII = _Set("6", b"\x1b(B", "ascii", is_g1=False)
_ROMAJI = _Set("14", b"\x1b(J", "ascii", is_g1=False)
_SETS = (
    _Set("100", b"\x1b-A", "iso8859_1"),
    _Set("101", b"\x1b-B", "iso8859_2"),
    _Set("109", b"\x1b-C", "iso8859_3"),
    _Set("110", b"\x1b-D", "iso8859_4"),
    _Set("144", b"\x1b-L", "iso8859_5"),
    _Set("127", b"\x1b-G", "iso8859_6"),
    _Set("126", b"\x1b-F", "iso8859_7"),
    _Set("138", b"\x1b-H", "iso8859_8"),
    _Set("148", b"\x1b-M", "iso8859_9"),
    _Set("203", b"\x1b-b", "iso8859_15"),
    _Set("13", b"\x1b)I", "shift_jis"),
    _Set("166", b"\x1b-T", "iso8859_11"),
    _Set("87", b"\x1b$B", "euc_jp", is_g1=False, width=2),
    _Set("159", b"\x1b$(D", "euc_jp", is_g1=False, width=2, prefix=b"\x8f"),
    _Set("149", b"\x1b$)C", "euc_kr", width=2),
    _Set("58", b"\x1b$)A", "gb2312", width=2),
)
_BY_NUMBER = {known.number: known for known in _SETS}
_BY_ESCAPE = {known.escape: known for known in (*_SETS, _ASCII, _ROMAJI)}


def _initial(numbers: tuple[str, ...]) -> tuple[_Set, _Set | None]:
    """Give G0 and G1 at the start of a value: of value 1 of Specific Character Set."""
    g1 = _BY_NUMBER.get(numbers[0]) if numbers else None
    g0 = _ROMAJI if g1 is not None and g1.number == "13" else _ASCII
    return g0, g1 if g1 is not None and g1.is_g1 else None


def decode(raw: bytes, numbers: tuple[str, ...], *, is_person_name: bool) -> tuple[str, bool]:
    """Read text with code extensions.

    Returns:
        The text, and whether something in it broke the rules: bytes outside of the
        active set became U+FFFD, or an escape sequence was not declared.
    """
    initial = _initial(numbers)
    g0, g1 = initial
    # Some senders do not repeat the escape sequence after a delimiter.
    latest = next((s for n in numbers if (s := _BY_NUMBER.get(n)) and s.is_g1), None)
    delimiters = re.compile(rb"[\\^=]" if is_person_name else rb"\\")
    parts: list[str] = []
    broken = False
    for match in _TOKENS.finditer(raw):
        run = match[0]
        if run[0] == _ESCAPE:
            designated = _BY_ESCAPE.get(run)
            if designated is None:
                parts.append(_REPLACEMENT)
                broken = True
                continue
            if designated.is_g1:
                g1 = latest = designated
            else:
                g0 = designated
            broken |= designated.number in _BY_NUMBER and designated.number not in numbers
        elif run[0] >= 0x80:
            current = g1 or latest
            text, misfit = current.decode(run) if current else (_REPLACEMENT * len(run), True)
            parts.append(text)
            broken |= misfit or g1 is None
        elif g0.width == 1 or run[0] <= 0x20 or run[0] == 0x7F:
            parts.append(run.decode("ascii"))
            if run[0] < 0x20 or (g0.width == 1 and delimiters.search(run)):
                g0, g1 = initial
        else:
            text, misfit = g0.decode(run)
            parts.append(text)
            broken |= misfit
    return "".join(parts), broken


def encode(text: str, numbers: tuple[str, ...], *, is_person_name: bool) -> bytes | None:
    """Write text with the escape sequences that it needs.

    Returns:
        None if a character is in none of the declared sets.
    """
    declared = [known for number in numbers if (known := _BY_NUMBER.get(number))]
    delimiters = "\\^=" if is_person_name else "\\"
    initial = _initial(numbers)
    g0, g1 = initial
    out = bytearray()
    for char in text:
        if char.isascii():
            if g0.width > 1:
                g0 = initial[0]
                out += g0.escape
            if char in delimiters or char < " ":
                g1 = initial[1]
            out += char.encode("ascii")
            continue
        # The active sets first: fewer escape sequences.
        for known in (*(s for s in (g1, g0) if s), *declared):
            code = known.encode(char)
            if code is not None:
                break
        else:
            return None
        if known not in (g0, g1):
            out += known.escape
            g0, g1 = (g0, known) if known.is_g1 else (known, g1)
        out += code
    if g0 is not initial[0]:
        out += initial[0].escape
    return bytes(out)
