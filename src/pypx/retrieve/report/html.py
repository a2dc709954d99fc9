"""The report of a transfer: one page that needs nothing beside itself.

In: the account of a transfer, and the images that are here. Out: an HTML file, which is written
piece by piece: however large the transfer was, the page and the memory for it are limited. Not
here: how its pieces look.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

from pypx.archive.account import Account, SeriesAccount, StudyAccount
from pypx.errors import ConfigError
from pypx.retrieve.report import html_parts as parts
from pypx.retrieve.report.html_style import STYLE
from pypx.retrieve.report.manifest import check_folder, opened
from pypx.retrieve.report.summary import FRUITLESS, Sums, Verdict, verdict_of
from pypx.retrieve.report.svg import bytes_chart, instances_chart
from pypx.retrieve.report.thumbnails import Drawn, Thumbnails
from pypx.text import count
from pypx.version import __version__

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.archive.transfers import Transfer

__all__ = ["check_path", "write_report"]

_MOST_SERIES = 10_000
_MOST_PICTURES = 500
_MOST_UIDS = 1_000
_MOST_REQUESTS = 1_000
_MOST_QUERIES = 500
_MOST_REASONS = 200

# Whatever a name of a patient tries, nothing on the page can run or load anything.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def check_path(path: str) -> None:
    """Refuse a path that no report can be written to; nothing is written yet.

    Raises:
        ConfigError: It does not end with .html, or there is no such folder.
    """
    if not path.lower().endswith((".html", ".htm")):
        raise ConfigError(f"{path} is no name of a report.", hint="Write --report job.html.")
    check_folder(path)


def write_report(
    archive: Archive,
    transfer: Transfer,
    path: str,
    *,
    now: datetime | None = None,
    thumbnails: Thumbnails | None = None,
) -> None:
    """Write the report of a transfer, while it runs or afterwards.

    Args:
        archive: Where it was retrieved to.
        transfer: As the ledger gives it.
        path: The file; it has its name when it is whole.
        now: When it is written; the present time if None.
        thumbnails: What draws the images; the usual if None. It is ended afterwards.

    Raises:
        ArchiveError: There is no room for it, or another failure to write.
        IndexUnavailableError: The index cannot be read.
    """
    with thumbnails or Thumbnails() as drawing, opened(path) as file:
        page = _Page(archive, transfer, now or datetime.now(UTC), drawing)
        for piece in page.pieces():
            file.write(piece)


class _Gathered:
    """What one pass over the studies leaves: the sums, the reasons, and as much as is shown."""

    def __init__(self, account: Account) -> None:
        self.sums = Sums()
        self.studies: list[StudyAccount] = []
        self.shown = 0
        self.reasons: dict[str, list[int]] = {}
        self.other_reasons = 0
        for study in account.studies():
            self.sums = self.sums.with_study(study)
            if self.shown + len(study.series) <= _MOST_SERIES:
                self.shown += len(study.series) or 1  # a study without one takes a line as well
                self.studies.append(study)
            if study.reason:
                self._add(study.reason, 0, 0)
            for one in study.series:
                if one.is_done and (one.missing or one.state != "complete"):
                    self._add(one.reason or "Nobody noted down why.", 1, one.missing)

    def _add(self, reason: str, series: int, missing: int) -> None:
        if reason not in self.reasons and len(self.reasons) >= _MOST_REASONS:
            self.other_reasons += 1
            return
        counts = self.reasons.setdefault(reason, [0, 0])
        counts[0] += series
        counts[1] += missing


class _Page:
    def __init__(
        self, archive: Archive, transfer: Transfer, now: datetime, thumbnails: Thumbnails
    ) -> None:
        self._archive = archive
        self._transfer = transfer
        self._account = archive.account(transfer)
        self._now = now
        self._thumbnails = thumbnails

    def pieces(self) -> Iterator[str]:
        """Give the page from its top to its bottom."""
        gathered = _Gathered(self._account)
        sums = gathered.sums
        verdict = verdict_of(self._transfer, sums, self._account.queries())
        requests, _, unexpected = self._account.numbers()
        yield self._top(verdict, sums)
        yield parts.tiles(sums, self._seconds(), unexpected)
        yield self._throughput()
        yield parts.section("Notes", parts.notes(self._transfer.notes))
        yield self._failures(gathered)
        yield self._queries()
        yield from self._studies(gathered)
        uids = list(self._account.unexpected(_MOST_UIDS))
        listed = parts.uid_list("SOP Instance UIDs", uids, unexpected)
        yield parts.section("Stored, though nobody asked for it", listed)
        yield from self._requests(requests)
        yield parts.section("What was asked for", parts.asked_for(self._transfer.request))
        yield self._bottom()

    def _seconds(self) -> float:
        """Give how long it worked; while it runs, how long ago it began."""
        if self._transfer.state != "running":
            return self._transfer.seconds
        began = datetime.fromisoformat(self._transfer.began_at)
        return max(0.0, (self._now - began).total_seconds())

    def _top(self, verdict: Verdict, sums: Sums) -> str:
        transfer = self._transfer
        title = f"px retrieve {transfer.id}: {verdict.word}"
        ended = f", ended {parts.when(transfer.ended_at)}" if transfer.ended_at else ""
        hint = f"<p>{parts.safe(verdict.hint)}</p>" if verdict.hint else ""
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
            f'<meta name="referrer" content="no-referrer"><title>{parts.safe(title)}</title>'
            f"<style>{STYLE}</style></head>\n<body><main>\n"
            f'<header class="verdict {verdict.word}"><p class="eyebrow">{parts.tag(verdict.word)}'
            f"<span>px retrieve from <b>{parts.safe(transfer.node)}</b></span>"
            f"<span>job {parts.safe(transfer.id)}</span></p>"
            f"<h1>{parts.safe(verdict.sentence)}</h1>{hint}"
            f'<p class="meta">Began {parts.when(transfer.began_at)}{ended}.</p>'
            f"{parts.proportions(sums)}</header>\n"
        )

    def _throughput(self) -> str:
        arrivals = self._account.arrivals()
        if arrivals is None:
            return ""
        figures = (
            f"<figure><figcaption>{what} per second</figcaption>{chart}</figure>"
            for what, chart in (
                ("Instances", instances_chart(arrivals)),
                ("Bytes", bytes_chart(arrivals)),
            )
        )
        return parts.section(
            "Throughput",
            f'<div class="charts">{"".join(figures)}</div><p class="meta">The first instance came '
            f"at {parts.when(arrivals.first)}; a bar is {arrivals.width:g} s.</p>",
        )

    def _failures(self, gathered: _Gathered) -> str:
        found = self._account.missing(_MOST_UIDS)
        missing = [(series, uid) for series, uid, is_done in found if is_done]
        total = gathered.sums.missing - gathered.sums.unfinished
        return parts.section(
            "What is not complete, and why",
            parts.failures(gathered.reasons, gathered.other_reasons),
            parts.missing_list(missing, max(total, len(missing))),
        )

    def _queries(self) -> str:
        number, shown = 0, []
        for one in self._archive.ledger.queries(self._transfer):
            if one.state in FRUITLESS:
                number += 1
                if number <= _MOST_QUERIES:
                    shown.append(one)
        return parts.section(
            "Queries that gave nothing to fetch", parts.queries_table(shown, number)
        )

    def _studies(self, gathered: _Gathered) -> Iterator[str]:
        if not gathered.studies:
            return
        yield "<section><h2>Studies and series</h2>"
        yield self._limits(gathered)
        yield (
            '<table class="cards"><thead><tr><th></th><th>Series</th><th class="n">Expected</th>'
            '<th class="n">Received</th><th class="n">Here before</th><th class="n">Missing</th>'
            "<th>State</th></tr></thead>\n"
        )
        number = 0
        for study in gathered.studies:
            yield f"<tbody>{parts.study_row(study)}"
            for series in study.series:
                number += 1
                yield parts.series_row(series, self._picture(series, number))
            yield "</tbody>"
        yield "</table></section>\n"

    def _limits(self, gathered: _Gathered) -> str:
        """Say what the table leaves out."""
        said = []
        if len(gathered.studies) < gathered.sums.studies:
            left = count(gathered.sums.studies - len(gathered.studies), "study", "studies")
            said.append(f"{left} more are left out here; --manifest names every instance.")
        if self._thumbnails.unavailable:
            said.append(self._thumbnails.unavailable)
        elif gathered.shown > _MOST_PICTURES:
            said.append(f"Only the first {_MOST_PICTURES} series are shown with an image.")
        return f'<p class="soft">{parts.safe(" ".join(said))}</p>' if said else ""

    def _picture(self, series: SeriesAccount, number: int) -> Drawn:
        if number > _MOST_PICTURES:
            return Drawn(None, f"Only the first {_MOST_PICTURES} series have an image here.")
        middle = self._account.middle_of(series)
        if middle is None:
            return Drawn(None, "Nothing of it is here.")
        return self._thumbnails.draw(str(self._archive.root / middle[0]))

    def _requests(self, total: int) -> Iterator[str]:
        found = islice(self._account.requests(_MOST_REQUESTS), _MOST_REQUESTS)
        first = next(found, None)
        if first is None:
            return
        newest = f", the newest {_MOST_REQUESTS:,} of them" if total > _MOST_REQUESTS else ""
        yield (
            f"<section><h2>Requests</h2><details><summary>{count(total, 'request')}{newest}"
            '</summary><table class="cards"><thead><tr><th>When</th><th>Kind</th><th>Series</th>'
            '<th class="n">Asked</th><th class="n">Took</th><th>Answer of the PACS</th></tr>'
            "</thead><tbody>\n"
        )
        yield parts.request_row(first[1] or first[0], first[2])
        for study, series, request in found:
            yield parts.request_row(series or study, request)
        yield "</tbody></table></details></section>\n"

    def _bottom(self) -> str:
        written = self._now.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return (
            f"<footer>Written by pypx {__version__} at {written}. It names patients: keep it as "
            "you keep their images.</footer>\n</main></body></html>\n"
        )
