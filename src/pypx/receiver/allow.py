"""Who may send to us: rules of calling AE title, network, user and certificate.

In: rules as users write them, and AE titles with the address that they come from, the user
who was verified, and the names of the TLS certificate. Out: yes or no. An AE title is a label
that anybody can claim; a rule that names a network says more, one that names a user or a
certificate most.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable

from pypx.address import check_ae_title
from pypx.errors import ConfigError
from pypx.net.served import Caller
from pypx.ul.pdu import AAssociateRJ, AAssociateRQ
from pypx.values import frozen

__all__ = ["AllowRule", "fitting", "is_loopback"]

_ANY = "*"
_SHAPE = "AET@HOST, AET@NETWORK/BITS or AET@*, for example ORTHANC@10.1.2.0/24 or *@10.1.2.3"
_WORDS = re.compile(
    r"(?P<who>.+?)(?: to (?P<called>.+?))?(?: as (?P<user>\S+))?(?: tls (?P<name>\S+))?"
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_loopback(host: str) -> bool:
    """Whether an address to bind, or of a peer, is on this machine only."""
    if host == "localhost":
        return True
    try:
        return _address(host).is_loopback
    except ValueError:
        return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


@frozen
class AllowRule:
    """One rule; a peer that matches any rule may associate.

    Attributes:
        ae_title: The calling AE title, or ``*`` for any.
        network: Where it must come from; None for anywhere.
        called: What it must call us; None for anything.
        name: A name that its TLS certificate must have; None for any, or for no TLS.
        user: The user that it must be, by name and password (PS3.7 §D.3.3.7), or ``*`` for any
            user; None where it need not be one.
    """

    ae_title: str
    network: Network | None
    called: str | None = None
    name: str | None = None
    user: str | None = None

    @classmethod
    def parse(cls, text: str) -> AllowRule:
        """Read ``AET@NETWORK``, where either side may be ``*``.

        ``to CALLED``, ``as USER`` and ``tls NAME`` may follow, in this order: what we must be
        called, the user that the peer must be, and a name that its TLS certificate must have.

        Raises:
            ConfigError: The text has another shape, or the host is no address.
        """
        words = _WORDS.fullmatch(text.strip())
        who = words["who"] if words else ""
        called = check_ae_title(words["called"]) if words and words["called"] else None
        name = words["name"] if words else None
        user = words["user"] if words else None
        title, at, host = who.rpartition("@")
        if not at or not title or not host:
            raise ConfigError(f"{text!r} is no rule.", hint=f"Write {_SHAPE}.")
        title = title if title == _ANY else check_ae_title(title)
        if host == _ANY:
            return cls(title, None, called, name, user)
        try:
            return cls(title, ipaddress.ip_network(host, strict=False), called, name, user)
        except ValueError:
            raise ConfigError(
                f"{host!r} in the rule {text!r} is no address or network.",
                hint=f"Write {_SHAPE}; names of hosts are not looked up here.",
            ) from None

    def matches(self, calling_ae_title: str, host: str, *, names: Collection[str] = ()) -> bool:
        """Whether a peer may associate, whatever it calls us.

        Args:
            calling_ae_title: What it calls itself.
            host: Its numeric address.
            names: Those of its TLS certificate.
        """
        if self.name is not None and self.name not in names:
            return False
        return self._fits(calling_ae_title, host)

    def _fits(self, ae_title: str, host: str) -> bool:
        if self.ae_title not in (_ANY, ae_title):
            return False
        return self.network is None or _address(host) in self.network

    def wants_user(self, ae_title: str, host: str) -> bool:
        """Whether it says that a peer of this AE title and address must be a user."""
        return self.user is not None and self._fits(ae_title, host)

    def admits(self, user: str | None) -> bool:
        """Whether it lets this user associate; None stands for nobody whom we know."""
        return self.user is None or (user is not None and self.user in (_ANY, user))

    def calls(self, called_ae_title: str) -> bool:
        """Whether it lets a peer call us so."""
        return self.called in (None, called_ae_title)


def fitting(
    rules: Iterable[AllowRule], request: AAssociateRQ, caller: Caller
) -> list[AllowRule] | AAssociateRJ:
    """Give the rules that fit a peer, whichever user it is, or the answer where none does."""
    calling, called = request.calling_ae_title, request.called_ae_title
    matching = [one for one in rules if one.matches(calling, caller.host, names=caller.names)]
    found = [rule for rule in matching if rule.calls(called)]
    # PS3.8 Table 9-21: permanent, service-user, calling or called AE title not recognised.
    return found or AAssociateRJ(1, 1, 7 if matching else 3)
