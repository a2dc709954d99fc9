"""Pages of the site that are made when it is built: the manual, and the reference of commands.

In: mkdocs, which calls this, README.md and its like, and the commands. Out: pages. The manual
is README.md, so that nothing is said twice.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page as SitePage

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "src")]

from commands import Option, Page, Text, overview, pages  # noqa: E402

_COPIED = {
    "manual.md": ROOT / "README.md",
    "changelog.md": ROOT / "CHANGELOG.md",
    "contributing.md": ROOT / "CONTRIBUTING.md",
    "reporting.md": ROOT / "SECURITY.md",
}
_PAGES = {copied: page for page, copied in _COPIED.items()}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put pages of docs/ that the navigation does not name behind the others."""
    assert config.nav is not None
    named = set(_named(config.nav))
    folder = Path(config.docs_dir)
    others = sorted(str(page.relative_to(folder)) for page in folder.rglob("*.md"))
    if missing := [page for page in others if page not in named]:
        config.nav.append({"More": missing})
    return config


def _named(nav: list[object] | dict[str, object] | str) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from _named(entry)  # type: ignore[arg-type]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are in no file of docs/."""
    for page, source in _COPIED.items():
        text = source.read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    reference = "\n".join(_reference())
    files.append(File.generated(config, "reference/commands.md", content=reference))
    return files


def on_page_content(html: str, **_: object) -> str:
    """Show the roles of docstrings, such as ``:class:`~pypx.Address```, as what they name."""

    def named(found: re.Match[str]) -> str:
        name = found[2].rpartition(".")[2] if found[1] else found[2]
        return f"<code>{name}</code>"

    return re.sub(r":[a-z]+:<code>(~?)([\w.]+)</code>", named, html)


def on_page_markdown(markdown: str, page: SitePage, config: MkDocsConfig, **_: object) -> str:
    """Turn links to files of the repository to where the site has them, or into plain text."""
    docs = Path(config.docs_dir)
    source = _COPIED.get(page.file.src_uri, docs / page.file.src_uri)
    here = (docs / page.file.src_uri).parent

    def turn(found: re.Match[str]) -> str:
        text, target, anchor = found[1], (source.parent / found[2]).resolve(), found[3] or ""
        if target in _PAGES:
            target = docs / _PAGES[target]
        elif not target.exists():
            return found[0]  # a page that is made, or a mistake: mkdocs says which
        elif not target.is_relative_to(docs):
            return text
        elif target.is_dir():
            target /= "README.md"
        return f"[{text}]({os.path.relpath(target, here)}{anchor})"

    return re.sub(r"\[([^\]\n]+)\]\(([^)#:\s]+)(#[^)]*)?\)", turn, markdown)


def _reference() -> Iterator[str]:
    yield "# Commands\n"
    yield from _texts(overview().texts)
    yield "| command | does |\n|---|---|"
    every = pages()
    for page in every:
        yield f"| [{page.name}](#{page.slug}) | {_cell(page.summary)} |"
    yield ""
    for page in every:
        yield from _section(page, 2)
        for below in page.commands:
            yield from _section(below, 3)
    yield "## Options of every command {#shared}\n"
    shared = {option.usage: option for page in every for option in page.shared}
    yield from _options(tuple(shared.values()))


def _section(page: Page, level: int) -> Iterator[str]:
    yield f"{'#' * level} {page.name} {{#{page.slug}}}\n"
    usage = f"{page.name} {page.usage}"
    if page.is_program:
        usage += f"\n{page.slug} {page.usage}"
    yield f"```text\n{usage}\n```\n"
    yield from _texts(page.texts)
    yield from _options(page.options)
    names = [option.usage.split()[0].rstrip(",") for option in page.shared]
    if names:
        yield f"It also takes {', '.join(f'`{name}`' for name in names)}: see [below](#shared).\n"


def _texts(texts: tuple[Text, ...]) -> Iterator[str]:
    for text in texts:
        if text.verbatim:
            yield "```text\n" + "\n".join(text.lines) + "\n```\n"
        else:
            yield _escaped(text.flowing) + "\n"


def _options(options: tuple[Option, ...]) -> Iterator[str]:
    if options:
        yield "| option | what |\n|---|---|"
        for option in options:
            yield f"| `{option.usage}` | {_cell(option.text)} |"
        yield ""


def _escaped(text: str) -> str:
    """Write text that has no markup; options and values look like themselves."""
    text = text.replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([*_\[\]`])", r"\\\1", text)
    return re.sub(r"(?<![\w-])--?[a-zA-Z][\w-]*", lambda found: f"`{found[0]}`", text)


def _cell(text: str) -> str:
    return _escaped(text).replace("|", "&#124;")
