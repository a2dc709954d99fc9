"""Where an instance lives in the tree: from the values of its header to folder and file name.

In: a template once, then the values of an instance by keyword. Out: a folder and a file name,
relative to the root of the archive. Not here: the disk; nothing in this module touches a file.

A template is a path. ``/`` separates its parts, the last part is the file name, and it ends in
``.dcm``. In braces stand fields::

    {PatientID}              the value of that DICOM keyword, made safe
    {InstanceNumber:05d}     a number, filled up with zeros to 5 digits
    {SeriesInstanceUID:hash8}  the first 8 hexadecimal digits of the value's XXH3-128

Rules that every template obeys, so that no object can hide another:

* the file name has ``{SOPInstanceUID}``, whole;
* the folders have the Study and the Series Instance UID, whole or hashed (4 to 32 digits).

How a value is made safe:

* An empty value becomes ``NA``.
* A person name gives its first component group that is not empty, so the ideographic one where
  there is no alphabetic; ``^`` becomes ``_``: ``Doe^John`` is ``Doe_John``.
* Of ASCII stay letters, digits and ``. _ + , = @ -``; of the rest of Unicode letters, marks and
  numbers. Any run of others (separators, controls, bidirectional and zero-width marks, spaces,
  whatever a shell or Windows treats as special) becomes one ``_``. The result is in NFC.
* A UID that is none (PS3.5 §9.1) becomes ``sha256-`` and 32 digits of its SHA-256: two wrong
  UIDs still have two names, and none has an effect on the path.
* A part has at most 120 bytes of UTF-8. The longest texts are cut, at a character; UIDs, hashes
  and literal text never are.
* A part does not begin with a dot, dash or space, does not end in a dot or space, and is not a
  device name of Windows (``CON`` becomes ``_CON``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from xxhash import xxh3_128_hexdigest

from pypx.archive.attributes import BY_KEYWORD, Level
from pypx.dicom.uids import is_valid_uid
from pypx.errors import ConfigError

__all__ = ["DEFAULT_LAYOUT", "LAYOUTS", "Layout", "safe_uid"]

DEFAULT_LAYOUT = "pypx"

LAYOUTS = {
    "pypx": "{PatientID}-{PatientName}"
    "/{StudyDate}-{StudyDescription}-{AccessionNumber}-{StudyInstanceUID:hash8}"
    "/{SeriesNumber}-{SeriesDescription}-{SeriesInstanceUID:hash8}"
    "/{InstanceNumber}-{SOPInstanceUID}.dcm",
    "uid": "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm",
}
"""Layouts by name."""

_LONGEST_PART = 119  # 120 bytes, less the underscore that a device name gets
_MOST_PARTS = 10
_CACHED_FOLDERS = 256
_CACHED_TEXTS = 256
_LONGEST_UID = 64
_WIDE = 32
_EMPTY = "NA"
_LONGEST_NUMBER = 12  # VR IS, PS3.5 §6.2

_FIELD = re.compile(r"\{([^{}]*)\}")
_SPEC = re.compile(r"(?P<width>0[1-9]\d?)d|hash(?P<digits>\d{1,2})")
_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")
_PLAIN = re.compile(r"[A-Za-z0-9._+,=@-]*")
_UNSAFE_ASCII = re.compile(r"[\x00-\x7f](?<![A-Za-z0-9._+,=@-])")
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE)


@lru_cache(_CACHED_TEXTS)
def _safe_text(text: str) -> str:
    if not _PLAIN.fullmatch(text):
        text = unicodedata.normalize("NFC", text)
        kept = [_keep(character) for character in text]
        text = re.sub("_+", "_", unicodedata.normalize("NFC", "".join(kept))).strip("_")
    return text or _EMPTY


def _keep(character: str) -> str:
    if character.isascii():
        return "_" if _UNSAFE_ASCII.match(character) else character
    letter = unicodedata.category(character)[0] in "LMN" and not _INVISIBLE.match(character)
    return character if letter else "_"


@lru_cache(_CACHED_TEXTS)
def _safe_name(text: str) -> str:
    """Give the readable form of a person name (PS3.5 §6.2.1)."""
    groups = (group.strip("^ ") for group in text.split("="))
    return _safe_text(next((group for group in groups if group), ""))


def safe_uid(uid: str) -> str:
    """Give a UID as a file name shows it: itself, or a digest when it is no UID (PS3.5 §9.1)."""
    if is_valid_uid(uid):
        return uid
    # Only a hostile or broken sender brings us here; OpenSSL takes 10 ms to load.
    from hashlib import sha256

    return f"sha256-{sha256(uid.encode('utf-8', 'surrogatepass')).hexdigest()[:_WIDE]}"


class _Field:
    """One field of a template, or literal text between two (then ``keyword`` is empty)."""

    __slots__ = ("digits", "keyword", "literal", "tag", "vr", "width")

    def __init__(
        self,
        *,
        literal: str = "",
        keyword: str = "",
        width: int = 0,
        digits: int = 0,
    ) -> None:
        self.literal = literal
        self.keyword = keyword
        self.tag, self.vr = _tag_and_vr(keyword) if keyword else (0, "")
        self.width = width
        self.digits = digits

    @property
    def may_be_cut(self) -> bool:
        return not (self.literal or self.digits or self.vr == "UI")

    @property
    def reserved(self) -> int:
        """How many bytes of a part are never anyone else's."""
        if self.literal:
            return len(self.literal)
        if self.digits:
            return _WIDE
        return _LONGEST_UID if self.vr == "UI" else len(_EMPTY)

    def text(self, values: Mapping[str, str], wide: bool) -> str:
        if self.literal:
            return self.literal
        value = values.get(self.keyword) or ""
        if not value:
            return _EMPTY
        if self.digits:
            raw = value.encode("utf-8", "surrogatepass")
            return xxh3_128_hexdigest(raw)[: _WIDE if wide else self.digits]
        if self.vr == "UI":
            return safe_uid(value)
        if self.vr == "PN":
            return _safe_name(value)
        if self.width and _INTEGER.fullmatch(value):
            value = f"{int(value):0{self.width}d}"
        return _safe_text(value)


