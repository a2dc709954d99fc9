"""Write the man pages of all commands.

    python tools/make_man.py FOLDER        # px.1, px-echo.1, …
    man -l FOLDER/px-find.1

In: the commands as they are. Out: pages in the language of man(7). What the wheel has in
share/man/man1 was made here, by hatch_build.py.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from commands import Option, Page, Text, overview, pages

from pypx.version import __version__

__all__ = ["write_pages"]

_WIDTH = 64  # escaped, it is at most 80 in most cases
_EXIT_CODES = (
    ("0", "All is done."),
    ("1", "Done, but something was not: an image that failed or is missing, a row of a list."),
    ("2", "Usage or configuration."),
    ("3", "The network or the association."),
    ("4", "The PACS answered with a failure."),
    ("5", "The archive: no room, no right to write, an index that cannot be used."),
    ("130", "Interrupted."),
)
_ENVIRONMENT = (
    ("PYPX_AET", "Our AE title."),
    ("PYPX_ARCHIVE", "The folder of the archive."),
    ("PYPX_CONFIG", "The configuration."),
    ("NO_COLOR", "No colours, if it is set."),
)
_FILES = (
    ("~/.config/pypx/config.toml", "The configuration; another folder on macOS."),
    ("~/pypx", "The archive, unless the configuration names another folder."),
)


def write_pages(folder: Path) -> list[Path]:
    """Write the pages; give their files.

    Args:
        folder: Made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    every = pages()
    texts = {"px": _text(_of_px(every))}
    texts |= {page.slug: _text(_of_command(page)) for page in every}
    written = []
    for name, text in texts.items():
        path = folder / f"{name}.1"
        path.write_text(text, encoding="ascii")
        written.append(path)
    return written


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def _of_px(every: list[Page]) -> Iterator[str]:
    page = overview()
    first, *others = page.texts
    yield from _head("px", first.flowing)
    yield from (".SH SYNOPSIS", r".B px", r".I COMMAND", r"[\fIOPTIONS\fR] [\fIARGUMENTS\fR]")
    yield ".SH DESCRIPTION"
    yield from _paragraphs((first, *others))
    yield ".SH COMMANDS"
    for one in every:
        yield from (".TP", rf"\fB{_plain(one.slug)}\fR(1)", _flowing(one.summary))
    yield from _tail()


def _of_command(page: Page) -> Iterator[str]:
    yield from _head(page.slug, page.summary)
    yield ".SH SYNOPSIS"
    names = [page.name, page.slug] if page.is_program else [page.name]
    for place, name in enumerate(names):
        yield from [".br"] if place else []
        yield rf"\fB{_plain(name)}\fR {_plain(page.usage)}"
    yield ".SH DESCRIPTION"
    yield from _paragraphs(page.texts)
    yield from _options("OPTIONS", page.options)
    for below in page.commands:
        yield f'.SH "{below.name.upper()}"'
        yield rf"\fB{_plain(below.name)}\fR {_plain(below.usage)}"
        yield ".PP"
        yield from _paragraphs(below.texts)
        yield from _terms(below.options)
    shared = {option.usage: option for one in (*page.commands, page) for option in one.shared}
    yield from _options("OPTIONS OF EVERY COMMAND", tuple(shared.values()))
    yield from _tail()


def _head(name: str, summary: str) -> Iterator[str]:
    yield r".\" Made by tools/make_man.py."
    yield f'.TH {name.upper()} 1 "{_date()}" "pypx {__version__}" "DICOM Query/Retrieve"'
    yield ".nh"  # no hyphens in names of options
    yield ".SH NAME"
    yield rf"{_plain(name)} \- {_plain(summary.rstrip('.'))}"


def _tail() -> Iterator[str]:
    for title, rows in (
        ("EXIT STATUS", _EXIT_CODES),
        ("ENVIRONMENT", _ENVIRONMENT),
        ("FILES", _FILES),
    ):
        yield f'.SH "{title}"'
        for term, text in rows:
            yield from (".TP", rf"\fB{_plain(term)}\fR", _flowing(text))
    yield from (".SH SEE ALSO", r"\fBpx\fR(1)")


def _date() -> str:
    moment = os.environ.get("SOURCE_DATE_EPOCH")
    when = datetime.fromtimestamp(int(moment), UTC) if moment else datetime.now(UTC)
    return when.strftime("%Y-%m-%d")


def _paragraphs(texts: Iterable[Text]) -> Iterator[str]:
    for place, text in enumerate(texts):
        if text.verbatim:
            yield from (".PP" if place else ".PD", ".nf", ".RS 4")
            yield from (_line(line) for line in text.lines)
            yield from (".RE", ".fi")
        else:
            yield from [".PP"] if place else []
            yield _flowing(text.flowing)


def _options(title: str, options: tuple[Option, ...]) -> Iterator[str]:
    if options:
        yield f'.SH "{title}"'
        yield from _terms(options)


def _terms(options: Iterable[Option]) -> Iterator[str]:
    for option in options:
        flags, _, value = (
            option.usage.partition(" ") if ", " not in option.usage else (option.usage, "", "")
        )
        yield ".TP"
        yield rf"\fB{_plain(flags)}\fR" + (rf" \fI{_plain(value)}\fR" if value else "")
        yield _flowing(option.text or "")


def _plain(text: str) -> str:
    r"""Write text in ASCII, with ``\[u2026]`` for what is not; a minus is one."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return re.sub(r"[^\x20-\x7e]", lambda found: rf"\[u{ord(found[0]):04X}]", text)


def _line(text: str) -> str:
    """Write a line that begins with no request."""
    text = _plain(text)
    return rf"\&{text}" if text[:1] in (".", "'") else text


def _flowing(text: str) -> str:
    """Write a paragraph in short lines, which are filled again when they are shown."""
    lines = textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(_line(line) for line in lines)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/make_man.py FOLDER")
    print(f"{len(write_pages(Path(sys.argv[1])))} man pages are in {sys.argv[1]}")
