"""The table of known attacks: each row has a public record, and tests that exist."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
TABLE = (REPOSITORY / "docs/known-attacks.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in TABLE.splitlines()
    if line.startswith("| ") and not line.startswith("| id |")
]
RECORD = re.compile(r"(CVE-\d{4}-\d{4,}|GHSA-[\w-]+|[\w-]+ #\d+|ICSMA-\d\d-\d{3}-\d\d)")


@functools.cache
def functions_of(path: str) -> set[str]:
    """Give the tests of a file, with those of classes as ``Class::test``."""
    found = set()
    for node in ast.parse((REPOSITORY / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{one.name}" for one in node.body if hasattr(one, "name")}
    return found


def test_each_row_has_a_public_record_and_a_test_that_exists() -> None:
    assert len(ROWS) >= 28
    for row in ROWS:
        assert len(row) == 4, row
        record, what, here, tests = row
        assert RECORD.search(record), row
        assert what and here, row
        named = re.findall(r"`([^`:]+\.py)::([\w:]+)`", tests)
        assert named and len(named) == tests.count("`") / 2, row
        for path, name in named:
            assert name in functions_of(path), (path, name)
            assert name.rpartition("::")[2].startswith("test_"), name


def test_each_link_is_one() -> None:
    for record, *_ in ROWS:
        for link in re.findall(r"\]\(([^)]*)\)", record):
            assert link.startswith("https://"), link
