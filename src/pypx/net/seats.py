"""How many associations there are at once, in total and from each host.

In: the address of a peer that asks for an association. Out: whether there is room for it, or
why not. What is then answered belongs to ``server``.
"""

from __future__ import annotations

import threading
from collections import Counter
from ipaddress import IPv6Address, ip_address

from pypx.net.limits import AcceptorLimits

__all__ = ["Seats", "neighbourhood"]

_IPV6_NETWORK = 0xFFFFFFFFFFFFFFFF << 64


def neighbourhood(host: str) -> str:
    """Give what counts as one host: an IPv4 address, or the /64 network of an IPv6 address.

    Whoever has one address of such a network has all of them.
    """
    if ":" not in host:
        return host
    address = ip_address(host.partition("%")[0])
    assert isinstance(address, IPv6Address)  # it has a colon
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) & _IPV6_NETWORK))


class Seats:
    """The associations that are open; any thread may take a seat and leave it.

    Args:
        limits: How many there may be.
    """

    def __init__(self, limits: AcceptorLimits) -> None:
        self._total = limits.max_associations
        self._per_host = limits.max_associations_per_host
        self._hosts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def configure(self, limits: AcceptorLimits) -> None:
        """Let there be more or fewer from now on; those that are taken stay taken."""
        with self._lock:
            self._total = limits.max_associations
            self._per_host = limits.max_associations_per_host

    def take(self, host: str) -> str:
        """Take one.

        Returns:
            Why there is none; empty when it was taken.
        """
        who = neighbourhood(host)
        with self._lock:
            # Added before it is counted: others may be counting over the same table.
            self._add(who)
            total, own = self._counted(who)
            if total > self._total:
                reason = f"{self._total} are open already (max_associations)"
            elif 0 < self._per_host < own:
                reason = (
                    f"{self._per_host} of this host are open already (max_associations_per_host)"
                )
            else:
                return ""
            self._remove(who)
            return reason

    def leave(self, host: str) -> None:
        """Give one back."""
        with self._lock:
            self._remove(neighbourhood(host))

    def _counted(self, who: str) -> tuple[int, int]:
        """Give how many are taken in total and by this host."""
        return self._hosts.total(), self._hosts[who]

    def _add(self, who: str) -> None:
        self._hosts[who] += 1

    def _remove(self, who: str) -> None:
        self._hosts[who] -= 1
        if not self._hosts[who]:
            del self._hosts[who]
