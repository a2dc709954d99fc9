"""The Storage and Verification SCP over an archive.

In: where to listen, who may send, an archive. Out: files and index rows, and a
summary when an association is over.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pypx.address import DEFAULT_AE_TITLE, check_ae_title
from pypx.archive import Archive
from pypx.dicom import uids
from pypx.dimse.assembler import MessageReceived
from pypx.dimse.messages import CEchoRQ, CStoreRQ, Message
from pypx.errors import ConfigError, PeerLimitError, UserIdentityError
from pypx.net.acceptor import acceptance, choose_uncompressed, serve_echo
from pypx.net.limits import DEFAULT_LIMITS, AcceptorLimits
from pypx.net.seats import Seats
from pypx.net.served import Caller, Refusal, ServedAssociation, Service
from pypx.net.server import Server
from pypx.net.single import Single
from pypx.net.tls_settings import ServerTls
from pypx.receiver.allow import AllowRule, fitting, is_loopback
from pypx.receiver.events import (
    AssociationBegan,
    AssociationSummary,
    Observer,
    Totals,
)
from pypx.receiver.store import answer_store, event_of, receive_instance
from pypx.ul.pdu import AAssociateAC, AAssociateRJ, AAssociateRQ, ContextResult

if TYPE_CHECKING:
    from pypx.receiver.identities import Identities
    from pypx.ul.user_information import UserIdentityAC

__all__ = ["DEFAULT_PORT", "GRACE", "Receiver", "check_rules", "choose_transfer_syntax"]

DEFAULT_PORT = 10402
GRACE = 10.0
"""Seconds that instances under way have to end, if nothing else is said."""


def check_rules(
    host: str, allow: Sequence[AllowRule], *, allow_any: bool = False, users: str | None = None
) -> None:
    """Refuse a listener that others reach and that has no rule, or whose users are not known.

    Raises:
        ConfigError: It would take files from anybody, or a rule names a user and there are none.
    """
    if users is None and any(rule.user is not None for rule in allow):
        raise ConfigError(
            "A rule says which user may send, and there is no file of users.",
            hint='users = "FILE" in [listen], or --users FILE; px users add makes it.',
        )
    if not (allow or allow_any or is_loopback(host)):
        raise ConfigError(
            f"A listener on {host or 'all interfaces'} would take files from anybody.",
            hint="Say who may send, with --allow AET@NETWORK or nodes in the configuration, "
            "or open it to all with --allow-any.",
        )


def choose_transfer_syntax(proposed: Sequence[str]) -> str:
    """Choose among the transfer syntaxes of one presentation context for storage.

    The peer's first one, since that is what it prefers and most likely has; but explicit
    VR little endian instead of the two others that it can always convert, because it
    keeps the VRs of private elements.
    """
    first = proposed[0]
    convertible = (uids.IMPLICIT_VR_LITTLE_ENDIAN, uids.EXPLICIT_VR_BIG_ENDIAN)
    if first in convertible and uids.EXPLICIT_VR_LITTLE_ENDIAN in proposed:
        return uids.EXPLICIT_VR_LITTLE_ENDIAN
    return first


@dataclass(slots=True)
class _Record:
    """What is noted of one association; ``request`` is the C-STORE under way."""

    association_id: str = ""
    limits: AcceptorLimits = DEFAULT_LIMITS
    totals: Totals = field(default_factory=Totals)
    requests: int = 0
    request: CStoreRQ | None = None


class Receiver:
    """Listen for what peers send and keep it; a context manager that starts and stops.

    Args:
        archive: Where it goes; the caller closes it.
        host: The address to bind. One that is not loopback needs ``allow`` or ``allow_any``.
        port: 0 takes a free one.
        ae_title: What we are called; peers may use another name for us.
        allow: Who may associate. Without any rule, whoever reaches the port.
        allow_any: Bind to an address that others reach without any rule.
        limits: What a peer may ask of us.
        seats: The associations that are open, if they are shared with other receivers.
        min_free: Bytes that the disk must have left; with less, instances are refused as
            *out of resources* until there is room again.
        observer: Who hears of associations and instances.
        share_port: Receivers in other processes of this user listen on the port as well.
        tls: Certificates, for a listener that speaks only TLS.
        users: A file of users (:mod:`pypx.receiver.users`). The password of whoever sends one is
            verified, and a wrong one refused; who has to send one is for ``allow`` to say.
        connection: Serve this connection, which somebody else has accepted, and listen nowhere;
            the arguments that say where are not heeded then.
        grace: Seconds that instances under way have to end when the context does.
        sockets: That listen already, in the place of ``host`` and ``port``; it closes them.
        heartbeat: Called by the loop that accepts, at least once a second while it does.

    Attributes:
        addresses: Host and port of each socket.
        host: What is bound.
        port: The port that is bound.
        totals: Running numbers over all associations.

    Raises:
        ConfigError: The address cannot be bound, or would be open to anybody.
    """

    def __init__(
        self,
        archive: Archive,
        *,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        ae_title: str = DEFAULT_AE_TITLE,
        allow: Sequence[AllowRule] = (),
        allow_any: bool = False,
        limits: AcceptorLimits = DEFAULT_LIMITS,
        seats: Seats | None = None,
        min_free: int = 0,
        observer: Observer | None = None,
        share_port: bool = False,
        tls: ServerTls | None = None,
        users: str | None = None,
        connection: socket.socket | None = None,
        grace: float = GRACE,
        sockets: Sequence[socket.socket] = (),
        heartbeat: Callable[[], None] = lambda: None,
    ) -> None:
        if connection is None:
            for one in [str(sock.getsockname()[0]) for sock in sockets] or [host]:
                check_rules(one, allow, allow_any=allow_any, users=users)
        self.ae_title = check_ae_title(ae_title)
        self.totals = Totals()
        self.services: Mapping[type[Message], Service] = {
            CEchoRQ: serve_echo,
            CStoreRQ: self._store,
        }
        self._archive = archive
        self._limits = limits
        self._min_free = min_free
        self._allow_any = allow_any
        self._allow = () if allow_any else tuple(allow)
        self._observer = observer
        self._users = users
        self._identities: Identities | None = None
        if users is not None:
            from pypx.receiver.identities import Identities  # heavy, and most have none
            from pypx.receiver.users import Users

            self._identities = Identities(Users(users))
        self._grace = grace
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._server: Server | Single
        if connection is None:
            self._server = Server(
                host,
                port,
                self,
                limits=limits,
                seats=seats,
                share_port=share_port,
                tls=tls,
                sockets=sockets,
                heartbeat=heartbeat,
            )
        else:
            self._server = Single(connection, self, limits=limits, tls=tls)
        self.addresses: list[tuple[str, int]] = self._server.addresses
        self.host, self.port = self.addresses[0]
        if connection is not None:
            try:
                check_rules(self.host, allow, allow_any=allow_any, users=users)
            except ConfigError:
                self._server.stop()
                raise

    def __enter__(self) -> Receiver:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to accept associations."""
        self._server.start()

    def stop(self, grace: float | None = None) -> None:
        """Stop accepting; instances under way have ``grace`` seconds to end, or as made."""
        self._server.stop(self._grace if grace is None else grace)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the one connection that is served; say whether it has come.

        A receiver that listens has no such end.
        """
        return isinstance(self._server, Single) and self._server.wait(timeout)

    def configure(
        self,
        *,
        allow: Sequence[AllowRule],
        min_free: int,
        limits: AcceptorLimits | None = None,
        tls: ServerTls | None = None,
    ) -> None:
        """Take other rules, limits and certificates, from any thread.

        Associations that were accepted stay as they are, except that ``min_free`` holds from
        their next instance on.

        Args:
            allow: Who may associate from now on; ignored with ``allow_any``.
            min_free: Bytes that the disk must have left.
            limits: What a peer may ask; None for what it could so far.
            tls: Certificates, whose files are read again; None for those so far.

        Raises:
            ConfigError: The address would be open to anybody, or a file of TLS is wrong; nothing
                is changed then.
        """
        for host, _ in self.addresses:
            check_rules(host, allow, allow_any=self._allow_any, users=self._users)
        limits = limits or self._limits
        self._server.configure(limits, tls)
        self._allow = () if self._allow_any else tuple(allow)
        self._min_free = min_free
        self._limits = limits

    @property
    def waiting(self) -> int:
        """How many stored instances wait for the index to be available."""
        return self._archive.waiting

    def last_activity(self) -> float:
        """Give the monotonic time at which bytes last came from a peer that associated."""
        return self._server.last_activity()

    def last_activity_for(self, originator: tuple[str, int]) -> float:
        """Give the monotonic time at which bytes last came of an instance that is under way.

        Args:
            originator: AE title and message ID of the C-MOVE that it must be part of, as its
                sender says; one of which it says nothing may be, too (PS3.7 §9.1.1.1).
        """

        def is_part(association: ServedAssociation) -> bool:
            request = getattr(association.record, "request", None)
            if request is None:
                return False
            named = request.move_originator_application_entity_title
            return not named or (named, request.move_originator_message_id) == originator

        return self._server.last_activity(is_part)

    def negotiate(
        self, request: AAssociateRQ, caller: Caller
    ) -> AAssociateAC | AAssociateRJ | Refusal:
        """Answer an association request (PS3.8 §7.1)."""
        rules = fitting(self._allow, request, caller) if self._allow else []
        if isinstance(rules, AAssociateRJ):
            return rules
        response: UserIdentityAC | None = None
        if self._identities is not None:
            found = self._identify(self._identities, rules, request, caller)
            if isinstance(found, Refusal):
                return found
            response = found
        return acceptance(
            request,
            self._choose,
            maximum_length=caller.max_pdu,
            user_identity=response,
        )

    def _identify(
        self,
        identities: Identities,
        rules: Sequence[AllowRule],
        request: AAssociateRQ,
        caller: Caller,
    ) -> UserIdentityAC | Refusal | None:
        """Look who the user is; give the positive response, if one is asked for and due."""
        from pypx.receiver.identities import NOT_AUTHORIZED, unproven
        from pypx.ul.user_information import UserIdentityAC

        identity = request.user_information.user_identity
        user = identities.verify(identity, caller.host)
        if isinstance(user, Refusal):
            return user
        if rules and not any(rule.admits(user) for rule in rules):
            reason = unproven(identity) if user is None else f"no rule lets the user {user!r} in"
            return Refusal(NOT_AUTHORIZED, reason, UserIdentityError)
        is_asked = getattr(identity, "positive_response_requested", False)
        return UserIdentityAC() if is_asked and user is not None else None

    def _user_of(self, association: ServedAssociation) -> str:
        """Give the name of its user, where we look at them; of one that was accepted it is true."""
        if self._identities is None or association.request is None:
            return ""
        from pypx.receiver.identities import claimed, is_password

        identity = association.request.user_information.user_identity
        return claimed(identity) if is_password(identity) or not association.contexts else ""

    def _choose(self, abstract_syntax: str, proposed: tuple[str, ...]) -> str | ContextResult:
        """Accept verification, and every class that is or may be a storage class."""
        if abstract_syntax == uids.VERIFICATION:
            return choose_uncompressed(proposed)
        if uids.may_be_storage(abstract_syntax):
            return choose_transfer_syntax(proposed)
        return ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED

    def began(self, association: ServedAssociation) -> None:
        """Tell of an association that was accepted."""
        number = f"{os.getpid()}-{next(self._numbers)}"
        association.record = _Record(number, self._limits)
        if self._observer is not None:
            calling, called = association.calling_ae_title, association.called_ae_title
            user = self._user_of(association)
            event = AssociationBegan(number, association.host, calling, called, user)
            self._observer.association_began(event)

    def _store(self, association: ServedAssociation, received: MessageReceived) -> None:
        request = received.message
        assert isinstance(request, CStoreRQ)  # the table of services says so
        record = association.record
        assert isinstance(record, _Record)  # began() has set it
        _check_number(record)
        record.requests += 1
        started = time.monotonic()
        record.request = request
        result = receive_instance(
            association,
            received.context_id,
            request,
            self._archive,
            min_free=self._min_free,
            max_elements=record.limits.max_elements,
            max_depth=record.limits.max_depth,
        )
        event = event_of(record.association_id, request, result, time.monotonic() - started)
        record.totals.add(event)
        with self._lock:
            self.totals.add(event)
        record.request = None
        answer_store(association, received.context_id, request, result)
        if self._observer is not None:
            self._observer.instance_received(event)

    def ended(self, association: ServedAssociation) -> None:
        """Tell of an association that is over."""
        if self._observer is None:
            return
        record = association.record if isinstance(association.record, _Record) else _Record()
        self._observer.association_ended(
            AssociationSummary(
                association_id=record.association_id,
                host=association.host,
                calling_ae_title=association.calling_ae_title,
                called_ae_title=association.called_ae_title,
                totals=replace(record.totals),
                requests=record.requests,
                seconds=time.monotonic() - association.started,
                error=association.failure,
                user=self._user_of(association),
            )
        )


def _check_number(record: _Record) -> None:
    """Refuse one object more than an association may bring."""
    most = record.limits.max_objects
    if 0 < most <= record.totals.instances + record.totals.failures:
        raise PeerLimitError(f"The peer sent more than {most} objects (max_objects).")
