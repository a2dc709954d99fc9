"""``px find``: query a PACS.

In: a node and keys. Out: matches as they come, or studies with their series.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from pypx.cli.keys import KeyCommand, key_option, model_option, parse_keys
from pypx.cli.notes import Notes, counted
from pypx.cli.options import Invocation, PeerFlags, common_options, peer_options
from pypx.cli.output import Output, error_object
from pypx.cli.rows import Row, Rows, rows_for
from pypx.dicom.levels import level_of
from pypx.errors import CancelledError, ConfigError, PypxError, StatusError

if TYPE_CHECKING:
    from pypx.client.client import Client
    from pypx.dicom.data_set import DataSet

__all__ = ["command"]

_UNIQUE = {
    "patient": ("PatientID", "PatientName", "IssuerOfPatientID"),
    "study": ("StudyInstanceUID",),
    "series": ("SeriesInstanceUID",),
    "image": ("SOPInstanceUID",),
}


class _TruncatedError(PypxError):
    kind = "truncated"


class _PartialError(PypxError):
    kind = "partial"


@click.command("find", cls=KeyCommand, short_help="Query a PACS.")
@click.argument("node", required=False)
@key_option
@click.option(
    "--level",
    type=click.Choice(["patient", "study", "series", "image"]),
    help="What is looked for.  [default: study]",
)
@model_option
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N matches.")
@click.option("--tree", is_flag=True, help="Studies with their series.")
@click.option("--dicom-json", is_flag=True, help="JSON of the DICOM model (PS3.18 F).")
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

    The exit code is 1 if the PACS said that there is more than it gave.
    """
    if tree and level not in (None, "study"):
        raise ConfigError("--tree shows studies with their series: it has no other --level.")
    if tree and invocation.out.form == "csv":
        raise ConfigError("--csv has flat rows, and --tree has none.", hint="Take --json.")
    if dicom_json and invocation.out.form == "csv":
        raise ConfigError("--dicom-json and --csv exclude each other.")
    if dicom_json and invocation.out.form == "text":
        invocation.out.form = "json"
    query = _Query(invocation, parse_keys(keys), level or "study", dicom_json)
    chosen = peer.node(invocation, node)
    if level == "patient":
        model = model or "patient"  # the study root model has no such level (PS3.4 §C.6.2)
    with closing(invocation.client(chosen)) as client:
        if tree:
            return query.tree(client, model, limit)
        return query.flat(client, model, limit)


