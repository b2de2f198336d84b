"""Which addresses may be connected to, wherever a name or a stranger leads.

The law: an address is judged itself, not the name it was found under, and one address that stands
for another is judged as the other. This module must not know who asks or what for.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
"""Prefixes of NAT64, whose last four bytes are an IPv4 address (RFC 6052, RFC 8215)."""

_COMPATIBLE = IPv6Network("::/96")
"""The old way to write an IPv4 address as one of IPv6 (RFC 4291, 2.5.5.1)."""


def may_connect(address: str, scheme: str, *, allow_http: bool, allow_private: bool) -> bool:
    """Whether something may be asked there: over TLS where anybody can be, over plain HTTP only
    where it is allowed, and where not everybody can be as well."""
    if is_public(address):
        return scheme == "https" or allow_http
    return allow_private


def is_public(text: str) -> bool:
    """Whether ``text`` is an address anybody on the Internet could serve; False when it is none.

    Private, loopback, link-local, shared, reserved, documentation and multicast addresses are not,
    nor is an IPv6 address that wraps one of these.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if address.scope_id is not None or address.is_site_local:
            return False
        inner = _wrapped(address)
        if inner is not None:
            return _is_open(inner)
    return _is_open(address)


def _is_open(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified
    )


def _wrapped(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that packets to ``address`` would end at."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in (*_TRANSLATED, _COMPATIBLE)):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None
