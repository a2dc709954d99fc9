"""The queries of an account: the ledger joined with what is stored.

In: ``:transfer``, its primary key, and ``:began``, when it began; and as said beside each query.
Out: rows. Not here: what they mean.
"""

from __future__ import annotations

__all__ = [
    "ARRIVALS",
    "COUNT_NAMED",
    "COUNT_SERIES",
    "COUNT_STUDY",
    "MIDDLE_OF_SERIES",
    "MIDDLE_OF_STUDY",
    "MISSING",
    "NAMED",
    "NUMBERS",
    "QUERIES",
    "REQUESTS",
    "SERIES",
    "SPAN",
    "UNEXPECTED",
    "UNNAMED",
]

# One row a series of a study, study by study; and one for what has no series, whose last columns
# then are NULL.
SERIES = """
SELECT t.study_instance_uid, t.patient_id, t.patient_name, t.study_date, t.study_description,
    t.accession_number, json_group_array(t.state), max(t.reason),
    json_group_array(s.pk), s.series_instance_uid, s.modality, s.series_number,
    s.series_description, max(s.basis = 'instances'), max(s.basis = 'count'), max(s.expected),
    json_group_array(s.state), sum(s.attempts), max(s.reason)
FROM transfer_study t LEFT JOIN transfer_series s ON s.study_pk = t.pk
WHERE t.transfer_pk = :transfer
GROUP BY t.study_instance_uid, s.series_instance_uid
ORDER BY min(min(t.pk)) OVER (PARTITION BY t.study_instance_uid), min(s.pk)
"""

_COUNTS = """count(i.pk), sum(i.received_at >= :began),
    sum(CASE WHEN i.received_at >= :began THEN i.bytes END)"""

# With ``:pks``, the rows of the series as a JSON array.
COUNT_NAMED = f"""
SELECT count(*), {_COUNTS}
FROM (SELECT DISTINCT sop_instance_uid FROM transfer_instance
    WHERE series_pk IN (SELECT value FROM json_each(:pks)))
LEFT JOIN instance i USING (sop_instance_uid)
"""
# With ``:series`` or ``:study``.
COUNT_SERIES = f"""
SELECT count(*), {_COUNTS} FROM series r JOIN instance i ON i.series_pk = r.pk
WHERE r.series_instance_uid = :series
"""
COUNT_STUDY = f"""
SELECT count(*), {_COUNTS} FROM study p JOIN series r ON r.study_pk = p.pk
JOIN instance i ON i.series_pk = r.pk WHERE p.study_instance_uid = :study
"""

_STATUS = "CASE WHEN i.received_at >= :began THEN 'received' ELSE 'here-before' END"
_FOUND = """CASE WHEN f.path = '' THEN i.name ELSE f.path || '/' || i.name END,
    i.bytes, i.checksum, i.calling_ae_title, i.host, i.received_at"""

# The instances that the PACS names, each once, series by series. CROSS JOIN and the plus sign keep
# SQLite from another order of the tables, and so from sorting a million rows first.
_NAMED_ROWS = """
FROM (SELECT s.pk, s.series_instance_uid, s.state, t.study_instance_uid
    FROM transfer_series s JOIN transfer_study t ON t.pk = s.study_pk
    WHERE +s.transfer_pk = :transfer ORDER BY s.pk) s
CROSS JOIN transfer_instance e ON e.series_pk = s.pk
LEFT JOIN instance i ON i.sop_instance_uid = e.sop_instance_uid
"""
_EACH_ONCE = """
NOT EXISTS (SELECT 1 FROM transfer_series o JOIN transfer_study u ON u.pk = o.study_pk
    JOIN transfer_instance x
        ON x.series_pk = o.pk AND x.sop_instance_uid = e.sop_instance_uid
    WHERE o.series_instance_uid = s.series_instance_uid AND o.transfer_pk = :transfer
    AND o.pk < s.pk AND u.study_instance_uid = s.study_instance_uid)
"""
NAMED = f"""
SELECT e.sop_instance_uid,
    CASE WHEN s.series_instance_uid = '' THEN ifnull(r.series_instance_uid, '')
        ELSE s.series_instance_uid END,
    s.study_instance_uid, CASE WHEN i.pk IS NULL THEN 'missing' ELSE {_STATUS} END, {_FOUND}
{_NAMED_ROWS}
LEFT JOIN series r ON r.pk = i.series_pk LEFT JOIN folder f ON f.pk = i.folder_pk
WHERE {_EACH_ONCE}
"""
MISSING = f"""
SELECT s.series_instance_uid, e.sop_instance_uid, s.state {_NAMED_ROWS}
WHERE i.pk IS NULL AND {_EACH_ONCE} LIMIT :limit
"""

