"""The manifest: a row for each instance that a transfer asked for or got.

In: the account of a transfer. Out: a file, CSV or JSON by its suffix. It is written as it is read:
a million instances take no more memory than one. Not here: what is missing, in words.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, TextIO, TypeAlias

from pypx.errors import ArchiveError, ConfigError
from pypx.outfile import OutFile
from pypx.text import cell, json_text

if TYPE_CHECKING:
    from pypx.archive import Archive
    from pypx.archive.account import InstanceAccount
    from pypx.archive.transfers import Transfer

    _Cells: TypeAlias = tuple[str | int | None, ...]

__all__ = ["COLUMNS", "check_folder", "check_path", "opened", "write_manifest"]

COLUMNS = (
    "sop_instance_uid",
    "series_instance_uid",
    "study_instance_uid",
    "status",
    "path",
    "bytes",
    "checksum_xxh3_128",
    "source_ae_title",
    "source_host",
    "received_at",
)
"""The headings of CSV, and the keys of JSON. ``status`` is ``received``, ``here-before``,
``missing`` or ``unexpected``; the checksum is the XXH3-128 of the data set."""

_SUFFIXES = (".csv", ".json")


def check_path(path: str) -> None:
    """Refuse a path that no manifest can be written to; nothing is written yet.

    Raises:
        ConfigError: The suffix is neither .csv nor .json, or there is no such folder.
    """
    if PurePath(path).suffix.lower() not in _SUFFIXES:
        raise ConfigError(
            f"{path} is no name of a manifest: it does not end with .csv or .json.",
            hint="The suffix says what is written: --manifest job.csv, or job.json.",
        )
    check_folder(path)


def check_folder(path: str) -> None:
    """Refuse a path in which no file can be made; nothing is left there.

    Raises:
        ConfigError: There is no such folder, or no right to write there.
    """
    try:
        OutFile(path).discard()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror or error}.",
            hint="Give a file in a folder where you may write.",
        ) from None


def write_manifest(archive: Archive, transfer: Transfer, path: str) -> int:
    """Write the manifest of a transfer, while it runs or afterwards.

    Args:
        archive: Where it was retrieved to.
        transfer: As the ledger gives it.
        path: Ends with .csv or .json. The file has its name when it is whole.

    Returns:
        How many instances are in it.

    Raises:
        ConfigError: As :func:`check_path`.
        ArchiveError: There is no room for it, or another failure to write.
        IndexUnavailableError: The index cannot be read.
    """
    check_path(path)
    root = str(archive.root)
    rows = (_cells(root, one) for one in archive.account(transfer).instances())
    with opened(path) as file:
        if PurePath(path).suffix.lower() == ".csv":
            return _write_csv(file, rows)
        return _write_json(file, transfer, rows)


@contextmanager
def opened(path: str) -> Iterator[TextIO]:
    """Lend a text file that gets its name at the end, and is not there after an error.

    Raises:
        ArchiveError: There is no room for it, or another failure to write.
    """
    try:
        out = OutFile(path)
    except OSError as error:
        raise _failure(path, error) from error
    try:
        text = io.TextIOWrapper(out.stream, "utf-8", newline="")
        yield text
        text.flush()
        out.commit()
    except OSError as error:
        out.discard()
        raise _failure(path, error) from error
    except BaseException:
        out.discard()
        raise


def _failure(path: str, error: OSError) -> ArchiveError:
    return ArchiveError(f"Cannot write to {path}: {error.strerror or error}.")


def _cells(root: str, one: InstanceAccount) -> _Cells:
    return (
        one.sop_instance_uid,
        one.series_instance_uid,
        one.study_instance_uid,
        one.status,
        None if one.path is None else f"{root}/{one.path}",
        one.bytes,
        one.checksum,
        one.calling_ae_title,
        one.host,
        one.received_at,
    )


def _write_csv(file: TextIO, rows: Iterator[_Cells]) -> int:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    number = 0
    for row in rows:
        writer.writerow(map(cell, row))
        number += 1
    return number


def _write_json(file: TextIO, transfer: Transfer, rows: Iterator[_Cells]) -> int:
    head = {
        "id": transfer.id,
        "node": transfer.node,
        "state": transfer.state,
        "began_at": transfer.began_at,
        "ended_at": transfer.ended_at or None,
        "checksum": "XXH3-128 of the data set, without the file meta information",
    }
    file.write(f'{json_text(head, indent=2)[:-2]},\n  "instances": [')
    number = 0
    for row in rows:
        comma = "," if number else ""
        file.write(f"{comma}\n    {json_text(dict(zip(COLUMNS, row, strict=True)))}")
        number += 1
    file.write("\n  ]\n}\n" if number else "]\n}\n")
    return number
