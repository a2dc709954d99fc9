"""Where an instance lives in the tree: from the values of its header to folder and file name.

In: a template once, then the values of an instance by keyword. Out: a folder and a file name,
relative to the root of the archive. Not here: the disk; nothing in this module touches a file.

A template with ``%`` is one of the tool that this one replaces: see ``layout_pypx``. Any other is
a path. ``/`` separates its parts, the last part is the file name, and it ends in
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
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from xxhash import xxh3_128_hexdigest

from pypx.archive.attributes import Level
from pypx.archive.naming import DEVICE, INVISIBLE, LONGEST_UID, WIDE, cut, safe_uid, tag_and_vr
from pypx.errors import ConfigError

__all__ = ["DEFAULT_LAYOUT", "LAYOUTS", "Layout", "Part", "safe_uid", "split"]

DEFAULT_LAYOUT = "pypx"

LAYOUTS = {
    "pypx": "{PatientID}-{PatientName}"
    "/{StudyDate}-{StudyDescription}-{AccessionNumber}-{StudyInstanceUID:hash8}"
    "/{SeriesNumber}-{SeriesDescription}-{SeriesInstanceUID:hash8}"
    "/{InstanceNumber}-{SOPInstanceUID}.dcm",
    "uid": "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm",
    "pypx-1": "pypx-1:%PatientID-%PatientName"
    "/%StudyDescription-%StudyDate-%StudyInstanceUID"
    "/%SeriesDescription-%SeriesDate-%SeriesInstanceUID"
    "/%_pad|5,0_InstanceNumber-%SOPInstanceUID.dcm",
    "pypx-3": "%PatientID-%PatientName-%PatientBirthDate"
    "/%StudyDescription-%AccessionNumber-%StudyDate"
    "/%SeriesDescription-%_seahash|7_SeriesInstanceUID"
    "/%_pad|4,0_InstanceNumber-%SOPInstanceUID.dcm",
}
"""Layouts by name; ``pypx-1`` and ``pypx-3`` are those of the tool that this one replaces."""

_LEVELS = ("StudyInstanceUID", "SeriesInstanceUID")

_LONGEST_PART = 119  # 120 bytes, less the underscore that a device name gets
_MOST_PARTS = 10
_CACHED_FOLDERS = 256
_CACHED_TEXTS = 256
_EMPTY = "NA"
_LONGEST_NUMBER = 12  # VR IS, PS3.5 §6.2

_FIELD = re.compile(r"\{([^{}]*)\}")
_SPEC = re.compile(r"(?P<width>0[1-9]\d?)d|hash(?P<digits>\d{1,2})")
_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")
_PLAIN = re.compile(r"[A-Za-z0-9._+,=@-]*")
_UNSAFE_ASCII = re.compile(r"[\x00-\x7f](?<![A-Za-z0-9._+,=@-])")


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
    letter = unicodedata.category(character)[0] in "LMN" and not INVISIBLE.match(character)
    return character if letter else "_"


@lru_cache(_CACHED_TEXTS)
def _safe_name(text: str) -> str:
    """Give the readable form of a person name (PS3.5 §6.2.1)."""
    groups = (group.strip("^ ") for group in text.split("="))
    return _safe_text(next((group for group in groups if group), ""))


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
        self.tag, self.vr = tag_and_vr(keyword) if keyword else (0, "")
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
            return WIDE
        return LONGEST_UID if self.vr == "UI" else len(_EMPTY)

    def text(self, values: Mapping[str, str | None], wide: bool) -> str:
        if self.literal:
            return self.literal
        value = values.get(self.keyword) or ""
        if not value:
            return _EMPTY
        if self.digits:
            raw = value.encode("utf-8", "surrogatepass")
            return xxh3_128_hexdigest(raw)[: WIDE if wide else self.digits]
        if self.vr == "UI":
            return safe_uid(value)
        if self.vr == "PN":
            return _safe_name(value)
        if self.width and _INTEGER.fullmatch(value):
            value = f"{int(value):0{self.width}d}"
        return _safe_text(value)


class Part(Protocol):
    """One part of a template: the name of a folder, or of the file.

    Attributes:
        keywords: The attributes that it shows or computes with.
        whole: Those whose whole value it shows, so that two values are two names.
        identities: Those, and those that it hashes.
        tags: The tags of all of them.
    """

    keywords: frozenset[str]
    whole: frozenset[str]
    identities: frozenset[str]
    tags: frozenset[int]

    def render(self, values: Mapping[str, str | None], wide: bool) -> str:
        """Give the name for these values."""


class _Part:
    """A part of a template of ours."""

    def __init__(self, fields: Sequence[_Field]) -> None:
        self._fields = tuple(fields)
        shown = [field for field in fields if field.keyword]
        self.keywords = frozenset(field.keyword for field in shown)
        self.tags = frozenset(field.tag for field in shown)
        self.whole = frozenset(f.keyword for f in shown if f.vr == "UI" and not f.digits)
        self.identities = self.whole | {field.keyword for field in shown if field.digits}

    def render(self, values: Mapping[str, str | None], wide: bool) -> str:
        return _render(self._fields, values, wide)


class Layout:
    """A compiled template: where the instances of an archive live.

    Attributes:
        template: Its text.
        keywords: Every DICOM keyword that it shows.
        tags: Their tags.
        tells_absence: Whether it shows an attribute that is absent otherwise than an empty one:
            then :meth:`place` wants None for the former.
    """

    def __init__(self, template: str) -> None:
        self.template = template
        self._parts: tuple[Part, ...]
        self.tells_absence = False
        if self.is_upstreams:
            from pypx.archive.layout_pypx import compile_parts  # only who has it pays for it

            self._parts, self.tells_absence = compile_parts(template)
        else:
            self._parts = _compile(template)
        self.keywords = frozenset().union(*(part.keywords for part in self._parts))
        self.tags = frozenset().union(*(part.tags for part in self._parts))
        in_folders = frozenset().union(*(part.keywords for part in self._parts[:-1]))
        self._folder_keywords = tuple(sorted(in_folders))
        self._folder = lru_cache(_CACHED_FOLDERS)(self._render_folder)

    @property
    def is_upstreams(self) -> bool:
        """Whether it is a template in the language of the tool that this one replaces."""
        return "%" in self.template

    @classmethod
    def parse(cls, text: str) -> Layout:
        """Compile a layout by its name or its template.

        Raises:
            ConfigError: No such name, or the template breaks a rule; the message says which.
        """
        if text in LAYOUTS:
            return cls(LAYOUTS[text])
        if "{" not in text and "%" not in text:
            raise ConfigError(
                f"There is no layout {text!r}.",
                hint=f"Use {', '.join(LAYOUTS)}, or a template such as {LAYOUTS['uid']}.",
            )
        layout = cls(text)
        layout._check_identity()
        return layout

    def _check_identity(self) -> None:
        shape = "%{}" if self.is_upstreams else "{{{}}}"
        uid = shape.format("SOPInstanceUID")
        if "SOPInstanceUID" not in self._parts[-1].whole:
            raise ConfigError(
                f"The file name of the layout has no {uid}; two objects would collide.",
                hint=f"End the template with {uid}.dcm.",
            )
        in_folders = frozenset().union(*(part.identities for part in self._parts[:-1]))
        # Upstream lets studies share a folder; series never share one.
        levels = ("SeriesInstanceUID",) if self.is_upstreams else _LEVELS
        for keyword in levels:
            if keyword not in in_folders:
                example = "%_md5|8_{}" if self.is_upstreams else "{{{}:hash8}}"
                raise ConfigError(
                    f"No folder of the layout has {shape.format(keyword)}; "
                    "two of them would share one.",
                    hint=f"Add {example.format(keyword)} to a folder of the template.",
                )

    def place(self, values: Mapping[str, str | None], *, wide: bool = False) -> tuple[str, str]:
        """Give the folder and the file name of an instance.

        Args:
            values: Keyword to decoded text; ``SOPInstanceUID`` among them.
            wide: Write what no other series has into the folder: for the series whose short
                hash, or whose name, is taken.

        Returns:
            The folder, with ``/`` between its parts, and the name.
        """
        shown = tuple([values.get(keyword) for keyword in self._folder_keywords])
        return self._folder(shown, wide), self._parts[-1].render(values, wide)

    def _render_folder(self, shown: tuple[str | None, ...], wide: bool) -> str:
        """Give the folder for the values of its keywords; the instances of a series share it."""
        values = dict(zip(self._folder_keywords, shown, strict=True))
        return "/".join([part.render(values, wide) for part in self._parts[:-1]])

    def depth_of(self, level: Level) -> int:
        """Give how many folders deep the folder of a patient, study or series is.

        Returns:
            0 when there is no such folder, as for the patient in the layout ``uid``.
        """
        depths = {
            keyword: depth
            for depth, part in reversed(list(enumerate(self._parts[:-1], 1)))
            for keyword in part.keywords
        }
        series = depths["SeriesInstanceUID"]
        match level:
            case Level.PATIENT:
                return depths.get("PatientID", depths.get("PatientName", 0))
            case Level.STUDY:
                return depths.get("StudyInstanceUID", series - 1)
            case _:
                return series


def _compile(template: str) -> tuple[Part, ...]:
    parts = split(template)
    return tuple(_Part(_compile_part(part)) for part in parts)


def split(template: str) -> list[str]:
    """Give the parts of a template.

    Raises:
        ConfigError: There are too many or too few, or it does not end in ``.dcm``.
    """
    parts = template.split("/")
    if not 2 <= len(parts) <= _MOST_PARTS:
        raise ConfigError(
            f"The layout has {len(parts) - 1} folders; 1 to {_MOST_PARTS - 1} are possible."
        )
    if not template.endswith(".dcm"):
        raise ConfigError(
            "The layout does not end in .dcm.", hint="End it with {SOPInstanceUID}.dcm."
        )
    if not all(parts):
        raise ConfigError(
            "The layout has an empty part.",
            hint="It is relative to the archive: no / at its start or end, and no //.",
        )
    return parts


def _compile_part(part: str) -> tuple[_Field, ...]:
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
    if not 4 <= int(match["digits"]) <= WIDE:
        raise ConfigError(f"A hash has 4 to {WIDE} digits, in {{{text}}}.")
    return _Field(keyword=keyword, digits=int(match["digits"]))


def _render(part: tuple[_Field, ...], values: Mapping[str, str | None], wide: bool) -> str:
    texts = [field.text(values, wide) for field in part]
    whole = "".join(texts)
    if len(whole) > _LONGEST_PART or not whole.isascii():
        texts = cut(texts, [field.may_be_cut for field in part], _LONGEST_PART)
        whole = unicodedata.normalize("NFC", "".join(texts))
    whole = whole.lstrip(" .-").rstrip(" .") or _EMPTY
    return f"_{whole}" if DEVICE.fullmatch(whole) else whole
