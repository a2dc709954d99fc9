"""Words that stand for what identifies a patient, in lines that are kept.

In: identifiers, and text that may have them. Out: text with a keyed hash (HMAC-SHA256, RFC 2104)
in place of each, so that lines of one patient can be matched by who has the lines, and its name
be found by nobody without the key. Not here: who writes lines.

What counts: values of the attributes in ``IDENTIFIERS`` that this process was given; whatever is
written as DICOM writes the name of a person, with ``^``; names of files below an archive, whose
layout may show any of them. UIDs stay: without them no fault can be traced, and they lead to a
patient only for who has the PACS as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

TYPE_CHECKING = False  # as a name of our own, since importing ``typing`` takes 3 ms
if TYPE_CHECKING:
    from typing import Protocol

    class Configured(Protocol):
        """What a configuration says of this."""

        @property
        def path(self) -> str: ...
        @property
        def archive(self) -> str: ...
        @property
        def log_identifiers(self) -> bool: ...


__all__ = ["IDENTIFIERS", "Pseudonyms", "load_key"]

IDENTIFIERS = frozenset(
    {
        "AccessionNumber",
        "AdmissionID",
        "IssuerOfPatientID",
        "OtherPatientIDs",
        "OtherPatientNames",
        "PatientAddress",
        "PatientBirthDate",
        "PatientBirthName",
        "PatientBirthTime",
        "PatientComments",
        "PatientID",
        "PatientMotherBirthName",
        "PatientName",
        "PatientTelephoneNumbers",
        "ReferringPhysicianName",
        "RequestingPhysician",
        "ResponsiblePerson",
        "StudyDescription",
        "StudyID",
    }
)
"""Attributes whose values are not written into lines: keys that PS3.15 Table E.1-1 has as well."""

_KEY_BYTES = 32
_DIGITS = 12
_SHORT = 3
_MOST = 10_000  # values that are remembered, unless somebody says otherwise


def load_key(folder: str) -> bytes:
    """Give the key of this user, which is made once in a file that only he may read.

    Args:
        folder: The folder of the configuration.

    Returns:
        32 bytes; where the file cannot be made or read, others in each process.
    """
    path = f"{folder}/log.key"
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103 - pathlib costs 4 ms
        part = f"{path}.{os.getpid()}.part"
        fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, os.urandom(_KEY_BYTES))
        finally:
            os.close(fd)
        try:
            os.link(part, path)  # of two processes, one is the first
        except FileExistsError:
            pass
        finally:
            os.unlink(part)  # noqa: PTH108
    except OSError:
        pass  # a folder that cannot be written may have the key
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            key = file.read(_KEY_BYTES)
    except OSError:
        key = b""
    return key if len(key) == _KEY_BYTES else os.urandom(_KEY_BYTES)


class Pseudonyms:
    """What stands for identifiers.

    Attributes:
        folder: Where the key is; it is read when it is needed.
        shown: Whether identifiers may stay.
        archive: The folder of an archive, below which names are hidden; empty for none.
        most: How many values are remembered.
        ask: Looks the configuration up and sets these, when a text has something to hide and
            nobody has called ``configure`` yet.
    """

    def __init__(self, folder: str = "", *, shown: bool = False, archive: str = "") -> None:
        self.folder = folder
        self.shown = shown
        self.archive = archive
        self.most = _MOST
        self.ask: Callable[[], None] | None = None
        self._key = b""
        self._values: dict[str, None] = {}

    def of(self, value: str) -> str:
        """Give what stands for a value: ``#`` and 12 hexadecimal digits."""
        import hashlib
        import hmac

        if not self._key:
            self._key = load_key(self.folder) if self.folder else os.urandom(_KEY_BYTES)
        data = value.strip().encode("utf-8", "surrogatepass")
        return f"#{hmac.new(self._key, data, hashlib.sha256).hexdigest()[:_DIGITS]}"

    def learn(self, keyword: str, value: str) -> None:
        """Remember a value, if it is that of an identifier; what was not heard of for longest is
        forgotten. For one thread at a time."""
        if keyword not in IDENTIFIERS:
            return
        for one in {value, *value.split("\\"), *value.split("^"), value.replace("^", " ")}:
            bare = one.strip().strip("*?").strip()
            if bare and not (one != value and len(bare) < _SHORT):
                self._values.pop(bare, None)  # so that it is the newest
                self._values[bare] = None
                if len(self._values) > self.most:
                    del self._values[next(iter(self._values))]

    def learn_arguments(self, arguments: Iterable[str]) -> None:
        """Remember what a command line has: ``-k KEY=VALUE``, ``--KEY VALUE``, ``--KEY=VALUE``."""
        waiting = ""
        for argument in arguments:
            name, equals, value = argument.removeprefix("-k").lstrip("-").partition("=")
            keyword = _keyword(name)
            if equals:
                self.learn(keyword, value)
            elif waiting:
                self.learn(waiting, argument)
            waiting = keyword if keyword and not equals and argument.startswith("--") else ""

    def configure(self, config: Configured) -> None:
        """Take over where the key is, and what may be shown."""
        self.ask = None
        self.folder = os.path.dirname(config.path)  # noqa: PTH120
        self.shown = config.log_identifiers
        self.archive = config.archive.rstrip("/")

    def hide(self, text: str) -> str:
        """Give a text in which a hash stands for each identifier."""
        if self.shown or not text:
            return text
        found = [value for value in list(self._values) if value.lower() in text.lower()]
        below = bool(self.archive) and f"{self.archive}/" in text
        if not found and not below and "^" not in text:
            return text
        if self.ask is not None:
            ask, self.ask = self.ask, None
            ask()
            return self.hide(text)
        import re

        if below:
            root = re.escape(self.archive)
            text = re.sub(rf"({root}/)(?!\.pypx)([^\"'\n]+?\.dcm|[^\s\"']+)", self._path, text)
        for value in sorted(found, key=len, reverse=True):
            text = re.sub(_pattern(value), lambda match: self.of(match[0]), text, flags=re.I)
        return re.sub(r"[^\s'\"(),;:]*\w\^[^\s'\"(),;:]*", lambda match: self.of(match[0]), text)

    def _path(self, match: object) -> str:
        import re

        assert isinstance(match, re.Match)
        # A folder or a file whose name is a UID names nobody: layout = "uid".
        parts = [
            part if re.fullmatch(r"[0-9.]+(-[0-9.]+)?(\.dcm)?", part) else self.of(part)
            for part in match[2].split("/")
        ]
        return f"{match[1]}{'/'.join(parts)}"


def _keyword(name: str) -> str:
    if name in IDENTIFIERS:
        return name
    lower = name.lower()
    if len(lower.strip("()").replace(",", "")) == 8:
        digits = lower.strip("()").replace(",", "")
        lower = f"{digits[:4]},{digits[4:]}"
    return next((one for one in IDENTIFIERS if one.lower() == lower), _TAGS.get(lower, ""))


def _pattern(value: str) -> str:
    import re

    escaped = re.escape(value)
    if len(value) < _SHORT:
        return rf"(?<=['\"=]){escaped}(?!\w)"  # "1" is in many texts, but not as a value
    return rf"(?<!\w){escaped}(?!\w)"


_TAGS = {
    "0008,0050": "AccessionNumber",
    "0010,0010": "PatientName",
    "0010,0020": "PatientID",
    "0010,0030": "PatientBirthDate",
}
