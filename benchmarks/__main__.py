"""``python -m benchmarks``: measure, print a table, write JSON and a chart."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import local, query, receive, retrieve, store
from benchmarks.chart import chart
from benchmarks.contest import Case, Result, Settings, hold
from benchmarks.machine import describe, file_system, spread_folders
from benchmarks.report import document, table

_ROOT = Path(__file__).resolve().parent.parent
_CASES: dict[str, Case] = {
    "small": receive.small,
    "large": receive.large,
    "nagle-small": receive.nagle_small,
    "nagle-large": receive.nagle_large,
    "associations": receive.associations,
    "move": query.move,
    "find": query.find,
    "retrieve": retrieve.retrieve,
    "store": store.store,
    "store-large": store.store_large,
    "store-storescp": store.store_storescp,
    "header": local.header_scan,
    "rebuild": local.rebuild,
}
_IN_MEMORY = ("tmpfs", "ramfs")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench",
        description="Measure pypx beside DCMTK, Orthanc, pynetdicom and a raw copy.",
        epilog=f"The cases: {', '.join(_CASES)}.",
    )
    parser.add_argument("--quick", action="store_true", help="scale 0.1 and 2 rounds: a minute")
    parser.add_argument("--scale", type=float, help="of the numbers of objects; 1 by default")
    parser.add_argument("--rounds", type=int, help="3 by default")
    parser.add_argument("--only", action="append", choices=_CASES, metavar="CASE", help="a case")
    parser.add_argument(
        "--disk",
        type=Path,
        default=_ROOT.parent,
        metavar="DIR",
        help="where temporary folders go; beside the repository by default",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where results go; docs/benchmarks, if all cases were measured",
    )
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _measure(settings: Settings, names: list[str]) -> list[Result]:
    results = []
    for name in names:
        started = time.monotonic()
        with _CASES[name](settings) as contest:
            results.append(hold(contest, settings.rounds, _say))
        _say(f"({name}: {time.monotonic() - started:.0f} s)")
    return results


def main() -> int:
    """Run it; the exit code is 1 when something could not be measured."""
    arguments = _arguments()
    # Else each start of ours would compile all of it, which no user of an installed pypx sees.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    quick = arguments.quick
    scale = arguments.scale or (0.1 if quick else 1.0)
    rounds = arguments.rounds or (2 if quick else 3)
    if file_system(arguments.disk) in _IN_MEMORY:
        _say(f"{arguments.disk} is in memory: take a disk, with --disk.")
        return 2
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pypx-bench-", dir=arguments.disk) as folder:
        facts = describe(Path(folder))
        spread_folders(Path(folder))
        results = _measure(Settings(Path(folder), scale, rounds), arguments.only or list(_CASES))
    facts["took"] = f"{time.monotonic() - started:.0f} s"
    kind = "a quick run: few objects, so only the rough picture" if quick else "medians"
    heading = f"pypx benchmarks, {kind} (scale {scale:g}, {rounds} rounds)"
    print(table(results, facts, heading))
    out = arguments.out or (None if arguments.only else _ROOT / "docs" / "benchmarks")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        stem = "quick" if quick else "results"
        written = document(results, facts, heading)
        (out / f"{stem}.json").write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
        (out / f"{stem}.svg").write_text(chart(results, facts, heading), encoding="utf-8")
        _say(f"Written: {out}/{stem}.json and .svg")
    return int(any(result.errors for result in results))


if __name__ == "__main__":
    sys.exit(main())
