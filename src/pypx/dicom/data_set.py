"""A data set: elements by tag or keyword, as text.

In: bytes, elements, or keywords with values. Out: text by keyword, JSON, bytes. A data
set does not change once it is made. Its repr names no values, because they may identify
a patient.
"""

from __future__ import annotations

from functools import lru_cache

from pypx.dicom.charset import decode_text_checked
from pypx.dicom.compose import compose
from pypx.dicom.dictionary import find_tag, keyword_of, tag_of, tag_text, vr_of
from pypx.dicom.elements import Element, decode_elements, decode_items, encode_elements
from pypx.dicom.encoding import Encoding, settle_encoding
from pypx.dicom.values import TEXT_VRS, Value, decode_value, swap_bytes, text_of, text_values
from pypx.errors import DataSetError

TYPE_CHECKING = False  # typing takes 3 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from pydicom.dataset import Dataset

__all__ = ["DataSet", "effective_vr"]

_SPECIFIC_CHARACTER_SET = 0x00080005


class DataSet:
    """An immutable mapping of tags to elements.

    Keys are keywords (``"PatientID"``), tags as text (``"0010,0020"``) or tags as int.

    Args:
        elements: Of two with the same tag the last one counts.
        encoding: Which the values of the elements have.
        charsets: The character sets of the data set around this one, if it is an item;
            a Specific Character Set of its own comes before them (PS3.5 §7.5.3).
        notes: What else the reader of the data set has to say to the user.
    """

    __slots__ = ("_charsets", "_elements", "_encoding", "_notes", "_source")

    def __init__(
        self,
        elements: Iterable[Element] = (),
        encoding: Encoding = Encoding.EXPLICIT_LITTLE,
        *,
        charsets: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
    ) -> None:
        self._elements = {element.tag: element for element in elements}
        self._encoding = encoding
        self._notes = notes
        self._source: bytes | None = None
        own = self._elements.get(_SPECIFIC_CHARACTER_SET)
        self._charsets = charsets if own is None else text_values("CS", own.value, ())

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, encoding: Encoding) -> DataSet:
        """Read a whole data set, for example the identifier of a C-FIND response.

        The bytes are copied if they are a view.

        Raises:
            DataSetError: An element does not fit into the data, or is nested too deep.
        """
        source = bytes(data)
        encoding = settle_encoding(source, encoding)
        data_set = cls(decode_elements(source, encoding), encoding)
        data_set._source = source
        return data_set

    @classmethod
    def from_keywords(
        cls, keywords: Mapping[str, Any], charsets: tuple[str, ...] | None = None
    ) -> DataSet:
        r"""Make a data set, for example the identifier of a query.

        Args:
            keywords: A keyword or ``gggg,eeee``, and its value: text (with ``\`` between
                values), a number, None for an empty value, or a list of these; for a
                sequence a mapping like this one, or a list of such.
            charsets: Specific Character Set. Left out, it is the attribute among the
                keywords, else the first of ASCII, Latin-1 and UTF-8 that is enough. The
                attribute is added only if a character is not ASCII.

        Raises:
            ConfigError: There is no such keyword.
            DataSetError: A value does not fit its VR or the character set.
        """
        return cls(compose(keywords, charsets), Encoding.EXPLICIT_LITTLE)

    def read_as(self, character_set: str) -> DataSet:
        """Give the same elements, their text read in another character set than is declared.

        Args:
            character_set: A term of Specific Character Set.
        """
        made = DataSet(self._elements.values(), self._encoding, notes=self._notes)
        made._source = self._source
        made._charsets = (character_set,)
        return made

    def to_bytes(self, encoding: Encoding) -> bytes:
        """Write the data set, its elements in ascending order (PS3.5 §7.1).

        What was read with the same encoding comes back byte for byte. Otherwise group
        lengths are left out, sequences get their length, and encapsulated pixel data
        becomes empty: only its place is known.

        Raises:
            DataSetError: A value is too long for this encoding.
        """
        if self._source is not None and encoding is self._encoding:
            return self._source
        tags = (tag for tag in sorted(self._elements) if tag & 0xFFFF)
        elements: Iterable[Element] = (self._elements[tag] for tag in tags)
        if encoding.order != self._encoding.order:
            elements = _swapped(elements)
        return encode_elements(elements, encoding)

    @property
    def elements(self) -> tuple[Element, ...]:
        """The elements in the order they came in."""
        return tuple(self._elements.values())

    @property
    def encoding(self) -> Encoding:
        """The encoding that the raw values of the elements have."""
        return self._encoding

    @property
    def charsets(self) -> tuple[str, ...]:
        """The values of Specific Character Set that apply."""
        return self._charsets

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know: notes of the reader, text that may be wrong."""
        declared = "\\".join(self._charsets) or "none is declared"
        doubtful = (
            f"{_name(element.tag)} may be shown wrongly: its bytes do not fit "
            f"the character set ({declared})."
            for element in self._elements.values()
            if element.vr in TEXT_VRS
            and decode_text_checked(element.value, self._charsets, vr=element.vr)[1]
        )
        return (*self._notes, *doubtful)

    def __len__(self) -> int:
        return len(self._elements)

    def __iter__(self) -> Iterator[str]:
        return self.keywords()

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str | int) and self._find(key) is not None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DataSet):
            return NotImplemented
        return self._elements == other._elements and self._encoding is other._encoding

    def __hash__(self) -> int:
        return hash(frozenset(self._elements))

    def __repr__(self) -> str:
        return f"<DataSet of {len(self._elements)} elements, {self._encoding.name}>"

    def __getitem__(self, key: str | int) -> str:
        r"""Give the text of an element, ``\`` between its values; KeyError if it is absent."""
        text = self.get(key)
        if text is None:
            raise KeyError(key)
        return text

    def __getattr__(self, keyword: str) -> str:
        text = None if keyword.startswith("_") else self.get(keyword)
        if text is None:
            raise AttributeError(f"The data set has no {keyword}.", name=keyword, obj=self)
        return text

    def get(self, key: str | int, default: str | None = None) -> str | None:
        r"""Give the text of an element, ``\`` between its values, or the default."""
        tag = key if isinstance(key, int) else find_tag(key)
        element = None if tag is None else self._elements.get(tag)
        if element is None:
            return default
        if element.vr in TEXT_VRS and element.items is None:
            return text_of(element.vr, element.value, self._charsets)
        return "\\".join(self._texts(element))

    def values_of(self, key: str | int) -> tuple[Value, ...]:
        """Give the values of an element, numbers as numbers; none if it is absent or empty."""
        element = self._find(key)
        return () if element is None else self._values(element)

    def items_of(self, key: str | int) -> tuple[DataSet, ...]:
        """Give the items of a sequence; none if it is absent, empty or no sequence."""
        element = self._find(key)
        if element is None:
            return ()
        items, encoding = element.items, self._encoding
        if items is not None and element.vr != "SQ":
            encoding = Encoding.IMPLICIT_LITTLE
        elif items is None and element.vr == "UN" and vr_of(element.tag) == "SQ":
            encoding = Encoding.IMPLICIT_LITTLE
            try:
                items = decode_items(element.value, encoding)
            except DataSetError:
                return ()
        return tuple(DataSet(item, encoding, charsets=self._charsets) for item in items or ())

    def keywords(self) -> Iterator[str]:
        """Give the keywords in the order they came in, ``gggg,eeee`` of those without one."""
        return map(_name, self._elements)

    def to_dict(self) -> dict[str, Any]:
        """Give keyword to text: a list if there are many values, None if there is none.

        A sequence is a list of such dicts. Group lengths are left out.
        """
        result: dict[str, Any] = {}
        charsets = self._charsets
        for tag, element in self._elements.items():
            if not tag & 0xFFFF:
                continue
            if element.vr in TEXT_VRS and element.items is None:
                texts = text_values(element.vr, element.value, charsets)
            elif items := self.items_of(tag):
                result[_name(tag)] = [item.to_dict() for item in items]
                continue
            else:
                texts = self._texts(element)
            result[_name(tag)] = texts[0] if len(texts) == 1 else list(texts) or None
        return result

    def to_json(self) -> dict[str, Any]:
        """Give the DICOM JSON model (PS3.18 Annex F.2)."""
        from pypx.dicom.json_model import json_of  # only --dicom-json needs it

        return json_of(self)

    def to_pydicom(self) -> Dataset:
        """Give what pydicom reads from the same bytes."""
        from io import BytesIO

        from pydicom.filereader import read_dataset  # 0.4 s to import

        data = self.to_bytes(self._encoding)
        return read_dataset(BytesIO(data), not self._encoding.explicit, self._encoding.order == "<")

    def _find(self, key: str | int) -> Element | None:
        tag = key if isinstance(key, int) else find_tag(key)
        return None if tag is None else self._elements.get(tag)

    def _values(self, element: Element) -> tuple[Value, ...]:
        if element.items is not None:
            return ()
        encoding = Encoding.IMPLICIT_LITTLE if element.vr == "UN" else self._encoding
        return decode_value(effective_vr(element), element.value, encoding, self._charsets)

    def _texts(self, element: Element) -> tuple[str, ...]:
        return tuple(
            _text_of_bytes(value) if isinstance(value, bytes) else str(value)
            for value in self._values(element)
        )


def effective_vr(element: Element) -> str:
    """Give the VR to read the value with: of UN that of the dictionary (PS3.5 §6.2.2)."""
    if element.vr != "UN":
        return element.vr
    known = vr_of(element.tag)
    return "UN" if known == "SQ" else known


@lru_cache(4096)
def _name(tag: int) -> str:
    """Give the keyword that leads back to this very tag, else ``gggg,eeee``."""
    keyword = keyword_of(tag)
    if keyword is None or tag_of(keyword) != tag:
        return tag_text(tag)[1:-1]
    return keyword


def _text_of_bytes(value: bytes) -> str:
    """Write bytes of no known meaning: as they are if they are text, else in hexadecimal."""
    text = value.rstrip(b" \0")
    if text.isascii() and text.decode("ascii").isprintable():
        return text.decode("ascii")
    return value.hex()


def _swapped(elements: Iterable[Element]) -> Iterator[Element]:
    for element in elements:
        items = element.items
        if items is None:
            yield Element(element.tag, element.vr, swap_bytes(element.vr, element.value))
        elif element.vr == "SQ":
            turned = tuple(tuple(_swapped(item)) for item in items)
            yield Element(element.tag, element.vr, b"", turned)
        else:  # a UN holds little endian in all encodings
            yield element
