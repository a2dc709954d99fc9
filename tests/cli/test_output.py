"""Text that does no harm, cells that are no formulas, JSON that is JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pypx.cli.output import Output, cell, json_text, visible
from pypx.cli.show import person_name, size
from pypx.cli.table import Column, draw

HARMFUL = [chr(code) for code in (0, 7, 9, 10, 13, 0x1B, 0x7F, 0x9B, 0x200F, 0x202E, 0x2066)]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Doe^John", "Doe^John"),
        ("Müller 山田", "Müller 山田"),
        ("\u3000wide\u00a0space", "\u3000wide\u00a0space"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # a joiner that Persian needs
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\tc", "a\\x0ab\\x09c"),
        ("\x9b2J", "\\x9b2J"),
        ("a\u202etxt.exe", "a\\u202etxt.exe"),
        ("\ud800", "\\ud800"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
def test_what_is_visible_has_nothing_harmful_and_can_be_encoded(text: str) -> None:
    shown = visible(text)
    assert not set(shown) & set(HARMFUL)
    shown.encode()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        ("CT", "CT"),
        (12, "12"),
        (["CT", "MR"], "CT\\MR"),
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM", "'@SUM"),
        ("a=b", "a=b"),
    ],
)
def test_cell(value: object, shown: str) -> None:
    assert cell(value) == shown


@given(st.recursive(st.text() | st.none() | st.integers(), st.lists))
def test_json_says_the_same_and_does_no_harm(value: object) -> None:
    text = json_text(value)
    assert json.loads(text) == value
    assert not set(text) & set(HARMFUL)
    text.encode()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Doe^John", "Doe, John"),
        ("Doe", "Doe"),
        ("Doe^John^Q^Dr^PhD", "Doe, Dr John Q, PhD"),
        ("^John", "John"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou (山田 太郎, やまだ たろう)"),
        ("=山田^太郎", "山田 太郎"),
        ("", ""),
        (None, ""),
        (["A^B", "C^D"], "A, B, C^D"),
    ],
)
def test_person_name(name: object, shown: str) -> None:
    assert person_name(name).startswith(shown[:4])
    if not isinstance(name, list):
        assert person_name(name) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (127096, "127 kB"), (5.2e9, "5.2 GB")],
)
def test_size(number: float, shown: str) -> None:
    assert size(number) == shown


def columns() -> list[Column]:
    return [
        Column("Date", ["2024-01-31", "2024-02-01"]),
        Column("Description", ["a" * 40, "山" * 20]),
        Column("Sex", ["M", ""], rank=9),
        Column("Empty", ["", ""]),
        Column("Images", ["1", "12"], numeric=True),
        Column("UID", ["1.2.3" * 10, "1.2.4"], long=True),
    ]


def test_a_table_without_a_limit_has_all_on_one_line() -> None:
    text, dropped = draw(columns())
    header, first, second = text.splitlines()
    assert dropped == []
    assert "Empty" not in header
    assert first.index("1.2.3") == header.index("UID")
    assert header.index("UID") - second.index("1.2.4") == 20  # ideographs are two columns wide
    assert text == "\n".join(line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("width", [80, 64, 50, 40])
def test_a_table_fits(width: int) -> None:
    from pypx.cli.table import width_of

    text, dropped = draw(columns(), width=width)
    rows = [line for line in text.splitlines() if not line.startswith("  ")]
    assert max(map(width_of, rows)) <= width
    assert len(text.splitlines()) == 5
    assert dropped == ([] if width > 66 else ["Sex"])
    assert ("…" in text) is (width < 64)


def test_a_table_of_long_columns_only() -> None:
    text, _ = draw([Column("UID", ["1" * 64], long=True)], width=40)
    assert text.splitlines() == ["UID", "1" * 64]


def test_numbers_are_set_to_the_right() -> None:
    text, _ = draw([Column("N", ["1", "22"], numeric=True)])
    assert text.splitlines() == [" N", " 1", "22"]


def test_a_device_or_a_pipe_is_written_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        out = Output()
        out.open_file(str(pipe))
        out.write("text")
        out.close()
        assert os.read(reading, 10) == b"text"
        out.open_file(str(pipe))
        out.discard()
    finally:
        os.close(reading)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]
