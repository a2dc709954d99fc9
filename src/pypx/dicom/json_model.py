"""The DICOM JSON model: PS3.18 Annex F.2.

In: a data set. Out: what ``json.dumps`` writes. Bulk data by URI does not belong here:
binary values are inline.
"""

from __future__ import annotations

from math import isfinite, isnan

from pypx.dicom.data_set import effective_vr
from pypx.dicom.encoding import VR_OF_CODE
from pypx.dicom.values import swap_bytes

TYPE_CHECKING = False  # typing takes 3 ms to import
if TYPE_CHECKING:
    from typing import Any

    from pypx.dicom.data_set import DataSet
    from pypx.dicom.elements import Element
    from pypx.dicom.values import Value

__all__ = ["json_of"]

_KNOWN_VRS = frozenset(VR_OF_CODE.values())
_SPECIFIC_CHARACTER_SET = 0x00080005
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def json_of(data_set: DataSet) -> dict[str, Any]:
    """Give the data set as the object of PS3.18 §F.2.2, tags ascending."""
    return {
        f"{element.tag:08X}": _attribute(data_set, element)
        for element in sorted(data_set.elements, key=lambda element: element.tag)
        if element.tag & 0xFFFF  # no group lengths: PS3.18 §F.2.2
    }


def _attribute(data_set: DataSet, element: Element) -> dict[str, Any]:
    vr = effective_vr(element)
    items = data_set.items_of(element.tag)
    if items or element.items is not None:
        sequence: dict[str, Any] = {"vr": "SQ"}
        return sequence | ({"Value": [json_of(item) for item in items]} if items else {})
    values = data_set.values_of(element.tag)
    if vr not in _KNOWN_VRS:
        vr = "UN"
    if all(value == "" for value in values):
        return {"vr": vr}
    if isinstance(values[0], bytes):
        return {"vr": vr, "InlineBinary": _base64(data_set, element)}
    if element.tag == _SPECIFIC_CHARACTER_SET:
        values = ("ISO_IR 192",)  # JSON is UTF-8
    return {"vr": vr, "Value": [_json_value(vr, value) for value in values]}


def _base64(data_set: DataSet, element: Element) -> str:
    from base64 import b64encode

    value = element.value
    if data_set.encoding.order == ">" and element.vr != "UN":
        value = swap_bytes(element.vr, value)  # little endian: PS3.18 §F.2.7
    return b64encode(value).decode("ascii")


def _json_value(vr: str, value: Value) -> Any:
    match vr, value:
        case _, "":
            return None
        case "PN", str(name):
            groups = zip(_GROUPS, name.split("="), strict=False)
            return {label: group for label, group in groups if group}
        case (("DS" | "IS"), str(text)):
            return _json_number(text)
        case (("FD" | "FL"), float(number)) if not isfinite(number):
            return "NaN" if isnan(number) else "inf" if number > 0 else "-inf"
        case _:
            return value


def _json_number(text: str) -> int | float | str:
    """Give the number, or the text where it is none: PS3.18 §F.2.3.1 allows both."""
    if not text.isascii() or "_" in text:
        return text
    for convert in (int, float):
        try:
            number = convert(text)
        except ValueError:
            continue
        return number if isfinite(number) else text
    return text
