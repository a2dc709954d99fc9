"""``pypx.report`` as upstream had it: what a query found, for people and for programs.

In: studies as ``find`` gives them. Out: a table, lines, JSON or CSV, all as text. Who prints them
is not known here; what a PACS put into a name does no harm on a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pypx.compat.answers import answer, failed, value_of
from pypx.compat.options import Request, read
from pypx.errors import ConfigError, PypxError
from pypx.text import cell, json_text, visible
from pypx.values import frozen

__all__ = ["FORMS", "check_report", "form_of", "make_report", "report", "row_of", "run_report"]

FORMS = ("tabular", "rawText", "json", "csv")

_STUDY_TAGS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientAge",
    "PatientSex",
    "AccessionNumber",
    "StudyDate",
    "StudyDescription",
    "ModalitiesInStudy",
    "PerformedStationAETitle",
    "StudyInstanceUID",
)
_BODY_TAGS = ("SeriesDescription", "Modality", "NumberOfSeriesRelatedInstances")
_SPECIAL_TAGS = ("SeriesInstanceUID", "SeriesNumber", "NumberOfSeriesRelatedInstances")
_COLOURS = {"dark": ("bright_cyan", "bright_yellow"), "light": ("blue", "magenta")}
_RETRIEVED = "PACS_Retrieve"
_WIDTH = 120  # columns of a table
Entry = Mapping[str, Any]


@frozen
class _Layout:
    """Which keywords a report shows."""

    study: tuple[str, ...]
    series: tuple[str, ...]
    body: tuple[str, ...]
    special: tuple[str, ...]


def report(opt: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Make a report of what ``find`` gave.

    Args:
        opt: ``reportData`` (what ``find`` gave, or its JSON) or ``reportDataFile``; all else
            is optional: ``colorize``, ``reportTags``, ``reportHeaderStudyTags``,
            ``reportHeaderSeriesTags``, ``reportBodySeriesTags``, ``seriesSpecial``,
            ``csvPrintHeaders``, ``csvPrettify``, ``csvSummarize``, ``csvSeparator``.

    Returns:
        ``status``, ``data`` (the JSON of the report), ``command``, ``returncode``, and
        ``report`` with ``tabular``, ``rawText``, ``json`` and ``csv``.
    """
    try:
        return run_report(read("report", opt))
    except PypxError as error:
        return failed(error)


def run_report(request: Request) -> dict[str, Any]:
    """Do what :func:`report` does.

    Raises:
        ConfigError: There is nothing to report of, or the layout makes no sense.
    """
    check_report(request)
    made = make_report(request, _studies(request))
    return {**answer("success", made["json"], "", 0), "report": made}


def _studies(request: Request) -> list[Any]:
    """Read what is to be reported of.

    Raises:
        ConfigError: It is not what ``find`` gives.
    """
    found = request.args.get("reportData")
    path = request.text("reportDataFile")
    if not found and path:
        try:
            with open(path, encoding="utf-8") as stream:  # noqa: PTH123 - paths are text here
                found = stream.read()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ConfigError(f"{path} cannot be read: {reason}.") from None
    if isinstance(found, str) and found:
        try:
            found = json.loads(found)
        except ValueError as error:
            raise ConfigError(f"What is to be reported of is no JSON: {error}.") from None
    if isinstance(found, Mapping):
        found = found.get("data")
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise ConfigError(
            "There is nothing to report of.",
            hint="Give --reportData or --reportDataFile what px-find --json gave.",
        )
    return found


def make_report(request: Request, studies: Sequence[Entry]) -> dict[str, Any]:
    """Give a report in all forms.

    Args:
        request: For what it shows, and how.
        studies: What ``find`` gave as ``data``.

    Raises:
        ConfigError: The layout makes no sense.
    """
    layout = _layout(request)
    documents = [_document(study, layout) for study in studies]
    colours = _COLOURS.get(request.text("colorize"))
    return {
        "tabular": "\n".join(_tabular(one, colours) for one in documents),
        "rawText": "\n".join(_raw(one) for one in documents),
        "json": documents,
        "csv": _csv(request, documents),
    }


def row_of(request: Request, series: Entry) -> dict[str, str]:
    """Give the line of one series."""
    return _values(series, _layout(request).body)


