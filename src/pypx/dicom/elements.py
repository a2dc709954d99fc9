"""Data elements as bytes: the one decoder for command sets, identifiers and headers.

In: the bytes of a whole data set. Out: elements with their raw values, and back to
bytes (PS3.5 section 7). What a value means belongs to ``values`` and ``charset``; a data
set that arrives in pieces belongs to ``header``.

The decoder takes what real peers send: odd lengths, tags in any order, twice or of any
group, VRs that are not known, missing delimiters, zeros behind the last element. It
raises only when an element does not fit into the bytes there are, or is nested too deep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pypx.dicom.dictionary import tag_text
from pypx.dicom.encoding import (
    DELIMITERS,
    ITEM,
    ITEM_DELIMITER,
    MAX_DEPTH,
    PIXEL_DATA_TAGS,
    SEQUENCE_DELIMITER,
    UNDEFINED_LENGTH,
    Encoding,
    content_encoding,
    encode_header,
    encode_item_header,
    encoding_of,
    is_encapsulated,
    is_padding,
    padding,
    read_header,
    read_item_header,
    settle_encoding,
)
from pypx.errors import DataSetError
from pypx.values import frozen

TYPE_CHECKING = False  # typing takes 3 ms to import
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "MAX_DEPTH",
    "Element",
    "Encoding",
    "decode_elements",
    "decode_items",
    "encode_elements",
    "encoding_of",
]


@frozen
class Element:
    """One data element.

    Attributes:
        tag: 0xGGGGEEEE.
        vr: As it came, or that of the dictionary where the encoding does not say.
        value: The bytes as on the wire; empty for sequences and for encapsulated pixel
            data. Not in the repr, because a value may identify a patient.
        items: The items of a sequence, or of a UN element of undefined length.
    """

    tag: int
    vr: str
    value: bytes | memoryview
    items: tuple[tuple[Element, ...], ...] | None = None

    def __repr__(self) -> str:
        return f"Element(tag=0x{self.tag:08X}, vr={self.vr!r})"


class _TooDeepError(DataSetError):
    """Nested too deep: unlike a wrong length, it is never taken for plain bytes."""


def decode_elements(
    data: bytes | memoryview,
    encoding: Encoding,
    *,
    stop_after: int | None = None,
    wanted: frozenset[int] | None = None,
    max_depth: int = MAX_DEPTH,
) -> Iterator[Element]:
    """Read the elements of a data set one by one, as they are asked for.

    Args:
        data: The whole data set. Values are slices of it: of a memoryview they are
            views, and valid as long as its buffer is not used again.
        encoding: How it was negotiated; where the first element shows that this is
            wrong, it is read as what it is.
        stop_after: Stop at the first element with a higher tag.
        wanted: Give only these, and do not look into other sequences of defined length.
        max_depth: How many sequences may stand inside each other.

    Yields:
        The elements in their order. Native pixel data is a view, never a copy. A
        sequence of defined length that holds no items comes as the bytes it is.

    Raises:
        DataSetError: An element does not fit into the data, or is nested too deep.
    """
    encoding = settle_encoding(data, encoding)
    pos, end = 0, len(data)
    while pos < end:
        if end - pos < 8 and is_padding(data[pos:end], encoding):
            return
        tag, vr, length, pos = read_header(data, pos, end, encoding)
        if stop_after is not None and tag > stop_after:
            return
        if tag in DELIMITERS or not (tag or length):
            continue  # a delimiter without its sequence, or zeros behind the last element
        if length == UNDEFINED_LENGTH:
            element, pos = _undefined(data, tag, vr, pos, encoding, max_depth)
            if wanted is None or tag in wanted:
                yield element
            continue
        start, pos = pos, pos + length
        if pos > end:
            raise _cut(tag, pos - end)
        if wanted is not None and tag not in wanted:
            continue
        if vr == "SQ":
            yield _defined(data, tag, start, pos, encoding, max_depth)
        elif tag in PIXEL_DATA_TAGS:
            yield Element(tag, vr, memoryview(data)[start:pos])
        else:
            yield Element(tag, vr, data[start:pos])


def decode_items(
    data: bytes | memoryview, encoding: Encoding, *, max_depth: int = MAX_DEPTH
) -> tuple[tuple[Element, ...], ...]:
    """Read the items of one sequence: its value, with or without its last delimiter.

    Raises:
        DataSetError: An item does not fit into the data, or is nested too deep.
    """
    sequence = _Level(0, "SQ", encoding, 0, len(data), undefined=False)
    _SequenceReader(data, sequence, max_depth).read()
    if sequence.defect is not None:
        raise sequence.defect
    return tuple(sequence.children)


def _defined(
    data: bytes | memoryview, tag: int, start: int, stop: int, encoding: Encoding, max_depth: int
) -> Element:
    sequence = _Level(tag, "SQ", encoding, start, stop, undefined=False)
    _SequenceReader(data, sequence, max_depth).read()
    return sequence.element(data)


def _undefined(
    data: bytes | memoryview, tag: int, vr: str, start: int, encoding: Encoding, max_depth: int
) -> tuple[Element, int]:
    if is_encapsulated(tag, vr):
        return Element(tag, vr, b""), _skip_fragments(data, tag, start, len(data), encoding)
    inner = content_encoding(vr, encoding)
    sequence = _Level(tag, vr, inner, start, len(data), undefined=True)
    pos = _SequenceReader(data, sequence, max_depth).read()
    return sequence.element(data), pos


def _skip_fragments(
    data: bytes | memoryview, tag: int, pos: int, end: int, encoding: Encoding
) -> int:
    """Give the position behind encapsulated pixel data (PS3.5 §A.4)."""
    while end - pos >= 8:
        item, length, start = read_item_header(data, pos, end, encoding)
        if item == SEQUENCE_DELIMITER:
            return start
        if item not in DELIMITERS:
            return pos  # the delimiter is missing, and this is the element behind it
        pos = start + length
        if pos > end:
            raise _cut(tag, pos - end)
    return pos


class _Level:
    """A sequence or an item whose end has not been reached.

    Attributes:
        limit: The position that nothing in it can pass.
        undefined: Whether a delimiter ends it, not the limit.
        children: Elements of an item, or items of a sequence.
        defect: Why a sequence of defined length cannot be read.
    """

    __slots__ = ("children", "defect", "encoding", "limit", "start", "tag", "undefined", "vr")

    def __init__(
        self, tag: int, vr: str, encoding: Encoding, start: int, limit: int, *, undefined: bool
    ) -> None:
        self.tag = tag
        self.vr = vr
        self.encoding = encoding
        self.start = start
        self.limit = limit
        self.undefined = undefined
        self.children: list[Any] = []
        self.defect: DataSetError | None = None

    def element(self, data: bytes | memoryview) -> Element:
        """Give the sequence, or the bytes in its place if it is none."""
        if self.defect is not None:
            return Element(self.tag, self.vr, data[self.start : self.limit])
        return Element(self.tag, self.vr, b"", tuple(self.children))


class _SequenceReader:
    """Reads one sequence and all that is nested in it, with a stack instead of recursion.

    Sequences and items alternate on the stack.
    """

    def __init__(self, data: bytes | memoryview, sequence: _Level, max_depth: int) -> None:
        self._data = data
        self._levels = [sequence]
        self._max_levels = 2 * max_depth

    def read(self) -> int:
        """Read the items of the sequence, and give the position behind it."""
        pos = self._levels[0].start
        while self._levels:
            try:
                pos = self._step(self._levels[-1], pos)
            except _TooDeepError:
                raise
            except DataSetError as error:
                pos = self._give_up(error)
        return pos

    def _step(self, level: _Level, pos: int) -> int:
        if pos < level.limit:
            read = self._read_in_item if level.tag == ITEM else self._read_in_sequence
            return read(level, pos)
        if level.undefined and level.limit == len(self._data):
            sequence = self._levels[-1 if level.tag != ITEM else -2]
            raise DataSetError(f"The data set ends inside of {tag_text(sequence.tag)}.")
        self._close()
        return pos

    def _give_up(self, error: DataSetError) -> int:
        """Leave the innermost sequence whose end is known: its bytes are all that can be had."""
        while self._levels:
            level = self._levels[-1]
            if level.tag != ITEM and not level.undefined:
                level.defect = error
                self._close()
                return level.limit
            self._levels.pop()
        raise error

    def _read_in_sequence(self, level: _Level, pos: int) -> int:
        tag, length, start = read_item_header(self._data, pos, level.limit, level.encoding)
        if tag == ITEM:
            self._open(ITEM, "", level.encoding, start, length)
            return start
        if tag == SEQUENCE_DELIMITER and level.undefined:
            self._close()
            return start
        if tag in DELIMITERS:
            return start
        if level.undefined:  # its delimiter is missing, and this is the element behind it
            self._close()
            return pos
        raise DataSetError(f"{tag_text(level.tag)} has {tag_text(tag)} where an item should be.")

    def _read_in_item(self, level: _Level, pos: int) -> int:
        tag, vr, length, start = read_header(self._data, pos, level.limit, level.encoding)
        if tag in DELIMITERS:
            if not level.undefined:
                return start
            self._close()
            return start if tag == ITEM_DELIMITER else pos  # or the delimiter is missing
        if vr == "SQ" or (length == UNDEFINED_LENGTH and not is_encapsulated(tag, vr)):
            self._open(tag, vr, content_encoding(vr, level.encoding), start, length)
            return start
        if length == UNDEFINED_LENGTH:
            level.children.append(Element(tag, vr, b""))
            return _skip_fragments(self._data, tag, start, level.limit, level.encoding)
        stop = start + length
        if stop > level.limit:
            raise _cut(tag, stop - level.limit)
        level.children.append(Element(tag, vr, self._data[start:stop]))
        return stop

    def _open(self, tag: int, vr: str, encoding: Encoding, start: int, length: int) -> None:
        outer = self._levels[-1]
        undefined = length == UNDEFINED_LENGTH
        limit = outer.limit if undefined else start + length
        if limit > outer.limit:
            if tag != ITEM or outer.undefined:
                raise _cut(tag, limit - outer.limit)
            limit = outer.limit  # the sequence is here as a whole, so it is the item that lies
        if len(self._levels) >= self._max_levels:
            raise _TooDeepError(f"{tag_text(tag)} is nested deeper than {self._max_levels // 2}.")
        self._levels.append(_Level(tag, vr, encoding, start, limit, undefined=undefined))

    def _close(self) -> None:
        level = self._levels.pop()
        if self._levels:
            is_item = level.tag == ITEM
            child = tuple(level.children) if is_item else level.element(self._data)
            self._levels[-1].children.append(child)


def _cut(tag: int, missing: int) -> DataSetError:
    return DataSetError(
        f"The data set is truncated: {tag_text(tag)} needs {missing} bytes more than there are."
    )


def encode_elements(elements: Iterable[Element], encoding: Encoding) -> bytes:
    """Write elements in the order they come in, sequences and items with their lengths.

    Values of odd length are padded (PS3.5 §6.2). Their bytes are written as they are, so
    they must have the byte order of ``encoding``.

    Raises:
        DataSetError: A value is too long.
    """
    parts: list[bytes | memoryview] = []
    for element in elements:
        if element.items is None:
            value = element.value
            pad = padding(element.vr, len(value))
            header = encode_header(element.tag, element.vr, len(value) + len(pad), encoding)
            parts += (header, value, pad)
        elif element.vr == "SQ":
            content = _encode_items(element.items, encoding)
            parts += (encode_header(element.tag, "SQ", len(content), encoding), content)
        else:  # only the undefined length says that a UN holds items (PS3.5 §6.2.2)
            order = Encoding.IMPLICIT_LITTLE
            parts += (
                encode_header(element.tag, element.vr, UNDEFINED_LENGTH, encoding),
                _encode_items(element.items, order),
                encode_item_header(SEQUENCE_DELIMITER, 0, order),
            )
    return b"".join(parts)


def _encode_items(items: tuple[tuple[Element, ...], ...], encoding: Encoding) -> bytes:
    parts: list[bytes] = []
    for item in items:
        content = encode_elements(item, encoding)
        parts += (encode_item_header(ITEM, len(content), encoding), content)
    return b"".join(parts)
