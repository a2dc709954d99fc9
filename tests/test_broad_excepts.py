"""Where every exception is caught stands in docs/decisions/0007, with the reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "pypx"
PAGE = ROOT / "docs" / "decisions" / "0007-broad-excepts.md"
BROAD = {"Exception", "BaseException"}


def caught(node: ast.ExceptHandler) -> set[str]:
    if node.type is None:
        return {"BaseException"}
    return {one.id for one in ast.walk(node.type) if isinstance(one, ast.Name)}


def broad(tree: ast.AST, function: str = "") -> Iterator[tuple[str, int]]:
    """Give the function and the line of each broad except that does not end with ``raise``."""
    for node in ast.iter_child_nodes(tree):
        inner = node.name if isinstance(node, ast.FunctionDef) else function
        if isinstance(node, ast.ExceptHandler) and caught(node) & BROAD:
            last = node.body[-1]
            if not (isinstance(last, ast.Raise) and last.exc is None):
                yield function, node.lineno
        yield from broad(node, inner)


def test_each_is_on_the_page() -> None:
    found = set()
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for function, line in broad(ast.parse(text)):
            found.add((path.relative_to(SOURCE).as_posix(), function))
            assert "BLE001" in text.splitlines()[line - 1], f"{path}:{line}"
    listed = re.findall(r"^\| `(\S+)` `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert found == set(listed)
    assert len(listed) == len(set(listed))