# What the archive has of the series (and of the studies) whose instances the PACS does not name.
_UNNAMED_SERIES = """
SELECT t.study_instance_uid, s.series_instance_uid
FROM transfer_series s JOIN transfer_study t ON t.pk = s.study_pk
WHERE s.transfer_pk = :transfer
GROUP BY t.study_instance_uid, s.series_instance_uid HAVING max(s.basis = 'instances') = 0
"""
_UNNAMED_ROWS = f"""
FROM (SELECT w.study_instance_uid, r.pk, r.series_instance_uid
    FROM ({_UNNAMED_SERIES}) w JOIN series r ON r.series_instance_uid = w.series_instance_uid
    UNION
    SELECT w.study_instance_uid, r.pk, r.series_instance_uid
    FROM ({_UNNAMED_SERIES}) w JOIN study p ON p.study_instance_uid = w.study_instance_uid
    JOIN series r ON r.study_pk = p.pk WHERE w.series_instance_uid = '') s
CROSS JOIN instance i ON i.series_pk = s.pk
"""
UNNAMED = f"""
SELECT i.sop_instance_uid, s.series_instance_uid, s.study_instance_uid, {_STATUS}, {_FOUND}
{_UNNAMED_ROWS} JOIN folder f ON f.pk = i.folder_pk
"""

# What was noted down as unasked, unless a query that was planned later asks for it.
UNEXPECTED = f"""
SELECT x.sop_instance_uid, x.series_instance_uid, x.study_instance_uid, 'unexpected', {_FOUND}
FROM transfer_extra x LEFT JOIN instance i ON i.sop_instance_uid = x.sop_instance_uid
LEFT JOIN folder f ON f.pk = i.folder_pk
WHERE x.transfer_pk = :transfer AND NOT EXISTS (
    SELECT 1 FROM transfer_series s JOIN transfer_study t ON t.pk = s.study_pk
    WHERE s.series_instance_uid IN (x.series_instance_uid, '')
    AND s.transfer_pk = :transfer AND t.study_instance_uid = x.study_instance_uid
    AND (s.basis <> 'instances' OR EXISTS (SELECT 1 FROM transfer_instance e
        WHERE e.series_pk = s.pk AND e.sop_instance_uid = x.sop_instance_uid)))
"""

# With ``:first`` and ``:width``: when it came, in bins of so many seconds.
_CAME = f"""
(SELECT i.pk, i.received_at, i.bytes {_NAMED_ROWS} WHERE i.received_at >= :began
    UNION SELECT i.pk, i.received_at, i.bytes {_UNNAMED_ROWS} WHERE i.received_at >= :began)
"""
SPAN = f"""
SELECT min(received_at), (julianday(max(received_at)) - julianday(min(received_at))) * 86400
FROM {_CAME}
"""
ARRIVALS = f"""
SELECT CAST((julianday(received_at) - julianday(:first)) * 86400 / :width AS INTEGER),
    count(*), sum(bytes)
FROM {_CAME} GROUP BY 1
"""

REQUESTS = """
SELECT t.study_instance_uid, s.series_instance_uid, q.method, q.level, q.asked, q.sent_at,
    q.seconds, q.status, q.completed, q.failed, q.warning, q.reason
FROM transfer_request q JOIN transfer_series s ON s.pk = q.series_pk
JOIN transfer_study t ON t.pk = s.study_pk
WHERE q.transfer_pk = :transfer ORDER BY q.pk DESC LIMIT :limit
"""
QUERIES = "SELECT state, count(*) FROM transfer_query WHERE transfer_pk = :transfer GROUP BY 1"
NUMBERS = f"""
SELECT (SELECT count(*) FROM transfer_request WHERE transfer_pk = :transfer),
    (SELECT sum(warning) FROM transfer_request WHERE transfer_pk = :transfer),
    (SELECT count(*) FROM ({UNEXPECTED}))
"""

_MIDDLE = """
ORDER BY CAST(i.instance_number AS INTEGER), i.sop_instance_uid
LIMIT 1 OFFSET (SELECT count(*) / 2 {0})
"""
_OF_SERIES = """FROM series r JOIN instance i ON i.series_pk = r.pk
JOIN folder f ON f.pk = i.folder_pk WHERE r.series_instance_uid = :series"""
_OF_STUDY = """FROM study p JOIN series r ON r.study_pk = p.pk
JOIN instance i ON i.series_pk = r.pk JOIN folder f ON f.pk = i.folder_pk
WHERE p.study_instance_uid = :study"""
_PATH_AND_CLASS = """SELECT CASE WHEN f.path = '' THEN i.name ELSE f.path || '/' || i.name END,
    i.sop_class_uid """
MIDDLE_OF_SERIES = f"{_PATH_AND_CLASS} {_OF_SERIES} {_MIDDLE.format(_OF_SERIES)}"
MIDDLE_OF_STUDY = f"{_PATH_AND_CLASS} {_OF_STUDY} {_MIDDLE.format(_OF_STUDY)}"
