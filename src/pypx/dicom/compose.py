"""Elements from keywords and Python values, as a query or a response is written down.

In: a mapping of keywords to values. Out: elements in explicit VR little endian, in
ascending order. Bytes that came from a peer belong to ``elements``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pypx.dicom.charset import charset_for
from pypx.dicom.dictionary import keyword_of, parse_tag, tag_text, vr_of
from pypx.dicom.elements import Element
from pypx.dicom.encoding import Encoding
from pypx.dicom.values import TEXT_VRS, encode_value
from pypx.errors import DataSetError

TYPE_CHECKING = False  # typing takes 3 ms to import
if TYPE_CHECKING:
    from typing import Any

__all__ = ["compose"]

_SPECIFIC_CHARACTER_SET = 0x00080005


def compose(keywords: Mapping[str, Any], charsets: tuple[str, ...] | None) -> list[Element]:
    """Make elements; ``DataSet.from_keywords`` says what is allowed.

    Raises:
        ConfigError: There is no such keyword.
        DataSetError: A value does not fit its VR or the character set.
    """
    values = {parse_tag(keyword): value for keyword, value in keywords.items()}
    text = "".join(_texts(keywords))
    if charsets is None:
        charsets = _declared(values.get(_SPECIFIC_CHARACTER_SET)) or charset_for(text)
    if charsets and not text.isascii():
        values[_SPECIFIC_CHARACTER_SET] = list(charsets)
    return _elements(values, charsets)


def _declared(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split("\\")) if value else ()
    return tuple(value or ())


def _texts(value: Any) -> Iterator[str]:
    """Give all text in values and the values inside them."""
    match value:
        case str():
            yield value
        case Mapping():
            for inner in value.values():
                yield from _texts(inner)
        case list() | tuple():
            for inner in value:
                yield from _texts(inner)


def _elements(values: Mapping[int, Any], charsets: tuple[str, ...]) -> list[Element]:
    elements = []
    for tag, value in sorted(values.items()):
        try:
            elements.append(_element(tag, value, charsets))
        except DataSetError as error:
            name = keyword_of(tag) or tag_text(tag)
            raise DataSetError(f"{name}: {error.message}", hint=error.hint) from None
    return elements


def _element(tag: int, value: Any, charsets: tuple[str, ...]) -> Element:
    vr = vr_of(tag)
    many = list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
    if vr == "SQ":
        return Element(tag, vr, b"", tuple(_item(item, charsets) for item in many))
    for one in many:
        if not isinstance(one, str | int | float | bytes | None):
            raise DataSetError(f"A value cannot be of type {type(one).__name__}.")
    if vr not in TEXT_VRS and vr[0] != "O" and vr != "UN":
        many = [
            part for one in many for part in (one.split("\\") if isinstance(one, str) else [one])
        ]
    return Element(tag, vr, encode_value(vr, many, Encoding.EXPLICIT_LITTLE, charsets))


def _item(value: Any, charsets: tuple[str, ...]) -> tuple[Element, ...]:
    if not isinstance(value, Mapping):
        raise DataSetError("An item of a sequence must be a mapping of keywords to values.")
    return tuple(_elements({parse_tag(key): inner for key, inner in value.items()}, charsets))
