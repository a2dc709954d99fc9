"""Where a PACS sends to: the listener that runs here already, or one of our own.

In: our address, an archive. Out: a listener, and whether anything reaches it. Not here: what is
asked for, and what came of it.

Another process may have the listener: ``px listen``, or a job that began before. It may end while
we work; so before each request somebody looks, and takes its place.
"""

from __future__ import annotations

import threading

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.client import Client
from pypx.errors import (
    AssociationRejectedError,
    ConfigError,
    ConnectError,
    PypxError,
    StatusError,
    TlsError,
)
from pypx.net.connection import Timeouts
from pypx.net.limits import DEFAULT_LIMITS, AcceptorLimits
from pypx.net.tls_settings import ClientTls, ServerTls
from pypx.receiver.allow import AllowRule
from pypx.receiver.events import Observer
from pypx.receiver.receiver import GRACE, Receiver
from pypx.retrieve.entry import seen_from
from pypx.values import frozen

__all__ = ["Landing", "Listening", "is_listening"]

_PROBE = Timeouts(2.0, 2.0, 2.0, 2.0)


@frozen
class Listening:
    """Where a C-MOVE sends to.

    Attributes:
        own: Our AE title, and where our listener is as this machine sees it.
        bind: The address that a listener of ours binds.
        allow: Who may send to it.
        limits: What a peer may ask of it.
        tls: Certificates, where it speaks only TLS.
        users: Its file of users.
    """

    own: Address
    bind: str
    allow: tuple[AllowRule, ...] = ()
    limits: AcceptorLimits = DEFAULT_LIMITS
    tls: ServerTls | None = None
    users: str | None = None


def is_listening(own: Address, *, tls: bool = False) -> str | None:
    """Ask with C-ECHO whether a listener runs at our address.

    Args:
        own: Where that is.
        tls: Whether it would speak TLS.

    Returns:
        None where none does; else what it has to complain about, or nothing.

    Raises:
        ConfigError: Something else has the port.
    """
    try:
        with Client(
            own,
            calling_ae_title=own.ae_title,
            timeouts=_PROBE,
            tls=ClientTls(verify=False) if tls else None,
        ) as client:
            client.echo()
    except ConnectError:
        return None
    except TlsError:
        if tls:
            return ""  # it wants a certificate, which is not for probes
        raise
    except (AssociationRejectedError, StatusError) as error:
        refused = (getattr(error, "source", 0), getattr(error, "reason", 0))
        return "" if refused == (2, 1) else error.message  # it wants a user; so for probes
    except PypxError as error:
        raise ConfigError(
            f"On {own.host}:{own.port} is no DICOM listener: {error.message}",
            hint="Stop what runs there, or take another port with --port.",
        ) from None
    return ""


class Landing:
    """A listener at our address, of ours or of another process; a context manager.

    Args:
        archive: Where a listener of ours puts what comes.
        listening: Where it is, and who may send to it.
        min_free: Bytes that the disk must have left.
        observer: Who hears what a listener of ours receives.
        grace: Seconds that instances under way have to end when the context does.

    Attributes:
        own: Our AE title, and where our listener is as this machine sees it.
        receiver: Our listener; None while another process has it, or before anybody looked.
    """

    def __init__(
        self,
        archive: Archive,
        listening: Listening,
        *,
        min_free: int = 0,
        observer: Observer | None = None,
        grace: float = GRACE,
    ) -> None:
        self.own = listening.own
        self.receiver: Receiver | None = None
        self._archive = archive
        self._listening = listening
        self._min_free = min_free
        self._observer = observer
        self._grace = grace
        self._lock = threading.Lock()

    def __enter__(self) -> Landing:
        return self

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            if self.receiver is not None:
                self.receiver.stop()

    def ensure(self) -> str:
        """See to it that somebody listens; give a sentence if the one who does seems unwilling.

        Raises:
            ConfigError: The port cannot be had.
        """
        with self._lock:
            if self.receiver is not None:
                return ""
            complaint = is_listening(self.own, tls=self._listening.tls is not None)
            if complaint is not None:
                return complaint
            listening = self._listening
            receiver = Receiver(
                self._archive,
                host=listening.bind,
                port=self.own.port,
                ae_title=self.own.ae_title,
                allow=listening.allow,
                limits=listening.limits,
                min_free=self._min_free,
                observer=self._observer,
                tls=listening.tls,
                users=listening.users,
                grace=self._grace,
            )
            receiver.start()
            self.receiver = receiver
        return ""

    def seen_from(self, peer: Address) -> Address:
        """Give our AE title and address as a peer sees it."""
        return seen_from(peer, self.own, self._listening.bind)
