"""Where a PACS sends to: the listener that runs here already, or one of our own.

In: our address, an archive. Out: a listener, and whether anything reaches it. Not here: what is
asked for, and what came of it.

Another process may have the listener: ``px listen``, or a job that began before. It may end while
we work; so before each request somebody looks, and takes its place.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from pypx.address import Address
from pypx.archive import Archive
from pypx.client.client import Client
from pypx.errors import (
    AssociationRejectedError,
    ConfigError,
    ConnectError,
    PypxError,
    StatusError,
)
from pypx.net.connection import Timeouts
from pypx.receiver.allow import AllowRule
from pypx.receiver.events import Observer
from pypx.receiver.receiver import Receiver
from pypx.retrieve.entry import seen_from

__all__ = ["Landing", "is_listening"]

_PROBE = Timeouts(2.0, 2.0, 2.0, 2.0)


def is_listening(own: Address) -> str | None:
    """Ask with C-ECHO whether a listener runs at our address.

    Returns:
        None where none does; else what it has to complain about, or nothing.

    Raises:
        ConfigError: Something else has the port.
    """
    try:
        with Client(own, calling_ae_title=own.ae_title, timeouts=_PROBE) as client:
            client.echo()
    except ConnectError:
        return None
    except (AssociationRejectedError, StatusError) as error:
        return error.message
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
        own: Our AE title, and where our listener is as this machine sees it.
        bind: The address that a listener of ours binds.
        allow: Who may send to it.
        min_free: Bytes that the disk must have left.
        observer: Who hears what a listener of ours receives.

    Attributes:
        own: As given.
        receiver: Our listener; None while another process has it, or before anybody looked.
    """

    def __init__(
        self,
        archive: Archive,
        own: Address,
        *,
        bind: str,
        allow: Sequence[AllowRule] = (),
        min_free: int = 0,
        observer: Observer | None = None,
    ) -> None:
        self.own = own
        self.receiver: Receiver | None = None
        self._archive = archive
        self._bind = bind
        self._allow = allow
        self._min_free = min_free
        self._observer = observer
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
            complaint = is_listening(self.own)
            if complaint is not None:
                return complaint
            receiver = Receiver(
                self._archive,
                host=self._bind,
                port=self.own.port,
                ae_title=self.own.ae_title,
                allow=self._allow,
                min_free=self._min_free,
                observer=self._observer,
            )
            receiver.start()
            self.receiver = receiver
        return ""

    def seen_from(self, peer: Address) -> Address:
        """Give our AE title and address as a peer sees it."""
        return seen_from(peer, self.own, self._bind)
