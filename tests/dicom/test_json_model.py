from __future__ import annotations

import json
import math
from struct import pack
from typing import Any

import pytest

from pypx.dicom.data_set import DataSet
from pypx.dicom.encoding import Encoding
from tests.dicom.vectors import big, explicit, implicit, item, open_sequence

EXPLICIT = Encoding.EXPLICIT_LITTLE

VECTORS: list[tuple[bytes, str, dict[str, Any]]] = [
    (explicit(0x00080020, "DA", b"20130409"), "00080020", {"vr": "DA", "Value": ["20130409"]}),
    (explicit(0x00080050, "SH", b""), "00080050", {"vr": "SH"}),
    (explicit(0x00080050, "SH", b"  "), "00080050", {"vr": "SH"}),
    (explicit(0x00080061, "CS", b"CT\\PET "), "00080061", {"vr": "CS", "Value": ["CT", "PET"]}),
    (explicit(0x00080008, "CS", b"A\\\\B "), "00080008", {"vr": "CS", "Value": ["A", None, "B"]}),
    (explicit(0x00080008, "CS", b"\\\\"), "00080008", {"vr": "CS"}),
    (
        explicit(0x00100010, "PN", b"Wang^XiaoDong=W^X=w"),
        "00100010",
        {
            "vr": "PN",
            "Value": [{"Alphabetic": "Wang^XiaoDong", "Ideographic": "W^X", "Phonetic": "w"}],
        },
    ),
    (
        explicit(0x00101001, "PN", b"=I\\A==P "),
        "00101001",
        {"vr": "PN", "Value": [{"Ideographic": "I"}, {"Alphabetic": "A", "Phonetic": "P"}]},
    ),
    (explicit(0x00201208, "IS", b"4 "), "00201208", {"vr": "IS", "Value": [4]}),
    (explicit(0x00201208, "IS", b"1A"), "00201208", {"vr": "IS", "Value": ["1A"]}),
    (
        explicit(0x00280030, "DS", b"1.5\\2\\-1e-3\\1_0\\nan\\x"),
        "00280030",
        {"vr": "DS", "Value": [1.5, 2, -0.001, "1_0", "nan", "x"]},
    ),
    (explicit(0x00280030, "DS", b"9" * 5000), "00280030", {"vr": "DS", "Value": ["9" * 5000]}),
    (explicit(0x00280010, "US", b"\x00\x02"), "00280010", {"vr": "US", "Value": [512]}),
    (
        explicit(0x00189073, "FD", pack("<4d", 1.5, math.nan, math.inf, -math.inf)),
        "00189073",
        {"vr": "FD", "Value": [1.5, "NaN", "inf", "-inf"]},
    ),
    (
        explicit(0x00280009, "AT", b"\x18\0\x63\x10"),
        "00280009",
        {"vr": "AT", "Value": ["00181063"]},
    ),
    (explicit(0x00091001, "UN", b"\1\2\3\4"), "00091001", {"vr": "UN", "InlineBinary": "AQIDBA=="}),
    (explicit(0x00091001, "ZZ", b"\1\2"), "00091001", {"vr": "UN", "InlineBinary": "AQI="}),
    (explicit(0x00280010, "UN", b"\x00\x02"), "00280010", {"vr": "US", "Value": [512]}),
    (explicit(0x00281201, "OW", b"\1\2"), "00281201", {"vr": "OW", "InlineBinary": "AQI="}),
    (explicit(0x00081140, "SQ", b""), "00081140", {"vr": "SQ"}),
    (
        explicit(0x00081140, "SQ", item(b"") + item(explicit(0x00280010, "US", b"\1\0"))),
        "00081140",
        {"vr": "SQ", "Value": [{}, {"00280010": {"vr": "US", "Value": [1]}}]},
    ),
    (
        open_sequence(0x00091001, item(implicit(0x00280010, b"\1\0")), "UN"),
        "00091001",
        {"vr": "SQ", "Value": [{"00280010": {"vr": "US", "Value": [1]}}]},
    ),
    (open_sequence(0x7FE00010, item(b"ab"), "OB"), "7FE00010", {"vr": "OB"}),
]


@pytest.mark.parametrize(("data", "tag", "attribute"), VECTORS)
def test_vectors(data: bytes, tag: str, attribute: dict[str, Any]) -> None:
    model = DataSet.from_bytes(data, EXPLICIT).to_json()
    assert model == {tag: attribute}
    assert json.loads(json.dumps(model, allow_nan=False)) == model


def test_order_group_lengths_and_character_set() -> None:
    model = DataSet.from_bytes(
        explicit(0x00100010, "PN", b"\xc4")
        + explicit(0x00100000, "UL", b"\0\0\0\0")
        + explicit(0x00080005, "CS", b"ISO_IR 100"),
        EXPLICIT,
    ).to_json()
    assert list(model) == ["00080005", "00100010"]
    assert model["00080005"]["Value"] == ["ISO_IR 192"]
    assert model["00100010"]["Value"] == [{"Alphabetic": "Ä"}]


def test_binary_values_are_little_endian() -> None:
    data = big(0x00281201, "OW", b"\1\2") + big(0x00091001, "UN", b"\1\2")
    model = DataSet.from_bytes(data, Encoding.EXPLICIT_BIG).to_json()
    assert model["00281201"]["InlineBinary"] == "AgE="
    assert model["00091001"]["InlineBinary"] == "AQI="
