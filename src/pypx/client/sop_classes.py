"""Which SOP classes are to come, so that a C-GET proposes contexts for those and no others.

In: unique keys and a client that asks the PACS (C-FIND). Out: SOP classes, and the
presentation contexts for them, packed into as many associations as they need (PS3.8
§9.3.2.2 has room for 128 in each). Receiving does not belong here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from pypx.client.query import Level
from pypx.dicom import uids
from pypx.errors import NoPresentationContextError, StatusError
from pypx.ul.negotiation import MAXIMUM_CONTEXTS
from pypx.values import frozen

if TYPE_CHECKING:
    from pypx.client.query import Keys, Model
    from pypx.client.requestor import Requestor
    from pypx.dicom.data_set import DataSet

__all__ = ["SOPClasses", "StorageContext", "find_sop_classes", "pack"]

StorageContext = tuple[str, tuple[str, ...]]
"""An abstract syntax and the transfer syntaxes that are proposed with it."""

_MOST = 256  # SOP classes of one request; the standard has 204, so more is no honest answer
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_JPEG = "1.2.840.10008.1.2.4."

# The uncompressed ones first: some providers take the first context of a class for all.
_PLAIN = (
    uids.EXPLICIT_VR_LITTLE_ENDIAN,
    uids.IMPLICIT_VR_LITTLE_ENDIAN,
    uids.EXPLICIT_VR_BIG_ENDIAN,
    uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
)
_IMAGE = (
    *(f"{_JPEG}{number}" for number in (70, 50, 51, 57, 80, 81, 90, 91)),
    "1.2.840.10008.1.2.5",  # RLE
    *(f"{_JPEG}{number}" for number in (201, 202, 203)),
)
_VIDEO = tuple(f"{_JPEG}{number}" for number in (100, 101, 102, 103, 104, 105, 106, 107, 108))

_WITHOUT_PIXELS = tuple(
    f"{_STORAGE}{part}"
    for part in ("9.", "11.", "66.1", "66.2", "66.3", "67", "78.", "88.", "104.", "200.")
) + tuple(f"{_STORAGE}481.{number}" for number in range(3, 23))
_WITH_VIDEO = frozenset(
    f"{_STORAGE}{part}" for part in ("3.1", "77.1.1.1", "77.1.2.1", "77.1.4.1", "7.2", "7.4")
)

# What a modality most likely makes, for a PACS that does not say the SOP classes.
_OF_MODALITY = {
    "CR": ("1",),
    "CT": ("2", "2.1", "2.2"),
    "DX": ("1.1", "1.1.1"),
    "ES": ("77.1.1", "77.1.1.1"),
    "IVOCT": ("14.1", "14.2"),
    "KO": ("88.59",),
    "MG": ("1.2", "1.2.1", "13.1.3"),
    "MR": ("4", "4.1", "4.2", "4.4"),
    "NM": ("20",),
    "OP": ("77.1.5.1", "77.1.5.2"),
    "OPT": ("77.1.5.4",),
    "OT": ("7", "7.2", "7.3", "7.4", "104.1"),
    "PR": ("11.1", "11.2"),
    "PT": ("128", "130", "128.1"),
    "RF": ("12.2", "12.2.1"),
    "RTDOSE": ("481.2",),
    "RTIMAGE": ("481.1",),
    "RTPLAN": ("481.5", "481.8"),
    "RTSTRUCT": ("481.3",),
    "SC": ("7",),
    "SEG": ("66.4",),
    "SM": ("77.1.6",),
    "SR": ("88.11", "88.22", "88.33", "88.34", "88.67"),
    "US": ("6.1", "3.1"),
    "XA": ("12.1", "12.1.1"),
    "XC": ("77.1.4",),
}
_COMMON = tuple(
    dict.fromkeys(f"{_STORAGE}{part}" for parts in _OF_MODALITY.values() for part in parts)
)


@frozen
class SOPClasses:
    """The SOP classes of what is asked for.

    Attributes:
        known: What the PACS says, or what its modalities make likely.
        exact: Nothing else is there, as far as the PACS says.
    """

    known: tuple[str, ...]
    exact: bool

    def contexts(self) -> list[list[StorageContext]]:
        """Give the contexts to propose, those of one SOP class together.

        A context of several transfer syntaxes lets the PACS choose one in which an object is
        not stored; so a known class has a context for each. Where others are possible, all
        of the standard follow, the common ones first, with one context each.
        """
        contexts: list[list[StorageContext]] = [
            [(uid, (syntax,)) for syntax in _syntaxes(uid)] for uid in self.known
        ]
        if not self.exact:
            rest = dict.fromkeys([*_COMMON, *uids.storage_sop_classes()])
            contexts += [[(uid, _syntaxes(uid))] for uid in rest if uid not in self.known]
        return contexts


def _syntaxes(sop_class_uid: str) -> tuple[str, ...]:
    if sop_class_uid.startswith(_WITHOUT_PIXELS):
        return _PLAIN
    return _PLAIN + _IMAGE + (_VIDEO if sop_class_uid in _WITH_VIDEO else ())


def pack(contexts: Iterable[list[StorageContext]]) -> list[list[StorageContext]]:
    """Fill as few associations as hold all contexts, those of one SOP class never apart.

    One place in each is left for the C-GET itself.
    """
    batches: list[list[StorageContext]] = []
    for group in contexts:
        if not batches or len(batches[-1]) + len(group) >= MAXIMUM_CONTEXTS:
            batches.append([])
        batches[-1] += group
    return batches


def find_sop_classes(
    client: Requestor, keys: Keys, level: Level, model: Model | str | None
) -> SOPClasses:
    """Ask the PACS which SOP classes a request names: of the study, else image by image.

    Args:
        client: Asks; an association for queries is made where there is none.
        keys: Unique keys of the request.
        level: Its level.
        model: The query/retrieve model; None for the client's own.

    Raises:
        NetworkError, AssociationError, ProtocolError: The association ended.
    """
    survey = _Survey(client, model)
    try:
        survey.look(dict(keys), level)
    except (StatusError, NoPresentationContextError):
        survey.exact = False  # what is not said is guessed
    exact = survey.exact and bool(survey.found)
    guessed = [
        f"{_STORAGE}{part}"
        for modality in sorted(survey.modalities)
        for part in _OF_MODALITY.get(modality, ())
    ]
    return SOPClasses(tuple(dict.fromkeys([*survey.found, *guessed])), exact)


class _Survey:
    """What the answers of the PACS say."""

    def __init__(self, client: Requestor, model: Model | str | None) -> None:
        self.found: dict[str, None] = {}
        self.modalities: set[str] = set()
        self.exact = True
        self._client = client
        self._model = model

    def look(self, keys: Keys, level: Level) -> None:
        if level in (Level.SERIES, Level.IMAGE):
            self._look_at_images(keys, "")
            return
        wanted = ("StudyInstanceUID", "SOPClassesInStudy", "ModalitiesInStudy")
        for study in list(self._find(keys, Level.STUDY, wanted)):
            classes = study.values_of("SOPClassesInStudy")
            if any(classes):
                self._add(str(uid) for uid in classes)
            else:
                uid = study.get("StudyInstanceUID") or keys.get("StudyInstanceUID")
                self._look_at_series({**keys, "StudyInstanceUID": uid}, study)

    def _look_at_series(self, keys: Keys, study: DataSet) -> None:
        series = list(self._find(keys, Level.SERIES, ("SeriesInstanceUID", "Modality")))
        if not series:
            self._guess(str(one) for one in study.values_of("ModalitiesInStudy"))
        for one in series:
            below = {**keys, "SeriesInstanceUID": one.get("SeriesInstanceUID") or ""}
            self._look_at_images(below, one.get("Modality") or "")

    def _look_at_images(self, keys: Keys, modality: str) -> None:
        count, named = 0, 0
        for image in self._find(keys, Level.IMAGE, ("SOPClassUID",)):
            uid = image.get("SOPClassUID")
            count += 1
            named += bool(uid)
            self._add([uid] if uid else [])
        if not count or named < count:
            self._guess([modality])

    def _guess(self, modalities: Iterable[str]) -> None:
        self.exact = False
        self.modalities.update(modalities)

    def _add(self, sop_class_uids: Iterable[str]) -> None:
        for uid in sop_class_uids:
            if uids.is_valid_uid(uid) and uids.may_be_storage(uid) and len(self.found) < _MOST:
                self.found[uid] = None
            else:
                self.exact = False

    def _find(self, keys: Keys, level: Level, wanted: tuple[str, ...]) -> Iterator[DataSet]:
        found = self._client.find(keys, level=level, model=self._model, return_keys=wanted)
        with closing(found):
            yield from found
        if found.truncated:
            self.exact = False
