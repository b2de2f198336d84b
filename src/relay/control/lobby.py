"""TCP connections of one listener, and how many of them one address may have.

The law: up to `max_connections` are served, as many again are told that they are too many, and
more are not heard at all; of each an address has its share. A proxy that is believed is nobody's
address. This module must not know what is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from ipaddress import ip_address, ip_network

from relay.control.places import Told
from relay.control.settings import PublicLimits
from relay.net.gate import origin
from relay.net.udp import Address, plain

SHARE = 2
"""Which part of the connections one address may have where nothing else is said: whoever shares one
comes in crowds."""


class Lobby:
    """Those that are there."""

    def __init__(
        self,
        limits: PublicLimits,
        proxies: Iterable[str] = (),
        told: Told = lambda why, remote: None,
    ) -> None:
        """``told`` hears of each that is not served."""
        self._told = told
        self._most = limits.max_connections
        each = limits.max_connections_per_address
        self._each = max(1, self._most // SHARE) if each is None else each
        self._proxies = [ip_network(proxy) for proxy in proxies]
        self._here: dict[Hashable, tuple[str | None, bool]] = {}
        """Where each came from, ``None`` = by a proxy, and whether it is served."""
        self._from: Counter[str | None] = Counter()
        self._served: Counter[str | None] = Counter()
        self._count = 0
        """Of those that are served."""

    def __contains__(self, visitor: object) -> bool:
        return visitor in self._here

    def arrive(self, visitor: Hashable, address: Address) -> bool:
        """Count one, once, and answer whether it is heard."""
        if visitor not in self._here:
            where = None if self._is_proxy(address) else origin(address)
            has_share = where is None or self._served[where] < self._each
            is_served = has_share and self._count < self._most
            self._here[visitor] = where, is_served
            self._from[where] += 1
            self._served[where] += is_served
            self._count += is_served
            if not is_served:
                setting = "max_connections" if has_share else "max_connections_per_address"
                self._told(f"more than web.limits.{setting}", plain(address)[0])
        where, _ = self._here[visitor]
        is_crowd = where is not None and self._from[where] > 2 * self._each
        return len(self._here) <= 2 * self._most and not is_crowd

    def serves(self, visitor: Hashable) -> bool:
        """Whether one that is there gets more than a refusal."""
        return self._here[visitor][1]

    def leave(self, visitor: Hashable) -> None:
        """One is gone. Harmless when it has left already."""
        if visitor not in self._here:
            return
        where, is_served = self._here.pop(visitor)
        self._from[where] -= 1
        self._served[where] -= is_served
        self._count -= is_served
        if not self._from[where]:
            del self._from[where], self._served[where]

    def _is_proxy(self, address: Address) -> bool:
        try:
            host = ip_address(plain(address)[0].partition("%")[0])
        except ValueError:  # it has left already
            return False
        return any(host in network for network in self._proxies)
