"""``pypx.status`` as upstream had it: what of a study or series is here, of what was wanted.

In: UIDs. Out: upstream's words for how a series stands, from the index of the archive. Nothing is
asked of a PACS, and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pypx.compat.answers import Answer, failed
from pypx.compat.options import Request, read
from pypx.errors import ConfigError, PypxError

if TYPE_CHECKING:
    from pypx.archive import Archive

__all__ = ["State", "run_status", "status"]

_UNKNOWN = -1
"""How many, where nobody has counted."""


def status(opt: Mapping[str, Any] | None = None) -> Answer:
    """Say what the archive has of a study or a series.

    Args:
        opt: ``StudyInstanceUID`` or ``SeriesInstanceUID``; ``verifySeriesInStudy``; and of ours
            ``archive`` and ``config``.

    Returns:
        ``status``, ``returncode`` (1 where not all is here), ``state`` with ``study``,
        ``series`` and ``images`` in upstream's words, and ``study``, ``series`` and ``images``,
        where a count of -1 is not known. It is there at once, and can be awaited as well.
    """
    try:
        return Answer(run_status(read("status", opt)))
    except PypxError as error:
        return Answer(failed(error))


def run_status(request: Request) -> dict[str, Any]:
    """Do what :func:`status` does.

    Raises:
        ConfigError: Nothing says what it is about.
    """
    study, series = request.text("StudyInstanceUID"), request.text("SeriesInstanceUID")
    if not (study or series):
        raise ConfigError(
            "Nothing says what is to be looked for.",
            hint="Give StudyInstanceUID or SeriesInstanceUID.",
        )
    with State.open(request) as state:
        if series:
            return state.of_series(series, None, study)
        return state.of_study(study, each=request.is_on("verifySeriesInStudy"))


class State:
    """What an archive has.

    Args:
        archive: Where to look; None where there is none yet, and so nothing is here.
    """

    def __init__(self, archive: Archive | None) -> None:
        self._archive = archive

    @classmethod
    @contextmanager
    def open(cls, request: Request) -> Iterator[State]:
        """Open the archive of the configuration for reading.

        Raises:
            ArchiveError: It cannot be read.
        """
        from pypx.archive import Archive

        root = Path(request.config.archive)
        if not root.is_dir():
            yield cls(None)
            return
        with Archive(root, create=False, read_only=True) as archive:
            yield cls(archive)

    def of_series(self, uid: str, expected: int | None, study: str = "") -> dict[str, Any]:
        """Say how a series stands.

        Args:
            uid: Its Series Instance UID.
            expected: How many instances the PACS says that it has; None asks the jobs of
                ``px retrieve``.
            study: Of which study it must be; empty for any.
        """
        keys = {"SeriesInstanceUID": uid, **({"StudyInstanceUID": study} if study else {})}
        rows = self._rows("series", keys)
        received = sum(int(str(row["instances"])) for row in rows)
        if expected is None and self._archive is not None:
            expected = self._archive.ledger.expected(uid)
        uids = sorted({str(row["StudyInstanceUID"]) for row in rows})
        return _described(uids, [uid] if rows else [], received, expected)

    def of_study(self, uid: str, *, each: bool) -> dict[str, Any]:
        """Say how a study stands, as far as something of it is here.

        Args:
            uid: Its Study Instance UID.
            each: Say it of each series as well.
        """
        rows = self._rows("series", {"StudyInstanceUID": uid})
        series = {
            name: self.of_series(name, None)
            for name in (str(row["SeriesInstanceUID"]) for row in rows)
        }
        counts = [one["images"]["requested"]["count"] for one in series.values()]
        expected = sum(counts) if counts and min(counts) >= 0 else None
        received = sum(one["images"]["received"]["count"] for one in series.values())
        found = _described([uid] if rows else [], list(series), received, expected)
        if each:
            found["series"]["each"] = series
        return found

    def _rows(self, level: str, keys: dict[str, str]) -> list[Any]:
        return [] if self._archive is None else list(self._archive.find(level, keys))


def _described(
    studies: list[str], series: list[str], received: int, expected: int | None
) -> dict[str, Any]:
    images = _images(received, expected)
    study_state = "StudyOK" if studies else "NoStudyFound"
    series_state = "SeriesOK" if series else "NoSeriesFound"
    whole = images in ("ImagesAllReceivedOK", "ImagesReceived")
    data = {
        "NoImagesReceived": "Nothing of it is here.",
        "ImagesInFlight": f"{received} of {expected} images are here.",
    }.get(images, f"{received} images are here.")
    counts = {
        "received": received,
        "requested": _UNKNOWN if expected is None else expected,
        "packed": received,
        "pushed": _UNKNOWN,
        "registered": _UNKNOWN,
    }
    return {
        "status": "success",
        "data": data,
        "command": "",
        "returncode": 0 if whole else 1,
        "state": {"study": study_state, "series": series_state, "images": images},
        "study": {
            "state": study_state,
            "StudyInstanceUID": studies[0] if studies else "",
            "seriesListInStudy": series,
        },
        "series": {"state": series_state},
        "images": {name: {"count": number} for name, number in counts.items()},
    }


def _images(received: int, expected: int | None) -> str:
    """Give upstream's word; it had none for what nobody has counted."""
    if not received:
        return "NoImagesReceived"
    if expected is None:
        return "ImagesReceived"
    return "ImagesAllReceivedOK" if received >= expected else "ImagesInFlight"
