"""The account of a transfer: what was expected, against what the archive has of it now.

In: a transfer of the ledger. Out: its studies and series in numbers, its instances one at a time,
what is missing, what came unasked, when it came, and what was asked for. Not here: words, files.

A series that two queries of a transfer found is one series here, and what either of them expects
of it is expected. Everything is looked up among the rows of what is stored when it is asked for:
an account of a transfer that goes on is true of that moment.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from pypx.archive import account_rows as rows
from pypx.archive.index_sqlite import SqliteIndex
from pypx.archive.transfers import Request, Transfer
from pypx.values import frozen

__all__ = ["Account", "Arrivals", "InstanceAccount", "SeriesAccount", "StudyAccount"]

# Of two rows of one series, the state that asks for more is that of the series.
_WORST_FIRST = ("busy", "open", "failed", "incomplete", "unknown", "complete", "planned")


@frozen
class SeriesAccount:
    """A series; or a whole study, where the PACS does not tell its series.

    Attributes:
        series_instance_uid: Empty for a whole study.
        basis: What is known of its instances: ``instances`` their UIDs, ``count`` how many they
            are, ``unknown`` nothing.
        expected: How many; None where that is not known.
        received: How many of them came since the transfer began.
        here_before: How many of them were here before.
        bytes: The size of the files that came.
        state: ``open``, ``busy``, ``complete``, ``incomplete``, ``unknown``.
        attempts: How often it was asked for.
        reason: Why it is not complete, in a sentence.
    """

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    series_number: str
    series_description: str
    basis: str
    expected: int | None
    received: int
    here_before: int
    bytes: int
    state: str
    attempts: int
    reason: str

    @property
    def here(self) -> int:
        """How many of its instances the archive has."""
        return self.received + self.here_before

    @property
    def missing(self) -> int:
        """How many instances are known to be missing."""
        return 0 if self.expected is None else max(0, self.expected - self.here)

    @property
    def is_done(self) -> bool:
        """Whether nobody will ask for it again by himself."""
        return self.state not in ("open", "busy")


@frozen
class StudyAccount:
    """A study that was found, and its series.

    Attributes:
        state: ``planned``; or ``open``, ``busy`` or ``failed`` where its series are not known.
        reason: Why, or why there may be more series, in a sentence.
        series: In the order in which they were found.
    """

    study_instance_uid: str
    patient_id: str
    patient_name: str
    study_date: str
    study_description: str
    accession_number: str
    state: str
    reason: str
    series: tuple[SeriesAccount, ...]

    @property
    def complete(self) -> int:
        """How many series are complete, by what they say and by what is here."""
        return sum(one.state == "complete" and not one.missing for one in self.series)

    @property
    def expected(self) -> int:
        """The instances of the series whose number is known."""
        return sum(one.expected or 0 for one in self.series)

    @property
    def here(self) -> int:
        """How many instances the archive has of it."""
        return sum(one.here for one in self.series)

    @property
    def missing(self) -> int:
        """How many instances are known to be missing."""
        return sum(one.missing for one in self.series)


@frozen
class InstanceAccount:
    """An instance that is expected, or that came.

    Attributes:
        status: ``received``, ``missing``, ``here-before``, ``unexpected``.
        path: Relative to the archive; None where the instance is not in it, as all that follow.
        bytes: The size of the file.
        checksum: XXH3-128 of the data set.
        calling_ae_title: Who sent it; empty when imported.
        host: From which address; empty when imported, or when the index was made again.
        received_at: UTC, ISO 8601.
    """

    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    status: str
    path: str | None = None
    bytes: int | None = None
    checksum: str | None = None
    calling_ae_title: str | None = None
    host: str | None = None
    received_at: str | None = None


@frozen
class Arrivals:
    """When the instances of a transfer came.

    Attributes:
        first: The time of the first one, UTC, ISO 8601.
        seconds: From the first to the last.
        width: Seconds of each bin.
        instances: How many came in each bin; the first bin begins with the first instance.
        bytes: The size of their files.
    """

    first: str
    seconds: float
    width: float
    instances: tuple[int, ...]
    bytes: tuple[int, ...]


class Account:
    """The account of one transfer.

    Every method raises IndexUnavailableError where the index cannot be read.

    Args:
        index: Where the ledger and the instances are.
        transfer: Of which transfer.
    """

    def __init__(self, index: SqliteIndex, transfer: Transfer) -> None:
        self._index = index
        self._transfer = transfer
        self._names: dict[str, str | int] = {"transfer": transfer.pk, "began": transfer.began_at}

    def studies(self) -> Iterator[StudyAccount]:
        """Give the studies in the order in which they were found, each with its series."""
        found = self._index.stream(rows.SERIES, self._names)
        for _, group in groupby(found, lambda row: row[0]):
            yield self._study(list(group))

    def _study(self, found: list[tuple[Any, ...]]) -> StudyAccount:
        states = {state for row in found for state in json.loads(row[6])}
        reason = next(filter(None, (row[7] for row in found)), "")
        series = tuple(self._series(row) for row in found if row[9] is not None)
        return StudyAccount(*(*found[0][:6], _worst(states), reason, series))

    def _series(self, row: tuple[Any, ...]) -> SeriesAccount:
        study, pks, uid = row[0], row[8], row[9]
        named, counted, most, states, attempts, reason = row[13:]
        basis = "instances" if named else "count" if counted else "unknown"
        number, here, received, size = self._count(basis, study, uid, pks)
        return SeriesAccount(
            study_instance_uid=study,
            series_instance_uid=uid,
            modality=row[10],
            series_number=row[11],
            series_description=row[12],
            basis=basis,
            expected=max(number, most or 0) if named else most,
            received=received,
            here_before=here - received,
            bytes=size,
            state=_worst(set(json.loads(states))),
            attempts=attempts,
            reason=reason,
        )

    def _count(self, basis: str, study: str, series: str, pks: str) -> tuple[int, int, int, int]:
        """Count what is known of a series, what is here, what came, and the bytes of that."""
        if basis == "instances":
            query = rows.COUNT_NAMED
        else:
            query = rows.COUNT_SERIES if series else rows.COUNT_STUDY
        names = self._names | {"study": study, "series": series, "pks": pks}
        with self._index.reading() as connection:
            found = connection.execute(query, names).fetchone()
        number, here, received, size = (value or 0 for value in found)
        return number, here, received, size

    def instances(self) -> Iterator[InstanceAccount]:
        """Give the instances one at a time: the expected ones, and what came unasked.

        Of a series whose instances the PACS does not name, it is all that the archive has.
        """
        for query in (rows.NAMED, rows.UNNAMED, rows.UNEXPECTED):
            for row in self._index.stream(query, self._names):
                yield InstanceAccount(*row)

    def missing(self, limit: int = -1) -> Iterator[tuple[str, str, bool]]:
        """Give the expected instances that are not here, as far as they are known by name.

        Args:
            limit: At most so many; -1 is all.

        Yields:
            Series Instance UID, SOP Instance UID, and whether the series is done with.
        """
        names = self._names | {"limit": limit}
        for series, instance, state in self._index.stream(rows.MISSING, names):
            yield series, instance, state not in ("open", "busy")

    def unexpected(self, limit: int = -1) -> Iterator[str]:
        """Give the SOP Instance UIDs of what came though nobody asked for it."""
        names = self._names | {"limit": limit}
        return (row[0] for row in self._index.stream(f"{rows.UNEXPECTED} LIMIT :limit", names))

    def arrivals(self, most: int = 120) -> Arrivals | None:
        """Count what came in bins of time; None where nothing came.

        Args:
            most: How many bins at most.
        """
        with self._index.reading() as connection:
            first, seconds = connection.execute(rows.SPAN, self._names).fetchone()
            if first is None:
                return None
            width = _bin_width(seconds, most)
            names = self._names | {"first": first, "width": width}
            number = int(seconds / width) + 1
            instances, sizes = [0] * number, [0] * number
            for place, count, size in connection.execute(rows.ARRIVALS, names):
                place = min(max(place, 0), number - 1)  # julianday() is true to 40 µs
                instances[place] += count
                sizes[place] += size
        return Arrivals(first, seconds, width, tuple(instances), tuple(sizes))

    def requests(self, limit: int = -1) -> Iterator[tuple[str, str, Request]]:
        """Give study, series and request, the newest first."""
        names = self._names | {"limit": limit}
        for study, series, *rest in self._index.stream(rows.REQUESTS, names):
            yield study, series, Request(*rest)

    def numbers(self) -> tuple[int, int, int]:
        """Count the requests, what they call a warning, and what came unasked."""
        with self._index.reading() as connection:
            found = connection.execute(rows.NUMBERS, self._names).fetchone()
        requests, warnings, unexpected = (value or 0 for value in found)
        return requests, warnings, unexpected

    def queries(self) -> dict[str, int]:
        """Count the queries by their state."""
        with self._index.reading() as connection:
            return dict(connection.execute(rows.QUERIES, self._names).fetchall())

    def middle_of(self, series: SeriesAccount) -> tuple[str, str] | None:
        """Give the path and the SOP Class UID of the middle instance by number, if any is here."""
        names = {"study": series.study_instance_uid, "series": series.series_instance_uid}
        query = rows.MIDDLE_OF_SERIES if series.series_instance_uid else rows.MIDDLE_OF_STUDY
        with self._index.reading() as connection:
            found: tuple[str, str] | None = connection.execute(query, names).fetchone()
        return found


def _worst(states: set[str]) -> str:
    """Give the state of what has more than one row."""
    return next(one for one in (*_WORST_FIRST, *states) if one in states)


def _bin_width(seconds: float, most: int) -> float:
    """Give a width in seconds that people know from clocks."""
    minutes = (60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200)
    for width in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 20, 30, *minutes):
        if seconds / width < most:
            return width
    days = 1
    while seconds / (days * 86400) >= most:
        days += 1
    return days * 86400.0
