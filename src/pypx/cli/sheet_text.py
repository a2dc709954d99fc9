"""Tables as text: CSV with commas or, as a German Excel writes it, semicolons, and TSV.

In: a stream of bytes. Out: lines of texts. Which encoding it is, is found out from all of the
bytes before the first line is given, so that no name is read half in one and half in the other.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from io import TextIOWrapper
from itertools import chain
from typing import BinaryIO

from pypx.cli.sheet import Line, Note
from pypx.errors import ConfigError

__all__ = ["TextSheet"]

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PIECE = 1 << 16


class TextSheet:
    """A CSV or TSV file.

    Args:
        stream: The file, at its beginning; it is closed with this.
        name: What it is called in sentences.
        note: Is told where the encoding is guessed.

    Raises:
        ConfigError: It is no text.
    """

    def __init__(self, stream: BinaryIO, name: str, note: Note) -> None:
        self.name = name
        self._text = TextIOWrapper(stream, _encoding(stream, name, note), newline="")

    def lines(self) -> Iterator[Line]:
        """Give the lines; one that breaks the rules of CSV has an error instead of cells."""
        first = self._text.readline()
        if not first:
            return
        reader = csv.reader(
            chain([first], self._text),
            delimiter=_delimiter(first),
            strict=True,
            skipinitialspace=True,
        )
        while True:
            number = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error:
                yield Line(number, (), _broken(number, reader.line_num))
            else:
                yield Line(number, cells)

    def text(self, cell: str, vr: str) -> str:
        """Give a cell without the spaces around it."""
        return cell.strip()

    def close(self) -> None:
        """Close the file."""
        self._text.close()


def _delimiter(header: str) -> str:
    """Say what stands between headings; a comma can also be within one, ``0010,0020``."""
    return next((mark for mark in "\t;" if mark in header), ",")


def _broken(first: int, last: int) -> str:
    if last > first:
        return f"a quotation mark is not closed, so the lines {first} to {last} were not understood"
    return "a quotation mark is not closed, or stands where none may be"


def _encoding(stream: BinaryIO, name: str, note: Note) -> str:
    start = stream.read(3)
    marked = next((encoding for mark, encoding in _MARKS if start.startswith(mark)), None)
    if marked is not None and _fits(stream, marked):
        return marked
    if marked is None and _fits(stream, "utf-8"):
        return "utf-8"
    if marked is None and _fits(stream, "cp1252"):
        note(
            f"{name} is no UTF-8; it is read as Windows-1252.",
            "Save it as CSV UTF-8 if letters are wrong.",
        )
        return "cp1252"
    raise ConfigError(
        f"{name} is no text in UTF-8, UTF-16 or Windows-1252.",
        hint="Save it as CSV UTF-8, or give an Excel file (.xlsx).",
    )


def _fits(stream: BinaryIO, encoding: str) -> bool:
    """Read all of it, and say whether that is text; the stream is at its beginning again."""
    decoder = codecs.getincrementaldecoder(encoding)()
    stream.seek(0)
    try:
        while piece := stream.read(_PIECE):
            if "\0" in decoder.decode(piece):
                return False
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    finally:
        stream.seek(0)
    return True
