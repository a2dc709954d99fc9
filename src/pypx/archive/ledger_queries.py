"""The part of the ledger that is about what was looked for: queries, and the studies they found.

In: queries, what a PACS says of studies. Out: what nobody has looked for yet, and what is done.
Not here: the series of the studies, and how a PACS is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from pypx.archive import ledger_rows
from pypx.archive.ledger_access import LedgerAccess
from pypx.archive.transfers import LedgerStudy, Query, Standing, Transfer

__all__ = ["QueryLedger"]


class QueryLedger(LedgerAccess):
    """Queries and studies of transfers."""

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