def _layout(request: Request) -> _Layout:
    """Read which keywords are shown.

    Raises:
        ConfigError: ``reportTags`` is no such JSON.
    """
    given = request.args.get("reportTags") or {}
    try:
        tags = json.loads(given) if isinstance(given, str) else given
        header, body = tags.get("header") or {}, tags.get("body") or {}
        chosen = [header.get("study"), header.get("series"), body.get("series")]
        if not all(one is None or isinstance(one, list) for one in chosen):
            raise ValueError("the keywords are no list")
    except (ValueError, AttributeError) as error:
        raise ConfigError(
            f"The value of --reportTags makes no sense: {error}.",
            hint='Write {"header": {"study": [keywords]}, "body": {"series": [keywords]}}.',
        ) from None
    study, series, rows = (tuple(map(str, one or ())) for one in chosen)
    return _Layout(
        tuple(request.words("reportHeaderStudyTags")) or study or _STUDY_TAGS,
        tuple(request.words("reportHeaderSeriesTags")) or series,
        tuple(request.words("reportBodySeriesTags")) or rows or _BODY_TAGS,
        tuple(request.words("seriesSpecial")) or _SPECIAL_TAGS,
    )


def _values(entry: Entry, keywords: Iterable[str]) -> dict[str, str]:
    return {keyword: value_of(entry, keyword) for keyword in keywords}


def _document(study: Entry, layout: _Layout) -> dict[str, Any]:
    """Give the JSON of one study."""
    series = [one for one in study.get("series") or () if isinstance(one, Mapping)]
    header = _values(study, layout.study)
    if series:
        header |= _values(series[0], layout.series)
    body = []
    for one in series:
        row = _values(one, layout.body)
        if _RETRIEVED in one:
            row[_RETRIEVED] = value_of(one, _RETRIEVED)
        body.append(row)
    special = [_values(one, layout.special) for one in series]
    return {"header": header, "body": body, "bodySeriesUID": special}


def _raw(document: Mapping[str, Any]) -> str:
    header, body = document["header"], document["body"]
    width = max(map(len, header), default=0)
    lines = [f"{name:{width}}  {visible(value)}" for name, value in header.items()]
    for row in body:
        lines.append("    " + "  ".join(visible(value) for value in row.values()))
    return "\n".join(lines) + "\n"


def _tabular(document: Mapping[str, Any], colours: tuple[str, str] | None) -> str:
    """Draw a study: its keywords, and a table of its series."""
    import io

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    name_style, title_style = colours or ("", "")
    console = Console(
        file=io.StringIO(),
        width=_WIDTH,
        force_terminal=colours is not None,
        color_system="standard" if colours else None,
        legacy_windows=False,
        highlight=False,
    )
    header = Table(show_header=False)
    for name, value in document["header"].items():
        header.add_row(Text(name, name_style), Text(visible(value)))
    console.print(header)
    if document["body"]:
        body = Table(header_style=title_style)
        for name in document["body"][0]:
            body.add_column(Text(name))
        for row in document["body"]:
            body.add_row(*(Text(visible(value)) for value in row.values()))
        console.print(body)
    stream = console.file
    assert isinstance(stream, io.StringIO)  # it was made above
    return stream.getvalue()


def _csv(request: Request, documents: Sequence[Mapping[str, Any]]) -> str:
    """Give a line for each series, or for each study."""
    import csv
    import io

    summarize = request.is_on("csvSummarize")
    rows: list[dict[str, str]] = []
    for document in documents:
        header, body = document["header"], document["body"]
        if summarize or not body:
            rows.append({**header, "NumberOfSeries": str(len(body))} if summarize else header)
        else:
            rows += [{**header, **row} for row in body]
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = [[cell(row.get(name, "")) for name in names] for row in rows]
    if request.is_on("csvPrintHeaders"):
        table.insert(0, names)
    separator = request.text("csvSeparator") or "|"
    if request.is_on("csvPrettify"):
        widths = [max(map(len, column), default=0) for column in zip(*table, strict=True)]
        padded = (
            f"{separator} ".join(
                f"{text:{width}}" for text, width in zip(line, widths, strict=True)
            )
            for line in table
        )
        return "".join(f"{line.rstrip()}\n" for line in padded)
    stream = io.StringIO()
    csv.writer(stream, delimiter=separator, lineterminator="\n").writerows(table)
    return stream.getvalue()


def check_report(request: Request) -> None:
    """Look whether a report can be made, before there is something to report of.

    Raises:
        ConfigError: Its form, its layout or its separator makes no sense.
    """
    form = request.text("printReport") or "tabular"
    if form not in FORMS:
        raise ConfigError(f"There is no report {form!r}.", hint=f"Take one of {', '.join(FORMS)}.")
    _layout(request)
    separator = request.text("csvSeparator") or "|"
    if len(separator) != 1 or separator in '"\r\n':
        raise ConfigError(f"--csvSeparator is one character, not {separator!r}.")


def form_of(request: Request, made: Mapping[str, Any]) -> str:
    """Give the report in the form that is wanted, as text; ``check_report`` has looked at it."""
    form = request.text("printReport") or "tabular"
    if form == "json":
        return json_text(made["json"], indent=2) + "\n"
    return str(made[form])
