"""What asks a PACS, whichever engine does the talking.

In: nothing. Out: protocols. :class:`pypx.client.client.Client` speaks DICOM by itself, and
``pypx.dcmtk`` has DCMTK's programs do it; the rest of pypx knows neither, only what stands here.
What each method does, takes and raises is said at ``Client``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from os import PathLike

    from pypx.address import Address
    from pypx.archive import Archive
    from pypx.client.asked import Asked
    from pypx.client.client import Echo, Peer
    from pypx.client.commit import Commit
    from pypx.client.commitment import Reports
    from pypx.client.get import OnStore
    from pypx.client.move import Progress, RetrieveResult
    from pypx.client.query import Keys, Level, Model
    from pypx.client.sending import Sent
    from pypx.client.sop_classes import SOPClasses
    from pypx.client.store import Instance
    from pypx.dicom.data_set import DataSet
    from pypx.net.connection import Timeouts
    from pypx.ul.negotiation import AcceptedContext

__all__ = ["Found", "Moving", "Requestor", "Retrieving", "SendingFiles"]


class Found(Protocol):
    """The matches of one query, as they come; see :class:`pypx.client.query.Matches`."""

    status: int | None
    count: int
    truncated: bool
    optional_keys_unsupported: bool

    def __iter__(self) -> Iterator[DataSet]: ...

    def __next__(self) -> DataSet: ...

    def __enter__(self) -> Found: ...

    def __exit__(self, *exc: object) -> None: ...

    def close(self) -> None:
        """Give the query up, where it still runs."""
        ...


class Retrieving(Protocol):
    """A C-MOVE or a C-GET that runs; see :class:`pypx.client.move.Move`."""

    result: RetrieveResult | None
    progress: Progress

    def __iter__(self) -> Iterator[Progress]: ...

    def __next__(self) -> Progress: ...

    def cancel(self) -> None:
        """Cancel it; may be called between any two instructions, as signals are."""
        ...

    def run(self) -> RetrieveResult:
        """Iterate to the end and give the result."""
        ...


class Moving(Retrieving, Protocol):
    """A C-MOVE that runs."""

    message_id: int


class SendingFiles(Protocol):
    """Instances that are sent; see :class:`pypx.client.sending.Sending`."""

    connections: int

    def __iter__(self) -> Iterator[Sent]: ...

    def stop(self) -> None:
        """End after the instances under way."""
        ...


class Requestor(Protocol):
    """Our side towards one PACS; a context manager. Not for use by several threads."""

    address: Address
    calling_ae_title: str
    timeouts: Timeouts
    on_asked: Callable[[Asked], None] | None

    def __enter__(self) -> Requestor: ...

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None: ...

    def close(self) -> None:
        """Release the associations."""
        ...

    def abort(self) -> None:
        """Abort the associations."""
        ...

    def release_idle(self) -> None:
        """Release the associations over which nothing runs."""
        ...

    @property
    def peer(self) -> Peer | None:
        """What the peer says of itself; None while that is not known."""
        ...

    @property
    def contexts(self) -> tuple[AcceptedContext, ...]:
        """The presentation contexts that the peer accepted last, where they are known."""
        ...

    def echo(self) -> Echo:
        """Ask the peer to answer (C-ECHO)."""
        ...

    def associate(self, model: Model | str | None = None, *, service: str = "C-MOVE") -> None:
        """Find out now whether there is an association to be had."""
        ...

    def find(
        self,
        keys: Keys,
        *,
        level: Level | str = "study",
        model: Model | str | None = None,
        limit: int | None = None,
        return_keys: Sequence[str] | None = None,
    ) -> Found:
        """Query the PACS (C-FIND)."""
        ...

    def move(
        self,
        keys: Keys,
        *,
        destination: str,
        level: Level | str = "study",
        model: Model | str | None = None,
        last_activity: Callable[[], float] | None = None,
    ) -> Moving:
        """Have the PACS send what matches to a destination that it knows (C-MOVE)."""
        ...

    def sop_classes(
        self, keys: Keys, *, level: Level | str = "study", model: Model | str | None = None
    ) -> SOPClasses:
        """Ask the PACS which SOP classes unique keys name."""
        ...

    def get(
        self,
        keys: Keys,
        on_store: OnStore,
        *,
        level: Level | str = "study",
        model: Model | str | None = None,
        sop_classes: SOPClasses | None = None,
    ) -> Retrieving:
        """Have the PACS send what matches over our own association (C-GET)."""
        ...

    def store_files(
        self,
        paths: Iterable[str | PathLike[str]],
        *,
        associations: int = 1,
        transcode: bool = False,
        on_instance: Callable[[Instance], None] | None = None,
    ) -> SendingFiles:
        """Send files and folders (C-STORE)."""
        ...

    def store_archived(
        self,
        archive: Archive,
        keys: Mapping[str, str],
        *,
        associations: int = 1,
        transcode: bool = False,
        on_instance: Callable[[Instance], None] | None = None,
    ) -> SendingFiles:
        """Send what an archive has (C-STORE)."""
        ...

    def commit(self, reports: Reports, *, timeout: float = 60.0, listening: bool = False) -> Commit:
        """Ask for storage commitment (PS3.4 Annex J)."""
        ...
