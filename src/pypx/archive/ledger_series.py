"""The part of the ledger that is about what is asked for: series, their instances, and requests.

In: what a PACS says of series, what was asked for and what came of it. Out: what is here, what is
missing, and what nobody has asked for yet. Not here: which series there are, and who asks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from pypx.archive import ledger_rows
from pypx.archive.ledger_access import LedgerAccess
from pypx.archive.reading import iso_time
from pypx.archive.transfers import OPEN, LedgerSeries, LedgerStudy, Request, Transfer
from pypx.values import replace

__all__ = ["SeriesLedger"]


class SeriesLedger(LedgerAccess):
    """Series, instances and requests of transfers."""

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
        self,
        transfer: Transfer,
        study_pk: int | None = None,
        *,
        planned: bool = False,
        after: int = 0,
        beyond: int = 0,
    ) -> LedgerSeries | None:
        """Take the first series that nobody has asked for.

        Args:
            transfer: Of which transfer.
            study_pk: Of which study; None for any.
            planned: Only of studies of which all series are known.
            after: Only those after this series.
            beyond: Only those of studies after this one.
        """
        condition = "" if study_pk is None else f" AND study_pk = {int(study_pk)}"
        condition += f" AND pk > {int(after)}" if after else ""
        condition += f" AND study_pk > {int(beyond)}" if beyond else ""
        condition += ledger_rows.PLANNED if planned else ""
        row = self._take("transfer_series", transfer, "pk", "pk", condition)
        return None if row is None else self.series_of(row[0])

    def last_asked(self, transfer: Transfer) -> int:
        """Give the last series, in their order, that anybody has asked for; 0 where there is
        none."""
        with self._index.reading() as connection:
            (last,) = connection.execute(
                "SELECT max(series_pk) FROM transfer_request WHERE transfer_pk = ?", (transfer.pk,)
            ).fetchone()
        return last or 0

    def has_others(self, transfer: Transfer, beyond: int) -> bool:
        """Say whether there are studies that are not planned, or series of studies beyond one that
        nobody has asked for."""
        with self._reading(transfer) as connection:
            row = connection.execute(
                "SELECT 1 FROM transfer_series WHERE transfer_pk = ?1 AND state = 'open'"
                " AND study_pk > ?2 UNION ALL SELECT 1 FROM transfer_study WHERE transfer_pk = ?1"
                " AND state IN ('open', 'busy') UNION ALL SELECT 1 FROM transfer_query"
                " WHERE transfer_pk = ?1 AND state IN ('open', 'busy') LIMIT 1",
                (transfer.pk, beyond),
            ).fetchone()
        return row is not None

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
