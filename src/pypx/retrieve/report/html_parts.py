"""The pieces of the report of a transfer: text, rows and cells of HTML.

In: values, many of them from a peer. Out: HTML in which nothing of them is markup. Not here: where
the values are from, and the order of the page.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pypx.dimse.status import sentence
from pypx.retrieve.report.summary import study_verdict
from pypx.text import count, date, duration, person_name, size, visible

if TYPE_CHECKING:
    from pypx.archive.account import SeriesAccount, StudyAccount
    from pypx.archive.transfers import Query, Request
    from pypx.retrieve.report.summary import Sums
    from pypx.retrieve.report.thumbnails import Drawn

__all__ = [
    "asked_for",
    "failures",
    "missing_list",
    "notes",
    "proportions",
    "queries_table",
    "request_row",
    "safe",
    "section",
    "series_row",
    "study_row",
    "tag",
    "tiles",
    "uid_list",
    "when",
]

_SERVICES = {"move": "C-MOVE", "get": "C-GET"}


def safe(value: object) -> str:
    """Give a value as text of HTML: no markup, and nothing unseen or that reorders text."""
    return escape(visible("" if value is None else str(value)))


def when(iso_time: str) -> str:
    """Give a time of the ledger as people write it."""
    return safe(f"{iso_time[:19].replace('T', ' ')} UTC" if iso_time else "")


def tag(word: str) -> str:
    """Give a state as a small coloured label."""
    return f'<span class="tag {safe(word)}">{safe(word)}</span>'


def section(title: str, *content: str) -> str:
    """Give a section, or nothing where it has no content."""
    inside = "".join(content)
    return f"<section><h2>{safe(title)}</h2>{inside}</section>\n" if inside else ""


def proportions(sums: Sums) -> str:
    """Draw what came, what was here, and what is missing as one line."""
    total = sums.here + sums.missing
    if not total:
        return ""
    parts = (
        ("r", sums.received, "received", "--bar"),
        ("h", sums.here_before, "here before", "--bar2"),
        ("m", sums.missing, "missing", "--bad"),
    )
    line = "".join(
        f'<i class="{kind}" style="width:{100 * number / total:.3f}%"></i>'
        for kind, number, _, _ in parts
        if number
    )
    key = "".join(
        f'<li style="--c:var({colour})">{number:,} {words}</li>'
        for _, number, words, colour in parts
        if number
    )
    return f'<div class="whole">{line}</div><ul class="key">{key}</ul>'


def tiles(sums: Sums, seconds: float, unexpected: int) -> str:
    """Give the totals."""
    rate = f"{size(sums.bytes / seconds)}/s" if seconds and sums.bytes else "–"
    plus = "+" if sums.uncounted else ""
    shown = [
        ("Studies", f"{sums.studies:,}", ""),
        ("Series", f"{sums.series:,}", ""),
        ("Instances asked for", f"{sums.expected:,}{plus}", ""),
        ("Received", f"{sums.received:,}", ""),
        ("Here before", f"{sums.here_before:,}", ""),
        ("Missing", f"{sums.missing:,}", "bad" if sums.missing else ""),
        ("Size", size(sums.bytes), ""),
        ("Time", duration(seconds), ""),
        ("Rate", rate, ""),
        ("Not asked for", f"{unexpected:,}", ""),
    ]
    inside = "".join(
        f'<div><dt>{name}</dt><dd class="{kind}">{value}</dd></div>' for name, value, kind in shown
    )
    return f'<dl class="tiles">{inside}</dl>\n'


def notes(sentences: Iterable[str]) -> str:
    """Give the notes; lines after the first are text to copy, as an entry for a PACS."""
    items = []
    for one in sentences:
        first, _, rest = one.partition("\n")
        lines = "\n".join(map(safe, rest.split("\n"))) if rest else ""
        items.append(f"<li>{safe(first)}{f'<pre>{lines}</pre>' if lines else ''}</li>")
    return f'<ul class="notes">{"".join(items)}</ul>' if items else ""


def failures(reasons: Mapping[str, Sequence[int]], others: int) -> str:
    """Give the reasons, each with how many series it stopped, and instances they lack.

    Args:
        reasons: Sentence to number of series and number of missing instances.
        others: How many reasons more there are.
    """
    if not reasons:
        return ""
    rows = "".join(
        f'<tr><td class="words full">{safe(reason)}</td>'
        f'<td class="n" data-t="Series">{series or ""}</td>'
        f'<td class="n bad" data-t="Missing">{missing or ""}</td></tr>'
        for reason, (series, missing) in sorted(reasons.items(), key=lambda item: -item[1][1])
    )
    more = f'<p class="soft">… and {count(others, "reason")} more.</p>' if others else ""
    return (
        '<table class="cards"><thead><tr><th>Reason</th><th class="n">Series</th>'
        f'<th class="n">Missing</th></tr></thead><tbody>{rows}</tbody></table>{more}'
    )


def missing_list(missing: Sequence[tuple[str, str]], total: int) -> str:
    """Give what is missing, series by series, behind a click.

    Args:
        missing: Series Instance UID and SOP Instance UID; those of a series stand together.
        total: How many are missing, named or not.
    """
    lists = (
        f'<p class="meta">Series <span class="uid">{safe(series or "unknown")}</span></p>'
        f"{_uids(instance for _, instance in group)}"
        for series, group in groupby(missing, lambda one: one[0])
    )
    return _folded("Missing SOP Instance UIDs", "".join(lists), len(missing), total)


def uid_list(title: str, uids: Sequence[str], total: int) -> str:
    """Give UIDs behind a click, and how many are not named."""
    return _folded(title, _uids(uids), len(uids), total)


def _uids(uids: Iterable[str]) -> str:
    items = "".join(f'<li class="uid">{safe(uid)}</li>' for uid in uids)
    return f"<ul>{items}</ul>"


def _folded(title: str, inside: str, shown: int, total: int) -> str:
    if not shown:
        return ""
    rest = total - shown
    more = f'<p class="soft">… and {rest:,} more, which --manifest names.</p>' if rest > 0 else ""
    return f"<details><summary>{safe(title)} ({total:,})</summary>{inside}{more}</details>"


def queries_table(queries: Sequence[Query], total: int) -> str:
    """Give the queries that gave nothing to fetch."""
    if not queries:
        return ""
    rows = "".join(
        f'<tr><td class="n" data-t="Row">{one.number or ""}</td><td class="words full">'
        f'{_keys(one.keys)}</td><td>{tag(one.state)}</td><td class="words full">'
        f"{safe(one.reason)}</td></tr>"
        for one in queries
    )
    rest = total - len(queries)
    more = f'<p class="soft">… and {rest:,} more.</p>' if rest > 0 else ""
    return (
        '<table class="cards"><thead><tr><th class="n">Row</th><th>Query</th><th>Result</th>'
        f"<th>Reason</th></tr></thead><tbody>{rows}</tbody></table>{more}"
    )


def _keys(keys: Mapping[str, str]) -> str:
    shown = (f"{key}={value}" if value else key for key, value in keys.items())
    return f"<code>{safe('  '.join(shown))}</code>"


def study_row(study: StudyAccount) -> str:
    """Give the line above the series of a study."""
    name = person_name(study.patient_name)
    who = [name, study.patient_id, study.accession_number and f"accession {study.accession_number}"]
    what = [date(study.study_date), study.study_description or "no description"]
    words = f"<bdi>{'</bdi> · <bdi>'.join(safe(one) for one in what if one)}</bdi>"
    person = " · ".join(f"<bdi>{safe(one)}</bdi>" for one in who if one)
    counts = f"{study.complete:,} of {len(study.series):,} series complete"
    why = f'<div class="why">{safe(study.reason)}</div>' if study.reason else ""
    verdict = study_verdict(study)
    return (
        f'<tr class="study {verdict}"><th colspan="7">{tag(verdict)}{words}'
        f'<div class="who">{person}</div><div class="who">{counts}</div>{why}</th></tr>\n'
    )


def series_row(series: SeriesAccount, drawn: Drawn) -> str:
    """Give the row of a series."""
    expected = "?" if series.expected is None else f"{series.expected:,}"
    number = f"{series.series_number}." if series.series_number else ""
    what = " ".join(
        f"<bdi>{safe(one)}</bdi>"
        for one in (number, series.modality, series.series_description)
        if one
    )
    uid = series.series_instance_uid
    what = what or ("series" if uid else "the whole study: the PACS does not tell its series")
    why = f'<div class="why">{safe(series.reason)}</div>' if series.reason else ""
    before = f"{series.here_before:,}" if series.here_before else ""
    missing = f"{series.missing:,}" if series.missing else ""
    return (
        f'<tr class="{safe(series.state)}"><td class="pic">{_picture(drawn)}</td>'
        f'<td class="words"><div class="what">{what}</div><div class="uid">{safe(uid)}</div>{why}'
        f'</td><td class="n" data-t="Expected">{expected}</td>'
        f'<td class="n" data-t="Received">{series.received:,}</td>'
        f'<td class="n" data-t="Before">{before}</td>'
        f'<td class="n bad" data-t="Missing">{missing}</td>'
        f"<td>{tag(series.state)}{_attempts(series.attempts)}</td></tr>\n"
    )


def _attempts(number: int) -> str:
    return f'<div class="meta">{count(number, "attempt")}</div>' if number else ""


def _picture(drawn: Drawn) -> str:
    if drawn.png is None:
        reason = safe(drawn.reason)
        return f'<div class="frame none" title="{reason}" aria-label="{reason}">no image</div>'
    data = b64encode(drawn.png).decode()
    return f'<div class="frame"><img alt="" src="data:image/png;base64,{data}"></div>'


def request_row(series: str, request: Request) -> str:
    """Give the row of a C-MOVE or C-GET."""
    service = _SERVICES.get(request.method, request.method)
    counts = [
        f"{number:,} {words}"
        for number, words in (
            (request.completed, "completed"),
            (request.failed, "failed"),
            (request.warning, "with a warning"),
        )
        if number
    ]
    asked = "" if request.asked is None else f"{request.asked:,}"
    seconds = "" if request.seconds is None else duration(request.seconds)
    return (
        f"<tr><td>{when(request.sent_at)}</td><td>{safe(service)}, {safe(request.level)}</td>"
        f'<td class="words full"><span class="uid">{safe(series)}</span></td>'
        f'<td class="n" data-t="Asked">{asked}</td><td class="n">{seconds}</td>'
        f'<td class="words full">{safe(_status(service, request))}'
        f'<div class="meta">{safe(", ".join(counts))}</div></td></tr>\n'
    )


def _status(service: str, request: Request) -> str:
    if request.status is None:
        return request.reason or "Nobody saw its end."
    words = ""
    if service in _SERVICES.values():
        words = f"{sentence(request.status, service)} ({request.status:04X}H)"
    return f"{words}. {request.reason}" if request.reason else words


def asked_for(request: Mapping[str, Any]) -> str:
    """Give what the command asked for, as the ledger keeps it."""
    inside = "".join(
        f"<dt>{safe(key)}</dt><dd>{safe(text)}</dd>"
        for key, text in _flat(request)
        if text not in ("", "None")
    )
    return f'<dl class="asked">{inside}</dl>' if inside else ""


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, (list, tuple)):
            yield name, ", ".join(map(str, value))
        else:
            yield name, str(value)
