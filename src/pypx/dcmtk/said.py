"""What DCMTK's programs say while they work, in their debug mode, as of 3.6.4 to 3.6.9.

In: lines. Out: the messages of DIMSE that they dump, what the peer says of itself, and what went
wrong. What follows from it is decided by who runs the program.

Each line has a letter before it: ``D: `` debug, ``I: `` information, and ``W: ``, ``E: ``, ``F: ``
for what is wrong. A message is a block between ``INCOMING`` or ``OUTGOING DIMSE MESSAGE`` and
``END DIMSE MESSAGE``; its status begins with four hexadecimal digits in all these versions, and
the words behind them differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pypx.client.client import Peer
from pypx.values import frozen

__all__ = ["Dimse", "Said", "strip"]

_BEGIN = re.compile(r"=+ (INCOMING|OUTGOING) DIMSE MESSAGE =+")
_FIELD = re.compile(r"([A-Z][A-Za-z ]+?) *: (.*)")
_RESULT = re.compile(r"Result: Rejected (Permanent|Transient), Source: (Service [\w ()]+)")
_ELEMENT = re.compile(r"\(([0-9a-f]{4},[0-9a-f]{4})\) [A-Z]{2} \[(.*)\] +# ")
_PREFIXES = ("D: ", "I: ", "W: ", "E: ", "F: ")
_LAST_WORDS = 20  # lines of errors that are kept

_SOURCES = {
    "Service User": 1,
    "Service Provider (ACSE Related)": 2,
    "Service Provider (Presentation Related)": 3,
}
# PS3.8 Table 9-21. "No Reason" is 1 of the sources 1 and 2.
_REASONS = {
    "No Reason": 1,
    "App Context Name Not Supported": 2,
    "Calling AE Title Not Recognized": 3,
    "Called AE Title Not Recognized": 7,
    "Protocol Version Not Supported": 2,
    "Temporary Congestion": 1,
    "Local Limit Exceeded": 2,
}


@frozen
class Dimse:
    """A message as it was dumped.

    Attributes:
        kind: For example ``C-MOVE RSP``.
        is_outgoing: Whether the program sent it.
        fields: What stands in it, by DCMTK's names.
    """

    kind: str
    is_outgoing: bool
    fields: Mapping[str, str]

    @property
    def status(self) -> int | None:
        """The status; None where there is none."""
        text = self.fields.get("DIMSE Status", "")
        return int(text[2:6], 16) if re.match(r"0x[0-9a-f]{4}", text) else None

    def number(self, what: str) -> int | None:
        """Give a number of sub-operations, for example ``Failed``; None where it is not told."""
        text = self.fields.get(f"{what} Suboperations", "")
        return int(text) if text.isdigit() else None


def strip(line: str) -> str:
    """Give a line without the letter before it."""
    return line[3:] if line.startswith(_PREFIXES) else line


class Said:
    """Listens to one program.

    Attributes:
        accepted: The association was accepted.
        peer: What the peer says of itself; None while that is not known.
        transfer_syntax: The name that DCMTK has for the first one that was accepted.
        rejected: Result, source and reason (PS3.8 Table 9-21), where we were.
        failed_uids: The last Failed SOP Instance UID List (0008,0058) that was dumped.
        comment: The last Error Comment (0000,0902) that was dumped.
        errors: What went wrong, in its own words.
    """

    def __init__(self) -> None:
        self.accepted = False
        self.peer: Peer | None = None
        self.transfer_syntax = ""
        self.rejected: tuple[int, int, int] | None = None
        self.failed_uids: tuple[str, ...] = ()
        self.comment = ""
        self.errors: list[str] = []
        self._rejection: tuple[int, int] | None = None
        self._block: dict[str, str] | None = None
        self._is_outgoing = False
        self._parameters: dict[str, str] | None = None

    def hear(self, line: str) -> Dimse | str:
        """Take a line; give the message that ends with it, or else its text.

        Args:
            line: Of its output, without the end of the line.
        """
        letter, text = line[:3], strip(line)
        if letter in ("E: ", "F: "):
            self.errors = [*self.errors, text.strip()][-_LAST_WORDS:]
        if self._block is not None:
            return self._hear_block(text, self._block)
        if begin := _BEGIN.match(text):
            self._block, self._is_outgoing = {}, begin[1] == "OUTGOING"
        elif "A-ASSOCIATE-AC ==" in text:
            self._hear_parameters(is_begin="BEGIN" in text)
        elif self._parameters is not None:
            key, _, value = text.strip().partition(":")
            self._parameters.setdefault(key, value.strip())
        elif letter == "I: " and text.startswith("Association Accepted"):
            self.accepted = True
        elif letter == "D: " and (element := _ELEMENT.match(text.strip())):
            self._hear_element(element[1], element[2])
        else:
            self._hear_rejection(text)
        return text

    def _hear_block(self, text: str, block: dict[str, str]) -> Dimse | str:
        if "END DIMSE MESSAGE" in text:
            self._block = None
            return Dimse(block.get("Message Type", ""), self._is_outgoing, block)
        if field := _FIELD.match(text):
            block[field[1]] = field[2].strip()
        return text

    def _hear_parameters(self, *, is_begin: bool) -> None:
        if is_begin:
            self._parameters = {}
            return
        found, self._parameters = self._parameters or {}, None
        size = found.get("Their Max PDU Receive Size", "")
        self.peer = Peer(
            found.get("Their Implementation Class UID", ""),
            found.get("Their Implementation Version Name", ""),
            int(size) if size.isdigit() else 0,
        )
        self.transfer_syntax = found.get("Accepted Transfer Syntax", "").removeprefix("=")

    def _hear_element(self, tag: str, value: str) -> None:
        if tag == "0008,0058":
            self.failed_uids = tuple(uid.strip(" \0") for uid in value.split("\\") if uid.strip())
        elif tag == "0000,0902":
            self.comment = value.strip()

    def _hear_rejection(self, text: str) -> None:
        if found := _RESULT.match(text.strip()):
            self._rejection = 1 if found[1] == "Permanent" else 2, _SOURCES.get(found[2], 0)
        elif self._rejection is not None and text.startswith("Reason: "):
            reason = _REASONS.get(text.removeprefix("Reason: ").strip(), 0)
            self.rejected = (*self._rejection, reason)
            self._rejection = None
