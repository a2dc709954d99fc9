"""How the parts of the ledger get at the index: transactions, and rows that must be there.

In: an index, statements. Out: rows, and changes that are committed. Not here: what the rows mean.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pypx.archive import ledger_rows
from pypx.archive.index_sqlite import SqliteIndex
from pypx.archive.transfers import Transfer

__all__ = ["LedgerAccess"]


class LedgerAccess:
    """What the parts of the ledger share.

    Args:
        index: Where it is kept.
    """

    def __init__(self, index: SqliteIndex) -> None:
        self._index = index

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