class Layout:
    """A compiled template: where the instances of an archive live.

    Attributes:
        template: Its text.
        keywords: Every DICOM keyword that it shows.
        tags: Their tags.
    """

    def __init__(self, template: str) -> None:
        self.template = template
        self._parts = _compile(template)
        fields = [field for part in self._parts for field in part if field.keyword]
        self.keywords = frozenset(field.keyword for field in fields)
        self.tags = frozenset(field.tag for field in fields)
        in_folders = {field.keyword for part in self._parts[:-1] for field in part if field.keyword}
        self._folder_keywords = tuple(sorted(in_folders))
        self._folder = lru_cache(_CACHED_FOLDERS)(self._render_folder)

    @classmethod
    def parse(cls, text: str) -> Layout:
        """Compile a layout by its name or its template.

        Raises:
            ConfigError: No such name, or the template breaks a rule; the message says which.
        """
        if text in LAYOUTS:
            return cls(LAYOUTS[text])
        if "{" not in text:
            raise ConfigError(
                f"There is no layout {text!r}.",
                hint=f"Use {', '.join(LAYOUTS)}, or a template such as {LAYOUTS['uid']}.",
            )
        layout = cls(text)
        layout._check_identity()
        return layout

    def _check_identity(self) -> None:
        if not any(_is_whole(field, "SOPInstanceUID") for field in self._parts[-1]):
            raise ConfigError(
                "The file name of the layout has no {SOPInstanceUID}; two objects would collide.",
                hint="End the template with {SOPInstanceUID}.dcm.",
            )
        in_folders = {field.keyword for part in self._parts[:-1] for field in part if field.digits}
        in_folders |= {
            field.keyword
            for part in self._parts[:-1]
            for field in part
            if _is_whole(field, field.keyword)
        }
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
            if keyword not in in_folders:
                raise ConfigError(
                    f"No folder of the layout has {{{keyword}}}; two of them would share one.",
                    hint=f"Add {{{keyword}:hash8}} to a folder of the template.",
                )

    def place(self, values: Mapping[str, str], *, wide: bool = False) -> tuple[str, str]:
        """Give the folder and the file name of an instance.

        Args:
            values: Keyword to decoded text; ``SOPInstanceUID`` among them.
            wide: Write all 32 digits of every hash: for the series whose short hash is taken.

        Returns:
            The folder, with ``/`` between its parts, and the name.
        """
        shown = tuple([values.get(keyword) or "" for keyword in self._folder_keywords])
        return self._folder(shown, wide), _render(self._parts[-1], values, wide)

    def _render_folder(self, shown: tuple[str, ...], wide: bool) -> str:
        """Give the folder for the values of its keywords; the instances of a series share it."""
        values = dict(zip(self._folder_keywords, shown, strict=True))
        return "/".join([_render(part, values, wide) for part in self._parts[:-1]])

    def depth_of(self, level: Level) -> int:
        """Give how many folders deep the folder of a patient, study or series is.

        Returns:
            0 when there is no such folder, as for the patient in the layout ``uid``.
        """
        depths = {
            field.keyword: depth
            for depth, part in reversed(list(enumerate(self._parts[:-1], 1)))
            for field in part
        }
        series = depths["SeriesInstanceUID"]
        match level:
            case Level.PATIENT:
                return depths.get("PatientID", depths.get("PatientName", 0))
            case Level.STUDY:
                return depths.get("StudyInstanceUID", series - 1)
            case _:
                return series


def _is_whole(field: _Field, keyword: str) -> bool:
    return field.keyword == keyword and field.vr == "UI" and not field.digits


