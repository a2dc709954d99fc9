"""``px find``: query a PACS.

In: a node and keys. Out: matches as they come, or studies with their series.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import click

from pypx.cli.auditing import audited, heard
from pypx.cli.keys import KeyCommand, key_option, level_option, model_option, parse_keys
from pypx.cli.notes import counted
from pypx.cli.options import (
    Invocation,
    PeerFlags,
    common_options,
    engine_option,
    peer_options,
)
from pypx.cli.output import Output, error_object
from pypx.cli.query import PartialError, Query
from pypx.cli.rows import Row, rows_for
from pypx.dicom.levels import level_of
from pypx.errors import ConfigError, PypxError, StatusError

if TYPE_CHECKING:
    from pypx.cli.lists import ListRows

__all__ = ["command"]


@click.command("find", cls=KeyCommand, short_help="Query a PACS.")
@click.argument("node", required=False)
@key_option
@level_option("What is looked for.  [default: study]")
@model_option
@click.option(
    "--from",
    "list_file",
    metavar="FILE",
    help="A query for each row of a list: CSV, TSV or Excel with keywords as headings; - is stdin.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="At most N matches of a query."
)
@click.option("--tree", is_flag=True, help="Studies with their series.")
@click.option("--dicom-json", is_flag=True, help="JSON of the DICOM model (PS3.18 F).")
@engine_option()
@common_options(jsonl=True, csv=True)
@peer_options
def command(
    invocation: Invocation,
    *,
    peer: PeerFlags,
    node: str | None,
    keys: tuple[str, ...],
    level: str | None,
    model: str | None,
    list_file: str | None,
    limit: int | None,
    tree: bool,
    dicom_json: bool,
) -> int:
    """Query NODE (C-FIND), a configured name or AET@host:port.

    Values may have the wildcards * and ?, dates may be 2024-01-31 and ranges of them
    2024-01-01..2024-01-31. All other values are passed on as they are.

    \b
    px find hospital --PatientID PID1
    px find hospital -k PatientName='doe*' -k StudyDate=2024-01-01..2024-06-30
    px find hospital --PatientID PID1 --tree
    px find hospital -k StudyInstanceUID=1.2.3 --level series --json
    px find hospital -k ModalitiesInStudy=MR --csv -o studies.csv
    px find hospital --from cohort.csv --csv

    Flags of pypx 1.x and 3.x work as well, and are answered as they were: px find -y.

    The exit code is 1 if the PACS said that there is more than it gave, or if a row of the
    list failed. Matches of a list begin with the number of their row; the headings are row 1.
    """
    if tree and level not in (None, "study"):
        raise ConfigError("--tree shows studies with their series: it has no other --level.")
    if tree and invocation.out.form == "csv":
        raise ConfigError("--csv has flat rows, and --tree has none.", hint="Take --json.")
    if dicom_json and invocation.out.form == "csv":
        raise ConfigError("--dicom-json and --csv exclude each other.")
    if list_file is not None and (tree or dicom_json):
        option = "--tree" if tree else "--dicom-json"
        raise ConfigError(f"{option} has no place for the rows of a list (--from).")
    if dicom_json and invocation.out.form == "text":
        invocation.out.form = "json"
    wanted = parse_keys(keys)
    with ExitStack() as stack:
        listed = _opened(list_file, wanted, invocation.out, stack)
        chosen = peer.node(invocation, node)
        if level == "patient":
            model = model or "patient"  # the study root model has no such level (PS3.4 §C.6.2)
        client = stack.enter_context(closing(invocation.client(chosen)))
        model = model or chosen.model
        query = Query(
            invocation,
            client,
            wanted,
            level or "study",
            model,
            dicom_json=dicom_json,
            match_limit=chosen.match_limit,
        )
        heard(stack.enter_context(audited(invocation)), client)
        if listed is not None:
            from pypx.cli.find_list import find_list

            return find_list(query, listed, limit)
        return _Tree(query).find(limit) if tree else _flat(query, limit)


def _opened(
    path: str | None, keys: dict[str, str], out: Output, stack: ExitStack
) -> ListRows | None:
    """Open the list of ``--from``, where there is one."""
    if path is None:
        return None
    from pypx.cli.find_list import check_keys
    from pypx.cli.lists import read_list

    listed = stack.enter_context(closing(read_list(path, note=out.warn)))
    check_keys(keys, listed)
    listed.hide(out.identifiers)
    return listed


def _flat(query: Query, limit: int | None) -> int:
    """Query one level, and give each row as it comes."""
    rows = query.rows(query.keys)
    error: PypxError | None = None
    try:
        with closing(query.matches(query.keys, limit=limit)) as found:
            for match in found:
                query.number += 1
                rows.add(query.row(match))
    except PypxError as raised:
        error = raised
    except KeyboardInterrupt:
        error = query.cancelled()
    summary = counted(query.number, query.level) if query.number else "no match"
    return query.end(rows, error, summary)


class _Tree:
    """Studies and the series of each, over the same association."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._below = {k: v for k, v in query.keys.items() if level_of(k) == "series"}
        self._selective = any(self._below.values())
        self._series = 0
        self._unknown = 0
        self._lost = False

    def find(self, limit: int | None) -> int:
        """Query the studies, then the series of each."""
        query = self._query
        above = {k: v for k, v in query.keys.items() if k not in self._below}

        def show(out: Output, rows: list[Row]) -> None:
            from pypx.cli.show import show_tree

            show_tree(out, rows)

        rows = rows_for(query.out, (), show)
        studies: list[tuple[str, Row]] = []
        done = 0
        error: PypxError | None = None
        try:
            with closing(query.matches(above, limit=limit)) as found:
                studies.extend((m.get("StudyInstanceUID") or "", query.row(m)) for m in found)
            for uid, study in studies:
                wanted = self._grow(uid, study)
                done += 1
                if wanted:
                    query.number += 1
                    rows.add(study)
        except PypxError as raised:
            error = raised
        except KeyboardInterrupt:
            error = query.cancelled()
        if error is not None:  # what is known of the others is not withheld
            for _, study in studies[done:]:
                query.number += 1
                rows.add({**study, "series": None, "error": error_object(error)})
        if error is None and self._unknown:
            query.out.error(PartialError(f"The series of {self._unknown} studies are unknown."))
        summary = f"{counted(query.number, 'study')}, {counted(self._series, 'series')}"
        code = query.end(rows, error, summary if query.number else "no match")
        return code or int(self._unknown > 0)

    def _grow(self, uid: str, study: Row) -> bool:
        """Add the series to a study; False when the keys want none of its series."""
        keys = {"StudyInstanceUID": uid, **self._below}
        try:
            with closing(self._query.matches(keys, level="series")) as found:
                study["series"] = [self._query.row(match) for match in found]
        except PypxError as error:
            lost = not isinstance(error, StatusError)
            if lost and self._lost:
                raise  # a second time: the peer is gone, and asking for each study helps nobody
            self._lost = lost
            self._unknown += 1
            study.update(series=None, error=error_object(error))
            self._query.out.warn(f"No series of study {uid}: {error.message}", error.hint)
            return True
        self._lost = False
        self._series += len(study["series"])
        return bool(study["series"] or not self._selective)
