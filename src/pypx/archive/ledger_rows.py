"""The statements of the ledger, and the values of the rows that they give.

In: rows, or a connection and a value. Out: values. Not here: transactions, and what is done with
a transfer.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from pypx.archive.transfers import LedgerSeries, Query, Standing, Transfer
from pypx.errors import IndexUnavailableError

__all__ = [
    "FRUITLESS",
    "HERE",
    "LAST_OF_INCOMPLETE",
    "MISSING",
    "OF_STUDY",
    "PLANNED",
    "QUERY_COLUMNS",
    "RELEASE",
    "RESUME",
    "SERIES",
    "SETTLED",
    "STUDY_COLUMNS",
    "TOTALS",
    "TRANSFER",
    "UNSETTLED",
    "check_known",
    "count_here",
    "lost",
    "query_of",
    "standing_of",
    "transfer_of",
]

TRANSFER = "SELECT pk, id, node, request, state, reason, notes, began_at, ended_at, seconds"
SERIES = (
    "SELECT s.pk, s.study_pk, t.study_instance_uid, t.patient_id, s.series_instance_uid,"
    " s.modality, s.series_number, s.series_description, s.basis, s.expected, s.here_before,"
    " s.received, s.state, s.attempts, s.reason"
    " FROM transfer_series s JOIN transfer_study t ON t.pk = s.study_pk"
)
STUDY_COLUMNS = (
    "pk, query_pk, study_instance_uid, patient_id, patient_name, study_date,"
    " study_description, accession_number, number_of_instances, number_of_series, state, reason"
)
QUERY_COLUMNS = "pk, number, keys, state, reason"
HERE = (
    "CASE WHEN s.basis = 'instances' THEN (SELECT count(*) FROM transfer_instance e"
    " JOIN instance i USING (sop_instance_uid) WHERE e.series_pk = s.pk)"
    " WHEN s.series_instance_uid <> '' THEN (SELECT count(*) FROM instance i"
    " JOIN series x ON x.pk = i.series_pk WHERE x.series_instance_uid = s.series_instance_uid)"
    " ELSE (SELECT count(*) FROM instance i JOIN series x ON x.pk = i.series_pk"
    " JOIN study y ON y.pk = x.study_pk WHERE y.study_instance_uid = t.study_instance_uid) END"
)
"""What the archive has of a series: of the expected instances if they are known."""
PLANNED = (
    " AND EXISTS (SELECT 1 FROM transfer_study t WHERE t.pk = study_pk"
    " AND t.state IN ('planned', 'failed'))"
)
# Of what is still to be done there is little, and of what is done very much: CROSS JOIN and the
# plus signs keep SQLite from going through that.
SETTLED = (
    f"SELECT {QUERY_COLUMNS} FROM transfer_query q"
    " WHERE transfer_pk = :transfer AND state = 'found'{} AND NOT EXISTS (SELECT 1"
    " FROM transfer_study t WHERE t.transfer_pk = :transfer AND t.state IN ('open', 'busy')"
    " AND +t.query_pk = q.pk) AND NOT EXISTS (SELECT 1 FROM transfer_series s CROSS JOIN"
    " transfer_study t ON t.pk = s.study_pk WHERE s.transfer_pk = :transfer"
    " AND s.state IN ('open', 'busy') AND +t.query_pk = q.pk)"
)
OF_STUDY = " AND pk = (SELECT query_pk FROM transfer_study WHERE pk = :study)"
MISSING = (
    "SELECT e.sop_instance_uid, e.sop_class_uid FROM transfer_instance e"
    " WHERE e.series_pk = ? AND NOT EXISTS"
    " (SELECT 1 FROM instance i WHERE i.sop_instance_uid = e.sop_instance_uid)"
)
RELEASE = tuple(
    f"UPDATE {table} SET state = 'open' WHERE transfer_pk = ? AND state = 'busy'"
    for table in ("transfer_query", "transfer_study", "transfer_series")
)
RESUME = (
    """UPDATE transfer_query SET state = 'open', reason = '' WHERE transfer_pk = :transfer
    AND state IN ('busy', 'failed', 'incomplete', 'unknown')""",
    """UPDATE transfer_study SET state = 'open', reason = '' WHERE transfer_pk = :transfer
    AND state IN ('busy', 'failed')""",
    """UPDATE transfer_series SET state = 'open', attempts = 0, reason = ''
    WHERE transfer_pk = :transfer AND state <> 'complete'""",
    # What was complete and is not any more, because somebody removed files.
    f"""UPDATE transfer_series SET state = 'open', attempts = 0 WHERE pk IN (SELECT s.pk
    FROM transfer_series s JOIN transfer_study t ON t.pk = s.study_pk
    WHERE s.transfer_pk = :transfer AND s.state = 'complete' AND s.expected > ({HERE}))""",
    """UPDATE transfer_query SET state = 'found' WHERE state = 'complete' AND pk IN (SELECT
    t.query_pk FROM transfer_study t JOIN transfer_series s ON s.study_pk = t.pk
    WHERE s.transfer_pk = :transfer AND s.state = 'open')""",
    "UPDATE transfer SET state = 'running', reason = '', ended_at = '' WHERE pk = :transfer",
)
"""What opens a transfer again, in this order."""
# A series that is under way, or was incomplete, counts as what is here now.
# Of a series that two queries of one transfer found, the one with the most expected counts, and of
# these the one with the most received. More than the PACS has of one series makes up for nothing
# that is missing in another one.
TOTALS = (
    "SELECT count(*), sum(state = 'complete' OR (state = 'incomplete' AND received >= expected)),"
    " sum(expected), sum(min(received, expected)),"
    " sum(min(here_before, expected)), sum(expected IS NULL),"
    " sum(CASE WHEN expected IS NULL THEN received END) FROM (SELECT state, expected, received,"
    " here_before, max(ifnull(expected, -1) * 1000000000 + received) FROM (SELECT s.state,"
    f" s.expected, CASE WHEN s.state IN ('busy', 'incomplete') THEN ({HERE})"
    " ELSE s.received END AS received,"
    " s.here_before, t.study_instance_uid, s.series_instance_uid FROM transfer_series s"
    " JOIN transfer_study t ON t.pk = s.study_pk WHERE s.transfer_pk = ?)"
    " GROUP BY study_instance_uid, series_instance_uid)"
)
LAST_OF_INCOMPLETE = (
    "SELECT max(received_at) FROM (SELECT i.received_at FROM transfer_series s"
    " JOIN transfer_instance e ON e.series_pk = s.pk JOIN instance i USING (sop_instance_uid)"
    " WHERE s.transfer_pk = ?1 AND s.state = 'incomplete' UNION ALL SELECT i.received_at"
    " FROM transfer_series s JOIN transfer_study t ON t.pk = s.study_pk"
    " JOIN study y ON y.study_instance_uid = t.study_instance_uid"
    " JOIN series x ON x.study_pk = y.pk"
    " AND s.series_instance_uid IN (x.series_instance_uid, '')"
    " JOIN instance i ON i.series_pk = x.pk"
    " WHERE s.transfer_pk = ?1 AND s.state = 'incomplete' AND s.basis <> 'instances')"
)
FRUITLESS = (
    "SELECT 1 FROM transfer_query WHERE transfer_pk = ?1"
    " AND state IN ('no-match', 'too-many', 'failed', 'malformed') UNION ALL"
    " SELECT 1 FROM transfer_study WHERE transfer_pk = ?1 AND state = 'failed' LIMIT 1"
)
UNSETTLED = (
    f"{TRANSFER} FROM transfer WHERE pk IN (SELECT max(pk) FROM transfer GROUP BY fingerprint)"
    " AND (state = 'running' OR (state IN ('incomplete', 'failed') AND ended_at >= ?))"
    " ORDER BY pk DESC"
)


def lost() -> IndexUnavailableError:
    """Give the error of a row that is not there any more."""
    return IndexUnavailableError(
        "The index was made again while a transfer ran, and does not know the transfer any more.",
        hint="The same command again asks only for what is missing.",
    )


def check_known(connection: sqlite3.Connection, transfer: Transfer) -> None:
    """Look whether a transfer is there still.

    A new index counts its rows from 1 again: under the same number there may be another one.

    Raises:
        IndexUnavailableError: It is not.
    """
    known = "SELECT 1 FROM transfer WHERE pk = ? AND id = ?"
    if connection.execute(known, (transfer.pk, transfer.id)).fetchone() is None:
        raise lost()


def query_of(row: tuple[Any, ...]) -> Query:
    """Give the query of a row."""
    pk, number, keys, state, reason = row
    return Query(pk, number, json.loads(keys), state, reason)


def transfer_of(row: tuple[Any, ...]) -> Transfer:
    """Give the transfer of a row."""
    pk, name, node, request, state, reason, notes, *rest = row
    return Transfer(
        pk, name, node, json.loads(request), state, reason, tuple(json.loads(notes)), *rest
    )


def count_here(connection: sqlite3.Connection, series: LedgerSeries) -> int:
    """Count what the archive has of a series: of the expected instances if they are known."""
    row = connection.execute(
        f"SELECT {HERE} FROM transfer_series s JOIN transfer_study t ON t.pk = s.study_pk"
        " WHERE s.pk = ?",
        (series.pk,),
    ).fetchone()
    if row is None:
        raise lost()
    return int(row[0])


def standing_of(connection: sqlite3.Connection, query: Query) -> Standing:
    """Sum up what became of a query."""
    studies, failed, doubtful = connection.execute(
        "SELECT count(*), sum(state = 'failed'), sum(state = 'planned' AND reason <> '')"
        " FROM transfer_study WHERE query_pk = ?",
        (query.pk,),
    ).fetchone()
    series = connection.execute(
        "SELECT count(*), sum(s.state = 'complete'), sum(s.state = 'unknown'), sum(s.expected),"
        " sum(s.received), max(s.reason) FROM transfer_series s"
        " JOIN transfer_study t ON t.pk = s.study_pk WHERE t.query_pk = ?",
        (query.pk,),
    ).fetchone()
    *numbers, reason = series
    number, complete, unknown, expected, received = (value or 0 for value in numbers)
    return Standing(
        studies,
        failed or 0,
        doubtful or 0,
        number,
        complete,
        unknown,
        expected,
        received,
        reason or "",
    )
