"""The face of the service class user: one peer, its operations.

In: an address, our AE title, keys. Out: results, matches, progress. An
association is made when an operation needs one, and kept for the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pypx.address import DEFAULT_AE_TITLE, Address, check_ae_title
from pypx.dicom import uids
from pypx.dimse import status as status_codes
from pypx.dimse.messages import CEchoRQ, CEchoRSP
from pypx.errors import ConfigError, NoPresentationContextError, StatusError
from pypx.net.channel import MAXIMUM_LENGTH
from pypx.net.connection import Connection, Timeouts
from pypx.ul.negotiation import AcceptedContext, propose, propose_roles
from pypx.ul.pdu import AAssociateRQ, UserInformation
from pypx.values import frozen

if TYPE_CHECKING:
    from os import PathLike

    from pypx.archive import Archive
    from pypx.client.asked import Asked
    from pypx.client.commit import Commit
    from pypx.client.commitment import Reports
    from pypx.client.get import Get, GetOnce, OnStore
    from pypx.client.move import Move
    from pypx.client.query import Keys, Level, Matches, Model
    from pypx.client.sending import Sending
    from pypx.client.sop_classes import SOPClasses, StorageContext
    from pypx.client.store import Instance, Store
    from pypx.dicom.data_set import DataSet
    from pypx.net.connection import Secure
    from pypx.net.identity import UserIdentity
    from pypx.net.tls_settings import ClientTls

__all__ = ["Client", "Echo", "Peer"]

_LAST_MESSAGE_ID = 0xFFFF  # 0 is one, too, but here it stands for none
_UNCOMPRESSED = (uids.EXPLICIT_VR_LITTLE_ENDIAN, uids.IMPLICIT_VR_LITTLE_ENDIAN)
_QUERY_RETRIEVE = (
    uids.STUDY_ROOT_FIND,
    uids.PATIENT_ROOT_FIND,
    uids.STUDY_ROOT_MOVE,
    uids.PATIENT_ROOT_MOVE,
)


@frozen
class Peer:
    """What a peer says of itself when it accepts an association."""

    implementation_class_uid: str
    implementation_version_name: str
    maximum_pdu_length: int


@frozen
class Echo:
    """A C-ECHO that succeeded.

    Attributes:
        seconds: From the request to the response, without making the association.
        peer: What the peer says of itself.
        transfer_syntax: What was negotiated for verification.
    """

    seconds: float
    peer: Peer
    transfer_syntax: str


class Client:
    """Our side towards one peer; a context manager. Not for use by several threads.

    Args:
        address: Where it is, as :class:`~pypx.Address` or ``AET@host:port``.
        calling_ae_title: What we call ourselves.
        timeouts: How long each phase may take.
        model: The query/retrieve model where an operation does not name one.
        first_message_id: Of the first request; those after it count up, and begin again at 1
            after 65535. What a PACS sends on a C-MOVE has its message ID (0000,1031), so
            that clients which begin far apart can tell what came for which of them.
        tls: For a peer that speaks TLS; None where it does not.
        character_set: In which the text of its matches is, where it declares another one or
            none; None goes by what it declares.
        identity: Which user we are, for a peer that asks for it.

    Attributes:
        on_asked: Hears of each C-FIND, C-MOVE and C-GET before it is sent, if it is set.

    Raises:
        ConfigError: The address, the AE title or the message ID is none, or a certificate
            cannot be read.
    """

    def __init__(
        self,
        address: Address | str,
        *,
        calling_ae_title: str = DEFAULT_AE_TITLE,
        timeouts: Timeouts | None = None,
        model: Model | str = "study",
        first_message_id: int = 1,
        tls: ClientTls | None = None,
        character_set: str | None = None,
        identity: UserIdentity | None = None,
    ) -> None:
        if not 1 <= first_message_id <= _LAST_MESSAGE_ID:
            raise ConfigError(f"{first_message_id} is no message ID: from 1 to {_LAST_MESSAGE_ID}.")
        self.address = Address.parse(address) if isinstance(address, str) else address
        self.calling_ae_title = check_ae_title(calling_ae_title)
        self.timeouts = timeouts or Timeouts()
        self._model = model
        self._character_set = character_set
        self._identity = identity
        self.on_asked: Callable[[Asked], None] | None = None
        self._connections: list[Connection] = []
        self._get: tuple[Sequence[StorageContext], Connection] | None = None
        self._message_id = first_message_id - 1
        self._secure: Secure | None = None
        if tls is not None:
            from pypx.net.tls import securing  # heavy, and most peers have none

            self._secure = securing(tls)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def close(self) -> None:
        """Release the associations."""
        if self._get is not None:
            self._get[1].release()
            self._get = None
        while self._connections:
            self._connections.pop().release()

    def release_idle(self) -> None:
        """Release the associations over which nothing runs, except that of the last C-GET.

        A C-GET takes an association of its own; a PACS that allows us only one has to see
        that of the query end first.
        """
        idle = [connection for connection in self._connections if not connection.busy]
        for connection in idle:
            self._connections.remove(connection)
            connection.release()

    def abort(self) -> None:
        """Abort the associations."""
        if self._get is not None:
            self._get[1].abort()
            self._get = None
        while self._connections:
            self._connections.pop().abort()

    @property
    def peer(self) -> Peer | None:
        """What the peer says of itself; None while there is no association."""
        return _peer(self._connections[-1]) if self._connections else None

    @property
    def contexts(self) -> tuple[AcceptedContext, ...]:
        """The presentation contexts that the peer accepted last; none without an association."""
        return tuple(self._connections[-1].contexts.values()) if self._connections else ()

    def connect(
        self, contexts: Iterable[tuple[str, Sequence[str]]], *, scp_of: Iterable[str] = ()
    ) -> Connection:
        """Make an association of its own with these abstract and transfer syntaxes.

        Args:
            contexts: Each is a presentation context.
            scp_of: Abstract syntaxes of which we are the provider (PS3.7 §D.3.3.4).

        Raises:
            LocalProtocolError: More than 128 contexts.
            ConfigError: The secret of the user identity is not to be had.
            NetworkError, AssociationError, ProtocolError: There is no association.
        """
        request = AAssociateRQ(
            called_ae_title=self.address.ae_title,
            calling_ae_title=self.calling_ae_title,
            presentation_contexts=propose(contexts),
            user_information=UserInformation(
                maximum_length=MAXIMUM_LENGTH,
                implementation_class_uid=uids.IMPLEMENTATION_CLASS_UID,
                implementation_version_name=uids.IMPLEMENTATION_VERSION_NAME,
                role_selections=propose_roles(scp_of) if scp_of else (),
                user_identity=self._identity.request() if self._identity else None,
            ),
        )
        return Connection.open(self.address, request, self.timeouts, self._secure)

    def _context(
        self, abstract_syntax: str, proposed: Sequence[str]
    ) -> tuple[Connection, AcceptedContext]:
        """Give an idle connection that has the abstract syntax, or make one."""
        for connection in list(self._connections):
            context = connection.context_for(abstract_syntax)
            if connection.busy:
                continue
            if context is not None and connection.is_open:
                return connection, context
            self._connections.remove(connection)
            connection.release()
        connection = self.connect((uid, _UNCOMPRESSED) for uid in proposed)
        self._connections.append(connection)
        context = connection.context_for(abstract_syntax)
        if context is None:
            service = uids.uid_name(abstract_syntax)
            raise NoPresentationContextError(
                f"{self.address} accepts the association, but not {service}.",
                hint=_not_offered(abstract_syntax),
            )
        return connection, context

    def _next_message_id(self) -> int:
        self._message_id = self._message_id % _LAST_MESSAGE_ID + 1
        return self._message_id

    def echo(self) -> Echo:
        """Ask the peer to answer (C-ECHO, PS3.4 Annex A).

        Raises:
            StatusError: It answered with something else than success.
            NetworkError, AssociationError, ProtocolError: It did not answer.
        """
        connection, context = self._context(uids.VERIFICATION, (uids.VERIFICATION,))
        message_id = self._next_message_id()
        started = time.perf_counter()
        connection.send(context.context_id, CEchoRQ(message_id))
        received = connection.receive()
        seconds = time.perf_counter() - started
        response = connection.response_to(message_id, CEchoRSP, received)
        if response.status != status_codes.SUCCESS:
            meaning = status_codes.sentence(response.status, "C-ECHO")
            raise StatusError(
                f"{self.address} answered C-ECHO with status {response.status:04X}H: {meaning}.",
                status=response.status,
                comment=response.error_comment or "",
                hint=status_codes.hint(response.status),
            )
        return Echo(seconds, _peer(connection), context.transfer_syntax)

    def associate(self, model: Model | str | None = None, *, service: str = "C-MOVE") -> None:
        """Make the association for query and retrieve now, to know early that there is none.

        Args:
            model: The information model that must be accepted; None for the client's own.
            service: ``C-MOVE`` or ``C-GET``; what must be accepted.

        Raises:
            ConfigError: The model is unknown.
            NetworkError, AssociationError, ProtocolError: There is no association.
        """
        from pypx.client.query import Model

        wanted = Model.parse(model or self._model)
        if service == "C-GET":
            self._context(wanted.get_sop_class, (wanted.find_sop_class, wanted.get_sop_class))
        else:
            self._context(wanted.move_sop_class, _QUERY_RETRIEVE)

    def find(
        self,
        keys: Keys,
        *,
        level: Level | str = "study",
        model: Model | str | None = None,
        limit: int | None = None,
        return_keys: Sequence[str] | None = None,
    ) -> Matches:
        """Query the PACS (C-FIND).

        Args:
            keys: Keyword (or ``gggg,eeee``) to value; ``*`` and ``?`` are wildcards,
                ``a-b`` is a range of dates or times, an empty value matches everything.
            level: ``patient``, ``study``, ``series`` or ``image``.
            model: ``patient`` or ``study`` root; None for the client's own.
            limit: Cancel after so many matches.
            return_keys: What to ask for besides the keys; None for the usual ones.

        Returns:
            An iterator that reads from the wire. While it is open, another operation of
            this client takes an association of its own.

        Raises:
            ConfigError: A key, level or model is unknown.
            NetworkError, AssociationError, ProtocolError: There is no association.
        """
        from pypx.client.query import RETURN_KEYS, Level, Matches, Model, make_identifier

        level = Level.parse(level)
        sop_class = Model.parse(model or self._model).find_sop_class
        wanted = RETURN_KEYS[level] if return_keys is None else return_keys
        identifier = make_identifier(keys, level, return_keys=wanted)
        connection, context = self._context(sop_class, _QUERY_RETRIEVE)
        self._tell("C-FIND", sop_class, identifier, context.transfer_syntax)
        return Matches(
            connection,
            context,
            self._next_message_id(),
            identifier,
            limit=limit,
            character_set=self._character_set,
        )

    def move(
        self,
        keys: Keys,
        *,
        destination: str,
        level: Level | str = "study",
        model: Model | str | None = None,
        last_activity: Callable[[], float] | None = None,
    ) -> Move:
        """Have the PACS send what matches to a destination that it knows (C-MOVE).

        Args:
            keys: Unique keys, e.g. ``StudyInstanceUID``.
            destination: An AE title in the PACS's own configuration.
            level: ``patient``, ``study``, ``series`` or ``image``.
            model: ``patient`` or ``study`` root; None for the client's own.
            last_activity: Gives the monotonic time at which the receiver last got
                something, so that a PACS that is silent while it sends is not given up.

        Returns:
            An iterator of progress; ``.result`` is there at its end.

        Raises:
            ConfigError: A key, level, model or the destination is wrong.
            NetworkError, AssociationError, ProtocolError: There is no association.
        """
        from pypx.client.move import Move
        from pypx.client.query import Level, Model, make_identifier

        level = Level.parse(level)
        sop_class = Model.parse(model or self._model).move_sop_class
        identifier = make_identifier(keys, level)
        connection, context = self._context(sop_class, _QUERY_RETRIEVE)
        self._tell("C-MOVE", sop_class, identifier, context.transfer_syntax, destination)
        return Move(
            connection,
            context,
            self._next_message_id(),
            identifier,
            check_ae_title(destination),
            last_activity=last_activity,
        )

    def _tell(
        self,
        service: str,
        sop_class: str,
        identifier: DataSet,
        transfer_syntax: str,
        destination: str = "",
    ) -> None:
        """Tell who wants to hear what is about to be asked."""
        if self.on_asked is not None:
            from pypx.client.asked import Asked

            self.on_asked(Asked(service, sop_class, identifier, transfer_syntax, destination))

    def sop_classes(
        self, keys: Keys, *, level: Level | str = "study", model: Model | str | None = None
    ) -> SOPClasses:
        """Ask the PACS which SOP classes unique keys name, for :meth:`get`.

        Raises:
            ConfigError: A key, level or model is unknown.
            NetworkError, AssociationError, ProtocolError: The association ended.
        """
        from pypx.client.query import Level
        from pypx.client.sop_classes import find_sop_classes

        return find_sop_classes(self, keys, Level.parse(level), model)

    def get(
        self,
        keys: Keys,
        on_store: OnStore,
        *,
        level: Level | str = "study",
        model: Model | str | None = None,
        sop_classes: SOPClasses | None = None,
    ) -> Get:
        """Have the PACS send what matches over our own association (C-GET).

        Args:
            keys: Unique keys, e.g. ``StudyInstanceUID``.
            on_store: Keeps one instance, see :data:`pypx.client.get.OnStore`; for an archive
                ``pypx.receiver.retrieved.Retrieved(…).store``.
            level: ``patient``, ``study``, ``series`` or ``image``.
            model: ``patient`` or ``study`` root; None for the client's own.
            sop_classes: What is to come; None asks the PACS first (:meth:`sop_classes`).

        Returns:
            An iterator of progress; ``.result`` is there at its end.

        Raises:
            ConfigError: A key, level or model is wrong.
            NetworkError, AssociationError, ProtocolError: There is no association.
        """
        from functools import partial

        from pypx.client.get import Get
        from pypx.client.query import Level, Model, make_identifier
        from pypx.client.sop_classes import pack

        level = Level.parse(level)
        sop_class = Model.parse(model or self._model).get_sop_class
        identifier = make_identifier(keys, level)
        if sop_classes is None:
            sop_classes = self.sop_classes(keys, level=level, model=model)
        self._tell("C-GET", sop_class, identifier, "", self.calling_ae_title)
        batches = pack(sop_classes.contexts())
        begin = partial(self._begin_get, sop_class, identifier, on_store)
        begins = [partial(begin, batch) for batch in batches]
        return Get(begins, until_whole=not sop_classes.exact)

    def _begin_get(
        self,
        sop_class: str,
        identifier: DataSet,
        on_store: OnStore,
        storage: Sequence[StorageContext],
    ) -> GetOnce:
        """Send a C-GET over an association with these storage contexts."""
        from pypx.client.get import GetOnce

        connection = self._get_connection(sop_class, storage)
        context = connection.context_for(sop_class)
        if context is None or len(connection.contexts) == 1:
            accepted = "the association, but not C-GET"
            if context is not None:
                accepted = "C-GET, but none of the SOP classes that are to be sent"
            raise NoPresentationContextError(
                f"{self.address} accepts {accepted}.",
                hint="Use px move: many PACS send only to destinations that they know.",
            )
        message_id = self._next_message_id()
        return GetOnce(connection, context, message_id, identifier, self.calling_ae_title, on_store)

    def _get_connection(self, sop_class: str, storage: Sequence[StorageContext]) -> Connection:
        """Give the association of the last C-GET if it has these contexts, or make one."""
        wanted = ((sop_class, _UNCOMPRESSED), *storage)
        if self._get is not None:
            old, connection = self._get
            if old == wanted and connection.is_open and not connection.busy:
                return connection
            self._get = None
            connection.release()
        connection = self.connect(wanted, scp_of=[uid for uid, _ in storage])
        self._get = wanted, connection
        return connection

    def store(self, instances: Sequence[Instance]) -> Store:
        """Make an association for these instances (C-STORE); send them with ``.send(instance)``.

        Raises:
            LocalProtocolError: They need more than 128 presentation contexts.
            NetworkError, AssociationError, ProtocolError: There is no association.
        """
        from pypx.client.store import Store

        connection = self.connect(Store.contexts(instances))
        self._connections.append(connection)
        return Store(connection)

    def store_files(
        self,
        paths: Iterable[str | PathLike[str]],
        *,
        associations: int = 1,
        transcode: bool = False,
        on_instance: Callable[[Instance], None] | None = None,
    ) -> Sending:
        """Send files and folders with all below them (C-STORE), as they are.

        They are read while the sending goes on, so there may be any number of them. What the
        peer refuses is among the results; the rest goes on.

        Args:
            paths: Files and folders.
            associations: At most so many at once, of their own.
            transcode: Convert what the peer takes only uncompressed (the extra ``transcode``).
            on_instance: Hears of each instance before it is sent, one at a time.

        Returns:
            An iterator of :class:`~pypx.client.sending.Sent`, one for each file. It raises
            NetworkError, AssociationError or ProtocolError where the peer cannot be had.
        """
        from os import fspath

        from pypx.client.sending import Sending
        from pypx.client.sources import heard, in_files

        source = heard(in_files(fspath(path) for path in paths), on_instance)
        return Sending(self.connect, source, associations=associations, transcode=transcode)

    def store_archived(
        self,
        archive: Archive,
        keys: Mapping[str, str],
        *,
        associations: int = 1,
        transcode: bool = False,
        on_instance: Callable[[Instance], None] | None = None,
    ) -> Sending:
        """Send what an archive has (C-STORE); as :meth:`store_files`.

        Args:
            archive: Where the instances are.
            keys: What is sent, as for :meth:`pypx.Archive.instances`.
            associations: At most so many at once, of their own.
            transcode: As there.
            on_instance: As there.
        """
        from pypx.client.sending import Sending
        from pypx.client.sources import heard, in_archive

        source = heard(in_archive(archive, keys), on_instance)
        return Sending(self.connect, source, associations=associations, transcode=transcode)

    def commit(self, reports: Reports, *, timeout: float = 60.0, listening: bool = False) -> Commit:
        """Make an association to ask for storage commitment (PS3.4 Annex J); ``.run()`` asks.

        Args:
            reports: What is to be committed.
            timeout: Seconds without a report that end the wait.
            listening: Whether a :class:`~pypx.client.commit.ReportListener` hears the reports
                that come over another association, as those of most PACS do.

        Raises:
            NetworkError, AssociationError, ProtocolError: There is no association.
        """
        from pypx.client.commit import Commit

        connection, context = self._context(uids.STORAGE_COMMITMENT, (uids.STORAGE_COMMITMENT,))
        return Commit(connection, context, reports, timeout=timeout, listening=listening)


def _not_offered(abstract_syntax: str) -> str:
    other = "" if abstract_syntax == uids.STORAGE_COMMITMENT else "try the other model, or "
    return f"The PACS does not offer this service to our AE title: {other}ask its administrator."


def _peer(connection: Connection) -> Peer:
    said = connection.accepted.user_information
    return Peer(
        said.implementation_class_uid, said.implementation_version_name, said.maximum_length
    )
