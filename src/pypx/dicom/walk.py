"""One pass over the structure of a data set that arrives in pieces (PS3.5 section 7).

In: bytes, any number at a time. Out: the raw values of wanted elements, and what is wrong
with the structure. All other values, pixel data first of all, are passed by arithmetic,
and nothing is kept of them. What the elements are good for belongs to ``header``.

The walk knows where it is by a stack of levels, so that it can stop at any byte and go on
with the next piece. A level is a list of elements (the data set, or an item), of items (a
sequence of undefined length), or of fragments (encapsulated pixel data). Sequences and
items of defined length are passed like other values.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from struct import Struct

from pypx.dicom.dictionary import tag_text, vr_of
from pypx.dicom.encoding import (
    ITEM,
    ITEM_DELIMITER,
    SEQUENCE_DELIMITER,
    SHORT_VRS,
    UNDEFINED_LENGTH,
    VR_OF_CODE,
    Encoding,
    content_encoding,
    irregular_header,
    is_encapsulated,
    is_padding,
    settle_encoding,
)

__all__ = ["Walk"]

_ELEMENTS, _ITEMS, _FRAGMENTS = range(3)
_LONGEST_HEADER = 12
_NONE: dict[int, int] = {}
_Hit = tuple[int, str, int, int]  # of a wanted element: key, VR, start of the value, length


class _Form:
    """One encoding, as the numbers that the walk compares with.

    A tag is read as one number, its key, because that is faster than reading two halves.
    In little endian the halves of a key are the wrong way round.
    """

    def __init__(self, encoding: Encoding) -> None:
        little = encoding.order == "<"
        self._little = little
        self.encoding = encoding
        self.unpack = Struct(encoding.order + ("LHH" if encoding.explicit else "LL")).unpack_from
        self.unpack_item = Struct(f"{encoding.order}LL").unpack_from
        self.unpack_length = encoding.length.unpack_from
        codes = {
            int.from_bytes(code, "little" if little else "big"): vr
            for code, vr in VR_OF_CODE.items()
        }
        self.short_vrs = {code: vr for code, vr in codes.items() if vr in SHORT_VRS}
        self.long_vrs = {code: vr for code, vr in codes.items() if vr not in SHORT_VRS}
        self.item = self.swap(ITEM)
        self.item_delimiter = self.swap(ITEM_DELIMITER)
        self.sequence_delimiter = self.swap(SEQUENCE_DELIMITER)
        self.delimiters = frozenset((self.item, self.item_delimiter, self.sequence_delimiter))

    def swap(self, tag: int) -> int:
        """Give the key of a tag, or the tag of a key."""
        return (tag & 0xFFFF) << 16 | tag >> 16 if self._little else tag


@lru_cache
def _form(encoding: Encoding) -> _Form:
    return _Form(encoding)


@lru_cache
def _keys(wanted: frozenset[int], encoding: Encoding) -> dict[int, int]:
    """Give the wanted tags by key; a data set has no command and no file meta elements."""
    swap = _form(encoding).swap
    return {swap(tag): tag for tag in wanted if tag >> 16 not in (0x0000, 0x0002)}


class Walk:
    """Walks one data set.

    Args:
        encoding: As negotiated; the first element may show that it is another one.
        wanted: Tags of the data set itself, not of its items.
        max_depth: How many sequences may stand inside each other.
        max_elements: How many elements there may be; 0 for any number.
        budget: Bytes of wanted values to keep at most; what is longer is left out.

    Attributes:
        encoding: The encoding that was found.
        defect: What is wrong; the walk does not go on behind it.
        left: Bytes of the current value that are still to come.
        top_tag: The last tag that was met outside of items.
        found: The wanted elements by tag: VR, raw value, and whether its length was undefined.
    """

    def __init__(
        self,
        encoding: Encoding,
        wanted: frozenset[int],
        *,
        max_depth: int,
        max_elements: int,
        budget: int,
    ) -> None:
        self.encoding = encoding
        self.defect = ""
        self.left = 0
        self.top_tag = 0
        self.found: dict[int, tuple[str, bytes, bool]] = {}
        self._tag = 0  # the last one that was met anywhere
        self._wanted_tags = wanted
        self._wanted = _NONE
        self._max_levels = 2 * max_depth  # sequences and items alternate
        self._max_elements = max_elements
        self._room = max_elements or sys.maxsize  # for as many more elements
        self._levels: list[tuple[int, _Form, int]] = []  # kind, form, tag of the sequence
        self._carry = b""  # what has come of a header
        self._budget = budget
        self._notes: list[str] = []
        self._sink: bytearray | None = None  # what has come of a wanted value in pieces
        self._sink_of = (0, "", False)
        self._mark = 0  # where in the current piece the value goes on

    @property
    def notes(self) -> tuple[str, ...]:
        """What else should be known about the data set."""
        if not self._ends_with_fragments:
            return tuple(self._notes)
        return (*self._notes, f"The delimiter at the end of {tag_text(self._tag)} is missing.")

    @property
    def has_all(self) -> bool:
        """Whether every wanted element has been found."""
        return bool(self._levels) and len(self.found) == len(self._wanted)

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes; nothing refers to their buffer afterwards."""
        pos, end = 0, len(data)
        while pos < end and not self.defect:
            if self.left:
                pos = self._pass_value(data, pos, end)
            elif self._carry:
                pos = self._walk_carry(data, pos)
            else:
                pos = self._walk(data, pos, end)
                if pos < end and not self.left:
                    self._carry = bytes(data[pos:end])
                    return

    def what_is_missing(self) -> str:
        """Say what a data set that ends here lacks; nothing if it is whole."""
        if self.left:
            return (
                f"The data set is truncated in the middle of {tag_text(self._tag)}: "
                f"{self.left} bytes are missing."
            )
        if self._carry and not is_padding(self._carry, self.encoding):
            return f"The data set is truncated inside the header {self._place()}."
        if not self.top_tag:
            return "The data set has no elements."
        if len(self._levels) > 1 and not self._ends_with_fragments:
            return f"The data set is truncated inside of {tag_text(self._levels[-1][2])}."
        return ""

    @property
    def _ends_with_fragments(self) -> bool:
        """Whether nothing is open but the pixel data, between two fragments.

        There are encoders that leave out the delimiter at the end, so this is no defect.
        """
        return len(self._levels) == 2 and self._levels[-1][0] == _FRAGMENTS

    def _place(self) -> str:
        if len(self._carry) < 4 or not self._levels:
            return f"behind {tag_text(self._tag)}" if self._tag else "of the first element"
        group, number = self._levels[-1][1].encoding.tag.unpack_from(self._carry)
        return f"of {tag_text(group << 16 | number)}"

    def _pass_value(self, data: bytes | memoryview, pos: int, end: int) -> int:
        """Pass what is here of a value that began in an earlier piece."""
        stop = min(end, pos + self.left)
        self.left -= stop - pos
        self._mark = pos
        self._pour(data, stop)
        if not self.left and len(self._levels) == 1:
            self._store()
        return stop

    def _walk_carry(self, data: bytes | memoryview, pos: int) -> int:
        """Walk over a header of which a part came earlier; it has at most 12 bytes."""
        carry, self._carry = self._carry, b""
        head = carry + bytes(data[pos : pos + _LONGEST_HEADER - len(carry)])
        used = self._walk(head, 0, len(head))
        if not used:
            self._carry, used = head, len(head)
        return pos + used - len(carry)

    def _walk(self, data: bytes | memoryview, pos: int, end: int) -> int:
        """Walk until a header or a value is not whole, and give the position of that."""
        if not self._levels and not self._begin(data, pos, end):
            return pos
        self._mark = pos
        while not (self.left or self.defect):
            before, depth = pos, len(self._levels)
            kind, form, _ = self._levels[-1]
            if kind != _ELEMENTS:
                pos = self._walk_items(data, pos, end, form)
            elif form.encoding.explicit:
                pos = self._walk_explicit(data, pos, end, form)
            else:
                pos = self._walk_implicit(data, pos, end, form)
            if pos == end or (pos == before and len(self._levels) == depth):
                break
        self._pour(data, pos)
        return pos

    def _begin(self, data: bytes | memoryview, pos: int, end: int) -> bool:
        if end - pos < 8:
            return False
        self.encoding = settle_encoding(data[pos : pos + 8], self.encoding)
        self._wanted = _keys(self._wanted_tags, self.encoding)
        self._levels.append((_ELEMENTS, _form(self.encoding), 0))
        return True

    def _walk_explicit(self, data: bytes | memoryview, pos: int, end: int, form: _Form) -> int:
        wanted = self._wanted if len(self._levels) == 1 else _NONE
        unpack, short_vrs, long_vrs = form.unpack, form.short_vrs, form.long_vrs
        hits: list[_Hit] = []
        last, met, count = end - 8, 0, 0
        while pos <= last:
            key, code, length = unpack(data, pos)
            if code in short_vrs:
                if key in wanted:
                    hits.append((wanted[key], short_vrs[code], pos + 8, length))
                pos += length + 8
            else:
                if code in long_vrs and pos + 12 <= end:
                    vr, start = long_vrs[code], pos + 12
                    length = form.unpack_length(data, pos + 8)[0]
                else:
                    header = irregular_header(data, pos, end, form.encoding)
                    if header is None:
                        break
                    vr, length, start = header
                if length == UNDEFINED_LENGTH or key in form.delimiters:
                    self._pass(form.swap(met), hits, data, end, count)
                    return self._turn(form, key, vr, data, pos, start)
                if key in wanted:
                    hits.append((wanted[key], vr, start, length))
                pos = start + length
            count += 1
            met = key or met  # zeros behind the last element are padding
        self._pass(form.swap(met), hits, data, end, count)
        return self._stop(pos, end)

    def _walk_implicit(self, data: bytes | memoryview, pos: int, end: int, form: _Form) -> int:
        wanted = self._wanted if len(self._levels) == 1 else _NONE
        unpack, delimiters = form.unpack, form.delimiters
        hits: list[_Hit] = []
        last, met, count = end - 8, 0, 0
        while pos <= last:
            key, length = unpack(data, pos)
            if length == UNDEFINED_LENGTH or key in delimiters:
                self._pass(form.swap(met), hits, data, end, count)
                return self._turn(form, key, vr_of(form.swap(key)), data, pos, pos + 8)
            if key in wanted:
                tag = wanted[key]
                hits.append((tag, vr_of(tag), pos + 8, length))
            pos += length + 8
            count += 1
            met = key or met  # zeros behind the last element are padding
        self._pass(form.swap(met), hits, data, end, count)
        return self._stop(pos, end)

    def _stop(self, pos: int, end: int) -> int:
        """Stop where the next header is, or where the piece ends in the middle of a value."""
        if pos <= end:
            return pos
        self.left = pos - end
        return end

    def _walk_items(self, data: bytes | memoryview, pos: int, end: int, form: _Form) -> int:
        kind, _, tag = self._levels[-1]
        while pos <= end - 8:
            key, length = form.unpack_item(data, pos)
            if key == form.item and length == UNDEFINED_LENGTH:
                if kind == _FRAGMENTS:
                    self.defect = f"{tag_text(tag)} has a fragment of undefined length."
                    return pos
                self._levels.append((_ELEMENTS, form, tag))
                self._count(1)
                return pos + 8
            if key == form.sequence_delimiter:
                self._close(data, pos)
                return pos + 8
            if key not in form.delimiters:  # the delimiter is missing: this is behind it
                self._close(data, pos)
                return pos
            pos += 8 + length
        return self._stop(pos, end)

    def _turn(
        self, form: _Form, key: int, vr: str, data: bytes | memoryview, pos: int, start: int
    ) -> int:
        """Go a level down at an element of undefined length, or up at a delimiter."""
        depth = len(self._levels)
        if key in form.delimiters:
            if depth == 1:
                return start  # it has no sequence
            self._close(data, pos)
            return start if key == form.item_delimiter else pos  # or that one is missing
        tag = form.swap(key)
        self._meet(tag)
        self._count(1)
        if depth >= self._max_levels:
            self.defect = f"{tag_text(tag)} is nested deeper than {depth // 2} sequences."
            return pos
        if is_encapsulated(tag, vr):
            self._levels.append((_FRAGMENTS, form, tag))
            return start
        if depth == 1 and key in self._wanted:
            self._sink, self._sink_of, self._mark = bytearray(), (tag, vr, True), start
        self._levels.append((_ITEMS, _form(content_encoding(vr, form.encoding)), tag))
        return start

    def _close(self, data: bytes | memoryview, pos: int) -> None:
        self._levels.pop()
        if len(self._levels) == 1:
            self._pour(data, pos)
            self._store()

    def _count(self, elements: int) -> None:
        self._room -= elements
        if self._room < 0:
            self.defect = f"The data set has more than {self._max_elements} elements."

    def _meet(self, tag: int) -> None:
        if tag:
            self._tag = tag
            if len(self._levels) == 1:
                self.top_tag = tag

    def _pass(
        self, tag: int, hits: list[_Hit], data: bytes | memoryview, end: int, count: int
    ) -> None:
        """Leave a row of elements, of which ``tag`` was the last, with the wanted ones of it."""
        self._meet(tag)
        self._count(count)
        found, budget = self.found, self._budget
        for wanted, vr, pos, length in hits:
            stop = pos + length
            if length > budget:
                found.pop(wanted, None)
                self._leave_out(wanted)
            elif stop <= end:
                found[wanted] = (vr, bytes(data[pos:stop]), False)
                budget -= length
            else:
                self._sink, self._sink_of, self._mark = bytearray(), (wanted, vr, False), pos
        self._budget = budget

    def _pour(self, data: bytes | memoryview, stop: int) -> None:
        """Keep what this piece has of a wanted value that came or comes in others too."""
        if self._sink is None:
            return
        self._sink += data[self._mark : stop]
        self._mark = stop
        if len(self._sink) > self._budget:
            self._sink = None
            self._leave_out(self._tag)

    def _store(self) -> None:
        """Keep a value that came in pieces, now that all of it is here."""
        if self._sink is not None:
            tag, vr, undefined = self._sink_of
            self.found[tag] = (vr, bytes(self._sink), undefined)
            self._budget -= len(self._sink)
            self._sink = None

    def _leave_out(self, tag: int) -> None:
        self._notes.append(f"The value of {tag_text(tag)} is too long and was left out.")
