"""Who may send to us: rules of calling AE title and network.

In: rules as users write them, and a calling AE title with the address it came
from. Out: yes or no. An AE title is a label that anybody can claim; a rule that
names a network says more.
"""

from __future__ import annotations

import ipaddress

from pypx.address import check_ae_title
from pypx.errors import ConfigError
from pypx.values import frozen

__all__ = ["AllowRule", "is_loopback"]

_ANY = "*"
_SHAPE = "AET@HOST, AET@NETWORK/BITS or AET@*, for example ORTHANC@10.1.2.0/24 or *@10.1.2.3"

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
    """

    ae_title: str
    network: Network | None

    @classmethod
    def parse(cls, text: str) -> AllowRule:
        """Read ``AET@NETWORK``; either side may be ``*``.

        Raises:
            ConfigError: The text has another shape, or the host is no address.
        """
        title, at, host = text.rpartition("@")
        if not at or not title or not host:
            raise ConfigError(f"{text!r} is no rule.", hint=f"Write {_SHAPE}.")
        title = title if title == _ANY else check_ae_title(title)
        if host == _ANY:
            return cls(title, None)
        try:
            return cls(title, ipaddress.ip_network(host, strict=False))
        except ValueError:
            raise ConfigError(
                f"{host!r} in the rule {text!r} is no address or network.",
                hint=f"Write {_SHAPE}; names of hosts are not looked up here.",
            ) from None

    def matches(self, calling_ae_title: str, host: str) -> bool:
        """Whether a peer with this AE title and numeric address may associate."""
        if self.ae_title not in (_ANY, calling_ae_title):
            return False
        return self.network is None or _address(host) in self.network
