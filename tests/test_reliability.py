"""The table of what happens when things break: every row is there, and every test it names."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
TABLE = (REPOSITORY / "docs/reliability.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| ([A-HJK]\d+) \| .* \| ([^|]+) \|$", TABLE, re.MULTILINE))


def test_every_row_is_there() -> None:
    wanted = {"A": 24, "B": 17, "C": 19, "D": 20, "E": 8, "F": 10, "G": 19, "H": 11, "J": 6, "K": 8}
    assert set(ROWS) == {f"{part}{n}" for part, last in wanted.items() for n in range(1, last + 1)}


def test_every_test_is_there() -> None:
    for row, tests in ROWS.items():
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests)
        assert named or tests == "none", row
        for path, name in named:
            source = (REPOSITORY / path).read_text(encoding="utf-8")
            assert re.search(rf"^(\s*def {name}\(|{name} = )", source, re.MULTILINE), (
                row,
                path,
                name,
            )
