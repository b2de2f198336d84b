"""Reverse proxies that are believed when they say for whom they ask.

The law: what anybody else writes there is not looked at. This module must not know what is asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, ip_network
from typing import Annotated, Any

from pydantic import BeforeValidator

from relay.auth.prefixes import texts


def read_proxies(value: Any) -> tuple[str, ...]:
    """Addresses and networks, one or a list of them. Raises `ValueError`."""
    listed = texts(value, "an address or a network, or a list of them")
    try:
        found = [ip_network(item) for item in listed]
    except ValueError as error:
        raise ValueError(f"expected addresses and networks such as 10.0.0.0/8: {error}") from None
    if any(each.prefixlen == 0 for each in found):
        raise ValueError("anybody could say to be anybody: name the proxies")
    return tuple(map(str, found))


Proxies = Annotated[tuple[str, ...], BeforeValidator(read_proxies)]
"""A setting that holds addresses of proxies."""


def as_seen(proxies: Iterable[str]) -> list[str]:
    """The same, and of IPv4 also as a socket sees it that listens for both (RFC 4291, 2.5.5.2)."""
    seen = []
    for each in proxies:
        network = ip_network(each)
        seen.append(each)
        if isinstance(network, IPv4Network):
            seen.append(f"::ffff:{network.network_address}/{96 + network.prefixlen}")
    return seen
