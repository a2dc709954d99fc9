"""A table in a file, line by line: what text files and Excel files have in common.

In: a path, or ``-`` for the standard input. Out: lines of cells, and the text of a cell. What
the first line and the cells mean is not known here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, Protocol, cast

from pypx.errors import ConfigError
from pypx.values import frozen

__all__ = ["CellError", "Line", "Note", "Sheet", "open_sheet"]

Note = Callable[[str, str], None]
"""Takes what the user should know of the file: a sentence, and what to do about it."""

_ZIP = b"PK\x03\x04"  # .xlsx
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # .xls, and an .xlsx with a password
_IN_MEMORY = 1 << 20


class CellError(ValueError):
    """A cell has no text that a key could have; the message goes on after its heading."""


@frozen
class Line:
    """One line of a table.

    Attributes:
        number: Its number as users see it; the first is 1.
        cells: What :meth:`Sheet.text` reads.
        error: Why it has none.
    """

    number: int
    cells: Sequence[Any]
    error: str = ""


class Sheet(Protocol):
    """A table that is read once, from its beginning.

    Attributes:
        name: What it is called in sentences.
    """

    name: str

    def lines(self) -> Iterator[Line]:
        """Give the lines; those without any cell may be left out.

        Raises:
            ConfigError: The file is damaged.
            OSError, UnicodeDecodeError: It cannot be read, or has changed meanwhile.
        """

    def text(self, cell: Any, vr: str) -> str:
        """Give a cell as text that fits a VR.

        Raises:
            CellError: It cannot be one.
        """

    def close(self) -> None:
        """Close the file."""


def open_sheet(path: str, note: Note) -> Sheet:
    """Open a table, whatever its name says of its kind.

    Args:
        path: The file; ``-`` is the standard input.
        note: Is told how the file is read where that is not certain.

    Raises:
        ConfigError: It cannot be read.
    """
    name = "<stdin>" if path == "-" else path
    try:
        stream = _standard_input() if path == "-" else open(path, "rb")  # noqa: PTH123, SIM115
        try:
            return _sheet(stream, name, note)
        except BaseException:
            stream.close()
            raise
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror or error}.") from None


def _sheet(stream: BinaryIO, name: str, note: Note) -> Sheet:
    start = stream.read(len(_OLE))
    stream.seek(0)
    if start == _OLE:
        raise ConfigError(
            f"{name} is an Excel file of the old kind, or has a password.",
            hint="Save it as .xlsx without a password, or as CSV.",
        )
    if start.startswith(_ZIP):
        from pypx.cli.sheet_excel import ExcelSheet

        return ExcelSheet(stream, name, note)
    from pypx.cli.sheet_text import TextSheet

    return TextSheet(stream, name, note)


def _standard_input() -> BinaryIO:
    """Give what can be read twice: how a text is encoded is known only at its end."""
    import shutil
    import tempfile

    spool = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
    stdin = getattr(sys.stdin, "buffer", None)  # None when it was closed: px … <&-
    if stdin is not None:
        shutil.copyfileobj(stdin, spool)
        spool.seek(0)
    return cast("BinaryIO", spool)