def _compile(template: str) -> tuple[tuple[_Field, ...], ...]:
    parts = tuple(_compile_part(part) for part in template.split("/"))
    if not 2 <= len(parts) <= _MOST_PARTS:
        raise ConfigError(
            f"The layout has {len(parts) - 1} folders; 1 to {_MOST_PARTS - 1} are possible."
        )
    if not template.endswith(".dcm"):
        raise ConfigError(
            "The layout does not end in .dcm.", hint="End it with {SOPInstanceUID}.dcm."
        )
    return parts


def _compile_part(part: str) -> tuple[_Field, ...]:
    if not part:
        raise ConfigError(
            "The layout has an empty part.",
            hint="It is relative to the archive: no / at its start or end, and no //.",
        )
    fields = [  # split with a group: literals have even places, fields odd ones
        _compile_field(piece) if place % 2 else _compile_literal(piece)
        for place, piece in enumerate(_FIELD.split(part))
        if place % 2 or piece
    ]
    if fields[0].literal.startswith((".", "-")):
        raise ConfigError(f"The part {part!r} of the layout begins with a dot or a dash.")
    if (reserved := sum(field.reserved for field in fields)) > _LONGEST_PART:
        raise ConfigError(
            f"The part {part!r} of the layout may need {reserved} bytes; {_LONGEST_PART} fit.",
            hint="Hash the UIDs, e.g. {SeriesInstanceUID:hash8}, or make a folder of each.",
        )
    return tuple(fields)


def _compile_literal(text: str) -> _Field:
    if "{" in text or "}" in text:
        raise ConfigError(f"A brace of the layout has no partner, near {text!r}.")
    if not _PLAIN.fullmatch(text):
        raise ConfigError(
            f"The layout has characters that no name can have, in {text!r}.",
            hint="Use letters, digits and . _ + , = @ - between the fields.",
        )
    return _Field(literal=text)


def _compile_field(text: str) -> _Field:
    keyword, colon, spec = text.partition(":")
    if not keyword:
        raise ConfigError("The layout has a field without a name: {}.")
    if not colon:
        return _Field(keyword=keyword)
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise ConfigError(
            f"{spec!r} is no format of a layout field, in {{{text}}}.",
            hint="Use {InstanceNumber:05d} for a width, {StudyInstanceUID:hash8} for a hash.",
        )
    if match["width"]:
        field = _Field(keyword=keyword, width=int(match["width"]))
        if field.vr == "UI":
            raise ConfigError(f"A UID has no width, in {{{text}}}.", hint="Use :hash8.")
        if field.width > _LONGEST_NUMBER:
            raise ConfigError(f"A number has at most 12 digits, in {{{text}}}.")
        return field
    if not 4 <= int(match["digits"]) <= _WIDE:
        raise ConfigError(f"A hash has 4 to {_WIDE} digits, in {{{text}}}.")
    return _Field(keyword=keyword, digits=int(match["digits"]))


def _tag_and_vr(keyword: str) -> tuple[int, str]:
    if keyword in BY_KEYWORD:
        return BY_KEYWORD[keyword].tag, BY_KEYWORD[keyword].vr
    # The dictionary is a big table, and the layouts that have names do without it.
    from pypx.dicom.dictionary import keyword_of, parse_tag, vr_of

    tag = parse_tag(keyword)  # raises, with the nearest keyword
    if keyword_of(tag) != keyword:
        raise ConfigError(f"{keyword!r} is no DICOM keyword.", hint="A layout takes keywords only.")
    if (vr := vr_of(tag)) in ("SQ", "OB", "OW", "OF", "OD", "OL", "OV", "UN"):
        raise ConfigError(f"{keyword} has no text that a layout could show (VR {vr}).")
    return tag, vr


def _render(part: tuple[_Field, ...], values: Mapping[str, str], wide: bool) -> str:
    texts = [field.text(values, wide) for field in part]
    whole = "".join(texts)
    if len(whole) > _LONGEST_PART or not whole.isascii():
        sizes = [len(text.encode("utf-8")) for text in texts]
        if (excess := sum(sizes) - _LONGEST_PART) > 0:
            cut = [index for index, field in enumerate(part) if field.may_be_cut]
            room = sum(sizes[index] for index in cut) - excess
            longest = _fair_share([sizes[index] for index in cut], room)
            for index in cut:
                texts[index] = texts[index].encode("utf-8")[:longest].decode("utf-8", "ignore")
        whole = unicodedata.normalize("NFC", "".join(texts))
    whole = whole.lstrip(" .-").rstrip(" .") or _EMPTY
    return f"_{whole}" if _DEVICE.fullmatch(whole) else whole


def _fair_share(sizes: list[int], room: int) -> int:
    """Give the longest that each may be, so that short texts stay whole and all fit in ``room``."""
    left = len(sizes)
    for size in sorted(sizes):
        if size > room // left:
            return room // left
        room -= size
        left -= 1
    return max(sizes)
