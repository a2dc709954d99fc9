"""The one error tree.

An error carries the facts of what happened and what each edge of the program
needs to answer it, so that no edge has a chain of conditions:

* ``exit_code``     what the command line exits with;
* ``kind``          the word for it in JSON output;
* ``hint``          what the user can try, one sentence or empty;
* ``dimse_status``  the status of a C-STORE response (PS3.7 Annex C, PS3.4 B.2.3);
* ``abort_reason``  the reason of the A-ABORT that it causes (PS3.8 §9.3.8), or None.

::

    PypxError
    ├── ConfigError                  2  usage or configuration
    ├── NetworkError                 3
    │   ├── NameLookupError             the host name has no address
    │   ├── ConnectError                TCP refused or unreachable
    │   ├── ConnectionLostError         the peer closed or reset in the middle
    │   ├── StoppingError               our listener ended it, between two messages
    │   ├── TlsError                    no secure connection
    │   └── PeerTimeoutError            nothing came in time; says the phase
    ├── AssociationError             3
    │   ├── AssociationRejectedError    A-ASSOCIATE-RJ with result, source, reason
    │   ├── AssociationAbortedError     A-ABORT by the peer
    │   ├── PeerLimitError              the peer asks for more than we give
    │   ├── UserIdentityError           a user identity is missing, wrong or not confirmed
    │   └── NoPresentationContextError  the peer accepted nothing we can use
    ├── ProtocolError                3
    │   ├── RemoteProtocolError         the peer broke PS3.7 or PS3.8
    │   └── LocalProtocolError          we were about to: a mistake of the caller
    ├── StatusError                  4  the PACS answered with a failure status
    ├── DataSetError                 1  bytes that are no data set, or lack a needed element
    │   └── NotDicomError               a file that is none of DICOM
    ├── ArchiveError                 5
    │   ├── ArchiveFullError            no space, no inode, quota
    │   └── IndexUnavailableError       the index is locked, missing or corrupt
    └── CancelledError             130  interrupted by the user
"""

from __future__ import annotations

__all__ = [
    "ArchiveError",
    "ArchiveFullError",
    "AssociationAbortedError",
    "AssociationError",
    "AssociationRejectedError",
    "CancelledError",
    "ConfigError",
    "ConnectError",
    "ConnectionLostError",
    "DataSetError",
    "IndexUnavailableError",
    "LocalProtocolError",
    "NameLookupError",
    "NetworkError",
    "NoPresentationContextError",
    "NotDicomError",
    "PeerLimitError",
    "PeerTimeoutError",
    "ProtocolError",
    "PypxError",
    "RemoteProtocolError",
    "StatusError",
    "StoppingError",
    "TlsError",
    "UserIdentityError",
    "error_object",
]


def _revive(
    kind: type[PypxError], arguments: tuple[object, ...], facts: dict[str, object]
) -> PypxError:
    """Make an error out of what was pickled of it."""
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(facts)
    return error


