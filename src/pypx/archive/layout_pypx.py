"""The trees of the tool that this one replaces, with its own templates and its own names.

In: a template in its language. Out: parts of a layout. Not here: the templates by name, and our
own language (``layout``).

A template has the four templates of ``px-repack`` with ``/`` between them. ``%`` stands before a
DICOM keyword, or ``AgeInDays``, which is computed, as ``PatientAge`` is where the object has none.
A function may stand before the keyword, between underscores, with its arguments after ``|``::

    %_md5|7_SeriesInstanceUID      the first 7 hexadecimal digits; all 32 without |7
    %_seahash|7_SeriesInstanceUID  the same of its SeaHash
    %_pad|4,0_InstanceNumber       filled up on the left to 4 characters, here with zeros
    %_nospc|-_StudyDescription     words only, with - between them; nothing without |-
    %_strmsk|**xx_PatientID        character for character: * shows it, others stand for it
    %_name|patientID_PatientName   a made-up name, one for each value of PatientID

The names are sanitised as upstream's version 3 does it: any run of characters other than ASCII
letters, digits, dots and dashes becomes one ``_``. A template that begins with ``pypx-1:`` is
sanitised as version 1 did it: each character that is neither letter nor digit, of any script,
becomes a dot, and a value that is missing is ``no.value.provided``.

What differs from upstream, and only where it would lose something or could not work:

* A UID that sanitising would change, or that is too long, is a digest (``safe_uid``).
* A series whose folder another series has gets a folder with 32 digits more; upstream puts both
  into one. An attribute that is absent is ``_Keyword`` in version 3, as there; but there, a
  description that is absent also takes the hash from the folder.
* A part has at most 255 bytes of UTF-8; the longest texts are cut, at a character.
* A part that would begin with a dot, and so be hidden, has a ``_`` before it.
* A made-up name comes from lists of ours; upstream's is another one in each of its versions.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import NamedTuple

from xxhash import xxh3_64_intdigest, xxh3_128_hexdigest

from pypx.archive.layout import Part, split
from pypx.archive.naming import DEVICE, INVISIBLE, LONGEST_UID, WIDE, cut, safe_uid, tag_and_vr
from pypx.archive.seahash import seahash
from pypx.errors import ConfigError

__all__ = ["MISSING", "compile_parts", "sanitised"]

MISSING = "no value provided"
"""What version 1 writes for a value that is missing."""

_VERSION_1 = "pypx-1:"
_LONGEST_PART = 254  # 255 bytes, less the underscore that some names get
_AGE = frozenset({"PatientAge", "AgeInDays"})
_DATES = ("StudyDate", "PatientBirthDate")

_TAG = re.compile(r"%(?:_([a-z0-9]+)(?:\|([^_%]*))?_)?([A-Za-z][A-Za-z0-9]*)?")
_NUMBER = re.compile(r"[1-9]\d?")
_PAD = re.compile(r"(\d{1,2})(?:,(.))?")
_RUN = re.compile(r"[^A-Za-z0-9.\-]+")
_SAFE_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.]*")

_Values = Mapping[str, "str | None"]
_Function = Callable[[str, _Values], str]


def sanitised(text: str) -> str:
    """Give a value as version 1 writes it into its ``.info`` files and names."""
    text = _listed(text).strip()
    kept = [c if c.isalnum() and not INVISIBLE.match(c) else "." for c in text]
    return "".join(kept) or MISSING


def _listed(text: str) -> str:
    """Give a value that is several as Python writes a list, which is how upstream shows it."""
    if "\\" not in text:
        return text
    return "[" + ", ".join(f"'{value}'" for value in text.split("\\")) + "]"


class _Tag(NamedTuple):
    """A tag of a template, or literal text between two (then ``keyword`` is empty)."""

    literal: str = ""
    keyword: str = ""
    is_uid: bool = False
    function: _Function | None = None
    reserved: int = 0
    is_hash: bool = False
    also: str = ""

    @property
    def may_be_cut(self) -> bool:
        return not (self.literal or self.is_hash or (self.is_uid and self.function is None))

    @property
    def needs(self) -> tuple[str, ...]:
        """The attributes that it shows or computes with."""
        if not self.keyword:
            return ()
        if self.keyword in _AGE:
            return (*_DATES, *(("PatientAge",) if self.keyword == "PatientAge" else ()))
        return (self.keyword, self.also) if self.also else (self.keyword,)

    def value(self, values: _Values) -> str | None:
        """Give what is to be shown; None where the object does not have the attribute."""
        if self.keyword in _AGE:
            return _age(self.keyword, values)
        value = values.get(self.keyword)
        return None if value is None else _listed(value)


class _Part:
    """A part of a template: the name of a folder, or of the file."""

    def __init__(self, tags: Sequence[_Tag], *, version_1: bool) -> None:
        self._tags = tuple(tags)
        self._version_1 = version_1
        self._may_be_cut = [tag.may_be_cut for tag in tags]
        self.keywords = frozenset(keyword for tag in tags for keyword in tag.needs)
        self.tags = frozenset(tag_and_vr(keyword)[0] for keyword in self.keywords)
        self.whole = frozenset(tag.keyword for tag in tags if tag.is_uid and not tag.function)
        self.identities = self.whole | {tag.keyword for tag in tags if tag.is_hash}

    def render(self, values: _Values, wide: bool) -> str:
        texts = [self._text(tag, values) for tag in self._tags]
        tail = ""
        if wide and "SeriesInstanceUID" in self.keywords:
            uid = values.get("SeriesInstanceUID") or ""
            tail = f"-{xxh3_128_hexdigest(uid.encode('utf-8', 'surrogatepass'))}"
        whole = "".join(texts)
        if len(whole.encode("utf-8")) + len(tail) > _LONGEST_PART:
            whole = "".join(cut(texts, self._may_be_cut, _LONGEST_PART - len(tail)))
        # In version 3 a run of other characters may go over more than one text.
        v1 = self._version_1
        whole = unicodedata.normalize("NFC", whole) if v1 else re.sub("_+", "_", whole)
        whole = (whole or "_") + tail
        return f"_{whole}" if whole[0] == "." or DEVICE.fullmatch(whole) else whole

    def _text(self, tag: _Tag, values: _Values) -> str:
        if tag.literal:
            return tag.literal
        value = tag.value(values)
        if self._version_1:
            if tag.is_uid and value and tag.function is None:
                return value if _keeps(value) else safe_uid(value)
            # Upstream sanitises what it has sanitised already, which changes this one value.
            text = sanitised(value or "").replace(" ", ".")
            return tag.function(text, values) if tag.function else text
        if value is None:
            return f"_{tag.keyword}"
        if tag.is_uid and value and tag.function is None:
            return value if _keeps(value) else safe_uid(value)
        return _RUN.sub("_", tag.function(value, values) if tag.function else value)


def _keeps(uid: str) -> bool:
    """Say whether a UID stays as it is, so that two of them stay two."""
    return len(uid) <= LONGEST_UID and uid.isascii() and _SAFE_UID.fullmatch(uid) is not None


def _age(keyword: str, values: _Values) -> str:
    if keyword == "PatientAge" and values.get(keyword) is not None:
        return values[keyword] or ""
    days = _days(values)
    if keyword == "AgeInDays":
        return f"{days:06d}d"
    for unit, length in (("Y", 365), ("M", 30), ("W", 7)):
        if days >= length:
            return f"{round(days / length):03d}{unit}"
    return f"{days:03d}D"


def _days(values: _Values) -> int:
    """Give the days from birth to study, 0 where that is not known."""
    study, birth = (_date(values.get(keyword) or "") for keyword in _DATES)
    return 0 if study is None or birth is None else abs((study - birth).days)


def _date(text: str) -> date | None:
    digits = text.strip().replace("-", "").replace(".", "")  # a DA of old has dots
    if len(digits) != 8 or not (digits.isascii() and digits.isdigit()):
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


def compile_parts(template: str) -> tuple[tuple[Part, ...], bool]:
    """Compile a template; say whether it tells what is absent from what is empty.

    Raises:
        ConfigError: It breaks a rule; the message says which.
    """
    version_1 = template.startswith(_VERSION_1)
    texts = split(template.removeprefix(_VERSION_1))
    return tuple(_compile_part(text, version_1) for text in texts), not version_1


def _compile_part(text: str, version_1: bool) -> _Part:
    tags = []
    position = 0
    for match in _TAG.finditer(text):
        if match.start() > position:
            tags.append(_literal(text[position : match.start()], version_1))
        tags.append(_compile_tag(match))
        position = match.end()
    if position < len(text):
        tags.append(_literal(text[position:], version_1))
    if (reserved := sum(tag.reserved for tag in tags)) > _LONGEST_PART - WIDE - 1:
        raise ConfigError(
            f"The part {text!r} of the layout may need {reserved} bytes; "
            f"{_LONGEST_PART - WIDE - 1} fit.",
            hint="Hash the UIDs, e.g. %_md5|8_SeriesInstanceUID, or make a folder of each.",
        )
    return _Part(tags, version_1=version_1)


def _literal(text: str, version_1: bool) -> _Tag:
    if "{" in text or "}" in text:
        raise ConfigError(
            f"A layout has tags with % or fields in braces, not both, near {text!r}.",
            hint="px listen --help and docs/layouts.md have examples of either.",
        )
    safe = re.sub(r"[^A-Za-z0-9.\-]", ".", text) if version_1 else _RUN.sub("_", text)
    return _Tag(literal=safe, reserved=len(safe))


def _compile_tag(match: re.Match[str]) -> _Tag:
    name, arguments, keyword = match[1], match[2] or "", match[3] or ""
    if not keyword:
        raise ConfigError(
            f"A % of the layout has no keyword behind it, near {match.string[match.start() :]!r}.",
            hint="Write %PatientID, or with a function %_md5|8_PatientID.",
        )
    is_uid = keyword != "AgeInDays" and tag_and_vr(keyword)[1] == "UI"
    if name is None:
        return _Tag(keyword=keyword, is_uid=is_uid, reserved=LONGEST_UID if is_uid else 1)
    if name not in _FUNCTIONS:
        raise ConfigError(
            f"A layout has no function {name!r}, in {match[0]!r}.",
            hint=f"There are {', '.join(_FUNCTIONS)}.",
        )
    function, reserved, also = _FUNCTIONS[name](arguments, match[0])
    return _Tag(
        keyword=keyword,
        is_uid=is_uid,
        function=function,
        reserved=reserved,
        is_hash=name in ("md5", "seahash"),
        also=also,
    )


# The functions: from the text of their arguments to what they do, what they need, and of what.

_Made = tuple[_Function, int, str]


def _wrong(arguments: str, where: str, hint: str) -> ConfigError:
    return ConfigError(f"{arguments!r} is no argument of a function, in {where!r}.", hint=hint)


def _digits(arguments: str, where: str, most: int) -> int:
    if not arguments:
        return most
    if not _NUMBER.fullmatch(arguments) or not 4 <= int(arguments) <= most:
        raise _wrong(arguments, where, f"Give a number of digits from 4 to {most}.")
    return int(arguments)


def _md5(arguments: str, where: str) -> _Made:
    digits = _digits(arguments, where, 32)

    def digest(text: str, _: _Values) -> str:
        from hashlib import md5  # OpenSSL takes 10 ms to load

        raw = text.encode("utf-8", "surrogatepass")
        return md5(raw, usedforsecurity=False).hexdigest()[:digits]

    return digest, digits, ""


def _seahash(arguments: str, where: str) -> _Made:
    digits = _digits(arguments, where, 16)

    def digest(text: str, _: _Values) -> str:
        return f"{seahash(text.encode('utf-8', 'surrogatepass')):x}"[:digits]

    return digest, digits, ""


def _pad(arguments: str, where: str) -> _Made:
    if not arguments:
        return (lambda text, _: text), 1, ""
    match = _PAD.fullmatch(arguments)
    if match is None:
        raise _wrong(arguments, where, "Give a width and a character: %_pad|4,0_InstanceNumber.")
    width, filler = int(match[1]), match[2] or "0"
    return (lambda text, _: text.rjust(width, filler)), 1, ""


def _nospc(arguments: str, _where: str) -> _Made:
    return (lambda text, _: arguments.join(re.sub(r"\W+", " ", text).split())), 1, ""


def _strmsk(arguments: str, where: str) -> _Made:
    if not arguments:
        raise _wrong(arguments, where, "Give a mask, in which * shows a character: %_strmsk|**xx_")

    def masked(text: str, _: _Values) -> str:
        pairs = zip(text, arguments, strict=False)
        return "".join(shown if mask == "*" else mask for shown, mask in pairs)

    return masked, 1, ""


def _name(arguments: str, _where: str) -> _Made:
    seed = arguments[:1].upper() + arguments[1:]
    if seed:
        tag_and_vr(seed)

    def made_up(text: str, values: _Values) -> str:
        source = (values.get(seed) or "") if seed else text
        number = xxh3_64_intdigest(source.encode("utf-8", "surrogatepass"))
        number, last = divmod(number, len(_LAST))
        return f"{_LAST[last]}^{_FIRST[number % len(_FIRST)]}^ANON"

    return made_up, 1, seed


_FUNCTIONS: dict[str, Callable[[str, str], _Made]] = {
    "md5": _md5,
    "seahash": _seahash,
    "strmsk": _strmsk,
    "nospc": _nospc,
    "name": _name,
    "pad": _pad,
}

# fmt: off
_FIRST = (
    "ADA", "ALAN", "ALMA", "ANNA", "ARNO", "BEN", "CARA", "CARL", "CLEO", "DAN", "DORA", "EMIL",
    "ERIK", "EVA", "FINN", "GINA", "HANS", "HUGO", "IDA", "INES", "IVAN", "JAN", "JUDY", "KIM",
    "LARS", "LENA", "LISA", "LUIS", "MARA", "MAX", "MIA", "NILS", "NINA", "NOAH", "NORA", "OLGA",
    "OTTO", "PAUL", "RITA", "ROSA", "RUTH", "SAM", "SARA", "TESS", "TIM", "TOM", "UMA", "WILL",
)
_LAST = (
    "ADLER", "ARCHER", "BAKER", "BAUER", "BECK", "BERG", "BISHOP", "BOND", "BROOK", "CARTER",
    "CHASE", "CLARK", "COOK", "COOPER", "DALE", "DEAN", "FIELD", "FISHER", "FORD", "FOX", "FROST",
    "GARDNER", "GRANT", "GREEN", "HALE", "HARPER", "HAYES", "HILL", "HOLM", "HUNTER", "KELLER",
    "KING", "KLEIN", "LAKE", "LANE", "LINDEN", "MARSH", "MASON", "MILLER", "MOORE", "NORTH",
    "PAGE", "PARKER", "PERRY", "PORTER", "RIVERS", "ROSE", "SANDERS", "SILVER", "SMITH", "STONE",
    "TAYLOR", "TURNER", "VOGEL", "WALKER", "WEAVER", "WEBER", "WELLS", "WINTER", "WOLF", "YOUNG",
)
# fmt: on
