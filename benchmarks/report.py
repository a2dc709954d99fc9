"""Results as a table to read and as JSON to compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.contest import Bar, Entrant, Result

__all__ = ["document", "table"]


def table(results: Sequence[Result], facts: Mapping[str, str], heading: str) -> str:
    """Give the text of all results."""
    lines = [heading, "", *(f"{name + ':':<13} {text}" for name, text in facts.items())]
    for result in results:
        lines += ["", *_lines(result)]
    return "\n".join(lines) + "\n"


def _lines(result: Result) -> Iterator[str]:
    contest = result.contest
    ours = contest.entrants[0].name
    yield contest.title
    yield f"  {'':<36} {'objects':>8} {contest.unit:>10} {'lowest to highest':>19}   ratio"
    for entrant in contest.entrants:
        yield _row(result, entrant, ours)
    for note in contest.notes:
        yield f"  note: {note}"
    for bar in contest.bars:
        yield f"  {_bar_line(result, bar)}"


def _row(result: Result, entrant: Entrant, ours: str) -> str:
    name = entrant.name
    median = result.median(name)
    if median is None:
        return f"  {name:<36} {entrant.count:>8} failed: {result.errors[name]}"
    rates = [rate for rate in result.rates[name] if rate is not None]
    spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
    ratio = result.reached(Bar(ours, 0, name))
    shown = "" if name == ours or ratio is None else f"{_factor(ratio)} x"
    failed = f"  ({len(result.rates[name]) - len(rates)} failed)" if name in result.errors else ""
    return f"  {name:<36} {entrant.count:>8} {median:>10,.0f} {spread:>19} {shown:>9}{failed}"


def _bar_line(result: Result, bar: Bar) -> str:
    reached = result.reached(bar)
    unit = f" x {bar.peer}" if bar.peer else f" {result.contest.unit}"
    if reached is None:
        return f"bar: {bar.name} >= {bar.factor:g}{unit}: not measured"
    verdict = "reached" if reached >= bar.factor else "NOT reached"
    value = _factor(reached) if bar.peer else f"{reached:,.0f}"
    return f"bar: {bar.name} >= {bar.factor:g}{unit}: {value}, {verdict}"


def _factor(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def document(results: Sequence[Result], facts: Mapping[str, str], heading: str) -> dict[str, Any]:
    """Give everything that was measured, for JSON."""
    return {"heading": heading, "machine": dict(facts), "cases": [_case(r) for r in results]}


def _case(result: Result) -> dict[str, Any]:
    contest = result.contest
    ours = contest.entrants[0].name
    return {
        "title": contest.title,
        "unit": contest.unit,
        "notes": contest.notes,
        "entrants": [
            {
                "name": one.name,
                "objects": one.count,
                "rates": _rounded(result.rates[one.name]),
                "median": _rounded([result.median(one.name)])[0],
                "ratios": _rounded(result.ratios(ours, one.name)),
                "error": result.errors.get(one.name),
            }
            for one in contest.entrants
        ],
        "bars": [
            {
                "name": bar.name,
                "peer": bar.peer or None,
                "at_least": bar.factor,
                "measured": _rounded([result.reached(bar)])[0],
            }
            for bar in contest.bars
        ],
    }


def _rounded(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else float(f"{value:.4g}") for value in values]
