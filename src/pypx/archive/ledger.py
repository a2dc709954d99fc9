"""What was asked of a PACS, kept in the index: transfers, their queries, studies, series, requests.

In: what is planned, asked and known of a transfer. Out: what of it is still to be done, and how it
stands against what the archive has. Not here: who asks, how, and when; and nothing of a network.

A transfer has queries (the rows of a list, or one), a query finds studies, a study has series, and
a series has the instances that are expected. Each of them is ``open`` until it was worked on, so
what a killed process had not done is what is still open. Whether an instance is here is never
noted down: it is looked up among the rows of what is stored.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from pypx.archive import completeness, ledger_rows
from pypx.archive.completeness import Completeness
from pypx.archive.files import unique
from pypx.archive.index_sqlite import SqliteIndex
from pypx.archive.reading import iso_time
from pypx.archive.transfers import (
    OPEN,
    LedgerSeries,
    LedgerStudy,
    Query,
    Request,
    Standing,
    Totals,
    Transfer,
)
from pypx.values import replace

__all__ = ["Ledger"]


class Ledger:
    """The transfers of an archive. Threads may share one; processes may, too.

    Args:
        index: Where it is kept.

    Every method raises IndexUnavailableError where the index cannot be used now.
    """

    def __init__(self, index: SqliteIndex) -> None:
        self._index = index

    # Transfers

    def begin(self, node: str, request: Mapping[str, Any], fingerprint: str) -> Transfer:
        """Note down a transfer.

        Args:
            node: The name of the PACS.
            request: What was wanted, for who resumes it and for people; kept as JSON.
            fingerprint: What tells the same command from another.
        """
        now = iso_time(time.time_ns())
        day = datetime.now(UTC).strftime("%Y%m%d")
        name = f"{day}-{unique()[:6]}"
        with self._index.transaction() as connection:
            connection.execute(
                "INSERT INTO transfer (id, fingerprint, node, request, state, began_at)"
                " VALUES (?, ?, ?, ?, 'running', ?)",
                (name, fingerprint, node, json.dumps(dict(request)), now),
            )
        found = self.find(name)
        assert found is not None  # it was committed a moment ago
        return found

    def find(self, name: str) -> Transfer | None:
        """Give a transfer by its ID."""
        return self._one_transfer("WHERE id = ?", name)

    def unfinished(self, fingerprint: str) -> Transfer | None:
        """Give the newest transfer of the same command, if it has not come to its end."""
        newest = self._one_transfer("WHERE fingerprint = ? ORDER BY pk DESC LIMIT 1", fingerprint)
        return newest if newest is not None and newest.is_unfinished else None

    def _one_transfer(self, where: str, value: str) -> Transfer | None:
        with self._index.reading() as connection:
            row = connection.execute(
                f"{ledger_rows.TRANSFER} FROM transfer {where}", (value,)
            ).fetchone()
        return None if row is None else ledger_rows.transfer_of(row)

    def transfers(self, limit: int = -1) -> list[Transfer]:
        """Give the newest transfers, the newest first; all of them without a limit."""
        with self._index.reading() as connection:
            found = connection.execute(
                f"{ledger_rows.TRANSFER} FROM transfer ORDER BY pk DESC LIMIT ?", (limit,)
            )
            return [ledger_rows.transfer_of(row) for row in found]

    def unsettled(self, since: str) -> list[Transfer]:
        """Give the newest transfer of each command that did not come to a good end.

        Args:
            since: Those that ended before that time (ISO 8601, UTC) are left out.

        Returns:
            The newest first: ``running`` ones, whether or not somebody runs them, and those that
            are ``incomplete`` or ``failed``.
        """
        with self._index.reading() as connection:
            found = connection.execute(ledger_rows.UNSETTLED, (since,))
            return [ledger_rows.transfer_of(row) for row in found]

    def set_state(
        self, transfer: Transfer, state: str, reason: str = "", seconds: float = 0.0
    ) -> None:
        """Say how a transfer stands.

        Args:
            transfer: Which.
            state: ``running``, or how it ended.
            reason: Why, in a sentence.
            seconds: How long it worked since it was begun or resumed.
        """
        ended = "" if state == "running" else iso_time(time.time_ns())
        self._change(
            "UPDATE transfer SET state = ?, reason = ?, ended_at = ?, seconds = seconds + ?"
            " WHERE pk = ? AND id = ?",
            (state, reason, ended, seconds, transfer.pk, transfer.id),
        )

    def note(self, transfer: Transfer, sentence: str) -> None:
        """Keep a sentence for the report, once."""
        with self._changing(transfer) as connection:
            row = connection.execute(
                "SELECT notes FROM transfer WHERE pk = ?", (transfer.pk,)
            ).fetchone()
            notes = json.loads(row[0])
            if sentence not in notes:
                connection.execute(
                    "UPDATE transfer SET notes = ? WHERE pk = ?",
                    (json.dumps([*notes, sentence], ensure_ascii=False), transfer.pk),
                )

    def resume(self, transfer: Transfer) -> None:
        """Open again what a process had begun, or had not got complete, or what is here no more."""
        with self._changing(transfer) as connection:
            for statement in ledger_rows.RESUME:
                connection.execute(statement, {"transfer": transfer.pk})

    def remove(self, transfer: Transfer) -> None:
        """Forget a transfer."""
        with self._index.transaction() as connection:
            connection.execute("DELETE FROM transfer WHERE pk = ?", (transfer.pk,))

    def speed(self, node: str) -> float | None:
        """Give instances a second of what a PACS sent in its last jobs; None before the first."""
        with self._index.reading() as connection:
            row = connection.execute(
                "SELECT sum(came), sum(seconds) FROM (SELECT (SELECT sum(received - here_before)"
                " FROM transfer_series WHERE transfer_pk = t.pk) AS came, seconds FROM transfer t"
                " WHERE node = ? AND seconds > 0 ORDER BY pk DESC LIMIT 20) WHERE came > 0",
                (node,),
            ).fetchone()
        return row[0] / row[1] if row[0] and row[1] else None

    def forget(self, before: str) -> int:
        """Remove transfers that began before a time (ISO 8601, UTC); say how many."""
        with self._index.transaction() as connection:
            return connection.execute(
                "DELETE FROM transfer WHERE began_at < ? AND state <> 'running'", (before,)
            ).rowcount

    # Queries

    def add_queries(
        self, transfer: Transfer, queries: Iterable[tuple[int, Mapping[str, str]]]
    ) -> None:
        """Note down queries by number; those that are there already stay as they are."""
        with self._changing(transfer) as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO transfer_query (transfer_pk, number, keys) VALUES (?, ?, ?)",
                ((transfer.pk, number, json.dumps(dict(keys))) for number, keys in queries),
            )

    def refuse_query(
        self, transfer: Transfer, number: int, keys: Mapping[str, str], reason: str
    ) -> None:
        """Note down a row of a list that cannot be asked for; it is ``malformed`` for good."""
        with self._changing(transfer) as connection:
            connection.execute(
                "INSERT OR IGNORE INTO transfer_query (transfer_pk, number, keys, state, reason)"
                " VALUES (?, ?, ?, 'malformed', ?)",
                (transfer.pk, number, json.dumps(dict(keys)), reason),
            )

    def next_query(self, transfer: Transfer) -> Query | None:
        """Take the first query that nobody has worked on."""
        row = self._take("transfer_query", transfer, ledger_rows.QUERY_COLUMNS, "pk")
        return None if row is None else ledger_rows.query_of(row)

    def close_query(self, query: Query, state: str, reason: str = "") -> None:
        """Say what became of a query."""
        self._change(
            "UPDATE transfer_query SET state = ?, reason = ? WHERE pk = ? AND keys = ?",
            (state, reason, query.pk, json.dumps(dict(query.keys))),
        )

    def queries(self, transfer: Transfer, state: str | None = None) -> Iterator[Query]:
        """Give the queries, or those in one state, in their order."""
        condition = "" if state is None else " AND state = ?"
        parameters = (transfer.pk,) if state is None else (transfer.pk, state)
        for row in self._stream(
            transfer,
            f"SELECT {ledger_rows.QUERY_COLUMNS} FROM transfer_query"
            f" WHERE transfer_pk = ?{condition} ORDER BY number",
            parameters,
        ):
            yield ledger_rows.query_of(row)

    def standing(self, query: Query) -> Standing:
        """Say how the studies and series of a query stand."""
        with self._index.reading() as connection:
            return ledger_rows.standing_of(connection, query)

    def settled_queries(
        self, transfer: Transfer, study_pk: int | None = None
    ) -> list[tuple[Query, Standing]]:
        """Give queries whose studies and series are all done, and that are not closed yet.

        Args:
            transfer: Of which transfer.
            study_pk: Look only at the query that found this study.
        """
        query = ledger_rows.SETTLED.format("" if study_pk is None else ledger_rows.OF_STUDY)
        names = {"transfer": transfer.pk, "study": study_pk}
        with self._reading(transfer) as connection:
            rows = connection.execute(query, names).fetchall()
            queries = [ledger_rows.query_of(row) for row in rows]
            return [(one, ledger_rows.standing_of(connection, one)) for one in queries]

    # Studies

    def add_studies(self, transfer: Transfer, query: Query, studies: Iterable[LedgerStudy]) -> None:
        """Note down what a query found."""
        with self._changing(transfer) as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO transfer_study (transfer_pk, query_pk, study_instance_uid,"
                " patient_id, patient_name, study_date, study_description, accession_number,"
                " number_of_instances, number_of_series) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (
                        transfer.pk,
                        query.pk,
                        one.study_instance_uid,
                        one.patient_id,
                        one.patient_name,
                        one.study_date,
                        one.study_description,
                        one.accession_number,
                        one.number_of_instances,
                        one.number_of_series,
                    )
                    for one in studies
                ),
            )

    def next_study(self, transfer: Transfer) -> LedgerStudy | None:
        """Take the first study whose series are not known."""
        row = self._take("transfer_study", transfer, ledger_rows.STUDY_COLUMNS, "pk")
        return None if row is None else LedgerStudy(*row)

    def query_of(self, study: LedgerStudy) -> Query:
        """Give the query that found a study."""
        with self._index.reading() as connection:
            row = connection.execute(
                f"SELECT {ledger_rows.QUERY_COLUMNS} FROM transfer_query WHERE pk = ?",
                (study.query_pk,),
            ).fetchone()
        if row is None:
            raise ledger_rows.lost()
        return ledger_rows.query_of(row)

    def drop_studies(self, query: Query) -> None:
        """Forget what a query found."""
        with self._index.transaction() as connection:
            connection.execute("DELETE FROM transfer_study WHERE query_pk = ?", (query.pk,))

    def close_study(self, study: LedgerStudy, state: str, reason: str = "") -> None:
        """Say what became of a study."""
        self._change(
            "UPDATE transfer_study SET state = ?, reason = ?"
            " WHERE pk = ? AND study_instance_uid = ?",
            (state, reason, study.pk, study.study_instance_uid),
        )

    def studies(self, transfer: Transfer) -> Iterator[LedgerStudy]:
        """Give the studies in the order in which they were found."""
        query = (
            f"SELECT {ledger_rows.STUDY_COLUMNS} FROM transfer_study"
            " WHERE transfer_pk = ? ORDER BY pk"
        )
        return (LedgerStudy(*row) for row in self._stream(transfer, query, (transfer.pk,)))

    # Series

    def add_series(
        self,
        transfer: Transfer,
        study: LedgerStudy,
        series: LedgerSeries,
        instances: Mapping[str, str],
    ) -> LedgerSeries:
        """Note down a series and the instances that are expected of it, and look what is here.

        Args:
            transfer: Of which transfer.
            study: Of which study.
            series: What the PACS says of it.
            instances: SOP Instance UID to SOP Class UID of those that are known.

        Returns:
            The series as it stands: ``complete`` if all of it is here.
        """
        with self._changing(transfer) as connection:
            connection.execute(
                "INSERT INTO transfer_series (transfer_pk, study_pk, series_instance_uid, modality,"
                " series_number, series_description, basis, expected)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (study_pk, series_instance_uid) DO UPDATE SET"
                " basis = excluded.basis, expected = excluded.expected",
                (
                    transfer.pk,
                    study.pk,
                    series.series_instance_uid,
                    series.modality,
                    series.series_number,
                    series.series_description,
                    series.basis,
                    series.expected,
                ),
            )
            pk = connection.execute(
                "SELECT pk FROM transfer_series WHERE study_pk = ? AND series_instance_uid = ?",
                (study.pk, series.series_instance_uid),
            ).fetchone()[0]
            connection.execute("DELETE FROM transfer_instance WHERE series_pk = ?", (pk,))
            connection.executemany(
                "INSERT INTO transfer_instance VALUES (?, ?, ?)",
                ((pk, uid, sop_class) for uid, sop_class in instances.items()),
            )
            added = LedgerSeries(
                *connection.execute(f"{ledger_rows.SERIES} WHERE s.pk = ?", (pk,)).fetchone()
            )
            here = ledger_rows.count_here(connection, added)
            state = "complete" if added.expected is not None and here >= added.expected else OPEN
            connection.execute(
                "UPDATE transfer_series SET here_before = ?, received = ?, state = ? WHERE pk = ?",
                (here, here, state, pk),
            )
        return replace(added, here_before=here, received=here, state=state)

    def next_series(
        self, transfer: Transfer, study_pk: int | None = None, *, planned: bool = False
    ) -> LedgerSeries | None:
        """Take the first series that nobody has asked for.

        Args:
            transfer: Of which transfer.
            study_pk: Of which study; None for any.
            planned: Only of studies of which all series are known.
        """
        condition = "" if study_pk is None else f" AND study_pk = {int(study_pk)}"
        condition += ledger_rows.PLANNED if planned else ""
        row = self._take("transfer_series", transfer, "pk", "pk", condition)
        return None if row is None else self.series_of(row[0])

    def series_of(self, pk: int) -> LedgerSeries:
        """Give a series as it stands."""
        with self._index.reading() as connection:
            row = connection.execute(f"{ledger_rows.SERIES} WHERE s.pk = ?", (pk,)).fetchone()
        if row is None:
            raise ledger_rows.lost()
        return LedgerSeries(*row)

    def series_of_study(self, study_pk: int) -> list[LedgerSeries]:
        """Give the series of a study."""
        with self._index.reading() as connection:
            found = connection.execute(
                f"{ledger_rows.SERIES} WHERE s.study_pk = ? ORDER BY s.pk", (study_pk,)
            )
            return [LedgerSeries(*row) for row in found]

    def close_series(
        self, series: LedgerSeries, state: str, *, received: int, attempts: int, reason: str = ""
    ) -> None:
        """Say how a series stands: ``open`` to have it taken again, or how it ended."""
        self._change(
            "UPDATE transfer_series SET state = ?, received = ?, attempts = ?, reason = ?"
            " WHERE pk = ? AND series_instance_uid = ?",
            (state, received, attempts, reason, series.pk, series.series_instance_uid),
        )

    def series(self, transfer: Transfer) -> Iterator[LedgerSeries]:
        """Give the series, study by study."""
        query = f"{ledger_rows.SERIES} WHERE s.transfer_pk = ? ORDER BY s.study_pk, s.pk"
        return (LedgerSeries(*row) for row in self._stream(transfer, query, (transfer.pk,)))

    def here(self, series: LedgerSeries) -> int:
        """Count what the archive has of a series: of the expected instances if they are known."""
        with self._index.reading() as connection:
            return ledger_rows.count_here(connection, series)

    def missing(self, series: LedgerSeries) -> dict[str, str]:
        """Give the expected instances that are not here: SOP Instance UID to SOP Class UID."""
        with self._index.reading() as connection:
            return dict(connection.execute(ledger_rows.MISSING, (series.pk,)))

    def unexpected(self, series: LedgerSeries, since: str) -> list[str]:
        """Give what is here of a series since a time (ISO 8601, UTC) though nobody expected it."""
        if series.basis != "instances":
            return []
        with self._index.reading() as connection:
            found = connection.execute(
                "SELECT i.sop_instance_uid FROM instance i JOIN series s ON s.pk = i.series_pk"
                " WHERE s.series_instance_uid = ? AND i.received_at >= ? AND NOT EXISTS (SELECT 1"
                " FROM transfer_instance e WHERE e.series_pk = ?"
                " AND e.sop_instance_uid = i.sop_instance_uid)",
                (series.series_instance_uid, since, series.pk),
            )
            return [row[0] for row in found]

    def is_expected(self, transfer: Transfer, study: str, series: str, instance: str) -> bool:
        """Say whether a transfer asks for an instance, as far as it knows its instances."""
        with self._reading(transfer) as connection:
            row = connection.execute(
                "SELECT 1 FROM transfer_series s JOIN transfer_study t ON t.pk = s.study_pk"
                " WHERE s.transfer_pk = ? AND t.study_instance_uid = ?"
                " AND s.series_instance_uid IN (?, '')"
                " AND (s.basis <> 'instances' OR EXISTS (SELECT 1 FROM transfer_instance e"
                " WHERE e.series_pk = s.pk AND e.sop_instance_uid = ?)) LIMIT 1",
                (transfer.pk, study, series, instance),
            ).fetchone()
        return row is not None

    def waiting(self, transfer: Transfer, most: int = -1, *, planned: bool = False) -> int:
        """Count the series that nobody has asked for yet.

        Args:
            transfer: Of which transfer.
            most: Where to stop counting.
            planned: Only those of studies of which all series are known.
        """
        condition = ledger_rows.PLANNED if planned else ""
        with self._reading(transfer) as connection:
            row = connection.execute(
                "SELECT count(*) FROM (SELECT 1 FROM transfer_series"
                f" WHERE transfer_pk = ? AND state = 'open'{condition} LIMIT ?)",
                (transfer.pk, most),
            ).fetchone()
        return int(row[0])

    # Requests

    def note_request(
        self, transfer: Transfer, series: LedgerSeries, method: str, level: str, asked: int | None
    ) -> int:
        """Note down a request before it goes out; gives what to close it by."""
        with self._changing(transfer) as connection:
            made = connection.execute(
                "INSERT INTO transfer_request (transfer_pk, series_pk, method, level, asked,"
                " sent_at) VALUES (?, ?, ?, ?, ?, ?)",
                (transfer.pk, series.pk, method, level, asked, iso_time(time.time_ns())),
            )
        return int(made.lastrowid or 0)

    def close_request(self, pk: int, outcome: Request) -> None:
        """Note down how a request ended."""
        self._change(
            "UPDATE transfer_request SET seconds = ?, status = ?, completed = ?, failed = ?,"
            " warning = ?, reason = ? WHERE pk = ?",
            (
                outcome.seconds,
                outcome.status,
                outcome.completed,
                outcome.failed,
                outcome.warning,
                outcome.reason,
                pk,
            ),
        )

    def requests(self, series: LedgerSeries) -> list[Request]:
        """Give the requests for a series, the oldest first."""
        with self._index.reading() as connection:
            found = connection.execute(
                "SELECT method, level, asked, sent_at, seconds, status, completed, failed, warning,"
                " reason FROM transfer_request WHERE series_pk = ? ORDER BY pk",
                (series.pk,),
            )
            return [Request(*row) for row in found]

    # Instances

    def add_extra(self, transfer: Transfer, study: str, series: str, instance: str) -> None:
        """Note down an instance that came though nobody asked for it."""
        with self._changing(transfer) as connection:
            connection.execute(
                "INSERT OR IGNORE INTO transfer_extra VALUES (?, ?, ?, ?)",
                (transfer.pk, instance, series, study),
            )

    def extras(self, transfer: Transfer) -> list[str]:
        """Give the SOP Instance UIDs of what came though nobody asked for it."""
        with self._reading(transfer) as connection:
            found = connection.execute(
                "SELECT sop_instance_uid FROM transfer_extra WHERE transfer_pk = ? ORDER BY 1",
                (transfer.pk,),
            )
            return [row[0] for row in found]

    def instances(self, transfer: Transfer) -> Iterator[tuple[str, str, str | None]]:
        """Give each expected instance: its series, its UID, when it was received or None."""
        return self._stream(
            transfer,
            "SELECT s.series_instance_uid, e.sop_instance_uid, i.received_at"
            " FROM transfer_series s JOIN transfer_instance e ON e.series_pk = s.pk"
            " LEFT JOIN instance i ON i.sop_instance_uid = e.sop_instance_uid"
            " WHERE s.transfer_pk = ? ORDER BY s.pk, e.sop_instance_uid",
            (transfer.pk,),
        )

    def totals(self, transfer: Transfer) -> Totals:
        """Sum a transfer up; a series counts as it was last noted down, one under way as it is."""
        # They take a while, and who receives looks things up over the connection that all share.
        (series,) = self._stream(transfer, ledger_rows.TOTALS, (transfer.pk,))
        with self._reading(transfer) as connection:
            (left,) = connection.execute(
                "SELECT (SELECT count(*) FROM transfer_query WHERE transfer_pk = ?1"
                " AND state IN ('open', 'busy')) + (SELECT count(*) FROM transfer_study"
                " WHERE transfer_pk = ?1 AND state IN ('open', 'busy'))",
                (transfer.pk,),
            ).fetchone()
        number, complete, expected, received, before, uncounted, besides = (
            value or 0 for value in series
        )
        return Totals(number, complete, expected, received, before, uncounted, left, besides)

    def completeness(self, study: str, series: str = "") -> Completeness:
        """Say whether a study, or one series of it, is whole against what was last asked for.

        Args:
            study: Study Instance UID.
            series: Series Instance UID; empty for the study.
        """
        with self._index.reading() as connection:
            if series:
                return completeness.of_series(connection, study, series)
            return completeness.of_study(connection, study)

    # What they share

    def _take(
        self, table: str, transfer: Transfer, columns: str, order: str, condition: str = ""
    ) -> tuple[Any, ...] | None:
        """Give the first open row, and call it busy."""
        with self._changing(transfer) as connection:
            row: tuple[Any, ...] | None = connection.execute(
                f"SELECT {columns} FROM {table} WHERE transfer_pk = ? AND state = 'open'{condition}"
                f" ORDER BY {order} LIMIT 1",
                (transfer.pk,),
            ).fetchone()
            if row is not None:
                connection.execute(f"UPDATE {table} SET state = 'busy' WHERE pk = ?", (row[0],))
        return row

    @contextmanager
    def _changing(self, transfer: Transfer) -> Iterator[sqlite3.Connection]:
        """Lend the connection that writes, for rows of a transfer that is there still."""
        with self._index.transaction() as connection:
            ledger_rows.check_known(connection, transfer)
            yield connection

    @contextmanager
    def _reading(self, transfer: Transfer) -> Iterator[sqlite3.Connection]:
        """Lend the connection that reads, for rows of a transfer that is there still."""
        with self._index.reading() as connection:
            ledger_rows.check_known(connection, transfer)
            yield connection

    def _stream(
        self, transfer: Transfer, query: str, parameters: tuple[int | str, ...]
    ) -> Iterator[tuple[Any, ...]]:
        with self._reading(transfer):
            return self._index.stream(query, parameters)

    def _change(self, statement: str, parameters: tuple[Any, ...]) -> None:
        """Change a row, which must be there."""
        with self._index.transaction() as connection:
            changed = connection.execute(statement, parameters).rowcount
        if changed == 0:
            raise ledger_rows.lost()