class PypxError(Exception):
    """Whatever pypx raises on purpose.

    Args:
        message: One sentence that says what happened and on which side.
        hint: What the user can try; empty when there is nothing to say.
    """

    exit_code = 1
    kind = "error"
    dimse_status = 0x0110
    abort_reason: int | None = None

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the facts: the arguments differ from class to class."""
        return _revive, (type(self), self.args, self.__dict__.copy())


class ConfigError(PypxError):
    """A wrong argument, configuration file or address."""

    exit_code = 2
    kind = "configuration"


class NetworkError(PypxError):
    """The transport failed: name look-up, TCP, or the wait for the peer."""

    exit_code = 3
    kind = "network"


class NameLookupError(NetworkError):
    """The host name of a peer has no address."""

    kind = "name-lookup"


class ConnectError(NetworkError):
    """No TCP connection to the peer could be made."""

    kind = "connect"


class ConnectionLostError(NetworkError):
    """The transport connection ended while something was still expected."""

    kind = "connection-lost"


class StoppingError(NetworkError):
    """Our listener stops, and ended an association over which nothing was under way."""


class TlsError(NetworkError):
    """The connection to a peer cannot be made secure (PS3.15 Annex B)."""

    kind = "tls"


class PeerTimeoutError(NetworkError):
    """The peer did not answer in time.

    Args:
        message: The sentence for the user.
        phase: Which wait ended: ``connect``, ``association``, ``response`` or ``release``.
    """

    kind = "timeout"

    def __init__(self, message: str, *, phase: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.phase = phase


class AssociationError(PypxError):
    """The association was not made, or did not last."""

    exit_code = 3
    kind = "association"


class AssociationRejectedError(AssociationError):
    """The peer answered A-ASSOCIATE-RJ (PS3.8 §9.3.4).

    Args:
        message: The reason in words.
        result: 1 permanent, 2 transient.
        source: 1 service-user, 2 service-provider (ACSE), 3 service-provider (presentation).
        reason: Its meaning depends on the source: PS3.8 Table 9-21.
    """

    kind = "association-rejected"

    def __init__(
        self, message: str, *, result: int, source: int, reason: int, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.result = result
        self.source = source
        self.reason = reason


class AssociationAbortedError(AssociationError):
    """The peer sent A-ABORT (PS3.8 §9.3.8)."""

    kind = "association-aborted"

    def __init__(self, message: str, *, source: int, reason: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.source = source
        self.reason = reason


class PeerLimitError(AssociationError):
    """The peer asked for more than the limits of our acceptor allow."""

    kind = "limit"


class UserIdentityError(AssociationError):
    """Who a user is was not shown, or not confirmed (PS3.7 §D.3.3.7)."""

    kind = "user-identity"


class NoPresentationContextError(AssociationError):
    """The peer accepted no presentation context for what was asked of it."""

    kind = "no-presentation-context"


class ProtocolError(PypxError):
    """A rule of PS3.7 or PS3.8 was broken."""

    exit_code = 3
    kind = "protocol"


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol.

    Args:
        message: What it sent and which rule that breaks.
        abort_reason: The reason/diagnostic of our A-ABORT as service-provider
            (PS3.8 §9.3.8): 0 not specified, 1 unrecognised PDU, 2 unexpected PDU,
            4 unrecognised, 5 unexpected, 6 invalid PDU parameter. None where it is DIMSE
            that finds it: the user of the upper layer, whose A-ABORT has no reason.
    """

    kind = "remote-protocol"

    def __init__(self, message: str, *, abort_reason: int | None = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.abort_reason = abort_reason


class LocalProtocolError(ProtocolError):
    """The caller asked for something that the protocol does not allow now."""

    kind = "local-protocol"


class StatusError(PypxError):
    """The peer completed an operation with a failure status (PS3.7 Annex C).

    Args:
        message: What the status means, in words.
        status: The status code, e.g. ``0xA801``.
        comment: The peer's Error Comment (0000,0902), or empty.
    """

    exit_code = 4
    kind = "status"

    def __init__(self, message: str, *, status: int, comment: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.comment = comment


class DataSetError(PypxError):
    """Bytes that cannot be read as a data set, or that lack what is needed of them."""

    kind = "data-set"
    dimse_status = 0xC000


class NotDicomError(DataSetError):
    """A file that is no DICOM file: it has no preamble."""

    kind = "not-dicom"


class ArchiveError(PypxError):
    """The archive could not store or read: rights, I/O, a wrong file in its place."""

    exit_code = 5
    kind = "archive"
    dimse_status = 0xA700


class ArchiveFullError(ArchiveError):
    """There is no room for the object: space, inodes or quota."""

    kind = "archive-full"


class IndexUnavailableError(ArchiveError):
    """The index is locked, missing or corrupt; the files are not touched by that."""

    kind = "index"


class CancelledError(PypxError):
    """The user interrupted the operation."""

    exit_code = 130
    kind = "cancelled"


def error_object(error: PypxError) -> dict[str, str]:
    """Give an error as programs read it."""
    found = {"kind": error.kind, "message": error.message, "hint": error.hint}
    if isinstance(error, StatusError):
        found["status"] = f"{error.status:04X}"
    return found
