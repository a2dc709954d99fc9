"""The header of a data set while it arrives: what the index of the archive needs.

In: the bytes of a C-STORE data set, in any pieces. Out: the wanted elements, or the reason
why this is no data set. How the bytes are walked over belongs to ``walk``; a data set that
is in memory as a whole belongs to ``elements``.
"""

from __future__ import annotations

from pypx.dicom.data_set import DataSet
from pypx.dicom.elements import Element, decode_items
from pypx.dicom.encoding import MAX_DEPTH, content_encoding, encoding_of
from pypx.dicom.uids import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
from pypx.dicom.walk import Walk
from pypx.errors import DataSetError

TYPE_CHECKING = False  # typing takes 3 ms to import
if TYPE_CHECKING:
    from pypx.dicom.inflate import Inflater

__all__ = ["INDEX_TAGS", "MAX_ELEMENTS", "MAX_HEADER", "MAX_INFLATED", "HeaderScan"]

#: What the index of the archive has a column for, and the character set of it.
INDEX_TAGS = frozenset(
    (
        0x00080005,  # SpecificCharacterSet
        0x00080016,  # SOPClassUID
        0x00080018,  # SOPInstanceUID
        0x00080020,  # StudyDate
        0x00080021,  # SeriesDate
        0x00080030,  # StudyTime
        0x00080050,  # AccessionNumber
        0x00080060,  # Modality
        0x00081030,  # StudyDescription
        0x0008103E,  # SeriesDescription
        0x00100010,  # PatientName
        0x00100020,  # PatientID
        0x00100030,  # PatientBirthDate
        0x00100040,  # PatientSex
        0x0020000D,  # StudyInstanceUID
        0x0020000E,  # SeriesInstanceUID
        0x00200011,  # SeriesNumber
        0x00200013,  # InstanceNumber
        0x00280008,  # NumberOfFrames
    )
)
#: Bytes of wanted values that one scan keeps; what is longer is left out of the result.
#: Real ones are some 500 bytes, and a text of a million backslashes is a million values.
MAX_HEADER = 1 << 20
#: Bytes that a deflated data set is inflated to: some 0.3 s of work. A legitimate one that is
#: longer is taken, although its end was not looked at.
MAX_INFLATED = 256 << 20
#: Data elements of one data set, those of its items among them: some 3 s of work. An enhanced
#: multi-frame object of 10,000 frames has a million.
MAX_ELEMENTS = 10_000_000


class HeaderScan:
    """Looks through one data set as it arrives, in one pass.

    Args:
        transfer_syntax_uid: As negotiated; deflated data sets are inflated.
        wanted: Tags of the data set itself, not of the items in it.
        max_depth: How many sequences may stand inside each other.
        max_header: Bytes of wanted values to keep; what is longer is left out.
        max_inflated: Bytes to inflate a deflated data set to.
        max_elements: How many elements there may be; 0 for any number.

    Attributes:
        size: Bytes fed so far.
    """

    def __init__(
        self,
        transfer_syntax_uid: str,
        *,
        wanted: frozenset[int] = INDEX_TAGS,
        max_depth: int = MAX_DEPTH,
        max_header: int = MAX_HEADER,
        max_inflated: int = MAX_INFLATED,
        max_elements: int = MAX_ELEMENTS,
    ) -> None:
        self.size = 0
        self._last_wanted = max(wanted, default=0)
        self._max_depth = max_depth
        self._walk = Walk(
            encoding_of(transfer_syntax_uid),
            wanted,
            max_depth=max_depth,
            max_elements=max_elements,
            budget=max_header,
        )
        self._inflater: Inflater | None = None
        if transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
            from pypx.dicom.inflate import Inflater  # hardly any object is deflated

            self._inflater = Inflater(max_inflated)

    @property
    def complete(self) -> bool:
        """Whether no wanted element is to be expected any more: all came, or higher tags.

        It is a hint: in a data set out of order one may still come, and is found.
        """
        return self._walk.has_all or self._walk.top_tag > self._last_wanted

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes, any number of them.

        Nothing refers to their buffer afterwards. What is wrong with the data set is
        remembered for :meth:`finish`.
        """
        self.size += len(data)
        if self._inflater is None:
            self._walk.feed(data)
            return
        try:
            for piece in self._inflater.feed(data):
                self._walk.feed(piece)
        except DataSetError as error:
            self._walk.defect = self._walk.defect or error.message

    def finish(self) -> DataSet:
        """Give those of the wanted elements that the data set has, once all of it was fed.

        Raises:
            DataSetError: The data set is empty, truncated, nested too deep or no data
                set at all; the message names the element.
        """
        walk = self._walk
        defect = walk.defect or self._what_is_missing()
        if defect:
            raise DataSetError(defect)
        notes = walk.notes
        if self._inflater is not None and self._inflater.is_capped:
            notes += ("The data set is too long to inflate and check all of it.",)
        elements = [
            self._sequence(tag, vr, value) if undefined or vr == "SQ" else Element(tag, vr, value)
            for tag, (vr, value, undefined) in walk.found.items()
        ]
        return DataSet(elements, walk.encoding, notes=notes)

    def _what_is_missing(self) -> str:
        if not self.size:
            return "The data set is empty."
        inflater = self._inflater
        if inflater is None or inflater.is_whole:
            return self._walk.what_is_missing()
        if inflater.is_capped and self.complete:
            return ""
        return "The deflated data set is truncated, or too long to look through."

    def _sequence(self, tag: int, vr: str, value: bytes) -> Element:
        """Look into a wanted sequence, now that all of it is here."""
        encoding = content_encoding(vr, self._walk.encoding)
        try:
            return Element(tag, vr, b"", decode_items(value, encoding, max_depth=self._max_depth))
        except DataSetError:  # no items, but the data set around them is whole
            return Element(tag, vr, value)
