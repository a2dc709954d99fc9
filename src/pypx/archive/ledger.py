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
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pypx.archive import completeness, ledger_rows
from pypx.archive.completeness import Completeness
from pypx.archive.files import unique
from pypx.archive.ledger_queries import QueryLedger
from pypx.archive.ledger_series import SeriesLedger
from pypx.archive.reading import iso_time
from pypx.archive.transfers import Totals, Transfer

__all__ = ["Ledger"]


class Ledger(QueryLedger, SeriesLedger):
    """The transfers of an archive. Threads may share one; processes may, too.

    Args:
        index: Where it is kept.

    Every method raises IndexUnavailableError where the index cannot be used now.
    """

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
        """Say how a transfer stands; at its end nobody is busy with anything of it.

        Args:
            transfer: Which.
            state: ``running``, or how it ended.
            reason: Why, in a sentence.
            seconds: How long it worked since it was begun or resumed.
        """
        ended = "" if state == "running" else iso_time(time.time_ns())
        with self._changing(transfer) as connection:
            connection.execute(
                "UPDATE transfer SET state = ?, reason = ?, ended_at = ?, seconds = seconds + ?"
                " WHERE pk = ?",
                (state, reason, ended, seconds, transfer.pk),
            )
            for statement in ledger_rows.RELEASE if ended else ():
                connection.execute(statement, (transfer.pk,))

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

    def expected(self, series: str) -> int | None:
        """Say how many instances of a series the newest transfer expects that asked for it.

        Args:
            series: Series Instance UID.

        Returns:
            None where nobody asked for it, or the PACS did not say how many it has.
        """
        with self._index.reading() as connection:
            row = connection.execute(
                "SELECT expected FROM transfer_series WHERE series_instance_uid = ?"
                " ORDER BY transfer_pk DESC, pk DESC LIMIT 1",
                (series,),
            ).fetchone()
        return None if row is None else row[0]

    def complete_since(self, transfer: Transfer, totals: Totals) -> str:
        """Say when the rest of an incomplete transfer came (ISO 8601, UTC); empty if it has not.

        Args:
            transfer: Which.
            totals: As they are now.
        """
        if not totals.series or totals.complete < totals.series or totals.to_plan:
            return ""
        with self._reading(transfer) as connection:
            if connection.execute(ledger_rows.FRUITLESS, (transfer.pk,)).fetchone():
                return ""
            row = connection.execute(ledger_rows.LAST_OF_INCOMPLETE, (transfer.pk,)).fetchone()
        return row[0] or transfer.ended_at

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