class _Query:
    """One query: what is asked, what came, and what is to be said at the end."""

    def __init__(
        self, invocation: Invocation, keys: dict[str, str], level: str, dicom_json: bool
    ) -> None:
        self._invocation = invocation
        self._out = invocation.out
        self._keys = keys
        self._level = level
        self._dicom_json = dicom_json
        self._notes = Notes(keys)
        self._number = 0
        self._truncated = False

    def flat(self, client: Client, model: str | None, limit: int | None) -> int:
        """Query one level, and give each row as it comes."""
        from pypx.client.query import RETURN_KEYS, Level

        usual = RETURN_KEYS[Level.parse(self._level)]
        extra = [key for key in self._keys if key not in usual]

        def show(out: Output, rows: list[Row]) -> None:
            from pypx.cli.show import show_table

            if rows:
                show_table(out, rows, self._level, extra)

        rows = rows_for(self._out, [*usual, *extra], show)
        error = None
        try:
            with closing(self._matches(client, self._keys, self._level, model, limit)) as found:
                for match in found:
                    self._number += 1
                    rows.add(self._row(match))
        except PypxError as raised:
            error = raised
        except KeyboardInterrupt:
            error = self._cancelled()
        return self._end(client, rows, error, counted(self._number, self._level))

    def tree(self, client: Client, model: str | None, limit: int | None) -> int:
        """Query the studies, then the series of each over the same association."""
        below = {k: v for k, v in self._keys.items() if level_of(k) == "series"}
        above = {k: v for k, v in self._keys.items() if k not in below}

        def show(out: Output, rows: list[Row]) -> None:
            from pypx.cli.show import show_tree

            show_tree(out, rows)

        rows = rows_for(self._out, (), show)
        branches = _Branches(below, any(below.values()))
        studies: list[tuple[str, Row]] = []
        done = 0
        error = None
        try:
            with closing(self._matches(client, above, "study", model, limit)) as found:
                studies.extend((m.get("StudyInstanceUID") or "", self._row(m)) for m in found)
            for uid, study in studies:
                wanted = self._grow(client, model, branches, uid, study)
                done += 1
                if wanted:
                    self._number += 1
                    rows.add(study)
        except PypxError as raised:
            error = raised
        except KeyboardInterrupt:
            error = self._cancelled()
        if error is not None:  # what is known of the others is not withheld
            for _, study in studies[done:]:
                self._number += 1
                rows.add({**study, "series": None, "error": error_object(error)})
        if error is None and branches.unknown:
            self._out.error(_PartialError(f"The series of {branches.unknown} studies are unknown."))
        summary = f"{counted(self._number, 'study')}, {counted(branches.series, 'series')}"
        return self._end(client, rows, error, summary) or int(branches.unknown > 0)

    def _grow(
        self, client: Client, model: str | None, branches: _Branches, uid: str, study: Row
    ) -> bool:
        """Add the series to a study; False when the keys want none of its series."""
        keys = {"StudyInstanceUID": uid, **branches.keys}
        try:
            with closing(self._matches(client, keys, "series", model, None)) as found:
                study["series"] = [self._row(match) for match in found]
        except PypxError as error:
            lost = not isinstance(error, StatusError)
            if lost and branches.lost:
                raise  # a second time: the peer is gone, and asking for each study helps nobody
            branches.lost = lost
            branches.unknown += 1
            study.update(series=None, error=error_object(error))
            self._out.warn(f"No series of study {uid}: {error.message}", error.hint)
            return True
        branches.lost = False
        branches.series += len(study["series"])
        return bool(study["series"] or not branches.selective)

    def _row(self, match: DataSet) -> Row:
        return match.to_json() if self._dicom_json else match.to_dict()

    def _matches(
        self, client: Client, keys: Mapping[str, str], level: str, model: str | None, limit: Any
    ) -> Generator[DataSet]:
        """Give the matches, each once: some PACS give one for each instance."""
        unique = _UNIQUE[level]
        seen = set()
        started = time.monotonic()
        matches = client.find(keys, level=level, model=model)
        self._invocation.describe(client)
        with matches:
            for match in matches:
                key = [match.get(keyword) for keyword in unique]
                identity = tuple(key) if key[0] else id(match)
                if identity in seen:
                    self._notes.duplicates += 1
                    continue
                seen.add(identity)
                self._notes.look_at(match)
                yield match
                if len(seen) == limit:
                    return
        self._out.detail(
            f"{counted(matches.count, level)} came in {time.monotonic() - started:.3f} s"
        )
        self._notes.keys_unsupported |= matches.optional_keys_unsupported
        self._truncated |= matches.truncated

    def _cancelled(self) -> CancelledError:
        so_far = counted(self._number, self._level)
        return CancelledError(f"Interrupted after {so_far}; the query was cancelled.")

    def _end(self, client: Client, rows: Rows, error: PypxError | None, summary: str) -> int:
        """Write what is left to be written, and give the exit code."""
        out = self._out
        if error is None and self._truncated:
            error = _TruncatedError(
                f"{client.address} has more matches than the {self._number} that it gave.",
                hint="Ask for less at once, for example by ranges of StudyDate.",
            )
        if error is not None and error.exit_code > 1 and out.to_file:
            raise error  # a file has all or is not there
        rows.end(error)
        out.flush()
        self._notes.tell(out, self._number)
        if self._number or error is None:
            out.say(summary if self._number else "no match")
        if error is not None:
            out.error(error)
        return error.exit_code if error else 0


class _Branches:
    """The series of a tree: their keys, and what became of them."""

    def __init__(self, keys: Mapping[str, str], selective: bool) -> None:
        self.keys = keys
        self.selective = selective
        self.series = 0
        self.unknown = 0
        self.lost = False
