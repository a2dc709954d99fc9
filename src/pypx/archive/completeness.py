"""Is a series or a study whole, against what was last asked for?

In: a connection and UIDs. Out: one of three words. Not here: what is asked for again.

A series is looked at as the newest transfer planned it. A study is whole when all series are that
any transfer planned of it, each as the newest one that has it planned it: who fetched one series
again has not thereby got the others.
"""

from __future__ import annotations

import sqlite3
from enum import StrEnum

from pypx.archive.ledger_rows import HERE

__all__ = ["Completeness", "of_series", "of_study"]


class Completeness(StrEnum):
    """What is known of a series or a study."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    UNKNOWN = "unknown"
    """Nobody asked for it, or the PACS did not say how much it is."""


# A row of a whole study is about what no other row of it tells, but only as long as it is the
# newest that was asked.
_OF_STUDY = f"""
    WITH asked AS (
        SELECT max(s.transfer_pk) AS transfer_pk, s.pk, s.series_instance_uid
        FROM transfer_study t JOIN transfer_series s ON s.study_pk = t.pk
        WHERE t.study_instance_uid = ?1 GROUP BY s.series_instance_uid
    ), newest AS (
        SELECT transfer_pk, state FROM transfer_study WHERE study_instance_uid = ?1
        ORDER BY transfer_pk DESC, pk DESC LIMIT 1
    )
    SELECT min({HERE} >= s.expected), sum(s.expected IS NULL), count(*),
        (SELECT state FROM newest)
    FROM transfer_series s JOIN transfer_study t ON t.pk = s.study_pk
    WHERE s.pk IN (
        SELECT pk FROM asked WHERE series_instance_uid <> ''
        OR transfer_pk = (SELECT transfer_pk FROM newest)
    )"""
_OF_SERIES = f"""
    SELECT {HERE} >= s.expected
    FROM transfer_series s JOIN transfer_study t ON t.pk = s.study_pk
    WHERE s.pk = (
        SELECT s.pk FROM transfer_series s JOIN transfer_study t ON t.pk = s.study_pk
        WHERE s.series_instance_uid = ?2 AND t.study_instance_uid = ?1
        ORDER BY s.transfer_pk DESC, s.pk DESC LIMIT 1
    )"""


def of_series(connection: sqlite3.Connection, study: str, series: str) -> Completeness:
    """Say whether a series is whole.

    Args:
        connection: To the index.
        study: Its Study Instance UID.
        series: Its Series Instance UID.
    """
    row = connection.execute(_OF_SERIES, (study, series)).fetchone()
    if row is None or row[0] is None:
        return Completeness.UNKNOWN
    return Completeness.COMPLETE if row[0] else Completeness.INCOMPLETE


def of_study(connection: sqlite3.Connection, study: str) -> Completeness:
    """Say whether a study is whole.

    Args:
        connection: To the index.
        study: Its Study Instance UID.
    """
    is_whole, uncounted, series, state = connection.execute(_OF_STUDY, (study,)).fetchone()
    if is_whole == 0:
        return Completeness.INCOMPLETE
    if uncounted or not series or state != "planned":
        return Completeness.UNKNOWN
    return Completeness.COMPLETE
