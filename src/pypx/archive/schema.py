"""The tables of the index, as numbered migrations.

In: a connection. Out: the same connection with today's tables. Not here: rows and queries.

A migration is a list of statements, run in one transaction with the number that it leads to
(``PRAGMA user_version``), so an aborted one leaves the version before. Old ones are never edited.
"""

from __future__ import annotations

import sqlite3

from pypx.errors import IndexUnavailableError

__all__ = ["TABLES", "VERSION", "check", "migrate", "version_of"]

TABLES = (
    "study",
    "series",
    "folder",
    "instance",
    "transfer",
    "transfer_query",
    "transfer_study",
    "transfer_series",
    "transfer_instance",
    "transfer_request",
    "transfer_extra",
)

_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # A study that arrives with two Patient IDs is two rows: it then shows as what it is.
        # described_at: when the instance was received that gave the row its values.
        """CREATE TABLE study (
            pk INTEGER PRIMARY KEY,
            study_instance_uid TEXT NOT NULL,
            patient_id TEXT NOT NULL,
            patient_name TEXT NOT NULL,
            patient_name_folded TEXT NOT NULL,
            patient_birth_date TEXT NOT NULL,
            patient_sex TEXT NOT NULL,
            study_date TEXT NOT NULL,
            study_time TEXT NOT NULL,
            accession_number TEXT NOT NULL,
            study_description TEXT NOT NULL,
            study_id TEXT NOT NULL,
            described_at TEXT NOT NULL,
            UNIQUE (study_instance_uid, patient_id)
        )""",
        "CREATE INDEX study_by_patient ON study (patient_id)",
        """CREATE TABLE series (
            pk INTEGER PRIMARY KEY,
            study_pk INTEGER NOT NULL REFERENCES study,
            series_instance_uid TEXT NOT NULL,
            modality TEXT NOT NULL,
            series_number TEXT NOT NULL,
            series_description TEXT NOT NULL,
            series_date TEXT NOT NULL,
            described_at TEXT NOT NULL,
            UNIQUE (series_instance_uid, study_pk)
        )""",
        "CREATE INDEX series_by_study ON series (study_pk)",
        "CREATE TABLE folder (pk INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE)",
        """CREATE TABLE instance (
            pk INTEGER PRIMARY KEY,
            series_pk INTEGER NOT NULL REFERENCES series,
            folder_pk INTEGER NOT NULL REFERENCES folder,
            name TEXT NOT NULL,
            sop_instance_uid TEXT NOT NULL UNIQUE,
            sop_class_uid TEXT NOT NULL,
            transfer_syntax_uid TEXT NOT NULL,
            instance_number TEXT NOT NULL,
            number_of_frames TEXT NOT NULL,
            bytes INTEGER NOT NULL,
            data_set_offset INTEGER NOT NULL,
            checksum TEXT NOT NULL,
            received_at TEXT NOT NULL,
            calling_ae_title TEXT NOT NULL,
            host TEXT NOT NULL
        )""",
        # bytes and folder_pk are in it so that counting a study touches no instance row
        "CREATE INDEX instance_by_series ON instance (series_pk, folder_pk, bytes)",
        "CREATE INDEX instance_by_folder ON instance (folder_pk)",
    ),
    (
        # What was asked of a PACS; see ``ledger``. Unlike the rows above, it cannot be made again
        # from the files.
        """CREATE TABLE transfer (
            pk INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            fingerprint TEXT NOT NULL,
            node TEXT NOT NULL,
            request TEXT NOT NULL,
            state TEXT NOT NULL,
            reason TEXT NOT NULL DEFAULT '',
            notes TEXT NOT NULL DEFAULT '[]',
            began_at TEXT NOT NULL,
            ended_at TEXT NOT NULL DEFAULT '',
            seconds REAL NOT NULL DEFAULT 0
        )""",
        "CREATE INDEX transfer_by_fingerprint ON transfer (fingerprint)",
        """CREATE TABLE transfer_query (
            pk INTEGER PRIMARY KEY,
            transfer_pk INTEGER NOT NULL REFERENCES transfer ON DELETE CASCADE,
            number INTEGER NOT NULL,
            keys TEXT NOT NULL,
            state TEXT NOT NULL DEFAULT 'open',
            reason TEXT NOT NULL DEFAULT '',
            UNIQUE (transfer_pk, number)
        )""",
        "CREATE INDEX transfer_query_by_state ON transfer_query (transfer_pk, state)",
        """CREATE TABLE transfer_study (
            pk INTEGER PRIMARY KEY,
            transfer_pk INTEGER NOT NULL REFERENCES transfer ON DELETE CASCADE,
            query_pk INTEGER NOT NULL REFERENCES transfer_query ON DELETE CASCADE,
            study_instance_uid TEXT NOT NULL,
            patient_id TEXT NOT NULL,
            patient_name TEXT NOT NULL,
            study_date TEXT NOT NULL,
            study_description TEXT NOT NULL,
            accession_number TEXT NOT NULL,
            number_of_instances INTEGER,
            number_of_series INTEGER,
            state TEXT NOT NULL DEFAULT 'open',
            reason TEXT NOT NULL DEFAULT '',
            UNIQUE (query_pk, study_instance_uid)
        )""",
        "CREATE INDEX transfer_study_by_state ON transfer_study (transfer_pk, state)",
        # series_instance_uid is empty where the PACS does not tell the series of the study: the
        # row then is all of it.
        """CREATE TABLE transfer_series (
            pk INTEGER PRIMARY KEY,
            transfer_pk INTEGER NOT NULL REFERENCES transfer ON DELETE CASCADE,
            study_pk INTEGER NOT NULL REFERENCES transfer_study ON DELETE CASCADE,
            series_instance_uid TEXT NOT NULL,
            modality TEXT NOT NULL,
            series_number TEXT NOT NULL,
            series_description TEXT NOT NULL,
            basis TEXT NOT NULL,
            expected INTEGER,
            here_before INTEGER NOT NULL DEFAULT 0,
            received INTEGER NOT NULL DEFAULT 0,
            state TEXT NOT NULL DEFAULT 'open',
            attempts INTEGER NOT NULL DEFAULT 0,
            reason TEXT NOT NULL DEFAULT '',
            UNIQUE (study_pk, series_instance_uid)
        )""",
        "CREATE INDEX transfer_series_by_state ON transfer_series (transfer_pk, state)",
        "CREATE INDEX transfer_series_by_uid ON transfer_series (series_instance_uid)",
        """CREATE TABLE transfer_instance (
            series_pk INTEGER NOT NULL REFERENCES transfer_series ON DELETE CASCADE,
            sop_instance_uid TEXT NOT NULL,
            sop_class_uid TEXT NOT NULL,
            PRIMARY KEY (series_pk, sop_instance_uid)
        ) WITHOUT ROWID""",
        """CREATE TABLE transfer_request (
            pk INTEGER PRIMARY KEY,
            transfer_pk INTEGER NOT NULL REFERENCES transfer ON DELETE CASCADE,
            series_pk INTEGER NOT NULL REFERENCES transfer_series ON DELETE CASCADE,
            method TEXT NOT NULL,
            level TEXT NOT NULL,
            asked INTEGER,
            sent_at TEXT NOT NULL,
            seconds REAL,
            status INTEGER,
            completed INTEGER,
            failed INTEGER,
            warning INTEGER,
            reason TEXT NOT NULL DEFAULT ''
        )""",
        "CREATE INDEX transfer_request_by_series ON transfer_request (series_pk)",
        """CREATE TABLE transfer_extra (
            transfer_pk INTEGER NOT NULL REFERENCES transfer ON DELETE CASCADE,
            sop_instance_uid TEXT NOT NULL,
            series_instance_uid TEXT NOT NULL,
            study_instance_uid TEXT NOT NULL,
            PRIMARY KEY (transfer_pk, sop_instance_uid)
        ) WITHOUT ROWID""",
    ),
    # What was asked of the studies that are listed.
    ("CREATE INDEX transfer_study_by_uid ON transfer_study (study_instance_uid)",),
)

VERSION = len(_MIGRATIONS)
"""The schema that this version of pypx writes."""


def check(connection: sqlite3.Connection) -> None:
    """Refuse an index with another schema than today's.

    Raises:
        IndexUnavailableError: A newer pypx has written it, or an older one.
        sqlite3.Error: As SQLite says.
    """
    version = version_of(connection)
    if version > VERSION:
        raise IndexUnavailableError(
            f"A newer pypx has written the index (schema {version}; this one knows {VERSION}).",
            hint="Update pypx. The files of the archive are not affected.",
        )
    if version < VERSION:
        raise IndexUnavailableError(
            f"The index has the schema {version}, and cannot be brought to {VERSION} read-only.",
            hint="Open the archive once with the right to write.",
        )


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables to today's schema.

    Args:
        connection: In autocommit mode (``isolation_level=None``).

    Raises:
        IndexUnavailableError: A newer pypx has written the index.
        sqlite3.Error: As SQLite says; the tables are then as before.
    """
    if version_of(connection) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = version_of(connection)
        if version > VERSION:
            check(connection)
        for number, statements in enumerate(_MIGRATIONS[version:], version + 1):
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def version_of(connection: sqlite3.Connection) -> int:
    """Give the schema that a file has; 0 for one that has none."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
